"""The instrument: measures one subject, and keeps what was measured and what follows from it."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np

from jaxgradsweep import _sweep
from jaxgradsweep._consistency import Consistency, affordable, consistency, cost, laws_of, laws_of_sweep, record
from jaxgradsweep._criteria import Criteria, criteria_for
from jaxgradsweep._fit import Fit, fit
from jaxgradsweep._kernel import NODES, evaluations_of
from jaxgradsweep._opinion import Identity, Weighing, confront, weigh
from jaxgradsweep._probe import (
    BASIS,
    COMPONENT,
    LEAF,
    Probes,
    basis,
    coarse_part,
    draw,
    looked_at,
    scale_of,
    seed_words,
    step_grid,
)
from jaxgradsweep._progress import Tick
from jaxgradsweep._request import Settings, check_steps
from jaxgradsweep._runner import Interrupted, Runner
from jaxgradsweep._stencil import PER_STEP, displaced, everywhere
from jaxgradsweep._store import Stopped
from jaxgradsweep._subject import Subject
from jaxgradsweep._sweep import Segments, Sweep
from jaxgradsweep._tree import wide_dtype
from jaxgradsweep._verdict import Finding, judge
from jaxgradsweep._wording import NOTES, Law, Reason, Verdict

MORE_DIRECTIONS = 2  # further directions of each scale in a second look
FAINT = 0.25  # derivatives along all directions of a leaf are smaller than this part of what is usual in 6 % of leaves
SMOOTHLY = 0.5  # second differences of a smooth function grow with the square of h, to within this in the exponent
ROUNDS = 3  # so many times more directions are drawn for them
TWICE, UNSEEN = 2.0, 1e-3  # directions are enough that hide an error of twice the tolerance no more often than this
FARTHER = 3  # where a function raises at far points, so many steps are dropped at a time
SMOOTH = (Reason.CONVERGES, Reason.EXACT)
SEGMENT_END = 2.0**-36  # the identity is asked at every second step down to here


@dataclasses.dataclass(frozen=True)
class Look:
    """All that was measured so far, and what follows from it."""

    probes: Probes
    sweep: Sweep
    segments: Segments | None
    criteria: Criteria

    @functools.cached_property
    def fit(self) -> Fit:
        return fit(self.sweep)

    @functools.cached_property
    def weighing(self) -> Weighing:
        return weigh(self.sweep, self.fit, self.criteria)

    @functools.cached_property
    def identity(self) -> Identity | None:
        if self.segments is None:
            return None
        return confront(self.sweep, self.fit, self.weighing, self.segments, self.criteria)

    def findings(self, subject: Subject, leaves: Sequence[int] | None = None) -> list[Finding]:
        """One for each leaf, or for some of them."""
        names = list(zip(subject.point.paths, subject.point.shapes, subject.dtypes, strict=True))
        chosen = dict(enumerate(names)) if leaves is None else {leaf: names[leaf] for leaf in leaves}
        alone = subject.claim.kind == "grad"
        return judge(chosen, self.sweep, self.fit, self.weighing, self.identity, self.criteria, alone=alone)

    @property
    def faint(self) -> list[int]:
        """Leaves whose terms nearly cancel along all directions that they move along at their own scale.

        An error in proportion to the gradient would cancel as well: the directions are nearly orthogonal to it. So may
        they be where nothing is claimed, and nothing seen but what is even in the step.
        """
        told, found = np.maximum(np.abs(self.sweep.claimed), np.abs(self.fit.derivative)), []
        for leaf in np.unique(self.probes.leaf):
            rows = (self.probes.leaf == leaf) & (self.probes.scale == LEAF)
            unit = np.max(self.sweep.size[rows])  # squares of 1e200 and 1e-200 have no place
            if unit == 0 and self.bends_only(rows):
                found.append(int(leaf))
            if not 0 < unit < np.inf:
                continue
            length, usual = (np.linalg.norm(values[rows] / unit) for values in (told, self.sweep.size))
            if length < FAINT * usual:
                found.append(int(leaf))
        return found

    @property
    def nearly_off(self) -> list[int]:
        """Leaves with an error that is measured, but under the tolerance by less than the first directions may hide."""
        found, weighing = [], self.weighing
        for leaf in np.unique(self.probes.leaf):
            rows = (self.probes.leaf == leaf) & (self.probes.scale == LEAF)
            three = np.stack([weighing.error[rows], weighing.bound[rows], weighing.scale[rows]])
            with np.errstate(all="ignore"):  # what is not finite is not nearly anything
                off, bound, scale = np.linalg.norm(three / np.max(weighing.scale[rows]), axis=1)
            limit = self.criteria.tolerance * scale
            if not self.criteria.margin * bound < off <= limit:
                continue
            if chance_below(off / (TWICE * limit), int(np.sum(rows))) > UNSEEN:
                found.append(int(leaf))
        return found

    def bends_only(self, rows: np.ndarray) -> bool:
        """Whether phi bends along some probes, as smooth functions do, but has no slope along any."""
        sloping = np.abs(self.fit.derivative[rows]) > self.criteria.margin * self.fit.uncertainty[rows]
        return bool(np.any(np.abs(self.fit.bend_order[rows] - 2) < SMOOTHLY)) and not sloping.any()

    def is_clear(self, subject: Subject) -> bool:
        """Whether every leaf is right, and that to a finer detection limit than any tolerance that is measured."""
        return all(
            f.verdict is Verdict.CORRECT and f.reason in SMOOTH and f.resolution <= self.criteria.clear
            for f in self.findings(subject)
        )


class Instrument:
    """Measures one subject: knows its settings, counts evaluations, and stays where the function does not raise."""

    def __init__(self, subject: Subject, settings: Settings, criteria: Criteria, tick: Tick) -> None:
        self.subject, self.settings, self.criteria, self.tick = subject, settings, criteria, tick
        self.runner = Runner(subject, settings, tick)
        self.others, self.claims = 0, 0
        self.measured = np.zeros(0)  # the steps of the last call, those that a raising function allows

    @property
    def chunk(self) -> int:
        """How many steps are evaluated at once."""
        return self.runner.chunk

    @property
    def evaluations(self) -> int:
        """How often F was evaluated."""
        return self.runner.evaluations + self.others

    def count(self, evaluations: int) -> None:
        """Count what was evaluated outside of the sweep."""
        self.others += evaluations

    @property
    def notes(self) -> list[str]:
        return self.runner.notes

    def draw(self, leaves: list[int], scale: int, numbers: range) -> Probes:
        point = self.subject.point
        return draw(point.paths, [np.size(x) for x in point.moving], leaves, scale, numbers, self.settings.key)

    def draw_first(self) -> Probes:
        """The first directions of every leaf."""
        return self.draw(list(range(len(self.subject.point.moving))), LEAF, range(self.settings.count))

    def measure(self, probes: Probes, steps: np.ndarray, what: str) -> Sweep:
        """A sweep; where the function raises at far points, without the steps that reach them."""
        self.tick(what, 0, len(probes))
        for dropped in range(0, len(steps), FARTHER):
            try:
                sweep = _sweep.measure(self.runner, probes, steps[dropped:], what)
            except Stopped:
                raise
            except Exception:
                if dropped == 0:
                    _sweep.measure(self.runner, probes, np.zeros(1))  # raises the user's own error, if raised at x
                continue
            self.measured = steps[dropped:]
            if dropped == 0:
                return sweep
            self.notes.append(NOTES["reach"].format(step=steps[dropped]))
            rows = np.arange(len(probes))
            lost = dataclasses.replace(sweep, steps=steps[:dropped], **_sweep.nothing(len(probes), dropped))
            return _sweep.extend(sweep, rows, lost)
        return _sweep.measure(self.runner, probes, steps)

    def again(self, look: Look) -> tuple[Sweep, Sweep]:
        """The first probe at the smallest steps, as it was measured and as the same compiled program measures now."""
        steps = self.measured
        last = steps[(len(steps) - 1) // self.chunk * self.chunk :]  # the same points in the same lanes of the vmap
        columns = np.isin(look.sweep.steps, last)
        known = {name: getattr(look.sweep, name)[:, columns] for name in PER_STEP}
        first = dataclasses.replace(look.sweep, steps=look.sweep.steps[columns], **known).select(slice(0, 1))
        return first, _sweep.measure(self.runner, look.probes.rows(slice(0, 1)), last)

    @property
    def least_bits(self) -> int:
        """Bits of mantissa of the least precise number on the way from the arguments to the claim."""
        subject = self.subject
        return min(subject.bits, subject.claim_bits, subject.traits.inner_bits, 23 if subject.traits.shorter else 52)

    @property
    def rounding(self) -> float:
        """A relative difference that is rounding in any case; that of numbers from elsewhere cannot be measured."""
        return self.criteria.tolerance if self.subject.claim.by_value else criteria_for(self.least_bits).rounding

    def swept(self, look: Look) -> list[Consistency]:
        """The identities that a sweep tells by itself."""
        told = [sweeps_word(law, look, self.rounding) for law in laws_of_sweep(self.subject.claim)]
        return [word for word in told if word is not None]

    def consistency(self, look: Look) -> tuple[Consistency, ...]:
        """Identities that need no steps: those that cost less than a whole sweep, and those that it gives cause for.

        The sweep itself compares F(x) in a batch of points with the value that comes with the claim.
        """
        subject, claim, wanted = self.subject, self.subject.claim, self.settings.consistency
        swept = self.swept(look)
        doubtful = tuple(word.law for word in swept if not word.holds)
        if wanted:
            laws = (*dict.fromkeys((*laws_of(claim), *laws_of_sweep(claim))), Law.COMPILATION)
        else:
            whole = len(look.probes) * evaluations_of(claim, len(grid_for(subject, self.settings)), self.chunk)
            laws = (*(() if wanted is False else affordable(laws_of(claim), whole)), *doubtful)
        if not laws:
            return tuple(swept)
        self.count(sum(map(cost, laws)))
        key, bits, floor = self.settings.key, self.least_bits, self.rounding
        tested = consistency(subject, laws, bits=bits, floor=floor, key=key)
        if tested and Law.ADJOINT in set(laws) - {each.law for each in tested}:
            self.notes.append(NOTES["no adjoint"])
        told = {each.law for each in tested}  # what could not be tested again stays as the sweep told it
        return (*tested, *(word for word in swept if word.law not in told))

    def look(self, probes: Probes, steps: np.ndarray) -> Look:
        return Look(probes, self.measure(probes, steps, "first look"), None, self.criteria)

    def first_look(self, probes: Probes, steps: np.ndarray) -> Look:
        """A look with some of the steps, and with all of them where these do not decide everything clearly."""
        part = coarse_part(steps) if self.settings.steps is None and not self.settings.thorough else slice(None)
        try:
            look = self.along_more(self.look(probes, steps[part]))
        except Stopped:
            raise
        except Exception:  # these steps are all too large for a function that raises
            return self.along_more(self.look(probes, steps))
        if len(look.sweep.steps) == len(steps) or look.is_clear(self.subject):
            return look
        with standing(look):
            rest = self.measure(look.probes, np.delete(steps, part), "all steps")
        return Look(look.probes, _sweep.between(look.sweep, rest, part.start), None, self.criteria)

    def along_more(self, look: Look) -> Look:
        """The look with more directions for leaves that are faint along those drawn first, or nearly off."""
        for _ in range(ROUNDS):
            if not (leaves := look.faint or look.nearly_off):
                break
            new = self.draw_more(look, leaves)
            with standing(look):
                sweep = _sweep.join_probes([look.sweep, self.measure(new, look.sweep.steps, "more directions")])
            look = Look(look.probes.join(new), sweep, None, self.criteria)
        return look

    def draw_more(self, look: Look, leaves: list[int]) -> Probes:
        """Further directions at the scales of some leaves."""

        def next_of(leaf: int) -> Probes:
            drawn = int(np.sum((look.probes.leaf == leaf) & (look.probes.scale == LEAF)))
            return self.draw([leaf], LEAF, range(drawn, drawn + MORE_DIRECTIONS))

        return functools.reduce(Probes.join, map(next_of, leaves))

    def around(self, leaf: int, pairs: int) -> Iterator[tuple[float, "Instrument"]]:
        """Instruments at points close by, in pairs on opposite sides, so far that a sweep there keeps half its digits.

        Two are where all components of a leaf have moved alike, others where they have moved at random: half of them
        along with all other leaves. Each comes with the leaf's scale there, in units of its scale at the point itself.
        """
        subject, settings = self.subject, dataclasses.replace(self.settings, checkpoint=None)
        moving = [jnp.asarray(x) for x in subject.point.moving]
        scales = [scale_of(x) for x in moving]
        aside = max(subject.eps, subject.inner) ** 0.25
        for pair in range(pairs):
            away = everywhere(moving, scales, seed_words(self.settings.key, f"around/{pair}"), LEAF)
            if not pair:
                away[leaf] = jnp.full_like(moving[leaf], scales[leaf])
            if pair % 2 == 0:
                away = [v if i == leaf else jnp.zeros_like(v) for i, v in enumerate(away)]
            for side in (aside, -aside):
                moved = displaced(moving, away, jnp.asarray(side, wide_dtype()))
                point = dataclasses.replace(subject.point, moving=tuple(moved))
                instrument = Instrument(dataclasses.replace(subject, point=point), settings, self.criteria, self.tick)
                yield float(scale_of(moved[leaf]) / scales[leaf]), instrument
                self.count(instrument.evaluations)

    def look_in_both_modes(self, probes: Probes, steps: np.ndarray) -> tuple[Look, Look]:
        """The first look at JAX's own derivative, and at that in the other mode."""
        first, second = _sweep.measure_in_both_modes(self.runner, probes, steps)
        return Look(probes, first, None, self.criteria), Look(probes, second, None, self.criteria)

    def look_again(self, look: Look, leaves: list[int], steps: np.ndarray) -> Look:
        """More directions at the leaf's scale, each component's own scale, and the segment identity."""
        count = max(self.settings.count, MORE_DIRECTIONS)
        new = self.draw_more(look, leaves).join(self.draw(leaves, COMPONENT, range(count)))
        probes = look.probes.join(new)
        sweep = _sweep.join_probes([look.sweep, self.measure(new, steps, "second look")])
        return Look(probes, sweep, self.integrate(probes, np.isin(probes.leaf, leaves), steps), self.criteria)

    def look_at_components(self, look: Look, leaf: int, steps: np.ndarray) -> Look:
        """Each component of one leaf alone, or some of a large leaf's, at its own scale."""
        array = self.subject.point.moving[leaf]
        new = basis(leaf, looked_at(np.size(array) * (2 if np.iscomplexobj(array) else 1)), BASIS)
        sweep = self.measure(new, steps, "components")
        if farther := len(look.sweep.steps) - len(steps):
            outer = look.sweep.steps[:farther]
            lost = dataclasses.replace(sweep, steps=outer, **_sweep.nothing(len(new), farther))
            sweep = _sweep.extend(sweep, np.arange(len(new)), lost)
        segments, known = look.segments, self.integrate(new, np.ones(len(new), bool), steps)
        if segments is not None and known is not None:
            pairs = {name: (getattr(segments, name), getattr(known, name)) for name in ("integral", "rough")}
            segments = dataclasses.replace(segments, **{name: np.concatenate(pair) for name, pair in pairs.items()})
        elif segments is not None:
            lost = np.full((len(new), len(segments.steps)), np.nan)
            segments = dataclasses.replace(
                segments,
                integral=np.concatenate([segments.integral, lost]),
                rough=np.concatenate([segments.rough, lost]),
            )
        return Look(look.probes.join(new), _sweep.join_probes([look.sweep, sweep]), segments, self.criteria)

    def integrate(self, probes: Probes, rows: np.ndarray, steps: np.ndarray) -> Segments | None:
        """The claim integrated along some of the probes; None where it is known at x only."""
        subject = self.subject
        chosen = steps[(steps <= 1) & (steps >= SEGMENT_END)][::2]
        if not subject.claim.integrable or not len(chosen):
            return None
        self.claims += int(np.sum(rows)) * len(chosen) * sum(NODES)
        try:
            found = _sweep.integrate(self.runner, probes.rows(rows), chosen)
        except Stopped:
            raise
        except Exception:  # the claim raises somewhere along the segments: it says nothing there
            return None
        wide = np.full((2, len(probes), len(chosen)), np.nan)
        wide[:, rows] = found.integral, found.rough
        return dataclasses.replace(found, integral=wide[0], rough=wide[1])

    def residual(self, probes: Probes, width: float, count: int) -> np.ndarray | None:
        """What the claim misses, its integral less the function's change, over [-h, h] for `count` h up to `width`."""
        steps = width * np.arange(count, 0, -1) / count
        try:
            sweep = _sweep.measure(self.runner, probes, steps)
            known = _sweep.integrate(self.runner, probes, steps)
        except Stopped:
            raise
        except Exception:  # something raises along the segments
            return None
        with np.errstate(invalid="ignore"):
            return (known.integral - sweep.difference)[:, ::-1]

    def look_outward(self, look: Look, leaves: list[int]) -> Look:
        """Larger steps, for leaves that no step inside could decide."""
        rows, steps = np.isin(look.probes.leaf, leaves), step_grid(52, outward=True)
        larger = steps[steps > look.sweep.steps[0]]  # the grids of short precisions begin above 1
        if not len(larger):
            return look
        try:
            outer = self.measure(look.probes.rows(rows), larger, "larger steps")
        except Stopped:
            raise
        except Exception:  # the function raises at every larger step
            return look
        return Look(look.probes, _sweep.extend(look.sweep, rows, outer), look.segments, self.criteria)


