"""Lost digits: a line that phi follows over larger steps, while it follows another over the smallest ones."""

import dataclasses

import numpy as np

from jaxgradsweep._window import Extrapolation, bank, extrapolate

ODD = (1, 3, 5, 7)  # powers of h
BETWEEN = 6  # steps between the line of the smallest ones and the other: what is lost there falls as 1/h, to a 64th,
LEAST = 10  # and so near to phi runs the other line, at so many steps or more
APART = 10.0  # so many error bars apart, the lines are two
ROUGH = 1 / 30  # what lies on neither of them in between, by more than this part of their distance, is rounding


@dataclasses.dataclass(frozen=True)
class Outer:
    """A second line for every probe.

    Attributes:
        gap: distance of both lines at the largest step that follows the first; NaN without a second.
        rounded: whether phi lies on neither of them in between. Then the digits are lost inside, as those of
            (exp(x) - 1) / x close to 0, which is 1 for all numbers that are small enough; else phi jumps there.
    """

    gap: np.ndarray
    rounded: np.ndarray


def outer_line(
    h: np.ndarray,
    half: np.ndarray,
    bend: np.ndarray,
    noise: np.ndarray,
    fine: Extrapolation,
    first: np.ndarray,
    leaf: np.ndarray,
) -> Outer:
    """Look for a second line in `half`, (phi(h) - phi(-h)) / 2, that passes through phi at the point.

    One that does not is that of a piece of the function beyond a kink, or of a wave, and says nothing at the point. So
    is one that passes by, as beside a narrow peak: there `bend`, phi(h) + phi(-h) - 2 phi(0), stays larger than the
    distance of both lines.

    What is lost along one direction of a leaf is lost along all, although powers of two may lose nothing.
    """
    gaps, rounded = np.full(len(half), np.nan), np.zeros(len(half), bool)
    for i in np.flatnonzero(np.isfinite(fine.uncertainty) & (fine.widest - BETWEEN - first >= LEAST)):
        edge, end = fine.widest[i], fine.widest[i] - BETWEEN
        gap = abs(half[i, end - 1] / h[end - 1] - fine.value[i]) * h[edge]
        if gap <= APART * (fine.uncertainty[i] * h[edge] + noise[i, edge]):
            continue
        if np.min(np.abs(bend[i, first[i] : end])) > APART * gap:
            continue
        values, steps = half[i : i + 1, :end], tuple(h[:end])
        level = np.maximum(noise[i : i + 1, :end], gap / 2**BETWEEN)
        line = extrapolate(values, level, first[i : i + 1], bank(steps, ODD))
        if line.inflation[0] > 1:
            continue
        if abs(line.value[0] - fine.value[i]) <= APART * (line.uncertainty[0] + fine.uncertainty[i]):
            continue
        gaps[i] = gap
        between = slice(end, edge)
        off = [np.abs(half[i, between] - slope * h[between]) for slope in (line.value[0], fine.value[i])]
        rounded[i] = np.max(np.minimum(*off)) > ROUGH * gap
    return Outer(gaps, np.isin(leaf, leaf[rounded]) & np.isfinite(gaps))
