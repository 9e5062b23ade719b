"""How close the estimated derivatives are, how honest their error bars, and how small a mistake is seen.

    python benchmarks/accuracy.py [networks] [functions] [detection] [identity] [--quick] [--write]

Every figure is held against a derivative known otherwise: JAX's gradient in float64, or calculus.
"""

import argparse
import collections
import functools
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jacobi
import jax
import jax.numpy as jnp
import mpmath
import networks
import numdifftools
import numpy as np
import scipy.differentiate
from record import number, section, table

import jaxgradsweep as jgs
from jaxgradsweep import _probe, _subject, _sweep

PROBES = 64
PLAIN_STEPS = 10.0 ** -np.arange(1, 9, 0.5)  # the plain central difference, where the best step is looked for
TEST_UTIL_EPS = 1e-4  # the step of jax.test_util

# Median error of the prototype on this table, and what it quoted.
PROTOTYPE = {
    ("tanh", "float64"): (2.0e-13, 3.8e-13),
    ("gelu", "float64"): (2.3e-13, 4.1e-13),
    ("relu", "float64"): (1.9e-11, 4.4e-11),
    ("tanh", "float32"): (1.5e-5, 2.0e-5),
    ("gelu", "float32"): (1.6e-5, 3.7e-5),
    ("relu", "float32"): (4.3e-3, 3.7e-3),
}


# ---------------------------------------------------------------------------------------------------- networks


def networks_section(count: int, write: bool) -> None:
    rows = [network_row(*case, count) for case in PROTOTYPE]
    header = [
        "activation, dtype", "error, median (target)", "quoted, median", "z, 95 %", "z, max",
        "quoted >= actual (target)", "quoted / actual, median (target)", "central difference, h = 1e-4",
        "at the best h, known only afterwards", "verdict",
    ]  # fmt: skip
    body = f"""
Softmax cross-entropy of a {"-".join(map(str, networks.SIZES))} net, batch {networks.BATCH}; {PROBES} dense random
directions in each of {count} networks a row. Errors are relative to the RMS directional derivative of the network;
z = actual error / quoted uncertainty. The truth is JAX's gradient in float64 at the same point; float32 rows are
computed natively in float32. The best h is the one step (of {len(PLAIN_STEPS)}) with the least median error.
Targets: a median error at most that of the prototype, quoted >= actual in 99 % of the probes of smooth functions, and
quoted within 10x of actual in the median. relu in float32 has kinks so dense that no window is smooth: there only the
verdict counts, which must not be WRONG.

{table(header, rows)}
"""
    section("networks", "Accuracy on networks", body, write=write)


def network_row(activation: str, dtype: str, count: int) -> list[str]:
    errors, quoted, plain, verdicts = [], [], [], collections.Counter()
    for seed in range(count):
        report, truth, differences = sweep_network(activation, dtype, seed)
        scale = np.sqrt(np.mean(truth**2))
        errors.append(np.abs(report.fit.derivative[:PROBES] - truth) / scale)
        quoted.append(report.fit.uncertainty[:PROBES] / scale)
        plain.append(np.abs(differences - truth) / scale)
        verdicts[f"{report.verdict.name}: {report.findings[0].reason.name}"] += 1
    actual, bar = np.concatenate(errors), np.concatenate(quoted)
    answered = np.isfinite(actual) & np.isfinite(bar)
    z = actual[answered] / bar[answered]
    by_step = np.median(np.concatenate(plain, axis=1), axis=1)
    fixed = by_step[np.argmin(np.abs(np.log(PLAIN_STEPS / 1e-4)))]
    target = PROTOTYPE[activation, dtype][0]
    unanswered = f", {np.sum(~answered)} without an answer" if not answered.all() else ""
    smooth = " (99 %)" if activation != "relu" else ""
    return [
        f"{activation}, {dtype}",
        f"{number(np.median(actual[answered]))} ({number(target)}){unanswered}",
        number(np.median(bar[answered])),
        number(np.percentile(z, 95)),
        number(np.max(z)),
        f"{100 * np.mean(z <= 1):.1f} %{smooth}",
        f"{number(np.median(bar[answered] / actual[answered]))} (10)",
        number(fixed),
        number(np.min(by_step)),
        ", ".join(f"{name} x {times}" for name, times in verdicts.items()),
    ]


