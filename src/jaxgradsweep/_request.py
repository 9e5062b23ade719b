"""What is asked for: arguments and settings checked at the door, before anything is traced."""

import dataclasses
import functools
import operator
import os
import types
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxgradsweep._claim import Claim, moving_leaves
from jaxgradsweep._probe import MAX_STEPS
from jaxgradsweep._store import Store
from jaxgradsweep._tree import Layout, Point, Same, is_inexact

FEWEST_STEPS = 16  # noise, smoothness and slope need so many points to be told from each other
MOST_CAPTURED = 10_000  # captured values that are followed before giving up


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How to check. All have defaults that suit most.

    Attributes:
        dtype: "float64": evaluate in double precision, whatever the arrays and the caller's x64 flag are; "native": as
            the arrays come; "both": each, in one report.
        matmul_precision: of float32 matrix products in the check, as in `jax.default_matmul_precision`; None: the
            caller's own, to check what ships.
        points: further points to check at: args tuples, or how many perturbations of `args` (each component by 3 % to
            12 % of its size); None: at `args` only.
        rtol: how large a relative error matters; None: measured, see `Criteria`.
        directions: random directions per leaf; None: 2, or 8 where `rtol` is set, since along a single direction an
            error just above it may project to nearly nothing; at least 6 where the function sorts or makes steps.
        steps: the grid itself, relative steps each half of the one before; None: from the dtype.
        thorough: evaluate at all steps of the grid, also where a part of it decides.
        key: seed of the directions.
        batch_size: how many points are evaluated at once; None: from the size of a point.
        memory: budget in bytes for the points evaluated at once; None: half of what the device has free.
        devices: over which to spread the probes: devices of one kind, or how many of the local ones; None: all local
            ones where the work is worth it.
        checkpoint: a folder in which every finished part is kept, so that the same call goes on from there.
        progress: True for a bar on stderr, or a function that is called with (what, done, total).
        consistency: which identities that need no steps to test as well: None, those that cost less than the sweep;
            True, all that apply, also compiled code against uncompiled; False, those that the sweep itself tells.
        locate: whether to look for the components that make a claim wrong: None, with at most three times the
            evaluations of the check; True, with as many as it takes; False, not at all.
    """

    dtype: str = "float64"
    matmul_precision: str | None = "highest"
    points: Sequence[tuple[Any, ...]] | int | None = None
    rtol: float | None = None
    directions: int | None = None
    steps: Sequence[float] | None = None
    thorough: bool = False
    key: int = 0
    batch_size: int | None = None
    memory: int | None = None
    devices: int | Sequence[Any] | None = None
    checkpoint: "str | os.PathLike[str] | Store | None" = None
    progress: bool | Callable[[str, int, int], None] | None = None
    consistency: bool | None = None
    locate: bool | None = None

    @property
    def count(self) -> int:
        """How many directions a leaf gets at first."""
        return self.directions or (2 if self.rtol is None else 8)

    def __post_init__(self) -> None:
        if self.dtype not in ("float64", "native", "both"):
            raise ValueError(f'`dtype` must be "float64", "native" or "both"; got {self.dtype!r}')
        if self.rtol is not None and not (np.ndim(self.rtol) == 0 and np.isreal(self.rtol) and 0 < self.rtol < 1):
            raise ValueError(
                f"`rtol` must be a relative error between 0 and 1, or None to measure it; got {self.rtol!r}"
            )
        check_matmul_precision(self.matmul_precision)
        for name in ("consistency", "locate"):
            if (value := getattr(self, name)) not in (None, True, False):
                raise ValueError(f"`{name}` must be True, False or None; got {value!r}")
        if self.thorough not in (True, False):
            raise ValueError(f"`thorough` must be True or False; got {self.thorough!r}")
        for name, least in (("directions", 1), ("batch_size", 3), ("memory", 1)):
            value = getattr(self, name)
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least
            ):
                raise ValueError(f"`{name}` must be an integer of at least {least}; got {value!r}")
        check_devices(self.devices)
        if not isinstance(self.checkpoint, (str, os.PathLike, Store, types.NoneType)):
            raise TypeError(f"`checkpoint` must be the path of a folder; got {type(self.checkpoint).__name__}")
        if isinstance(self.key, bool) or not isinstance(self.key, (int, np.integer)):
            raise TypeError(f"`key` must be an integer seed; got {type(self.key).__name__}")

    def within(self, name: str) -> "Settings":
        """The settings of one of several checks: its checkpoint has a folder of its own."""
        if self.checkpoint is None:
            return self
        store = self.checkpoint if isinstance(self.checkpoint, Store) else Store(self.checkpoint)
        return dataclasses.replace(self, checkpoint=store.within(name))


def check_matmul_precision(precision: Any) -> None:
    """None, or what JAX takes."""
    try:
        with jax.default_matmul_precision(precision):
            pass
    except (ValueError, TypeError):
        raise ValueError(
            "`matmul_precision` must be None, for the caller's own, or what `jax.default_matmul_precision` takes, as "
            f'"highest" or "tensorfloat32"; got {precision!r}'
        ) from None


def check_devices(devices: Any) -> None:
    """Devices of one kind, or a number of them."""
    if devices is None:
        return
    if isinstance(devices, (int, np.integer)) and not isinstance(devices, bool):
        if not 1 <= devices <= len(jax.local_devices()):
            raise ValueError(
                f"`devices` must be between 1 and the {len(jax.local_devices())} that are here; got {devices}"
            )
        return
    if not isinstance(devices, (list, tuple)) or not devices or not all(isinstance(d, jax.Device) for d in devices):
        raise TypeError(f"`devices` must be a list of JAX's devices, or how many of the local ones; got {devices!r}")
    if len(platforms := sorted({d.platform for d in devices})) > 1:
        raise ValueError(f"`devices` must be of one kind; got {' and '.join(platforms)}. Check on each kind by itself")
    if len(set(devices)) < len(devices):
        raise ValueError(f"`devices` names a device more than once: {devices}")


TRACED = (
    "is traced: a check measures the function at real numbers and cannot run inside `jit`, `vmap` or `grad`. Call it "
    "outside, on concrete arrays"
)


def settings_from(settings: dict[str, Any]) -> Settings:
    """Settings from keyword arguments; an unknown name is an error that lists the known ones."""
    known = [field.name for field in dataclasses.fields(Settings)]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise TypeError(f"unknown setting `{unknown[0]}`; there are {', '.join(f'`{name}`' for name in known)}")
    return Settings(**settings)


class SeveralTerms(TypeError):
    """A function returns a dict of scalars: the terms of a sum."""

    def __init__(self, names: tuple[Any, ...]) -> None:
        super().__init__(
            f"Gradient only defined for scalar-output functions. Output had the terms {', '.join(map(repr, names))}; "
            "`check_grad` checks each and their sum, other checks take one number"
        )
        self.names = names


def check_points(points: Any, args: tuple[Any, ...], rule: Any) -> None:
    """Points are args tuples like `args`, or a number of perturbations; the claim must be known there."""
    if rule is not None and not callable(rule):
        raise ValueError(
            "`points` needs a claim that can be asked at other points than `args`, and it was given as values. "
            "Pass a function, or check one point at a time"
        )
    if isinstance(points, (int, np.integer)) and not isinstance(points, bool):
        if points < 1:
            raise ValueError(f"`points` must be at least 1; got {points}")
        return
    if not isinstance(points, (list, tuple)) or not points:
        had = "none" if isinstance(points, (list, tuple)) else type(points).__name__
        raise TypeError(f"`points` must be a list of args tuples, or a number of perturbations of `args`; got {had}")
    for number, point in enumerate(points):
        if not isinstance(point, tuple) or len(point) != len(args):
            had = f"{len(point)} arguments" if isinstance(point, tuple) else type(point).__name__
            raise TypeError(f"`points[{number}]` must be a tuple of all {len(args)} arguments, as `args` is; got {had}")
        if jax.tree.structure(point) != jax.tree.structure(args):
            raise ValueError(
                f"`points[{number}]` has another structure than `args`: {jax.tree.structure(point)} where `args` has "
                f"{jax.tree.structure(args)}"
            )


def check_steps(steps: Sequence[float]) -> np.ndarray:
    """The user's grid, from large to small."""
    grid = np.asarray(steps, float)
    if grid.ndim != 1 or len(grid) < FEWEST_STEPS:
        raise ValueError(f"`steps` must hold at least {FEWEST_STEPS} steps in one row; got shape {grid.shape}")
    if len(grid) > MAX_STEPS:
        raise ValueError(f"`steps` may hold at most {MAX_STEPS} steps; got {len(grid)}")
    if not (np.isfinite(grid) & (grid > 0)).all():
        raise ValueError(f"`steps` must be positive and finite; got {grid[~(np.isfinite(grid) & (grid > 0))][0]:g}")
    if np.all(np.diff(grid) > 0):
        grid = grid[::-1]
    if not np.all(np.diff(grid) < 0):
        raise ValueError("`steps` must be sorted; pass them from large to small")
    if not np.allclose(grid[1:], grid[:-1] / 2, rtol=1e-6):
        raise ValueError("`steps` must halve from one to the next, for example `2.0 ** -numpy.arange(40)`")
    return np.array(grid)


