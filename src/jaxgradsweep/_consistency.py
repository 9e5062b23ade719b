"""Identities that need no steps: what holds for every function, whatever its derivative is.

Both sides of each are evaluated along random directions, at the point and at points a few roundings aside. There they
must differ by as much as here if an identity is broken, and by other roundings if it holds: so rounding is measured.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgradsweep._cache import kept
from jaxgradsweep._claim import Arrays, Claim, Pairing, linearise, outputs, pair, transposed, value_with
from jaxgradsweep._compile import compiled
from jaxgradsweep._probe import LEAF, cotangents, root_mean_square, scale_of, seed_words
from jaxgradsweep._program import operations
from jaxgradsweep._stencil import displaced, everywhere
from jaxgradsweep._subject import Subject, structs_of
from jaxgradsweep._tree import wide_dtype
from jaxgradsweep._wording import Law

DRAWS = 3  # random directions and cotangents
ASIDE = (0.0, 1.0, -1.0, 2.0)  # the point itself, and points aside, in units of the nearest
FAR = (2.0**-6, -(2.0**-7))  # relative steps to the points that share a batch with each of these
MIX = (-24.0, 12.0)  # coefficients of a sum that a linear map must respect: a clip hides behind small ones
BROKEN = 10.0  # an identity is broken that is off by so many times its measured rounding
EVALUATIONS = 2  # of the function, that one claimed pairing is worth


@dataclasses.dataclass(frozen=True, kw_only=True)
class Consistency:
    """How well one identity holds that needs no steps. All numbers are relative to the RMS size of the terms compared.

    Attributes:
        law: which identity.
        residual: RMS difference of its two sides.
        roundoff: what rounding contributes to that, measured at points a few roundings aside.
        limit: the identity holds if the residual is at most this.
        advice: where to look if it does not.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgradsweep as jgs
        >>> report = jgs.check_vjp(jnp.sin, (jnp.array([0.3, 1.2]),))
        >>> [(each.law.name, each.holds) for each in report.consistency]
        [('ADJOINT', True), ('LINEARITY', True), ('VALUE', True), ('BATCH', True)]
    """

    law: Law
    residual: float
    roundoff: float
    limit: float
    advice: str = ""

    @property
    def holds(self) -> bool:
        """Whether the two sides differ by no more than rounding."""
        return self.residual <= self.limit


def laws_of(claim: Claim) -> tuple[Law, ...]:
    """The identities that a claim must obey, and that take a program of their own."""
    about_values = values_of(claim) if claim.calls_out else ()
    if claim.kind == "grad":
        return about_values
    if claim.kind in ("jvp", "vjp"):
        return (Law.ADJOINT, Law.LINEARITY, *about_values)
    return (Law.SYMMETRY, *(() if claim.by_value else (Law.LINEARITY,)), *about_values)


def laws_of_sweep(claim: Claim) -> tuple[Law, ...]:
    """The identities that a sweep tests by itself."""
    return () if claim.calls_out else values_of(claim)


def values_of(claim: Claim) -> tuple[Law, ...]:
    """The identities about the function's own values."""
    with_claim = claim.kind in ("jvp", "vjp") or (claim.kind != "curvature" and claim.rule is None)
    return (Law.VALUE,) * (with_claim and not claim.by_value) + (Law.BATCH,) * claim.vectorised


def cost(law: Law) -> int:
    """About how many evaluations of the function a test of this identity is worth."""
    pairings = {Law.VALUE: 1, Law.BATCH: 3}.get(law, 2)
    return DRAWS * len(ASIDE) * EVALUATIONS * pairings


def affordable(laws: Sequence[Law], budget: int) -> tuple[Law, ...]:
    """As many of the identities, from the first on, as so many evaluations of the function pay for."""
    totals = np.cumsum([cost(law) for law in laws])
    return tuple(law for law, total in zip(laws, totals, strict=True) if total <= budget)