def sweep_network(activation: str, dtype: str, seed: int) -> tuple[jgs.Report, np.ndarray, np.ndarray]:
    """A report over dense directions, the true derivatives along them, and central differences [steps, probes]."""
    like = networks.parameters(seed, dtype)
    point, batch = networks.flatten(like), networks.data(seed, dtype)
    loss = networks.flat_loss(activation, like)
    setting = "float64" if dtype == "float64" else "native"
    with jax.enable_x64(True):
        gradient = np.asarray(jax.grad(loss)(*(np.asarray(a, np.float64) for a in (point, batch[0])), batch[1]))
    # As numbers, the claim is known at x only: the check is spared the second witness, which is not measured here.
    claimed = gradient if dtype == "float64" else np.asarray(jax.grad(loss)(point, *batch))
    report = jgs.check_grad(loss, (point, *batch), grad=claimed, dtype=setting, directions=PROBES, key=seed)
    with _sweep.precision(setting):
        probes = _probe.draw(report.sweep.paths, [0], _probe.LEAF, range(PROBES), seed)
        leaf = jnp.asarray(point)
        draw = jax.jit(lambda seed: _sweep.tangent([leaf], [_probe.scale_of(leaf)], 0, _probe.LEAF, 0, seed)[0])
        directions = np.stack([draw(seed) for seed in probes.seed])
        differences = central_differences(loss, point, batch, directions)
    truth = np.sum(directions.astype(float) * gradient, axis=1)
    scale = np.sqrt(np.mean(truth**2))
    assert np.allclose(report.sweep.claimed[:PROBES], truth, rtol=0, atol=1e-4 * scale), "these are other directions"
    return report, truth, differences


def central_differences(loss: Callable, point: np.ndarray, batch: Any, directions: np.ndarray) -> np.ndarray:
    @jax.jit
    def difference(v: Any, h: Any) -> Any:
        return (loss(point + h * v, *batch) - loss(point - h * v, *batch)) / (2 * h)

    steps = PLAIN_STEPS.astype(point.dtype)
    return np.array([[difference(v, h) for v in directions] for h in steps], float)


# --------------------------------------------------------------------------------------- functions of one variable

# Name, function (of a module with NumPy's names, and x), derivative (in mpmath), point.
Function = tuple[str, Callable[[Any, Any], Any], Callable[[Any], Any], float]
FUNCTIONS: list[Function] = [
    ("exp(x) at 1", lambda m, x: m.exp(x), lambda x: mpmath.exp(x), 1.0),
    ("3 x + 2 at 0.7", lambda m, x: 3 * x + 2, lambda x: mpmath.mpf(3), 0.7),
    ("x² at 1.3", lambda m, x: x * x, lambda x: 2 * x, 1.3),
    ("1e6 + x² at 1", lambda m, x: 1e6 + x * x, lambda x: 2 * x, 1.0),
    (
        "(x - 1)⁶ expanded at 2",
        lambda m, x: 1 + x * (-6 + x * (15 + x * (-20 + x * (15 + x * (-6 + x))))),
        lambda x: 6 * (x - 1) ** 5,
        2.0,
    ),
    ("1/x at 0.01", lambda m, x: 1 / x, lambda x: -1 / x**2, 0.01),
    ("√x at 1e-6", lambda m, x: m.sqrt(x), lambda x: 1 / (2 * mpmath.sqrt(x)), 1e-6),
    ("log x at 1e-3", lambda m, x: m.log(x), lambda x: 1 / x, 1e-3),
    ("sin 1000 x at 1", lambda m, x: m.sin(1000 * x), lambda x: 1000 * mpmath.cos(1000 * x), 1.0),
    ("tanh 1e4 x at 1e-5", lambda m, x: m.tanh(1e4 * x), lambda x: 10**4 * mpmath.sech(10**4 * x) ** 2, 1e-5),
    ("atan 1e6 x at 1e-6", lambda m, x: m.arctan(1e6 * x), lambda x: 10**6 / (1 + (10**6 * x) ** 2), 1e-6),
    ("exp(-1/x²) at 0.3", lambda m, x: m.exp(-1 / (x * x)), lambda x: 2 * mpmath.exp(-1 / x**2) / x**3, 0.3),
    (
        "exp(-1e6 (x - 1)²) at 1.0005",
        lambda m, x: m.exp(-1e6 * (x - 1) ** 2),
        lambda x: -2 * 10**6 * (x - 1) * mpmath.exp(-(10**6) * (x - 1) ** 2),
        1.0005,
    ),
    ("1 / (1 + 25 x²) at 0.4", lambda m, x: 1 / (1 + 25 * x * x), lambda x: -50 * x / (1 + 25 * x**2) ** 2, 0.4),
    ("abs x at 0.3", lambda m, x: m.abs(x), lambda x: mpmath.mpf(1), 0.3),
    ("exp(x) - x at 0", lambda m, x: m.exp(x) - x, lambda x: mpmath.exp(x) - 1, 0.0),
    # The factor is the double nearest to 1e-6, as in the function.
    (
        "exp(-1e-6 x) at 1",
        lambda m, x: m.exp(-1e-6 * x),
        lambda x: -mpmath.mpf(1e-6) * mpmath.exp(-mpmath.mpf(1e-6) * x),
        1.0,
    ),
    ("sin(x) / x at 1e-5", lambda m, x: m.sin(x) / x, lambda x: mpmath.cos(x) / x - mpmath.sin(x) / x**2, 1e-5),
]
Estimate = tuple[float, float | None]  # a derivative, and its error bar, where one is quoted