def check_args(args: Any, argnums: Any) -> tuple[tuple[int, ...], bool]:
    """The positions to differentiate, none negative, and whether there is a single one."""
    if not isinstance(args, tuple):
        raise TypeError(
            f"`args` must be a tuple of all arguments, as in `jax.test_util.check_grads`; got {type(args).__name__}. "
            "Write `(x,)` for a function of one argument"
        )
    single = not isinstance(argnums, (tuple, list))
    numbers = []
    for number in (argnums,) if single else argnums:
        try:
            index = operator.index(number)
        except TypeError:
            raise TypeError(f"`argnums` must be an int or a tuple of ints; got {argnums!r}") from None
        if not -len(args) <= index < len(args):
            raise ValueError(f"`argnums` {index} is out of range: there are {len(args)} arguments in `args`")
        numbers.append(index % len(args))
    if len(set(numbers)) != len(numbers) or not numbers:
        raise ValueError(f"`argnums` must name at least one argument, each once; got {argnums!r}")
    for path, leaf in jax.tree_util.tree_flatten_with_path(args)[0]:
        if isinstance(leaf, Tracer):
            raise TypeError(f"`args`{jax.tree_util.keystr(path)} {TRACED}")
    return tuple(numbers), single


def require_moving(point: Point, args: tuple[Any, ...]) -> None:
    """At least one leaf must be floating or complex."""
    if point.paths:
        return
    leaves = [leaf for number in point.layout.argnums for leaf in jax.tree.leaves(args[number])]
    if any(is_inexact(leaf) for leaf in leaves):
        return  # only empty arrays: nothing can be wrong
    found = ", ".join(sorted({str(getattr(leaf, "dtype", type(leaf).__name__)) for leaf in leaves})) or "no leaf at all"
    which = ", ".join(str(number) for number in point.layout.argnums)
    raise TypeError(
        f"nothing to differentiate: `args[{which}]` holds {found}, and only floating or complex leaves can move. "
        "Convert it to floating point, or choose another `argnums`"
    )


