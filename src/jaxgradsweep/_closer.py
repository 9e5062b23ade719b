"""Closer looks at what the first look did not find correct, each with a question of its own."""

import dataclasses

import numpy as np

from jaxgradsweep._fit import fit
from jaxgradsweep._grain import grained
from jaxgradsweep._instrument import Instrument, Look
from jaxgradsweep._noise import running_median
from jaxgradsweep._opinion import Opinion
from jaxgradsweep._probe import LEAF, PART, REST, step_grid
from jaxgradsweep._store import Stopped
from jaxgradsweep._verdict import ROUGH, Finding
from jaxgradsweep._wording import STOPS_EARLY, TIE, Reason, Verdict, advice_for

REFINE = 10.0  # a detection limit so many times coarser than the finest tolerance is worth larger steps
STAIR_WIDTHS = (2.0**-1, 2.0**-5, 2.0**-9)  # in relative step: where a loop's jumps are looked for,
STAIR_STEPS, STAIR_PROBES = 32, 3  # each at so many equal steps, along so many probes
LEAP = 10.0  # a jump stands out so many times from what a smooth function does from one of them to the next
LASTS = 0.75  # and keeps so much of its height between steps half as large, where a fast wave keeps half
SIDES = 9  # so many pairs of points around a kink tell between which slopes a subgradient may lie
WIDEST = 6  # so many of the largest steps show whether a claim varies smoothly
OUTWARD = (Reason.ROUNDOFF, Reason.TRUNCATION, Reason.NOISE)  # what larger steps may decide


def look_closer(
    instrument: Instrument, look: Look, findings: list[Finding], steps: np.ndarray
) -> tuple[Look, list[Finding]]:
    """Further looks at what the first did not find correct, and the findings after them."""
    subject, free = instrument.subject, instrument.settings.steps is None
    undecided = [i for i, finding in enumerate(findings) if finding.verdict is not Verdict.CORRECT]
    if undecided:
        look = instrument.look_again(look, undecided, steps)
        findings = look.findings(subject)
        farther = [i for i in undecided if needs_larger_steps(look, findings[i])]
        if farther and free:
            look = instrument.look_outward(look, farther)
            findings = look.findings(subject)
    for leaf in [i for i in undecided if is_rough(findings[i])]:
        look = instrument.look_at_components(look, leaf, steps)
        findings = look.findings(subject)
    if free:
        look, findings = refined(instrument, look, findings)
    findings = [bent(instrument, look, steps, i, finding) for i, finding in enumerate(findings)]
    findings = [surrounded(instrument, look, steps, i, finding) for i, finding in enumerate(findings)]
    findings = [united(instrument, look, finding) for finding in findings]
    findings = [stepped(instrument, look, finding) for finding in findings]
    findings = [drowned(instrument, look, steps, finding) for finding in findings]
    return look, [grained(instrument, look, finding) for finding in findings]


def needs_larger_steps(look: Look, finding: Finding) -> bool:
    """Whether no step inside could decide, or the function stands still at all of them and is accused for that."""
    if finding.verdict is Verdict.WRONG:
        return bool(look.fit.motionless[finding.probe])
    return finding.verdict is Verdict.UNRESOLVED and finding.reason in OUTWARD


def is_rough(finding: Finding) -> bool:
    """Whether a leaf is undecided for what its kinks or jumps hide: single components may meet none."""
    return finding.verdict is Verdict.UNRESOLVED and finding.reason in ROUGH


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


def surrounded(instrument: Instrument, look: Look, steps: np.ndarray, leaf: int, finding: Finding) -> Finding:
    """The finding of a leaf that is accused at a kink, after asking what slopes the function has on all sides of it.

    A line through the point meets two of them. Where several kinks meet, as at zero in a layer of ReLUs, a subgradient
    lies among all of them, and not always between these two (Clarke, Optimization and Nonsmooth Analysis, 1983, 2.1.2
    and 2.5.1).
    """
    if (finding.verdict, finding.reason) != (Verdict.WRONG, Reason.KINK):
        return finding
    rows = np.array([i for i in finding.probes if look.probes.scale[i] == LEAF])
    probes = look.probes.rows(rows)
    try:
        found = [(unit, fit(near.measure(probes, steps, "all sides"))) for unit, near in instrument.around(leaf, SIDES)]
    except Stopped:
        raise
    except Exception:  # the function raises close by: the accusation stands
        return finding
    slopes, bounds = (
        np.stack([getattr(each, name) / unit for unit, each in found]) for name in ("derivative", "uncertainty")
    )
    known = np.isfinite(slopes) & np.isfinite(bounds)
    low = np.min(np.where(known, slopes - bounds, np.inf), axis=0)
    high = np.max(np.where(known, slopes + bounds, -np.inf), axis=0)
    with np.errstate(all="ignore"):
        off = np.abs(look.sweep.claimed[rows] - (low + high) / 2)
        among = ~(off > look.criteria.beyond_kink * (high - low) / 2)
    if not among.any():
        return finding
    verdict = Verdict.UNRESOLVED
    return dataclasses.replace(finding, verdict=verdict, advice=advice_for(verdict, finding.reason, finding.evidence))