class Counted:
    """A function in NumPy that counts the points at which it is evaluated."""

    def __init__(self, fun: Callable[[Any, Any], Any]) -> None:
        self.fun, self.evaluations = fun, 0

    def __call__(self, x: Any) -> Any:
        self.evaluations += np.size(x)
        return self.fun(np, x)


def by_jaxgradsweep(fun: Counted, x: float) -> Estimate:
    value, bar = jgs.estimate_grad(functools.partial(fun.fun, jnp), (float(x),))
    fun.evaluations = np.nan  # compiled code does not count; a component costs 2 n + 1 for n steps, twice where need be
    return float(value), float(bar)


def by_numdifftools(fun: Counted, x: float) -> Estimate:
    found = numdifftools.Derivative(fun, full_output=True)(x)
    return float(found.estimate), float(found.error_estimate)


def by_jacobi(fun: Counted, x: float) -> Estimate:
    value, bar = jacobi.jacobi(fun, x)
    return float(value), float(bar)


def by_scipy(fun: Counted, x: float) -> Estimate:
    found = scipy.differentiate.derivative(fun, x)
    return float(found.df), float(found.error)


def by_one_step(fun: Counted, x: float) -> Estimate:
    return (fun(x + TEST_UTIL_EPS) - fun(x - TEST_UTIL_EPS)) / (2 * TEST_UTIL_EPS), None


METHODS: dict[str, Callable[[Counted, float], Estimate]] = {
    "jaxgradsweep": by_jaxgradsweep,
    "numdifftools": by_numdifftools,
    "jacobi": by_jacobi,
    "scipy.differentiate": by_scipy,
    "jax.test_util": by_one_step,
}


def functions_section(write: bool) -> None:
    errors, ratios, evaluations = np.full((3, len(FUNCTIONS), len(METHODS)), np.nan)
    rows = []
    for i, (name, fun, derivative, x) in enumerate(FUNCTIONS):
        cells = [name]
        for j, estimate in enumerate(METHODS.values()):
            counted = Counted(fun)
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                value, bar = estimate(counted, np.float64(x))
            errors[i, j], ratios[i, j] = against_calculus(value, bar, derivative, x)
            evaluations[i, j] = counted.evaluations
            cells.append(number(errors[i, j]) + ("" if bar is None else f" ({number(ratios[i, j])})"))
        rows.append(cells)
    for title, summarise in (("median", median), ("worst", np.max)):
        cells = [f"**{title}**"]
        for j in range(len(METHODS)):
            quoted = "" if np.isnan(ratios[:, j]).all() else f" ({number(summarise(ratios[:, j]))})"
            cells.append(f"**{number(summarise(errors[:, j]))}{quoted}**")
        rows.append(cells)
    counts = [f"{count:.0f}" if np.isfinite(count) else "100 to 200" for count in np.median(evaluations, axis=0)]
    rows.append(["evaluations, median", *counts])
    body = f"""
Relative error of the derivative (absolute where the derivative is 0), and in brackets actual error / quoted error bar;
"nan" is a method that answered NaN. All methods with their defaults: `estimate_grad`, and `jax.test_util` with its
single step of {TEST_UTIL_EPS:g}. The truth is the derivative in closed form, evaluated with 60 digits. Targets: no
worse than the prototype (median 1e-15, worst 1.5e-13, worst actual / quoted 1.9) on functions that allow it; the last
two rows of
functions move by 1e-6 or less of themselves over their argument, and rounding leaves no method all its digits.

{table(["function", *METHODS], rows)}
"""
    section("functions", "Functions of one variable", body, packages=("numdifftools", "jacobi", "scipy"), write=write)


