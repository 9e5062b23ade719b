"""The call that made a report, as it would be written again: kept in its environment."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from jaxgradsweep._report import Report

UNSEEN = {"checkpoint", "progress"}  # where measurements are kept, and how waiting is shown: no report depends on it
LONGEST = 80  # letters of a value that is written as it is

P = ParamSpec("P")
R = TypeVar("R", bound=Report)


def recorded(check: Callable[P, R]) -> Callable[P, R]:
    """A check whose report says how it was called, as `environment["call"]`.

    Numbers and words are written as they are, without those that are the default; functions by their names; and what
    a report cannot keep, as arrays, by the name of its argument.
    """
    signature = inspect.signature(check)

    @functools.wraps(check)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        report = check(*args, **kwargs)
        words = written(check.__name__, signature, signature.bind(*args, **kwargs))
        return dataclasses.replace(report, environment=report.environment | {"call": words})

    return call


def written(name: str, signature: inspect.Signature, bound: inspect.BoundArguments) -> str:
    """A call in Python."""
    said = []
    for parameter in signature.parameters.values():
        if parameter.name not in bound.arguments:
            continue
        value = bound.arguments[parameter.name]
        if parameter.kind is parameter.VAR_KEYWORD:
            given = {key: each for key, each in value.items() if each is not None and key not in UNSEEN}
            said += [f"{key}={spelled(each, key)}" for key, each in given.items()]
        elif parameter.kind is parameter.KEYWORD_ONLY:
            said += [f"{parameter.name}={spelled(value, parameter.name)}"] * (value is not parameter.default)
        else:
            said.append(spelled(value, parameter.name))
    return f"{name}({', '.join(said)})"


def spelled(value: Any, name: str) -> str:
    """A value as one writes it in Python, or the name of its argument for what cannot be written."""
    if callable(value):
        return path_of(value) or name
    plain = value if isinstance(value, tuple) else (value,)
    shown = repr(value) if all(isinstance(each, (bool, int, float, str)) for each in plain) else ""
    return shown if 0 < len(shown) <= LONGEST else name


def path_of(function: Any) -> str:
    """Module and name of a function that can be imported; empty for another, as a lambda."""
    path = getattr(function, "__qualname__", "")
    module = getattr(function, "__module__", None) or ""
    if not path or not path.isprintable() or not all(map(str.isidentifier, path.split("."))):
        return ""
    private = not module or any(part.startswith("_") for part in module.split("."))
    return path if private else f"{module}.{path}"
