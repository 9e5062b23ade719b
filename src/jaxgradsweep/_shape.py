"""Shape: truncation order and crossover, kinks, jumps and steady growth, as the smallest steps show them."""

import numpy as np

from jaxgradsweep._sweep import Sweep

CAUTION = 4.2  # error bar of what only a few steps show, over their spread
SLOPES = (2.0, 4.0, 6.0, 1.0)  # truncation orders that are looked for, in this order of preference
SLOPE_RUN = 3  # local slopes in a row that make an order: five points
SLOPE_BAND = 0.1  # a local slope within this fraction of the order counts
LEAP_AT_JUMP = 1e3  # from one step to the next, second differences of a smooth function grow by 4
UNSTEADY = 0.5  # local exponents that differ by so much are no power of h
WIDEST, ENVELOPE = 7, 20  # the largest of so many second differences, and that of as many so many steps before
KINK_GROWTH = 2.5  # and from a kink on by at least 3


def truncation(steps: np.ndarray, half: np.ndarray, noise: np.ndarray, derivative: int = 1) -> dict[str, np.ndarray]:
    """Truncation order with its standard error, its coefficient, the crossover, and whether there is none at all.

    `noise` is the standard deviation of `half`, which falls with h as 1/h for a second `derivative`. Preferred is the
    run of steps next to the noise, not the longest.
    """
    central, error = half / steps, noise / steps
    change = np.abs(np.diff(central, axis=1))
    above = np.asarray(change > 5 * np.hypot(error[:, 1:], error[:, :-1]))
    local = np.log2(change[:, :-1] / change[:, 1:])
    order, spread = np.full((2, len(half)), np.nan)
    place = np.zeros(len(half), int)
    for target in SLOPES:
        fits = above[:, :-1] & above[:, 1:] & (np.abs(local - target) < SLOPE_BAND * target)
        if fits.shape[1] < SLOPE_RUN:
            break
        runs = np.asarray(np.all(np.lib.stride_tricks.sliding_window_view(fits, SLOPE_RUN, axis=1), axis=2))
        last = runs.shape[1] - 1 - np.argmax(runs[:, ::-1], axis=1)
        picked = np.take_along_axis(local, last[:, None] + np.arange(SLOPE_RUN), axis=1)
        take = runs.any(axis=1) & np.isnan(order)
        order, place = np.where(take, picked.mean(axis=1), order), np.where(take, last, place)
        spread = np.where(take, picked.std(axis=1) / np.sqrt(SLOPE_RUN), spread)
    power = np.round(order)[:, None]
    columns = np.minimum(place[:, None] + np.arange(SLOPE_RUN + 1), change.shape[1] - 1)
    scale = (1 - 2.0**-power) * steps[columns] ** power
    c = np.median(np.take_along_axis(change, columns, axis=1) / scale, axis=1)
    column = np.minimum(place + SLOPE_RUN, noise.shape[1] - 1)
    sigma = derivative * noise[np.arange(len(noise)), column] * steps[column] ** (derivative - 1)
    crossover = (sigma / (power[:, 0] * c)) ** (1 / (power[:, 0] + derivative))
    return {
        "order_step": steps[np.minimum(place, len(steps) - 1)],
        "order": order,
        "order_error": spread,
        "coefficient": c,
        "crossover": crossover,
        "exact": ~np.any(above, axis=1),
    }


