"""Hold a fit against its claim: opinion of each witness, verdict of each leaf. Every threshold is in `Criteria`."""

import dataclasses
import enum
from collections.abc import Sequence

import numpy as np

from jaxgradsweep._fit import Fit
from jaxgradsweep._sweep import Segments, Sweep
from jaxgradsweep._wording import INSIDE, OUTSIDE, Reason, Verdict, advice_for


@dataclasses.dataclass(frozen=True)
class Criteria:
    """Every number that decides. Relative errors are in units of the leaf's RMS contribution.

    Attributes:
        rtol: what the user asked for; None: the tolerance is measured.
        finest: a measured tolerance is never finer: below it, discrepancies are reported but not wrong.
        coarsest: a detection limit above it supports no verdict of CORRECT.
        rounding: a claim is rounded by at most so much of its own size.
        margin: a discrepancy accuses only from so many times its bound on.
        least_kink: smallest jump of slopes that counts as a kink, relative.
        beyond_kink: a claim at a kink accuses from so many half widths of the kink on.
        dense: second differences that grow with a power of h between these two come from dense kinks.
        rounded: a function that moves by noise of at most so many roundings is constant, and a claim of at most so many
            roundings of its value is zero.
        missing: a claim smaller than this part of what is measured sets no scale.
        tells: an identity must be so many times finer than the discrepancy that it confirms.
        steps_that_tell: so many of the smallest telling steps of an identity must agree.
    """

    rtol: float | None = None
    finest: float = 1e-9
    coarsest: float = 1e-3
    rounding: float = 64 * 2.0**-53
    margin: float = 3.0
    least_kink: float = 1e-6
    beyond_kink: float = 1.5
    dense: tuple[float, float] = (1.15, 1.85)
    rounded: float = 1e4
    missing: float = 0.1
    tells: float = 3.0
    steps_that_tell: int = 4

    @property
    def tolerance(self) -> float:
        return self.finest if self.rtol is None else self.rtol


# Tolerances by the precision in which the function is evaluated. The finest is about eps^0.58: what a sweep resolves
# of a smooth function with some margin; a claim in bfloat16 has a rounding of its own of 1 %.
_BY_PRECISION = {
    52: {"finest": 1e-9, "coarsest": 1e-3, "rounding": 64 * 2.0**-53},
    23: {"least_kink": 1e-3, "finest": 1e-4, "coarsest": 2e-2, "rounding": 32 * 2.0**-24},
    10: {"least_kink": 3e-2, "finest": 2e-2, "coarsest": 1e-1, "rounding": 8 * 2.0**-11},
    7: {"least_kink": 1e-1, "finest": 6e-2, "coarsest": 3e-1, "rounding": 4 * 2.0**-8},
}


def criteria_for(bits: int, rtol: float | None = None) -> Criteria:
    """The criteria for functions evaluated with so many bits of mantissa."""
    known = max((b for b in _BY_PRECISION if b <= bits), default=min(_BY_PRECISION))
    return Criteria(rtol=rtol, **_BY_PRECISION[known])


RETURN = 0.3  # differences return to a claim that they miss by at most this part of the discrepancy
FLOAT32 = 2.0**-28  # noise above this share of phi, and of rounded values, is that of float32


class Opinion(enum.IntEnum):
    """What one witness says of one probe."""

    OPEN = 0
    FOR = 1
    AGAINST = 2


@dataclasses.dataclass(frozen=True)
class Weighing:
    """The opinion of the sweep on every probe."""

    error: np.ndarray  # claimed - derivative
    bound: np.ndarray  # how wrong `error` can be
    scale: np.ndarray  # the directional derivative that a relative error of 1 means
    opinion: np.ndarray
    reason: tuple[Reason, ...]

    @property
    def resolution(self) -> np.ndarray:
        return self.bound / self.scale


