"""What a sweep says of phi alone: its derivative with an error bar, order, crossover, noise and smoothness.

The central differences `D(h) = phi' + c1 h^2 + c2 h^4 + ... + noise / (sqrt2 h)` are extrapolated to h = 0 by a bank of
least-squares windows: each starts at one step and holds all smaller ones, and fits an even polynomial of degree 1 to 4
in h^2 with weights h^2. The extrapolated value is a fixed linear functional of the data for each window and degree, so
all windows of all probes are one matrix product. The claimed derivative takes no part in anything here.
"""

import dataclasses

import numpy as np

from jaxgradsweep._lost import outer_line
from jaxgradsweep._noise import noise_levels, still, systematic
from jaxgradsweep._probe import step_grid
from jaxgradsweep._shape import CAUTION, bend_orders, growth, jump_near, smallest_steps, truncation, variation
from jaxgradsweep._sweep import PER_STEP, Sweep
from jaxgradsweep._window import bank, extrapolate, prefer

DEGREES = 4  # highest degree (in h^2) of a window
ROUGH_GAIN = 10.0  # odd powers of h (a jump in the second derivative) are allowed where they gain at least so much
ROUNDINGS = 64.0  # noise of at most so many roundings to a lower precision comes from that precision inside,
FLOAT32 = 2.0**-24  # which is that of float32 where no other is known
WITH_UNITS = (  # results that carry the units of phi
    *("derivative", "uncertainty", "noise", "coefficient", "kink", "kink_uncertainty", "kink_width", "jump"),
    *(
        "leap",
        "leap_uncertainty",
        "jump_uncertainty",
        "jump_size",
        "bend_size",
        "variation",
        "magnitude",
        "coarse",
        "coarse_uncertainty",
    ),
)
OVERFLOW = 1e100  # phi, in units of its value at x, beyond which a step is not used: its square must be finite
CLEAR = 10.0  # a slope is none of something that stands still from so many times its error bar on
SUITABLE = 8  # steps that suit the precision inside, for a fit to them alone
STILL = 30.0  # phi stands still where it moves by at most so many standard deviations of its noise


@dataclasses.dataclass(frozen=True)
class Fit:
    """What phi alone says, one entry per probe; NaN where undefined.

    Attributes:
        derivative: phi'(0), extrapolated to h = 0.
        uncertainty: its error bar; 99 % of smooth functions lie within.
        noise: measured standard deviation of phi.
        noise_ratio: what was taken for it, as a multiple of what rounding the outputs alone would give.
        order: truncation order of D(h), 2 for a smooth function.
        order_error: standard error of `order`.
        coefficient: c in D(h) = phi' + c h^order.
        crossover: relative step where roundoff takes over from truncation.
        reach: largest step of the trusted window.
        kink: jump of the slope at x, from C(h) / h.
        kink_uncertainty: its error bar.
        kink_width: the same with no cancellation between outputs: how far apart valid subgradients can lie.
        still: whether phi moves by no more than its noise at any step.
        jump: jump of phi at x.
        jump_uncertainty: its error bar.
        leap: phi(h) - phi(-h), extrapolated to h = 0 beside the slope: a jump at x, or a layer too thin to see.
        leap_uncertainty: its error bar.
        growth: exponent p in `|phi(h) - phi(-h)| ~ h^p` for the smallest steps above the noise.
        jump_distance: relative step at which the nearest jump of phi is crossed; NaN where none is seen.
        jump_size: size of that jump.
        motionless: whether phi does not move over the smallest steps.
        bend_order: exponent of the second differences over the smallest steps that show them: 2 for a smooth function,
            1 for a kink, between them for dense kinks.
        bend_order_beyond: the same over the larger half of these steps.
        bends_at_once: whether these steps are the smallest of all.
        bend_size: C(h) / h at the smallest of these steps: at a kink, the jump of the slope.
        variation: largest one-sided slope of phi inside the trusted window.
        quantised: whether phi stands still for the smallest steps but follows a trend at larger ones.
        low_precision: whether phi has the noise of float32 inside; then the trend at larger steps counts.
        magnitude: size of the outputs that phi sums.
        exact: whether no truncation error is visible at any step.
        coarse: the derivative that a second, higher level of noise supports at larger steps, where there is one.
        coarse_uncertainty: its error bar; infinite without one.
    """

    derivative: np.ndarray
    uncertainty: np.ndarray
    noise: np.ndarray
    noise_ratio: np.ndarray
    order: np.ndarray
    order_error: np.ndarray
    coefficient: np.ndarray
    crossover: np.ndarray
    reach: np.ndarray
    kink: np.ndarray
    kink_uncertainty: np.ndarray
    kink_width: np.ndarray
    still: np.ndarray
    jump: np.ndarray
    jump_uncertainty: np.ndarray
    leap: np.ndarray
    leap_uncertainty: np.ndarray
    growth: np.ndarray
    jump_distance: np.ndarray
    jump_size: np.ndarray
    motionless: np.ndarray
    bend_order: np.ndarray
    bend_order_beyond: np.ndarray
    bends_at_once: np.ndarray
    bend_size: np.ndarray
    variation: np.ndarray
    quantised: np.ndarray
    low_precision: np.ndarray
    magnitude: np.ndarray
    exact: np.ndarray
    coarse: np.ndarray
    coarse_uncertainty: np.ndarray