def consistency(subject: Subject, laws: Sequence[Law], *, bits: int, floor: float, key: int) -> tuple[Consistency, ...]:
    """Test identities at a point. Call it inside the precision of the check.

    Args:
        subject: what is claimed, and where.
        laws: which identities. The adjoint is left out where the function has one mode only.
        bits: bits of mantissa of the least precise number on the way: points aside differ in some of them.
        floor: relative difference that is rounding in any case.
        key: seed of the directions.

    Returns:
        One record for each identity that could be evaluated and is finite.
    """
    claim, arrays = subject.claim, subject.arrays
    seeds = np.stack([seed_words(key, f"consistency/{i}") for i in range(4 * DRAWS)]).reshape(DRAWS, 4, 4)
    offsets = np.array(ASIDE) * 2.0 ** -np.ceil(0.75 * bits)
    found: dict[Law, Any] = {}
    attempts = [tuple(laws), tuple(law for law in laws if law is not Law.ADJOINT)]
    for chosen in attempts[Law.ADJOINT in laws and only_backward(claim.plain, structs_of(subject.point)) :]:
        try:
            found = _program(claim, chosen)(*arrays, seeds, offsets.astype(wide_dtype()))
            break
        except Exception:  # a rule that forward mode cannot pass, or a claim that raises: the sweep says so itself
            continue
    if Law.COMPILATION in laws:
        found |= compilation(claim, arrays, seeds, offsets)
    told = {law: np.asarray(pairs, np.float64) for law, pairs in found.items()}
    records = [measured(law, told[law], floor) for law in laws if law in told and np.isfinite(told[law]).all()]
    return tuple(records)


def measured(law: Law, pairs: np.ndarray, floor: float) -> Consistency:
    """The record of one identity, from residuals and sizes of terms: both [draws, points], the point itself first."""
    residual, size = pairs
    unit = np.max(size, initial=0) or 1.0
    residual, scale = residual / unit, np.sqrt(np.mean((size / unit) ** 2)) or 1.0
    off = np.sqrt(np.mean(residual[:, 0] ** 2)) / scale
    roundoff = np.sqrt(np.mean(np.var(residual[:, 1:], axis=1, ddof=1))) / scale
    return record(law, float(off), float(roundoff), floor)


def record(law: Law, residual: float, roundoff: float, floor: float) -> Consistency:
    """The record of one identity, with advice if it is broken."""
    limit = max(BROKEN * roundoff, floor)
    return Consistency(
        law=law, residual=residual, roundoff=roundoff, limit=limit, advice=law.advice if residual > limit else ""
    )


@kept
def only_backward(claim: Claim, shapes: Any) -> bool:
    """Whether the function holds a rule for reverse mode alone: JAX says so late, when it compiles forward mode."""

    def pushed(moving: Any, held: Any) -> Any:
        return jax.jvp(lambda at: outputs(claim, at, held), (moving,), (moving,))

    try:
        return "custom_lin" in operations(jax.make_jaxpr(pushed)(list(shapes[0]), shapes[1]))
    except Exception:  # it refuses at once, or raises: the program says so
        return False


@kept
def _program(claim: Claim, laws: tuple[Law, ...]) -> Callable[..., dict[Law, Any]]:
    """The compiled test: two arrays [draws, points] for each identity, of residuals and of sizes of terms."""

    def run(moving: Any, held: Any, values: Any, seeds: Any, offsets: Any) -> dict[str, Any]:
        def one(seed: Any, t: Any) -> dict[str, Any]:
            return {law.name: jnp.stack(told) for law, told in _at_point(claim, laws, moving, held, values, seed, t)}

        return jax.lax.map(lambda seed: jax.lax.map(lambda t: one(seed, t), offsets), seeds)

    program = compiled(claim, run)
    return lambda *given: {Law[name]: np.moveaxis(np.asarray(told), -1, 0) for name, told in program(*given).items()}


def _at_point(claim: Claim, laws: Sequence[Law], moving: Any, held: Any, values: Any, seed: Any, t: Any) -> Any:
    moving = [jnp.asarray(leaf) for leaf in moving]
    scales = [scale_of(leaf) for leaf in moving]
    drawn = jax.lax.map(lambda each: everywhere(moving, scales, each, LEAF), seed)
    v, w, p, aside = ([leaf[i] for leaf in drawn] for i in range(4))
    at = displaced(moving, aside, t)
    out, pairing = linearise(claim, at, held, values)
    q = p
    if not claim.of_hessian:
        duals = jax.lax.map(lambda each: cotangents(out, each, jnp.int32(LEAF)), seed[1:3])
        q, p = ([leaf[i] for leaf in duals] for i in range(2))
    several = Law.SYMMETRY in laws or Law.LINEARITY in laws
    told = paired(pairing, forms(claim, (v, w), (p, q))[: None if several else 1])
    first, last = told[0], told[-1]
    alone: Arrays | None = None
    if Law.BATCH in laws:
        points = jnp.asarray((0.0, *FAR), t.dtype)
        many = jax.vmap(lambda s: outputs(claim, displaced(at, v, s), held))(points)
        each = jax.lax.map(lambda s: outputs(claim, displaced(at, v, s), held), points)
        alone = [b[0] for b in each]
        each = [jnp.where(jnp.isfinite(b), b, a) for a, b in zip(many, each, strict=True)]
        weights = cotangents(each, seed[2], jnp.int32(LEAF))
        yield Law.BATCH, apart(weights, many, each)
    if Law.VALUE in laws:
        yield Law.VALUE, apart(p, value_with(claim, out, first), alone or outputs(claim, at, held))
    if Law.ADJOINT in laws:
        yield Law.ADJOINT, difference(first, linearise(transposed(claim), at, held, values)[1](v, p))
    if Law.SYMMETRY in laws:
        yield Law.SYMMETRY, difference(first, told[1])
    if Law.LINEARITY in laws:
        (a, b), other = MIX, told[-2]
        parts = jnp.stack([last[1], a * first[1], b * other[1]])
        yield Law.LINEARITY, (last[0] - a * first[0] - b * other[0], root_mean_square(parts))


