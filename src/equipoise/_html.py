"""Web pages, from templates that are packaged beside the modules that fill them."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(package: str, template: str, **values: Any) -> str:
    """Fill a template. What is put into it is escaped, unless the template says ``| safe``.

    Args:
        package: the dotted name of the package that holds the template.
        template: the name of its file.
        values: what the template uses, by name.

    Raises:
        jinja2.UndefinedError: the template uses a name that has no value.
    """
    environment = Environment(loader=PackageLoader(package, "."), autoescape=True, undefined=StrictUndefined)
    return environment.get_template(template).render(values)
