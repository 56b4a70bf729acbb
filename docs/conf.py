"""Sphinx's configuration of this site: ``make docs``. What is made from the code is in ``_ext/pneumo_docs``."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "pneumo"
author = "the authors of pneumo"
version = release = version_of("pneumo-cli")
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_design",
    "sphinx_copybutton",
    "pneumo_docs",
]
exclude_patterns = ["_build", "_ext", "third-party.md", "**.ipynb_checkpoints"]

# Notebooks run when the site is built, unless their cells have not changed; `make docs-fast` runs none. Each build
# has a folder of its own for what pneumo remembers, such as accesses to test sets.
nb_execution_mode = os.environ.get("PNEUMO_DOCS_NOTEBOOKS", "cache")
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_merge_streams = True
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # the site loads nothing from other servers
_DATA_HOME = HERE / "_build" / "data-home"
shutil.rmtree(_DATA_HOME, ignore_errors=True)
os.environ["PNEUMO_DATA_HOME"] = str(_DATA_HOME)
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # pneumo, in cells

myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_default_options = {"exclude-members": "__new__, __init__"}
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]
napoleon_use_rtype = False
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
add_module_names = False
nitpick_ignore_regex = [(r"py:.*", r".*")]  # types of PyTorch and others, which have their own sites

html_theme = "furo"
html_title = f"pneumo {version}"
html_static_path = ["_static"]
html_css_files = ["pneumo.css"]
html_show_copyright = False
html_copy_source = html_show_sourcelink = False
html_theme_options = {"top_of_page_buttons": []}
copybutton_exclude = ".linenos, .gp, .go"
suppress_warnings = ["mystnb.unknown_mime_type", "ref.python"]
