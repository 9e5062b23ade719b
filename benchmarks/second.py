"""Second derivatives: the smallest error that is found, identities beside their rounding, and `check_grads`' price.

python benchmarks/second.py [errors] [identities] [grads] [--quick] [--write]
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
import jax.test_util
import numpy as np
from record import number, parser_of, run_parts, section, table

import jaxgradsweep as jgs
from jaxgradsweep import Law, Verdict

RANDOM = np.random.default_rng(0)
MATRIX = RANDOM.normal(size=(5, 5)) / 3
DATA = RANDOM.normal(size=(6, 5))
IMAGE, KERNEL = RANDOM.normal(size=(1, 1, 6, 6)), RANDOM.normal(size=(1, 1, 3, 3))


def logistic(x: Any) -> Any:
    return jnp.mean(jnp.log1p(jnp.exp(-DATA @ x)))


def gaussian_process(x: Any) -> Any:
    kernel = jnp.exp(-0.5 * jnp.sum(((DATA[:, None] - DATA[None]) * x) ** 2, -1)) + 0.1 * jnp.eye(6)
    return 0.5 * DATA[:, 0] @ jnp.linalg.solve(kernel, DATA[:, 0]) + 0.5 * jnp.linalg.slogdet(kernel)[1]


def network(params: Any) -> Any:
    return jnp.sum((jnp.tanh(DATA @ params["w1"] + params["b1"]) @ params["w2"]) ** 2)


def convolution(kernel: Any) -> Any:
    return jnp.sum(jnp.tanh(jax.lax.conv(jnp.asarray(IMAGE, kernel.dtype), kernel, (1, 1), "VALID")) ** 2)


def attention(x: Any) -> Any:
    return jnp.sum((jax.nn.softmax(x @ x.T) @ x) ** 3)


# name: (smooth function, where)
FUNCTIONS: dict[str, tuple[Callable, Any]] = {
    "sin exp": (lambda x: jnp.sum(jnp.sin(x) * jnp.exp(x / 3)), RANDOM.normal(size=4)),
    "Rosenbrock": (lambda x: jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2), RANDOM.normal(size=5)),
    "log-sum-exp": (lambda x: jax.nn.logsumexp(MATRIX @ x), RANDOM.normal(size=5)),
    "logistic loss": (logistic, RANDOM.normal(size=5)),
    "log-determinant": (lambda a: jnp.linalg.slogdet(a @ a.T + jnp.eye(4))[1], RANDOM.normal(size=(4, 4))),
    "Gaussian process": (gaussian_process, 1 + 0.1 * RANDOM.normal(size=5)),
    "network": (
        network,
        {"w1": RANDOM.normal(size=(5, 4)), "b1": RANDOM.normal(size=4), "w2": RANDOM.normal(size=(4, 2))},
    ),
    "convolution": (convolution, KERNEL),
    "attention": (attention, RANDOM.normal(size=(4, 3)) / 2),
    "distance": (lambda x: jnp.sqrt(jnp.sum((x[:, None] - x[None] + 0.5) ** 2)), RANDOM.normal(size=6)),
}


def product_of(fun: Callable, relative: float) -> Callable:
    """A product that is wrong by this relative error."""

    def hvp(primals: Any, tangents: Any) -> Any:
        right = jax.jvp(jax.grad(fun), primals, tangents)[1]
        return jax.tree.map(lambda h: (1 + relative) * h, right)

    return hvp


def at(point: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf, dtype), point)


def errors_section(names: list[str], write: bool) -> None:
    rows = []
    for label, relative, dtype, via in (
        ("float64", 1e-9, "float64", "gradient"),
        ("float32, native", 1e-3, "native", "gradient"),
        ("float64, from the function alone", 1e-6, "float64", "function"),
    ):
        found, accused, limits = [], [], []
        for name in names:
            fun, point = FUNCTIONS[name]
            args = (at(point, np.float32 if dtype == "native" else np.float64),)
            settings: dict[str, Any] = {"via": via, "dtype": dtype, "rtol": relative / 2}
            right, wrong = (jgs.check_hvp(fun, args, hvp=product_of(fun, e), **settings) for e in (0.0, relative))
            found.append(wrong.verdict is Verdict.WRONG)
            accused.append(right.verdict is Verdict.WRONG)
            limits.append(right.resolution)
            print(label, name, right.verdict.name, wrong.verdict.name, number(right.resolution), flush=True)
        rows.append(
            [
                label,
                number(relative),
                f"{sum(found)} of {len(names)} ({len(names)})",
                f"{sum(accused)} (0)",
                number(float(np.median(limits))),
                number(float(np.max(limits))),
            ]
        )
    header = [
        "how",
        "relative error of H v",
        "found (target)",
        "right ones accused (target)",
        "detection limit, median",
        "detection limit, worst",
    ]
    body = f"""
Products with the Hessian of {len(names)} smooth functions ({", ".join(names)}), right and too large by one relative
error, checked with `rtol` half of that.