def against_calculus(value: float, bar: float | None, derivative: Callable, x: float) -> tuple[float, float]:
    """Relative error, and actual error over quoted."""
    with mpmath.workdps(60):
        truth = derivative(mpmath.mpf(x))
        if not np.isfinite(value):
            return np.nan, np.nan
        off = abs(mpmath.mpf(value) - truth)
        error = float(off / abs(truth)) if truth != 0 else float(off)
        ratio = np.nan if bar is None else 0.0 if off == 0 else float(off / bar) if bar > 0 else np.inf
    return error, ratio


def median(values: np.ndarray) -> float:
    """The median, in which NaN counts as worse than any number."""
    return float(np.median(np.where(np.isnan(values), np.inf, values)))


# ---------------------------------------------------------------------------------------------------- detection


def detection_section(seeds: int, write: bool) -> None:
    rows = []
    for dtype, error, rtol in (("float64", 1e-11, 5e-12), ("float32", 1e-4, 5e-5)):
        for activation in ("tanh", "gelu"):
            rows.append(detection_row(activation, dtype, error, rtol, seeds))
            print(" | ".join(rows[-1]), file=sys.stderr, flush=True)  # the next may take ten minutes
    header = [
        "activation, dtype", "rtol", "relative error of one leaf", "WRONG, and blamed on that leaf alone (target)",
        "other verdicts", "right gradient, all leaves CORRECT (target)", "false accusations (target)",
        "detection limit, median and worst", "seconds a check, median",
    ]  # fmt: skip
    body = f"""
The network of the first table, one leaf per weight matrix and bias vector; JAX's gradient with one leaf multiplied by
1 + error, in each leaf by turns, at {seeds} random points; float32 is native.

{table(header, rows)}
"""
    section("detection", "The smallest mistake that is seen", body, write=write)


def detection_row(activation: str, dtype: str, error: float, rtol: float, seeds: int) -> list[str]:
    missed: collections.Counter[str] = collections.Counter()
    caught = planted = right = accused = 0
    limits, seconds = [], []
    for leaf, report, wall in detections(activation, dtype, error, rtol, seeds):
        limits += [finding.resolution for finding in report.findings]
        seconds.append(wall)
        wrong = [finding.path for finding in report.findings if finding.verdict is jgs.Verdict.WRONG]
        if leaf is None:
            right += report.verdict is jgs.Verdict.CORRECT
            accused += report.verdict is jgs.Verdict.WRONG
            continue
        planted += 1
        caught += wrong == [leaf]
        accused += bool(set(wrong) - {leaf})
        if leaf not in wrong:
            finding = next(finding for finding in report.findings if finding.path == leaf)
            missed[f"{finding.verdict.name}: {finding.reason.name}"] += 1
    return [
        f"{activation}, {dtype}",
        f"{rtol:g}",
        f"{error:g}",
        f"{caught} of {planted} (all)",
        ", ".join(f"{name} x {times}" for name, times in missed.items()) or "none",
        f"{right} of {seeds} (all)",
        f"{accused} (0)",
        f"{number(np.median(limits))}, {number(np.max(limits))}",
        f"{np.median(seconds):.2f}",
    ]


def detections(
    activation: str, dtype: str, error: float, rtol: float, seeds: int
) -> Iterator[tuple[str | None, jgs.Report, float]]:
    """Reports of the right gradient (None), and of one wrong leaf after the other."""
    loss = networks.make_loss(activation)

    def checked(parameters: Any, factors: Any, inputs: Any, labels: Any) -> Any:
        return loss(parameters, inputs, labels)

    def claimed(parameters: Any, factors: Any, inputs: Any, labels: Any) -> Any:
        gradient = jax.grad(loss)(parameters, inputs, labels)
        return {name: gradient[name] * factors[name] for name in gradient}

    for seed in range(seeds):
        point, batch = networks.parameters(seed, dtype), networks.data(seed, dtype)
        ones = dict.fromkeys(point, np.ones((), dtype))
        for name in (None, *point):
            factors = ones if name is None else ones | {name: np.asarray(1 + error, dtype)}
            setting = "float64" if dtype == "float64" else "native"
            begin = time.perf_counter()
            report = jgs.check_grad(checked, (point, factors, *batch), grad=claimed, rtol=rtol, dtype=setting, key=seed)
            yield None if name is None else f"['{name}']", report, time.perf_counter() - begin


