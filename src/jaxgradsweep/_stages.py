"""A chain of stages with backward passes of their own: which of them is wrong."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from jaxgradsweep._call import recorded
from jaxgradsweep._report import Part, Report
from jaxgradsweep._request import settings_from
from jaxgradsweep._survey import join, survey
from jaxgradsweep._tree import is_inexact
from jaxgradsweep._wording import stages_summary

Stage = Callable[..., Any] | tuple[Callable[..., Any], Callable[..., Any] | None]


@recorded
def check_stages(stages: Sequence[Stage] | Mapping[str, Stage], args: tuple[Any, ...], **settings: Any) -> Report:
    """Check the VJP of every stage of a chain at its own input: which backward pass is wrong, the others being right?

    A wrong stage spoils the gradient of everything before it. At its own input, each is judged by itself.

    Args:
        stages: functions, the first of `args`, each of the next of what the one before returns; or a dict with their
            names. A stage is a function, whose own rule is checked, or `(fun, vjp)`: `vjp(*args) -> (out, vjp_fun)`.
        args: arguments of the first stage, as a tuple.
        **settings: as for `check_grad`, but for `points`.

    Returns:
        A report with a part for each stage; its summary names those that are wrong, the first one first.

    Raises:
        TypeError: a stage that is no function.
        ValueError: no stages.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgradsweep as jgs
        >>> jgs.check_stages([jnp.sin, jnp.tanh], (jnp.array([0.3, 1.2]),)).ok
        True
    """
    known = settings_from(settings)
    if known.points is not None:
        raise ValueError("`check_stages` follows one chain of values: leave out `points`")
    named = dict(stages) if isinstance(stages, Mapping) else {_name(i, stage): stage for i, stage in enumerate(stages)}
    if not named:
        raise ValueError("`stages` must hold at least one function")
    inputs, given = [], tuple(args)
    for name, stage in named.items():
        fun, vjp = stage if isinstance(stage, tuple) else (stage, None)
        for each, what in ((fun, "function"), (vjp, "VJP")):
            if not callable(each) and (each is not None or what == "function"):
                raise TypeError(f"the {what} of stage {name!r} must be callable; got {type(each).__name__}")
        inputs.append((name, fun, vjp, given))
        given = (fun(*given),)
    parts = []
    for name, fun, vjp, given in inputs:
        numbers = tuple(i for i, arg in enumerate(given) if any(map(is_inexact, jax.tree.leaves(arg))))
        report = survey("vjp", fun, given, settings=known, argnums=numbers or 0, rule=vjp, has_aux=False)
        parts.append(Part(name=name, report=report))
    return join(parts, stages_summary([(part.name, part.report.verdict) for part in parts]))


def _name(number: int, stage: Stage) -> str:
    fun = stage[0] if isinstance(stage, tuple) else stage
    return f"{number}: {getattr(fun, '__name__', type(fun).__name__)}"