def united(instrument: Instrument, look: Look, finding: Finding) -> Finding:
    """The finding of a leaf whose directions do not agree, although the function has a derivative, which is linear.

    What two directions accuse no other can acquit: it may be orthogonal to the error, as where two components are moved
    alike and their errors are opposite. It may differ where a function has steps for some directions only: where it
    rounds, computes in less precision inside, or has a loop that ends on a number.
    """
    traits = instrument.subject.traits
    steps = traits.shorter or traits.rounds or traits.iterates or look.fit.low_precision[list(finding.probes)].any()
    if finding.reason is not Reason.DIRECTIONS or steps:
        return finding
    weighing, identity = look.weighing, look.identity
    accusers = [
        i
        for i in finding.probes
        if weighing.reason[i] is Reason.MISMATCH and not weighing.noisy[i]
        if identity is None or identity.opinion[i] == Opinion.AGAINST
    ]
    if len(accusers) < 2 or finding.probe not in accusers:
        return finding
    verdict, reason = Verdict.WRONG, Reason.MISMATCH
    advice = advice_for(verdict, reason, finding.evidence)
    return dataclasses.replace(finding, verdict=verdict, reason=reason, advice=advice)


def stepped(instrument: Instrument, look: Look, finding: Finding) -> Finding:
    """The finding of an accused leaf, after asking whether a loop in the function makes jumps of the claim's own error.

    An iteration that stops early follows the exact solution on the whole only. It leaves it as the point moves, and
    jumps back where it takes another turn. So does what the exact solution's derivative misses; what a wrong claim
    misses grows without jumps.
    """
    subject, rows = instrument.subject, np.array(finding.probes)
    if finding.reason is not Reason.MISMATCH or not subject.traits.iterates or not subject.claim.integrable:
        return finding
    for width in STAIR_WIDTHS:
        missed = instrument.residual(look.probes.rows(rows[:STAIR_PROBES]), width, STAIR_STEPS)
        if missed is None or not np.isfinite(missed).all():
            continue
        high, others = leaps(missed)
        coarse, _ = leaps(missed[:, 1::2])
        large = high > np.maximum(LEAP * others, look.criteria.alike * np.max(np.abs(missed), axis=1))
        if (large & (high > LASTS * coarse)).any():
            verdict, reason = Verdict.UNRESOLVED, Reason.SCALES
            return dataclasses.replace(finding, verdict=verdict, reason=reason, advice=advice_for(verdict, reason, {}))
    return dataclasses.replace(finding, advice=f"{finding.advice} {STOPS_EARLY}")


def leaps(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The highest and the median of the leaps in each row, at equal steps from 0 on: changes unlike those close by."""
    change = np.diff(values, axis=1, prepend=0)
    leap = np.abs(change - running_median(change))
    return np.max(leap, axis=1), np.median(leap, axis=1)


def drowned(instrument: Instrument, look: Look, steps: np.ndarray, finding: Finding) -> Finding:
    """The finding of a leaf along which the function stands still, after asking whether its claim is only rounding.

    Rounding changes from point to point. A claim that changes smoothly is a derivative too small to be seen.
    """
    rows = list(finding.probes)
    if finding.reason is not Reason.CONSTANT or not look.sweep.claimed[rows].any():
        return finding
    segments = instrument.integrate(look.probes.rows(np.array(rows)), np.ones(len(rows), bool), steps[:WIDEST])
    if segments is None:
        return finding
    with np.errstate(all="ignore"):
        rough = np.abs(segments.integral - segments.rough) > look.criteria.slight * np.abs(segments.integral)
    if rough.any():
        return finding
    verdict, reason = Verdict.UNRESOLVED, Reason.ROUNDOFF
    return dataclasses.replace(finding, verdict=verdict, reason=reason, advice=advice_for(verdict, reason, {}))


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