def forms(claim: Claim, tangents: tuple[Arrays, Arrays], duals: tuple[Arrays, Arrays]) -> list[tuple[Arrays, Arrays]]:
    """What is paired: v and p first, and last w, and a mixture of v and w; for a Hessian also p and v, second.

    For a VJP the mixture is one of cotangents.
    """
    (v, w), (p, q) = tangents, duals
    others = [(v, q), (v, mixed(p, q))] if claim.kind == "vjp" else [(w, p), (mixed(v, w), p)]
    return [(v, p), *([(p, v)] if claim.of_hessian else []), *others]


def paired(pairing: Pairing, given: list[tuple[Arrays, Arrays]]) -> list[list[Any]]:
    """What a pairing returns of each of some pairs, compiled once for all."""
    told = jax.lax.map(lambda pair: pairing(*pair), jax.tree.map(lambda *leaves: jnp.stack(leaves), *given))
    return [jax.tree.map(lambda leaf, i=i: leaf[i], told) for i in range(len(given))]


def mixed(a: Arrays, b: Arrays) -> Arrays:
    """A sum of two tangents or cotangents."""
    return [(MIX[0] * x + MIX[1] * y).astype(x.dtype) for x, y in zip(a, b, strict=True)]


def apart(u: Arrays, one: Arrays, other: Arrays) -> tuple[jax.Array, jax.Array]:
    """How far two outputs are from each other, projected on a cotangent, and the size of what is compared."""
    difference = pair(u, [a - b for a, b in zip(one, other, strict=True)])[0]
    return difference, root_mean_square(jnp.stack([pair(u, side)[1] for side in (one, other)]))


def difference(one: Any, other: Any) -> tuple[jax.Array, jax.Array]:
    """The difference of two numbers that come with the size of their terms."""
    return one[0] - other[0], root_mean_square(jnp.stack([one[1], other[1]]))


def compilation(claim: Claim, arrays: Any, seeds: np.ndarray, offsets: np.ndarray) -> dict[Law, Any]:
    """The function and its claim in compiled code against the same, operation by operation."""

    def evaluate(moving: Any, held: Any, values: Any, seed: Any, t: Any) -> Any:
        moving = [jnp.asarray(leaf) for leaf in moving]
        scales = [scale_of(leaf) for leaf in moving]
        v, p, aside = (everywhere(moving, scales, seed[i], LEAF) for i in (0, 2, 3))
        out, pairing = linearise(claim, displaced(moving, aside, t), held, values)
        u = p if claim.kind == "curvature" else cotangents(out, seed[2], jnp.int32(LEAF))
        return pair(u if claim.kind != "curvature" else [jnp.ones_like(y) for y in out], out), pairing(v, u)[:2]

    def told(seed: np.ndarray, t: np.floating) -> Any:
        given: Any = (*arrays, seed, np.asarray(t, wide_dtype()))
        with jax.disable_jit():
            eager = jax.tree.map(np.asarray, evaluate(*given))
        return [(a[0] - b[0], (a[1] + b[1]) / 2) for a, b in zip(eager, program(*given), strict=True)]

    program: Any = jax.jit(evaluate)
    try:
        found = np.array([[told(seed, t) for t in offsets] for seed in seeds], np.float64)
    except Exception:  # code that only a compiler takes
        return {}
    found = np.concatenate([found[:, :, 0] / _unit(found[:, :, 0]), found[:, :, 1] / _unit(found[:, :, 1])])
    return {Law.COMPILATION: np.moveaxis(found, -1, 0)}


def _unit(pairs: np.ndarray) -> float:
    """The largest size of terms among pairs of a residual and a size."""
    return float(np.max(pairs[..., 1], initial=0)) or 1.0
