"""A claim at a point, ready to be measured: arguments split, output and derivative inspected, evaluation chosen."""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxgradsweep._cache import kept
from jaxgradsweep._claim import (
    MODES,
    Called,
    Claim,
    fill_cotangent,
    fill_tangent,
    linearise,
    moving_leaves,
    outputs,
    primal,
    pulled_leaves,
)
from jaxgradsweep._program import Traits, constants, traits
from jaxgradsweep._pure import as_tree, carry
from jaxgradsweep._request import captured, check_hessian, check_leaves, check_output, check_real, check_values
from jaxgradsweep._stale import renewed
from jaxgradsweep._tree import Point, Same, is_inexact, keys_of, map_arrays, split, wide_dtype, widen
from jaxgradsweep._wording import KEEPS, NOT_TRACED, NOTES

LITTLE = 1e5  # operations of one evaluation that run, compiled fast, in less time than it takes to compile well
NOT_TRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


@dataclasses.dataclass(frozen=True)
class Subject:
    """A claim at a point.

    Attributes:
        claim: what is compiled.
        point: where.
        values: the derivative, where it is given as numbers.
        outputs: shapes and dtypes of the function's inexact outputs; for an HVP, of its gradient.
        output_paths: their names.
        claim_dtypes: of the claimed derivative, where that is known.
        traits: what the traced programs tell.
        dtypes: of the moving leaves as the caller passed them.
        notes: what the caller may not expect.
    """

    claim: Claim
    point: Point
    values: tuple[Any, ...]
    outputs: tuple[Any, ...]
    output_paths: tuple[str, ...]
    claim_dtypes: tuple[Any, ...]
    traits: Traits
    dtypes: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def output_dtypes(self) -> tuple[Any, ...]:
        """Of the function's inexact outputs."""
        return tuple(y.dtype for y in self.outputs)

    @property
    def arrays(self) -> tuple[Any, Any, Any]:
        """What the compiled programs take."""
        return self.point.moving, self.point.held, self.values

    @property
    def bits(self) -> int:
        """Bits of mantissa of the least precise moving leaf or output."""
        leaves = [jnp.result_type(leaf) for leaf in self.point.moving]
        return min(jnp.finfo(dtype).nmant for dtype in [*leaves, *self.output_dtypes])

    @property
    def eps(self) -> float:
        """Spacing at 1 of the least precise output."""
        return max(float(jnp.finfo(dtype).eps) for dtype in self.output_dtypes)

    @property
    def inner(self) -> float:
        """Spacing at 1 of what is computed inside, where that is less precise than the leaves and outputs; else 0."""
        inside = self.traits.inner_bits
        return 2.0**-inside if inside < self.bits else 0.0

    @property
    def resting(self) -> float:
        """What may stand still since it is rounded inside, as a part of its value: less where many roundings add up."""
        return self.inner / max(1, self.traits.inner_count) ** 0.5

    @property
    def claim_bits(self) -> int:
        """Bits of mantissa of the least precise leaf of the claimed derivative."""
        return min((jnp.finfo(dtype).nmant for dtype in self.claim_dtypes), default=self.bits)


