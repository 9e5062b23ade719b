"""Where to look: directions, cotangents and steps.

A direction is a random sign times a short random mantissa times a power of two near a scale of the leaf, so that
`x + h v` is exact, or nearly so, for every step that is a power of two.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgradsweep._cache import traced_once
from jaxgradsweep._tree import wide_dtype

LEAF, COMPONENT = 0, 1  # scale of a random direction: the leaf's, or each component's own
MAX_STEPS = 80  # longest grid: a multiple of every chunk of steps that is evaluated at once
BASIS, BASIS_LEAF = 2, 3  # one component alone, at its own scale or at the leaf's
SKIPPED, COARSE = 3, 16  # of the grid's steps, from the largest: those left out at first, and those tried
ALONE = 1.375  # of which it moves by so much: far points of round numbers are often kinks or poles
MOST_COMPONENTS = 32  # leaves of at most so many are looked at component by component where kinks hide the answer,
SOME_COMPONENTS = 8  # and larger ones at so many of them
FEW = 8  # in leaves of at most so many components, no error in two of them is orthogonal to two directions,
PARALLEL = 2.0**-6  # which are drawn again if they move any two components in proportion, or nearly so
HALF = 1 << 15  # the random bit of a component that tells in which half it is
PART, REST = 4, 5  # a random half of the components of the direction at the leaf's scale, and the other half
ALL = (0, 1, 1, 1)  # a span of all components
EVERY_OUTPUT = (-1, *ALL)
WORDS = 3 + 4 + len(ALL) + len(EVERY_OUTPUT)  # integers of a packed probe
SCALES = ("leaf", "component", "basis", "basis at leaf's scale", "part", "rest")


@dataclasses.dataclass(frozen=True)
class Probes:
    """Probes as the compiled program wants them: one row each.

    A span (start, stop, stride, period) holds the components whose flat index i has `start <= i // stride % period <
    stop`: a range of the leaf, or of one of its axes.
    """

    leaf: np.ndarray  # which moving leaf
    scale: np.ndarray  # LEAF, COMPONENT or BASIS
    index: np.ndarray  # which component, where one moves alone
    seed: np.ndarray  # four words that seed the direction and the cotangent
    span: np.ndarray  # which components move
    dual: np.ndarray  # which outputs count: of which leaf, or -1 for all, and a span

    def __len__(self) -> int:
        return len(self.leaf)

    def join(self, more: "Probes") -> "Probes":
        """These probes, and then more."""
        return Probes(*(np.concatenate(pair) for pair in zip(vars(self).values(), vars(more).values(), strict=True)))

    def rows(self, rows: np.ndarray | slice) -> "Probes":
        return Probes(*(values[rows] for values in vars(self).values()))

    def packed(self, count: int) -> np.ndarray:
        """What the compiled program takes: always so many rows of integers."""
        columns = [values.view(np.int32).reshape(len(self), -1) for values in vars(self).values()]
        return np.pad(np.concatenate(columns, axis=1), [(0, count - len(self)), (0, 0)])

    def within(self, span: tuple[int, int, int, int]) -> "Probes":
        """The same directions, restricted to some components."""
        return dataclasses.replace(self, span=np.tile(np.array(span, np.int32), (len(self), 1)))

    def to_outputs(self, dual: tuple[int, int, int, int, int]) -> "Probes":
        """The same cotangents, restricted to some outputs."""
        return dataclasses.replace(self, dual=np.tile(np.array(dual, np.int32), (len(self), 1)))


def unpacked(row: jax.Array) -> tuple[jax.Array, ...]:
    """Leaf, scale, index, seed, span and dual of one packed probe."""
    seed = jax.lax.bitcast_convert_type(row[3:7], jnp.uint32)
    return row[0], row[1], row[2], seed, row[7:11], row[11:16]


def seed_words(key: int, name: str) -> np.ndarray:
    """Four 32-bit words from the key and the name of what they are for: adding a leaf re-rolls no other."""
    return np.frombuffer(hashlib.blake2b(f"{key}/{name}".encode(), digest_size=16).digest(), np.uint32)


def seeds_for(name: str, numbers: range, size: int, key: int) -> list[np.ndarray]:
    """Seeds of the numbered directions of a leaf of so many components, of which the first two suit each other."""
    seeds = [seed_words(key, f"{name}/{number}") for number in numbers]
    if numbers[:2] == range(2) and size <= FEW:
        again = 0
        while in_proportion(seeds[0], seeds[1], size):
            again += 1
            seeds[1] = seed_words(key, f"{name}/1/{again}")
    return seeds


def in_proportion(a: np.ndarray, b: np.ndarray, size: int) -> bool:
    """Whether two directions move any two components nearly in proportion, as where they move both alike.

    An error in these two components that is orthogonal to one direction is then orthogonal to the other. After a swap
    of two derivatives the errors are opposite, where both lack the same term they are equal.
    """
    v, w = (short_mantissa(seed.view(np.uint16)[:size]).astype(float) for seed in (a, b))
    areas = np.outer(v, w) - np.outer(w, v)
    return bool(np.any(np.abs(areas[np.triu_indices(size, 1)]) < PARALLEL))


def draw(
    paths: tuple[str, ...], sizes: Sequence[int], leaves: list[int], scale: int, numbers: range, key: int
) -> Probes:
    """Random probes: for each of `leaves`, one for each of `numbers`."""
    rows = [
        (leaf, words)
        for leaf in leaves
        for words in seeds_for(f"{paths[leaf]}/{SCALES[scale]}", numbers, sizes[leaf], key)
    ]
    return Probes(
        leaf=np.array([leaf for leaf, _ in rows], np.int32),
        scale=np.full(len(rows), scale, np.int32),
        index=np.zeros(len(rows), np.int32),
        seed=np.array([words for _, words in rows], np.uint32).reshape(len(rows), 4),
        **everything(len(rows)),
    )


def basis(leaf: int, components: np.ndarray, scale: int) -> Probes:
    """One probe for each of some components of a leaf; real parts count first, then imaginary parts."""
    count = len(components)
    return Probes(
        leaf=np.full(count, leaf, np.int32),
        scale=np.full(count, scale, np.int32),
        index=np.asarray(components, np.int32),
        seed=np.zeros((count, 4), np.uint32),
        **everything(count),
    )


def looked_at(size: int) -> np.ndarray:
    """The components of a leaf of so many that are looked at one by one: all of a small leaf, some of a large one."""
    if size <= MOST_COMPONENTS:
        return np.arange(size)
    return np.sort(np.random.default_rng(size).choice(size, SOME_COMPONENTS, replace=False))


def everything(count: int) -> dict[str, np.ndarray]:
    """Spans of all components and all outputs, for so many probes."""
    return {
        "span": np.tile(np.array(ALL, np.int32), (count, 1)),
        "dual": np.tile(np.array(EVERY_OUTPUT, np.int32), (count, 1)),
    }


def inside(size: int, span: jax.Array) -> jax.Array:
    """Whether each of so many components lies in a span."""
    return places_inside(jnp.arange(size), span)


def places_inside(place: jax.Array, span: jax.Array) -> jax.Array:
    """Whether flat indices lie in a span."""
    start, stop, stride, period = (span[i] for i in range(4))
    place = jnp.fmod(place // stride, period)  # the remainder of numbers that are not negative
    return (place >= start) & (place < stop)


def step_grid(bits: int, *, outward: bool = False) -> np.ndarray:
    """Powers of two from 1/2 down to where numbers of so many bits resolve no more; with `outward`, those above.

    A step of 1/2 changes the sign of no component that sets the leaf's scale: beyond lie poles, edges of the domain and
    loops that never end. With 52 bits the grid ends at 2^-40: a direction has a mantissa of five bits, and components
    larger than the leaf's RMS need some. With 23 it ends at 2^-20, where `x + h v` is rounded by a few percent of h, as
    its values are. Short precisions start above 1, since they have too few steps below.
    """
    if outward:
        return np.exp2(np.arange(12.0, -1.0, -1))
    smallest = {52: 40, 23: 20, 10: 8, 7: 6}.get(bits, max(bits, 2))
    return np.exp2(np.arange(4.0 if bits < 20 else -1.0, -smallest - 0.5, -1))


def coarse_part(steps: np.ndarray) -> slice:
    """The steps that are tried first: where a smooth function in double precision shows all that it will show.

    They are wide enough to fit and to see noise, kinks and jumps, below the steps that leave domains and above those
    that show rounding only. A short grid has no such part, and is tried as a whole.
    """
    return slice(SKIPPED, SKIPPED + COARSE) if len(steps) >= 2 * COARSE else slice(0, len(steps))


def short_mantissa(bits: Any) -> Any:
    """Random sign times 1, 1 + 1/32, ... 1 + 31/32 from six random bits each; of NumPy's arrays and of JAX's."""
    return (1 + (bits & 31).astype(np.float32) / 32) * (1 - (bits >> 4 & 2).astype(np.float32))


def power_of_two_near(size: jax.Array) -> jax.Array:
    """The power of two at or below each positive number; 1 where it is zero or not finite."""
    bits = jnp.finfo(size.dtype)
    integer = jnp.dtype(f"int{bits.bits}")
    exponent = jax.lax.bitcast_convert_type(size, integer) & integer.type((2**bits.nexp - 1) << bits.nmant)
    good = jnp.isfinite(size) & (size > bits.tiny)
    return jnp.where(good, jax.lax.bitcast_convert_type(exponent, size.dtype), 1)


def root_mean_square(x: jax.Array) -> jax.Array:
    """RMS without underflow or overflow; entries that are not finite do not count."""
    size = jnp.where(jnp.isfinite(x), jnp.abs(x), 0)
    largest = jnp.max(size)
    unit = jnp.where(largest > 0, largest, 1)
    return largest * jnp.sqrt(jnp.mean((size / unit) ** 2))


@traced_once
def scale_of(leaf: jax.Array) -> jax.Array:
    """The power of two near a leaf's RMS."""
    return power_of_two_near(1.001 * root_mean_square(size_of(leaf)))  # ones have the same in every precision


