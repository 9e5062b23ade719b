"""A claim: a function F at a point, and what is claimed of its derivative, the pairing `<u, L v>`.

Every kind of check is a claim of its own: here are F and L for gradient, VJP, JVP and HVP, as JAX has them or as the
user gives them. Pairings follow JAX's convention for complex numbers: `<u, v> = Re sum u v`, without conjugation.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgradsweep._cache import Weak, fields_weakened, traced_once
from jaxgradsweep._tree import MOVING, Layout, Same, is_inexact, wide_dtype

# How JAX's own derivative is taken: each kind of check tries these, from the left.
MODES = {
    "grad": ("reverse", "forward"),
    "vjp": ("reverse", "forward"),
    "jvp": ("forward", "reverse"),
    "hvp": ("forward over reverse", "reverse over reverse", "reverse over forward", "forward over forward"),
}
MODES["curvature"] = MODES["hvp"]

Arrays = list[jax.Array]
Paired = tuple[jax.Array, jax.Array] | tuple[jax.Array, jax.Array, Arrays]
Pairing = Callable[[Arrays, Arrays], Paired]


@dataclasses.dataclass(frozen=True)
class Called:
    """A callable of the user's, as it keys compiled code.

    One that is a pytree, such as a module, is put together from its arrays where it is called: they are arguments of
    compiled code, held fixed like those among `args`.
    """

    whole: Same  # the callable; of a pytree, its type
    layout: Layout | None = None  # of a pytree: how it is put together
    start: int = 0  # and where its arrays begin among all that is held

    def __call__(self, held: Sequence[Any], *args: Any) -> Any:
        """What it returns, given all that is held fixed, and its arguments."""
        fun: Any = self.whole.value if self.layout is None else self.layout.join((), held[self.start :])
        return fun(*args)

    @property
    def weak(self) -> "Called":
        """The same callable, not kept alive."""
        return fields_weakened(self)

    @property
    def roots(self) -> list[Weak]:
        """The functions that it consists of."""
        statics = self.weak.layout.statics if self.weak.layout else ()
        parts = [self.weak.whole, *(each for each in statics if callable(each.value))]
        return [part for part in parts if isinstance(part, Weak)]


@dataclasses.dataclass(frozen=True)
class Claim:
    """What is checked, without the numbers. Hashable: it keys compiled code."""

    kind: str  # "grad", "vjp", "jvp", "hvp", or "curvature": an HVP held against values of the function alone
    fun: Called
    rule: Called | None  # the user's callable; None for JAX's own derivative or for values
    layout: Layout
    has_aux: bool = False
    holomorphic: bool = False
    by_value: bool = False  # the derivative is given as numbers, one array per moving leaf
    mode: str = ""  # one of the kind's MODES; for an HVP with a rule of its own, how its gradient is taken
    vectorised: bool = True  # False: evaluate one point after the other, where vmap refuses
    captured: tuple[Same, ...] = ()  # what the function reads from outside, which compiled code bakes in
    captured_by_rule: tuple[Same, ...] = ()  # and what only the rule reads
    calls_out: bool = False  # the function calls what JAX does not look into, such as the host
    small: bool = False  # one evaluation is so little work that compiling costs more
    both_modes: bool = False  # pair JAX's own derivative in the other mode as well
    matmul: str | None = None  # the precision of matrix products that it is traced with

    @functools.cached_property
    def weak(self) -> "Claim":
        """The same claim, which keeps none of the user's functions alive."""
        return fields_weakened(self)

    @functools.cached_property
    def plain(self) -> "Claim":
        """What it shares with all claims about the function: programs about that alone are compiled once for them."""
        return dataclasses.replace(self, rule=None, captured_by_rule=())

    @property
    def reads(self) -> tuple[Same, ...]:
        """All that the functions read from outside."""
        return self.captured + self.captured_by_rule

    @property
    def roots(self) -> list[Weak]:
        """The functions that it is about."""
        return [*self.fun.roots, *(self.rule.roots if self.rule else ())]

    def ask(self, held: Sequence[Any], *args: Any) -> Any:
        """What the user's own rule says."""
        assert self.rule is not None
        return self.rule(held, *args)

    @property
    def callable(self) -> bool:
        """Whether the claim can be asked at other points than x."""
        return not self.by_value

    @property
    def integrable(self) -> bool:
        """Whether the claim, integrated along a segment, must give the differences of F."""
        return self.callable and self.kind != "curvature"

    @property
    def of_hessian(self) -> bool:
        return self.kind in ("hvp", "curvature")


def primal(claim: Claim, moving: Sequence[Any], held: Sequence[Any]) -> Any:
    """What the user's function returns, without its auxiliary output."""
    out = claim.fun(held, *claim.layout.join(moving, held))
    return out[0] if claim.has_aux else out


def outputs(claim: Claim, moving: Sequence[Any], held: Sequence[Any]) -> Arrays:
    """F: the floating and complex leaves of the function's output; for an HVP, the leaves of its gradient."""
    if claim.kind == "hvp":
        differentiate = jax.jacfwd if claim.mode.endswith("over forward") else jax.grad
        return differentiate(lambda moving: scalar(claim, moving, held))(list(moving))
    return [jnp.asarray(leaf) for leaf in jax.tree.leaves(primal(claim, moving, held)) if is_inexact(leaf)]