def prepare(
    kind: str,
    fun: Callable,
    args: tuple[Any, ...],
    numbers: tuple[int, ...],
    *,
    single: bool,
    rule: Any,
    dtype: str,
    has_aux: bool = False,
    holomorphic: bool = False,
) -> Subject:
    """Make a subject. Call it inside `precision`.

    Raises:
        TypeError: The output does not suit the kind of check.
        ValueError: The claimed derivative has another structure or shape than the arguments.
    """
    shipped = split(args, numbers, single=single).dtypes
    by_value = rule is not None and not callable(rule)

    def attempt(hold_static: bool) -> tuple[Claim, Point]:
        point = split(args, numbers, single=single, hold_static=hold_static)
        called, read = [], []
        for each in (fun, rule) if callable(rule) else (fun,):
            layout, arrays = (None, ()) if hold_static else carry(each)
            called.append(Called(Same(type(as_tree(each)) if layout else each), layout, len(point.held)))
            inside = [type(as_tree(each)).__call__, *(leaf.value for leaf in layout.statics)] if layout else [each]
            read.append(tuple(inside))
            point = dataclasses.replace(point, held=(*point.held, *arrays))
        by_fun, *by_rule = captured(*read)
        claim = Claim(
            kind=kind,
            fun=called[0],
            rule=called[1] if callable(rule) else None,
            layout=point.layout,
            has_aux=has_aux,
            holomorphic=holomorphic,
            by_value=by_value,
            captured=by_fun,
            captured_by_rule=sum(by_rule, ()),
            matmul=jax.config.jax_default_matmul_precision,  # pyright: ignore[reportAttributeAccessIssue]
        )
        return claim, map_arrays(widen, point) if dtype == "float64" else point

    claim, point = attempt(hold_static=False)
    stale = renewed(claim.reads)
    if kind == "curvature":
        check_real(point, '`via="function"`', '`via="gradient"`')
    try:
        seen = inspect(claim, structs_of(point), wide_dtype())
    except NOT_TRACEABLE:
        claim, point = attempt(hold_static=True)
        try:
            seen = inspect(claim, structs_of(point), wide_dtype())
        except NOT_TRACEABLE as error:
            error.add_note(NOT_TRACED)
            raise
    derivative, notes = seen.derivative, (*([NOTES["stale"]] if stale else []), *seen.notes)
    held = {
        "fun": claim.fun,
        "rule": seen.claim.rule and claim.rule,
        "layout": claim.layout,
        "captured": claim.captured,
        "captured_by_rule": claim.captured_by_rule,
    }
    asked, claim = claim, dataclasses.replace(seen.claim, **held)
    values: list[Any] = []
    if by_value:
        values = check_hessian(rule, point) if claim.of_hessian else check_values(rule, point)
    elif claim.by_value and callable(rule):  # the rule cannot be traced: ask it once
        values = check_values(asked.ask(point.held, *claim.layout.join(point.moving, point.held)), point)
    elif derivative is not None:
        check_leaves(f"the derivative that `{kind}` returned", derivative, point)
    given = [jnp.result_type(leaf) for leaf in (values or derivative or [])]
    if values and dtype == "float64":
        values = [widen(value) for value in values]
    if keys := [*keys_of("args", args), *keys_of("fun", as_tree(fun))]:
        notes = (NOTES["keys"].format(leaves=", ".join(keys)), *notes)
    floating = [i for i, each in enumerate(args) if any(map(is_inexact, jax.tree.leaves(each)))]
    if kind in ("vjp", "jvp") and single and len(floating) > 1:  # a gradient is often wanted of some arguments only
        notes = (NOTES["others"].format(number=numbers[0], all=tuple(floating)), *notes)
    if point.fixed:
        notes = (NOTES["fixed"].format(leaves=", ".join(point.fixed)), *notes)
    if seen.traits.product_bits < jnp.finfo(jnp.float32).nmant:
        bits = seen.traits.product_bits
        notes = (*notes, NOTES["matmul"].format(bits=bits, error=2.0 ** -(bits + 1)))
    return Subject(
        claim=claim,
        point=point,
        values=tuple(values),
        outputs=tuple(seen.outputs),
        output_paths=tuple(f"output{path}" for path in (point.paths if kind == "hvp" else seen.paths)),
        claim_dtypes=tuple(given),
        traits=seen.traits,
        dtypes=shipped,
        notes=notes,
    )


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What tracing tells without computing."""

    claim: Claim
    outputs: list[Any]
    paths: list[str]
    derivative: list[Any] | None
    traits: Traits
    notes: tuple[str, ...]


def structs_of(point: Point) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Shapes and dtypes of what moves and of what is held fixed: what a program is traced with."""

    def shape(leaf: Any) -> Any:
        aval = jax.typeof(jnp.asarray(leaf)) if isinstance(leaf, (float, complex)) else leaf
        return jax.ShapeDtypeStruct(
            np.shape(aval), jax.dtypes.canonicalize_dtype(aval.dtype, allow_extended_dtype=True)
        )

    return tuple(map(shape, point.moving)), tuple(map(shape, point.held))


@kept
def inspect(claim: Claim, shapes: Any, wide: Any) -> Inspection:
    """Trace once, without computing: how to evaluate the claim, its outputs' shapes and its derivative's.

    `wide` is the widest precision that is enabled: what is made inside has it.
    """
    moving, held = list(shapes[0]), shapes[1]
    first, out = jax.make_jaxpr(lambda m, h: primal(claim, m, h), return_shape=True)(moving, held)
    check_output(claim, out)
    paths = [jax.tree_util.keystr(path) for path, y in jax.tree_util.tree_flatten_with_path(out)[0] if is_inexact(y)]
    notes: list[str] = []
    derivative = traced = None
    if claim.kind == "hvp" and (claim.rule is not None or claim.by_value) and moving:
        claim = _mode_of_gradient(claim, moving, held, notes)
    if claim.rule is not None:
        try:
            traced, derivative = jax.make_jaxpr(lambda m, h: _derivative(claim, m, h), return_shape=True)(moving, held)
        except NOT_TRACEABLE:
            if claim.kind != "grad":
                raise
            notes.append(NOTES["untraceable"])
            claim = dataclasses.replace(claim, by_value=True, rule=None)
    elif not claim.by_value and moving:
        claim, traced = _choose_mode(claim, moving, held, notes)
    program, found = jax.make_jaxpr(lambda m, h: outputs(claim, m, h), return_shape=True)(moving, held)
    again = program if claim.kind == "hvp" else first
    if holds_traced(program) and not holds_traced(again):
        raise TypeError(KEEPS)
    known = traits(program, again, traced, len(moving), min(jnp.finfo(y.dtype).nmant for y in found))
    claim = dataclasses.replace(claim, calls_out=known.calls_out, small=known.work <= LITTLE)
    if not moving:
        return Inspection(claim, found, paths, derivative, known, tuple(notes))
    if known.branches:
        notes.append(NOTES["branches"])
        return Inspection(dataclasses.replace(claim, vectorised=False), found, paths, derivative, known, tuple(notes))
    try:
        batched = [jax.ShapeDtypeStruct((2, *leaf.shape), leaf.dtype) for leaf in moving]
        jax.eval_shape(lambda m, h: jax.vmap(lambda x: outputs(claim, x, h))(m), batched, held)
    except NotImplementedError:
        notes.append(NOTES["no vmap"])
        claim = dataclasses.replace(claim, vectorised=False)
    return Inspection(claim, found, paths, derivative, known, tuple(notes))