def own_scales(leaf: jax.Array, overall: jax.Array) -> jax.Array:
    """The powers of two near each component of a leaf; the leaf's own where one is zero."""
    size = size_of(leaf)
    return jnp.where(size > 0, power_of_two_near(size), overall)


def size_of(leaf: jax.Array) -> jax.Array:
    return jnp.abs(leaf).astype(wide_dtype())


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pattern:
    """A direction in units of a scale, for any leaf up to some size: real and imaginary part of each component."""

    real: jax.Array
    imaginary: jax.Array
    by_component: jax.Array  # whether each component has its own scale

    @functools.partial(traced_once, static_argnames="start")
    def on(self, leaf: jax.Array, overall: jax.Array, counts: jax.Array | bool = True, start: int = 0) -> jax.Array:
        """The tangent of one leaf, of its own dtype; zero unless it counts."""
        whole = self.real.shape == leaf.shape  # drawn for this leaf alone
        part = ... if whole else slice(start, start + leaf.size)
        value: Any = self.real[part]
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            value = value + 1j * self.imaginary[part]
        scale = jnp.where(self.by_component, own_scales(leaf, overall), overall)
        return jnp.where(counts, scale * value.reshape(leaf.shape), 0).astype(leaf.dtype)


@traced_once
def pattern(
    random: jax.Array, scale: jax.Array, index: Any = 0, span: jax.Array | None = None, size: Any = None
) -> Pattern:
    """Signs and mantissas of components from their random words, at the given kind of scale, within a span.

    `size` is that of the leaf of which one component moves alone.
    """
    count = len(random)

    def several() -> tuple[jax.Array, jax.Array]:
        half = (random & HALF) > 0
        kept = ((scale != PART) | half) & ((scale != REST) | ~half)
        if span is not None:
            kept = kept & inside(count, span)
        return short_mantissa(random) * kept, short_mantissa(random >> 6) * kept

    def one() -> tuple[jax.Array, jax.Array]:
        only = jnp.where(jnp.arange(count) == jnp.fmod(index, size), ALONE, 0).astype(jnp.float32)
        return only * (index < size), only * (index >= size)

    # A branch is also where XLA does not fuse: else it would draw anew in each leaf.
    alone = (scale == BASIS) | (scale == BASIS_LEAF)
    real, imaginary = several() if size is None else jax.lax.cond(alone, one, several)
    return Pattern(real, imaginary, (scale == COMPONENT) | (scale == BASIS))


