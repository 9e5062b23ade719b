"""The compiled programs of a check: all jit, vmap and sharding of the function is here.

One program per function and shape does it all: it draws a direction from its seed, evaluates the function at x and at
x + h v, x - h v for a chunk of steps at once, differences the outputs element by element, projects them on the
cotangent, and pairs the claim. How many probes and steps are used is an argument, so that a closer look costs no
second compilation. The segment integral of the claim (design of the second witness) is a program of its own.

Each device has rows of its own and a count of them; several devices run the same program side by side.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from jaxgradsweep._cache import kept
from jaxgradsweep._claim import Claim, linearise, scalar, transposed, value_with
from jaxgradsweep._compile import Program, compiled
from jaxgradsweep._probe import MAX_STEPS, scale_of, unpacked
from jaxgradsweep._stencil import PER_STEP, AtOnce, centre, cotangent_of, displaced, stencil, tangent
from jaxgradsweep._tree import wide_dtype

NODES = (7, 15)  # Gauss-Legendre nodes of the two quadratures whose difference is the quadrature error
MAX_PROBES = 64  # rows of the result buffers of one call, on each device
AXIS = "jaxgradsweep_probes"  # of the mesh of devices: a name that no function uses
PAIRED, OTHER = ("claimed", "size"), ("other claimed", "other size")
WORST = ("undefined", "apart")  # kept of the chunk in which each is the largest
SEGMENTS = ("rough", "integral")


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where a program runs.

    Attributes:
        devices: over which its rows are spread; none: wherever the arguments are.
        shardings: how the moving leaves are spread already, where they are: then directions are spread alike.
    """

    devices: tuple[Any, ...] = ()
    shardings: tuple[Any, ...] = ()

    @property
    def lanes(self) -> int:
        """How many devices have rows of their own."""
        return max(len(self.devices), 1)


def columns(claim: Claim) -> tuple[str, ...]:
    """What a program returns once for each probe.

    XLA runs a loop of few operations in the caller's thread, and only there the host knows double precision: functions
    that call out get no more than these, and no evaluation outside of the loop.
    """
    return (*PAIRED, *(OTHER if claim.both_modes else ()), *(WORST[:1] if claim.calls_out else WORST))


@kept
def sweep_program(claim: Claim, chunk: int, placement: Placement) -> Program:
    """The compiled sweep of one claim: of moving leaves, held arrays, values, rows, steps and counts."""
    return compiled(claim, spread(functools.partial(_sweep, claim, chunk, placement.shardings), placement))


@kept
def segment_program(claim: Claim, batch: int, placement: Placement) -> Program:
    """The compiled integral of the claim along segments, of the same arguments."""
    return compiled(claim, spread(functools.partial(_segments, claim, batch, placement.shardings), placement))


def spread(fun: Callable, placement: Placement) -> Callable:
    """A program for rows [devices x MAX_PROBES] and counts [devices, 2], each device with its own part of both."""

    def on_one(moving: Any, held: Any, values: Any, rows: Any, steps: Any, counts: Any) -> Any:
        return fun(moving, held, values, rows, steps, counts[0])

    if placement.lanes == 1:
        return on_one
    mesh = Mesh(np.array(placement.devices), (AXIS,))
    whole, part = PartitionSpec(), PartitionSpec(AXIS)
    specs = (whole, whole, whole, part, whole, part)
    return jax.shard_map(on_one, mesh=mesh, in_specs=specs, out_specs=part, check_vma=False)


def row_of(rows: Any, i: Any) -> Any:
    """One row of an array; the number of it is not negative."""
    return jax.lax.dynamic_index_in_dim(rows, i, keepdims=False, allow_negative_indices=False)


def put(array: Any, part: Any, *start: Any) -> Any:
    """An array with a part of it replaced, from a place on that is not negative."""
    starts = [jnp.asarray(at, jnp.int32) for at in start]
    return jax.lax.dynamic_update_slice(array, part, starts, allow_negative_indices=False)


def at_once(claim: Claim, chunk: int = 2) -> AtOnce:
    """How a function is evaluated at several offsets: side by side, or one after the other.

    The latter where vmap refuses, and where memory holds no more than one point.
    """
    return (lambda f, t: jax.vmap(f)(t)) if claim.vectorised and chunk > 1 else (lambda f, t: jax.lax.map(f, t))


def first_centre(claim: Claim, chunk: int) -> bool:
    """Whether F(x) is evaluated once for each probe, and not along with each chunk of steps."""
    return chunk == 1 and claim.kind != "curvature"


