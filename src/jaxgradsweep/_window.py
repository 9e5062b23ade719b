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
ALIKE = 0.5  # unless what is left at a step so resembles what is left at the next one: that is no noise
BLOCK = 100_000  # residuals at once, in all windows of some probes: they stay in the processor's cache


@dataclasses.dataclass(frozen=True)
class Bank:
    """Least-squares windows over one grid: `functional @ values` is the value at h = 0 of every polynomial.

    A window is a polynomial with both neighbours; those without only serve as neighbours.
    """

    functional: np.ndarray  # [polynomials, steps]
    squared: np.ndarray  # [windows, steps] its squares, of the windows' own rows
    absolute: np.ndarray  # [windows, steps] and absolute values
    row: np.ndarray  # [windows] the window's own row in `functional`
    smaller: np.ndarray  # [windows] the row of the same degree that starts one step later
    richer: np.ndarray  # [windows] the row of the same start with one degree more
    start: np.ndarray  # [windows]
    residual: np.ndarray  # [steps, windows, steps]: what is left at each step, of the values at all steps
    freedom: np.ndarray  # [windows]
    widening: np.ndarray  # [windows] error bar over standard error


@functools.lru_cache(maxsize=32)
def bank(steps: tuple[float, ...], powers: tuple[int, ...]) -> Bank:
    """All windows over `steps` of polynomials in the first 2, 3, ... of `powers`; the first coefficient counts."""
    h, count = np.array(steps), len(steps)
    functionals, residuals = {}, {}
    for terms in range(2, len(powers) + 1):
        for start in range(count - terms - 2):
            t = h[start:] / h[start]
            basis = t[:, None] ** np.array(powers[:terms])
            inverse = np.linalg.pinv(basis)
            functional, residual = np.zeros(count), np.zeros((count, count))
            functional[start:] = inverse[0] / h[start] ** powers[0]
            residual[start:, start:] = np.eye(count - start) - basis @ inverse
            functionals[start, terms], residuals[start, terms] = functional, residual
    row = {key: i for i, key in enumerate(functionals)}
    windows = [(s, n) for s, n in row if (s + 1, n) in row and (s, n + 1) in row]
    freedom = np.array([count - s - n for s, n in windows])
    functional = np.array(list(functionals.values())).reshape(-1, count)
    rows = np.array([row[key] for key in windows], int)
    return Bank(
        functional=functional,
        squared=functional[rows] ** 2,
        absolute=np.abs(functional[rows]),
        row=rows,
        smaller=np.array([row[s + 1, n] for s, n in windows], int),
        richer=np.array([row[s, n + 1] for s, n in windows], int),
        start=np.array([s for s, _ in windows], int),
        residual=np.array([residuals[key] for key in windows]).reshape(-1, count, count).swapaxes(0, 1).copy(),
        freedom=freedom,
        widening=student(freedom / OVERLAP),
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
    probes = max(1, BLOCK // max(1, windows.residual[..., 0].size))
    blocks = [
        extrapolate_block(values[rows], noise[rows], first[rows], windows)
        for rows in (slice(start, start + probes) for start in range(0, max(len(values), 1), probes))
    ]
    return Extrapolation(*map(np.concatenate, zip(*(vars(block).values() for block in blocks), strict=True)))


def extrapolate_block(values: np.ndarray, noise: np.ndarray, first: np.ndarray, windows: Bank) -> Extrapolation:
    """Some probes at once. The axes of what is large are steps, windows, probes: the first is summed over fastest."""
    everything = windows.functional @ values.T
    estimate = everything[windows.row]
    statistical = np.sqrt(windows.squared @ noise.T**2)
    arithmetic = np.finfo(float).eps * (windows.absolute @ np.abs(values).T)  # of the sum, term by term
    change = np.abs(estimate - everything[windows.smaller])
    np.maximum(change, np.abs(estimate - everything[windows.richer]), out=change)
    residual = windows.residual @ values.T
    least = 4 * np.finfo(float).eps * np.abs(values.T[windows.start])
    start, freedom, widening = (each[:, None] for each in (windows.start, windows.freedom, windows.widening))
    usable, columns = start >= first, np.arange(len(values))
    found = None
    for inflation in INFLATIONS:
        bar = widening * np.maximum(np.hypot(inflation * statistical, arithmetic), change)
        bar = np.where(usable, bar, np.inf)
        if found is not None and np.all(bar.min(axis=0, initial=np.inf) >= found.uncertainty / INFLATION_GAIN):
            continue  # whatever fits with so much noise, it would not be believed
        left = residual / (inflation * noise.T[:, None] + least)
        alike = np.sum(left[1:] * left[:-1], axis=0)
        np.square(left, out=left)
        total = left.sum(axis=0)
        fits = usable & (total <= freedom + CHI2_SLACK * np.sqrt(2 * freedom)) & (left.max(axis=0) <= OUTLIER**2)
        fits &= alike <= ALIKE * np.maximum(total, freedom if inflation == 1 else 0)
        bar = np.where(fits, bar, np.inf)
        best = np.argmin(bar, axis=0)
        one = Extrapolation(
            value=estimate[best, columns],
            uncertainty=bar[best, columns],
            start=windows.start[best],
            widest=np.min(np.where(fits, start, values.shape[1] - 1), axis=0),
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