def pattern_of(leaf: jax.Array, seed: jax.Array, scale: jax.Array, index: Any, span: Any) -> Pattern:
    """The pattern of a leaf that is spread over devices, drawn in its shape: each device draws its own part."""
    random = jax.random.bits(jax.random.wrap_key_data(seed[:2], impl="threefry2x32"), leaf.shape, jnp.uint16)
    strides = np.cumprod([1, *leaf.shape[:0:-1]])[::-1].tolist()
    axes = range(leaf.ndim)
    parts = [s * jax.lax.broadcasted_iota(jnp.int32, leaf.shape, a) for a, s in zip(axes, strides, strict=True)]
    place = sum(parts, start=jnp.zeros(leaf.shape, jnp.int32))
    half, within = (random & HALF) > 0, places_inside(place, span)
    kept = ((scale != PART) | half) & ((scale != REST) | ~half) & within
    only = jnp.where(place == index % leaf.size, ALONE, 0).astype(jnp.float32)
    alone = (scale == BASIS) | (scale == BASIS_LEAF)
    real = jnp.where(alone, only * (index < leaf.size), short_mantissa(random) * kept)
    imaginary = jnp.where(alone, only * (index >= leaf.size), short_mantissa(random >> 6) * kept)
    return Pattern(real, imaginary, (scale == COMPONENT) | (scale == BASIS))


