"""A stream that cannot show every letter, or that nobody reads to its end."""

import codecs
import contextlib
import os
from collections.abc import Iterator
from typing import TextIO

LIKENESS = {"±": "+-", "×": "x", "−": "-", "─": "-", "→": "->", "…": "..."}


def likeness(error: UnicodeError) -> tuple[str, int]:
    """Write what an encoding does not have in letters that every encoding has; an error handler of `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(LIKENESS.get(c) or c.encode("ascii", "backslashreplace").decode() for c in letters), error.end


codecs.register_error("jaxgradsweep.likeness", likeness)


@contextlib.contextmanager
def any_encoding(stream: TextIO) -> Iterator[None]:
    """Let a stream take any text: in a locale without ± that is written +-."""
    errors, reconfigure = getattr(stream, "errors", None), getattr(stream, "reconfigure", None)
    if errors != "strict" or reconfigure is None:
        yield
        return
    reconfigure(errors="jaxgradsweep.likeness")
    try:
        yield
    finally:
        with contextlib.suppress(BrokenPipeError):  # it writes what it holds
            reconfigure(errors=errors)


def abandon(stream: TextIO) -> None:
    """Write to nowhere from now on: nobody reads this any more, and what it still holds would raise at the end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
