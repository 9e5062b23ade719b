"""What the pytest plugin costs a run that does not use it, and how far detection limits scatter.

    python benchmarks/plugin.py [cost] [scatter] [--quick] [--write]

`cost` measures in fresh processes that take turns; `scatter` repeats checks with other seeds, which is what the factor
of `--gradsweep-check` has to allow for.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile

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


def spread(values: list[float]) -> str:
    """A median, and the quarter of the values above and below."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


def cost_section(times: int, write: bool) -> None:
    plugin = ("-p", "jaxgradsweep.pytest_plugin")
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
        kept = compiled(cache)
        imports = [imported(kept) for _ in range(times + 1)][1:]  # the first one compiles
        pairs = [(collected(folder, kept), collected(folder, kept, *plugin)) for _ in range(times + 1)][1:]
    differences = [loaded - bare for bare, loaded in pairs]
    rows = [
        ["the import of the plugin", f"{spread([took for took, _, _ in imports])} ({TARGET})"],
        ["`pytest --collect-only` on an empty folder, without the plugin", spread([bare for bare, _ in pairs])],
        ["the same, with it", spread([loaded for _, loaded in pairs])],
        ["the difference", f"{spread(differences)} ({TARGET})"],
    ]
    body = f"""
Processor time, medians of {times} fresh processes each, with the quartiles and then the target in brackets; runs with
and without the plugin take turns. No other plugins are loaded, and all modules are compiled. The import loads
{imports[0][1]} modules that pytest has not loaded; of jax, numpy, matplotlib and rich: {imports[0][2]}.

{table(["what", "ms (quartiles) (target)"], rows)}
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


def scatter_section(seeds: int, write: bool) -> None:
    rows = []
    for name, (fun, args) in FUNCTIONS.items():
        reports = [jgs.check_grad(fun, args, key=key, locate=False, consistency=False) for key in range(seeds)]
        limits = np.array([report.resolution for report in reports])
        right = sum(report.ok for report in reports)
        ratio = limits.max() / limits.min()
        rows.append([name, f"{right} of {seeds}", *map(number, (np.median(limits), limits.min(), limits.max(), ratio))])
    body = f"""
Detection limits of `check_grad` of JAX's own gradient with {seeds} seeds of the directions each. The pytest plugin's
`--gradsweep-check` objects to a limit that became worse by more than a factor of 10.

{table(["function", "`CORRECT`", "median limit", "finest", "coarsest", "coarsest / finest"], rows)}
"""
    section("plugin-scatter", "How far detection limits scatter", body, write=write)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help="cost, scatter; default: both")
    parser.add_argument("--quick", action="store_true", help="three processes and three seeds")
    parser.add_argument("--write", action="store_true", help="put the sections into benchmarks/RESULTS.md")
    options = parser.parse_args()
    run = {
        "cost": lambda: cost_section(3 if options.quick else 21, options.write),
        "scatter": lambda: scatter_section(3 if options.quick else 50, options.write),
    }
    if unknown := set(options.parts) - set(run):
        parser.error(f"unknown part {min(unknown)!r}; there are {', '.join(run)}")
    for part in options.parts or run:
        run[part]()


if __name__ == "__main__":
    main()