def fit(sweep: Sweep) -> Fit:
    """Fit every probe of a sweep, in units in which phi is about 1: squares of 1e200 and 1e-200 have no place.

    Where the function is known to compute in less precision inside, each probe is fitted to the steps that suit that
    precision as well, if there are enough. Many roundings average out over smaller steps; a single one makes a part of
    phi rest there, which `rest` allows for.
    """
    with np.errstate(all="ignore"):
        tail = np.abs(np.nan_to_num(np.concatenate([sweep.difference, sweep.forward], axis=1)[:, -6:]))
        size = np.maximum(magnitude(sweep), tail.max(axis=1, initial=0))
        unit = np.where((size > 0) & np.isfinite(size), np.exp2(np.floor(np.log2(np.where(size > 0, size, 1)))), 1)
        scaled = dataclasses.replace(sweep, **{name: getattr(sweep, name) / unit[:, None] for name in PER_STEP})
        found = _fit(scaled)
        long = sweep.steps >= (step_grid(round(-np.log2(sweep.inner)))[-1] if sweep.inner else np.inf)
        if np.count_nonzero(long) >= SUITABLE:
            over_long = _fit(dataclasses.replace(scaled, steps=sweep.steps[long], **columns(scaled, long)))
            finer = over_long.uncertainty + rest(scaled, over_long) < found.uncertainty + rest(scaled, found)
            finer |= found.low_precision & np.isfinite(over_long.uncertainty)
            chosen = {name: np.where(finer, values, vars(found)[name]) for name, values in vars(over_long).items()}
            found = Fit(**chosen)
        return dataclasses.replace(found, **{name: getattr(found, name) * unit for name in WITH_UNITS})


def columns(sweep: Sweep, chosen: np.ndarray) -> dict[str, np.ndarray]:
    """What was measured at some steps."""
    return {name: getattr(sweep, name)[:, chosen] for name in PER_STEP}


def rest(sweep: Sweep, fit: Fit) -> np.ndarray:
    """The slope of what may stand still over all trusted steps, since it is rounded inside: half a spacing each way."""
    return sweep.resting * fit.magnitude / (2 * fit.reach)


