"""Opinions: what each witness, the sweep and the segment identity, says of every probe's claim."""

import dataclasses
import enum

import numpy as np

from jaxgradsweep._criteria import Criteria
from jaxgradsweep._fit import Fit, rest
from jaxgradsweep._noise import drifts
from jaxgradsweep._probe import BASIS, BASIS_LEAF, SCALES
from jaxgradsweep._sweep import Segments, Sweep
from jaxgradsweep._wording import Reason

EDGE = 6  # so many of the smallest steps must stay in the domain of a function
NEAR = 0.5  # relative steps up to here tell whether a function stands still
ALONE = (SCALES[BASIS], SCALES[BASIS_LEAF])


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
    noisy: np.ndarray  # whether phi has far more noise than rounding gives: it may be structure

    @property
    def significant(self) -> np.ndarray:
        """Whether the error lies outside its bound."""
        return np.abs(self.error) > self.bound

    @property
    def resolution(self) -> np.ndarray:
        return self.bound / self.scale


def weigh(sweep: Sweep, fit: Fit, criteria: Criteria) -> Weighing:
    """What the sweep says of every probe's claim."""
    with np.errstate(all="ignore"):
        return _weigh(sweep, fit, criteria)


def _weigh(sweep: Sweep, fit: Fit, criteria: Criteria) -> Weighing:
    error = sweep.claimed - fit.derivative
    size = np.nan_to_num(sweep.size, posinf=0)
    measured = by_group(sweep, np.nan_to_num(fit.derivative))
    more = measured / np.maximum(by_group(sweep, np.nan_to_num(sweep.claimed)), np.finfo(float).tiny)
    size = np.where(size > criteria.missing * measured, size * np.clip(more, 1, 1 / criteria.missing), measured)
    hidden = np.where(fit.low_precision, fit.noise / (sweep.eps * np.maximum(fit.magnitude, np.finfo(float).tiny)), 1)
    rounding = criteria.rounding * np.clip(hidden, 1, 2.0**29)
    bound = fit.uncertainty + rounding * (np.nan_to_num(sweep.size, posinf=0) + fit.variation)
    bound = np.maximum(bound, rest(sweep, fit))
    scale = np.where(size > criteria.margin * bound, size, np.maximum(size, fit.variation))
    nothing = fit.still & (fit.noise_ratio < criteria.rounded)
    nothing &= (np.abs(fit.derivative) <= fit.uncertainty) | (np.isfinite(fit.derivative) & ~drifts(sweep))
    nothing &= size <= criteria.drowned * sweep.eps * fit.magnitude
    hidden = under_rounding(sweep, fit, criteria)
    nothing |= hidden
    scale = np.where(nothing, np.maximum(scale, fit.magnitude), scale)
    scale = np.where(scale > 0, scale, 1)
    opinion, reason = _opinions(sweep, fit, criteria, error, bound, scale)
    opinion = np.where(hidden, Opinion.FOR, opinion)
    agrees = nothing & (opinion == Opinion.FOR)
    reason = [Reason.CONSTANT if constant else why for constant, why in zip(agrees, reason, strict=True)]
    noisy = (fit.noise_ratio > criteria.rounded) & ~fit.low_precision & ~rounds_inside(sweep, fit, criteria)
    return Weighing(error, bound, scale, opinion, tuple(reason), noisy)


def under_rounding(sweep: Sweep, fit: Fit, criteria: Criteria) -> np.ndarray:
    """Probes along which no more is seen, or claimed, than the function's own rounding as it shows along other leaves.

    A parameter that a normalisation cancels moves what is computed inside, and so what is rounded, but not the value.
    """
    rounding = (fit.noise_ratio < criteria.rounded) & np.isfinite(fit.noise)
    inside = ~rounding & rounds_inside(sweep, fit, criteria)
    level = np.full(len(sweep.leaf), np.nan)
    for leaf in np.unique(sweep.leaf):
        own = sweep.leaf == leaf
        for known, rows in ((rounding, own), (inside, own & inside)):
            others = fit.noise[known & ~own]
            if len(others):
                level[rows] = np.median(others)
    # What a leaf meets of a lower precision inside is its own: others may meet more of it.
    level = np.where(inside, np.minimum(level, by_group(sweep, np.nan_to_num(fit.noise))), level)
    near = sweep.steps <= NEAR
    if not near.any():
        return np.zeros(len(sweep.leaf), bool)
    moved = np.max(np.maximum(np.abs(sweep.forward), np.abs(sweep.backward))[:, near], axis=1)
    claimed = by_group(sweep, np.nan_to_num(sweep.claimed)) * np.max(sweep.steps[near])
    known = np.isfinite(sweep.claimed) & np.isfinite(fit.derivative) & np.isfinite(fit.magnitude)
    known &= ~inside | (np.abs(fit.derivative) <= criteria.margin * fit.uncertainty)
    return known & (np.maximum(moved, claimed) <= criteria.drowned_beside * level)


