"""What a sweep says of phi alone: its derivative with an error bar, order, crossover, noise and smoothness.

The central differences `D(h) = phi' + c1 h^2 + c2 h^4 + ... + noise / (sqrt2 h)` are extrapolated to h = 0 by a bank of
least-squares windows: each starts at one step and holds all smaller ones, and fits an even polynomial of degree 1 to 4
in h^2 with weights h^2. The extrapolated value is a fixed linear functional of the data for each window and degree, so
all windows of all probes are one matrix product. The claimed derivative takes no part in anything here.
"""

import dataclasses
import functools

import numpy as np

from jaxgradsweep._sweep import Sweep

DEGREES = 4  # highest degree (in h^2) of a window
COVERAGE = 3.0  # quoted uncertainty over the larger of statistical error and change to the neighbours: 99 % hold
NOISE_RUN = 6  # steps in a row that a noise level must last
ROUGH_GAIN = 10.0  # odd powers of h (a jump in the second derivative) are allowed where they gain at least so much
GROWTH = 4.0  # truncation grows at least so much in three steps: a slope above 2/3
STILL = 30.0  # phi stands still where it moves by at most so many standard deviations of its noise
INFLATIONS = (1.0, 4.0, 16.0)  # the noise is tried so many times larger than measured
INFLATION_GAIN = 3.0  # and that is believed where it shrinks the error bar so many times
SYSTEMATIC = 0.7  # correlation of neighbouring residuals from which on they are no noise
LEAP_AT_JUMP = 1e3  # from one step to the next, second differences of a smooth function grow by 4
KINK_GROWTH = 2.5  # and from a kink on by at least 3
LEAP = 6.0  # noise does not grow so much from one step to the next
STRUCTURE = 100.0  # noise that falls to so small a part of itself as h grows is unresolved structure
NOISE_STEP = 10.0  # a second noise level lies at least this far above the first
CHI2_SLACK = 3.0  # accepted excess of reduced chi^2, in its own standard deviations
OUTLIER = 5.0  # largest accepted residual, in standard deviations of the noise
STENCIL = np.array([1.0, -15.0, 70.0, -120.0, 64.0])  # kills 1, h, h^2 and h^3 on steps that halve: noise is left
HEAVIEST = 3  # its largest coefficient: the step whose noise it shows
LOW_PRECISION = 64 * 2.0**-24  # noise below this share of phi, and far above float64's, is float32 inside
SLOPES = (2.0, 4.0, 6.0, 1.0)  # truncation orders that are looked for, in this order of preference
SLOPE_RUN = 3  # local slopes in a row that make an order: five points
SLOPE_BAND = 0.1  # a local slope within this fraction of the order counts