@dataclasses.dataclass(frozen=True)
class Finding:
    """One leaf's fit held against the claim.

    Attributes:
        path: name of the leaf, as `jax.tree_util.keystr` gives it.
        shape: its shape.
        dtype: its dtype, as the caller passed it.
        verdict: the answer.
        reason: why.
        claimed: claimed directional derivative of the probe that decided.
        estimate: the same from the function's values alone, extrapolated to h = 0.
        uncertainty: error bar of `estimate`.
        error: (claimed - estimate) relative to the leaf's RMS contribution, signed.
        error_bound: the claim could be wrong by at most this, relative.
        resolution: detection limit: the smallest relative error that could have been seen.
        tolerance: relative error from which on the claim counts as wrong.
        slope: truncation order of the central differences; None where none is visible.
        slope_error: its standard error.
        crossover: relative step where roundoff takes over.
        noise: measured noise of the function, in its own units.
        advice: what to do; empty where nothing is.
        probes: rows of the report's sweep that belong to this leaf.
        probe: the row that decided.
        evidence: named numbers behind the reason.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    verdict: Verdict
    reason: Reason
    claimed: float
    estimate: float
    uncertainty: float
    error: float
    error_bound: float
    resolution: float
    tolerance: float
    slope: float | None
    slope_error: float | None
    crossover: float | None
    noise: float | None
    advice: str
    probes: tuple[int, ...]
    probe: int
    evidence: dict[str, float | str]


def weigh(sweep: Sweep, fit: Fit, criteria: Criteria) -> Weighing:
    """What the sweep says of every probe's claim."""
    with np.errstate(all="ignore"):
        return _weigh(sweep, fit, criteria)


def _weigh(sweep: Sweep, fit: Fit, criteria: Criteria) -> Weighing:
    error = sweep.claimed - fit.derivative
    size = np.nan_to_num(sweep.size, posinf=0)
    measured = by_group(sweep, np.nan_to_num(fit.derivative))
    size = np.where(size > criteria.missing * measured, size, measured)
    hidden = np.where(fit.low_precision, fit.noise / (sweep.eps * np.maximum(fit.magnitude, np.finfo(float).tiny)), 1)
    rounding = criteria.rounding * np.clip(hidden, 1, 2.0**29)
    bound = fit.uncertainty + rounding * (np.nan_to_num(sweep.size, posinf=0) + fit.variation)
    scale = np.where(size > criteria.margin * bound, size, np.maximum(size, fit.variation))
    nothing = fit.still & (fit.noise_ratio < criteria.rounded) & (size <= criteria.rounded * sweep.eps * fit.magnitude)
    scale = np.where(nothing, np.maximum(scale, fit.magnitude), scale)
    scale = np.where(scale > 0, scale, 1)
    opinion, reason = _opinions(sweep, fit, criteria, error, bound, scale)
    return Weighing(error, bound, scale, opinion, tuple(reason))


def by_group(sweep: Sweep, values: np.ndarray) -> np.ndarray:
    """RMS over the probes that move the same leaf at the same scale."""
    names = np.array([f"{leaf}/{scale}" for leaf, scale in zip(sweep.leaf, sweep.scale, strict=True)])
    _, group = np.unique(names, return_inverse=True)
    largest = np.zeros(group.max(initial=-1) + 1)
    np.maximum.at(largest, group, np.abs(values))
    unit = np.where(largest > 0, largest, 1)[group]
    total = np.bincount(group, (values / unit) ** 2) / np.maximum(np.bincount(group), 1)
    return unit * np.sqrt(total)[group]


