"""What a check costs: warm, cold, in traces and in imports; and what a full numeric gradient costs beside others.

    python benchmarks/speed.py [warm] [cold] [traces] [full] [import] [--quick] [--write]

All times are wall time; what is compared runs in one go, taking turns where it takes no minutes. `full` compares with
PyTorch where that is installed.
"""

import argparse
import functools
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jacobi
import jax
import jax.numpy as jnp
import networks
import numdifftools
import numpy as np
import scipy.differentiate
from jax.test_util import check_grads
from record import number, parser_of, run_parts, section, table

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


MODELS: dict[str, Callable[[], networks.Model]] = {
    "tanh net": functools.partial(networks.perceptron, "tanh"),
    "gelu net": functools.partial(networks.perceptron, "gelu"),
    "relu net": functools.partial(networks.perceptron, "relu"),
    "convolutions": networks.convolutional,
    "transformer block": networks.transformer,
}
CHECK_ALONE: dict[str, Any] = {"locate": False, "consistency": False}  # no more than the sweep


QUICK_BATCHES, QUICK_BATCH_SIZES = (1, 32), (3,)


def warm_section(quick: bool, write: bool) -> None:
    times, batches, sizes = (5, QUICK_BATCHES, QUICK_BATCH_SIZES) if quick else (15, BATCHES, BATCH_SIZES)
    rows = [warm_row(name, times, batches, sizes) for name in MODELS]
    header = [
        "function", "parameters", "verdict", "evaluations", "check, ms (batch)", "bare loop, ms (batch)",
        "ratio of medians (target)", "ratio, quartiles of the turns",
    ]  # fmt: skip
    body = f"""
A second check of JAX's own gradient (float64, everything compiled, `locate=False, consistency=False`: no search for
what is wrong, and no identities but those that the sweep tells) against a jitted `lax.map` over batches of `vmap`ped
F(x + t v), with as many t as `report.evaluations` says (or so many as fill the batches, and the time in proportion).
"net" is the {"-".join(map(str, networks.SIZES))} network with batch {networks.BATCH}; the others are in
`benchmarks/networks.py`. Both with the batch that was the fastest for each: {", ".join(map(str, batches))} points in
the loop, and `batch_size` {", ".join(map(str, sizes))} or the default in the check; then {times} turns of both.
The check also computes the gradient, draws directions and writes the report. Where kinks call for a second look (relu),
it also integrates the gradient along segments, which is no evaluation of F and has no target.

{table(header, rows)}
"""
    section("warm", "A warm check", body, write=write)


