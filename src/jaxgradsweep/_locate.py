"""Where a claim is wrong: which components of a leaf, and which outputs, by group testing.

A probe along random signs in a group of components sees a wrong one among a million. A group that is wrong is halved,
so that k wrong components of n cost about 4 k log2(n) probes. Where many are wrong, groups along each axis and single
components tell which rows, columns or parts they are.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np

from jaxgradsweep._fit import fit
from jaxgradsweep._instrument import Instrument, Look
from jaxgradsweep._kernel import evaluations_of
from jaxgradsweep._opinion import Opinion, weigh
from jaxgradsweep._pattern import in_words
from jaxgradsweep._probe import ALONE, BASIS, BASIS_LEAF, LEAF, Probes, basis, own_scales, scale_of
from jaxgradsweep._wording import Reason

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VECTORS = 2  # independent random directions by which a group is tested: two wrong components may cancel in one
FEW = 32  # so many wrong groups at once are followed
WINDOW = 16  # steps around the trusted window
AHEAD = 3  # so many of them are larger than the trusted window
WHOLE = 4096  # leaves of at most so many components are measured one by one, if the budget allows
GLANCE = 16  # single components that are measured first: do they hint at few wrong ones or at many?
DENSE = 0.25  # at many, if at least this share of them is wrong
EVERYWHERE = 8  # so many groups along an axis that are all wrong stand for the whole axis
SAMPLE = 96  # single components that are measured where many are wrong
PAYS = 3.0  # the evaluations that blame may add, in units of those of the check that found the mistake
CLAIM = 3.0  # evaluations that one evaluation of the claim costs
GOOD_ENOUGH = 1e-9  # a component known to this relative error is not looked at again with the leaf's scale


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Blame:
    """Which components of a leaf are wrong.

    Attributes:
        path: the leaf; for outputs, "output" and its path.
        shape: its shape.
        indices: the wrong components that were found, [n, axes of the leaf]; those off most, if there are many.
        claimed: what is claimed of each, [n]. For checks with several outputs, of their sum with random weights.
        estimate: what was measured.
        uncertainty: its error bar.
        complete: whether all wrong components are among them.
        pattern: what they have in common, in words; None where nothing was recognised.
        looked_at: the components that were measured one by one, right ones included, [m, axes].
        wrong: which of these are wrong, [m].
        seen_claimed: what is claimed of each of them, [m].
        seen_estimate: what was measured.
        seen_uncertainty: its error bar.
        probes: how many probes it took.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgradsweep as jgs
        >>> x = jnp.linspace(0.3, 1.2, 6)
        >>> report = jgs.check_grad(lambda x: jnp.sum(jnp.sin(x)), (x,), grad=lambda x: jnp.cos(x).at[4].set(0.0))
        >>> report.blame[0].indices.tolist(), report.blame[0].complete
        ([[4]], True)
    """

    path: str
    shape: tuple[int, ...]
    indices: np.ndarray
    claimed: np.ndarray
    estimate: np.ndarray
    uncertainty: np.ndarray
    complete: bool
    pattern: str | None
    looked_at: np.ndarray
    wrong: np.ndarray
    seen_claimed: np.ndarray
    seen_estimate: np.ndarray
    seen_uncertainty: np.ndarray
    probes: int

    def plot(self) -> "Figure":
        """Draw the error of each component that was measured, and claimed against measured values; a new figure."""
        from jaxgradsweep import heatmap

        return heatmap.plot_blame(self)


class Budget(Exception):
    """The evaluations that blame may add are spent."""


def blame(instrument: Instrument, look: Look, leaves: Sequence[int], *, thorough: bool) -> tuple[Blame, ...]:
    """Which components of the wrong leaves are wrong, and which outputs, where there are several.

    Args:
        instrument: what measured the claim.
        look: what it saw; its trusted steps are used again.
        leaves: the wrong leaves.
        thorough: measure without a budget.
    """
    outputs = outputs_of(instrument)
    spent = instrument.evaluations + CLAIM * instrument.claims
    each = np.inf if thorough else PAYS * spent / (len(leaves) + len(outputs))
    searches = [Search(instrument, look, leaf, each) for leaf in leaves]
    more = [OutputSearch(instrument, look, leaves[0], each, number) for number in outputs]
    return tuple(found for found in (search.run() for search in (*searches, *more)) if found.wrong.any())


def outputs_of(instrument: Instrument) -> list[int]:
    """The outputs that a claim may be wrong in by themselves."""
    outputs = instrument.subject.outputs
    return [] if sum(each.size for each in outputs) == 1 else list(range(len(outputs)))


class Search:
    """The search in one leaf: measures groups of components and single ones until its budget is spent."""

    def __init__(self, instrument: Instrument, look: Look, leaf: int, budget: float) -> None:
        self.instrument, self.leaf, self.budget = instrument, leaf, budget
        self.path = instrument.subject.point.paths[leaf]
        self.array = np.asarray(instrument.subject.point.moving[leaf])
        self.parts = 2 if np.iscomplexobj(self.array) else 1
        self.steps = around(look, np.flatnonzero(look.sweep.leaf == leaf))
        self.groups = instrument.draw([leaf], LEAF, range(1000, 1000 + VECTORS))
        self.probes = 0
        self.known: dict[int, tuple[float, float, float, bool]] = {}  # claimed, estimate, error bar, wrong

    def run(self) -> Blame:
        """Measure the leaf component by component if it is small, else search it."""
        size = self.array.size
        complete = True
        try:
            if size <= WHOLE and self.affords(size * self.parts):
                self.look_at(np.arange(size))
            else:
                complete = self.search(size)
        except Budget:
            complete = False
        return self.told(complete)

    def search(self, size: int) -> bool:
        """Find the wrong components of a large leaf; whether all were found."""
        random = np.random.default_rng(self.groups.seed[0])
        self.look_at(random.choice(size, min(GLANCE, size), replace=False))
        dense = np.mean([wrong for *_, wrong in self.known.values()]) >= DENSE
        found = None if dense else self.active(1, size, at_most=FEW)
        if found is not None:
            self.look_at(np.array(found, int))
            return True
        axes = [
            self.active(stride, length, at_most=length // 2, everywhere=EVERYWHERE)
            for stride, length in axes_of(self.array.shape)
        ]
        candidates = product(self.array.shape, axes)
        if len(candidates) < size and len(candidates) <= WHOLE and self.affords(len(candidates) * self.parts):
            self.look_at(candidates)
            return True
        for places, share in ((candidates, 0.6), (np.arange(size), 1.0)):
            count = min(SAMPLE, len(places), int(share * self.budget / self.price / self.parts / 2))
            self.look_at(random.choice(places, count, replace=False))
        return False

    def active(self, stride: int, length: int, at_most: int, everywhere: float = np.inf) -> list[int] | None:
        """The places along an axis at which something is wrong; None if there are more.

        So many groups that are all wrong stand for `everywhere`, which is more.
        """
        groups = [(0, length)]
        while any(stop - start > 1 for start, stop in groups):
            halves = [half for start, stop in groups for half in halved(start, stop)]
            groups = [half for half, bad in zip(halves, self.wrong_groups(halves, stride, length), strict=True) if bad]
            if len(groups) > max(at_most, 1) or len(groups) == len(halves) >= everywhere:
                return None
        return [start for start, _ in groups]

    def wrong_groups(self, groups: list[tuple[int, int]], stride: int, length: int) -> list[bool]:
        """Whether each of some groups along an axis holds something wrong: in one random direction, or in another."""
        wrong = np.zeros(len(groups), bool)
        for number in range(VECTORS):
            open_ = np.flatnonzero(~wrong)
            rows = [self.group((*groups[i], stride, length)).rows(slice(number, number + 1)) for i in open_]
            if rows:
                wrong[open_] = self.measure(functools.reduce(Probes.join, rows))[1]
        return wrong.tolist()

    def group(self, span: tuple[int, int, int, int]) -> Probes:
        """Random directions within a group."""
        return self.groups.within(span)

    def look_at(self, components: np.ndarray) -> None:
        """Measure components one by one, each at its own scale, and again at the leaf's where that is not enough."""
        new = np.array([i for i in dict.fromkeys(components.tolist()) if i not in self.known], int)
        both = np.concatenate([new + part * self.array.size for part in range(self.parts)])
        if not len(both):
            return
        values, wrong = self.quotients(both, BASIS)
        poor = ~(values[2] <= GOOD_ENOUGH * np.abs(values[1])) & (values[2] > 0)
        if poor.any() and self.affords(int(poor.sum())):
            others, other_wrong = self.quotients(both[poor], BASIS_LEAF)
            better = others[2] < values[2][poor]
            values[:, poor] = np.where(better, others, values[:, poor])
            wrong[poor] = np.where(better, other_wrong, wrong[poor])
        values = values.reshape(3, self.parts, len(new))
        joined = values[:, 0] if self.parts == 1 else values[:, 0] - 1j * values[:, 1]
        bars = values[2, 0] if self.parts == 1 else np.hypot(values[2, 0], values[2, 1])
        bad = np.any(wrong.reshape(self.parts, len(new)), axis=0)
        for i, claimed, estimate, bar, is_wrong in zip(new, joined[0], joined[1], bars, bad, strict=True):
            self.known[int(i)] = (claimed, estimate, bar, bool(is_wrong))

    def quotients(self, components: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
        """Claimed, estimate and error bar of single components, [3, n], and which of them are wrong."""
        probes = basis(self.leaf, components, scale)
        told, wrong = self.measure(probes)
        lengths = component_lengths(self.array, components, scale)
        return np.stack([told[0] / lengths, told[1] / lengths, told[2] / lengths]), wrong

    def measure(self, probes: Probes) -> tuple[np.ndarray, np.ndarray]:
        """Claimed, estimate and bound of each probe, [3, n], and which claims are wrong."""
        if not self.affords(len(probes)):
            raise Budget
        sweep = self.instrument.measure(probes, self.steps, "blame")
        found = fit(sweep)
        self.probes += len(probes)
        self.budget -= len(probes) * self.price
        criteria = self.instrument.criteria
        weighing = weigh(sweep, found, criteria)
        size = np.maximum(np.abs(found.derivative), np.nan_to_num(sweep.size))
        off = np.abs(weighing.error)
        wrong = ~(off <= criteria.margin * weighing.bound) & ~(off <= criteria.tolerance * size)
        wrong &= np.isfinite(weighing.bound) & np.isfinite(off) | ~np.isfinite(sweep.claimed)
        pairs = zip(weighing.opinion, weighing.reason, strict=True)
        choice = [opinion == Opinion.OPEN and reason is Reason.KINK for opinion, reason in pairs]
        wrong &= ~np.array(choice, bool)  # at a kink any slope between those of the two sides is as right
        return np.stack([sweep.claimed, found.derivative, weighing.bound]), wrong

    @property
    def price(self) -> float:
        """Evaluations that one probe costs."""
        return evaluations_of(self.instrument.subject.claim, len(self.steps), self.instrument.chunk) + CLAIM

    def affords(self, probes: int) -> bool:
        return probes * self.price <= self.budget

    def told(self, complete: bool) -> Blame:
        """What was found, the components that are off most first."""
        looked_at = np.array(sorted(self.known), int)
        values = [np.array([self.known[int(i)][part] for i in looked_at]) for part in range(3)]
        wrong = np.array([self.known[int(i)][3] for i in looked_at], bool)
        order = np.flatnonzero(wrong)
        order = order[np.argsort(-np.abs(values[0][order] - values[1][order]), kind="stable")]
        indices = np.stack(np.unravel_index(looked_at, self.array.shape), axis=1) if self.array.ndim else None
        indices = np.zeros((len(looked_at), 0), int) if indices is None else indices
        return Blame(
            path=self.path,
            shape=tuple(self.array.shape),
            indices=indices[order],
            claimed=values[0][order],
            estimate=values[1][order],
            uncertainty=values[2][order],
            complete=complete,
            pattern=in_words(self.array.shape, indices, wrong, complete=complete),
            looked_at=indices,
            wrong=wrong,
            seen_claimed=values[0],
            seen_estimate=values[1],
            seen_uncertainty=values[2],
            probes=self.probes,
        )


class OutputSearch(Search):
    """The search for the wrong ones among the components of one output, along random directions of a wrong leaf.

    What is claimed and measured of a component is its directional derivative, times a random weight.
    """

    def __init__(self, instrument: Instrument, look: Look, leaf: int, budget: float, output: int) -> None:
        super().__init__(instrument, look, leaf, budget)
        self.output, self.parts = output, 1
        self.path = instrument.subject.output_paths[output]
        self.array = np.broadcast_to(np.zeros(()), instrument.subject.outputs[output].shape)

    def group(self, span: tuple[int, int, int, int]) -> Probes:
        return self.groups.to_outputs((self.output, *span))

    def quotients(self, components: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
        """Along one random direction, and along another where that finds nothing: in one of them errors may cancel."""

        def along(number: int, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            one = self.groups.rows(slice(number, number + 1))
            rows = [one.to_outputs((self.output, int(i), int(i) + 1, 1, self.array.size)) for i in which]
            return self.measure(functools.reduce(Probes.join, rows))

        values, wrong = along(0, components)
        open_ = np.flatnonzero(~wrong)
        if len(open_) and wrong.any() and self.affords(len(open_)):
            others, found = along(1, components[open_])
            values[:, open_[found]], wrong[open_[found]] = others[:, found], True
        return values, wrong


def around(look: Look, rows: np.ndarray) -> np.ndarray:
    """The steps of the trusted windows of some probes, and a few larger ones."""
    steps = look.sweep.steps
    reach = np.nanmax(look.fit.reach[rows]) if len(rows) else steps[0]
    first = int(np.argmax(steps <= reach))
    first = max(0, min(first - AHEAD, len(steps) - WINDOW))
    return steps[first : first + WINDOW]


def halved(start: int, stop: int) -> list[tuple[int, int]]:
    """A group in two; a single place stays."""
    middle = (start + stop) // 2
    return [(start, middle), (middle, stop)] if stop - start > 1 else [(start, stop)]


def axes_of(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Stride and length of each axis of an array in C order."""
    return [(int(np.prod(shape[axis + 1 :], dtype=int)), length) for axis, length in enumerate(shape)]


def product(shape: tuple[int, ...], axes: Sequence[list[int] | None]) -> np.ndarray:
    """Flat indices of the components at certain places along each axis; None stands for all places."""
    places = [range(length) if axis is None else axis for axis, length in zip(axes, shape, strict=True)]
    return np.ravel_multi_index(np.ix_(*map(np.array, places)), shape).ravel()


def component_lengths(array: np.ndarray, components: np.ndarray, scale: int) -> np.ndarray:
    """How far each of some components moves in a unit step of its own probe."""
    overall, own = map(np.asarray, _scales(array))
    return ALONE * (own.ravel()[components % array.size] if scale == BASIS else np.full(len(components), overall))


@jax.jit
def _scales(array: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The scale of a leaf, and those of its components."""
    overall = scale_of(array)
    return overall, own_scales(array, overall)