def beside(sweep: Sweep, fit: Fit) -> np.ndarray:
    """The largest derivative along the directions of other leaves."""
    size = np.abs(np.nan_to_num(fit.derivative, posinf=0, neginf=0))
    largest = {leaf: np.max(size[sweep.leaf != leaf], initial=0) for leaf in np.unique(sweep.leaf)}
    return np.array([largest[leaf] for leaf in sweep.leaf])


def by_group(sweep: Sweep, values: np.ndarray) -> np.ndarray:
    """RMS over the probes that move the same leaf at the same scale; components that move alone stand alone."""
    names = np.array([
        f"{leaf}/{scale}/{row if scale in ALONE else ''}"
        for row, (leaf, scale) in enumerate(zip(sweep.leaf, sweep.scale, strict=True))
    ])  # fmt: skip
    _, group = np.unique(names, return_inverse=True)
    largest = np.zeros(group.max(initial=-1) + 1)
    np.maximum.at(largest, group, np.abs(values))
    unit = np.where(largest > 0, largest, 1)[group]
    total = np.bincount(group, (values / unit) ** 2) / np.maximum(np.bincount(group), 1)
    return unit * np.sqrt(total)[group]


def _opinions(
    sweep: Sweep, fit: Fit, criteria: Criteria, error: np.ndarray, bound: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, list[Reason]]:
    """The first rule that holds decides."""
    off = np.abs(error)
    fits = np.isfinite(fit.uncertainty)
    fine = fits & (bound / scale <= criteria.coarsest)
    claimless = ~np.isfinite(sweep.claimed)
    kink = np.abs(fit.kink) > np.maximum(criteria.bends * fit.kink_uncertainty, criteria.least_kink * scale)
    outside = off > criteria.beyond_kink * fit.kink_width / 2 + criteria.margin * bound
    bent = (np.abs(fit.bend_order - 1) < criteria.kinked) & ~fit.motionless
    within = off <= criteria.beyond_kink * fit.bend_size / 2 + criteria.margin * bound
    jump = np.abs(fit.jump) > np.maximum(fit.jump_uncertainty, 1e-9 * fit.magnitude)
    leap = (np.abs(fit.leap) > criteria.leap[0] * fit.leap_uncertainty) & ~fit.low_precision & ~fit.motionless
    leap &= np.abs(fit.leap) > criteria.leap[1] * sweep.eps * (fit.magnitude + fit.variation)
    few = min(EDGE, len(sweep.steps) // 3)  # the grids of short precisions hold few small steps
    one_sided = ~np.isfinite(sweep.difference[:, -few:]).all(axis=1)
    dense = np.all(
        [(p > criteria.dense[0]) & (p < criteria.dense[1]) for p in (fit.bend_order, fit.bend_order_beyond)], 0
    )
    # Where a derivative exists, C(h) / h falls to zero. Central differences do not see what is even in h.
    cusp = fit.bends_at_once & (fit.bend_order < 1 + criteria.kinked) & ~fit.motionless
    cusp &= fit.bend_size > criteria.least_kink * scale
    last = fit.noise * (fit.reach / sweep.steps[-1]) ** (sweep.order - 1)  # the noise of the smallest step
    beyond_noise = fit.bend_size * sweep.steps[-1] > criteria.rounded * last  # what stays alike may be noise
    cusp &= (fit.bend_order > criteria.flat) | beyond_noise
    rounds = fit.low_precision | rounds_inside(sweep, fit, criteria)
    unexplained = ~fits | ((fit.noise_ratio > criteria.rounded) & ~rounds)
    singular = cusp | (unexplained & (fit.growth > criteria.flat) & (fit.growth < criteria.steep))
    by_rounding = criteria.drowned * sweep.inner * np.maximum(beside(sweep, fit), fit.magnitude)
    nothing_but_noise = (fit.noise_ratio > criteria.rounded) & ~fit.low_precision
    nothing_but_noise &= ~rounds | (by_group(sweep, np.nan_to_num(sweep.claimed)) <= by_rounding)
    nothing_but_noise &= np.abs(fit.derivative) < criteria.margin * fit.uncertainty
    right, mismatch = _compare(sweep, criteria, off, bound, scale)
    apart = np.abs(fit.coarse - fit.derivative) > fit.coarse_uncertainty + fit.uncertainty
    like_coarse = np.abs(sweep.claimed - fit.coarse) <= np.minimum(fit.coarse_uncertainty + bound, criteria.near * off)
    jumps = np.isfinite(fit.jump_distance)
    steps = fit.quantised & ~fit.low_precision & (like_coarse | (off <= bound))
    stairs = (apart & like_coarse) | (jumps & (off < criteria.loose * scale) & explained(sweep, fit))
    rounded = jumps & ((sweep.eps > 1e-10) | (fit.jump_size < criteria.quantum * fit.magnitude))
    rounded = fit.motionless & (rounded | (lost_inside(sweep, fit, criteria) & ~fit.low_precision))
    converges = [Reason.EXACT if exact else Reason.CONVERGES for exact in fit.exact]
    return _first(
        [
            (~sweep.finite | one_sided, Opinion.OPEN, Reason.NOT_FINITE),
            (kink & fits & outside & ~claimless, Opinion.AGAINST, Reason.KINK),
            (kink & (fits | claimless), Opinion.OPEN, Reason.KINK),
            (bent & (~fits | (claimless & fit.bends_at_once)), Opinion.OPEN, Reason.KINK),
            (jump & (~fine | np.isinf(fit.kink_uncertainty)), Opinion.OPEN, Reason.JUMP),
            (leap, Opinion.OPEN, Reason.JUMP),
            (singular, Opinion.OPEN, Reason.SINGULAR),
            (claimless & fine, Opinion.AGAINST, Reason.NAN_CLAIM),
            (steps, Opinion.OPEN, Reason.QUANTISED),
            (fine & right, Opinion.FOR, converges),
            (mismatch & bent & within, Opinion.OPEN, Reason.KINK),
            (mismatch & nothing_but_noise, Opinion.OPEN, Reason.NOISE),
            (fine & mismatch & rounded, Opinion.OPEN, Reason.QUANTISED),
            (fine & mismatch & stairs, Opinion.OPEN, Reason.SCALES),
            (fine & mismatch & dense, Opinion.OPEN, Reason.DENSE_KINKS),
            (fine & mismatch, Opinion.AGAINST, Reason.MISMATCH),
            (dense & ~fine, Opinion.OPEN, Reason.DENSE_KINKS),
            (np.ones(len(error), bool), Opinion.OPEN, _blur(sweep, fit, fits, scale)),
        ]
    )


def _compare(
    sweep: Sweep, criteria: Criteria, off: np.ndarray, bound: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the claim agrees, and whether it clearly does not; all directions of a leaf have one error, their RMS.

    Along one random direction an error may project to nearly nothing.
    """
    usual, most = by_group(sweep, np.nan_to_num(off)), by_group(sweep, np.nan_to_num(off + bound))
    limit = criteria.tolerance * by_group(sweep, scale)
    small = usual <= limit
    right = (off <= bound) | small if criteria.rtol is None else most <= limit
    return right, (usual > criteria.margin * by_group(sweep, np.nan_to_num(bound))) & ~small


def _blur(sweep: Sweep, fit: Fit, fits: np.ndarray, scale: np.ndarray) -> list[Reason]:
    """What hides a derivative that no rule could decide."""
    noisy = fit.noise_ratio > 30
    large = fits & (fit.noise_ratio * sweep.eps * fit.magnitude > 1e-4 * scale)
    stairs = fit.motionless & np.isfinite(fit.jump_distance)
    groups = zip(stairs, noisy, large, strict=True)
    reasons = (Reason.QUANTISED, Reason.NOISE, Reason.ROUNDOFF, Reason.TRUNCATION)
    return [next(why for why, holds in zip(reasons, (*group, True), strict=True) if holds) for group in groups]


def _first(rules: list[tuple[np.ndarray, Opinion, Reason | list[Reason]]]) -> tuple[np.ndarray, list[Reason]]:
    """Opinion and reason of the first rule that holds for each probe."""
    which = np.argmax(np.stack([holds for holds, _, _ in rules]), axis=0)
    opinion = np.array([rules[rule][1] for rule in which], int)
    reasons = [rules[rule][2] for rule in which]
    return opinion, [why[i] if isinstance(why, list) else why for i, why in enumerate(reasons)]


def rounds_inside(sweep: Sweep, fit: Fit, criteria: Criteria) -> np.ndarray:
    """Whether the noise is what the lower precision that the function is known to compute in inside may give."""
    return fit.noise < criteria.drowned * sweep.inner * fit.magnitude


def lost_inside(sweep: Sweep, fit: Fit, criteria: Criteria) -> np.ndarray:
    """Whether rounding inside may hide all that is claimed, up to the smallest step at which phi moves."""
    moves = (np.abs(sweep.forward) + np.abs(sweep.backward)) > 4 * sweep.roundoff  # NaN is no move
    smallest = np.min(np.where(moves, sweep.steps, np.inf), axis=1)
    return np.abs(sweep.claimed) * smallest <= criteria.hidden * sweep.inner * fit.magnitude


def explained(sweep: Sweep, fit: Fit) -> np.ndarray:
    """Whether the claim follows phi, to within the height of the nearest jump, at all steps beyond that jump.

    So does the derivative of what a loose iteration approximates: between two jumps the slope is another, over many it
    is the claimed one. A single jump beside the measured slope must not explain it already.
    """
    left = np.abs(sweep.difference / 2 - sweep.claimed[:, None] * sweep.steps)
    beyond = (sweep.steps[None] > fit.jump_distance[:, None]) & np.isfinite(left)
    alone = np.abs(sweep.difference / 2 - fit.derivative[:, None] * sweep.steps) > 0.75 * fit.jump_size[:, None]
    return np.all((left <= 2 * fit.jump_size[:, None]) | ~beyond, axis=1) & np.any(alone & beyond, axis=1)


@dataclasses.dataclass(frozen=True)
class Identity:
    """The opinion of the segment identity on every probe.

    Attributes:
        opinion: FOR, AGAINST or OPEN, taken from the smallest steps that can tell.
        error: residual of the best of these steps, as an error of the claim (signed, absolute).
        bound: its bound.
        step: its step.
        agrees: whether its finest step finds about the sweep's discrepancy, and far outside its own bound, for a claim
            that varies by less around x.
        pooled: opinion of all directions of a leaf together, where a tolerance was asked for that this witness resolves
            and both witnesses agree along every direction.
        point_only: whether everything fits once the claim at x itself is replaced by the sweep's derivative.
        at_kink: whether that may be for a kink: one as large as the error could hide at the point.
        noisy_claim: whether the claim varies around x, at any distance, as much as it misses the sweep's derivative.
        silent: whether there is no integral at any step, as where the claim is not finite beside x.
    """

    opinion: np.ndarray
    error: np.ndarray
    bound: np.ndarray
    step: np.ndarray
    agrees: np.ndarray
    pooled: np.ndarray
    point_only: np.ndarray
    at_kink: np.ndarray
    noisy_claim: np.ndarray
    silent: np.ndarray


def confront(sweep: Sweep, fit: Fit, weighing: Weighing, segments: Segments, criteria: Criteria) -> Identity:
    """What the segment identity says of every probe: does the claim integrate back to the function?"""
    with np.errstate(all="ignore"):
        columns = [int(np.flatnonzero(sweep.steps == h)[0]) for h in segments.steps]
        h = segments.steps
        change = sweep.difference[:, columns] / (2 * h)
        noise = np.sqrt(2) * fit.noise_ratio[:, None] * sweep.roundoff[:, columns] / (2 * h)

        def read(
            integral: np.ndarray, rough: np.ndarray
        ) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
            error = integral / (2 * h) - change
            quadrature = np.abs(integral - rough) / (2 * h)
            size = np.maximum(np.abs(integral / (2 * h)), np.nan_to_num(sweep.size)[:, None])
            bound = 3 * (quadrature + noise) + criteria.rounding * size
            rests = sweep.resting * fit.magnitude[:, None] / (2 * h)  # between -h and h, where it is rounded inside
            bound = np.maximum(bound, rests)
            return *_smallest_that_tell(error, bound, weighing, criteria), _finest(error, bound)

        opinion, best, finest = read(segments.integral, segments.rough)
        slip = h * np.where(np.isfinite(weighing.error), weighing.error, 0)[:, None]
        whole, rough = segments.integral - segments.centre[0] * slip, segments.rough - segments.centre[1] * slip
        mended, _, _ = read(whole, rough)
        apart = np.abs(whole - rough) / (2 * h)
        scatter = np.median(np.where(np.isfinite(apart), apart, np.inf), axis=1)  # a claim that is noisy around x too
        close = apart[:, h <= max(criteria.close, h[-1])]
        steady = np.median(np.where(np.isfinite(close), close, 0), axis=1)
        agrees, pooled = _together(finest, sweep, weighing, criteria)
    point_only = (weighing.opinion == Opinion.AGAINST) & (opinion == Opinion.OPEN) & (mended == Opinion.FOR)
    point_only &= criteria.margin**2 * scatter < np.abs(weighing.error)
    hidden = np.where(np.isfinite(fit.kink), np.abs(fit.kink) + fit.kink_uncertainty, np.inf)
    at_kink = point_only & (2 * np.abs(weighing.error) <= np.maximum(hidden, 2 * criteria.least_kink * weighing.scale))
    erratic = criteria.margin**2 * by_group(sweep, steady) > by_group(sweep, np.nan_to_num(weighing.error))
    agrees &= ~erratic  # by chance at one of many steps
    noisy_claim = (weighing.opinion == Opinion.AGAINST) & (opinion == Opinion.OPEN)
    noisy_claim &= erratic & (by_group(sweep, fit.noise_ratio) <= criteria.plain)
    step = segments.steps[best[2].astype(int)]
    silent = np.all(~np.isfinite(segments.integral), axis=1)
    return Identity(opinion, best[0], best[1], step, agrees, pooled, point_only, at_kink, noisy_claim, silent)


def _finest(error: np.ndarray, bound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Error and bound at the step with the finest bound."""
    column = np.argmin(np.where(np.isfinite(error), bound, np.inf), axis=1)
    rows = np.arange(len(error))
    return error[rows, column], bound[rows, column]


def _together(
    finest: tuple[np.ndarray, np.ndarray], sweep: Sweep, weighing: Weighing, criteria: Criteria
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the identity finds the sweep's discrepancy again, and what all directions of a leaf then say together."""
    error, bound = finest
    apart = np.abs(error - weighing.error)
    same = apart <= weighing.bound + bound
    # An error of the claim changes along the segment.
    agrees = (apart <= criteria.alike * np.abs(weighing.error)) & (
        criteria.tells * bound < by_group(sweep, np.nan_to_num(weighing.error))
    )
    pooled = np.full(len(error), int(Opinion.OPEN))
    if criteria.rtol is not None:
        usual, spread = by_group(sweep, np.nan_to_num(error)), by_group(sweep, np.nan_to_num(bound))
        limit = criteria.rtol * by_group(sweep, weighing.scale)
        unanimous = by_group(sweep, (~same).astype(float)) == 0
        pooled = np.where(unanimous & (usual + spread <= limit), int(Opinion.FOR), pooled)
        pooled = np.where(
            unanimous & (usual > limit) & (usual > criteria.margin * spread), int(Opinion.AGAINST), pooled
        )
    return agrees, pooled


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
    enough = asked.sum(axis=1) >= criteria.fewest_that_tell
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
