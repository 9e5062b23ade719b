"""What went wrong, said to whoever typed the command: where in their own code, and what to do."""

import contextlib
import linecache
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator

YOURS = "jaxgradsweep: this comes from {file}, line {line}{name}: mend it there, and run the same command again"
OURS = (
    "jaxgradsweep: this is no error of your code, but of jaxgradsweep or of what it is built on. `jaxgradsweep doctor` "
    "tells whether the installation works"
)
FOLDED = "JAX has removed its internal frames"  # a note of JAX's about its own traceback


def tell(error: BaseException) -> str:
    """Return what to write about an error.

    Args:
        error: What was raised.

    Returns:
        A line, for what jaxgradsweep itself found wrong and for files that cannot be read or written. The traceback
        of the user's frames alone and where to mend it, for errors of their code. All of the traceback, for others.
    """
    told = traceback.TracebackException.from_exception(error)
    mine = traceback.extract_tb(error.__traceback__)
    for each in chain(told):
        each.stack = traceback.StackSummary.from_list([frame for frame in each.stack if is_yours(frame.filename)])
        each.__notes__ = [note for note in each.__notes__ or [] if FOLDED not in note]
    last = next((each.stack[-1] for each in chain(told) if each.stack), None)
    if isinstance(error, SyntaxError):
        return _without_empty(told) + YOURS.format(file=error.filename, line=error.lineno, name="") + "\n"
    if last is not None:
        name = "" if last.name.startswith("<") else f", in `{last.name}`"
        return _without_empty(told) + YOURS.format(file=last.filename, line=last.lineno, name=name) + "\n"
    if isinstance(error, OSError) or (mine and _is_raised(mine[-1])):
        return f"jaxgradsweep: {error}\n"
    return f"{''.join(traceback.format_exception(error))}{OURS}\n"


def chain(told: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """An error and what it came from, as far as Python shows it; the error itself first."""
    yield told
    before = told.__cause__ or (None if told.__suppress_context__ else told.__context__)
    if before is not None:
        yield from chain(before)


def is_yours(filename: str) -> bool:
    """Whether a file is neither ours, nor JAX's, nor Python's own."""
    if filename.startswith("<"):  # made at run time, as the methods of a dataclass are
        return False
    path = os.path.realpath(filename)
    if any(_lies_in(path, folder) for folder in _packages()):
        return False
    installed = [sysconfig.get_path(name) for name in ("purelib", "platlib")]
    return any(_lies_in(path, folder) for folder in installed) or not _lies_in(path, sysconfig.get_path("stdlib"))


def _packages() -> list[str]:
    """Where the packages lie whose frames are hidden."""
    files = [getattr(sys.modules.get(name), "__file__", None) for name in ("jaxgradsweep", "jax", "jaxlib")]
    return [os.path.dirname(file) for file in files if file]


def _lies_in(path: str, folder: str) -> bool:
    with contextlib.suppress(ValueError):  # on different drives
        return os.path.commonpath([path, os.path.realpath(folder)]) == os.path.realpath(folder)
    return False


def _is_raised(frame: traceback.FrameSummary) -> bool:
    """Whether a `raise` of ours is what raised, and not something that broke."""
    ours = os.path.dirname(os.path.realpath(__file__))
    return _lies_in(os.path.realpath(frame.filename), ours) and linecache.getline(
        frame.filename, frame.lineno or 0
    ).strip().startswith("raise")


def _without_empty(told: traceback.TracebackException) -> str:
    """The traceback, without the headline of those that have no frame left."""
    for each in chain(told):
        if not each.stack:
            each.stack = None  # pyright: ignore[reportAttributeAccessIssue]
    return "".join(told.format())
