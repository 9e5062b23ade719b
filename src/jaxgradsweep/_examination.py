"""The pipeline: a first look at every leaf, a second one where that does not decide, and the report."""

import dataclasses
import functools
import platform
from collections.abc import Callable
from importlib import metadata
from typing import Any

import jax
import numpy as np

from jaxgradsweep import _sweep
from jaxgradsweep._criteria import Criteria, criteria_for
from jaxgradsweep._fit import Fit, fit
from jaxgradsweep._opinion import Identity, Weighing, confront, weigh
from jaxgradsweep._probe import COMPONENT, LEAF, PART, REST, Probes, draw, step_grid
from jaxgradsweep._progress import Tick, reporter
from jaxgradsweep._report import Report, classic_figures
from jaxgradsweep._request import Settings, check_args, check_steps, require_moving
from jaxgradsweep._subject import Subject, prepare
from jaxgradsweep._sweep import Segments, Sweep
from jaxgradsweep._tree import split
from jaxgradsweep._verdict import Finding, judge
from jaxgradsweep._wording import NOTES, TIE, Reason, Verdict, advice_for

MORE_DIRECTIONS = 2  # further directions of each scale in a second look
FARTHER = 3  # where a function raises at far points, so many steps are dropped at a time
REFINE = 10.0  # a detection limit so many times coarser than the finest tolerance is worth larger steps
OUTWARD = (Reason.ROUNDOFF, Reason.TRUNCATION, Reason.NOISE)  # what larger steps may decide
SEGMENT_END = 2.0**-36  # the identity is asked at every second step down to here
SEVERITY = {Verdict.CORRECT: 0, Verdict.UNRESOLVED: 1, Verdict.WRONG: 2}


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

    def findings(self, subject: Subject) -> list[Finding]:
        names = (subject.point.paths, subject.point.shapes, subject.dtypes)
        return judge(names, self.sweep, self.fit, self.weighing, self.identity, self.criteria)