def evaluations_of(claim: Claim, steps: int, chunk: int) -> int:
    """How often F is evaluated for one probe."""
    width = -(-steps // chunk)
    return 2 * (width + 1) if first_centre(claim, chunk) else width * (2 * chunk + 1)


def even_batches(count: int, most: int) -> tuple[np.ndarray, int]:
    """So many things in batches of one size, at most `most`: which, the last one repeated if need be, and the size."""
    batches = -(-count // most)
    size = -(-count // batches)
    return np.minimum(np.arange(batches * size), count - 1), size


def _sweep(
    claim: Claim, chunk: int, shardings: Any, moving: Any, held: Any, values: Any, rows: Any, steps: Any, counts: Any
) -> tuple[jax.Array, ...]:
    """The results of MAX_PROBES rows: what is kept of each step [rows, PER_STEP, MAX_STEPS], and the columns."""
    moving = [jnp.asarray(leaf) for leaf in moving]
    scales = [scale_of(leaf) for leaf in moving]
    out, pairing = linearise(claim, moving, held, values)
    other = linearise(transposed(claim), moving, held, values)[1] if claim.both_modes else None
    wide, names = wide_dtype(), columns(claim)
    kept = [name for name in WORST if name in names]
    value = scalar(claim, moving, held) if claim.kind == "hvp" else jnp.zeros(())  # finite too, like the gradient
    worst = jnp.stack([jnp.where(jnp.isfinite(value), 0, 1), *(0 for _ in kept[1:])]).astype(wide)
    grid, column = jnp.zeros((MAX_PROBES, len(PER_STEP), MAX_STEPS), wide), jnp.zeros((MAX_PROBES, len(names)), wide)

    def one_probe(i: Any, found: Any) -> Any:
        leaf, scale, index, seed, span, dual = unpacked(row_of(rows, i))
        v = tangent(moving, scales, leaf, scale, index, seed, span, shardings)
        u = cotangent_of(claim, moving, scales, out, seed, scale, dual)
        told = pairing(v, u)
        beside = value_with(claim, out, told)
        pairs = (*told[:2], *(other(v, u)[:2] if other is not None else ()))
        zero = centre(claim, moving, held, v, steps[:1], at_once(claim, chunk)) if first_centre(claim, chunk) else None

        def one_chunk(j: Any, found: Any) -> Any:
            h = jax.lax.dynamic_slice(steps, (j * chunk,), (chunk,), allow_negative_indices=False)
            new = stencil(claim, moving, held, beside, v, u, h, at_once(claim, chunk), zero)
            return (
                put(found[0], jnp.stack([new[name] for name in PER_STEP])[None], i, 0, j * chunk),
                jnp.maximum(found[1], jnp.stack([new[name] for name in kept])),
            )

        grid, column = found
        grid, seen = jax.lax.fori_loop(0, counts[1], one_chunk, (grid, worst))
        return grid, put(column, jnp.concatenate([jnp.stack(pairs), seen])[None], i, 0)

    return jax.lax.fori_loop(0, counts[0], one_probe, (grid, column))


def _segments(
    claim: Claim, batch: int, shardings: Any, moving: Any, held: Any, values: Any, rows: Any, steps: Any, counts: Any
) -> tuple[jax.Array, ...]:
    """The integrals of MAX_PROBES rows [rows, SEGMENTS, MAX_STEPS]."""
    moving = [jnp.asarray(leaf) for leaf in moving]
    scales = [scale_of(leaf) for leaf in moving]
    out, _ = linearise(claim, moving, held, values)
    wide = wide_dtype()
    rules = [np.polynomial.legendre.leggauss(n) for n in NODES]
    which, size = even_batches(sum(NODES), batch)  # a remainder would be compiled as a program of its own
    nodes = jnp.asarray(np.concatenate([t for t, _ in rules])[which], wide)
    weights = np.concatenate([w for _, w in rules])

    def one_probe(i: Any, found: jax.Array) -> jax.Array:
        leaf, scale, index, seed, span, dual = unpacked(row_of(rows, i))
        v = tangent(moving, scales, leaf, scale, index, seed, span, shardings)
        u = cotangent_of(claim, moving, scales, out, seed, scale, dual)

        def claimed(t: jax.Array) -> jax.Array:
            return linearise(claim, displaced(moving, v, t), held, values)[1](v, u)[0]

        def one_step(j: Any, found: jax.Array) -> jax.Array:
            h = row_of(steps, j)
            found_at = jax.lax.map(claimed, h * nodes, batch_size=size if claim.vectorised else None)
            g = h * jnp.asarray(weights, wide) * found_at[: sum(NODES)]
            sums = jnp.stack([jnp.sum(g[: NODES[0]]), jnp.sum(g[NODES[0] :])])
            return put(found, sums[None, :, None], i, 0, j)

        return jax.lax.fori_loop(0, counts[1], one_step, found)

    return (jax.lax.fori_loop(0, counts[0], one_probe, jnp.zeros((MAX_PROBES, len(SEGMENTS), MAX_STEPS), wide)),)
