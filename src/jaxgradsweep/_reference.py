"""Whole derivatives, component by component: the claim's own, and what JAX makes of the program.

None of these decides a verdict. One that agrees with everything that was measured stands for the right derivative when
causes are looked for; the gradient of other arguments shows whether a claim is that.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgradsweep._cache import kept
from jaxgradsweep._claim import Claim, linearise, outputs
from jaxgradsweep._compile import compiled
from jaxgradsweep._interpreter import run_with, without_rules
from jaxgradsweep._probe import BASIS, cotangents
from jaxgradsweep._subject import Subject

UNLIKE = 1e-6  # claims for two cotangents differ if by more than this part
ZERO_SEED = np.zeros(4, np.uint32)

Leaves = list[np.ndarray]
Gradient = Callable[[Any, Any], Any]  # of moving leaves and held arrays
Evaluate = Callable[[Claim, Any, Any], Any]  # F of moving leaves and held arrays
WAYS = (outputs, functools.partial(run_with, None), functools.partial(run_with, without_rules))


def claimed_leaves(subject: Subject, times: float = 1.0) -> Leaves | None:
    """Every component of the claimed derivative of `<u, F>`, for the u of single components; None if it has none.

    `times` multiplies u.
    """
    claim = subject.claim
    if claim.by_value:
        return None if claim.of_hessian else [np.asarray(value) for value in subject.values]

    try:
        return [np.asarray(leaf) for leaf in _claimed_program(claim)(*subject.arrays, times)]
    except Exception:  # a claim that JAX cannot differentiate with respect to its tangent
        return None


@kept
def _claimed_program(claim: Claim) -> Callable[..., Any]:
    """The compiled derivative of the claimed pairing with respect to its tangent, for u times a number."""

    def whole(moving: Any, held: Any, values: Any, times: Any) -> Any:
        moving = [jnp.asarray(leaf) for leaf in moving]
        out, pairing = linearise(claim, moving, held, values)
        u = [times * w for w in weights(out)]
        return jax.grad(lambda v: pairing(v, u)[0])([jnp.zeros_like(leaf) for leaf in moving])

    return compiled(claim, whole)


def about_cotangent(subject: Subject, claimed: Leaves) -> str | None:
    """The cause that shows if a VJP is asked for minus twice the cotangent: "ignores-" or "nonlinear-in-cotangent"."""
    if subject.claim.kind != "vjp" or not any(leaf.any() for leaf in claimed):
        return None
    other = claimed_leaves(subject, times=-2.0)
    if other is None:
        return None
    if all(np.array_equal(a, b) for a, b in zip(claimed, other, strict=True)):
        return "ignores-cotangent"
    size = max(float(np.max(np.abs(leaf), initial=0)) for leaf in claimed)
    off = max(float(np.max(np.abs(b + 2 * a), initial=0)) for a, b in zip(claimed, other, strict=True))
    return "nonlinear-in-cotangent" if off > UNLIKE * size else None


def weights(out: list[jax.Array]) -> list[jax.Array]:
    """The cotangent of probes along single components."""
    return cotangents(out, jnp.asarray(ZERO_SEED), jnp.int32(BASIS))


@kept
def own_gradient(claim: Claim, evaluate: Evaluate) -> Gradient:
    """JAX's gradient of `<u, F>` by the moving leaves, u fixed by the values of F, compiled."""
    return compiled(claim, gradient_of(claim, evaluate))


def gradient_of(claim: Claim, evaluate: Evaluate) -> Gradient:
    """The gradient of `<u, F>`, for F evaluated in a way of one's own."""

    def gradient(moving: Any, held: Any) -> Any:
        moving = [jnp.asarray(leaf) for leaf in moving]
        u = weights(outputs(claim, moving, held))

        def phi(moving: Any) -> jax.Array:
            out = evaluate(claim, moving, held)
            return sum((jnp.sum(jnp.real(w * y)) for w, y in zip(u, out, strict=True)), start=jnp.zeros(()))

        return jax.grad(phi)(moving)

    return gradient


def references(subject: Subject) -> Iterator[tuple[Leaves, Evaluate]]:
    """What JAX says the derivative is: with all rules that the function has, with JAX's own only, and without any."""
    for evaluate in WAYS:
        for leaves in attempted(own_gradient(subject.claim.plain, evaluate), subject):
            yield leaves, evaluate


def attempted(gradient: Gradient, subject: Subject, held: Any = None) -> Iterator[Leaves]:
    """The gradient, if it can be taken."""
    try:
        found = gradient(subject.point.moving, subject.point.held if held is None else held)
        yield [np.asarray(leaf) for leaf in found]
    except Exception:  # a mode that there is not, a shape that does not fit
        return


