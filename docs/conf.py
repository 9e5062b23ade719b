"""How Sphinx builds these pages."""

import shutil
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent

# The notebooks are kept beside `docs`, and committed as they were executed. Sphinx reads no file outside of its folder.
shutil.rmtree(HERE / "notebooks", ignore_errors=True)
(HERE / "notebooks").mkdir()
for notebook in (HERE.parent / "notebooks").glob("*.ipynb"):
    shutil.copy2(notebook, HERE / "notebooks")  # with its time, so that a build reads it again only where it changed

project = "jaxgradsweep"
author = "The jaxgradsweep authors"
copyright = author
release = version = metadata.version("jaxgradsweep")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "jaxgradsweep"

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"

autodoc_member_order = "bysource"
autodoc_class_signature = "separated"  # records are made by checks: what they hold is listed, not how to build them
python_use_unqualified_type_names = True
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# Every reference to something of our own must lead somewhere. What others document is named, but not linked.
nitpicky = True
# Internal classes that signatures of public ones name.
nitpick_ignore = [("py:class", f"jaxgradsweep.{name}") for name in ("_wording._Lasting", "baseline.Baseline")]
nitpick_ignore_regex = [("py:.*", r"(?!jaxgradsweep\b).*")]
