"""Whether the error bars mean what they promise: the share of derivatives that lie inside them, and how wide they are.

    python benchmarks/calibration.py [--points 100] [--write]

Functions of one variable, each at random points: smooth ones, the same with noise of a known level, uniform or normal,
and the same in float32. The truth is calculus, in extended precision. The functions are NumPy's: what is calibrated is
the fit.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from record import number, section, table

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from helpers import sweep_of
from jaxgradsweep._fit import Fit, fit
from jaxgradsweep._probe import step_grid
from jaxgradsweep._sweep import Sweep
from jaxgradsweep._window import PROMISE

NOISES = (1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)  # relative to the size of the function

# Name: (function, its derivative, range of points). They take and return arrays of any NumPy dtype.
Real = Callable[[np.ndarray], np.ndarray]
FUNCTIONS: dict[str, tuple[Real, Real, tuple[float, float]]] = {
    "sin": (np.sin, np.cos, (-3, 3)),
    "exp": (np.exp, np.exp, (-2, 2)),
    "log": (np.log, lambda x: 1 / x, (0.1, 10)),
    "sqrt": (np.sqrt, lambda x: 1 / (2 * np.sqrt(x)), (0.01, 5)),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2, (-2, 2)),
    "arctan": (np.arctan, lambda x: 1 / (1 + x * x), (-5, 5)),
    "reciprocal": (lambda x: 1 / x, lambda x: -1 / (x * x), (0.05, 2)),
    "cube": (lambda x: x * x * x, lambda x: 3 * x * x, (-2, 2)),
    "x^2.5": (lambda x: x * x * np.sqrt(x), lambda x: 5 * x * np.sqrt(x) / 2, (0.1, 4)),
    "linear": (lambda x: 3 * x + 2, lambda x: 0 * x + 3, (-2, 2)),
    "bell": (lambda x: np.exp(-x * x), lambda x: -2 * x * np.exp(-x * x), (-2, 2)),
    "Runge": (lambda x: 1 / (1 + 25 * x * x), lambda x: -50 * x / (1 + 25 * x * x) ** 2, (-1, 1)),
    "softplus": (lambda x: np.log1p(np.exp(x)), lambda x: 1 / (1 + np.exp(-x)), (-4, 4)),
    "sin of a square": (lambda x: np.sin(x * x), lambda x: 2 * x * np.cos(x * x), (-3, 3)),
    "sin 50 x": (lambda x: np.sin(50 * x), lambda x: 50 * np.cos(50 * x), (-1, 1)),
    "fading wave": (
        lambda x: np.exp(-x) * np.cos(5 * x),
        lambda x: -np.exp(-x) * (np.cos(5 * x) + 5 * np.sin(5 * x)),
        (-1, 3),
    ),
    "polynomial": (
        lambda x: 1 + x * (-6 + x * (15 + x * (-20 + x * (15 + x * (-6 + x))))),
        lambda x: 6 * (x - 1) ** 5,
        (-1, 3),
    ),
    "offset": (lambda x: 1000 + np.sin(x), np.cos, (-3, 3)),
    "soft corner": (
        lambda x: np.sqrt(x * x + x.dtype.type(1 / 64)),  # a number that every precision has
        lambda x: x / np.sqrt(x * x + x.dtype.type(1 / 64)),
        (-1, 1),
    ),
    "logistic loss": (lambda x: np.logaddexp(0 * x, -3 * x), lambda x: -3 / (1 + np.exp(3 * x)), (-2, 2)),
}


def directions(x: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A power of two near each point, times a mantissa of three bits, as the probes have it."""
    return (1 + random.integers(0, 8, x.shape) / 8) * 2.0 ** np.floor(np.log2(np.abs(x)))


