"""Measure a claim at every probe and step. All jit, vmap and chunking is here.

One compiled program per function and shape does it all: it draws a direction from its seed, evaluates the function at
x and at x + h v, x - h v for a chunk of steps at once, differences the outputs element by element, projects them on the
cotangent, and pairs the claim. How many probes and steps are used is an argument, so that a closer look costs no
second compilation. The segment integral of the claim (design of the second witness) is a program of its own.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgradsweep._claim import Claim, linearise, scalar, transposed, value_with
from jaxgradsweep._compile import compiled
from jaxgradsweep._probe import MAX_STEPS, SCALES, Probes, scale_of, unpacked
from jaxgradsweep._stencil import PER_STEP, AtOnce, bends, cotangent_of, displaced, stencil, tangent
from jaxgradsweep._tree import wide_dtype

NODES = (7, 15)  # Gauss-Legendre nodes of the two quadratures whose difference is the quadrature error
MAX_PROBES = 64  # rows of the result buffers of one call
CHUNKS = (20, 10, 8, 5, 4, 2, 1)  # steps evaluated at once
POINT_BYTES = 2**16  # a point of at most this size is evaluated in the largest chunk
CPU_CHUNK = 8  # larger points: 17 at once were the fastest on a CPU


@dataclasses.dataclass(frozen=True)
class Sweep:
    """The raw measurements. `phi(t) = <u, F(x + t v)>`; rows are probes, columns are steps from large to small.

    Attributes:
        paths: names of the leaves that move.
        leaf: which leaf each probe moves.
        scale: "leaf", "component" or "basis": the scale of each probe's direction.
        steps: relative steps h.
        difference: phi(h) - phi(-h).
        forward: phi(h) - phi(0).
        backward: phi(0) - phi(-h).
        bend: sum over outputs of |u (F(x + h v) - 2 F(x) + F(x - h v))|: C(h) without cancellation between outputs.
        roundoff: standard deviation that rounding the outputs alone gives to phi.
        claimed: the claimed `<u, L v>`.
        size: RMS size of the terms of the claimed pairing.
        finite: whether F is finite at x.
        eps: spacing at 1 of the outputs' least precise dtype.
        rounds: whether F rounds by itself, so that steps in its values are no sign of low precision inside.
        shorter: whether F computes in a lower precision inside, or calls what JAX does not see.
        order: order of the derivative that the differences estimate. For 2, `difference` is a second difference over h,
            so that it is proportional to h like the others, and its noise falls as 1/h.
        apart: how far phi(0), evaluated in a batch of points, is from the value that comes with the claim, evaluated by
            itself.
    """

    paths: tuple[str, ...]
    leaf: np.ndarray
    scale: tuple[str, ...]
    steps: np.ndarray
    difference: np.ndarray
    forward: np.ndarray
    backward: np.ndarray
    bend: np.ndarray
    roundoff: np.ndarray
    claimed: np.ndarray
    size: np.ndarray
    finite: np.ndarray
    eps: float
    rounds: bool = False
    shorter: bool = True
    order: int = 1
    apart: np.ndarray | None = None

    @property
    def derivative(self) -> np.ndarray:
        """Central differences D(h)."""
        return self.difference / (2 * self.steps)

    @property
    def second(self) -> np.ndarray:
        """Second differences C(h) = phi(h) - 2 phi(0) + phi(-h)."""
        return self.forward - self.backward

    def select(self, rows: Any) -> "Sweep":
        """The sweep of some of the probes."""
        rows = np.arange(len(self.leaf))[rows]
        picked = {name: getattr(self, name)[rows] for name in _PER_PROBE if getattr(self, name) is not None}
        return dataclasses.replace(self, scale=tuple(self.scale[i] for i in rows), **picked)


_PAIRED, _OTHER = ("claimed", "size"), ("other claimed", "other size")
_WORST = ("undefined", "apart")  # kept of the chunk in which each is the largest
_PER_PROBE = ("leaf", "difference", "forward", "backward", "bend", "roundoff", "claimed", "size", "finite", "apart")


def _columns(claim: Claim) -> tuple[str, ...]:
    """What a program returns once for each probe.

    XLA runs a loop of few operations in the caller's thread, and only there the host knows double precision: functions
    that call out get no more than these, and no evaluation outside of the loop.
    """
    return (*_PAIRED, *(_OTHER if claim.both_modes else ()), *(_WORST[:1] if claim.calls_out else _WORST))


def join_probes(sweeps: Sequence[Sweep]) -> Sweep:
    """One sweep from several over the same steps."""
    known = [name for name in _PER_PROBE if getattr(sweeps[0], name) is not None]
    picked = {name: np.concatenate([getattr(s, name) for s in sweeps]) for name in known}
    return dataclasses.replace(sweeps[0], scale=sum((s.scale for s in sweeps), ()), **picked)


def nothing(probes: int, steps: int) -> dict[str, np.ndarray]:
    """What a sweep holds where nothing could be measured."""
    return {name: np.full((probes, steps), np.nan) for name in PER_STEP}


def extend(sweep: Sweep, rows: np.ndarray, outer: Sweep) -> Sweep:
    """The sweep with larger steps in front for some of its probes; the others get NaN there."""
    wide = {}
    for name in PER_STEP:
        front = np.full((len(sweep.leaf), len(outer.steps)), np.nan)
        front[rows] = getattr(outer, name)
        wide[name] = np.concatenate([front, getattr(sweep, name)], axis=1)
    return dataclasses.replace(sweep, steps=np.concatenate([outer.steps, sweep.steps]), **wide)


@contextlib.contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Double precision ("float64") or the caller's own ("native"); matmuls at the highest precision. Thread-local."""
    wide = jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext()
    with wide, jax.default_matmul_precision("highest"):
        yield