# ---- other arguments


def parts_of_batch(subject: Subject, gradient: Gradient) -> Iterator[tuple[str, Leaves]]:
    """Gradients for single examples: of every axis length that several held arrays begin with, the first and last."""
    held = subject.point.held
    lengths = {np.shape(leaf)[0] for leaf in held if np.ndim(leaf) >= 1 and np.shape(leaf)[0] > 1}
    for length in sorted(lengths, reverse=True)[:2]:
        for words, place in (("first", slice(0, 1)), ("last", slice(length - 1, length))):
            cut = tuple(leaf[place] if np.ndim(leaf) >= 1 and np.shape(leaf)[0] == length else leaf for leaf in held)
            for leaves in attempted(gradient, subject, cut):
                yield f"the {words} of {length}", leaves


def elsewhere(subject: Subject, evaluate: Evaluate) -> Iterator[tuple[str, dict[str, str], Leaves]]:
    """Derivatives of the same function that are easily taken for the right one: cause, words, and leaves.

    At the function's own value, where it has the shape of the argument, as if a slope that is a function of x were one
    of y; and the product with the Jacobian itself instead of its transpose.
    """
    point, claim = subject.point, subject.claim
    if [y.shape for y in subject.outputs] != [np.shape(x) for x in point.moving] or claim.of_hessian:
        return

    at_value, pushed = _elsewhere_programs(claim.plain, evaluate)
    for leaves in attempted(at_value, subject):
        yield "elsewhere", {"where": "the value of the function instead of its argument"}, leaves
    for leaves in attempted(pushed, subject):
        used, needed = ("J^T u", "J u") if claim.kind == "jvp" else ("J u", "J^T u")
        yield "jacobian-transposed", {"used": used, "needed": needed}, leaves


@kept
def _elsewhere_programs(claim: Claim, evaluate: Evaluate) -> tuple[Gradient, Gradient]:
    """The gradient at the function's own value, and the product with the Jacobian itself."""

    def parts(moving: Any, held: Any) -> Any:
        """F at a point, and a cotangent that looks like the point."""
        moving = [jnp.asarray(leaf) for leaf in moving]
        values = evaluate(claim, moving, held)
        both = zip(weights(values), values, moving, strict=True)
        return values, [w.astype(y.dtype) for w, y, _ in both], moving

    def at_value(moving: Any, held: Any) -> Any:
        values, u, moving = parts(moving, held)
        there = [y.astype(x.dtype) for y, x in zip(values, moving, strict=True)]
        return jax.vjp(lambda m: evaluate(claim, m, held), there)[1](u)[0]

    def pushed(moving: Any, held: Any) -> Any:
        _, u, moving = parts(moving, held)
        u = [w.astype(x.dtype) for w, x in zip(u, moving, strict=True)]
        return jax.jvp(lambda m: evaluate(claim, m, held), (moving,), (u,))[1]

    return compiled(claim, at_value), compiled(claim, pushed)


def at_other_parameters(subject: Subject, gradient: Gradient, claimed: Leaves) -> tuple[float, Leaves] | None:
    """The step s for which the claim is the gradient at x + s claim, as one that is a step of descent late has it.

    Newton's method on the projection of the difference on the claim, from the slope at s = 0.
    """
    if any(np.iscomplexobj(c) for c in claimed):
        return None
    size = sum(float(np.sum(np.abs(c) ** 2)) for c in claimed)

    def missed(s: float) -> tuple[float, Leaves] | None:
        moved = [np.asarray(x) + s * c for x, c in zip(subject.point.moving, claimed, strict=True)]
        try:
            found = [np.asarray(leaf) for leaf in gradient(moved, subject.point.held)]
        except Exception:
            return None
        return sum(float(np.sum((g - c) * c)) for g, c in zip(found, claimed, strict=True)) / size, found

    scale = 1e-3 * max(float(np.max(np.abs(x), initial=0)) for x in subject.point.moving) or 1e-3
    s, step = 0.0, scale / (np.sqrt(size) or 1.0)
    here = missed(s)
    for _ in range(12):
        there = missed(s + step)
        if here is None or there is None or there[0] == here[0]:
            return None
        s, step, here = s + step, -there[0] * step / (there[0] - here[0]), there
        if abs(step) <= 1e-12 * abs(s):
            break
    return (s, here[1]) if here is not None and np.isfinite(s) else None
