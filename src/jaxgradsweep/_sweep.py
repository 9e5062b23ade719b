"""The raw measurements of a check: of every probe at every step, and the claim's integrals along segments."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jaxgradsweep._kernel import NODES, OTHER, PAIRED
from jaxgradsweep._probe import SCALES, Probes
from jaxgradsweep._runner import Interrupted, Runner
from jaxgradsweep._stencil import PER_STEP, bends
from jaxgradsweep._subject import Subject


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
        bend: sum over outputs of `|u (F(x + h v) - 2 F(x) + F(x - h v))|`: C(h) without cancellation between
            outputs.
        roundoff: standard deviation that rounding the outputs alone gives to phi.
        claimed: the claimed `<u, L v>`.
        size: RMS size of the terms of the claimed pairing.
        finite: whether F is finite at x.
        eps: spacing at 1 of the outputs' least precise dtype.
        rounds: whether F rounds by itself, so that steps in its values are no sign of low precision inside.
        shorter: whether F computes in a lower precision inside, or calls what JAX does not see.
        inner: spacing at 1 of the least precise numbers that F is known to compute with, where these are less precise
            than its arguments and outputs; else 0.
        resting: what may stand still since it is so rounded, as a part of phi.
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
    inner: float = 0.0
    resting: float = 0.0
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


_PER_PROBE = ("leaf", "difference", "forward", "backward", "bend", "roundoff", "claimed", "size", "finite", "apart")


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


def between(inner: Sweep, rest: Sweep, start: int) -> Sweep:
    """The sweep of all steps, from that of some in a row, and that of the others; `start` is where the former begin."""
    wide = {}
    for name in PER_STEP:
        outer, own = getattr(rest, name), getattr(inner, name)
        wide[name] = np.concatenate([outer[:, :start], own, outer[:, start:]], axis=1)
    steps = np.concatenate([rest.steps[:start], inner.steps, rest.steps[start:]])
    apart = None if inner.apart is None or rest.apart is None else np.maximum(inner.apart, rest.apart)
    return dataclasses.replace(inner, steps=steps, finite=inner.finite & rest.finite, apart=apart, **wide)


@contextlib.contextmanager
def precision(dtype: str, matmul: str | None = "highest") -> Iterator[None]:
    """Double precision ("float64") or the caller's own ("native"), and one for matrix products. Thread-local."""
    wide = jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext()
    products = contextlib.nullcontext() if matmul is None else jax.default_matmul_precision(matmul)
    with wide, products:
        yield


def measure(runner: Runner, probes: Probes, steps: np.ndarray, what: str | None = None) -> Sweep:
    """Measure every probe at every step. Call it inside `precision`; the results are NumPy arrays.

    Raises:
        Interrupted: with the sweep of the probes that were measured.
    """
    try:
        found = runner.sweep(runner.subject.claim, probes, steps, what)
    except Interrupted as stop:
        stop.probes = probes.rows(stop.done)
        stop.sweep = as_sweep(runner.subject, stop.probes, steps, stop.found)
        raise
    return as_sweep(runner.subject, probes, steps, found)


def measure_in_both_modes(runner: Runner, probes: Probes, steps: np.ndarray) -> tuple[Sweep, Sweep]:
    """The sweep of a claim, and that of the same function's derivative in the other mode, by one program."""
    found = runner.sweep(dataclasses.replace(runner.subject.claim, both_modes=True), probes, steps)
    own = {name: values for name, values in found.items() if name not in OTHER}
    other = own | {name: found[of] for name, of in zip(PAIRED, OTHER, strict=True)}
    return as_sweep(runner.subject, probes, steps, own), as_sweep(runner.subject, probes, steps, other)


def as_sweep(subject: Subject, probes: Probes, steps: np.ndarray, found: dict[str, Any]) -> Sweep:
    """A sweep from what the compiled program returned."""
    found = dict(found)
    found["finite"] = found.pop("undefined") == 0
    if subject.claim.kind == "curvature":
        found |= bends(found, np.array(steps, float))
    return Sweep(
        paths=subject.point.paths,
        leaf=np.asarray(probes.leaf, np.int64),
        scale=tuple(SCALES[i] for i in probes.scale),
        steps=np.array(steps, float),
        eps=subject.eps,
        rounds=subject.traits.rounds,
        shorter=subject.traits.shorter,
        inner=subject.inner,
        resting=subject.resting,
        order=2 if subject.claim.kind == "curvature" else 1,
        **found,
    )


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


def integrate(runner: Runner, probes: Probes, steps: np.ndarray) -> Segments:
    """Integrate the claim along every probe. Call it inside `precision`."""
    found = runner.segments(runner.subject.claim, probes, steps)
    centre = [float(np.polynomial.legendre.leggauss(n)[1][n // 2]) for n in NODES]
    return Segments(np.array(steps, float), found["integral"], found["rough"], (centre[1], centre[0]))