@dataclasses.dataclass(frozen=True)
class Values:
    """A derivative given as values, in a pytree that could be called as well."""

    tree: Any


def as_claim(rule: Any, args: Any, argnums: Any) -> Any:
    """A claim as it is; wrapped, if it holds values and is callable: of a module, `jax.grad` returns a module."""
    if not callable(rule) or jax.tree_util.treedef_is_leaf(jax.tree.structure(rule)):
        return rule
    numbers, _ = check_args(args, argnums)
    return Values(rule) if type(rule) is type(args[numbers[0]]) else rule


def check_values(tree: Any, point: Point) -> list[np.ndarray]:
    """The leaves of a derivative given as values, after comparing structure, shapes and kinds with the point's."""
    try:
        values = moving_leaves(point.layout, tree.tree if isinstance(tree, Values) else tree)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"the claimed derivative has another structure than `args[argnums]`: {error}") from None
    check_leaves("the claimed derivative", values, point)
    return [np.asarray(value) for value in values]


def check_hessian(tree: Any, point: Point) -> list[np.ndarray]:
    """The blocks of a Hessian given as values, row by row, after comparing structure and shapes with the point's.

    As `jax.hessian` has it: in the structure of `args[argnums]`, with the same structure again at every leaf, and in
    each the shape of the first leaf followed by that of the second.
    """
    tree = tree.tree if isinstance(tree, Values) else tree
    try:
        rows = [moving_leaves(point.layout, row) for row in moving_leaves(point.layout, tree)]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            "the claimed Hessian needs the structure of `args[argnums]` with the same structure again at every leaf, "
            f"as `jax.hessian` has it: {error}"
        ) from None
    names = [path or "the argument" for path in point.paths]
    for name, row, shape in zip(names, rows, point.shapes, strict=True):
        for other, block, tail in zip(names, row, point.shapes, strict=True):
            if np.shape(block) != (*shape, *tail):
                raise ValueError(
                    f"the claimed Hessian has shape {np.shape(block)} in the block of {name} and {other}; "
                    f"their shapes need {(*shape, *tail)}"
                )
            if not is_inexact(block) and not isinstance(block, list):
                raise ValueError(f"the claimed Hessian has no floating numbers in the block of {name} and {other}")
    return [np.asarray(block) for row in rows for block in row]


