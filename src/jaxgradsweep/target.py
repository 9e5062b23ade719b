"""What is named on a command line: a function in a file or a module, as `loss.py:loss` or `package.module:loss`."""

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any


class TargetError(Exception):
    """Something that was named on the command line is not there."""


def load(target: str) -> Any:
    """The object that `FILE_OR_MODULE:NAME` names; dots in the name are attributes.

    Raises:
        TargetError: There is no such file, module or name. Errors of the user's own code are raised as they are.
    """
    where, colon, name = target.rpartition(":")
    if not colon or not where or not name:
        raise TargetError(f"`{target}` must be FILE:NAME or MODULE:NAME, as in `loss.py:loss`")
    found = from_file(Path(where)) if where.endswith(".py") else from_module(where)
    for part in name.split("."):
        if not hasattr(found, part):
            inside = getattr(found, "__dict__", ())
            known = ", ".join(sorted(key for key in inside if not key.startswith("_"))) or "nothing"
            raise TargetError(f"{where} has no `{name}`; it has {known}")
        found = getattr(found, part)
    return found


def load_args(target: str) -> tuple[Any, ...]:
    """The arguments that `FILE_OR_MODULE:NAME` names: a tuple, or a function that returns one and needs nothing.

    Raises:
        TargetError: As `load`, or it is something else. Errors of the user's own code are raised as they are.
    """
    found, verb = load(target), "is"
    if callable(found):
        require_call(target, found, ())
        found, verb = found(), "returned"
    if not isinstance(found, tuple):
        raise TargetError(
            f"`{target}` must be a tuple of arguments, or a function that returns one; it {verb} something of type "
            f"{type(found).__name__}. A single argument is `(x,)`"
        )
    return found


def require_call(target: str, found: Any, args: tuple[Any, ...]) -> None:
    """Make sure that what was named can be called with so many arguments.

    Raises:
        TargetError: It cannot. Where Python knows no signature, that is left to the call.
    """
    if not callable(found):
        raise TargetError(f"`{target}` must be a function; it is something of type {type(found).__name__}")
    with contextlib.suppress(ValueError):
        signature = inspect.signature(found)
        try:
            signature.bind(*args)
        except TypeError as error:
            count = f"{len(args) or 'no'} argument{'' if len(args) == 1 else 's'}"
            raise TargetError(f"`{target}` takes {signature}, and is called with {count}: {error}") from None


def from_file(path: Path) -> Any:
    """The module in a file, always the same for the same file."""
    if not path.is_file():
        raise TargetError(f"there is no file {path}")
    path = path.resolve()
    name = f"_jaxgradsweep_{path.stem}_{hashlib.blake2b(str(path).encode(), digest_size=4).hexdigest()}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{path} is no Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # what lies beside a file can be imported, as by `python FILE`
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(path.parent))
    return module


def from_module(name: str) -> Any:
    """An installed module, or one in the current folder."""
    sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise
        raise TargetError(f"there is no module `{name}`") from None
    finally:
        sys.path.remove("")