def _opinions(
    sweep: Sweep, fit: Fit, criteria: Criteria, error: np.ndarray, bound: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, list[Reason]]:
    resolution = bound / scale
    off, tolerance = np.abs(error), criteria.tolerance
    claimless = ~np.isfinite(sweep.claimed)
    fits = np.isfinite(fit.uncertainty)
    fine = fits & (resolution <= criteria.coarsest)
    kink = np.abs(fit.kink) > np.maximum(3 * fit.kink_uncertainty, criteria.least_kink * scale)
    outside = off > criteria.beyond_kink * fit.kink_width / 2 + criteria.margin * bound
    jump = np.abs(fit.jump) > np.maximum(fit.jump_uncertainty, 1e-9 * fit.magnitude)
    one_sided = ~np.isfinite(sweep.difference[:, -6:]).all(axis=1)
    rough = ~fits | ((fit.noise_ratio > criteria.rounded) & ~fit.low_precision)
    dense = (fit.bend_order > criteria.dense[0]) & (fit.bend_order < criteria.dense[1])
    singular = rough & (fit.growth > 0.05) & (fit.growth < 0.9)
    apart = np.abs(fit.coarse - fit.derivative) > fit.coarse_uncertainty + fit.uncertainty
    like_coarse = np.abs(sweep.claimed - fit.coarse) <= fit.coarse_uncertainty + bound
    jumps = np.isfinite(fit.jump_distance)
    stairs = jumps & returns(sweep, fit, error)
    step = fit.quantised & ~fit.low_precision & (like_coarse | (off <= bound))
    usual, most = by_group(sweep, np.nan_to_num(off)), by_group(sweep, np.nan_to_num(off + bound))
    limit = tolerance * by_group(sweep, scale)
    within = off <= bound if criteria.rtol is None else most <= limit
    small = usual <= limit  # one answer for all directions of a leaf
    mismatch = fine & (off > criteria.margin * bound) & ~small
    blur = np.where(fit.noise_ratio > 30, Reason.NOISE, Reason.TRUNCATION)
    blur = np.where(
        fits & (fit.noise_ratio * sweep.eps * fit.magnitude > 1e-4 * scale) & (blur == Reason.TRUNCATION),
        Reason.ROUNDOFF,
        blur,
    )
    rules = [
        (~sweep.finite, Opinion.OPEN, Reason.NOT_FINITE),
        (one_sided, Opinion.OPEN, Reason.NOT_FINITE),
        (kink & fits & outside & ~claimless, Opinion.AGAINST, Reason.KINK),
        (kink & (fits | claimless), Opinion.OPEN, Reason.KINK),
        (jump & ~fine, Opinion.OPEN, Reason.JUMP),
        (jump & np.isinf(fit.kink_uncertainty), Opinion.OPEN, Reason.JUMP),
        (singular, Opinion.OPEN, Reason.SINGULAR),
        (claimless & fine, Opinion.AGAINST, Reason.NAN_CLAIM),
        (step, Opinion.OPEN, Reason.QUANTISED),
        (
            fine & (within | ((criteria.rtol is None) & small)),
            Opinion.FOR,
            np.where(fit.exact, Reason.EXACT, Reason.CONVERGES),
        ),
        (fit.motionless & jumps & mismatch, Opinion.OPEN, Reason.QUANTISED),
        (((apart & like_coarse) | stairs) & mismatch, Opinion.OPEN, Reason.SCALES),
        (mismatch & dense, Opinion.OPEN, Reason.DENSE_KINKS),
        (mismatch, Opinion.AGAINST, Reason.MISMATCH),
        (dense & ~fine, Opinion.OPEN, Reason.DENSE_KINKS),
        (np.ones(len(error), bool), Opinion.OPEN, blur),
    ]
    opinion = np.zeros(len(error), int)
    reason: list[Reason] = [Reason.NOISE] * len(error)
    decided = np.zeros(len(error), bool)
    for holds, says, why in rules:
        for i in np.flatnonzero(holds & ~decided):
            opinion[i], reason[i] = says, why[i] if isinstance(why, np.ndarray) else why
        decided |= holds
    return opinion, reason


def returns(sweep: Sweep, fit: Fit, error: np.ndarray) -> np.ndarray:
    """Whether the central differences come much closer to the claim beyond the trusted window than inside it.

    Beyond a jump close by (an iteration that stops one step later) they may follow another slope, over many jumps.
    """
    away = np.abs(sweep.derivative - sweep.claimed[:, None])
    close = (away < RETURN * np.abs(error)[:, None]) & (sweep.steps[None] > 2 * fit.reach[:, None])
    return np.lib.stride_tricks.sliding_window_view(close, 2, axis=1).all(axis=2).any(axis=1)


