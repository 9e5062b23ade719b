"""Gradients in which what flows through one operand of an operation has a wrong factor.

A forgotten term of a loss, a detached branch, a product rule with one factor, statistics that are taken for constants,
a residual path that is counted twice: in the graph of the function all of these are one edge with a factor that is not
one. The gradient is a linear function of that factor, so that one evaluation for each edge tells what the factor is.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgradsweep._cache import kept
from jaxgradsweep._claim import Claim
from jaxgradsweep._compile import compiled
from jaxgradsweep._interpreter import Place, evaluate, inputs_of, is_call, line_of, program_of, run_with, steps_of
from jaxgradsweep._pattern import nth
from jaxgradsweep._program import inner_programs
from jaxgradsweep._reference import Leaves, attempted, gradient_of
from jaxgradsweep._slopes import PLAIN
from jaxgradsweep._subject import Subject, structs_of

MOST_EDGES = 256  # so many are looked at
ALIGNED = 1e-3  # an edge is a candidate if all but so much of the error lies along what flows through it
WHOLE = 1e-9  # a factor is a whole number if it is one to this
Edge = tuple[Place, int]  # an operation, and which of its operands


@jax.custom_jvp
def gate(x: Any, factor: Any) -> Any:
    """X itself, with its change multiplied by a factor."""
    return x


gate.defjvp(lambda primals, tangents: (primals[0], (primals[1] * tangents[0]).astype(primals[0].dtype)))


def branches(subject: Subject, claimed: Leaves, leaves: Sequence[int]) -> Iterator[tuple[str, float, Leaves]]:
    """Operands that have another factor in the claim: which in words, the factor, and what follows for all leaves.

    Args:
        subject: what was checked.
        claimed: the claimed derivative.
        leaves: numbers of the leaves that it must explain.
    """
    claim = subject.claim.plain
    try:
        edges = edges_in(claim, structs_of(subject.point))
    except Exception:
        return
    if not edges:
        return
    flows, whole = _programs(claim, tuple(edge for edge, _ in edges))
    for table in attempted(lambda moving, held: [flows(list(moving), held, claimed)], subject):
        error, flow, both = table[0][:, :, list(leaves)].sum(axis=2).T
        with np.errstate(all="ignore"):
            left, excess = error - both**2 / flow, both / flow
        for number in np.flatnonzero((left <= ALIGNED**2 * error) & (error > 0) & np.isfinite(excess)):
            value = 1 + float(excess[number])
            factors = np.ones(len(edges))
            factors[number] = round(value) if abs(value - round(value)) < WHOLE else value
            for wrong in attempted(lambda moving, held: whole(list(moving), held, factors), subject):  # noqa: B023
                yield edges[number][1], float(factors[number]), wrong


@kept
def _programs(claim: Claim, edges: tuple[Edge, ...]) -> tuple[Callable, Callable]:
    """Compiled: what flows through each operand, and the gradient with a factor for each."""
    gradient = with_factors(claim, edges)
    return compiled(claim, functools.partial(products, gradient, len(edges))), compiled(claim, gradient)


@kept
def edges_in(claim: Claim, structs: Any) -> list[tuple[Edge, str]]:
    """The operands where paths meet in the program of F, and how to name them."""
    return edges_of(program_of(claim, *structs), inputs_of(*structs))


def with_factors(claim: Claim, edges: Sequence[Edge]) -> Callable[..., Any]:
    """The gradient of moving leaves, held arrays and a factor for each edge."""
    numbers = {edge: i for i, edge in enumerate(edges)}

    def gradient(moving: Any, held: Any, factors: Any) -> Any:
        def rule(step: Any, place: Place, values: Any) -> Any:
            gated = {i: numbers[place, i] for i in range(len(values)) if (place, i) in numbers}
            if not gated:
                return None
            values = [gate(x, factors[gated[i]]) if i in gated else x for i, x in enumerate(values)]
            return evaluate(step, place, values, rule)

        return gradient_of(claim, functools.partial(run_with, rule))(moving, held)

    return gradient


def products(gradient: Callable, count: int, moving: Any, held: Any, claimed: Any) -> jax.Array:
    """Of each edge and leaf: squares of the error and of what flows through it, and their product [edges, 3, leaves].

    The first turn, in which no edge is cut, gives the gradient itself.
    """

    def turn(right: Any, number: Any) -> tuple[Any, jax.Array]:
        cut = gradient(moving, held, jnp.where(jnp.arange(count) == number, 0.0, 1.0))
        right = [jnp.where(number < 0, new, old) for new, old in zip(cut, right, strict=True)]
        error = [x - y for x, y in zip(claimed, right, strict=True)]
        flow = [x - y for x, y in zip(right, cut, strict=True)]
        return right, jnp.stack([dots(error, error), dots(flow, flow), dots(error, flow)])

    nothing = [jnp.zeros_like(leaf) for leaf in moving]
    return jax.lax.scan(turn, nothing, jnp.arange(-1, count))[1][1:]


def dots(a: Sequence[Any], b: Sequence[Any]) -> jax.Array:
    """The inner product of each pair of leaves."""
    return jnp.stack([jnp.real(jnp.vdot(x, y)) for x, y in zip(a, b, strict=True)])


def edges_of(program: Any, active: Sequence[bool]) -> list[tuple[Edge, str]]:
    """Operands where two ways from the moving leaves meet, in words: what flows elsewhere flows through one of them."""
    found: list[tuple[Edge, str]] = []
    made_by: dict[Any, Any] = {}
    for place, step, depends in steps_of(program.jaxpr, active):
        made_by.update(dict.fromkeys(step.outvars, step))
        moving = [
            i
            for i, (v, depend) in enumerate(zip(step.invars, depends, strict=True))
            if depend and jnp.issubdtype(v.aval.dtype, jnp.inexact)
        ]
        if len(moving) > 1 and not inner_programs(step):
            found += [((place, i), in_words(step, i, made_by.get(step.invars[i]))) for i in moving]
    return found[-MOST_EDGES:]


def in_words(step: Any, operand: int, before: Any) -> str:
    """An operand of an operation: what makes it, and where that enters, with the lines of code that they come from."""
    lines = [line_of(each) if each is not None else None for each in (before, step)]
    words = [
        f"{name_of(each)}{f', {line}' if line else ''}" if each is not None else ""
        for each, line in zip((before, step), lines, strict=True)
    ]
    if not words[0] or lines[0] == lines[1]:
        return f"the {nth(operand + 1)} operand of {words[1]}"
    return f"the result of {words[0]}, as the {nth(operand + 1)} operand of {words[1]}"


def name_of(step: Any) -> str:
    """What an operation is called: a function that is compiled by itself has a name of its own."""
    name = step.primitive.name
    return str(step.params.get("name", name) if is_call(step) else PLAIN.get(name, name))
