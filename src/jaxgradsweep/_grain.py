"""The grain of numbers: what the rounding of numbers to single precision may explain of an error.

A derivative may be right where numbers obey something that their rounding breaks: probabilities that add up to 1, a
quaternion of length 1. In single precision they obey it to 1e-7 only, and double precision sees the rest. That is told
from a mistake by moving these numbers by their own rounding: it changes as a whole, and a mistake does not.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun

from jaxgradsweep._claim import Called, Claim, scalar
from jaxgradsweep._fit import fit
from jaxgradsweep._instrument import Instrument, Look, grid_for
from jaxgradsweep._program import constants
from jaxgradsweep._store import Stopped
from jaxgradsweep._subject import Subject, structs_of
from jaxgradsweep._tree import HELD, MOVING, Same, is_inexact
from jaxgradsweep._verdict import Finding
from jaxgradsweep._wording import NOTES, Reason, Verdict

MOST = 1e-5  # a relative error up to here may come from numbers that were rounded to 6e-8 of themselves
GRAIN = 2.0**-23  # relative distance of neighbours in single precision
ROUND = 0xFFF  # a number with none of these bits of its mantissa is a round one, which nobody rounded
SHAKES = 2  # so many times are the numbers moved
CHANGES = 0.1  # an error that changes by less than this part of itself does not come from their rounding


def grained(instrument: Instrument, look: Look, finding: Finding) -> Finding:
    """The finding of an accused leaf, after asking whether the error comes from numbers in single precision."""
    subject, criteria = instrument.subject, look.criteria
    suits = finding.verdict is Verdict.WRONG and finding.reason is Reason.MISMATCH and abs(finding.error) <= MOST
    if not suits or criteria.rtol is not None or not subject.claim.integrable or subject.bits < np.finfo(float).nmant:
        return finding
    try:
        explained = change_with(instrument, look, np.array(finding.probes))
    except Stopped:
        raise
    except Exception:  # not every program runs from its trace, or at points beside the given one: the accusation stands
        return finding
    if explained is None:
        return finding
    instrument.notes.append(NOTES["grain"].format(leaf=finding.path or "the argument", off=abs(finding.error)))
    right = {"verdict": Verdict.CORRECT, "reason": Reason.CONVERGES, "advice": ""}
    return dataclasses.replace(finding, **right, tolerance=max(abs(finding.error), explained))


def change_with(instrument: Instrument, look: Look, rows: np.ndarray) -> float | None:
    """How far the error of some probes changes, relative, with numbers in single precision; None if it hardly does."""
    subject, criteria = instrument.subject, look.criteria
    error, bound = look.weighing.error[rows], look.weighing.bound[rows]
    steps, settings = grid_for(subject, instrument.settings), dataclasses.replace(instrument.settings, checkpoint=None)
    changes = []
    for moved in shaken(subject):
        again = Instrument(moved, settings, criteria, instrument.tick)
        sweep = again.measure(look.probes.rows(rows), steps, "rounded numbers")
        instrument.count(again.evaluations)
        found = fit(sweep)
        excess = np.abs(sweep.claimed - found.derivative - error) - bound - found.uncertainty
        changes.append(np.maximum(np.nan_to_num(excess), 0))
    if not changes or max(map(np.linalg.norm, changes)) < CHANGES * np.linalg.norm(error):
        return None
    return float(np.max(changes / look.weighing.scale[rows]))


def shaken(subject: Subject) -> Iterator[Subject]:
    """The subject with every number that was rounded to single precision moved to a neighbour, several times.

    Among them are the arguments, and what function and claim hold themselves, as far as their traces show it.
    """
    claim, point = subject.claim, subject.point
    traced = traces(claim, structs_of(point))
    numbers = [*point.moving, *point.held, *(number for program, _ in traced.values() for number in constants(program))]
    if not any(rounded(number).any() for number in numbers):
        return
    for seed in range(SHAKES):
        random = np.random.default_rng(seed)
        moved: dict[int, Any] = {}  # what function and claim share stays the same for both

        def shake(x: Any, random: np.random.Generator = random, moved: dict[int, Any] = moved) -> Any:
            if id(x) not in moved:
                moved[id(x)] = neighbour(x, random)
            return moved[id(x)]

        again = {name: replayed(claim.layout, *trace, shake) for name, trace in traced.items()}
        moving, held = (tuple(map(shake, arrays)) for arrays in (point.moving, point.held))
        yield dataclasses.replace(
            subject,
            claim=dataclasses.replace(claim, **again),
            point=dataclasses.replace(point, moving=moving, held=held),
        )


def traces(claim: Claim, known: tuple[Any, Any]) -> dict[str, tuple[ClosedJaxpr, Any]]:
    """Jaxprs of the function and of its gradient, with the structures of what they return.

    Nothing where not all that they hold would stand in them: custom rules are called by Python when they are needed.
    """
    if claim.kind != "grad" or claim.fun.layout or (claim.rule and claim.rule.layout) or claim.mode == "forward":
        return {}
    shapes = known[0], known[1][: claim.layout.kinds.count(HELD)]

    def gradient(moving: Any, held: Any) -> Any:
        if claim.rule is not None:
            return claim.ask(held, *claim.layout.join(moving, held))
        slope = jax.grad(lambda m: scalar(claim, m, held), holomorphic=claim.holomorphic)(list(moving))
        return claim.layout.derivative(slope)

    parts = {"fun": lambda m, h: claim.fun(h, *claim.layout.join(m, h)), "rule": gradient}
    return {name: jax.make_jaxpr(part, return_shape=True)(*shapes) for name, part in parts.items()}


def rounded(x: Any) -> np.ndarray:
    """Which numbers of an array are those of single precision, and no round ones."""
    if not is_inexact(x) or not getattr(x, "is_fully_addressable", True):
        return np.zeros(1, bool)
    values = parts_of(x)
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    if not np.array_equal(single, values, equal_nan=True):
        return np.zeros(1, bool)
    return np.isfinite(single) & (single.view(np.int32) & ROUND != 0)


def parts_of(x: Any) -> np.ndarray:
    """The real numbers of an array: of a complex one real parts, then imaginary parts."""
    return np.stack([np.real(x), np.imag(x)]) if np.iscomplexobj(x) else np.asarray(x)


def neighbour(x: Any, random: np.random.Generator) -> Any:
    """An array with every number that was rounded to single precision moved up or down by its rounding."""
    where = rounded(x)
    if not where.any():
        return x
    parts = parts_of(x)
    moved = np.where(where, parts * (1 + GRAIN * random.choice([-1, 1], parts.shape)), parts)
    return (moved[0] + 1j * moved[1] if np.iscomplexobj(x) else moved).astype(x.dtype)


def replayed(layout: Any, program: ClosedJaxpr, out: Any, change: Callable[[Any], Any]) -> Called:
    """A function of the same arguments from its trace, with other numbers where it holds some."""
    run, structure = jaxpr_as_fun(with_numbers(program, change)), jax.tree.structure(out)

    def fun(*args: Any) -> Any:
        pairs = list(zip(layout.treedef.flatten_up_to(args), layout.kinds, strict=True))
        arrays = [leaf for kind in (MOVING, HELD) for leaf, own in pairs if own == kind]
        return structure.unflatten(run(*arrays))

    return Called(Same(fun))


def with_numbers(program: Any, change: Callable[[Any], Any]) -> Any:
    """A jaxpr, open or closed, with the numbers changed that it holds at any depth."""
    if isinstance(program, ClosedJaxpr):
        return ClosedJaxpr(with_numbers(program.jaxpr, change), [change(number) for number in program.consts])
    if isinstance(program, (tuple, list)):
        return type(program)(with_numbers(part, change) for part in program)
    if not isinstance(program, Jaxpr):
        return program

    def changed(step: Any) -> Any:
        literals = [Literal(change(v.val), v.aval) if isinstance(v, Literal) else v for v in step.invars]
        return step.replace(
            invars=literals, params={name: with_numbers(value, change) for name, value in step.params.items()}
        )

    return program.replace(eqns=[changed(step) for step in program.eqns])
