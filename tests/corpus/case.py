"""One case of the corpus: a function, a point, a claim, and which answers to it are right."""

import dataclasses
from collections.abc import Callable
from typing import Any

CORRECT, WRONG, UNRESOLVED = "CORRECT", "WRONG", "UNRESOLVED"
F64, F32, F16, BF16 = "float64", "float32", "float16", "bfloat16"

# What may be answered by default to a case of each kind.
ANSWERS = {
    "right": {CORRECT},  # the claim is the derivative at the point
    "wrong": {WRONG},  # it is not
    "kink": {UNRESOLVED},  # one-sided derivatives differ, or the slope is infinite: there is no derivative
    "jump": {UNRESOLVED},  # the function jumps at the point, or everywhere
    "noise": {UNRESOLVED},  # the function is too noisy, or changes between two calls
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One case.

    Attributes:
        name: unique; the part before the first dot is a family in short.
        make: `make(dtype)` returns `(fun, args)` or `(fun, args, claimed)`, with arrays of that dtype. Only `args[0]`
            is differentiated. `claimed` is None (JAX's own derivative of `fun`, with any custom rule inside), a
            callable with `fun`'s signature that returns the gradient, or the gradient's values.
        family: what it is about, in words.
        kind: a key of `ANSWERS`.
        dtypes: in which it can be made. Make float64 with x64 on, all others with x64 off.
        answers: the verdicts that are right; by default those of the kind.
        undecidable: dtypes in which UNRESOLVED is right too: the signal lies under the rounding.
        reasons: names of the reasons that explain an UNRESOLVED rightly; empty: any.
        order: 2 if the derivative of the gradient is to be checked instead.
        modes: the modes of differentiation that the function supports; the first is the one to check.
        holomorphic: whether input and output are complex and the claim is the complex derivative.
        approximate: the claim is right to about this relative error only.
        error: relative error of a wrong claim over the whole gradient, where it is known.
        cause: what the mistake is, in words.
        only_at: the only wrong components, as (leaf, index) pairs.
        twin: name of the right case of this wrong one, or the other way round.
        exact: the function in mpmath, of `args` with arrays of mpf, where there is one.
        truth: returns the trusted derivative.
        source: where the case is from.
        note: anything else.
        requires: packages that `make` imports.
    """

    name: str
    make: Callable[[str], tuple[Any, ...]]
    family: str
    kind: str = "right"
    dtypes: tuple[str, ...] = (F64, F32)
    answers: frozenset[str] = frozenset()
    undecidable: tuple[str, ...] = ()
    reasons: frozenset[str] = frozenset()
    order: int = 1
    modes: tuple[str, ...] = ("rev", "fwd")
    holomorphic: bool = False
    approximate: float = 0.0
    error: float | None = None
    cause: str = ""
    only_at: tuple[tuple[str, tuple[int, ...]], ...] = ()
    twin: str | None = None
    exact: Callable[..., Any] | None = None
    truth: Callable[[], Any] | None = None
    source: str = ""
    note: str = ""
    requires: tuple[str, ...] = ()

    def expected(self, dtype: str) -> frozenset[str]:
        """The verdicts that are right in this precision."""
        answers = self.answers or frozenset(ANSWERS[self.kind])
        return answers | {UNRESOLVED} if dtype in self.undecidable else answers

    def problem(self, dtype: str) -> tuple[Callable[..., Any], tuple[Any, ...], Any]:
        """`fun`, `args` and `claimed`."""
        fun, args, *claimed = self.make(dtype)
        return fun, args, claimed[0] if claimed else None


class Collection(list[Case]):
    """Cases of one module, each name once."""

    def add(self, name: str, make: Callable[[str], tuple[Any, ...]], family: str, **details: Any) -> None:
        """Add a case."""
        if any(case.name == name for case in self):
            raise ValueError(f"two cases are named {name!r}")
        self.append(Case(name=name, make=make, family=family, **details))

    def case(self, name: str, family: str, **details: Any) -> Callable[[Callable], Callable]:
        """Add the decorated function as `make`."""

        def decorate(make: Callable) -> Callable:
            self.add(name, make, family, **details)
            return make

        return decorate