def chunk_of_steps(moving: Sequence[Any], batch_size: int | None, memory: int) -> int:
    """How many steps to evaluate at once: each takes two points, and x itself comes along in every chunk."""
    point = sum(np.size(leaf) * jnp.result_type(leaf).itemsize for leaf in moving)
    limit = CHUNKS[0] if point <= POINT_BYTES else CPU_CHUNK
    if batch_size is not None:
        limit = (batch_size - 1) // 2
    limit = min(limit, (memory // max(2 * point, 1) - 1) // 2)
    return next((chunk for chunk in CHUNKS if chunk <= limit), 1)


def measure(
    claim: Claim,
    point: tuple[Sequence[Any], Sequence[Any], Sequence[Any]],
    paths: tuple[str, ...],
    probes: Probes,
    steps: np.ndarray,
    chunk: int,
    eps: float,
    tick: Callable[[int], None] = lambda done: None,
) -> Sweep:
    """Measure every probe at every step. Call it inside `precision`; the results are NumPy arrays.

    `tick` is called with the number of probes done, after each call of the compiled program.
    """
    found = measured(claim, point, probes, steps, chunk, tick)
    return as_sweep(claim, paths, probes, steps, eps, found)


def measure_in_both_modes(
    claim: Claim,
    point: tuple[Sequence[Any], Sequence[Any], Sequence[Any]],
    paths: tuple[str, ...],
    probes: Probes,
    steps: np.ndarray,
    chunk: int,
    eps: float,
) -> tuple[Sweep, Sweep]:
    """The sweep of a claim, and that of the same function's derivative in the other mode, by one program."""
    found = measured(dataclasses.replace(claim, both_modes=True), point, probes, steps, chunk, lambda done: None)
    own = {name: values for name, values in found.items() if name not in _OTHER}
    other = own | {"claimed": found["other claimed"], "size": found["other size"]}
    return as_sweep(claim, paths, probes, steps, eps, own), as_sweep(claim, paths, probes, steps, eps, other)


def measured(
    claim: Claim,
    point: tuple[Sequence[Any], Sequence[Any], Sequence[Any]],
    probes: Probes,
    steps: np.ndarray,
    chunk: int,
    tick: Callable[[int], None],
) -> dict[str, np.ndarray]:
    """What the compiled program returns of every probe."""
    run = _sweep_program(claim, chunk)
    width = -(-len(steps) // chunk) * chunk
    padded = np.zeros(MAX_STEPS)
    padded[: len(steps)] = steps
    parts: list[dict[str, Any]] = [nothing(0, MAX_STEPS) | dict.fromkeys(_columns(claim), np.zeros(0))]
    for start in range(0, len(probes), MAX_PROBES):
        part = probes.rows(slice(start, start + MAX_PROBES))
        rows = part.packed(MAX_PROBES)
        counts = np.array([len(part), width // chunk], np.int32)
        measured = run(*point, rows, padded.astype(wide_dtype()), counts)
        parts.append({name: np.asarray(value, np.float64)[: len(part)] for name, value in measured.items()})
        tick(start + len(part))
    found: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    found.update({name: found[name][:, : len(steps)] for name in PER_STEP})
    return found


def as_sweep(
    claim: Claim, paths: tuple[str, ...], probes: Probes, steps: np.ndarray, eps: float, found: dict[str, Any]
) -> Sweep:
    """A sweep from what the compiled program returned."""
    found["finite"] = found.pop("undefined") == 0
    if claim.kind == "curvature":
        found |= bends(found, np.array(steps, float))
    scale = tuple(SCALES[i] for i in probes.scale)
    return Sweep(
        paths=paths,
        leaf=np.asarray(probes.leaf, np.int64),
        scale=scale,
        steps=np.array(steps, float),
        eps=eps,
        order=2 if claim.kind == "curvature" else 1,
        **found,
    )


def row_of(rows: Any, i: Any) -> Any:
    """One row of an array; the number of it is not negative."""
    return jax.lax.dynamic_index_in_dim(rows, i, keepdims=False, allow_negative_indices=False)


def put(array: Any, part: Any, *start: Any) -> Any:
    """An array with a part of it replaced, from a place on that is not negative."""
    starts = [jnp.asarray(at, jnp.int32) for at in start]
    return jax.lax.dynamic_update_slice(array, part, starts, allow_negative_indices=False)


@functools.lru_cache(maxsize=64)
def _sweep_program(claim: Claim, chunk: int) -> Any:
    """The compiled sweep of one claim. The cache is bounded: an old function's code goes when 64 newer ones came."""
    return compiled(claim, functools.partial(_sweep, claim, chunk))


def at_once(claim: Claim) -> AtOnce:
    """How a function is evaluated at several offsets: side by side, or one after the other where vmap refuses."""
    return (lambda f, t: jax.vmap(f)(t)) if claim.vectorised else (lambda f, t: jax.lax.map(f, t))


def _sweep(
    claim: Claim, chunk: int, moving: Any, held: Any, values: Any, rows: Any, steps: Any, counts: Any
) -> dict[str, Any]:
    moving = [jnp.asarray(leaf) for leaf in moving]
    scales = [scale_of(leaf) for leaf in moving]
    out, pairing = linearise(claim, moving, held, values)
    other = linearise(transposed(claim), moving, held, values)[1] if claim.both_modes else None
    wide, names = wide_dtype(), _columns(claim)
    kept = [name for name in _WORST if name in names]
    value = scalar(claim, moving, held) if claim.kind == "hvp" else jnp.zeros(())  # finite too, like the gradient
    worst = jnp.stack([jnp.where(jnp.isfinite(value), 0, 1), *(0 for _ in kept[1:])]).astype(wide)
    grid, column = jnp.zeros((len(PER_STEP), MAX_PROBES, MAX_STEPS), wide), jnp.zeros((len(names), MAX_PROBES), wide)

    def one_probe(i: Any, found: Any) -> Any:
        leaf, scale, index, seed, span, dual = unpacked(row_of(rows, i))
        v = tangent(moving, scales, leaf, scale, index, seed, span)
        u = cotangent_of(claim, moving, scales, out, seed, scale, dual)
        told = pairing(v, u)
        beside = value_with(claim, out, told)
        pairs = (*told[:2], *(other(v, u)[:2] if other is not None else ()))

        def one_chunk(j: Any, found: Any) -> Any:
            h = jax.lax.dynamic_slice(steps, (j * chunk,), (chunk,), allow_negative_indices=False)
            new = stencil(claim, moving, held, beside, v, u, h, at_once(claim))
            return (
                put(found[0], jnp.stack([new[name] for name in PER_STEP])[:, None], 0, i, j * chunk),
                jnp.maximum(found[1], jnp.stack([new[name] for name in kept])),
            )

        grid, columns = found
        grid, seen = jax.lax.fori_loop(0, counts[1], one_chunk, (grid, worst))
        return grid, put(columns, jnp.concatenate([jnp.stack(pairs), seen])[:, None], 0, i)

    grid, columns = jax.lax.fori_loop(0, counts[0], one_probe, (grid, column))
    return dict(zip((*PER_STEP, *names), (*grid, *columns), strict=True))


@dataclasses.dataclass(frozen=True)
class Segments:
    """Integrals of the claim over [-h, h] along each probe; by the fundamental theorem they equal phi(h) - phi(-h).

    Attributes:
        steps: relative steps h.
        integral: by 15 Gauss-Legendre nodes, [probes, steps].
        rough: by 7 nodes.
        centre: weight of the node at x itself in each, `h w_0` over h, for (15, 7) nodes.
    """

    steps: np.ndarray
    integral: np.ndarray
    rough: np.ndarray
    centre: tuple[float, float]


def integrate(
    claim: Claim,
    point: tuple[Sequence[Any], Sequence[Any], Sequence[Any]],
    probes: Probes,
    steps: np.ndarray,
    chunk: int,
) -> Segments:
    """Integrate the claim along every probe. Call it inside `precision`."""
    run = _segment_program(claim, 2 * chunk + 1)
    padded = np.zeros(MAX_STEPS)
    padded[: len(steps)] = steps
    parts = []
    for start in range(0, len(probes), MAX_PROBES):
        part = probes.rows(slice(start, start + MAX_PROBES))
        rows = part.packed(MAX_PROBES)
        counts = np.array([len(part), len(steps)], np.int32)
        parts.append(
            np.asarray(run(*point, rows, padded.astype(wide_dtype()), counts), float)[:, : len(part), : len(steps)]
        )
    rough, integral = np.concatenate(parts, axis=1)
    centre = [float(np.polynomial.legendre.leggauss(n)[1][n // 2]) for n in NODES]
    return Segments(np.array(steps, float), integral, rough, (centre[1], centre[0]))


@functools.lru_cache(maxsize=64)
def _segment_program(claim: Claim, batch: int) -> Any:
    return compiled(claim, functools.partial(_segments, claim, batch))


def _segments(
    claim: Claim, batch: int, moving: Any, held: Any, values: Any, rows: Any, steps: Any, counts: Any
) -> jax.Array:
    moving = [jnp.asarray(leaf) for leaf in moving]
    scales = [scale_of(leaf) for leaf in moving]
    out, _ = linearise(claim, moving, held, values)
    wide = wide_dtype()
    rules = [np.polynomial.legendre.leggauss(n) for n in NODES]
    nodes = jnp.asarray(np.concatenate([t for t, _ in rules]), wide)
    weights = jnp.asarray(np.concatenate([w for _, w in rules]), wide)

    def one_probe(i: Any, found: jax.Array) -> jax.Array:
        leaf, scale, index, seed, span, dual = unpacked(row_of(rows, i))
        v = tangent(moving, scales, leaf, scale, index, seed, span)
        u = cotangent_of(claim, moving, scales, out, seed, scale, dual)

        def claimed(t: jax.Array) -> jax.Array:
            return linearise(claim, displaced(moving, v, t), held, values)[1](v, u)[0]

        def one_step(j: Any, found: jax.Array) -> jax.Array:
            h = row_of(steps, j)
            size = min(batch, len(nodes)) if claim.vectorised else None
            g = h * weights * jax.lax.map(claimed, h * nodes, batch_size=size)
            sums = jnp.stack([jnp.sum(g[: NODES[0]]), jnp.sum(g[NODES[0] :])])
            return put(found, sums[:, None, None], 0, i, j)

        return jax.lax.fori_loop(0, counts[1], one_step, found)

    return jax.lax.fori_loop(0, counts[0], one_probe, jnp.zeros((2, MAX_PROBES, MAX_STEPS), wide))
