"""Windows: a series in h extrapolated to h = 0 by a bank of least-squares fits.

Each window starts at one step and holds all smaller ones. The extrapolated value is a fixed linear functional of the
data for each window and degree, so all windows of all probes are one matrix product.
"""

import dataclasses
import functools
import statistics

import numpy as np

PROMISE = 0.99  # share of the derivatives of smooth functions that lie within their error bars
OVERLAP = 2.2  # noise is read from residuals that share steps; the sum of their squared correlations is 2.2
CHI2_SLACK = 3.0  # accepted excess of reduced chi^2, in its own standard deviations
OUTLIER = 5.0  # largest accepted residual, in standard deviations of the noise
INFLATIONS = (1.0, 4.0, 16.0)  # the noise is tried so many times larger than measured
INFLATION_GAIN = 3.0  # and that is believed where it shrinks the error bar so many times


@dataclasses.dataclass(frozen=True)
class Bank:
    """Least-squares windows over one grid: `functional @ values` is the value at h = 0 of every window."""

    start: np.ndarray  # [windows]
    functional: np.ndarray  # [windows, steps]
    residual: np.ndarray  # [windows, steps, steps]
    freedom: np.ndarray  # [windows]
    widening: np.ndarray  # [windows] error bar over standard error
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
        widening=student(np.array([row[4] for row in rows]) / OVERLAP),
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
    residuals agree with the noise; its standard error is the larger of the statistical one and the change to its
    neighbours, and Student's t makes it an error bar; the accepted window with the smallest error bar wins. Where the
    noise was measured too low, no long window would be accepted: it is also tried larger, which makes every error bar
    larger too.
    """
    estimate = values @ windows.functional.T
    statistical = np.sqrt(noise**2 @ (windows.functional**2).T)
    arithmetic = np.finfo(float).eps * (np.abs(values) @ np.abs(windows.functional).T)  # of the sum, term by term
    change = np.maximum(np.abs(estimate - estimate[:, windows.smaller]), np.abs(estimate - estimate[:, windows.richer]))
    residual = np.einsum("wij,pj->pwi", windows.residual, values)
    least = 4 * np.finfo(float).eps * np.abs(values[:, windows.start])[:, :, None]
    found = None
    for inflation in INFLATIONS:
        scaled = residual / (inflation * noise[:, None, :] + least)
        chi2 = np.sum(scaled**2, axis=2) / windows.freedom
        fits = chi2 <= 1 + CHI2_SLACK * np.sqrt(2 / windows.freedom)
        fits &= np.max(np.abs(scaled), axis=2) <= OUTLIER
        fits &= windows.eligible & (windows.start >= first[:, None])
        bar = windows.widening * np.maximum(np.hypot(inflation * statistical, arithmetic), change)
        bar = np.where(fits, bar, np.inf)
        best = np.argmin(bar, axis=1)
        rows = np.arange(len(values))
        widest = np.min(np.where(fits, windows.start, values.shape[1] - 1), axis=1)
        one = Extrapolation(
            value=estimate[rows, best],
            uncertainty=bar[rows, best],
            start=windows.start[best],
            widest=widest,
            inflation=np.full(len(values), inflation),
        )
        found = one if found is None else prefer(one, found, one.uncertainty < found.uncertainty / INFLATION_GAIN)
    assert found is not None
    return found


def student(freedom: np.ndarray) -> np.ndarray:
    """The half width of the interval that holds `PROMISE` of Student's t distribution, to 5 % from freedom 2 on.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 26.7.5.
    """
    z = statistics.NormalDist().inv_cdf((1 + PROMISE) / 2)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + np.sum([term / freedom**power for power, term in enumerate(terms, start=1)], axis=0)


def prefer(a: Extrapolation, b: Extrapolation, where: np.ndarray) -> Extrapolation:
    """The first where the condition holds, the second elsewhere."""
    return Extrapolation(*(np.where(where, p, q) for p, q in zip(vars(a).values(), vars(b).values(), strict=True)))
