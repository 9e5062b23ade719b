"""Noise: what of phi(h) - phi(-h) is neither smooth, nor a kink, nor a jump, and does not depend on h."""

import dataclasses

import numpy as np

from jaxgradsweep._sweep import Sweep

SECOND_RUN, SECOND_SPREAD = 9, 8.0  # a second level lasts so many steps, and varies by less: dense kinks do not
NOISE_RUN = 6  # steps in a row that a noise level must last
STENCIL = np.array([1.0, -15.0, 70.0, -120.0, 64.0])  # kills 1, h, h^2 and h^3 on steps that halve: noise is left
HEAVIEST = 3  # its largest coefficient: the step whose noise it shows
GROWTH = 4.0  # truncation grows at least so much in three steps: a slope above 2/3
LEAP = 6.0  # noise does not grow so much from one step to the next
NOISE_STEP = 10.0  # a second noise level lies at least this far above the first
UNSEEN = 3  # so many steps before growth is seen it has begun
STRUCTURE = 100.0  # noise that falls to so small a part of itself as h grows is unresolved structure
DRIFT = 4.0  # standard errors beyond which a line through zero is seen
SYSTEMATIC = 0.7  # correlation of neighbouring residuals from which on they are no noise


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
    quiet = np.maximum(end - UNSEEN, np.minimum(end, UNSEEN))
    local = np.where(np.arange(count)[None] <= quiet[:, None], local, 0)
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
    """The first run of steps above the lower level whose size does not depend on h, and where it begins."""
    if middle.shape[1] < SECOND_RUN:
        return np.full(len(middle), np.nan), np.zeros(len(middle), int)
    windows = np.lib.stride_tricks.sliding_window_view(middle, SECOND_RUN, axis=1)
    low, high = windows.min(axis=2), windows.max(axis=2)
    flat = (low > NOISE_STEP * lower[:, None]) & (high < SECOND_SPREAD * low) & np.isfinite(high)
    flat &= np.arange(flat.shape[1])[None] >= end[:, None]
    found = np.argmax(flat, axis=1)
    runs = np.lib.stride_tricks.sliding_window_view(np.where(np.isfinite(ratio), residue, 0), SECOND_RUN, axis=1)
    level = np.sqrt(np.mean(runs[np.arange(len(ratio)), found] ** 2, axis=1))
    return np.where(flat.any(axis=1), level, np.nan), found


def running_median(values: np.ndarray, width: int = 5) -> np.ndarray:
    """Median over `width` neighbouring columns; the ends are repeated."""
    padded = np.pad(values, [(0, 0), (width // 2, width // 2)], mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, width, axis=1), axis=2)


def running_mean(values: np.ndarray, width: int = 5) -> np.ndarray:
    """Mean over `width` neighbouring columns; the ends are repeated."""
    padded = np.pad(values, [(0, 0), (width // 2, width // 2)], mode="edge")
    return np.mean(np.lib.stride_tricks.sliding_window_view(padded, width, axis=1), axis=2)


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
    return np.all((moved <= 4 * sweep.roundoff)[:, tail], axis=1)


def drifts(sweep: Sweep) -> np.ndarray:
    """Whether phi(h) - phi(-h) follows a line through zero: where it does not, what moves is rounding.

    By least squares, with the standard error that does not take the rounding of all steps for the same, and that leaves
    each step out of the line that it is held against (MacKinnon and White 1985, "HC3").
    """
    t = np.where(np.isfinite(sweep.difference), 2 * sweep.steps, 0)
    moved = np.nan_to_num(sweep.difference)
    weight = t / np.maximum(np.sum(t**2, axis=1, keepdims=True), np.finfo(float).tiny)
    slope = np.sum(weight * moved, axis=1)
    rest = (moved - slope[:, None] * t) / np.maximum(1 - weight * t, 1e-3)
    return np.abs(slope) > DRIFT * np.sqrt(np.sum((weight * rest) ** 2, axis=1))
