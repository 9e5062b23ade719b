"""What the pytest plugin costs a run that does not use it, and how far detection limits scatter.

    python benchmarks/plugin.py [cost] [scatter] [--quick] [--write]

`cost` measures in fresh processes that take turns; `scatter` repeats checks with other rounding and with other seeds,
which is what the factor of `--gradsweep-check` has to allow for.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from record import number, section, table

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
COLLECT = ("-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider")
BARE = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # no other plugins, which differ between environments
NOTHING_COLLECTED = 5  # pytest's exit code
TARGET = 20  # ms


def compiled(folder: str) -> dict[str, str]:
    """An environment in which compiled modules are kept in a folder, as they are where packages are installed."""
    kept = {name: value for name, value in BARE.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": folder}


def imported(environment: dict[str, str]) -> tuple[float, int, str]:
    """What the import needs in a fresh process that has pytest, how many modules it loads, and which large ones."""
    command = [sys.executable, "-c", IMPORT]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    took, modules, *heavy = answer.stdout.split()
    return 1e3 * float(took), int(modules), ", ".join(heavy) or "none"


def collected(folder: str, environment: dict[str, str], *options: str) -> float:
    """What pytest needs to collect nothing, in ms of processor time."""
    began = spent()
    command = [sys.executable, *COLLECT, *options, folder]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    if done.returncode != NOTHING_COLLECTED:
        raise RuntimeError(done.stdout + done.stderr)
    return spent() - began


def spent() -> float:
    """The processor time of all processes that were started here and have ended, in ms."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1e3 * (used.ru_utime + used.ru_stime)


def told(values: list[float]) -> str:
    """The least of some times, and their median."""
    return f"{min(values):.1f} ({np.median(values):.1f})"


def cost_section(times: int, write: bool) -> None:
    plugin = ("-p", "jaxgradsweep.pytest_plugin")
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
        kept = compiled(cache)
        imports = [imported(kept) for _ in range(times + 1)][1:]  # the first one compiles
        pairs = [(collected(folder, kept), collected(folder, kept, *plugin)) for _ in range(times + 1)][1:]
    without, loaded = ([pair[i] for pair in pairs] for i in (0, 1))
    least, median = (f"{each(loaded) - each(without):.1f}" for each in (min, np.median))
    rows = [
        ["the import of the plugin", told([took for took, _, _ in imports]), f"{TARGET}"],
        ["`pytest --collect-only` on an empty folder, without the plugin", told(without), ""],
        ["the same, with it", told(loaded), ""],
        [
            "the difference",
            f"{least} ({median})",
            f"{TARGET}",
        ],
    ]
    body = f"""
Processor time in fresh processes: the least of {times}, since whatever else the machine does only adds to it, and in
brackets the median. Runs with and without the plugin take turns, without any other plugin, and with all modules
compiled. The import loads {imports[0][1]} modules that pytest has not loaded; of jax, numpy, matplotlib and rich:
{imports[0][2]}.

{table(["what", "ms, least (median)", "target"], rows)}
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help="cost, scatter; default: both")
    parser.add_argument("--quick", action="store_true", help="three processes and three seeds")
    parser.add_argument("--write", action="store_true", help="put the sections into benchmarks/RESULTS.md")
    options = parser.parse_args()
    run = {
        "cost": lambda: cost_section(3 if options.quick else 15, options.write),
        "scatter": lambda: scatter_section(3 if options.quick else 24, options.write),
    }
    if unknown := set(options.parts) - set(run):
        parser.error(f"unknown part {min(unknown)!r}; there are {', '.join(run)}")
    for part in options.parts or run:
        run[part]()


if __name__ == "__main__":
    main()
