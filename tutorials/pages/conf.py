"""How Sphinx builds the pages; `evolab docs` calls it with everything in place."""

from __future__ import annotations

import sys
from pathlib import Path

import plotly

import evolab

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "evolab"
author = "the evolab developers"
copyright = "the evolab developers, Apache-2.0"
version = release = evolab.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "mathml",
    "reference",
    "directives",
]
root_doc = "tutorials/pages/index"
exclude_patterns = ["README.md", "tests", "sources"]
# A notebook may go from its title to a third heading; attributes of one name in several classes are not links.
suppress_warnings = ["myst.header", "ref.python"]

# Notebooks stand as they were committed: each was run when it was written, and nothing runs here.
nb_execution_mode = "off"
nb_output_stderr = "remove"
nb_ipywidgets_js = {}
myst_enable_extensions = [
    "dollarmath",
    "deflist",
    "attrs_inline",
    "attrs_block",
    "substitution",
    "colon_fence",
]
myst_heading_anchors = 3
myst_substitutions = {"version": evolab.__version__}
html_math_renderer = "mathml"

# Docstrings write code as in Markdown, between single backticks.
default_role = "code"
autodoc_default_options = {"members": True, "undoc-members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Class attributes", "params_style"), ("Source", "notes_style")]
add_module_names = False
toc_object_entries_show_parents = "hide"

# Types in signatures are named, not linked, where they are another library's or have no entry of their own.
nitpick_ignore_regex = [(r"py:(class|data|obj|exc|attr)", r".*")]

html_theme = "pydata_sphinx_theme"
html_title = "evolab"
html_static_path = ["static", str(Path(plotly.__file__).parent / "package_data" / "plotly.min.js")]
html_css_files = ["pages.css"]
html_js_files = [("figures.js", {"defer": "defer"})]
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
html_context = {"default_mode": "auto"}  # the theme tells the console of an error where it is not said
html_theme_options = {
    "logo": {"text": "evolab"},
    "navbar_align": "left",
    "header_links_before_dropdown": 8,
    "show_prev_next": True,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
# Pages that stand alone have no section to navigate.
html_sidebars = {f"tutorials/pages/{name}": [] for name in ("index", "start", "how_it_works", "benchmarks")}
