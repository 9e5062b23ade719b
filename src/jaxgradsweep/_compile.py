"""How programs are compiled: a check of a small function spends its time in the compiler.

On a CPU, XLA's older way to fuse operations gives code that is as fast in half the time. Where one evaluation is little
work, code that is not optimised is there four times sooner, and hardly slower; and splitting it over 32 threads, as XLA
does, takes longer than to translate it.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jaxgradsweep._claim import Claim
from jaxgradsweep._request import TRACED
from jaxgradsweep._tree import wide_dtype

ALWAYS: dict[str, Any] = {"xla_cpu_use_fusion_emitters": False}
SMALL: dict[str, Any] = {"xla_backend_optimization_level": 0, "xla_cpu_parallel_codegen_split_count": 2}


class Program:
    """A function around a claim, compiled once for each shape. It raises a TypeError inside of another program.

    The code is kept and not what it was traced from, which may hold the user's functions.
    """

    def __init__(self, fun: Callable, options: dict[str, Any] | None) -> None:
        self.fun, self.options = fun, options
        self.known: dict[Any, Any] = {}
        self.needs: dict[int, int] = {}

    def __call__(self, *given: Any) -> Any:
        return self.compiled(given)(*given)

    def working_memory(self, given: tuple[Any, ...]) -> int:
        """The bytes that a call takes beside its arguments and results; 0 where the compiler does not tell."""
        code = self.compiled(given)
        if id(code) not in self.needs:
            told = code.memory_analysis()
            self.needs[id(code)] = 0 if told is None else int(told.temp_size_in_bytes)
        return self.needs[id(code)]

    def compiled(self, given: tuple[Any, ...]) -> Any:
        """The code for arguments like these."""
        leaves, structure = jax.tree.flatten(given)
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            raise TypeError(f"something that `fun` or the claim reads from outside {TRACED}")
        key = structure, wide_dtype(), tuple(map(signature, leaves))  # what is made inside has the widest precision
        if key not in self.known:
            self.known[key] = self.compile(given)
        return self.known[key]

    def compile(self, given: tuple[Any, ...]) -> Any:
        # JAX keeps what it traced for as long as the function lives, and constants of NumPy in the precision of then.
        once = functools.partial(self.fun)
        traced = jax.jit(once, compiler_options=self.options).trace(*given)
        held = [*traced.jaxpr.consts, *getattr(traced, "_consts", ())]  # the first is empty in newer releases of JAX
        if any(isinstance(value, Tracer) for value in held):
            raise TypeError(f"something that `fun` or the claim reads from outside {TRACED}")
        return traced.lower().compile(self.options)


def signature(leaf: Any) -> Any:
    """What code is compiled for: shape, dtype, and where a leaf lies."""
    placed = isinstance(leaf, jax.Array) and leaf.committed
    return jax.typeof(leaf), leaf.sharding if placed else None


def compiled(claim: Claim, fun: Callable) -> Program:
    """A program around a claim. `fun` must hold no more of it than the weak form."""
    return Program(fun, options(jax.default_backend(), small=claim.small))


@functools.cache
def options(backend: str, *, small: bool) -> dict[str, Any] | None:
    """Those options for fast compilation that this release of XLA knows, if any."""
    wanted = (ALWAYS | SMALL if small else ALWAYS) if backend == "cpu" else {}
    if wanted and not knows(wanted):
        wanted = {name: value for name, value in wanted.items() if knows({name: value})}
    return wanted or None


def knows(options: dict[str, Any]) -> bool:
    """Whether XLA takes some options."""
    try:
        jax.jit(jnp.negative, compiler_options=options).lower(0.0).compile()
    except Exception:  # an error of the runtime, of no class of its own
        return False
    return True