def holds_traced(program: Any) -> bool:
    """Whether a jaxpr holds a value of another trace."""
    return any(isinstance(value, Tracer) for value in constants(program))


def _choose_mode(claim: Claim, moving: Any, held: Any, notes: list[str]) -> tuple[Claim, Any]:
    """JAX's own derivative in the first of the modes that the function has; and its jaxpr."""

    def trace(claim: Claim) -> Any:
        def paired(m: Any, h: Any) -> Any:
            out, pairing = linearise(claim, m, h, ())
            return pairing(m, [jnp.ones_like(y) for y in (m if claim.kind == "curvature" else out)])

        if "forward" in claim.mode:  # a custom VJP inside refuses forward mode only when the program is lowered
            traced = jax.jit(paired).trace(moving, held)
            traced.lower()
            return traced.jaxpr
        return jax.make_jaxpr(paired)(moving, held)

    first, *others = [dataclasses.replace(claim, mode=mode) for mode in MODES[claim.kind]]
    try:
        return first, trace(first)
    except (TypeError, ValueError, NotImplementedError) as error:
        for other in others:
            with contextlib.suppress(Exception):
                traced = trace(other)
                notes.append(NOTES["mode"].format(missing=first.mode, used=other.mode))
                return other, traced
        raise error from None


def _mode_of_gradient(claim: Claim, moving: Any, held: Any, notes: list[str]) -> Claim:
    """A claimed Hessian is held against differences of the gradient: in reverse mode, or in forward mode if need be."""
    reverse, forward = (dataclasses.replace(claim, mode=f"forward over {mode}") for mode in ("reverse", "forward"))
    try:
        jax.eval_shape(lambda m, h: outputs(reverse, m, h), moving, held)
    except (TypeError, ValueError, NotImplementedError) as error:
        try:
            jax.jit(lambda m, h: outputs(forward, m, h)).lower(moving, held)
        except Exception:
            raise error from None
        notes.append(NOTES["mode"].format(missing="reverse", used="forward"))
        return forward
    return reverse


def _derivative(claim: Claim, moving: Any, held: Any) -> list[Any] | None:
    """The leaves that the user's rule returns, where they must look like the point."""
    args = claim.layout.join(moving, held)
    if claim.kind == "grad":
        gradient = claim.ask(held, *args)
        return _named(lambda: moving_leaves(claim.layout, gradient))
    if claim.kind == "vjp":
        out, pull = claim.ask(held, *args)[:2]
        ones = [jnp.ones_like(y) for y in jax.tree.leaves(out) if is_inexact(y)]
        cotangents = pull(fill_cotangent(out, ones))
        return _named(lambda: pulled_leaves(claim.layout, cotangents))
    tangent = fill_tangent(claim.layout, moving, held)
    if claim.of_hessian:
        product = claim.ask(held, args, tangent)
        return _named(lambda: moving_leaves(claim.layout, product))
    value, change = claim.ask(held, args, tangent)[:2]
    for path, y in jax.tree_util.tree_flatten_with_path(value)[0]:
        if is_inexact(y):
            _same_shape(path, y, change)
    return None


def _same_shape(path: Any, y: Any, change: Any) -> None:
    """The tangent that a JVP returns must look like its output."""
    found = dict(jax.tree_util.tree_flatten_with_path(change)[0]).get(path)
    if found is None or np.shape(found) != np.shape(y):
        name = jax.tree_util.keystr(path) or "the output"
        had = "nothing" if found is None else f"shape {np.shape(found)}"
        raise ValueError(
            f"the tangent that `jvp` returned has {had} at {name}, where the output has shape {np.shape(y)}"
        )


def _named(leaves: Callable[[], list[Any]]) -> list[Any]:
    try:
        return leaves()
    except (ValueError, TypeError, KeyError, IndexError) as error:
        if isinstance(error, NOT_TRACEABLE):
            raise
        raise ValueError(f"the derivative has another structure than `args[argnums]`: {error}") from error
