"""How Sphinx makes HTML of the pages of `docs/`: `make docs`. The pages are Markdown that a forge shows as well."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
import reference_pages  # noqa: E402

project = "pitch-timbre"
author = "pitch-timbre contributors"
copyright = author
html_title = "pitch-timbre"
html_theme = "pydata_sphinx_theme"
html_show_sourcelink = False
html_sidebars = {"**": ["globaltoc.html"]}
html_theme_options = {
    "show_prev_next": True,
    "navbar_align": "left",
    "navbar_center": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "default",
    "pygments_dark_style": "monokai",
}

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
default_role = "code"

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True
nb_output_stderr = "remove"  # an exception ends the build all the same

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # it writes np.str_ as a reference

# Each reference inside is checked; those to other projects lead nowhere here, as nothing is fetched.
nitpicky = True
nitpick_ignore_regex = [
    ("py:class", r"(callbacks|experiments)\.\w+\.([A-Z]|AnyRun)"),  # type variables
    ("py:.*", rf"(?!(?:{'|'.join(reference_pages.PACKAGES)})\.).*"),
]


def _math(inline: bool) -> Any:
    def visit(self: Any, node: nodes.Element) -> None:
        found = tex2mathml(node.astext(), as_block=not inline)
        self.body.append(found if inline else f'<div class="math">{found}</div>')
        raise nodes.SkipNode

    return visit


def setup(app: Sphinx) -> None:
    """Draw formulas as MathML, which every browser shows without a script, and write the generated pages."""
    app.add_html_math_renderer("mathml", (_math(inline=True), None), (_math(inline=False), None))
    app.connect("builder-inited", lambda app: reference_pages.write(Path(app.srcdir) / "reference"))


html_math_renderer = "mathml"