{table(header, rows)}
"""
    section("second-errors", "The smallest error of a Hessian-vector product that is found", body, write=write)


# ---------------------------------------------------------------------------------------------------- identities


def tilted(fun: Callable, relative: float) -> Callable:
    """A product whose Hessian is not symmetric, by this relative error."""

    def hvp(primals: Any, tangents: Any) -> Any:
        right = jax.jvp(jax.grad(fun), primals, tangents)[1]
        return jax.tree.map(lambda h, v: h + relative * jnp.roll(h * jnp.sign(v + 10), 1), right, tangents[0])

    return hvp


def backward_of(fun: Callable, relative: float) -> Callable:
    """A VJP of the gradient that is too large by this relative error."""

    def vjp(*args: Any) -> Any:
        out, pull = jax.vjp(fun, *args)
        return out, lambda u: jax.tree.map(lambda g: (1 + relative) * g, pull(u))

    return vjp


def identities_section(names: list[str], write: bool) -> None:
    rows = []
    for law in (Law.SYMMETRY, Law.ADJOINT):
        for relative in (0.0, 1e-13):
            told = []
            for name in names:
                fun, point = FUNCTIONS[name]
                args = (at(point, np.float64),)
                if law is Law.SYMMETRY:
                    report = jgs.check_hvp(fun, args, hvp=tilted(fun, relative)).parts[0].report
                else:
                    report = jgs.check_vjp(jax.grad(fun), args, vjp=backward_of(jax.grad(fun), relative))
                told += [each for each in report.consistency if each.law is law]
                print(law, relative, name, told[-1], flush=True)
            rows.append(
                [
                    law.name.lower(),
                    number(relative),
                    f"{sum(not each.holds for each in told)} of {len(told)} ({len(names) if relative else 0})",
                    number(float(np.median([each.residual for each in told]))),
                    number(float(np.median([each.roundoff for each in told]))),
                    number(float(np.max([each.limit for each in told]))),
                ]
            )
    header = [
        "identity",
        "planted",
        "broken (target)",
        "off by, median",
        "measured rounding, median",
        "limit, largest",
    ]
    body = f"""
The identities that need no steps, on the same {len(names)} functions in float64: products and backward passes that are
right, and such with a relative asymmetry of 1e-13.

{table(header, rows)}
"""
    section("second-identities", "Asymmetry told from rounding", body, write=write)


# --------------------------------------------------------------------------------------------------------- grads

GRADS: dict[str, tuple[Callable, tuple[Any, ...]]] = {
    "sin exp": (FUNCTIONS["sin exp"][0], (FUNCTIONS["sin exp"][1],)),
    "network": (network, (FUNCTIONS["network"][1],)),
    "solve": (jnp.linalg.solve, (MATRIX + np.eye(5), DATA[0])),
    "attention": (attention, (FUNCTIONS["attention"][1],)),
    "matrix product": (lambda a, b: a @ b, (DATA, MATRIX)),
}
CHECKERS = {"jaxgradsweep": jgs.check_grads, "jax.test_util": jax.test_util.check_grads}
WARM = 9  # later checks of the same function


def once(function: str, checker: str) -> None:
    """What a fresh process does: time the first check of second order, and later ones."""
    jax.config.update("jax_enable_x64", True)
    fun, args = GRADS[function]
    args = jax.tree.map(jnp.asarray, args)
    times = []
    for _ in range(1 + WARM):
        begin = time.perf_counter()
        CHECKERS[checker](fun, args, 2)
        times.append(time.perf_counter() - begin)
    print(json.dumps([times[0], float(np.median(times[1:]))]))


def fresh(function: str, checker: str) -> list[float]:
    done = subprocess.run([sys.executable, __file__, "--once", function, checker], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def grads_section(times: int, write: bool) -> None:
    rows = []
    for function in GRADS:
        turns = [[fresh(function, checker) for checker in CHECKERS] for _ in range(times)]
        cold, warm = np.median(np.array(turns), axis=0).T
        rows.append(
            [
                function,
                *(f"{c:.2f} ({1e3 * w:.0f} ms)" for c, w in zip(cold, warm, strict=True)),
                f"{cold[0] / cold[1]:.2f} (1)",
                f"{warm[0] / warm[1]:.2f} (0.2)",
            ]
        )
    header = ["function", *(f"{name}, s" for name in CHECKERS), "ratio, first (target)", "ratio, later (target)"]
    body = f"""
`check_grads(f, args, order=2)` with both modes in a fresh process: the first check with all compilation, but without
the import of JAX, and in brackets the median of {WARM} later ones of the same function. float64. Medians of {times}
processes each, taking turns. JAX's own makes two evaluations for each of six derivatives; ours a sweep of 40 steps.

{table(header, rows)}
"""
    section("second-grads", "What `check_grads` of second order costs", body, write=write)


def main() -> None:
    parser = parser_of(__doc__, "errors, identities, grads")
    parser.add_argument("--quick", action="store_true", help="three functions and one process each")
    parser.add_argument("--once", nargs=2, metavar=("function", "checker"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        once(*options.once)
        return
    names = list(FUNCTIONS)[:3] if options.quick else list(FUNCTIONS)
    run = {
        "errors": lambda: errors_section(names, options.write),
        "identities": lambda: identities_section(names, options.write),
        "grads": lambda: grads_section(1 if options.quick else 5, options.write),
    }
    run_parts(parser, options.parts, run)


if __name__ == "__main__":
    main()
