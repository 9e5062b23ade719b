"""Figures that know nothing of pyplot: a notebook shows them, and a page holds them."""

import hashlib
import io
import re

from matplotlib import rc_context
from matplotlib.figure import Figure

_TAG = re.compile("<[^<>]*>")  # words in an SVG have neither of the two
_NAMED = re.compile(r' id="|href="#|url\(#')
DOTS = 144  # per inch of an image
# Equal drawings make equal files: without a date, and with the same names inside.
DATELESS = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
SALT = "jaxgradsweep"


class Drawing(Figure):
    """A figure that a notebook shows, once, whether pyplot is loaded or not."""

    def _repr_png_(self) -> bytes:
        return as_png(self)


def as_png(figure: Figure) -> bytes:
    """Return a figure as an image."""
    return as_file(figure, "png")


def as_file(figure: Figure, kind: str) -> bytes:
    """Return what a file of a figure holds: "png", "svg" or "pdf"."""
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": SALT}):
        figure.savefig(buffer, format=kind, dpi=DOTS, metadata=DATELESS[kind])
    return buffer.getvalue()


def as_svg(figure: Figure, name: str = "") -> str:
    """Return a figure as an SVG element for a page, with its words as text.

    Args:
        figure: What is drawn.
        name: What the names inside the element begin with, so that they do not clash with those of another figure on
            the page. By default it follows from the drawing.

    Returns:
        The element: the same for the same drawing.
    """
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": SALT}):
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :].strip()
    own = name or f"f{hashlib.blake2b(drawn.encode(), digest_size=4).hexdigest()}"
    return _TAG.sub(lambda tag: _NAMED.sub(rf"\g<0>{own}-", tag[0]), drawn)
