"""A check on a GPU or TPU: the same verdicts as on the CPU, the time of a sweep, and the share of the device's peak.

    python benchmarks/accelerator.py [verdicts] [speed] [--quick] [--write]

It uses whatever device JAX finds first, and works on a CPU too. Sections are named after the platform, so that one
machine does not replace what another found.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from record import number, parser_of, run_parts, section, table

import jaxgradsweep as jgs

# ----------------------------------------------------------------------------------------------------- verdicts

Claim = Callable[..., Any] | None
RANDOM = np.random.default_rng(0)
X, MATRIX, IMAGE = RANDOM.normal(size=12), RANDOM.normal(size=(12, 12)) / np.sqrt(12), RANDOM.normal(size=(1, 6, 6, 2))
FILTERS, LABELS = RANDOM.normal(size=(3, 3, 2, 3)), RANDOM.integers(0, 12, 4, np.int32)


def softplus_net(x: Any, matrix: Any) -> Any:
    return jnp.mean(jax.nn.softplus(jnp.tanh(matrix @ x) @ matrix))


def cross_entropy(x: Any, matrix: Any) -> Any:
    rows = jax.nn.log_softmax(jnp.outer(jnp.arange(1.0, 5.0), matrix @ x))
    return -jnp.mean(rows[jnp.arange(4), LABELS])


def convolved(filters: Any, image: Any) -> Any:
    out = jax.lax.conv_general_dilated(image, filters, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jnp.sum(jnp.sin(out))


def scanned(x: Any, matrix: Any) -> Any:
    return jnp.sum(jax.lax.scan(lambda state, _: (jnp.tanh(matrix @ state + x), None), x, length=5)[0] ** 2)


def definite(matrix: Any) -> Any:
    return jnp.linalg.slogdet(matrix @ matrix.T + jnp.eye(len(matrix)))[1]


def scaled(fun: Callable, factor: float) -> Claim:
    """The gradient with one component wrong."""
    return lambda *args: jax.grad(fun)(*args).at[3].multiply(factor)


# Name: function, arguments, and the claim where it is not JAX's own.
FUNCTIONS: dict[str, tuple[Callable, tuple[Any, ...], Claim]] = {
    "tanh": (lambda x: jnp.sum(jnp.tanh(x) ** 2), (X,), None),
    "logsumexp": (lambda x: jax.nn.logsumexp(3 * x), (X,), None),
    "small network": (softplus_net, (X, MATRIX), None),
    "cross-entropy": (cross_entropy, (X, MATRIX), None),
    "convolution": (convolved, (FILTERS, IMAGE), None),
    "scan": (scanned, (X, MATRIX), None),
    "sort and cumsum": (lambda x: jnp.sum(jnp.cumsum(jnp.sort(x)) ** 2), (X,), None),
    "FFT": (lambda x: jnp.sum(jnp.abs(jnp.fft.fft(x)) ** 2 * jnp.arange(12)), (X,), None),
    "log-determinant": (definite, (MATRIX,), None),
    "kink at the point": (lambda x: jnp.sum(jnp.abs(x - X[0])), (X,), None),
    "one component off by 1 %": (softplus_net, (X, MATRIX), scaled(softplus_net, 1.01)),
    "gradient of another function": (
        lambda x: jnp.sum(jnp.tanh(x) ** 2),
        (X,),
        lambda x: 2 * jnp.tanh(x) * (1 - jnp.tanh(x)),
    ),
}
DTYPES = {"float64": np.float64, "native": np.float32}  # the setting, and that of the arrays


def verdicts() -> dict[str, list[str]]:
    """What a check says of every function, in both precisions, on this process's device."""
    told: dict[str, list[str]] = {}
    for setting, dtype in DTYPES.items():
        for name, (fun, args, claim) in FUNCTIONS.items():
            point = tuple(np.asarray(arg, dtype) for arg in args)
            report = jgs.check_grad(fun, point, grad=claim, dtype=setting, locate=False)
            finding = max(report.findings, key=lambda each: each.verdict is report.verdict)
            ran = report.environment["dtype"]
            words = f"{report.verdict.name}: {finding.reason.name}"
            told[f"{name}/{setting}"] = [words + ("" if ran == setting else f" ({ran})"), number(report.resolution)]
    return told


