"""Stencils: where F is evaluated around x for one probe, and what differences of its values are kept."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgradsweep._cache import traced_once
from jaxgradsweep._claim import Claim, outputs, widen_array
from jaxgradsweep._probe import COMPONENT, LEAF, cotangents, direction_words, pattern, pattern_of, random_words
from jaxgradsweep._tree import wide_dtype

PER_STEP = ("difference", "forward", "backward", "bend", "roundoff")
AtOnce = Callable[[Callable, jax.Array], Any]  # evaluates a function of one offset at several of them


def tangent(
    moving: Sequence[jax.Array],
    scales: Sequence[jax.Array],
    leaf: Any,
    scale: Any,
    index: Any,
    seed: Any,
    span: Any = None,
    shardings: Sequence[Any] = (),
) -> list[jax.Array]:
    """The direction of one probe: zero but in the leaf that it moves; spread over devices as the leaves are."""
    if shardings:
        drawn = [pattern_of(x, seed, scale, index, span).on(x, own) for x, own in zip(moving, scales, strict=True)]
        moved = [jnp.where(leaf == number, v, 0) for number, v in enumerate(drawn)]
        return [
            v if s is None else jax.lax.with_sharding_constraint(v, s) for v, s in zip(moved, shardings, strict=True)
        ]
    sizes = [x.size for x in moving]
    drawn = pattern(direction_words(seed, max(sizes)), scale, index, span, jnp.asarray(sizes, jnp.int32)[leaf])
    return [drawn.on(x, own, leaf == number) for number, (x, own) in enumerate(zip(moving, scales, strict=True))]


def displaced(moving: Sequence[jax.Array], v: Sequence[jax.Array], t: jax.Array) -> list[jax.Array]:
    """X + t v, in the leaves' own precision."""
    return [x + (t.astype(jnp.finfo(x.dtype).dtype) * d).astype(x.dtype) for x, d in zip(moving, v, strict=True)]


def cotangent_of(
    claim: Claim,
    moving: Sequence[jax.Array],
    scales: Sequence[jax.Array],
    out: list[jax.Array],
    seed: Any,
    scale: Any,
    dual: Any = None,
) -> list[jax.Array]:
    """The cotangent of one probe; for second differences of the function itself, a second direction, in all leaves."""
    if claim.kind != "curvature":
        return cotangents(out, seed, scale, dual)
    return everywhere(moving, scales, seed[::-1], jnp.where(scale == COMPONENT, COMPONENT, LEAF))


def everywhere(moving: Sequence[jax.Array], scales: Sequence[jax.Array], seed: Any, scale: Any) -> list[jax.Array]:
    """A random direction in all leaves."""
    sizes = [x.size for x in moving]
    drawn = pattern(random_words(seed, sum(sizes)), scale)
    starts = np.cumsum([0, *sizes[:-1]]).tolist()
    return [drawn.on(x, own, start=start) for x, own, start in zip(moving, scales, starts, strict=True)]


def stencil(
    claim: Claim, moving: Any, held: Any, out: Any, v: Any, u: Any, h: jax.Array, at_once: AtOnce, zero: Any = None
) -> dict[str, jax.Array]:
    """Differences of phi over one chunk of steps, as the kind of claim needs them.

    `out` is F(x) as it comes with the claim: `apart` says how far phi(0) is from that. `undefined` is 1 where F(x) is
    not finite. `zero` is F(x) evaluated as the others are, if that is known; else it is evaluated along with them.
    """
    if claim.kind == "curvature":
        return second_differences(claim, moving, held, out, v, u, h, at_once)
    return differences(claim, moving, held, out, v, u, h, at_once, zero)


def centre(claim: Claim, moving: Any, held: Any, v: Any, h: jax.Array, at_once: AtOnce) -> list[jax.Array]:
    """F(x), evaluated just as F(x + h v) is for the steps of a chunk: so that both round alike."""
    y = at_once(lambda t: outputs(claim, displaced(moving, v, t), held), jnp.zeros(2 * len(h), h.dtype))
    return [a[:1] for a in y]


def differences(
    claim: Claim, moving: Any, held: Any, out: Any, v: Any, u: Any, h: jax.Array, at_once: AtOnce, known: Any
) -> dict[str, jax.Array]:
    """Differences of phi over one chunk of steps: element by element first, then projected on the cotangent."""

    def at(t: jax.Array) -> list[jax.Array]:
        return outputs(claim, displaced(moving, v, t), held)

    sides = [h, -h] if known is not None else [jnp.zeros(1, h.dtype), h, -h]
    y = at_once(at, jnp.concatenate(sides))
    y = y if known is None else [jnp.concatenate([a, b]) for a, b in zip(known, y, strict=True)]
    return _projected(y, out, u, h)