def check_leaves(what: str, values: Sequence[Any], point: Point) -> None:
    """Every claimed leaf must have its leaf's shape and be real or complex as it is."""
    for path, value, leaf in zip(point.paths, values, point.moving, strict=True):
        name = path or "the argument"
        if value is None or not (is_inexact(value) or hasattr(value, "dtype") or isinstance(value, (int, list))):
            raise ValueError(
                f"{what} has {type(value).__name__} at {name}, where an array of {np.shape(leaf)} is needed"
            )
        shape = tuple(np.shape(value))
        if shape != tuple(np.shape(leaf)):
            raise ValueError(
                f"{what} has shape {shape} at {name}, where the argument has shape {tuple(np.shape(leaf))}"
            )
        dtype = jnp.result_type(value)
        if not jnp.issubdtype(dtype, jnp.inexact):
            raise ValueError(f"{what} has dtype {dtype} at {name}; a derivative is floating or complex")
        if jnp.issubdtype(dtype, jnp.complexfloating) and not jnp.issubdtype(
            jnp.result_type(leaf), jnp.complexfloating
        ):
            raise ValueError(f"{what} has dtype {dtype} at {name}, where the argument has {jnp.result_type(leaf)}")


def check_real(point: Point, what: str, instead: str) -> None:
    """Some checks of second derivatives know no imaginary direction."""
    for path, leaf in zip(point.paths, point.moving, strict=True):
        if jnp.issubdtype(jnp.result_type(leaf), jnp.complexfloating):
            raise ValueError(
                f"{what} needs real arguments, and {path or 'the argument'} is complex: JAX's gradient of complex "
                "arguments is the conjugate of the usual one, so that second derivatives are no symmetric matrix. Use "
                f"{instead}, or pass real and imaginary parts as two arrays"
            )


def check_hessian_size(point: Point, memory: int) -> None:
    """A Hessian, its estimate and its error bars must fit."""
    n = sum(int(np.size(leaf)) for leaf in point.moving)
    if (needed := 3 * 8 * n * n) > memory:
        raise ValueError(
            f"the Hessian of {n:,} numbers has {n * n:,} entries: with their estimates and error bars "
            f"{needed:,} bytes, and `memory` allows {memory:,}. Use `check_hvp`, which checks products with it at any "
            "size"
        )