# ----------------------------------------------------------------------------------------- the segment identity

PLANTED = {"float64": 1e-13, "float32": 3e-5}  # relative errors of the claim that the identity must tell
RESIDUAL = {"float64": 1e-14, "float32": 5e-6}  # the most that a right gradient may leave


def identity_section(write: bool) -> None:
    rows = [identity_row(activation, dtype) for dtype in PLANTED for activation in ("tanh", "gelu")]
    header = [
        "activation, dtype", "best step", "residual, median (target)", "planted relative error",
        "as found, mean over the directions", "its standard error", "found / standard error",
        "the same of the right gradient",
    ]  # fmt: skip
    body = f"""
The network of the first table; along each of {PROBES} dense directions the gradient is integrated over [-h, h] with 15
Gauss-Legendre nodes and held against f(x + h v) - f(x - h v). Residuals are relative to the RMS directional
derivative; the best step is the one with the least median residual. A planted error multiplies the gradient by
1 + error; what the identity finds of it is the regression of the residuals on the directional derivatives.

{table(header, rows)}
"""
    section("identity", "The segment identity", body, write=write)


def identity_row(activation: str, dtype: str) -> list[str]:
    steps = 2.0 ** -np.arange(1.0, 13.0)
    right = identity_residuals(activation, dtype, 0.0, steps)
    wrong = identity_residuals(activation, dtype, PLANTED[dtype], steps)
    best = int(np.argmin(np.median(np.abs(right[0]), axis=0)))
    found, bar = regression(wrong[0][:, best], wrong[1])
    zero, zero_bar = regression(right[0][:, best], right[1])
    return [
        f"{activation}, {dtype}",
        f"{steps[best]:g}",
        f"{number(np.median(np.abs(right[0][:, best])))} ({number(RESIDUAL[dtype])})",
        number(PLANTED[dtype]),
        number(found),
        number(bar),
        number(found / bar),
        number(zero / zero_bar),
    ]


def regression(residual: np.ndarray, slope: np.ndarray) -> tuple[float, float]:
    """The factor by which the claim is too large, and its standard error."""
    factor = float(np.sum(residual * slope) / np.sum(slope**2))
    rest = residual - factor * slope
    return factor, float(np.sqrt(np.sum(rest**2) / (len(rest) - 1) / np.sum(slope**2)))


def identity_residuals(activation: str, dtype: str, error: float, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integral of the claim minus change of the loss, over 2 h [directions, steps], and the claimed slopes."""
    like = networks.parameters(0, dtype)
    point, batch = networks.flatten(like), networks.data(0, dtype)
    loss = networks.flat_loss(activation, like)

    def claimed(vector: Any, inputs: Any, labels: Any) -> Any:
        return jax.grad(loss)(vector, inputs, labels) * np.asarray(1 + error, dtype)

    setting = "float64" if dtype == "float64" else "native"
    with _sweep.precision(setting):
        subject = _subject.prepare("grad", loss, (point, *batch), (0,), single=True, rule=claimed, dtype=setting)
        probes = _probe.draw(subject.point.paths, [0], _probe.LEAF, range(PROBES), 0)
        sweep = _sweep.measure(subject.claim, subject.arrays, subject.point.paths, probes, steps, 4, subject.eps)
        segments = _sweep.integrate(subject.claim, subject.arrays, probes, steps, 4)
    scale = np.sqrt(np.mean(sweep.claimed**2))
    residual = (segments.integral - sweep.difference) / (2 * steps)
    return residual / scale, sweep.claimed / scale


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "parts", nargs="*", metavar="part", help="networks, functions, detection, identity; default: all"
    )
    parser.add_argument("--quick", action="store_true", help="one network, one point: a minute or two")
    parser.add_argument("--write", action="store_true", help="put the sections into benchmarks/RESULTS.md")
    options = parser.parse_args()
    run = {
        "networks": lambda: networks_section(1 if options.quick else 4, options.write),
        "functions": lambda: functions_section(options.write),
        "detection": lambda: detection_section(1 if options.quick else 4, options.write),
        "identity": lambda: identity_section(options.write),
    }
    if unknown := set(options.parts) - set(run):
        parser.error(f"unknown part {min(unknown)!r}; there are {', '.join(run)}")
    for part in options.parts or run:
        run[part]()


if __name__ == "__main__":
    main()
