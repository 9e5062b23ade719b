"""`check_grads`, with the signature of `jax.test_util.check_grads`: derivatives of every order up to one."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxgradsweep._cache import kept
from jaxgradsweep._check import check_jvp, check_vjp
from jaxgradsweep._examination import right_in_both_modes
from jaxgradsweep._report import DerivativeUnresolved, DerivativeWrong, Report
from jaxgradsweep._request import check_args
from jaxgradsweep._tree import Layout, Same, is_inexact, split
from jaxgradsweep._verdict import Finding
from jaxgradsweep._wording import EPS_IGNORED, Verdict

Accepted = tuple[float, float, float | None]  # atol, rtol, eps as the caller gave them
CHECKED_BY = {"fwd": "JVP", "rev": "VJP", "lin": "linearised JVP"}


def check_grads(
    f: Callable,
    args: Sequence[Any],
    order: int,
    modes: Sequence[str] = ("fwd", "rev"),
    atol: float | None = None,
    rtol: float | None = None,
    eps: float | None = None,
) -> None:
    """Check derivatives up to an order, like `jax.test_util.check_grads` but by a sweep of steps.

    The JVP ("fwd"), the VJP ("rev") or the linearised JVP ("lin") of `f` is checked at `args`; for a higher order, so
    are those of these derivatives, in every combination of the modes.

    Args:
        f: function of pytrees.
        args: its arguments. Leaves that are not floating or complex are held fixed.
        order: highest order, 1, 2, 3, ...
        modes: any of "fwd", "rev" and "lin".
        atol: absolute error of a directional derivative that is accepted in any case (0).
        rtol: relative error that is accepted in any case (0). By default only what `check_jvp` and `check_vjp` call
            correct passes: they measure what can be seen.
        eps: ignored: all steps are tried.

    Raises:
        DerivativeWrong: a derivative is wrong; an AssertionError that carries the `.report`.
        DerivativeUnresolved: a derivative cannot be judged; an AssertionError too.
        TypeError: arguments of the wrong kind.
        ValueError: an order or a mode that there is not.

    Source:
        Signature and order of the checks after `jax.test_util.check_grads`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxgradsweep import check_grads
        >>> check_grads(jnp.sin, (0.3,), order=2)
    """
    if isinstance(order, bool) or not isinstance(order, (int, np.integer)) or order < 1:
        raise ValueError(f"`order` must be a whole number from 1 on; got {order!r}")
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    if unknown := [mode for mode in modes if mode not in CHECKED_BY]:
        raise ValueError(f"`modes` may hold {', '.join(map(repr, CHECKED_BY))}; got {unknown[0]!r}")
    if not callable(f):
        raise TypeError(f"`f` must be callable; got {type(f).__name__}")
    args = tuple(args)
    numbers = [i for i, arg in enumerate(args) if any(map(is_inexact, jax.tree.leaves(arg)))] or range(len(args))
    numbers, _ = check_args(args, tuple(numbers))
    accepted = (atol or 0.0, rtol or 0.0, eps)

    if order == 1:
        if {"fwd", "rev"} <= set(modes) and right_in_both_modes(f, args, numbers):
            modes = tuple(mode for mode in modes if mode == "lin")
        for mode in modes:
            require(one_check(mode, f, args, numbers), accepted, CHECKED_BY[mode])
        return
    point = split(args, numbers, single=False)
    moving = dict(zip(point.paths, point.moving, strict=True))
    plain = of_moving(Same(f), point.layout, point.paths)
    try:
        all_at_once(plain, (moving, list(point.held)), order, modes, accepted)
    except AssertionError:
        one_by_one(plain, (moving, list(point.held)), order, modes, accepted, "")
        raise


def all_at_once(
    fun: Callable,
    args: tuple[Any, Any],
    order: int,
    modes: tuple[str, ...],
    accepted: Accepted,
) -> None:
    """Check one function whose outputs are all derivatives of the orders below: few programs to compile."""
    for _ in range(order - 1):
        fun, args = joint(Same(fun), modes), displaced(args, modes)
    if {"fwd", "rev"} <= set(modes) and right_in_both_modes(fun, args, 0):
        modes = tuple(mode for mode in modes if mode == "lin")
    for mode in modes:
        require(one_check(mode, fun, args, 0), accepted, f"{CHECKED_BY[mode]} of all derivatives of lower order")


def one_by_one(
    fun: Callable,
    args: tuple[Any, Any],
    order: int,
    modes: tuple[str, ...],
    accepted: Accepted,
    outer: str,
) -> None:
    """Check each combination of modes by itself, the lowest orders first, to say which one is wrong."""
    for mode in modes:
        name = f"{CHECKED_BY[mode]} of {outer}" if outer else CHECKED_BY[mode]
        require(one_check(mode, fun, args, 0), accepted, name)
        if order > 1:
            derived = derivative_of(Same(fun), mode)
            one_by_one(derived, displaced(args, (mode,)), order - 1, modes, accepted, name)


def displaced(args: tuple[Any, Any], modes: tuple[str, ...]) -> tuple[Any, Any]:
    """The arguments of a derivative: forward modes take a tangent as well, for which the point itself serves."""
    moving, held = args
    return (moving if modes == ("rev",) else (moving, moving)), held


@kept
def joint(fun: Same, modes: tuple[str, ...]) -> Callable:
    """A function and all its derivatives of first order, in the modes asked for."""

    def derivatives(moving: Any, held: Any) -> dict[str, Any]:
        alone = moving if modes == ("rev",) else moving[0]
        found = {mode: derivative_of(fun, mode)(alone if mode == "rev" else moving, held) for mode in modes}
        return found if "fwd" in modes or "lin" in modes else {"value": fun.value(alone, held), **found}

    return derivatives


def one_check(mode: str, fun: Callable, args: tuple[Any, ...], argnums: Any) -> Report:
    """The derivative of first order in one mode."""
    if mode == "rev":
        return check_vjp(fun, args, argnums=argnums, consistency=False)
    rule = linearised(Same(fun)) if mode == "lin" else None
    return check_jvp(fun, args, argnums=argnums, jvp=rule, consistency=False)


def require(report: Report, accepted: Accepted, name: str) -> None:
    """Raise what a report says, unless the caller's tolerances accept every leaf of it."""
    atol, rtol, eps = accepted
    if all(f.verdict is Verdict.CORRECT or close(report, f, atol, rtol) for f in report.findings):
        return
    error = (DerivativeWrong if report.verdict is Verdict.WRONG else DerivativeUnresolved)(report)
    error.add_note(f"This is the {name} of the function.")
    if eps is not None:
        error.add_note(EPS_IGNORED)
    raise error


