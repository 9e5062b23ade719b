"""Whole derivatives, component by component: the claim's own, and what JAX makes of the program.

None of these decides a verdict. One that agrees with everything that was measured stands for the right derivative when
causes are looked for; programs with one planted mistake show whether a claim makes it.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from jaxgradsweep._claim import Claim, linearise, outputs
from jaxgradsweep._compile import compiled
from jaxgradsweep._pattern import nth
from jaxgradsweep._probe import BASIS, cotangents
from jaxgradsweep._program import equations
from jaxgradsweep._subject import Subject

INLINED = ("jaxpr", "call_jaxpr")  # where an equation keeps the program that it calls
CALLS = (
    "jit",
    "pjit",
    "closed_call",
    "core_call",
    "remat",
    "remat2",
    "checkpoint",
    "custom_jvp_call",
    "custom_vjp_call",
)
MOST_PLACES = 4  # so many places of one activation function are tried one by one
UNLIKE = 1e-6  # claims for two cotangents differ if by more than this part
ZERO_SEED = np.zeros(4, np.uint32)

Leaves = list[np.ndarray]
Gradient = Callable[[Any, Any], Any]  # of moving leaves and held arrays


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


@functools.lru_cache(maxsize=64)
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


def own_gradient(claim: Claim, at: Callable[[Claim, Any, Any], Any] | None = None) -> Gradient:
    """JAX's gradient of `<u, F>` by the moving leaves, u fixed by the values of F, compiled."""
    return compiled(claim, gradient_of(claim, at or outputs))


def gradient_of(claim: Claim, evaluate: Callable[[Claim, Any, Any], Any]) -> Gradient:
    """The gradient of `<u, F>`, for F evaluated in a way of one's own."""

    def gradient(moving: Any, held: Any) -> Any:
        moving = [jnp.asarray(leaf) for leaf in moving]
        u = weights(outputs(claim, moving, held))

        def phi(moving: Any) -> jax.Array:
            out = evaluate(claim, moving, held)
            return sum((jnp.sum(jnp.real(w * y)) for w, y in zip(u, out, strict=True)), start=jnp.zeros(()))

        return jax.grad(phi)(moving)

    return gradient


def references(subject: Subject) -> Iterator[tuple[Leaves, Gradient]]:
    """What JAX says the derivative is: with the function's own rules, and without any rule that somebody wrote."""
    for evaluate in (None, functools.partial(run_with, {})):
        gradient = own_gradient(subject.claim, evaluate)
        for leaves in attempted(gradient, subject):
            yield leaves, gradient


def attempted(gradient: Gradient, subject: Subject, held: Any = None) -> Iterator[Leaves]:
    """The gradient, if it can be taken."""
    try:
        found = gradient(subject.point.moving, subject.point.held if held is None else held)
        yield [np.asarray(leaf) for leaf in found]
    except Exception:  # a mode that there is not, a shape that does not fit
        return


# ---- programs with another derivative in one place


def run_with(rules: dict[Any, Callable], claim: Claim, moving: Any, held: Any) -> Any:
    """F, run operation by operation, without custom rules, and with other functions for some operations.

    A key of `rules` is the name of an operation, or the name and how many of it came before.
    """
    program, shape = jax.make_jaxpr(lambda m, h: outputs(claim, m, h), return_shape=True)(moving, held)
    counts: dict[str, int] = {}
    out = interpret(program.jaxpr, program.consts, jax.tree.leaves((moving, held)), rules, counts)
    return jax.tree.unflatten(jax.tree.structure(shape), out)


def interpret(
    program: Any, consts: Sequence[Any], args: Sequence[Any], rules: dict[Any, Callable], counts: dict[str, int]
) -> list[Any]:
    """Evaluate a jaxpr, with calls and custom rules inlined."""
    known: dict[Any, Any] = {}

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else known[variable]

    known.update(zip(program.constvars, consts, strict=True))
    known.update(zip(program.invars, args, strict=True))
    for step in program.eqns:
        values, name = [read(v) for v in step.invars], step.primitive.name
        inner = next((step.params[key] for key in INLINED if key in step.params), None)
        if name in CALLS and inner is not None:
            held = getattr(inner, "consts", ())
            out = interpret(getattr(inner, "jaxpr", inner), held, values, rules, counts)
        else:
            place = counts.get(name, 0)
            counts[name] = place + 1
            rule = rules.get(name) or rules.get((name, place))
            out = rule(*values) if rule is not None else step.primitive.bind(*values, **step.params)
            out = out if step.primitive.multiple_results else [out]
        known.update(zip(step.outvars, out, strict=True))
    return [read(v) for v in program.outvars]