class Instrument:
    """Measures one subject: knows its settings, counts evaluations, and stays where the function does not raise."""

    def __init__(self, subject: Subject, settings: Settings, criteria: Criteria, tick: Tick) -> None:
        self.subject, self.settings, self.criteria, self.tick = subject, settings, criteria, tick
        self.chunk = _sweep.chunk_of_steps(subject.point.moving, settings.batch_size, settings.memory)
        self.evaluations, self.notes = 0, []

    def draw(self, leaves: list[int], scale: int, numbers: range) -> Probes:
        return draw(self.subject.point.paths, leaves, scale, numbers, self.settings.key)

    def measure(self, probes: Probes, steps: np.ndarray, what: str) -> Sweep:
        """A sweep; where the function raises at far points, without the steps that reach them."""
        self.tick(what, 0, len(probes))
        for dropped in range(0, len(steps), FARTHER):
            try:
                sweep = self._measure(probes, steps[dropped:], what)
            except Exception:
                if dropped == 0:
                    self._measure(probes, np.zeros(1))  # raises the user's own error, if it is raised at x
                continue
            if dropped == 0:
                return sweep
            self.notes.append(NOTES["reach"].format(step=steps[dropped]))
            rows = np.arange(len(probes))
            lost = dataclasses.replace(sweep, steps=steps[:dropped], **_sweep.nothing(len(probes), dropped))
            return _sweep.extend(sweep, rows, lost)
        return self._measure(probes, steps)

    def _measure(self, probes: Probes, steps: np.ndarray, what: str | None = None) -> Sweep:
        subject = self.subject

        def tick(done: int) -> None:
            if what is not None:
                self.tick(what, done, len(probes))

        self.evaluations += len(probes) * -(-len(steps) // self.chunk) * (2 * self.chunk + 1)
        paths = subject.point.paths
        return _sweep.measure(subject.claim, subject.arrays, paths, probes, steps, self.chunk, subject.eps, tick)

    def same_twice(self, look: Look) -> bool:
        """Whether the same compiled program gives the same numbers again."""
        steps = look.sweep.steps
        last = steps[(len(steps) - 1) // self.chunk * self.chunk :]  # the same points in the same lanes of the vmap
        again = self._measure(look.probes.rows(slice(0, 1)), last)
        pairs = [(again.difference, look.sweep.difference), (again.forward, look.sweep.forward)]
        return all(np.array_equal(a[0], b[0, -a.shape[1] :], equal_nan=True) for a, b in pairs)

    def look(self, probes: Probes, steps: np.ndarray) -> Look:
        return Look(probes, self.measure(probes, steps, "first look"), None, self.criteria)

    def look_again(self, look: Look, leaves: list[int], steps: np.ndarray) -> Look:
        """More directions at the leaf's scale, each component's own scale, and the segment identity."""
        count = self.settings.count
        more = [
            self.draw(leaves, LEAF, range(count, count + MORE_DIRECTIONS)),
            self.draw(leaves, COMPONENT, range(max(count, MORE_DIRECTIONS))),
        ]
        new = Probes(*(np.concatenate(parts) for parts in zip(*(vars(p).values() for p in more), strict=True)))
        probes = Probes(*(np.concatenate(p) for p in zip(vars(look.probes).values(), vars(new).values(), strict=True)))
        sweep = _sweep.join_probes([look.sweep, self.measure(new, steps, "second look")])
        return Look(probes, sweep, self.integrate(probes, np.isin(probes.leaf, leaves), steps), self.criteria)

    def integrate(self, probes: Probes, rows: np.ndarray, steps: np.ndarray) -> Segments | None:
        """The claim integrated along some of the probes; None where it is known at x only."""
        subject = self.subject
        chosen = steps[(steps <= 1) & (steps >= SEGMENT_END)][::2]
        if not subject.claim.callable or not len(chosen):
            return None
        try:
            found = _sweep.integrate(subject.claim, subject.arrays, probes.rows(rows), chosen, self.chunk)
        except Exception:  # the claim raises somewhere along the segments: it says nothing there
            return None
        wide = np.full((2, len(probes), len(chosen)), np.nan)
        wide[:, rows] = found.integral, found.rough
        return dataclasses.replace(found, integral=wide[0], rough=wide[1])

    def look_outward(self, look: Look, leaves: list[int]) -> Look:
        """Larger steps, for leaves that no step inside could decide."""
        rows = np.isin(look.probes.leaf, leaves)
        try:
            outer = self.measure(look.probes.rows(rows), step_grid(52, outward=True), "larger steps")
        except Exception:  # the function raises at every larger step
            return look
        return Look(look.probes, _sweep.extend(look.sweep, rows, outer), look.segments, self.criteria)


def examine(
    kind: str,
    fun: Callable,
    args: tuple[Any, ...],
    *,
    argnums: int | tuple[int, ...],
    rule: Any,
    settings: Settings,
    has_aux: bool = False,
    holomorphic: bool = False,
) -> Report:
    """Check one claim at one point."""

    def run(subject: Subject, dtype: str) -> Report:
        with reporter(settings.progress) as tick:
            return conclude(subject, settings, dtype, tick)

    shape = {"rule": rule, "has_aux": has_aux, "holomorphic": holomorphic}
    return at_precision(kind, fun, args, argnums, settings, shape, run)


def at_precision(
    kind: str,
    fun: Callable,
    args: tuple[Any, ...],
    argnums: int | tuple[int, ...],
    settings: Settings,
    shape: dict[str, Any],
    run: Callable[[Subject, str], Any],
) -> Any:
    """Prepare a subject and run something on it in the precision asked for, or natively if the function needs that."""
    if not callable(fun):
        raise TypeError(f"`fun` must be callable; got {type(fun).__name__}")
    numbers, single = check_args(args, argnums)
    require_moving(split(args, numbers, single=single), args)
    if settings.steps is not None:
        check_steps(settings.steps)

    def attempt(dtype: str, notes: tuple[str, ...] = ()) -> Any:
        with _sweep.precision(dtype):
            subject = prepare(kind, fun, args, numbers, single=single, dtype=dtype, **shape)
            return run(dataclasses.replace(subject, notes=(*notes, *subject.notes)), dtype)

    try:
        return attempt(settings.dtype)
    except Exception as error:
        if settings.dtype == "native":
            raise
        cause = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"
        try:
            return attempt("native", (NOTES["native"].format(error=cause),))
        except Exception:
            raise error from None


def conclude(subject: Subject, settings: Settings, dtype: str, tick: Tick) -> Report:
    """Look, look again where needed, and write the report."""
    criteria = criteria_for(subject.bits, settings.rtol)
    own = criteria_for(min(subject.bits, subject.claim_bits))
    inner = criteria_for(min(subject.bits, subject.inner_bits)).rounding if subject.inner_bits < subject.bits else 0
    criteria = dataclasses.replace(criteria, finest=max(own.finest, inner), rounding=own.rounding)
    instrument = Instrument(subject, settings, criteria, tick)
    steps = grid_for(subject, settings)
    everything = list(range(len(subject.point.paths)))
    look = instrument.look(instrument.draw(everything, LEAF, range(settings.count)), steps)
    if not everything:
        return report_on(subject, instrument, look, [], settings, dtype)
    if not instrument.same_twice(look):
        findings = [changing(finding) for finding in look.findings(subject)]
        return report_on(subject, instrument, look, findings, settings, dtype)
    findings = look.findings(subject)
    undecided = [i for i in everything if findings[i].verdict is not Verdict.CORRECT]
    if undecided:
        look = instrument.look_again(look, undecided, steps)
        findings = look.findings(subject)
        farther = [i for i in undecided if needs_larger_steps(look, findings[i])]
        if farther and settings.steps is None:
            look = instrument.look_outward(look, farther)
            findings = look.findings(subject)
    findings = [bent(instrument, look, steps, i, finding) for i, finding in enumerate(findings)]
    if settings.steps is None:
        look, findings = refined(instrument, look, findings)
    return report_on(subject, instrument, look, findings, settings, dtype)


def needs_larger_steps(look: Look, finding: Finding) -> bool:
    """Whether no step inside could decide, or the function stands still at all of them and is accused for that."""
    if finding.verdict is Verdict.WRONG:
        return bool(look.fit.motionless[finding.probe])
    return finding.verdict is Verdict.UNRESOLVED and finding.reason in OUTWARD


def bent(instrument: Instrument, look: Look, steps: np.ndarray, leaf: int, finding: Finding) -> Finding:
    """The finding of a leaf that only the point accuses, after asking whether a derivative exists there.

    At a tie of three values the median is linear along every direction, yet its slope is not a linear function of the
    direction: the slopes along two halves of a direction do not add up to that along the whole.
    """
    rows = np.flatnonzero((look.probes.leaf == leaf) & (look.probes.scale == LEAF))
    alone = finding.reason is Reason.MISMATCH and look.segments is None
    if not (alone or finding.reason in (Reason.POINT_ONLY, Reason.DIRECTIONS)) or not len(rows):
        return finding
    whole = look.probes.rows(rows)
    halves = [
        fit(instrument.measure(dataclasses.replace(whole, scale=np.full_like(whole.scale, scale)), steps, "halves"))
        for scale in (PART, REST)
    ]
    lack = look.fit.derivative[rows] - sum(half.derivative for half in halves)
    bound = look.fit.uncertainty[rows] + sum(half.uncertainty for half in halves)
    if not (np.abs(lack) > bound + look.criteria.least_kink * look.weighing.scale[rows]).any():
        return finding
    return dataclasses.replace(finding, verdict=Verdict.UNRESOLVED, reason=Reason.KINK, advice=TIE)


def refined(instrument: Instrument, look: Look, findings: list[Finding]) -> tuple[Look, list[Finding]]:
    """Larger steps for leaves that are right, but with a coarse detection limit; dropped if that gains nothing."""
    limit = REFINE * look.criteria.finest
    coarse = [
        i for i, finding in enumerate(findings) if finding.verdict is Verdict.CORRECT and finding.resolution > limit
    ]
    if not coarse or len(look.sweep.steps) > len(step_grid(52)):
        return look, findings
    wider = instrument.look_outward(look, coarse)
    again = wider.findings(instrument.subject)
    gains = all(again[i].resolution < findings[i].resolution for i in coarse)
    return (wider, again) if gains else (look, findings)


def grid_for(subject: Subject, settings: Settings) -> np.ndarray:
    """The steps asked for, or those that suit the precision."""
    if settings.steps is not None:
        return check_steps(settings.steps)
    return step_grid(subject.bits)


def changing(finding: Finding) -> Finding:
    """The finding of a function whose value changes between calls."""
    verdict, reason = Verdict.UNRESOLVED, Reason.NONDETERMINISTIC
    return dataclasses.replace(finding, verdict=verdict, reason=reason, advice=advice_for(verdict, reason, {}))


def report_on(
    subject: Subject, instrument: Instrument, look: Look, findings: list[Finding], settings: Settings, dtype: str
) -> Report:
    """Put everything together."""
    worst = max((finding.verdict for finding in findings), key=SEVERITY.__getitem__, default=Verdict.CORRECT)
    return Report(
        kind=subject.claim.kind,
        verdict=worst,
        findings=tuple(findings),
        resolution=max((finding.resolution for finding in findings), default=0.0),
        tolerance=max((finding.tolerance for finding in findings), default=look.criteria.tolerance),
        sweep=look.sweep,
        fit=look.fit,
        classic=classic_figures(look.sweep, look.fit, findings),
        evaluations=instrument.evaluations,
        environment=environment(settings, dtype),
        notes=(*subject.notes, *dict.fromkeys(instrument.notes)),
    )


@functools.cache
def versions() -> dict[str, str]:
    """What is installed; reading it takes milliseconds."""
    packages = {name: metadata.version(name) for name in ("jaxgradsweep", "jax", "jaxlib", "numpy")}
    return packages | {"python": platform.python_version()}


def environment(settings: Settings, dtype: str) -> dict[str, str]:
    """What somebody needs to repeat a check."""
    device = jax.devices()[0]
    return versions() | {
        "backend": device.platform,
        "device": device.device_kind,
        "dtype": dtype,
        "rtol": str(settings.rtol),
        "directions": str(settings.count),
        "key": str(settings.key),
    }