def chance_below(ratio: float, count: int) -> float:
    """How often the RMS of so many projections of an error is less than this part of what it is on the average.

    Projections are normal, and their squares sum to chi^2; an odd number of them counts as one less.
    """
    half = max(count // 2, 1)
    terms = np.cumprod([1.0, *(half * ratio**2 / np.arange(1, half))])
    return float(1 - np.exp(-half * ratio**2) * np.sum(terms))


@contextlib.contextmanager
def standing(look: Look) -> Iterator[None]:
    """What is known already stands if further measurements are interrupted."""
    try:
        yield
    except Interrupted as stop:
        stop.done, stop.probes, stop.sweep = np.arange(len(look.probes)), look.probes, look.sweep
        raise


def sweeps_word(law: Law, look: Look, floor: float) -> Consistency | None:
    """What the sweep says of an identity that holds if F(x) in a batch is the value that comes with the claim.

    None where the function is not finite at x.
    """
    sweep = look.sweep
    if sweep.apart is None or not sweep.finite.all():
        return None
    with np.errstate(all="ignore"):
        unit = np.where(look.fit.magnitude > 0, look.fit.magnitude, 1)
        off = float(np.max(np.nan_to_num(sweep.apart / unit, nan=np.inf)))
        noise = 0.0 if sweep.order == 2 else float(np.median(np.nan_to_num(look.fit.noise / unit)))
    return record(law, off, noise, floor)


def grid_for(subject: Subject, settings: Settings) -> np.ndarray:
    """The steps asked for, or those that suit the precision, and that inside: short ones begin above 1."""
    if settings.steps is not None:
        return check_steps(settings.steps)
    inner = step_grid(min(subject.bits, subject.traits.inner_bits))
    steps = np.union1d(step_grid(subject.bits), inner)[::-1]
    return steps[steps >= 2.0 ** -(subject.bits // 2)] if subject.claim.kind == "curvature" else steps