def scalar(claim: Claim, moving: Sequence[Any], held: Sequence[Any]) -> jax.Array:
    """The one output of a function that has a gradient."""
    return jnp.asarray(jax.tree.leaves(primal(claim, moving, held))[0])


def linearise(claim: Claim, moving: Arrays, held: Sequence[Any], values: Sequence[Any]) -> tuple[Arrays, Pairing]:
    """F(x), and the claimed pairing as a function of a tangent v and a cotangent u.

    The pairing returns the number claimed for `<u, L v>` and the RMS size of the terms that it sums; then F(x) as it
    comes with that number, where it does.
    """
    return _BUILDERS[claim.kind](claim, moving, held, values)


def value_with(claim: Claim, out: Arrays, paired: Sequence[Any]) -> Arrays:
    """F(x) as it comes with the claimed derivative, which may be from another program than F itself."""
    return paired[2] if len(paired) == 3 and claim.kind != "curvature" else out


def _grad(claim: Claim, moving: Arrays, held: Sequence[Any], values: Sequence[Any]) -> tuple[Arrays, Pairing]:
    if claim.by_value:
        return outputs(claim, moving, held), lambda v, u: pair_gradient(values, v, u)
    if claim.rule is not None:
        gradient = moving_leaves(claim.layout, claim.ask(held, *claim.layout.join(moving, held)))
        return outputs(claim, moving, held), lambda v, u: pair_gradient(gradient, v, u)
    if claim.mode == "forward":
        return _forward(claim, moving, held)
    value, gradient = jax.value_and_grad(lambda m: scalar(claim, m, held), holomorphic=claim.holomorphic)(moving)
    return [value], lambda v, u: pair_gradient(gradient, v, u)


def _vjp(claim: Claim, moving: Arrays, held: Sequence[Any], values: Sequence[Any]) -> tuple[Arrays, Pairing]:
    if claim.rule is None:
        return _forward(claim, moving, held) if claim.mode == "forward" else _reverse(claim, moving, held)
    out, pull = claim.ask(held, *claim.layout.join(moving, held))[:2]  # an auxiliary output may follow

    def pairing(v: Arrays, u: Arrays) -> tuple[jax.Array, jax.Array]:
        return pair(pulled_leaves(claim.layout, pull(fill_cotangent(out, u))), v)

    return [jnp.asarray(leaf) for leaf in jax.tree.leaves(out) if is_inexact(leaf)], pairing


def _jvp(claim: Claim, moving: Arrays, held: Sequence[Any], values: Sequence[Any]) -> tuple[Arrays, Pairing]:
    if claim.rule is None:
        return _reverse(claim, moving, held) if claim.mode == "reverse" else _forward(claim, moving, held)

    def pairing(v: Arrays, u: Arrays) -> Paired:
        primals = claim.layout.join(moving, held)
        told = claim.ask(held, primals, fill_tangent(claim.layout, v, held))[:2]  # an auxiliary output may follow
        out, tangent = ([jnp.asarray(leaf) for leaf in jax.tree.leaves(tree) if is_inexact(leaf)] for tree in told)
        return *pair(tangent, u), out

    return outputs(claim, moving, held), pairing


def _hvp(claim: Claim, moving: Arrays, held: Sequence[Any], values: Sequence[Any]) -> tuple[Arrays, Pairing]:
    return outputs(claim, moving, held), _product(claim, moving, held, values)


def _curvature(claim: Claim, moving: Arrays, held: Sequence[Any], values: Sequence[Any]) -> tuple[Arrays, Pairing]:
    return outputs(claim, moving, held), _product(dataclasses.replace(claim, kind="hvp"), moving, held, values)


def _product(claim: Claim, moving: Arrays, held: Sequence[Any], values: Sequence[Any]) -> Pairing:
    """The claimed `<u, H v>`."""
    if claim.by_value:
        return lambda v, u: pair(hessian_times(values, v), u)
    if claim.rule is None and claim.mode == "reverse over reverse":
        return _reverse(claim, moving, held)[1]
    if claim.rule is None and claim.mode != "reverse over forward":
        return _forward(claim, moving, held)[1]

    def product(v: Arrays) -> list[Any]:
        if claim.rule is None:
            return jax.grad(lambda m: jax.jvp(lambda at: scalar(claim, at, held), (m,), (v,))[1])(moving)
        primals = claim.layout.join(moving, held)
        return moving_leaves(claim.layout, claim.ask(held, primals, fill_tangent(claim.layout, v, held)))

    return lambda v, u: pair(product(v), u)


def hessian_times(blocks: Sequence[Any], v: Arrays) -> Arrays:
    """`H v` from the blocks of a Hessian, row by row: block (i, j) has the shape of leaf i, then that of leaf j."""
    rows = [blocks[start : start + len(v)] for start in range(0, len(blocks), len(v))]
    return [
        functools.reduce(jnp.add, [jnp.tensordot(b, x, axes=x.ndim) for b, x in zip(row, v, strict=True)])
        for row in rows
    ]


