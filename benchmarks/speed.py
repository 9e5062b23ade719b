"""What a check costs: warm against bare evaluations, cold against jax.test_util, and how often it traces.

    python benchmarks/speed.py [warm] [cold] [traces] [--quick] [--write]

All times are wall time; what is compared runs in one go, taking turns.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import networks
import numpy as np
from jax.test_util import check_grads
from record import section, table

import jaxgradsweep as jgs

BATCHES = (1, 2, 4, 8, 16, 32)  # points at once in the bare loop
BATCH_SIZES = (3, 5, 9, 11, 17, 21, 41)  # `batch_size` of a check: x, and two points for each of 1, 2, 4 ... steps


def seconds(fun: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    fun()
    return time.perf_counter() - begin


def in_turns(funs: list[Callable[[], Any]], times: int) -> np.ndarray:
    """Wall times [times, funs]."""
    return np.array([[seconds(fun) for fun in funs] for _ in range(times)])


# --------------------------------------------------------------------------------------------------------- warm


def warm_section(times: int, write: bool) -> None:
    rows = [warm_row(activation, times) for activation in ("tanh", "gelu", "relu")]
    header = [
        "activation", "verdict", "evaluations", "check, ms (batch)", "bare loop, ms (batch)",
        "ratio of medians (target)", "ratio, quartiles of the turns",
    ]  # fmt: skip
    body = f"""
A second check of JAX's own gradient of the {"-".join(map(str, networks.SIZES))} network (84 746 parameters, batch
{networks.BATCH}, float64, default settings, everything compiled) against a jitted `lax.map` over batches of
`vmap`ped F(x + t v), with as many t as the check evaluated F. Both with the batch that was the fastest for each:
{", ".join(map(str, BATCHES))} points in the loop, and `batch_size` {", ".join(map(str, BATCH_SIZES))} or the default in
the check; then {times} turns of both. The check also computes the gradient, draws directions and writes the report.
Where kinks call for a second look (relu), it also integrates the gradient along segments, which is no evaluation of F
and has no target.

{table(header, rows)}
"""
    section("warm", "A warm check", body, write=write)


def warm_row(activation: str, times: int) -> list[str]:
    loss = networks.make_loss(activation)
    point, batch = networks.parameters(0), networks.data(0)
    sizes: dict[str, int | None] = {"default": None} | {str(size): size for size in BATCH_SIZES}

    def check_with(size: int | None) -> Callable[[], jgs.Report]:
        return lambda: jgs.check_grad(loss, (point, *batch), batch_size=size)

    checks = {name: check_with(size) for name, size in sizes.items()}
    reports = {name: check() for name, check in checks.items()}
    evaluations = {name: report.evaluations for name, report in reports.items()}
    # x itself comes along with every batch, so that smaller ones evaluate more points. The fastest check counts.
    best_check = fastest(checks, max(3, times // 3))
    loops = bare_loops(loss, point, batch, evaluations[best_check])
    best_loop = fastest(loops, max(3, times // 3))
    smooth = activation != "relu"
    check, loop = in_turns([checks[best_check], loops[best_loop]], times).T
    quartiles = np.percentile(check / loop, [25, 75])
    return [
        activation,
        f"{reports[best_check].verdict.name}: {reports[best_check].findings[0].reason.name}",
        str(evaluations[best_check]),
        f"{1e3 * np.median(check):.0f} ({best_check})",
        f"{1e3 * np.median(loop):.0f} ({best_loop})",
        f"{np.median(check) / np.median(loop):.2f}" + (" (1.15)" if smooth else ""),
        f"{quartiles[0]:.2f} to {quartiles[1]:.2f}",
    ]


def fastest(funs: dict[str, Callable[[], Any]], times: int) -> str:
    for fun in funs.values():
        fun()
    return list(funs)[np.argmin(np.median(in_turns(list(funs.values()), times), axis=0))]


def bare_loops(loss: Callable, point: Any, batch: Any, evaluations: int) -> dict[str, Callable[[], Any]]:
    """Jitted loops over so many evaluations of the perturbed loss, one for each batch, in float64."""
    random = np.random.default_rng(0)
    direction = jax.tree.map(lambda leaf: random.normal(size=leaf.shape), point)

    def loop_of(size: int) -> Callable[[], Any]:
        @jax.jit
        def loop(point: Any, direction: Any, batch: Any, t: Any) -> Any:
            def at(t: Any) -> Any:
                return loss(jax.tree.map(lambda x, v: x + t * v, point, direction), *batch)

            return jax.lax.map(at, t, batch_size=size)

        count = round(evaluations / size) * size  # a remainder would be compiled as a second body
        steps = np.exp2(-40 * np.arange(count) / count)

        def run() -> Any:
            with jax.enable_x64(True):
                return loop(point, direction, batch, steps).block_until_ready()

        return run

    return {str(size): loop_of(size) for size in BATCHES}


# --------------------------------------------------------------------------------------------------------- cold


def small(x: Any) -> Any:
    return jnp.sum(jnp.tanh(x) ** 2)


def cold_function(name: str) -> tuple[Callable, tuple[Any, ...]]:
    """A function of its parameters alone, and a point."""
    if name.startswith("small"):
        fun, args = small, (np.linspace(-1.0, 1.0, 100),)
    else:
        loss, batch = networks.make_loss(name.split()[0]), networks.data(0)
        batch = tuple(map(jnp.asarray, batch))
        fun, args = (lambda parameters: loss(parameters, *batch)), (networks.parameters(0),)
    args = jax.tree.map(jnp.asarray, args)
    return (jax.jit(fun) if name.endswith("jitted") else fun), args


CHECKERS: dict[str, Callable[[Callable, tuple[Any, ...]], Any]] = {
    "check_grad": lambda fun, args: jgs.check_grad(fun, args).raise_unless_correct(),
    "check_grads, rev": lambda fun, args: check_grads(fun, args, order=1, modes=["rev"]),
    "check_grads": lambda fun, args: check_grads(fun, args, order=1),
}


def cold_once(function: str, checker: str) -> None:
    """What a fresh process does: time the first check, and another one."""
    jax.config.update("jax_enable_x64", True)
    fun, args = cold_function(function)
    jax.block_until_ready(args)
    first, second = (seconds(lambda: CHECKERS[checker](fun, args)) for _ in range(2))
    print(json.dumps([first, second]))


def cold_section(times: int, write: bool) -> None:
    rows = []
    for function in ("tanh net", "tanh net, jitted", "gelu net", "small", "small, jitted"):
        found: dict[str, list[list[float]]] = {checker: [] for checker in CHECKERS}
        for _ in range(times):
            for checker, list_of_times in found.items():
                list_of_times.append(fresh(function, checker))
        first, second = np.median(np.array([found[checker] for checker in CHECKERS]), axis=1).T
        rows.append(
            [
                function,
                *(f"{a:.2f} ({1e3 * b:.0f} ms)" for a, b in zip(first, second, strict=True)),
                f"{first[0] / first[1]:.2f} (1)",
                f"{first[0] / first[2]:.2f} (1)",
            ]
        )
    header = [
        "function",
        *(f"`{checker}`, s" for checker in CHECKERS),
        "ratio to rev (target)",
        "ratio to both modes (target)",
    ]
    body = f"""