def direction_words(seed: jax.Array, count: int) -> jax.Array:
    """`count` words of 16 random bits of a direction: the seed itself says how the first few components move."""
    few = jax.lax.bitcast_convert_type(seed, jnp.uint16).reshape(FEW)
    if count <= FEW:
        return few[:count]
    return jax.lax.dynamic_update_slice(random_words(seed, count), few, (0,))


def random_words(seed: jax.Array, count: int) -> jax.Array:
    """`count` words of 16 random bits. The generator compiles ten times faster than threefry; its prefix stays."""
    return jax.random.bits(jax.random.wrap_key_data(seed, impl="rbg"), (count,), jnp.uint16)


def cotangents(
    outputs: list[jax.Array], seed: jax.Array, scale: jax.Array, dual: jax.Array | None = None
) -> list[jax.Array]:
    """One random cotangent for each output, exactly 1 for a lone real scalar.

    Each is scaled to one over the output's own size, or, for a direction of component scale, to one over the size of
    each of its elements. The factor 1.3 keeps outputs of exactly 1 away from where the power of two changes.
    """
    if len(outputs) == 1 and outputs[0].shape == () and not jnp.iscomplexobj(outputs[0]):
        return [jnp.ones((), wide_dtype())]
    return _drawn_cotangents(outputs, seed, scale, dual)


@traced_once
def _drawn_cotangents(
    outputs: list[jax.Array], seed: jax.Array, scale: jax.Array, dual: jax.Array | None
) -> list[jax.Array]:
    random = random_words(seed[::-1], sum(y.size for y in outputs))
    found, start = [], 0
    for number, y in enumerate(outputs):
        bits = random[start : start + y.size].reshape(y.shape)
        start += y.size
        value = short_mantissa(bits).astype(wide_dtype())
        if jnp.iscomplexobj(y):
            value = value + 1j * short_mantissa(bits >> 6)
        size = jnp.abs(y).astype(wide_dtype())
        overall = power_of_two_near(1.3 * root_mean_square(size))
        own = jnp.where(size > 0, power_of_two_near(1.3 * size), overall)
        value = value / jnp.where(scale == COMPONENT, own, overall)
        if dual is not None:
            counts = (dual[0] < 0) | ((dual[0] == number) & inside(y.size, dual[1:]).reshape(y.shape))
            value = jnp.where(counts, value, 0)
        found.append(value)
    return found
