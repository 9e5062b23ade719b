"""What a shell offers after TAB: commands, options, files, and the functions inside of a file."""

import argparse
import ast
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

SHELLS = ("bash", "zsh", "fish")
NEEDED = "completion needs argcomplete: run `{python} -m pip install argcomplete`"


def code(shell: str) -> str:
    """Return what a shell must evaluate to complete `jaxgradsweep`.

    Args:
        shell: "bash", "zsh" or "fish".

    Returns:
        A script, which asks `jaxgradsweep` itself whenever TAB is pressed.

    Raises:
        ModuleNotFoundError: argcomplete is not installed.
    """
    return importlib.import_module("argcomplete").shellcode(["jaxgradsweep"], shell=shell)


def answer(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks what could follow, and end the process; do nothing if none asks."""
    if "_ARGCOMPLETE" in os.environ:
        importlib.import_module("argcomplete").autocomplete(parser)


def complete(action: argparse.Action, completer: Callable[..., Any]) -> None:
    """Let an argument be completed; argcomplete looks for the attribute."""
    action.completer = completer  # pyright: ignore[reportAttributeAccessIssue]


def reports(prefix: str, **_: Any) -> Any:
    """JSON files and folders."""
    return importlib.import_module("argcomplete.completers").FilesCompleter(["json"])(prefix)


def targets(prefix: str, **_: Any) -> list[str]:
    """FILE:NAME, for the Python files here and what they define; the files are read, and not run."""
    where, colon, _begun = prefix.rpartition(":")
    if not colon:
        files = Path(os.path.dirname(prefix) or ".").glob("*")
        folder = os.path.join(os.path.dirname(prefix), "")
        return [f"{folder}{file.name}{'/' if file.is_dir() else ':'}" for file in files if _offered(file)]
    path = Path(where if where.endswith(".py") else f"{where.replace('.', '/')}.py")
    return [f"{where}:{name}" for name in defined(path)]


def _offered(file: Path) -> bool:
    return not file.name.startswith((".", "__")) and (file.suffix == ".py" or file.is_dir())


def defined(path: Path) -> list[str]:
    """The names that a file defines at its top level."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return []
    names = [node.name for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    for node in body:
        if isinstance(node, ast.Assign):
            names += [each.id for each in node.targets if isinstance(each, ast.Name)]
    return [name for name in names if not name.startswith("_")]
