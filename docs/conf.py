"""The site: ``make docs`` builds it into docs/_build/html. Neither the build nor a reader needs a network."""

from __future__ import annotations

import atexit
import importlib.util
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import equipoise

# Notebooks call `equipoise` as a reader does, and run without the profile of whoever builds.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
_PROFILE = Path(tempfile.mkdtemp())
(_PROFILE / "profile_default").mkdir()
(_PROFILE / "profile_default" / "ipython_kernel_config.py").write_text('get_config().Application.log_level = "ERROR"\n')
os.environ["IPYTHONDIR"] = str(_PROFILE)
atexit.register(shutil.rmtree, _PROFILE, ignore_errors=True)
logging.getLogger("traitlets").setLevel(logging.WARNING)

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))
os.environ["PATH"] = (
    f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # notebooks call `equipoise` as a reader does
)

project = "Equipoise"
author = "The Equipoise developers"
version = release = equipoise.__version__
html_title = f"Equipoise {release}"
language = "en"
smartquotes_action = "D"  # dashes, and straight quotes, which can be copied

extensions = [
    "public_module",
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build"]
nitpicky = True
default_role = "code"  # a name between single backticks in a docstring is code
suppress_warnings = ["mystnb.unknown_mime_type"]

# Markdown
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_links_external_new_tab = False

# Notebooks: run at every build, in a folder of their own. An exception, or a line on stderr, fails the build.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 170
nb_output_stderr = "warn"
nb_merge_streams = True

# API reference
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_use_type_comments = False
python_use_unqualified_type_names = True
python_display_short_literal_types = True
maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_preprocess_types = False
napoleon_use_rtype = False
add_module_names = False
toc_object_entries_show_parents = "hide"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
nitpick_ignore_regex = [
    (r"py:(class|mod)", r"(?!equipoise\b).*"),  # other projects' inventories would have to come from a network
    (r"py:exc", r"(?!equipoise\b)\w+\..*"),
    (r"py:class", r"equipoise\.([a-z]\w*\.)*_.*"),  # a private type in a public signature
]

# Looks
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#00694d", "color-brand-content": "#005a9c"},
    "dark_css_variables": {"color-brand-primary": "#5fcfa8", "color-brand-content": "#7cc4ff"},
}

# Formulas: docs/decisions/0011-the-site.md says why this file.
mathjax_path = "mathjax/tex-svg.js"
mathjax3_config = {
    "options": {"enableMenu": False},  # its other parts would be loaded from elsewhere
    "svg": {"fontCache": "global"},
}


def _bring_mathjax(app: Any) -> None:
    found = importlib.util.find_spec("mathjax")
    assert found is not None, "the docs extra brings MathJax in the package django-static-mathjax"
    assert found.origin is not None
    source = Path(found.origin).parent / "static" / "mathjax"
    target = Path(app.outdir) / "_static" / "mathjax"
    target.mkdir(parents=True, exist_ok=True)
    for file in (source / "es5" / "tex-svg.js", source / "LICENSE"):
        shutil.copyfile(file, target / file.name)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("builder-inited", _bring_mathjax)