def warm_row(name: str, times: int, batches: Sequence[int], batch_sizes: Sequence[int]) -> list[str]:
    loss, point, batch = MODELS[name]()
    sizes: dict[str, int | None] = {"default": None} | {str(size): size for size in batch_sizes}

    def check_with(size: int | None) -> Callable[[], jgs.Report]:
        return lambda: jgs.check_grad(loss, (point, *batch), batch_size=size, **CHECK_ALONE)

    checks = {words: check_with(size) for words, size in sizes.items()}
    reports = {words: check() for words, check in checks.items()}
    # x itself comes along with every batch, so that smaller ones evaluate more points. The fastest check counts.
    best_check = fastest(checks, max(3, times // 3))
    report = reports[best_check]
    loops = bare_loops(loss, point, batch, report.evaluations, batches)
    best_loop = fastest(loops, max(3, times // 3))
    check, loop = in_turns([checks[best_check], loops[best_loop]], times).T
    loop = loop * report.evaluations / whole_batches(report.evaluations, int(best_loop))
    quartiles = np.percentile(check / loop, [25, 75])
    return [
        name,
        str(networks.count(point)),
        f"{report.verdict.name}: {report.findings[0].reason.name}",
        str(report.evaluations),
        f"{1e3 * np.median(check):.0f} ({best_check})",
        f"{1e3 * np.median(loop):.0f} ({best_loop})",
        f"{np.median(check) / np.median(loop):.2f}" + ("" if name == "relu net" else " (1.05)"),
        f"{quartiles[0]:.2f} to {quartiles[1]:.2f}",
    ]


def whole_batches(evaluations: int, size: int) -> int:
    """About so many evaluations in batches of one size: a remainder would be compiled as a second body."""
    return max(round(evaluations / size), 1) * size


def fastest(funs: dict[str, Callable[[], Any]], times: int) -> str:
    for fun in funs.values():
        fun()
    return list(funs)[np.argmin(np.median(in_turns(list(funs.values()), times), axis=0))]


def bare_loops(
    loss: Callable, point: Any, batch: Any, evaluations: int, batches: Sequence[int]
) -> dict[str, Callable[[], Any]]:
    """Jitted loops over so many evaluations of the perturbed loss, one for each batch, in float64."""
    random = np.random.default_rng(0)
    direction = jax.tree.map(lambda leaf: random.normal(size=leaf.shape), point)

    def loop_of(size: int) -> Callable[[], Any]:
        @jax.jit
        def loop(point: Any, direction: Any, batch: Any, t: Any) -> Any:
            def at(t: Any) -> Any:
                return loss(jax.tree.map(lambda x, v: x + t * v, point, direction), *batch)

            return jax.lax.map(at, t, batch_size=size)

        count = whole_batches(evaluations, size)
        steps = np.exp2(-40 * np.arange(count) / count)

        def run() -> Any:
            with jax.enable_x64(True):
                return loop(point, direction, batch, steps).block_until_ready()

        return run

    return {str(size): loop_of(size) for size in batches}


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


# --------------------------------------------------------------------------------------------------------- full

WIDTHS = {10: (3, 2), 100: (8, 10), 1000: (48, 20), 10_000: (98, 100)}  # inputs and hidden units for n parameters
EXAMPLES = 32
PATIENCE = 60.0  # seconds: what would take longer is extrapolated from a smaller n
POINTS = 256  # evaluated at once for scipy, which asks for many points in one call
TARGETS = {"numdifftools": 100, "jacobi": 100, "torch, slow": 10}  # times faster at n = 1000


class Network:
    """The mean square of a network with one hidden layer, as a function of one vector of n parameters."""

    def __init__(self, n: int) -> None:
        self.inputs, self.hidden = WIDTHS[n]
        random = np.random.default_rng(n)
        first = random.normal(size=(self.hidden, self.inputs)) / np.sqrt(self.inputs)
        self.x = np.concatenate([first.ravel(), random.normal(size=2 * self.hidden) / np.sqrt(self.hidden)])
        self.data, self.wanted = random.normal(size=(EXAMPLES, self.inputs)), random.normal(size=EXAMPLES)
        self.compiled = jax.jit(self.loss)
        self.at_points = jax.jit(jax.vmap(self.loss))

    def loss(self, x: Any) -> Any:
        weights = x[: -2 * self.hidden].reshape(self.hidden, self.inputs)
        signal = jnp.tanh(self.data @ weights.T + x[-2 * self.hidden : -self.hidden])
        return jnp.mean((signal @ x[-self.hidden :] - self.wanted) ** 2)

    def value(self, x: np.ndarray) -> float:
        """One value by compiled code, for those that ask for one at a time."""
        return float(self.compiled(x))

    def values(self, x: np.ndarray) -> np.ndarray:
        """Values [...] at the points [n, ...], in batches of one size so that nothing is compiled anew."""
        points = np.moveaxis(x, 0, -1).reshape(-1, len(x))
        starts = range(0, len(points), POINTS)
        parts = [np.resize(points[start : start + POINTS], (POINTS, len(x))) for start in starts]
        return np.concatenate([self.at_points(part) for part in parts])[: len(points)].reshape(x.shape[1:])

    def in_torch(self, torch: Any) -> tuple[Callable[[Any], Any], Any]:
        """The same function and point in PyTorch."""
        data, wanted = torch.from_numpy(self.data), torch.from_numpy(self.wanted)

        def loss(x: Any) -> Any:
            weights = x[: -2 * self.hidden].reshape(self.hidden, self.inputs)
            signal = torch.tanh(data @ weights.T + x[-2 * self.hidden : -self.hidden])
            return torch.mean((signal @ x[-self.hidden :] - wanted) ** 2)

        return loss, torch.from_numpy(self.x).requires_grad_()


def by_torch(fast: bool) -> Callable[[Network], None]:
    def run(network: Network) -> None:
        import torch

        loss, x = network.in_torch(torch)
        assert torch.autograd.gradcheck(loss, (x,), fast_mode=fast)

    return run


# Each returns the gradient, if that is what it computes. `scipy.differentiate.derivative` is for functions of one
# variable; `jacobian` is the same for several.
GRADIENTS: dict[str, Callable[[Network], Any]] = {
    "jaxgradsweep": lambda network: jgs.estimate_grad(network.loss, (network.x,))[0],
    "numdifftools": lambda network: numdifftools.Gradient(network.value)(network.x),
    "jacobi": lambda network: jacobi.jacobi(network.value, network.x)[0],
    "scipy": lambda network: scipy.differentiate.jacobian(network.values, network.x).df,
    "torch, slow": by_torch(fast=False),
    "torch, fast": by_torch(fast=True),
}


def full_section(times: int, sizes: list[int], write: bool) -> None:
    torch = importlib.util.find_spec("torch") is not None
    spent: dict[str, list[float]] = {name: [] for name in GRADIENTS if torch or not name.startswith("torch")}
    rows = []
    with jax.enable_x64(True):
        for n in sizes:
            network = Network(n)
            truth = np.asarray(jax.grad(network.loss)(network.x))
            cells = [str(n)]
            for name in GRADIENTS:
                cells.append(
                    full_cell(name, network, truth, spent[name], n, times) if name in spent else "not installed"
                )
            rows.append(cells)
    if 1000 in sizes:
        rows.append(["times as long as ours at n = 1000 (target)", "1", *full_ratios(spent, sizes.index(1000))])
    body = f"""
Seconds for a whole numeric gradient of one function of n parameters, float64, and in brackets the largest error
relative to the largest component. The function is the mean square of a network with one hidden layer on {EXAMPLES}
examples. `estimate_grad`, `numdifftools.Gradient`, `jacobi.jacobi` (which goes through the components as functions of
one variable) and `scipy.differentiate.jacobian` come with error bars; `torch.autograd.gradcheck` has none, and includes
its own derivative of the same network in PyTorch. All with their defaults, and after a first call: the median of
{times} runs, or that first call where it takes longer than {PATIENCE / 10:g} s. The others get compiled JAX code: one
call for each point, or for scipy, which asks for many points at once, one for {POINTS}. "~" is extrapolated in
proportion to n, where more than {PATIENCE:g} s are to be expected.

{table(["n", *GRADIENTS], rows)}
"""
    packages = ("numdifftools", "jacobi", "scipy", *(("torch",) if torch else ()))
    section("full", "A whole numeric gradient", body, packages=packages, write=write)


def full_cell(name: str, network: Network, truth: np.ndarray, spent: list[float], n: int, times: int) -> str:
    """Time and error of one method; the time is added to those that it took for smaller n."""
    before = list(WIDTHS)[len(spent) - 1] if spent else None
    if name != "jaxgradsweep" and n > 1000:
        return "-"
    if before is not None and (expected := spent[-1] * n / before) > PATIENCE and name != "jaxgradsweep":
        spent.append(expected)
        return f"~{expected:.0f}"
    if name == "scipy":
        network.values(network.x[:, None])
    elif name != "jaxgradsweep":
        network.value(network.x)
    found: list[Any] = []
    walls = [seconds(lambda: found.append(GRADIENTS[name](network)))]
    if walls[0] < PATIENCE / 10:  # else the first call, with what it compiles, is all there is
        walls = [seconds(lambda: GRADIENTS[name](network)) for _ in range(times)]
    spent.append(float(np.median(walls)))
    error = "" if found[0] is None else f" ({number(np.max(np.abs(found[0] - truth)) / np.max(np.abs(truth)))})"
    return f"{number(spent[-1])}{error}"


def full_ratios(spent: dict[str, list[float]], index: int) -> list[str]:
    cells = []
    for name in list(GRADIENTS)[1:]:
        target = f" ({TARGETS[name]})" if name in TARGETS else ""
        cells.append(number(spent[name][index] / spent["jaxgradsweep"][index]) + target if name in spent else "-")
    return cells


# ------------------------------------------------------------------------------------------------------- import

IMPORT = """
import sys, time
begin = time.perf_counter()
import jax
between = time.perf_counter()
import jaxgradsweep
end = time.perf_counter()
print(between - begin, end - between, *(name in sys.modules for name in ("matplotlib", "rich")))
"""


def import_section(times: int, write: bool) -> None:
    walls, loaded = [], ["", ""]
    for _ in range(times):
        done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
        *both, matplotlib, rich = done.stdout.split()
        walls.append([1e3 * float(wall) for wall in both])
        loaded = [matplotlib, rich]
    (of_jax, beyond), (low, high) = np.median(walls, axis=0), np.percentile(np.array(walls)[:, 1], [25, 75])
    matplotlib, rich = ("yes" if name == "True" else "no" for name in loaded)
    row = [f"{of_jax:.0f}", f"{beyond:.0f} (30)", f"{low:.0f} to {high:.0f}", f"{matplotlib} (no)", rich]
    header = [
        "`import jax`, ms", "`import jaxgradsweep` after it, ms (target)", "quartiles", "imports matplotlib (target)",
        "imports rich",
    ]  # fmt: skip
    body = f"""
Medians of {times} fresh processes, with all files in the cache of the file system.

{table(header, [row])}
"""
    section("import", "The import", body, write=write)


def main() -> None:
    parser = parser_of(__doc__, "warm, cold, traces, full, import")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions and batches: some minutes")
    parser.add_argument("--once", nargs=2, metavar=("function", "checker"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        cold_once(*options.once)
        return
    run = {
        "warm": lambda: warm_section(options.quick, options.write),
        "cold": lambda: cold_section(1 if options.quick else 5, options.write),
        "traces": lambda: traces_section(options.write),
        "full": lambda: full_section(
            1 if options.quick else 5, list(WIDTHS)[: 3 if options.quick else 4], options.write
        ),
        "import": lambda: import_section(3 if options.quick else 15, options.write),
    }
    run_parts(parser, options.parts, run)


if __name__ == "__main__":
    main()