def smallest_steps(half: np.ndarray, second: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The jump of phi at x and its error bar: what is left at the smallest steps of either difference.

    Between the two sides, phi(h) - phi(-h), or between x itself and its sides, half of C(h).
    """
    bar = CAUTION * np.maximum(np.ptp(half[:, -6:], axis=1), noise[:, -1])
    across, aside = 2 * np.median(half[:, -6:], axis=1), np.median(second[:, -6:], axis=1) / 2
    aside_bar = CAUTION * np.maximum(np.ptp(second[:, -6:], axis=1), 2 * noise[:, -1])
    own = np.abs(across) <= 2 * bar
    return np.where(own, aside, across), np.where(own, aside_bar, 2 * bar)


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


def bend_orders(steps: np.ndarray, bend: np.ndarray, second: np.ndarray, noise: np.ndarray) -> dict[str, np.ndarray]:
    """The exponent p in |C(h)| ~ h^p over the seven smallest steps that stand above the noise.

    And over the larger half of them, C / h at the smallest, and whether that is the smallest step of all. There C must
    stand above the noise as well as the sum of its sizes: the roundings of many outputs cancel in the one, and add up
    in the other. If it is the smallest, and the exponent changes from step to step, it is no larger than that of the
    largest C over many steps: what oscillates with the logarithm of h, as h sin(log h) does, has any over a few. A
    small one is then taken for none: F(x) itself may be rounded unlike F close by, and all C are off by as much.
    """
    above = bend > 20 * noise
    last = above.shape[1] - 1 - np.argmax(above[:, ::-1], axis=1)
    columns = np.clip(last[:, None] - np.arange(7), 0, None)
    logarithm = np.log2(np.maximum(np.take_along_axis(bend, columns, axis=1), np.finfo(float).tiny))
    seen = above.any(axis=1) & (last >= 6)
    order = (logarithm[:, -1] - logarithm[:, 0]) / 6
    at_once = seen & (last >= above.shape[1] - 2) & (np.abs(second) > 20 * noise)[:, -2:].any(axis=1)
    slopes = np.sort(np.diff(logarithm, axis=1), axis=1)  # one step may be off: x + h v is not always exact
    order = np.where(at_once, np.median(slopes, axis=1), order)
    apart = min(ENVELOPE, bend.shape[1] - WIDEST)
    if apart >= WIDEST:
        size = np.log2(np.maximum(bend, np.finfo(float).tiny))
        near, far = size[:, -WIDEST:], size[:, -WIDEST - apart : bend.shape[1] - apart]
        trend = (far.max(axis=1) - near.max(axis=1)) / apart
        unsteady = slopes[:, -2] - slopes[:, 1] > UNSTEADY
        order = np.where(at_once & unsteady & (trend < order), trend, order)
        order = np.where(at_once & unsteady & (np.abs(order) < UNSTEADY), 0, order)  # no power, and none to be seen
    return {
        "bend_order": np.where(seen, order, np.nan),
        "bend_order_beyond": np.where(seen, (logarithm[:, -1] - logarithm[:, 3]) / 3, np.nan),
        "bend_size": np.where(seen, bend[np.arange(len(bend)), last] / steps[last], np.nan),
        "bends_at_once": at_once,
    }


def growth(half: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """The exponent p of |phi(h) - phi(-h)| ~ h^p over the smallest nine steps above rounding; NaN where it varies."""
    size = np.log2(np.maximum(np.abs(half), np.finfo(float).tiny))
    above = np.abs(half) > 20 * floor
    last = above.shape[1] - 1 - np.argmax(above[:, ::-1], axis=1)
    columns = np.clip(last[:, None] - np.arange(9), 0, None)
    slopes = np.diff(np.take_along_axis(size, columns, axis=1), axis=1)
    steady = above.any(axis=1) & (last >= 8) & (np.ptp(slopes, axis=1) < 0.3)
    return np.where(steady, slopes.mean(axis=1), np.nan)


def variation(sweep: Sweep, start: np.ndarray) -> np.ndarray:
    """The largest one-sided slope inside the trusted window: how much phi varies over one unit of relative step.

    Larger steps say nothing of that: over sixteen units a square varies sixteen times as much.
    """
    start = np.maximum(start, np.argmax(sweep.steps <= 1))
    slope = np.maximum(np.abs(sweep.forward), np.abs(sweep.backward)) / sweep.steps
    inside = np.arange(len(sweep.steps))[None] >= start[:, None]
    inside &= np.arange(len(sweep.steps))[None] < start[:, None] + 4
    return np.max(np.where(inside & np.isfinite(slope), slope, 0), axis=1)