def on_the_cpu() -> dict[str, list[str]]:
    """The same in a process that knows no other device."""
    command = [sys.executable, __file__, "--tell-verdicts"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"})
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def verdicts_section(write: bool) -> None:
    here, there = verdicts(), on_the_cpu()
    rows, equal = [], 0
    for key, (words, limit) in here.items():
        name, setting = key.split("/")
        other, other_limit = there[key]
        same = words.partition(":")[0] == other.partition(":")[0]
        equal += same
        rows.append([name, setting, words, limit, other, other_limit, "yes" if same else "**no**"])
    header = ["function", "dtype", "here", "limit", "on the CPU", "limit", "same verdict"]
    body = f"""
On {device_in_words()}. Small functions with right and wrong derivatives, by default and in float32 (`dtype="native"`),
here and in a process with `JAX_PLATFORMS=cpu`. The same verdict: {equal} of {len(here)} (all).

{table(header, rows)}
"""
    section(f"accelerator-verdicts-{jax.default_backend()}", f"Verdicts on {platform()}", body, write=write)


# -------------------------------------------------------------------------------------------------------- speed

EXAMPLES, QUICK_EXAMPLES = 1024, 64
PEAK_SIZES = (1024, 2048, 4096, 8192)  # of square matrices: the best counts


def perceptron(
    sizes: tuple[int, ...], examples: int, dtype: Any, precision: str
) -> tuple[Callable, tuple[Any, ...], float]:
    """A loss whose matmuls name their own precision, its arguments, and the FLOP of one evaluation."""
    random = np.random.default_rng(0)
    pairs = list(itertools.pairwise(sizes))
    point = [jnp.asarray(random.normal(size=pair) / np.sqrt(pair[0]), dtype) for pair in pairs]
    inputs, wanted = (jnp.asarray(random.normal(size=(examples, size)), dtype) for size in (sizes[0], sizes[-1]))

    def loss(point: Any, inputs: Any, wanted: Any) -> Any:
        signal = inputs
        for layer, weights in enumerate(point):
            signal = jnp.matmul(jnp.tanh(signal) if layer else signal, weights, precision=precision)
        return jnp.mean((signal - wanted).astype(jnp.promote_types(dtype, jnp.float32)) ** 2)

    return loss, (point, inputs, wanted), 2.0 * examples * sum(a * b for a, b in pairs)


def wall(fun: Callable[[], Any], times: int) -> float:
    """The median time of a call, after a first one."""
    jax.block_until_ready(fun())
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        jax.block_until_ready(fun())
        found.append(time.perf_counter() - begin)
    return float(np.median(found))


def peak_rate(dtype: Any, precision: str, limit: int) -> float:
    """FLOP/s of the best square matmul."""
    product = jax.jit(lambda a, b: jnp.matmul(a, b, precision=precision))
    best = 0.0
    for size in (size for size in PEAK_SIZES if size <= limit):
        a = jnp.asarray(np.random.default_rng(0).normal(size=(size, size)), dtype)
        best = max(best, 2.0 * size**3 / wall(lambda a=a: product(a, a), 5))
    return best


def speed_row(dtype: Any, precision: str, quick: bool) -> list[str]:
    name, times = jnp.dtype(dtype).name, 3 if quick else 7
    sizes = (128, 256, 256, 16) if quick else (1024, 2048, 2048, 1024)
    with jax.enable_x64(name == "float64"):
        loss, args, flop = perceptron(sizes, QUICK_EXAMPLES if quick else EXAMPLES, dtype, precision)
        if args[1].dtype != dtype:
            return [name, precision, "not available", *["-"] * 7]
        settings: dict[str, Any] = {"dtype": "float64" if name == "float64" else "native", "locate": False}
        settings |= {"consistency": False, "thorough": True}  # no more than the sweep
        reports: list[jgs.Report] = []
        peak = peak_rate(dtype, precision, 1024 if quick else max(PEAK_SIZES))
        compiled = jax.jit(loss)
        forward = wall(lambda: compiled(*args), times)
        check = wall(lambda: reports.append(jgs.check_grad(loss, args, **settings)), times)
    report = reports[-1]
    achieved = flop * report.evaluations / check
    return [
        name,
        precision,
        f"{report.verdict.name}: {report.findings[0].reason.name}",
        str(report.evaluations),
        f"{1e3 * check:.1f}",
        f"{1e3 * forward:.3f}",
        f"{check / (report.evaluations * forward):.2f}",
        number(achieved / 1e9),
        number(peak / 1e9),
        f"{100 * achieved / peak:.0f} %",
    ]


def speed_section(quick: bool, write: bool) -> None:
    cases = [(jnp.float32, "default"), (jnp.float32, "highest"), (np.float64, "highest"), (jnp.bfloat16, "default")]
    rows = []
    for dtype, precision in cases:
        try:
            rows.append(speed_row(dtype, precision, quick))
        except Exception as error:  # some backends know no float64
            words = f"{type(error).__name__}: {error}".splitlines()[0][:80].replace("|", "/")
            rows.append([jnp.dtype(dtype).name, precision, f"not available ({words})", *["-"] * 7])
        print(rows[-1], flush=True)
    header = [
        "dtype", "matmul precision", "verdict", "evaluations", "warm check, ms", "an evaluation, ms",
        "check / (evaluations x evaluation)", "achieved, GFLOP/s", "best matmul, GFLOP/s", "of the peak",
    ]  # fmt: skip
    examples = QUICK_EXAMPLES if quick else EXAMPLES
    body = f"""
On {device_in_words()}. A warm check of JAX's own gradient of a tanh network with {examples} examples (`locate=False,
consistency=False, thorough=True`) against the compiled function at the point, by itself. Achieved is what the matmuls
of all its evaluations take, over the time of the whole check; the best matmul is that of square matrices, in the same
precision. Checks run matmuls at the highest precision; here every matmul of the function names its own, which overrides
that. float64 is checked by default, all others with `dtype="native"`. A verdict with the reason IDENTITY has also
integrated the gradient along segments, which is no evaluation. Medians of {3 if quick else 7}.

{table(header, rows)}
"""
    section(f"accelerator-speed-{jax.default_backend()}", f"Speed on {platform()}", body, write=write)


# ------------------------------------------------------------------------------------------------- command line


def platform() -> str:
    """CPU, GPU or TPU."""
    return f"a {jax.default_backend().upper()}"


def device_in_words() -> str:
    """Which device it is, and how many there are."""
    device = jax.devices()[0]
    return f"{device.device_kind} ({device.platform}, {jax.local_device_count()} of them)"


def main() -> None:
    parser = parser_of(__doc__, "verdicts, speed")
    parser.add_argument("--quick", action="store_true", help="a small network, for a CPU")
    parser.add_argument("--tell-verdicts", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tell_verdicts:
        print(json.dumps(verdicts()))
        return
    run = {
        "verdicts": lambda: verdicts_section(options.write),
        "speed": lambda: speed_section(options.quick, options.write),
    }
    run_parts(parser, options.parts, run)


if __name__ == "__main__":
    main()