def measure(fun: Real, x: np.ndarray, v: np.ndarray, noise: Callable[[tuple[int, ...]], np.ndarray] | None) -> Sweep:
    """A sweep of `fun(x + t v)` at every point, in the dtype of `x`; `noise(shape)` is added to the values."""

    def along(at: Any, direction: Any) -> Callable[[np.ndarray], np.ndarray]:
        def phi(t: np.ndarray) -> np.ndarray:
            values = fun(at + direction * t.astype(x.dtype)).astype(float)
            return values if noise is None else values + noise(values.shape) * np.abs(values[0])

        return phi

    phis = [along(at, direction) for at, direction in zip(x, v, strict=True)]
    known = np.finfo(x.dtype)
    return sweep_of(*phis, steps=step_grid(known.nmant), eps=float(known.eps))


def kinds() -> Iterator[tuple[str, type, Callable[[np.random.Generator], Callable] | None]]:
    """Name, dtype, and a maker of noise."""
    yield "smooth, float64", np.float64, None
    for level in NOISES:
        yield (
            f"uniform noise {level:.0e}", np.float64,
            lambda random, level=level: lambda shape: level * random.uniform(-np.sqrt(3), np.sqrt(3), shape),
        )  # fmt: skip
        yield (
            f"normal noise {level:.0e}", np.float64,
            lambda random, level=level: lambda shape: level * random.normal(size=shape),
        )  # fmt: skip
    yield "smooth, float32", np.float32, None


def probe(name: str, points: int, dtype: type, maker: Callable | None, seed: int) -> tuple[np.ndarray, Fit]:
    """The true derivatives along the directions, and the fit."""
    fun, derivative, (low, high) = FUNCTIONS[name]
    random = np.random.default_rng([seed, list(FUNCTIONS).index(name)])
    x = random.uniform(low, high, points).astype(dtype)
    v = directions(x, random).astype(dtype)
    exact = np.asarray(derivative(x.astype(np.longdouble)) * v, float)
    return exact, fit(measure(fun, x, v, None if maker is None else maker(random)))


def rows(points: int, seed: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, actual errors and quoted ones, for each kind and function."""
    for kind, dtype, maker in kinds():
        for name in FUNCTIONS:
            exact, found = probe(name, points, dtype, maker, seed)
            yield f"{kind}|{name}", np.abs(found.derivative - exact), found.uncertainty


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100, help="random points for each function")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--by-function", action="store_true", help="one row for each function")
    parser.add_argument("--write", action="store_true", help="put the section into benchmarks/RESULTS.md")
    options = parser.parse_args()
    groups: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for name, error, bar in rows(options.points, options.seed):
        kind, function = name.split("|")
        for key in (kind, "all together", *([function] if options.by_function else [])):
            groups.setdefault(key, []).append((error, bar))
    lines = []
    for key, parts in groups.items():
        error, bar = (np.concatenate(column) for column in zip(*parts, strict=True))
        answered = np.isfinite(bar) & np.isfinite(error)
        error, bar = error[answered], bar[answered]
        inside = error <= bar
        ratio = bar / np.maximum(error, np.finfo(float).tiny)
        lines.append([
            key, f"{len(answered)}", f"{100 * np.mean(answered):.1f} %", f"{100 * np.mean(inside):.2f} %",
            number(np.median(ratio[error > 0])), number(np.percentile(error / np.maximum(bar, 1e-300), 99.9)),
            number(np.max(error / np.maximum(bar, 1e-300))),
        ])  # fmt: skip
    header = [
        "functions", "probes", "answered", f"inside the bar (promised: {100 * PROMISE:.0f} %)",
        "quoted / actual, median (6)", "actual / quoted, 99.9 %", "actual / quoted, worst",
    ]  # fmt: skip
    body = f"""
{len(FUNCTIONS)} smooth functions of one variable at {options.points} random points each, seed {options.seed}; noise is
drawn anew for every evaluation, and its level is its standard deviation relative to the function's value.

{table(header, lines)}
"""
    section("calibration", "Whether the error bars hold", body, write=options.write)


if __name__ == "__main__":
    main()