_BUILDERS = {"grad": _grad, "vjp": _vjp, "jvp": _jvp, "hvp": _hvp, "curvature": _curvature}


def _forward(claim: Claim, moving: Arrays, held: Sequence[Any]) -> tuple[Arrays, Pairing]:
    def fun(m: Arrays) -> Arrays:
        return outputs(claim, m, held)

    def pairing(v: Arrays, u: Arrays) -> Paired:
        out, change = jax.jvp(fun, (moving,), (v,))
        return *pair(change, u), out

    return fun(moving), pairing


def _reverse(claim: Claim, moving: Arrays, held: Sequence[Any]) -> tuple[Arrays, Pairing]:
    out, pull = jax.vjp(lambda m: outputs(claim, m, held), moving)
    return out, lambda v, u: pair(pull([a.astype(y.dtype) for a, y in zip(u, out, strict=True)])[0], v)


def transposed(claim: Claim) -> Claim:
    """JAX's own derivative of the same function in the other mode."""
    kind, mode = ("vjp", "reverse") if claim.kind == "jvp" else ("jvp", "forward")
    if claim.rule is None and claim.mode == mode:  # JAX's own, in the one mode that it has
        kind, mode = claim.kind, "reverse" if mode == "forward" else "forward"
    return dataclasses.replace(claim, kind=kind, mode=mode, rule=None, both_modes=False)


@traced_once
def pair(a: Sequence[Any], b: Sequence[Any]) -> tuple[jax.Array, jax.Array]:
    """`Re sum a b` over all leaves, and the RMS size of its terms, `sqrt(sum |a b|^2)`, without overflow."""
    wide = wide_dtype()
    terms = [jnp.real(widen_array(x, wide) * widen_array(y, wide)).ravel() for x, y in zip(a, b, strict=True)]
    total = sum((jnp.sum(t) for t in terms), start=jnp.zeros((), wide))
    return total, norm(terms)


def pair_gradient(gradient: Sequence[Any], v: Arrays, u: Arrays) -> tuple[jax.Array, jax.Array]:
    """`Re u sum g v`, for a function of one output."""
    wide = wide_dtype()
    return pair([widen_array(g, wide) * widen_array(u[0], wide) for g in gradient], v)


def norm(terms: Sequence[jax.Array]) -> jax.Array:
    """Euclidean norm over several arrays without overflow or underflow."""
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(t), initial=0) for t in terms]))
    unit = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    return unit * jnp.sqrt(sum(jnp.sum((jnp.abs(t) / unit) ** 2) for t in terms))


def widen_array(x: Any, wide: Any) -> jax.Array:
    """An array in the widest enabled precision; floating stays floating, complex complex."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(wide, jnp.complex64) if jnp.iscomplexobj(x) else wide)


def moving_leaves(layout: Layout, tree: Any) -> list[Any]:
    """The leaves of a derivative, given in the structure of `args[argnums]`, that belong to moving leaves."""
    parts = (tree,) if layout.single else tuple(tree)
    children, start, found = layout.treedef.children(), 0, []
    spans = {}
    for number, child in enumerate(children):
        spans[number] = layout.kinds[start : start + child.num_leaves]
        start += child.num_leaves
    by_arg = {}
    for number, part in zip(layout.argnums, parts, strict=True):
        leaves = children[number].flatten_up_to(part)
        by_arg[number] = [x for x, kind in zip(leaves, spans[number], strict=True) if kind == MOVING]
    for number in sorted(by_arg):
        found += by_arg[number]
    return found


def pulled_leaves(layout: Layout, cotangents: Any) -> list[Any]:
    """The moving leaves of what `vjp_fun` returned: one cotangent per argument, or one per entry of `argnums`."""
    arguments = layout.treedef.num_nodes and len(layout.treedef.children())
    parts = tuple(cotangents) if isinstance(cotangents, (tuple, list)) else (cotangents,)
    if len(parts) == arguments:
        parts = tuple(parts[i] for i in layout.argnums)
    return moving_leaves(layout, parts[0] if layout.single else parts)


def fill_cotangent(out: Any, u: Arrays) -> Any:
    """A cotangent in the structure of the output: `u` where it is inexact, zeros of dtype float0 elsewhere."""
    leaves, treedef = jax.tree.flatten(out)
    values = iter(u)
    filled = [
        next(values).astype(y.dtype) if is_inexact(y) else np.zeros(np.shape(y), jax.dtypes.float0) for y in leaves
    ]
    return treedef.unflatten(filled)


def fill_tangent(layout: Layout, v: Arrays, held: Sequence[Any]) -> tuple[Any, ...]:
    """A tangent in the structure of `args`: `v` where leaves move, zeros elsewhere (float0 for integers)."""

    def zero(leaf: Any) -> Any:
        return jnp.zeros_like(leaf) if is_inexact(leaf) else np.zeros(np.shape(leaf), jax.dtypes.float0)

    still = dataclasses.replace(layout, statics=tuple(Same(zero(s.value)) for s in layout.statics))
    return still.join(v, [zero(leaf) for leaf in held])
