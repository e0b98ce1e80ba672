"""A page has everything that its template asks for, and shows text as text."""

import jinja2
import pytest

from equipoise._html import render


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "a_package_with_a_template"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "page.html").write_text("<p>{{ title }}</p>{{ drawing | safe }}")
    monkeypatch.syspath_prepend(tmp_path)
    return folder.name


def test_text_is_escaped_unless_the_template_says_otherwise(package):
    assert render(package, "page.html", title="<b>&", drawing="<svg/>") == "<p>&lt;b&gt;&amp;</p><svg/>"


def test_a_value_that_is_not_given_is_an_error(package):
    with pytest.raises(jinja2.UndefinedError, match="'drawing' is undefined"):
        render(package, "page.html", title="t")
