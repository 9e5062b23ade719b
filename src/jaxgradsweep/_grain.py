"""The grain of numbers: what the rounding of numbers to single precision may explain of an error.

A derivative may be right where numbers obey something that their rounding breaks: probabilities that add up to 1, a
quaternion of length 1. In single precision they obey it to 1e-7 only, and double precision sees the rest. That is told
from a mistake by moving these numbers by their own rounding: it changes as a whole, and a mistake does not.
"""

import dataclasses
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun

from jaxgradsweep._claim import Called, Claim, fill_cotangent, moving_leaves, outputs, pulled_leaves
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
CHANGES = 0.25  # an error that changes by less than this part of itself does not come from their rounding


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

    Among them are the arguments, and what the function holds itself, as far as its trace shows it. What the claim alone
    holds is no data: its rounding is an error of the claim.
    """
    claim, point = subject.claim, subject.point
    traced = traces(subject)
    numbers = [*point.moving, *point.held, *(number for program in traced[:1] for number in constants(program))]
    data = {fingerprint(number) for number in numbers if rounded(number).any()}
    if not data:
        return
    for seed in range(SHAKES):

        def shake(x: Any, seed: int = seed) -> Any:
            return neighbour(x, seed) if rounded(x).any() and fingerprint(x) in data else x

        moving, held = (tuple(map(shake, arrays)) for arrays in (point.moving, point.held))
        again = replayed(claim, *(with_numbers(program, shake) for program in traced)) if traced else claim
        yield dataclasses.replace(subject, claim=again, point=dataclasses.replace(point, moving=moving, held=held))


def traces(subject: Subject) -> tuple[ClosedJaxpr, ...]:
    """Jaxprs of the leaves of the function and of its gradient or pullback, with all numbers that these hold.

    Nothing where not all would stand in them: custom rules are called by Python when they are needed.
    """
    claim = subject.claim
    carried = claim.fun.layout or (claim.rule and claim.rule.layout)
    if claim.kind not in ("grad", "vjp", "jvp") or carried or "forward" in claim.mode:
        return ()
    if claim.kind == "jvp" and claim.rule is not None:
        return ()
    moving, held = structs_of(subject.point)
    u = [jax.ShapeDtypeStruct(y.shape, y.dtype) for y in subject.outputs]

    def leaves(m: Any, h: Any) -> Any:
        return outputs(claim, m, h)

    def pulled(m: Any, h: Any, u: Any) -> Any:
        if claim.rule is None:
            return jax.vjp(lambda m: outputs(claim, m, h), list(m))[1](u)[0]
        if claim.kind == "grad":
            return moving_leaves(claim.layout, claim.ask(h, *claim.layout.join(m, h)))
        out, pull = claim.ask(h, *claim.layout.join(m, h))[:2]
        return pulled_leaves(claim.layout, pull(fill_cotangent(out, u)))

    return jax.make_jaxpr(leaves)(moving, held), jax.make_jaxpr(pulled)(moving, held, u)


def replayed(claim: Claim, function: ClosedJaxpr, pullback: ClosedJaxpr) -> Claim:
    """The claim with a function and a pullback that are run from their traces."""
    layout, run, pull = claim.layout, jaxpr_as_fun(function), jaxpr_as_fun(pullback)

    def arrays_of(args: Any) -> list[Any]:
        pairs = list(zip(layout.treedef.flatten_up_to(args), layout.kinds, strict=True))
        return [leaf for kind in (MOVING, HELD) for leaf, own in pairs if own == kind]

    def fun(*args: Any) -> Any:
        return run(*arrays_of(args))

    def gradient(*args: Any) -> Any:
        return layout.derivative(pull(*arrays_of(args), *(jnp.ones_like(y) for y in fun(*args))))

    def with_pullback(*args: Any) -> Any:
        def pulled(u: Any) -> Any:
            cotangents = layout.derivative(pull(*arrays_of(args), *u))
            return (cotangents,) if layout.single else cotangents

        return fun(*args), pulled

    kind, rule = ("grad", gradient) if claim.kind == "grad" else ("vjp", with_pullback)
    fresh = {"fun": Called(Same(fun)), "rule": Called(Same(rule)), "has_aux": False}
    return dataclasses.replace(claim, kind=kind, mode="", both_modes=False, **fresh)


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


def fingerprint(x: Any) -> int:
    """The same for arrays of equal numbers, whatever their shape and precision."""
    return zlib.crc32(np.ascontiguousarray(parts_of(x), float).view(np.uint8).data)


def neighbour(x: Any, seed: int) -> Any:
    """An array with every number that was rounded to single precision moved up or down by its rounding.

    Equal arrays move alike: what function and claim share stays the same for both.
    """
    where = rounded(x)
    if not where.any():
        return x
    parts = parts_of(x)
    random = np.random.default_rng([seed, fingerprint(x)])
    nearby = (parts * (1 + GRAIN * random.choice([-1, 1], parts.shape))).astype(np.float32)
    moved = np.where(where, nearby, parts)
    return (moved[0] + 1j * moved[1] if np.iscomplexobj(x) else moved).astype(x.dtype)


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