def check_output(claim: Claim, out: Any) -> None:
    """The output must suit the kind of check; the wording is JAX's own."""
    leaves = jax.tree.leaves(out)
    if claim.kind == "grad" or claim.of_hessian:
        terms = claim.kind == "grad" and isinstance(out, dict) and len(out) == len(leaves) > 1
        terms = terms and all(jax.tree.structure(term).num_nodes == 1 for term in out.values())
        if terms and all(leaf.shape == () and jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
            raise SeveralTerms(tuple(out))
        if len(leaves) != 1 or leaves[0].shape != ():
            had = f"shape: {leaves[0].shape}" if len(leaves) == 1 else f"structure: {jax.tree.structure(out)}"
            raise TypeError(
                f"Gradient only defined for scalar-output functions. Output had {had}. Check a function with several "
                "outputs with `check_vjp` or `check_jvp`, or return one number"
            )
        dtype = leaves[0].dtype
        if not jnp.issubdtype(dtype, jnp.inexact):
            raise TypeError(f"grad requires real- or complex-valued outputs, but got {dtype}: the output cannot vary")
        if jnp.issubdtype(dtype, jnp.complexfloating) and not claim.holomorphic:
            raise TypeError(
                f"grad requires real-valued outputs, but got {dtype}. For holomorphic differentiation, pass "
                "`holomorphic=True`; for other functions of complex output use `check_vjp`"
            )
    if not any(is_inexact(leaf) for leaf in leaves):
        raise TypeError("no output of the function is floating or complex: there is nothing to differentiate")


def captured(*groups: tuple[Any, ...]) -> list[tuple[Same, ...]]:
    """What groups of functions read from outside: values in their closures, defaults and globals, by identity.

    Compiled code bakes these in, so that it may be used again only while they are the same. Contents of lists, dicts
    and NumPy arrays are followed, since they can change in place. What a group reads too is not repeated for the next.
    """
    seen: set[int] = set()
    return [_followed(list(functions), seen) for functions in groups]


def _followed(todo: list[Any], seen: set[int]) -> tuple[Same, ...]:
    """Some values, and all that they lead to, but for those that were seen."""
    found: list[Same] = []
    while todo and len(found) < MOST_CAPTURED:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        found.append(Same(contents_of(value)))
        if isinstance(value, np.ndarray):
            if value.dtype.kind in "biufc" and value.nbytes < 2**26:
                found.append(Same(zlib.adler32(np.ascontiguousarray(value).view(np.uint8).data)))
        else:
            todo += _inside(value)
    return tuple(found)


def contents_of(value: Any) -> Any:
    """What tells one captured value from another: for containers whose entries are followed, how these are named."""
    if type(value) is dict:
        return f"dict of {', '.join(map(str, value))}"
    return type(value).__name__ if type(value) in (list, tuple) else value


def _inside(value: Any) -> list[Any]:
    """The values that one captured value leads to."""
    if isinstance(value, Same):  # what functions of our own hold of the user's
        return [value.value]
    if isinstance(value, types.FunctionType):
        if "site-packages" in value.__code__.co_filename:
            return list(filter(None, [vars(value).get("__wrapped__")]))  # a library itself does not change
        cells = [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
        names = _names(value.__code__)
        read = [value.__globals__[name] for name in names if name in value.__globals__]
        defaults = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values(), *vars(value).values()]
        return [x for x in cells + read + defaults if not isinstance(x, types.ModuleType)]
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    if isinstance(value, (type, types.ModuleType, jax.Array)) or callable(getattr(value, "lower", None)):
        inner = getattr(value, "__wrapped__", None)  # of a jitted function, what it wraps
        return [] if inner is None else [inner]
    return list(getattr(value, "__dict__", {}).values())


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a cell of a function that is still being defined
        return False


@functools.lru_cache(maxsize=4096)
def _names(code: types.CodeType) -> tuple[str, ...]:
    """Names of globals that a function and the functions inside it may read."""
    inner = [name for const in code.co_consts if isinstance(const, types.CodeType) for name in _names(const)]
    return (*code.co_names, *inner)


def names_of(layout: Layout, args: tuple[Any, ...]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype, as the caller passed them, of every inexact leaf of `args[argnums]`."""
    found = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(args)[0]:
        if path[0].idx in layout.argnums and is_inexact(leaf):
            name = jax.tree_util.keystr(path[1:] if layout.single else path)
            found[name] = (tuple(np.shape(leaf)), str(jnp.result_type(leaf)))
    return found