@dataclasses.dataclass(frozen=True)
class Fit:
    """What phi alone says, one entry per probe; NaN where undefined.

    Attributes:
        derivative: phi'(0), extrapolated to h = 0.
        uncertainty: its error bar; 99 % of smooth functions lie within.
        noise: measured standard deviation of phi.
        noise_ratio: the same as a multiple of what rounding the outputs alone would give.
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
        growth: exponent p in |phi(h) - phi(-h)| ~ h^p for the smallest steps above the noise.
        jump_distance: relative step at which the nearest jump of phi is crossed; NaN where none is seen.
        jump_size: size of that jump.
        motionless: whether phi does not move over the smallest steps.
        bend_order: exponent of the second differences over the smallest steps that show them: 2 for a smooth function,
            1 for a kink, between them for dense kinks.
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
    growth: np.ndarray
    jump_distance: np.ndarray
    jump_size: np.ndarray
    motionless: np.ndarray
    bend_order: np.ndarray
    variation: np.ndarray
    quantised: np.ndarray
    low_precision: np.ndarray
    magnitude: np.ndarray
    exact: np.ndarray
    coarse: np.ndarray
    coarse_uncertainty: np.ndarray


@dataclasses.dataclass(frozen=True)
class Bank:
    """Least-squares windows over one grid: `functional @ values` is the value at h = 0 of every window."""

    start: np.ndarray  # [windows]
    functional: np.ndarray  # [windows, steps]
    residual: np.ndarray  # [windows, steps, steps]
    freedom: np.ndarray  # [windows]
    smaller: np.ndarray  # [windows] the window of the same degree that starts one step later
    richer: np.ndarray  # [windows] the window of the same start with one degree more
    eligible: np.ndarray  # [windows] False for those that only serve as neighbours


@functools.lru_cache(maxsize=32)
def bank(steps: tuple[float, ...], powers: tuple[int, ...]) -> Bank:
    """All windows over `steps` of polynomials in the first 2, 3, ... of `powers`; the first coefficient counts."""
    h, count = np.array(steps), len(steps)
    rows, index = [], {}
    for terms in range(2, len(powers) + 1):
        for start in range(count - terms - 2):
            t = h[start:] / h[start]
            basis = t[:, None] ** np.array(powers[:terms])
            inverse = np.linalg.pinv(basis)
            functional, residual = np.zeros(count), np.zeros((count, count))
            functional[start:] = inverse[0] / h[start] ** powers[0]
            residual[start:, start:] = np.eye(count - start) - basis @ inverse
            index[start, terms] = len(rows)
            rows.append((start, terms, functional, residual, count - start - terms))
    keys = list(index)
    return Bank(
        start=np.array([row[0] for row in rows]),
        functional=np.array([row[2] for row in rows]),
        residual=np.array([row[3] for row in rows]),
        freedom=np.array([row[4] for row in rows]),
        smaller=np.array([index.get((s + 1, n), index[s, n]) for s, n in keys]),
        richer=np.array([index.get((s, n + 1), index[s, n]) for s, n in keys]),
        eligible=np.array([(s + 1, n) in index and (s, n + 1) in index for s, n in keys]),
    )


@dataclasses.dataclass(frozen=True)
class Extrapolation:
    """The chosen window of every probe."""

    value: np.ndarray
    uncertainty: np.ndarray  # infinite where no window fits
    start: np.ndarray  # first step of the chosen window
    widest: np.ndarray  # first step of the widest window that fits
    inflation: np.ndarray  # how many times larger the noise had to be than it was measured


def extrapolate(values: np.ndarray, noise: np.ndarray, first: np.ndarray, windows: Bank) -> Extrapolation:
    """The value of every probe at h = 0.

    `noise` is the standard deviation of each value, `first` the first usable column. A window is accepted if its
    residuals agree with the noise; its error bar is the larger of the statistical error and the change to its
    neighbours; the accepted window with the smallest error bar wins. Where the noise was measured too low, no long
    window would be accepted: it is also tried larger, which makes every error bar larger too.
    """
    estimate = values @ windows.functional.T
    statistical = np.sqrt(noise**2 @ (windows.functional**2).T)
    arithmetic = np.finfo(float).eps * np.abs(estimate)
    change = np.maximum(np.abs(estimate - estimate[:, windows.smaller]), np.abs(estimate - estimate[:, windows.richer]))
    residual = np.einsum("wij,pj->pwi", windows.residual, values, optimize=True)
    least = 4 * np.finfo(float).eps * np.abs(values[:, windows.start])[:, :, None]
    found = None
    for inflation in INFLATIONS:
        scaled = residual / (inflation * noise[:, None, :] + least)
        chi2 = np.sum(scaled**2, axis=2) / windows.freedom
        fits = chi2 <= 1 + CHI2_SLACK * np.sqrt(2 / windows.freedom)
        fits &= np.max(np.abs(scaled), axis=2) <= OUTLIER
        fits &= windows.eligible & (windows.start >= first[:, None])
        bar = np.where(fits, np.maximum(np.hypot(inflation * statistical, arithmetic), change), np.inf)
        best = np.argmin(bar, axis=1)
        rows = np.arange(len(values))
        widest = np.min(np.where(fits, windows.start, values.shape[1] - 1), axis=1)
        one = Extrapolation(
            value=estimate[rows, best],
            uncertainty=COVERAGE * bar[rows, best],
            start=windows.start[best],
            widest=widest,
            inflation=np.full(len(values), inflation),
        )
        found = one if found is None else prefer(one, found, one.uncertainty < found.uncertainty / INFLATION_GAIN)
    assert found is not None
    return found


def prefer(a: Extrapolation, b: Extrapolation, where: np.ndarray) -> Extrapolation:
    """The first where the condition holds, the second elsewhere."""
    return Extrapolation(*(np.where(where, p, q) for p, q in zip(vars(a).values(), vars(b).values(), strict=True)))


@dataclasses.dataclass(frozen=True)
class Noise:
    """Standard deviation of `half = (phi(h) - phi(-h)) / 2` at every step, at two levels.

    Attributes:
        lower: that of the smallest steps.
        upper: a higher level at larger steps; NaN without one.
        onset: the column where the higher level begins.
        hidden: size of what looks like noise at the smallest steps and is gone at larger ones: it may be structure on
            a scale that no step resolves, with a slope of up to its size over the smallest step.
    """

    lower: np.ndarray
    upper: np.ndarray
    onset: np.ndarray
    hidden: np.ndarray


def noise_levels(half: np.ndarray, floor: np.ndarray, first: np.ndarray) -> Noise:
    """Measure the noise.

    Noise is what remains when smooth terms, kinks and jumps are removed by the stencil and what then does not grow
    with h faster than the rounding `floor` of the outputs does. The first level is that of the smallest steps, and it
    never falls as h grows. The second, NaN for most functions, is a higher one at larger steps: hidden low precision, a
    staircase, an iteration with a loose tolerance.
    """
    count = half.shape[1] - len(STENCIL) + 1
    residue = np.abs(sum(c * half[:, i : i + count] for i, c in enumerate(STENCIL))) / np.linalg.norm(STENCIL)
    inside = slice(HEAVIEST, HEAVIEST + count)
    residue, base = residue[:, ::-1], floor[:, inside][:, ::-1]  # from small steps to large
    usable = (np.arange(count)[None] >= first[:, None])[:, ::-1]
    ratio = np.where(usable, residue / base, np.inf)
    middle = np.maximum(running_median(ratio), 1)
    mean = np.sqrt(running_mean(np.where(usable, ratio, np.inf) ** 2))
    end = onset_of_growth(middle, mean)
    local = np.sqrt(running_mean(np.where(usable, residue, 0) ** 2))
    local = np.where(np.arange(count)[None] <= end[:, None], local, 0)
    level = np.maximum.accumulate(local, axis=1)
    at_end = np.take_along_axis(level, end[:, None], axis=1)
    growth = np.maximum(base / np.take_along_axis(base, end[:, None], axis=1), 1)
    lower = np.where(np.arange(count)[None] <= end[:, None], level, at_end * growth)
    upper, onset = second_level(residue, ratio, middle, np.max(lower / base, axis=1), end)
    later = np.where(usable, np.sqrt(running_mean(residue**2)), np.inf)
    fallen = np.where(np.arange(count)[None] > count // 4, later, np.inf).min(axis=1)
    peak = np.max(np.where(np.arange(count)[None] <= end[:, None], level, 0), axis=1)
    structured = (peak > STRUCTURE * fallen) & (peak > STRUCTURE * np.take_along_axis(base, end[:, None], axis=1)[:, 0])
    return Noise(
        lower=spread_over(lower, floor),
        upper=spread_over(upper[:, None] * np.maximum(base / base[:, :1], 1), floor),
        onset=half.shape[1] - 1 - HEAVIEST - onset,
        hidden=np.where(structured, peak, 0),
    )


def spread_over(level: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """A noise level (from small steps to large) over all steps (from large to small), at least the floor."""
    level = np.pad(level[:, ::-1], [(0, 0), (HEAVIEST, floor.shape[1] - level.shape[1] - HEAVIEST)], mode="edge")
    return np.where(np.isnan(level), np.nan, np.maximum(level, floor))


def onset_of_growth(middle: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The last column of the noise branch: from the next on the residue leaps, or grows steadily.

    `middle` and `mean` are its running median and running RMS, as multiples of the floor.
    """
    count = middle.shape[1]
    ahead = np.pad(middle, [(0, 0), (0, NOISE_RUN)], mode="edge")
    later, sooner = ahead[:, NOISE_RUN : NOISE_RUN + count], ahead[:, NOISE_RUN // 2 : NOISE_RUN // 2 + count]
    grows = (later > GROWTH**2 * middle) & (sooner > GROWTH * middle / 2)
    so_far = np.maximum(np.maximum.accumulate(mean, axis=1), 1)
    grows[:, :-1] |= mean[:, 1:] > LEAP * so_far[:, :-1]
    return np.where(grows.any(axis=1), np.argmax(grows, axis=1), count - 1)


def second_level(
    residue: np.ndarray, ratio: np.ndarray, middle: np.ndarray, lower: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The first run of `NOISE_RUN` steps above the lower level whose size does not depend on h, and where it begins."""
    if middle.shape[1] < NOISE_RUN:
        return np.full(len(middle), np.nan), np.zeros(len(middle), int)
    windows = np.lib.stride_tricks.sliding_window_view(middle, NOISE_RUN, axis=1)
    low, high = windows.min(axis=2), windows.max(axis=2)
    flat = (low > NOISE_STEP * lower[:, None]) & (high < 6 * low) & np.isfinite(high)
    flat &= np.arange(flat.shape[1])[None] >= end[:, None]
    found = np.argmax(flat, axis=1)
    runs = np.lib.stride_tricks.sliding_window_view(np.where(np.isfinite(ratio), residue, 0), NOISE_RUN, axis=1)
    level = np.sqrt(np.mean(runs[np.arange(len(ratio)), found] ** 2, axis=1))
    return np.where(flat.any(axis=1), level, np.nan), found


def running_mean(values: np.ndarray, width: int = 5) -> np.ndarray:
    """Mean over `width` neighbouring columns; the ends are repeated."""
    padded = np.pad(values, [(0, 0), (width // 2, width // 2)], mode="edge")
    return np.mean(np.lib.stride_tricks.sliding_window_view(padded, width, axis=1), axis=2)


def running_median(values: np.ndarray, width: int = 5) -> np.ndarray:
    """Median over `width` neighbouring columns; the ends are repeated."""
    padded = np.pad(values, [(0, 0), (width // 2, width // 2)], mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, width, axis=1), axis=2)


def fit(sweep: Sweep) -> Fit:
    """Fit every probe of a sweep."""
    with np.errstate(all="ignore"):
        return _fit(sweep)


def _fit(sweep: Sweep) -> Fit:
    h, steps = sweep.steps, tuple(sweep.steps)
    good = np.isfinite(sweep.forward) & np.isfinite(sweep.backward) & np.isfinite(sweep.difference)
    first = np.where(good.all(axis=1), 0, good.shape[1] - np.argmin(good[:, ::-1], axis=1))
    half = np.where(good, sweep.difference, 0) / 2
    second = np.where(good, sweep.second, 0)
    tiny = np.finfo(float).tiny
    floor = np.maximum(np.where(np.isfinite(sweep.roundoff), sweep.roundoff, 0), tiny) / np.sqrt(2)
    noises = noise_levels(half, floor, first)
    lower, upper = noises.lower, noises.upper
    odd = bank(steps, tuple(range(1, 2 * DEGREES + 4, 2)))
    fine, coarse = (extrapolate(half, np.where(np.isnan(level), 1, level), first, odd) for level in (lower, upper))
    rough = extrapolate(half, lower, first, bank(steps, tuple(range(1, DEGREES + 3))))
    fine = prefer(rough, fine, rough.uncertainty < fine.uncertainty / ROUGH_GAIN)
    coarse_bar = np.where(np.isnan(upper[:, 0]), np.inf, coarse.uncertainty)
    trend = np.isfinite(coarse_bar) & (np.abs(coarse.value) > coarse_bar)
    quantised = trend & still(sweep)
    shape = truncation(h, half, lower)
    apart = np.abs(coarse.value - fine.value) > coarse_bar + fine.uncertainty
    level = np.nan_to_num(upper[:, -1])
    size = np.maximum(magnitude(sweep), np.abs(coarse.value))
    smooth = np.isfinite(shape["order"]) & (shape.pop("order_step") < h[noises.onset])
    low_precision = trend & (quantised | (apart & ~smooth)) & (level < LOW_PRECISION * size)
    chosen = prefer(coarse, fine, low_precision)
    noise = chosen.inflation[:, None] * np.where(low_precision[:, None], upper, lower)
    column = chosen.start[:, None]
    shape = truncation(h, half, noise)
    del shape["order_step"]
    hidden = np.maximum(noises.hidden, systematic(half - chosen.value[:, None] * h, noise / floor))
    kink = extrapolate(second, noise * np.sqrt(12), first, bank(steps, tuple(range(1, DEGREES + 3))))
    bend = extrapolate(
        np.where(good, sweep.bend, 0), noise * np.sqrt(12), first, bank(steps, tuple(range(1, DEGREES + 3)))
    )
    jump_distance, jump_size = jump_near(h, np.where(good, sweep.bend, 0), noise)
    jump, jump_bar = smallest_steps(half, second, noise)
    return Fit(
        derivative=np.where(np.isfinite(chosen.uncertainty), chosen.value, np.nan),
        uncertainty=np.maximum(chosen.uncertainty, np.where(low_precision, 0, COVERAGE * hidden / h[-1])),
        noise=np.sqrt(2) * np.take_along_axis(noise, column, axis=1)[:, 0],
        noise_ratio=np.take_along_axis(noise / floor, column, axis=1)[:, 0],
        reach=h[chosen.start],
        kink=kink.value,
        kink_uncertainty=kink.uncertainty,
        kink_width=np.where(np.isfinite(bend.uncertainty), np.maximum(bend.value, np.abs(kink.value)), np.inf),
        still=((np.abs(np.stack([sweep.forward, sweep.backward])) <= STILL * noise) | ~good).all(axis=(0, 2)),
        jump=jump,
        jump_uncertainty=jump_bar,
        growth=growth(half, floor),
        jump_distance=jump_distance,
        jump_size=jump_size,
        motionless=still(sweep),
        bend_order=bend_order(np.where(good, sweep.bend, 0), noise),
        variation=variation(sweep, chosen.widest),
        quantised=quantised,
        low_precision=low_precision,
        magnitude=magnitude(sweep),
        coarse=np.where(np.isfinite(coarse_bar), coarse.value, np.nan),
        coarse_uncertainty=coarse_bar,
        **shape,
    )


def systematic(rest: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Size of what is left at the smallest steps where that is far above rounding, yet follows a curve: no noise."""
    tail = rest[:, -10:]
    power = np.sum(tail**2, axis=1)
    together = np.sum(tail[:, 1:] * tail[:, :-1], axis=1) > SYSTEMATIC * power
    return np.where(together & (ratio[:, -1] > STRUCTURE), np.sqrt(power / tail.shape[1]), 0)


def still(sweep: Sweep) -> np.ndarray:
    """Whether phi does not move at all, but for rounding, over the smallest steps."""
    tail = slice(-5, None)
    moved = np.maximum(np.abs(sweep.difference), np.maximum(np.abs(sweep.forward), np.abs(sweep.backward)))
    return (moved <= 4 * sweep.roundoff)[:, tail].all(axis=1)


def magnitude(sweep: Sweep) -> np.ndarray:
    """Size of the outputs that phi sums, as their rounding shows it."""
    return np.nan_to_num(sweep.roundoff[:, -1]) * np.sqrt(12) / sweep.eps


def smallest_steps(half: np.ndarray, second: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The jump of phi at x and its error bar: what is left at the smallest steps of either difference.

    Between the two sides, phi(h) - phi(-h), or between x itself and its sides, half of C(h).
    """
    bar = COVERAGE * np.maximum(np.ptp(half[:, -6:], axis=1), noise[:, -1])
    across, aside = 2 * np.median(half[:, -6:], axis=1), np.median(second[:, -6:], axis=1) / 2
    aside_bar = COVERAGE * np.maximum(np.ptp(second[:, -6:], axis=1), 2 * noise[:, -1])
    own = np.abs(aside) * bar > np.abs(across) * aside_bar
    return np.where(own, aside, across), np.where(own, aside_bar, 2 * bar)


def growth(half: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """The exponent p of |phi(h) - phi(-h)| ~ h^p over the smallest nine steps above rounding; NaN where it varies."""
    size = np.log2(np.maximum(np.abs(half), np.finfo(float).tiny))
    above = np.abs(half) > 20 * floor
    last = above.shape[1] - 1 - np.argmax(above[:, ::-1], axis=1)
    columns = np.clip(last[:, None] - np.arange(9), 0, None)
    slopes = np.diff(np.take_along_axis(size, columns, axis=1), axis=1)
    steady = above.any(axis=1) & (last >= 8) & (np.ptp(slopes, axis=1) < 0.3)
    return np.where(steady, slopes.mean(axis=1), np.nan)


def jump_near(steps: np.ndarray, bend: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance (in relative step) and size of the nearest jump of phi; NaN where none is seen.

    Second differences leap from one step to the next. Beyond a jump they then stay, beyond a kink they grow threefold.
    """
    usual = np.maximum(bend, noise)
    leaps = np.zeros(bend.shape, bool)
    leaps[:, 1:-1] = bend[:, 1:-1] > LEAP_AT_JUMP * usual[:, 2:]
    column = bend.shape[1] - 1 - np.argmax(leaps[:, ::-1], axis=1)
    rows = np.arange(len(bend))
    stays = bend[rows, np.maximum(column - 1, 0)] < KINK_GROWTH * bend[rows, column]
    found = leaps.any(axis=1) & stays
    return np.where(found, steps[column], np.nan), np.where(found, bend[rows, column], np.nan)


def bend_order(bend: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The exponent p in |C(h)| ~ h^p over the seven smallest steps that stand above the noise."""
    above = bend > 20 * noise
    last = above.shape[1] - 1 - np.argmax(above[:, ::-1], axis=1)
    columns = np.clip(last[:, None] - np.arange(7), 0, None)
    size = np.log2(np.maximum(np.take_along_axis(bend, columns, axis=1), np.finfo(float).tiny))
    slope = (size[:, -1] - size[:, 0]) / 6
    return np.where(above.any(axis=1) & (last >= 6), slope, np.nan)


def variation(sweep: Sweep, start: np.ndarray) -> np.ndarray:
    """The largest one-sided slope inside the trusted window: how much phi varies over one unit of relative step."""
    slope = np.maximum(np.abs(sweep.forward), np.abs(sweep.backward)) / sweep.steps
    inside = np.arange(len(sweep.steps))[None] >= start[:, None]
    inside &= np.arange(len(sweep.steps))[None] < start[:, None] + 4
    return np.max(np.where(inside & np.isfinite(slope), slope, 0), axis=1)


def truncation(steps: np.ndarray, half: np.ndarray, noise: np.ndarray) -> dict[str, np.ndarray]:
    """Truncation order with its standard error, its coefficient, the crossover, and whether there is none at all.

    `noise` is the standard deviation of `half`. Preferred is the run of steps next to the noise, not the longest.
    """
    central, error = half / steps, noise / steps
    change = np.abs(np.diff(central, axis=1))
    above = change > 5 * np.hypot(error[:, 1:], error[:, :-1])
    local = np.log2(change[:, :-1] / change[:, 1:])
    order, spread = np.full((2, len(half)), np.nan)
    place = np.zeros(len(half), int)
    for target in SLOPES:
        fits = above[:, :-1] & above[:, 1:] & (np.abs(local - target) < SLOPE_BAND * target)
        if fits.shape[1] < SLOPE_RUN:
            break
        runs = np.lib.stride_tricks.sliding_window_view(fits, SLOPE_RUN, axis=1).all(axis=2)
        last = runs.shape[1] - 1 - np.argmax(runs[:, ::-1], axis=1)
        picked = np.take_along_axis(local, last[:, None] + np.arange(SLOPE_RUN), axis=1)
        take = runs.any(axis=1) & np.isnan(order)
        order, place = np.where(take, picked.mean(axis=1), order), np.where(take, last, place)
        spread = np.where(take, picked.std(axis=1) / np.sqrt(SLOPE_RUN), spread)
    power = np.round(order)[:, None]
    columns = np.minimum(place[:, None] + np.arange(SLOPE_RUN + 1), change.shape[1] - 1)
    scale = (1 - 2.0**-power) * steps[columns] ** power
    c = np.median(np.take_along_axis(change, columns, axis=1) / scale, axis=1)
    sigma = noise[np.arange(len(noise)), np.minimum(place + SLOPE_RUN, noise.shape[1] - 1)]
    crossover = (sigma / (power[:, 0] * c)) ** (1 / (power[:, 0] + 1))
    return {
        "order_step": steps[np.minimum(place, len(steps) - 1)],
        "order": order,
        "order_error": spread,
        "coefficient": c,
        "crossover": crossover,
        "exact": ~above.any(axis=1),
    }
