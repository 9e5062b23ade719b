"""Pytrees as they come: which leaves move, which are held fixed, and what each is called."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

MOVING, HELD, STATIC = "moving", "held", "static"


@dataclasses.dataclass(frozen=True)
class Layout:
    """How `args` is put together from moving leaves, held arrays and static leaves. Hashable: it keys compiled code."""

    treedef: Any
    kinds: tuple[str, ...]
    statics: tuple["Same", ...]
    argnums: tuple[int, ...]
    single: bool  # `argnums` was an int: derivatives have the argument's own structure, not a tuple of them

    def join(self, moving: Sequence[Any], held: Sequence[Any]) -> tuple[Any, ...]:
        """Put `args` together again."""
        pools = {MOVING: iter(moving), HELD: iter(held), STATIC: iter(s.value for s in self.statics)}
        return self.treedef.unflatten([next(pools[kind]) for kind in self.kinds])

    def derivative(self, moving: Sequence[Any]) -> Any:
        """One array per moving leaf in the structure of `args[argnums]`, as `jax.grad` has it; `None` elsewhere."""
        values = iter(moving)
        leaves = [next(values) if kind == MOVING else None for kind in self.kinds]
        picked = self.treedef.unflatten(leaves)
        return picked[self.argnums[0]] if self.single else tuple(picked[i] for i in self.argnums)


@dataclasses.dataclass(frozen=True, eq=False)
class Same:
    """A value compared by equality where that is safe and by identity where it is not."""

    value: Any

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Same) or type(self.value) is not type(other.value):
            return False
        if isinstance(self.value, (bool, int, str, bytes, np.dtype, type)):
            return self.value == other.value
        if hasattr(self.value, "__func__"):  # a bound method is a new object at each access
            return self.value.__func__ is other.value.__func__ and self.value.__self__ is other.value.__self__
        return self.value is other.value

    def __hash__(self) -> int:
        if isinstance(self.value, (bool, int, str, bytes, np.dtype, type)):
            return hash(self.value)
        return id(getattr(self.value, "__func__", self.value))


@dataclasses.dataclass(frozen=True)
class Point:
    """The point of a check: its layout, its moving leaves and held arrays, and the names of the moving leaves."""

    layout: Layout
    moving: tuple[Any, ...]
    held: tuple[Any, ...]
    paths: tuple[str, ...]
    fixed: tuple[str, ...]  # leaves of args[argnums] that are held fixed, in words

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(np.shape(leaf) for leaf in self.moving)

    @property
    def dtypes(self) -> tuple[str, ...]:
        return tuple(str(jnp.result_type(leaf)) for leaf in self.moving)


def is_inexact(leaf: Any) -> bool:
    """Whether a leaf is floating or complex: an array, a NumPy scalar or a Python number."""
    if isinstance(leaf, (float, complex)):
        return True
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.inexact)


def is_array(leaf: Any) -> bool:
    """Whether a leaf can be passed to compiled code: any JAX array, or a NumPy array of numbers."""
    if isinstance(leaf, jax.Array):
        return True
    return isinstance(leaf, (np.ndarray, np.generic)) and leaf.dtype.kind in "biufcV" and leaf.dtype.names is None


def split(args: tuple[Any, ...], argnums: tuple[int, ...], *, single: bool, hold_static: bool = False) -> Point:
    """Split `args` into what moves (inexact leaves of `args[argnums]`) and what is held fixed (all the rest).

    With `hold_static`, integer arrays become part of the compiled code instead of arguments of it: some functions
    need them as concrete numbers.
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path(args)
    kinds, moving, held, statics, paths, fixed = [], [], [], [], [], []
    for path, leaf in leaves:
        differentiable = path[0].idx in argnums
        name = jax.tree_util.keystr(path[1:] if single else path)
        if differentiable and is_inexact(leaf) and np.size(leaf) > 0:
            kinds.append(MOVING)
            moving.append(leaf)
            paths.append(name)
        elif (is_array(leaf) or isinstance(leaf, (float, complex))) and not (hold_static and not is_inexact(leaf)):
            kinds.append(HELD)
            held.append(leaf)
        else:
            kinds.append(STATIC)
            statics.append(Same(leaf))
        if differentiable and kinds[-1] != MOVING and not is_key(leaf):
            fixed.append(f"{name or 'the argument'} ({describe(leaf)})")
    layout = Layout(treedef, tuple(kinds), tuple(statics), argnums, single)
    return Point(layout, tuple(moving), tuple(held), tuple(paths), tuple(fixed))


def is_key(leaf: Any) -> bool:
    """Whether a leaf holds random keys: typed ones, or one of the older kind, two words of 32 bits."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is None:
        return False
    return jnp.issubdtype(dtype, jax.dtypes.prng_key) or (dtype == np.uint32 and np.shape(leaf) == (2,))


def keys_of(name: str, tree: Any) -> Iterator[str]:
    """Where a pytree holds random keys, as names that begin with its own."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        if is_key(leaf):
            yield name + jax.tree_util.keystr(path)


def describe(leaf: Any) -> str:
    """A leaf in words: its dtype and shape, or its type."""
    dtype = getattr(leaf, "dtype", None)
    return f"{dtype}{list(np.shape(leaf))}" if dtype is not None else type(leaf).__name__


def widen(leaf: Any) -> np.ndarray | jax.Array:
    """A float or complex leaf in double precision (call it where 64-bit types are enabled); others as they come."""
    if not is_inexact(leaf):
        return leaf
    kind = np.complex128 if jnp.issubdtype(jnp.result_type(leaf), jnp.complexfloating) else np.float64
    if isinstance(leaf, jax.Array) and len(leaf.devices()) > 1:
        return leaf.astype(kind)
    return np.asarray(leaf).astype(kind)


def map_arrays(fun: Callable[[Any], Any], point: Point) -> Point:
    """The same point with `fun` applied to its moving leaves and held arrays."""
    return dataclasses.replace(point, moving=tuple(map(fun, point.moving)), held=tuple(map(fun, point.held)))


def wide_dtype() -> np.dtype:
    """The widest floating dtype that is enabled: sums of differences are taken in it."""
    return jnp.float64 if jax.config.read("jax_enable_x64") else jnp.float32