@traced_once
def _projected(y: list[jax.Array], out: list[jax.Array], u: list[jax.Array], h: jax.Array) -> dict[str, jax.Array]:
    """What `differences` keeps of the values at 0, h and -h, and of those that come with the claim."""
    n, wide = len(h), wide_dtype()
    exact = [float(jnp.finfo(a.dtype).eps) for a in y]
    y = [widen_array(a, wide) for a in y]
    zero, plus, minus = [a[0] for a in y], [a[1 : n + 1] for a in y], [a[n + 1 :] for a in y]

    def project(a: list[jax.Array], b: list[jax.Array]) -> jax.Array:
        parts = [jnp.sum(jnp.real(w * (p - q)).reshape(n, -1), axis=1) for w, p, q in zip(u, a, b, strict=True)]
        return jnp.sum(jnp.stack(parts), axis=0)

    def bend(w: jax.Array, p: jax.Array, q: jax.Array, z: jax.Array) -> jax.Array:
        return jnp.sum(jnp.abs(jnp.real(w * ((p - z) - (z - q)))).reshape(n, -1), axis=1)

    def rounding(w: jax.Array, p: jax.Array, q: jax.Array, z: jax.Array, eps: Any) -> jax.Array:
        return eps * jnp.abs(w) * jnp.maximum(jnp.maximum(jnp.abs(p), jnp.abs(q)), jnp.abs(z)) / np.sqrt(12)

    apart = sum(jnp.sum(jnp.real(w * (z - widen_array(a, wide)))) for w, z, a in zip(u, zero, out, strict=True))
    levels = [rounding(*group) for group in zip(u, plus, minus, zero, exact, strict=True)]
    centre = [jnp.broadcast_to(z, p.shape) for z, p in zip(zero, plus, strict=True)]
    return {
        "difference": project(plus, minus),
        "forward": project(plus, centre),
        "backward": project(centre, minus),
        "bend": jnp.sum(jnp.stack([bend(*group) for group in zip(u, plus, minus, centre, strict=True)]), axis=0),
        "roundoff": norm_of_each(levels),
        "undefined": jnp.any(jnp.stack([jnp.any(~jnp.isfinite(z)) for z in zero])).astype(wide),
        "apart": jnp.abs(apart),
    }


def norm_of_each(levels: Sequence[jax.Array]) -> jax.Array:
    """The Euclidean norm over all arrays of each of the rows that they have in common, without over- or underflow."""
    rows = [jnp.abs(level).reshape(len(level), -1) for level in levels]
    largest = functools.reduce(jnp.maximum, [jnp.max(row, axis=1, initial=0) for row in rows])
    unit = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)[:, None]
    total = sum((jnp.sum((row / unit) ** 2, axis=1) for row in rows), start=jnp.zeros(()))
    return unit[:, 0] * jnp.sqrt(total)


def second_differences(
    claim: Claim, moving: Any, held: Any, out: Any, v: Any, u: Any, h: jax.Array, at_once: AtOnce
) -> dict[str, jax.Array]:
    """`u^T H v` from values of the function alone, by polarisation: second differences along v + u and along v - u.

    With `C_w(h) = f(x + h w) - 2 f(x) + f(x - h w) = h^2 w^T H w + O(h^4)`, the difference over two steps is
    `2 h u^T H v = (C_{v+u}(h) - C_{v-u}(h)) / (2 h)`. `forward` and `backward` keep the odd differences along the two,
    which `bends` needs.
    """
    ways = [[a + b for a, b in zip(v, u, strict=True)], [a - b for a, b in zip(v, u, strict=True)]]
    offsets = jnp.concatenate([jnp.zeros(1, h.dtype), h, -h])
    n, wide = len(h), wide_dtype()

    def along(way: list[jax.Array]) -> jax.Array:
        return at_once(lambda t: outputs(claim, displaced(moving, way, t), held)[0], offsets)

    first, second = (along(way) for way in ways)
    eps = float(jnp.finfo(first.dtype).eps)
    first, second = first.astype(wide), second.astype(wide)
    plus = [y[1 : n + 1] - y[0] for y in (first, second)]
    minus = [y[n + 1 :] - y[0] for y in (first, second)]
    total = ((plus[0] + minus[0]) - (plus[1] + minus[1])) / 4
    largest = jnp.max(jnp.abs(jnp.stack([first[1:], second[1:]])).reshape(2, 2, n), axis=(0, 1))
    return {
        "difference": 2 * total / h,
        "forward": plus[0] - minus[0],
        "backward": plus[1] - minus[1],
        "bend": jnp.zeros_like(total),
        "roundoff": eps * jnp.maximum(largest, jnp.abs(first[0])) / np.sqrt(12) / (np.sqrt(2) * h),
        "undefined": (~jnp.isfinite(first[0])).astype(wide),
        "apart": jnp.abs(first[0] - out[0].astype(wide)),
    }


def bends(found: dict[str, np.ndarray], steps: np.ndarray) -> dict[str, np.ndarray]:
    """What `second_differences` kept, as a sweep needs it: its one-sided differences tell a jump of the curvature.

    Where the second derivative along w jumps by J at x, central first differences change by `J h / 8` from h to h / 2,
    and by O(h^2) where it does not. Eight times that takes the place of the second differences of an ordinary sweep.
    """
    with np.errstate(all="ignore"):
        changes = []
        for odd in (found["forward"], found["backward"]):
            central = odd / (2 * steps)
            change = 8 * (central[:, :-1] - central[:, 1:])
            changes.append(np.concatenate([change, change[:, -1:] / 2], axis=1) if len(steps) > 1 else 0 * odd)
        bend, half = (changes[0] - changes[1]) / 4, found["difference"] / 2
        return {
            "forward": half + bend / 2,
            "backward": half - bend / 2,
            "bend": (np.abs(changes[0]) + np.abs(changes[1])) / 4,
        }