The first check of a function in a fresh process, from the call to the result, with all compilation but without the
import of JAX; in brackets the second check of the same function. float64 throughout, `jax.test_util.check_grads` with
`order=1`, and `modes=["rev"]` or the default of both modes. Medians of {times} processes each, taking turns. "net" is
the {"-".join(map(str, networks.SIZES))} network with batch {networks.BATCH}; "small" is `sum(tanh(x)²)` of 100 numbers;
"jitted" functions are wrapped in `jax.jit` by the user.

{table(header, rows)}
"""
    section("cold", "A first check", body, write=write)


def fresh(function: str, checker: str) -> list[float]:
    done = subprocess.run([sys.executable, __file__, "--once", function, checker], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


# ------------------------------------------------------------------------------------------------------- traces


class Counter:
    """A function that counts its calls: each is a trace, since compiled code does not come back to Python.

    With slots, since a check compiles anew when what a function reads from outside, attributes included, has changed.
    """

    __slots__ = ("__weakref__", "calls", "fun")

    def __init__(self, fun: Callable) -> None:
        self.fun, self.calls = fun, 0

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        return self.fun(*args)


def traces_section(write: bool) -> None:
    rows = []
    for name, check in {
        "check_grad": jgs.check_grad,
        "check_vjp": jgs.check_vjp,
        "check_jvp": jgs.check_jvp,
        "check_hvp": jgs.check_hvp,
    }.items():
        counter = Counter(networks.make_loss("tanh"))
        counts = []
        for seed in range(3):
            sizes = (16, 32, 10)
            before = counter.calls
            check(counter, (networks.parameters(seed, sizes=sizes), *networks.data(seed, sizes=sizes)))
            counts.append(counter.calls - before)
        rows.append([f"`{name}`", str(counts[0]), f"{counts[1]} (0)", f"{counts[2]} (0)"])
    body = f"""
How often Python runs the function (each run is a trace) in checks of the same function at three points of one shape.

{table(["check", "first point", "second point (target)", "third point (target)"], rows)}
"""
    section("traces", "Traces", body, write=write)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help="warm, cold, traces; default: all")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: a minute or two")
    parser.add_argument("--write", action="store_true", help="put the sections into benchmarks/RESULTS.md")
    parser.add_argument("--once", nargs=2, metavar=("function", "checker"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        cold_once(*options.once)
        return
    run = {
        "warm": lambda: warm_section(5 if options.quick else 15, options.write),
        "cold": lambda: cold_section(1 if options.quick else 5, options.write),
        "traces": lambda: traces_section(options.write),
    }
    if unknown := set(options.parts) - set(run):
        parser.error(f"unknown part {min(unknown)!r}; there are {', '.join(run)}")
    for part in options.parts or run:
        run[part]()


if __name__ == "__main__":
    main()
