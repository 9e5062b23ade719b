"""Run a function operation by operation, without the rules that somebody wrote, and with changes of one's own.

Rules of JAX itself are kept where nothing is changed.

The operations inside of calls, scans and conditionals are seen too; those of other loops are not, since JAX cannot
differentiate them backwards either.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from jaxgradsweep._claim import Claim, outputs

Place = tuple[int, ...]  # the number of an operation in its program, after those of the operations around it
Values = Sequence[Any]
Rule = Callable[[Any, Place, Values], Values | None]  # operation, place, operands: results, or None for its own

INLINED = ("jaxpr", "call_jaxpr")  # where an operation keeps the program that it calls
CALLS = {
    "jit",
    "pjit",
    "closed_call",
    "core_call",
    "remat",
    "remat2",
    "checkpoint",
    "custom_jvp_call",
    "custom_vjp_call",
}


def program_of(claim: Claim, moving: Any, held: Any) -> Any:
    """The closed jaxpr of F, whose results are its outputs in order."""
    return jax.make_jaxpr(lambda m, h: outputs(claim, m, h))(list(moving), held)


def run_with(rule: Rule | None, claim: Claim, moving: Any, held: Any) -> Any:
    """F, run operation by operation: without custom rules, and with results of one's own for some operations."""
    program = program_of(claim, moving, held)
    return interpret(program.jaxpr, program.consts, jax.tree.leaves((list(moving), held)), rule)


def interpret(program: Any, consts: Values, args: Values, rule: Rule | None, around: Place = ()) -> list[Any]:
    """Evaluate a jaxpr, with what it calls inlined."""
    known: dict[Any, Any] = {}

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else known[variable]

    known.update(zip(program.constvars, consts, strict=True))
    known.update(zip(program.invars, args, strict=True))
    for number, step in enumerate(program.eqns):
        place = (*around, number)
        values: Values = [read(v) for v in step.invars]
        out = rule(step, place, values) if rule is not None else None
        if out is None:
            out = evaluate(step, place, values, rule)
        known.update(zip(step.outvars, out, strict=True))
    return [read(v) for v in program.outvars]


def without_rules(step: Any, place: Place, values: Values) -> None:
    """The rule that changes nothing, but has JAX's own rules inlined as well."""


def evaluate(step: Any, place: Place, values: Values, rule: Rule | None) -> Values:
    """The results of one operation, those inside it being subject to the rule as well."""
    inner = called(step)
    if inner is not None and not (rule is None and is_rule_of_jax(step)):
        return interpret(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), values, rule, place)
    if step.primitive.name == "scan":
        return scanned(step, place, values, rule)
    if step.primitive.name == "cond":
        branches = [
            functools.partial(_branch, branch, rule, (*place, number))
            for number, branch in enumerate(step.params["branches"])
        ]
        return jax.lax.switch(values[0], branches, *values[1:])
    bound = step.primitive.get_bind_params(step.params)
    functions, params = bound if isinstance(bound, tuple) else ((), bound)  # before jax 0.10, and since
    out = step.primitive.bind(*functions, *values, **params)
    return out if step.primitive.multiple_results else [out]


def is_rule_of_jax(step: Any) -> bool:
    """Whether an operation is a function of JAX with a rule of its own, which is right where its formula has a tie."""
    inner = called(step)
    info = getattr(getattr(inner, "jaxpr", inner), "debug_info", None)
    return step.primitive.name.startswith("custom_") and "/jax/_src/" in str(getattr(info, "func_filename", ""))


def called(step: Any) -> Any:
    """The program that an operation does nothing but call; None if it is none of these."""
    return next((step.params[key] for key in INLINED if key in step.params), None) if is_call(step) else None


def is_call(step: Any) -> bool:
    return step.primitive.name in CALLS


def _branch(branch: Any, rule: Rule | None, place: Place, *values: Any) -> list[Any]:
    return interpret(branch.jaxpr, branch.consts, values, rule, place)


def scanned(step: Any, place: Place, values: Values, rule: Rule | None) -> Values:
    """The results of a scan."""
    consts, carry, rows = scan_parts(step, values)
    body = step.params["jaxpr"]

    def turn(carry: Any, row: Any) -> Any:
        out = interpret(body.jaxpr, body.consts, [*consts, *carry, *row], rule, place)
        carried = [jnp.asarray(new).astype(old.dtype) for new, old in zip(out, carry, strict=False)]
        return carried, out[len(carry) :]

    carry = [jnp.asarray(x) for x in carry]
    end, stacked = jax.lax.scan(turn, carry, rows, length=step.params["length"], reverse=step.params["reverse"])
    return [*end, *stacked]


def scan_parts(step: Any, values: Values) -> tuple[list[Any], list[Any], list[Any]]:
    """What stays the same in each turn of a scan, what is carried, and the rows that come one by one."""
    first, second = step.params["num_consts"], step.params["num_consts"] + step.params["num_carry"]
    return list(values[:first]), list(values[first:second]), list(values[second:])


def steps_of(program: Any, active: Sequence[bool], around: Place = ()) -> Iterator[tuple[Place, Any, list[bool]]]:
    """Every operation that `interpret` shows to its rule, and which operands depend on the `active` inputs.

    What a scan carries counts as dependent.
    """
    depends = dict(zip(program.invars, active, strict=True))
    for number, step in enumerate(program.eqns):
        place = (*around, number)
        operands = [not isinstance(v, Literal) and depends.get(v, False) for v in step.invars]
        yield place, step, operands
        depends.update(dict.fromkeys(step.outvars, any(operands)))
        inner = called(step)
        if inner is not None:
            yield from steps_of(getattr(inner, "jaxpr", inner), operands, place)
        elif step.primitive.name == "scan":
            consts, carry, rows = scan_parts(step, operands)
            yield from steps_of(step.params["jaxpr"].jaxpr, [*consts, *(any(operands) for _ in carry), *rows], place)
        elif step.primitive.name == "cond":
            for branch_number, branch in enumerate(step.params["branches"]):
                yield from steps_of(branch.jaxpr, operands[1:], (*place, branch_number))


def inputs_of(moving: Sequence[Any], held: Any) -> list[bool]:
    """Which of the inputs of `program_of` move."""
    return [True] * len(moving) + [False] * len(jax.tree.leaves(held))


def line_of(step: Any) -> str | None:
    """File, line and text of the code that an operation comes from: the innermost frame outside of libraries."""
    import linecache

    frames = getattr(step.source_info.traceback, "frames", ())
    for frame in frames:
        if not any(part in frame.file_name for part in ("site-packages", "dist-packages", "jaxgradsweep/_")):
            text = linecache.getline(frame.file_name, frame.line_num).strip()
            where = f"line {frame.line_num} of {frame.file_name.rpartition('/')[2]}"
            return f"{where}: `{text}`" if text else where
    return None