@dataclasses.dataclass(frozen=True)
class Identity:
    """The opinion of the segment identity on every probe.

    Attributes:
        opinion: FOR, AGAINST or OPEN, taken from the smallest steps that can tell.
        error: residual of the best of these steps, as an error of the claim (signed, absolute).
        bound: its bound.
        step: its step.
        point_only: whether everything fits once the claim at x itself is replaced by the sweep's derivative.
    """

    opinion: np.ndarray
    error: np.ndarray
    bound: np.ndarray
    step: np.ndarray
    point_only: np.ndarray


def confront(sweep: Sweep, fit: Fit, weighing: Weighing, segments: Segments, criteria: Criteria) -> Identity:
    """What the segment identity says of every probe: does the claim integrate back to the function?"""
    with np.errstate(all="ignore"):
        columns = [int(np.flatnonzero(sweep.steps == h)[0]) for h in segments.steps]
        h = segments.steps
        change = sweep.difference[:, columns] / (2 * h)
        noise = np.sqrt(2) * fit.noise_ratio[:, None] * sweep.roundoff[:, columns] / (2 * h)

        def read(integral: np.ndarray, rough: np.ndarray) -> tuple[np.ndarray, ...]:
            error = integral / (2 * h) - change
            quadrature = np.abs(integral - rough) / (2 * h)
            size = np.maximum(np.abs(integral / (2 * h)), np.nan_to_num(sweep.size)[:, None])
            bound = 3 * (quadrature + noise) + criteria.rounding * size
            return _smallest_that_tell(error, bound, weighing, criteria)

        opinion, best = read(segments.integral, segments.rough)
        slip = h * np.where(np.isfinite(weighing.error), weighing.error, 0)[:, None]
        mended, _ = read(segments.integral - segments.centre[0] * slip, segments.rough - segments.centre[1] * slip)
    point_only = (weighing.opinion == Opinion.AGAINST) & (opinion != Opinion.AGAINST) & (mended == Opinion.FOR)
    return Identity(opinion, best[0], best[1], segments.steps[best[2].astype(int)], point_only)


def _smallest_that_tell(
    error: np.ndarray, bound: np.ndarray, weighing: Weighing, criteria: Criteria
) -> tuple[np.ndarray, np.ndarray]:
    """Opinion from the smallest steps whose bound is fine enough, and (error, bound, column) of the best of them."""
    accused = weighing.opinion == Opinion.AGAINST
    discrepancy = np.where(np.isfinite(weighing.error), np.abs(weighing.error), np.inf) / criteria.tells
    limit = criteria.coarsest * weighing.scale
    if criteria.rtol is not None:
        limit = np.minimum(limit, criteria.rtol * weighing.scale)
    limit = np.where(accused, np.minimum(discrepancy, limit), limit)
    tells = np.isfinite(error) & (bound <= limit[:, None])
    rank = np.cumsum(tells[:, ::-1], axis=1)[:, ::-1]  # 1 at the smallest telling step
    asked = tells & (rank <= criteria.steps_that_tell)
    enough = asked.sum(axis=1) >= criteria.steps_that_tell
    inside, outside = np.abs(error) <= bound, np.abs(error) > criteria.margin * bound
    small = np.abs(error) <= criteria.tolerance * weighing.scale[:, None]
    passes = enough & (inside | small | ~asked).all(axis=1)
    fails = enough & ((outside & ~small) | ~asked).all(axis=1)
    fails &= (np.where(asked, error, np.inf).min(axis=1) > 0) | (np.where(asked, error, -np.inf).max(axis=1) < 0)
    opinion = np.where(passes, Opinion.FOR, np.where(fails, Opinion.AGAINST, Opinion.OPEN))
    broken = np.cumsum((tells & ~(inside | small))[:, ::-1], axis=1)[:, ::-1] > 0
    trusted = np.where(passes[:, None], tells & ~broken, asked)
    column = np.argmin(np.where(trusted, bound, np.inf), axis=1)
    rows = np.arange(len(error))
    return opinion, np.stack([error[rows, column], bound[rows, column], column])


