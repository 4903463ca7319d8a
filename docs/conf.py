"""How Sphinx builds these documents."""

import sys
from pathlib import Path

from pygments.lexers.special import TextLexer

sys.path.insert(0, str(Path(__file__).parent))

project = "taskqueue"
author = "taskqueue contributors"
extensions = ["sphinx.ext.autodoc", "doc_tables"]
exclude_patterns = ["_build"]
nitpicky = False
smartquotes = False  # what is written is what is to be typed
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
python_maximum_signature_line_length = 100
autodoc_member_order = "bysource"
html_theme = "alabaster"
html_theme_options = {
    "description": "A task is a request, made later.",
    "fixed_sidebar": True,
    "page_width": "70rem",
}
html_sidebars = {"**": ["about.html", "navigation.html", "searchbox.html"]}
html_copy_source = False


def setup(app):
    """A language of Zope's that Pygments does not know."""
    app.add_lexer("zopeconf", TextLexer)