def close(report: Report, finding: Finding, atol: float, rtol: float) -> bool:
    """Whether all probes of a leaf, with their error bars, lie within tolerances that the caller asked for."""
    rows = list(finding.probes)
    claimed, estimate = report.sweep.claimed[rows], report.fit.derivative[rows]
    off = np.abs(claimed - estimate) + report.fit.uncertainty[rows]
    return bool(np.all(off <= atol + rtol * np.abs(estimate)))  # NaN is not


@kept
def of_moving(fun: Same, layout: Layout, paths: tuple[str, ...]) -> Callable:
    """A function of what moves and what is held fixed; always the same object, so that it is compiled once."""

    def function(moving: dict[str, Any], held: list[Any]) -> list[Any]:
        out = fun.value(*layout.join([moving[path] for path in paths], held))
        return [leaf for leaf in jax.tree.leaves(out) if is_inexact(leaf)]

    return function


@kept
def derivative_of(fun: Same, mode: str) -> Callable:
    """The function whose derivatives are those of the next order, as in `jax.test_util.check_grads`."""

    def forward(pair: tuple[Any, Any], held: Any) -> Any:
        moving, tangent = pair
        if mode == "lin":
            out, linear = jax.linearize(lambda m: fun.value(m, held), moving)
            return out, linear(tangent)
        return jax.jvp(lambda m: fun.value(m, held), (moving,), (tangent,))

    def reverse(moving: Any, held: Any) -> Any:
        out, pull = jax.vjp(lambda m: fun.value(m, held), moving)
        return pull(out)

    return reverse if mode == "rev" else forward


@kept
def linearised(fun: Same) -> Callable:
    """A JVP by `jax.linearize`."""

    def jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Any:
        out, linear = jax.linearize(fun.value, *primals)
        return out, linear(*tangents)

    return jvp