def judge(
    names: tuple[Sequence[str], Sequence[tuple[int, ...]], Sequence[str]],
    sweep: Sweep,
    fit: Fit,
    weighing: Weighing,
    identity: Identity | None,
    criteria: Criteria,
) -> list[Finding]:
    """One finding per leaf: the opinions of its probes put together."""
    findings = []
    for leaf, (path, shape, dtype) in enumerate(zip(*names, strict=True)):
        rows = np.flatnonzero(sweep.leaf == leaf)
        verdict, reason, row = _decide(rows, sweep, weighing, identity)
        findings.append(
            _finding((path, shape, dtype), rows, row, verdict, reason, sweep, fit, weighing, identity, criteria)
        )
    return findings


def _guilty(i: int, weighing: Weighing, identity: Identity | None) -> tuple[Opinion, Reason]:
    """Both witnesses on one probe: an accusation needs both, what one leaves open the other may decide."""
    opinion, reason = Opinion(weighing.opinion[i]), weighing.reason[i]
    if identity is None:
        return opinion, reason
    other = Opinion(identity.opinion[i])
    if opinion is Opinion.AGAINST:
        if reason is Reason.KINK or reason is Reason.NAN_CLAIM or other is Opinion.AGAINST:
            return opinion, reason
        if identity.point_only[i]:
            return opinion, Reason.POINT_ONLY
        return Opinion.OPEN, Reason.SCALES
    settles = reason not in (Reason.KINK, Reason.JUMP, Reason.NOT_FINITE, Reason.SCALES, Reason.QUANTISED)
    if opinion is Opinion.OPEN and settles and other is Opinion.FOR:
        return Opinion.FOR, Reason.IDENTITY
    significant = abs(weighing.error[i]) > weighing.bound[i]
    if opinion is Opinion.OPEN and settles and other is Opinion.AGAINST and significant:
        return Opinion.AGAINST, Reason.MISMATCH
    return opinion, reason


def _decide(
    rows: np.ndarray, sweep: Sweep, weighing: Weighing, identity: Identity | None
) -> tuple[Verdict, Reason, int]:
    """Verdict, reason and deciding row of one leaf."""
    said = {int(i): _guilty(int(i), weighing, identity) for i in rows}
    groups = {s: [i for i in said if sweep.scale[i] == s] for s in dict.fromkeys(sweep.scale[i] for i in said)}

    def those(group: list[int], opinion: Opinion) -> list[int]:
        return [i for i in group if said[i][0] is opinion]

    for group in groups.values():
        against, speak_for = those(group, Opinion.AGAINST), those(group, Opinion.FOR)
        if any(said[i][1] is Reason.KINK for i in against) and len(those(list(said), Opinion.AGAINST)) < len(said):
            continue  # at a kink, valid subgradients may lie outside along some directions, but not along all
        if (len(against) >= 2 and len(against) >= 2 * len(speak_for)) or len(against) == len(group) == 1:
            row = max(against, key=lambda i: _size(weighing.error[i]) / weighing.scale[i])
            return Verdict.WRONG, said[row][1], row
    everyone = list(said)
    if all(said[i][1] is Reason.KINK for i in those(everyone, Opinion.AGAINST)) and those(everyone, Opinion.AGAINST):
        return Verdict.UNRESOLVED, Reason.KINK, those(everyone, Opinion.AGAINST)[0]
    if not those(everyone, Opinion.AGAINST):
        for group in groups.values():
            if those(group, Opinion.FOR) == group:
                row = max(group, key=lambda i: weighing.resolution[i])
                return Verdict.CORRECT, said[row][1], row
    hidden = [i for i in everyone if said[i][0] is Opinion.OPEN]
    if those(everyone, Opinion.AGAINST) and those(everyone, Opinion.FOR):
        return Verdict.UNRESOLVED, Reason.DIRECTIONS, those(everyone, Opinion.AGAINST)[0]
    row = (hidden or everyone)[0]
    return Verdict.UNRESOLVED, said[row][1] if hidden else Reason.DIRECTIONS, row


