"""Pure functions of what is differentiated, from functions that take state, keys and keyword arguments beside it."""

import dataclasses
import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxgradsweep._tree import HELD, STATIC, Layout, Same, is_inexact


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pure:
    """A function with all but some of its arguments bound; see `pure`.

    A pytree, whose leaves are the function and what is bound. In the structure of `jax.tree_util.Partial` the function
    is no leaf, and would be kept alive by whatever keeps the structure.
    """

    fun: Any
    args: tuple[Any, ...]
    keywords: dict[str, Any]
    argnums: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    has_aux: bool = dataclasses.field(metadata={"static": True})

    def __call__(self, *args: Any) -> Any:
        own = jax.tree.map(lambda leaf: leaf, self)  # a copy: a module may change itself when it is called
        bound, given = iter(own.args), self.placed(args)
        out = own.fun(
            *(given[i] if i in given else next(bound) for i in range(len(self.args) + len(args))), **own.keywords
        )
        return out[0] if self.has_aux else out

    def placed(self, args: tuple[Any, ...]) -> dict[int, Any]:
        """The arguments of a call by their positions; those of a single `argnums` stand side by side."""
        numbers = self.argnums
        if len(numbers) == 1:
            numbers = range(numbers[0], numbers[0] + len(args))
        if len(args) != len(numbers) or not args:
            raise TypeError(f"{len(numbers) or 1} arguments are needed, one for each of `argnums`; got {len(args)}")
        return dict(zip(numbers, args, strict=True))


def pure(
    fun: Callable, *rest: Any, argnums: int | tuple[int, ...] = 0, has_aux: bool = False, **keywords: Any
) -> Callable:
    """Bind state, keys and data, so that a function of what is differentiated remains.

    `pure(fun, state, key)(params)` is `fun(params, state, key)`. What is bound reaches compiled code as arguments, in
    the precision of the check, and not as constants. Each call gets copies of the pytrees among it: what a module
    changes in itself, such as batch statistics or the count of its random numbers, does not outlast the call.

    Args:
        fun: function of any arguments, among them what is differentiated. It may be a pytree, such as a module.
        *rest: its other arguments, in their order.
        argnums: where in `fun`'s arguments those of the result go: the position of the first, or a tuple of all.
        has_aux: whether `fun` returns `(outputs, auxiliary)`; then only the outputs are kept.
        **keywords: keyword arguments of `fun`.

    Returns:
        A function to be checked with `args=(params,)`.

    Raises:
        TypeError: `fun` cannot be called, or `argnums` are no ints.
        ValueError: positions that `fun`'s arguments do not have.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import jaxgradsweep as jgs
        >>> def loss(params, state, key, rate=0.0):
        ...     kept = jax.random.bernoulli(key, 1 - rate, params.shape)
        ...     return jnp.sum(jnp.sin(params * kept) * state["scale"]), {"scale": 0.9 * state["scale"]}
        >>> state, key = {"scale": jnp.array(2.0)}, jax.random.key(0)
        >>> report = jgs.check_grad(jgs.pure(loss, state, key, has_aux=True, rate=0.5), (jnp.arange(4.0),))
        >>> report.verdict.name
        'CORRECT'
        >>> print(*report.notes)
        PRNG keys are held fixed, so that every evaluation draws the same numbers: fun.args[1]
    """
    if not callable(fun):
        raise TypeError(f"`fun` must be callable; got {type(fun).__name__}")
    numbers = argnums if isinstance(argnums, (tuple, list)) else (argnums,)
    try:
        places = tuple(map(operator.index, numbers))
    except TypeError:
        raise TypeError(f"`argnums` must be an int or a tuple of ints; got {argnums!r}") from None
    if not places or len(set(places)) < len(places) or not 0 <= min(places) <= max(places) < len(rest) + len(places):
        raise ValueError(
            f"`argnums` must name positions among the arguments of `fun`, {len(rest)} of which are bound, each once "
            f"and from 0 on; got {argnums!r}"
        )
    return Pure(fun, rest, keywords, places, has_aux)


def as_tree(fun: Callable) -> Callable:
    """A partial application as a pytree of what it binds; others as they come."""
    if type(fun) in (functools.partial, jax.tree_util.Partial):
        return Pure(fun.func, fun.args, fun.keywords, (len(fun.args),), has_aux=False)  # pyright: ignore[reportFunctionMemberAccess]
    return fun


def carry(fun: Callable) -> tuple[Layout | None, tuple[Any, ...]]:
    """A callable that is itself a pytree, such as a module or a partial application, and its arrays; None for others.

    Its arrays become arguments of compiled code, and whatever it changes in itself when it is called is changed in a
    copy. Numbers that are no arrays, and NumPy arrays of integers, stay as they are: they may say what is computed.
    """
    leaves, treedef = jax.tree.flatten(as_tree(fun))
    carried = [isinstance(leaf, jax.Array) or (isinstance(leaf, np.ndarray) and is_inexact(leaf)) for leaf in leaves]
    if jax.tree_util.treedef_is_leaf(treedef) or not any(carried):
        return None, ()
    pairs = list(zip(leaves, carried, strict=True))
    kinds = tuple(HELD if array else STATIC for array in carried)
    layout = Layout(treedef, kinds, tuple(Same(leaf) for leaf, array in pairs if not array), (), single=True)
    return layout, tuple(leaf for leaf, array in pairs if array)