sigmoid = jax.nn.sigmoid
# Activation functions: the value, and its slope from the argument z and the value a.
RIGHT: dict[str, tuple[Callable, Callable]] = {
    "tanh": (jnp.tanh, lambda z, a: 1 - a**2),
    "logistic": (sigmoid, lambda z, a: a * (1 - a)),
    "sin": (jnp.sin, lambda z, a: jnp.cos(z)),
    "cos": (jnp.cos, lambda z, a: -jnp.sin(z)),
    "exp": (jnp.exp, lambda z, a: a),
    "log": (jnp.log, lambda z, a: 1 / z),
    "sqrt": (jnp.sqrt, lambda z, a: 0.5 / a),
    "erf": (jax.lax.erf, lambda z, a: 2 / np.sqrt(np.pi) * jnp.exp(-(z**2))),
    "max": (jnp.maximum, lambda z, a: jnp.where(z == a, 1.0, 0.0)),
}
# What people write instead: what is wrong, and the slope.
WRONG: dict[str, tuple[tuple[str, Callable], ...]] = {
    "tanh": (
        ("1 - z**2 at its argument z, where 1 - a**2 at its value a is right", lambda z, a: 1 - z**2),
        ("1 - tanh(a)**2 at its value a", lambda z, a: 1 - jnp.tanh(a) ** 2),
        ("1 - a, without the square", lambda z, a: 1 - a),
        ("1 + a**2", lambda z, a: 1 + a**2),
    ),
    "logistic": (
        ("z (1 - z) at its argument z; a (1 - a) is right", lambda z, a: z * (1 - z)),
        ("its slope at its value a", lambda z, a: sigmoid(a) * (1 - sigmoid(a))),
        ("a, without the factor 1 - a", lambda z, a: a),
        ("a (1 + a)", lambda z, a: a * (1 + a)),
    ),
    "sin": (("-cos", lambda z, a: -jnp.cos(z)),),
    "cos": (("sin, without the sign", lambda z, a: jnp.sin(z)),),
    "exp": (("the exponential of its value", lambda z, a: jnp.exp(a)), ("its argument", lambda z, a: z)),
    "log": (("one over its value", lambda z, a: 1 / a),),
    "sqrt": (("one over the root, without the half", lambda z, a: 1 / a),),
    "erf": (),
    "max": (("that of a rectifier whose mask is the wrong way round", lambda z, a: jnp.where(z == a, 0.0, 1.0)),),
}
LEFT_OUT = ("1: it is left out", lambda z, a: jnp.ones_like(z))


def slopes_of(name: str) -> list[tuple[str, Callable]]:
    """The right slope of an activation function, and the wrong ones."""
    return [("", RIGHT[name][1]), *WRONG[name], LEFT_OUT]


def blended(name: str, chosen: jax.Array) -> Callable:
    """An activation function with one of its slopes: which one is an argument of the compiled program."""
    value, slopes = RIGHT[name][0], [slope for _, slope in slopes_of(name)]

    @jax.custom_jvp
    def fun(*given: Any) -> Any:
        return value(*given)

    @fun.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        a = value(*primals)
        each = [jnp.broadcast_to(slope(primals[0], a), a.shape).astype(a.dtype) for slope in slopes]
        change = sum(jnp.where(chosen == number, slope, 0) for number, slope in enumerate(each)) * tangents[0]
        if len(primals) == 2:  # the larger of two: the other one has its right slope
            change = change + jnp.where(primals[0] == a, 0, 1).astype(a.dtype) * tangents[1]
        return a, change

    return fun


def mistaken(subject: Subject) -> Iterator[tuple[str, str, Leaves]]:
    """Gradients with one activation's slope wrong: its name, what is wrong, and the leaves. One program for all."""
    point, claim = subject.point, subject.claim
    try:
        program = jax.make_jaxpr(lambda m, h: outputs(claim, m, h))(list(point.moving), point.held)
    except Exception:
        return
    names = [step.primitive.name for step in equations(program)]
    counts = {name: names.count(name) for name in RIGHT if name in names}
    singly = {name for name, count in counts.items() if 1 < count <= MOST_PLACES}
    keys: list[Any] = [key for name in counts for key in (places(name, counts) if name in singly else [name])]
    if not keys:
        return

    def gradient(moving: Any, held: Any, choices: Any) -> Any:
        rules = {
            key: blended(key if isinstance(key, str) else key[0], chosen)
            for key, chosen in zip(keys, choices, strict=True)
        }
        return gradient_of(claim, functools.partial(run_with, rules))(moving, held)

    run = compiled(claim, gradient)
    for name in counts:
        own = [i for i, key in enumerate(keys) if key == name or key[0] == name]
        for number, (words, _) in enumerate(slopes_of(name)):
            for chosen in ([own, *([i] for i in own)] if name in singly else [own]) if number else []:
                choices = np.zeros(len(keys), np.int32)
                choices[chosen] = number
                which = name if len(chosen) == len(own) else f"the {nth(keys[chosen[0]][1] + 1)} {name}"
                for leaves in attempted(functools.partial(_with_choices, run, choices), subject):
                    yield which, words, leaves


def _with_choices(run: Callable, choices: np.ndarray, moving: Any, held: Any) -> Any:
    return run(list(moving), held, choices)


def places(name: str, counts: dict[str, int]) -> list[tuple[str, int]]:
    return [(name, place) for place in range(counts[name])]


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