def _fit(sweep: Sweep) -> Fit:
    h, steps = sweep.steps, tuple(sweep.steps)
    largest = np.max(np.abs([sweep.forward, sweep.backward, sweep.difference, sweep.bend]), axis=0)
    good = largest < OVERFLOW  # NaN is not
    first = np.where(good.all(axis=1), 0, good.shape[1] - np.argmin(good[:, ::-1], axis=1))
    half = np.where(good, sweep.difference, 0) / 2
    second = np.where(good, sweep.second, 0)
    tiny = np.finfo(float).tiny
    floor = np.maximum(np.where(good, sweep.roundoff, np.nan_to_num(sweep.roundoff[:, -1:])), tiny) / np.sqrt(2)
    fall = h ** (sweep.order - 1)  # noise is proportional to 1 / fall
    noises = noise_levels(half * fall, floor * fall, first)
    lower, upper = noises.lower / fall, noises.upper / fall
    odd = bank(steps, tuple(range(1, 2 * DEGREES + 4, 2)))
    fine = extrapolate(half, lower, first, odd)
    outer = outer_line(h, half, np.where(good, sweep.bend, 0), lower, fine, first, sweep.leaf)
    upper = np.where(np.isnan(outer.gap)[:, None], upper, outer.gap[:, None])
    coarse = extrapolate(half, np.where(np.isnan(upper), 1, upper), first, odd)
    rough = extrapolate(half, lower, first, bank(steps, tuple(range(1, DEGREES + 3))))
    fine = prefer(rough, fine, rough.uncertainty < fine.uncertainty / ROUGH_GAIN)
    coarse_bar = np.where(np.isnan(upper[:, 0]), np.inf, coarse.uncertainty)
    trend = np.isfinite(coarse_bar) & (np.abs(coarse.value) > coarse_bar)
    moves = np.isfinite(fine.uncertainty) & (np.abs(fine.value) > CLEAR * fine.uncertainty)
    lost = trend & np.isfinite(outer.gap)
    resting = trend & still(sweep) & ~moves  # all stand still where a step moves phi by less than its rounding
    shape = truncation(h, half, lower, sweep.order)
    apart = np.abs(coarse.value - fine.value) > coarse_bar + fine.uncertainty
    level = np.nan_to_num(upper[:, -1])
    size = np.maximum(magnitude(sweep), np.abs(coarse.value))
    smooth = np.isfinite(shape["order"]) & (shape.pop("order_step") < h[noises.onset])
    inside = np.where(lost, outer.rounded, resting) & ~np.asarray(sweep.rounds)
    inside |= apart & ~smooth & np.asarray(sweep.shorter)
    low_precision = trend & inside & (level < ROUNDINGS * max(FLOAT32, sweep.inner / 2) * size)
    chosen = prefer(coarse, fine, low_precision)
    measured = np.where(low_precision[:, None], upper, lower)
    noise = chosen.inflation[:, None] * measured
    column = chosen.start[:, None]
    shape = truncation(h, half, noise, sweep.order)
    del shape["order_step"]
    hidden = np.maximum(noises.hidden / fall[-1], systematic(half - chosen.value[:, None] * h, noise / floor))
    kink = extrapolate(second, noise * np.sqrt(12), first, bank(steps, tuple(range(1, DEGREES + 3))))
    bend = extrapolate(
        np.where(good, sweep.bend, 0), noise * np.sqrt(12), first, bank(steps, tuple(range(1, DEGREES + 3)))
    )
    jump_distance, jump_size = jump_near(h, np.where(good, sweep.bend, 0), noise)
    leap = extrapolate(half, noise, first, bank(steps, (0, *range(1, 2 * DEGREES, 2))))
    jump, jump_bar = smallest_steps(half, second, noise)
    return Fit(
        derivative=np.where(np.isfinite(chosen.uncertainty), chosen.value, np.nan),
        uncertainty=np.maximum(chosen.uncertainty, np.where(low_precision, 0, CAUTION * hidden / h[-1])),
        noise=np.sqrt(2) * np.take_along_axis(measured, column, axis=1)[:, 0],
        noise_ratio=np.take_along_axis(noise / floor, column, axis=1)[:, 0],
        reach=h[chosen.start],
        kink=kink.value,
        kink_uncertainty=kink.uncertainty,
        kink_width=np.where(np.isfinite(bend.uncertainty), np.maximum(bend.value, np.abs(kink.value)), np.inf),
        still=np.all((np.abs(np.stack([sweep.forward, sweep.backward])) <= STILL * noise) | ~good, axis=(0, 2)),
        jump=jump,
        jump_uncertainty=jump_bar,
        leap=2 * leap.value,
        leap_uncertainty=2 * leap.uncertainty,
        growth=growth(half, floor),
        jump_distance=jump_distance,
        jump_size=jump_size,
        motionless=still(sweep),
        variation=variation(sweep, chosen.widest),
        quantised=resting | lost,
        low_precision=low_precision,
        magnitude=magnitude(sweep),
        coarse=np.where(np.isfinite(coarse_bar), coarse.value, np.nan),
        coarse_uncertainty=coarse_bar,
        **shape,
        **bend_orders(h, np.where(good, sweep.bend, 0), second, noise),
    )


def magnitude(sweep: Sweep) -> np.ndarray:
    """Size of the outputs that phi sums, as their rounding shows it."""
    return np.nan_to_num(sweep.roundoff[:, -1]) * np.sqrt(12) / sweep.eps
