"""What a traced program holds: its operations, its numbers, and the least precise of them."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal, Var

from jaxgradsweep._tree import is_inexact

ROUNDING = {"round", "floor", "ceil", "to integer", "nextafter", "reduce_precision"}  # operations that make staircases
SPREADING = {"shard_map", "psum", "psum2", "all_gather", "all_to_all", "axis_index", "ppermute", "sharding_constraint"}
TYING = {"sort", "top_k", "approx_top_k", "argmax", "argmin", "floor", "ceil", "round"}  # not sign: logsumexp asks it
TURNS = 100  # of a loop whose end is not known
CONVOLUTION = 50.0  # how much slower one is that is not compiled well
PRODUCTS = {"dot_general", "conv_general_dilated", "ragged_dot", "ragged_dot_general"}
# Bits of mantissa of the numbers that a matrix unit multiplies, by platform and precision; JAX documents them under
# `jax.lax.Precision`. What is not listed has all bits of its dtype. A GPU without TF32 does better than this says.
UNITS = {
    ("gpu", "DEFAULT"): 10,  # TF32
    ("gpu", "HIGH"): 10,
    ("tpu", "DEFAULT"): 7,  # bfloat16
    ("tpu", "HIGH"): 15,  # three products of bfloat16
}
# How the names of `jax.lax.DotAlgorithmPreset` begin; ANY stands for two formats of eight bits.
FORMATS = {"BF16": 7, "TF32": 10, "F16": 10, "ANY": 2}
FULL = 1000  # bits of a number that was not computed
OUTSIDE = ("callback", "ffi", "custom_call", "pallas")  # in the names of operations that JAX does not look into


@dataclasses.dataclass(frozen=True)
class Traits:
    """What the programs of a function and of its claim tell without being run.

    Attributes:
        inner_bits: bits of mantissa of the least precise number that is computed from the moving leaves.
        inner_count: how many numbers the smallest array of that precision holds: their roundings average out.
        rounds: whether the function rounds by itself (round, floor, casts to integers), and has no other reason for
            steps: neither a lower precision nor a call out of JAX.
        shorter: whether it computes in a lower precision inside than its arguments and outputs have, or calls out.
        calls_out: whether it calls what JAX does not look into.
        iterates: whether it has a loop that floating numbers end, or calls out: its values may move by jumps.
        claim_is_shorter: whether the claim computes in a lower precision than the function does.
        unsteady: whether Python draws other numbers each time it runs the function.
        convolves: whether it has convolutions.
        branches: whether it chooses between branches that hold such loops. A batch of points runs every branch, and a
            loop may never end for points that it is not meant for.
        product_bits: bits of mantissa of the least precise numbers that a matrix unit multiplies.
        spreads: whether it uses several devices by itself.
        ties: whether it puts floating numbers in order or makes steps of them: what happens where they are equal, or at
            a step, may not show along every line.
        work: about how many operations it takes to evaluate both.
    """

    inner_bits: int
    inner_count: int
    rounds: bool
    shorter: bool
    calls_out: bool
    iterates: bool
    claim_is_shorter: bool
    unsteady: bool
    branches: bool
    convolves: bool
    product_bits: int
    spreads: bool
    ties: bool
    work: float


def traits(program: Any, again: Any, claimed: Any, moving: int, bits: int) -> Traits:
    """The traits of a function and its claim.

    Args:
        program: closed jaxpr of the function; its first `moving` variables move.
        again: closed jaxpr of a second trace of it.
        claimed: closed jaxpr of the claim, in the same variables; None where it has none.
        moving: how many variables move.
        bits: bits of mantissa of the least precise output.
    """

    def least(program: Any) -> tuple[int, int]:
        return least_precise(program.jaxpr, {*program.jaxpr.invars[:moving]})

    (inner, count), known = least(program), operations(program)
    both = (program,) if claimed is None else (program, claimed)
    outside = any(word in name for name in known for word in OUTSIDE)
    return Traits(
        inner_bits=inner,
        inner_count=count,
        rounds=bool(known & ROUNDING) and not outside and inner >= bits,
        shorter=inner < bits or outside,
        calls_out=outside,
        iterates=outside or any(map(ends_on_a_number, equations(program))),
        claim_is_shorter=claimed is not None and least(claimed)[0] < inner,
        unsteady=not same_constants(again, program),
        branches=any(map(chooses_a_loop, (step for each in both for step in equations(each)))),
        convolves="conv_general_dilated" in known,
        product_bits=min(map(product_bits, equations(program)), default=FULL),
        spreads=not known.isdisjoint(SPREADING),
        ties=any(map(may_tie, equations(program))),
        work=np.inf if outside else sum(map(work, both)),
    )


def work(program: Any) -> float:
    """About how many operations it takes to run a jaxpr once, in units of a multiplication that is compiled well."""
    return sum(map(work_of, getattr(program, "jaxpr", program).eqns))


def work_of(step: Any) -> float:
    """About how many operations one equation takes."""
    name, inside = step.primitive.name, sum(map(work, inner_programs(step)))
    sizes = [float(np.prod(v.aval.shape)) for v in (*step.invars, *step.outvars) if hasattr(v.aval, "shape")]
    if inside:
        return inside * {"scan": step.params.get("length", 1), "while": TURNS}.get(name, 1)
    if name == "dot_general":
        contracted = [step.invars[0].aval.shape[axis] for axis in step.params["dimension_numbers"][0][0]]
        return float(np.prod(contracted, initial=1)) * sizes[-1]
    if name == "conv_general_dilated":
        return (
            CONVOLUTION * sizes[1] * sizes[-1] / step.invars[1].aval.shape[step.params["dimension_numbers"].rhs_spec[0]]
        )
    return max(sizes, default=0.0)


def ends_on_a_number(step: Any) -> bool:
    """Whether an equation is a loop whose end depends on floating numbers, as that of an iterative solver does."""
    if step.primitive.name != "while":
        return False
    return any(is_inexact(v.aval) for inner in equations(step.params["cond_jaxpr"]) for v in inner.invars)


def may_tie(step: Any) -> bool:
    """Whether an equation puts floating numbers in order, or makes steps of them."""
    return step.primitive.name in TYING and any(is_inexact(v.aval) for v in step.invars)


def chooses_a_loop(step: Any) -> bool:
    """Whether an equation chooses between branches of which one holds a loop that ends on a number."""
    branches = step.params["branches"] if step.primitive.name == "cond" else ()
    return any(ends_on_a_number(inner) for branch in branches for inner in equations(branch))


def inner_programs(step: Any) -> list[Any]:
    """The jaxprs, open or closed, that an equation holds."""
    parts = jax.tree.leaves(list(step.params.values()))
    return [part for part in parts if hasattr(getattr(part, "jaxpr", part), "eqns")]


def equations(program: Any) -> Iterator[Any]:
    """All equations of a jaxpr, open or closed, each followed by those inside it."""
    for step in getattr(program, "jaxpr", program).eqns:
        yield step
        for inner in inner_programs(step):
            yield from equations(inner)


def operations(program: Any) -> set[str]:
    """Names of the operations at any depth; a cast to integers is called "to integer"."""

    def name(step: Any) -> str:
        whole = all(jnp.issubdtype(v.aval.dtype, jnp.integer) for v in step.outvars if hasattr(v.aval, "dtype"))
        cast = step.primitive.name == "convert_element_type" and any(is_inexact(v.aval) for v in step.invars)
        return "to integer" if cast and whole else step.primitive.name

    return {name(step) for step in equations(program)}


def constants(program: Any) -> list[Any]:
    """The numbers that a closed jaxpr holds at any depth, always in the same order."""
    steps = list(equations(program))
    closed = [program, *(inner for step in steps for inner in inner_programs(step))]
    held = [value for each in closed for value in getattr(each, "consts", ())]
    return held + [v.val for step in steps for v in step.invars if isinstance(v, Literal)]


def same_constants(first: Any, second: Any) -> bool:
    """Whether two traces of a function hold the same numbers: Python may have drawn others.

    Integers, among them the seeds of random keys, are compared where the traces are alike in all else.
    """
    pairs = list(zip(constants(first), constants(second), strict=False))
    alike = len(constants(first)) == len(constants(second)) and all(kind(a) == kind(b) for a, b in pairs)
    return all(a is b or same_numbers(a, b) for a, b in pairs if alike or (is_inexact(a) and is_inexact(b)))


def kind(value: Any) -> Any:
    """Shape and dtype of a constant, or its type."""
    return (np.shape(value), value.dtype) if hasattr(value, "dtype") else type(value)


def same_numbers(a: Any, b: Any) -> bool:
    """Whether two constants are equal; what holds no numbers is not compared."""
    if isinstance(a, jax.Array) and jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    a, b = np.asarray(a), np.asarray(b)
    return not (is_inexact(a) or a.dtype.kind in "biu") or bool(np.array_equal(a, b, equal_nan=is_inexact(a)))


def least_precise(program: Any, moved: set[Any]) -> tuple[int, int]:
    """Bits of mantissa of the least precise floating numbers that a jaxpr computes from the variables in `moved`.

    And how many of them the smallest array holds.
    """
    found = [(FULL, 1)]
    for step in program.eqns:
        if not any(isinstance(v, Var) and v in moved for v in step.invars):
            continue
        moved |= set(step.outvars)
        for part in inner_programs(step):
            inner = getattr(part, "jaxpr", part)  # a closed jaxpr holds an open one
            found.append(least_precise(inner, set(inner.invars)))
        found += [(jnp.finfo(v.aval.dtype).nmant, v.aval.size) for v in step.outvars if is_inexact(v.aval)]
        if step.primitive.name == "reduce_precision":
            found.append((step.params["mantissa_bits"], step.outvars[0].aval.size))
        if (bits := product_bits(step)) < FULL:
            found.append((bits, min(v.aval.size for v in step.invars)))
    return min(found)


def product_bits(step: Any, platform: str | None = None) -> int:
    """Bits of mantissa of the numbers that a matrix product multiplies, where those are fewer than float32 has."""
    if step.primitive.name not in PRODUCTS or not all(is_inexact(v.aval) for v in step.invars):
        return FULL  # integers are multiplied exactly
    if any(jnp.finfo(v.aval.dtype).nmant > jnp.finfo(jnp.float32).nmant for v in step.invars):
        return FULL
    return unit_bits(step.params.get("precision"), platform or jax.default_backend())


def unit_bits(precision: Any, platform: str) -> int:
    """The same of a product's `precision`: one or two of `jax.lax.Precision`, an algorithm, or None."""
    if isinstance(precision, tuple):
        return min(unit_bits(each, platform) for each in precision)
    name = getattr(precision, "name", "DEFAULT")
    if platform == "cpu":  # computes all others in full, if it takes them
        return FORMATS["F16"] if name == "F16_F16_F16" else FULL
    if (bits := FORMATS.get(name.partition("_")[0])) is not None:
        return bits * 2 + 1 if name.endswith("_X3") else FULL if name[-3:] in ("_X6", "_X9") else bits
    return UNITS.get((platform, name), FULL)
