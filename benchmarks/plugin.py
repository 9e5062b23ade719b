"""What the pytest plugin costs a run that does not use it, and how far detection limits scatter.

    python benchmarks/plugin.py [cost] [scatter] [--quick] [--write]

`cost` measures the start of pytest with and without it; `scatter` repeats checks with other rounding and with other
seeds, which is what the factor of `--gradsweep-check` has to allow for.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from record import number, parser_of, run_parts, section, table

import jaxgradsweep as jgs

IMPORT = """
import sys, time
import pytest
before = set(sys.modules)
began = time.process_time()
import jaxgradsweep.pytest_plugin
took = time.process_time() - began
heavy = {"jax", "numpy", "matplotlib", "rich"} & set(sys.modules)
print(took, len(set(sys.modules) - before), *sorted(heavy))
"""
RUNS = """
import contextlib, io, sys, time
import pytest

def run(*options):
    began = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        code = pytest.main(["--collect-only", "-q", "-s", "-p", "no:cacheprovider", *options])
    assert code == pytest.ExitCode.NO_TESTS_COLLECTED, code
    return time.process_time() - began

for _ in range(int(sys.argv[1]) + 1):
    print(run(), run("-p", "jaxgradsweep.pytest_plugin"))
"""
BARE = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # no other plugins, which differ between environments
TARGET = 20  # ms


def compiled(folder: str) -> dict[str, str]:
    """An environment in which compiled modules are kept in a folder, as they are where packages are installed."""
    kept = {name: value for name, value in BARE.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": folder}


def answers(script: str, *arguments: str, folder: str, environment: dict[str, str]) -> list[str]:
    """What a script says in a fresh process, in an empty folder."""
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, env=environment)
    return done.stdout.split()


def cost_section(times: int, runs: int, write: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
        where: dict[str, Any] = {"folder": folder, "environment": compiled(cache)}
        imports = [answers(IMPORT, **where) for _ in range(times + 1)][1:]  # the first one compiles
        pairs = np.array(answers(RUNS, str(runs), **where), float).reshape(-1, 2)[1:]  # the first one imports
    _, modules, *heavy = imports[0]
    measured = {
        "the import of the plugin, in a fresh process": np.array([float(took) for took, *_ in imports]),
        "`pytest --collect-only` on an empty folder, without the plugin": pairs[:, 0],
        "the same, with the plugin": pairs[:, 1],
        "the difference": pairs[:, 1] - pairs[:, 0],
    }
    rows = [
        [name, " to ".join(f"{1e3 * quartile:.1f}" for quartile in np.percentile(values, [25, 75])),
         f"{1e3 * np.median(values):.1f}"]
        for name, values in measured.items()
    ]  # fmt: skip
    body = f"""
Milliseconds of processor time. {times} imports in processes of their own, with all modules compiled, and {runs} runs of
each kind that take turns in one process, all without any other plugin. The import loads {modules} modules that pytest
has not loaded; of jax, numpy, matplotlib and rich: {", ".join(heavy) or "none"}.
Target: {TARGET} ms for the import and the difference together.

{table(["what", "quartiles", "median"], rows)}
"""
    section("plugin-cost", "What the pytest plugin costs a run that does not use it", body, write=write)


def rosenbrock(x: jax.Array) -> jax.Array:
    return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def in_single_precision(x: jax.Array) -> jax.Array:
    return jnp.sum(jnp.sin(x.astype(jnp.float32)).astype(x.dtype))


def network(weights: jax.Array, inputs: jax.Array) -> jax.Array:
    return jnp.mean(jnp.tanh(jnp.tanh(inputs @ weights) @ weights) ** 2)


RANDOM = np.random.default_rng(0)
SMALL = np.linspace(0.2, 2.0, 6)
FUNCTIONS = {
    "sum of sin(x)": (lambda x: jnp.sum(jnp.sin(x)), (SMALL,)),
    "sum of sin(x) exp(x / 3)": (lambda x: jnp.sum(jnp.sin(x) * jnp.exp(x / 3)), (SMALL,)),
    "a linear function": (lambda x: jnp.sum(x * jnp.arange(6.0)), (SMALL,)),
    "Rosenbrock's function": (rosenbrock, (np.array([-1.2, 1.0, 0.8]),)),
    "a network of tanh, 16 by 16": (network, (RANDOM.normal(size=(16, 16)), RANDOM.normal(size=(8, 16)))),
    "squares of ReLUs": (lambda x: jnp.sum(jax.nn.relu(jnp.sin(jnp.arange(30.0).reshape(5, 6)) @ x) ** 2), (SMALL,)),
    "sum of sin(x), in float32 inside": (in_single_precision, (SMALL,)),
}


def limits_of(fun: Callable, points: list[tuple[np.ndarray, ...]], keys: Sequence[int]) -> np.ndarray:
    """The detection limits of right derivatives: at points, each with a seed."""
    reports = [
        jgs.check_grad(fun, args, key=key, locate=False, consistency=False)
        for args, key in zip(points, keys, strict=True)
    ]
    if not all(report.ok for report in reports):
        raise RuntimeError("a right derivative did not come out as CORRECT")
    return np.array([report.resolution for report in reports])


def ratios(limits: np.ndarray) -> str:
    """How far limits lie apart at most, and how far the coarsest lies from the median."""
    return f"{limits.max() / limits.min():.3g} ({limits.max() / np.median(limits):.3g})"


def scatter_section(times: int, write: bool) -> None:
    rows = []
    random = np.random.default_rng(1)
    for name, (fun, args) in FUNCTIONS.items():
        shaken = [tuple(a * (1 + 1e-14 * random.normal(size=a.shape)) for a in args) for _ in range(times)]
        rounding = limits_of(fun, shaken, [0] * times)
        seeds = limits_of(fun, [args] * times, range(times))
        rows.append([name, number(np.median(seeds)), ratios(rounding), ratios(seeds)])
    body = f"""
Detection limits of `check_grad` of JAX's own gradient, {times} checks in each cell: with all arguments changed by
1e-14 of themselves at random, which rounds everything otherwise, as another platform would, and with other seeds of the
directions. Coarsest over finest limit, and in brackets coarsest over median. The pytest plugin's `--gradsweep-check`
objects to a limit that became worse by more than a factor of 10.

{table(["function", "median limit", "other rounding", "other seeds"], rows)}
"""
    section("plugin-scatter", "How far detection limits scatter", body, write=write)


def main() -> None:
    parser = parser_of(__doc__, "cost, scatter")
    parser.add_argument("--quick", action="store_true", help="three processes and three seeds")
    options = parser.parse_args()
    run = {
        "cost": lambda: cost_section(*((3, 5) if options.quick else (15, 100)), options.write),
        "scatter": lambda: scatter_section(3 if options.quick else 24, options.write),
    }
    run_parts(parser, options.parts, run)


if __name__ == "__main__":
    main()