def _size(error: float) -> float:
    return abs(error) if np.isfinite(error) else np.inf


def _finding(
    name: tuple[str, tuple[int, ...], str],
    rows: np.ndarray,
    row: int,
    verdict: Verdict,
    reason: Reason,
    sweep: Sweep,
    fit: Fit,
    weighing: Weighing,
    identity: Identity | None,
    criteria: Criteria,
) -> Finding:
    error, bound, scale = weighing.error[row], weighing.bound[row], weighing.scale[row]
    if reason is Reason.IDENTITY and identity is not None:
        error, bound = identity.error[row], identity.bound[row]
    resolution = float(bound / scale)
    relative = float(error / scale)
    tolerance = max(resolution, criteria.finest) if criteria.rtol is None else criteria.rtol
    evidence = _evidence(row, reason, sweep, fit, weighing, identity)
    return Finding(
        path=name[0],
        shape=name[1],
        dtype=name[2],
        verdict=verdict,
        reason=reason,
        claimed=float(sweep.claimed[row]),
        estimate=float(fit.derivative[row]),
        uncertainty=float(fit.uncertainty[row]),
        error=relative,
        error_bound=abs(relative) + resolution,
        resolution=resolution,
        tolerance=float(tolerance),
        slope=_known(fit.order[row]),
        slope_error=_known(fit.order_error[row]),
        crossover=_known(fit.crossover[row]),
        noise=_known(fit.noise[row]),
        advice=advice_for(verdict, reason, evidence),
        probes=tuple(int(i) for i in rows),
        probe=int(row),
        evidence=evidence,
    )


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _evidence(
    row: int, reason: Reason, sweep: Sweep, fit: Fit, weighing: Weighing, identity: Identity | None
) -> dict[str, float | str]:
    """Named numbers behind a reason."""
    found: dict[str, float | str] = {
        "size": float(weighing.scale[row]),
        "noise over rounding": float(fit.noise_ratio[row]),
    }
    if np.isfinite(sweep.claimed[row]) and fit.derivative[row] != 0 and np.isfinite(fit.derivative[row]):
        found["ratio"] = float(sweep.claimed[row] / fit.derivative[row])
    if np.isfinite(fit.reach[row]):
        found["largest trusted step"] = float(fit.reach[row])
    if reason is Reason.KINK:
        half = fit.kink[row] / 2
        found |= {"slope before": float(fit.derivative[row] - half), "slope after": float(fit.derivative[row] + half)}
        inside = abs(weighing.error[row]) <= abs(half) * (1 + 1e-6) + weighing.bound[row]
        found["claim"] = INSIDE if inside else OUTSIDE if np.isfinite(weighing.error[row]) else "is not finite"
    if reason is Reason.DENSE_KINKS:
        found["bend order"] = float(fit.bend_order[row])
    if reason is Reason.JUMP:
        found["jump"] = float(fit.jump[row])
    if reason is Reason.SINGULAR:
        found["exponent"] = float(fit.growth[row])
    if np.isfinite(fit.coarse_uncertainty[row]):
        found |= {"slope at large steps": float(fit.coarse[row]), "its uncertainty": float(fit.coarse_uncertainty[row])}
    if fit.low_precision[row] and fit.noise[row] > FLOAT32 * fit.magnitude[row]:
        found["precision"] = "computes in float32 inside"
    if identity is not None and np.isfinite(identity.bound[row]):
        found["identity residual"] = float(identity.error[row] / weighing.scale[row])
        found["identity bound"] = float(identity.bound[row] / weighing.scale[row])
        found["identity"] = Opinion(identity.opinion[row]).name
    return found
