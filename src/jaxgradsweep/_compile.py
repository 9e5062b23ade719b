"""How programs are compiled: a check of a small function spends its time in the compiler.

On a CPU, XLA's older way to fuse operations gives code that is as fast in half the time. Where one evaluation is little
work, code that is not optimised is there four times sooner, and hardly slower.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jaxgradsweep._claim import Claim
from jaxgradsweep._request import TRACED

NESTED = "top-level `jax.jit`"  # in what JAX says of a program with options that is run inside of another
ALWAYS: dict[str, Any] = {"xla_cpu_use_fusion_emitters": False}
SMALL: dict[str, Any] = {"xla_backend_optimization_level": 0}


def compiled(claim: Claim, fun: Callable) -> Callable:
    """`jax.jit(fun)` for a program around a claim; it raises a TypeError inside of another program.

    Only the outermost `jit` may have options of its own, so that these cannot be nested.
    """
    program = jax.jit(fun, compiler_options=options(jax.default_backend(), small=claim.small))

    def run(*given: Any) -> Any:
        try:
            found = program(*given)
        except ValueError as error:
            if NESTED not in str(error):
                raise
            found = None
        if found is None or any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(found)):
            raise TypeError(f"something that `fun` or the claim reads from outside {TRACED}")
        return found

    return run


@functools.cache
def options(backend: str, *, small: bool) -> dict[str, Any] | None:
    """Those options for fast compilation that this release of XLA knows, if any."""
    wanted = (ALWAYS | SMALL if small else ALWAYS) if backend == "cpu" else {}
    return {name: value for name, value in wanted.items() if knows({name: value})} or None


def knows(options: dict[str, Any]) -> bool:
    """Whether XLA takes some options."""
    try:
        jax.jit(jnp.negative, compiler_options=options).lower(0.0).compile()
    except Exception:  # an error of the runtime, of no class of its own
        return False
    return True
