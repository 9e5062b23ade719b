"""Other ways to check a derivative, as their authors have them, and what is known to go wrong with them.

Each peer looks at a `Subject` and says whether it passes; none of them can say that it does not know. They run in the
precision of the arrays, as they would in use.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

SEED = 0
MOST_COMPONENTS = 200  # of a larger point, so many are drawn for a test component by component


@dataclasses.dataclass(frozen=True)
class Said:
    """What a peer says: whether the derivative passes, the figure behind that, and the same in words."""

    passed: bool
    figure: float | None
    words: str


# -------------------------------------------------------------------------------------------------------- subject


@dataclasses.dataclass(frozen=True)
class Subject:
    """A claim about a function, with the function's arguments as real coordinates.

    Attributes:
        fun: from the moving leaves to the list of the floating outputs; for order 2, to the gradient.
        scalar: the same before any gradient is taken.
        leaves: the floating and complex leaves of the first argument.
        claimed: None (JAX's own derivative), or the claimed gradient, one array per leaf.
        modes: modes of differentiation that the function supports, the one to check first.
        order: 2 if the derivative of the gradient is meant.
    """

    fun: Callable[[list[Any]], list[Any]]
    scalar: Callable[[list[Any]], list[Any]]
    leaves: list[Any]
    claimed: list[Any] | None = None
    modes: tuple[str, ...] = ("rev",)
    order: int = 1

    @functools.cached_property
    def point(self) -> np.ndarray:
        """The real coordinates of the leaves."""
        return coordinates(self.leaves)

    @functools.cached_property
    def shapes(self) -> list[Any]:
        """The outputs before any gradient is taken: arrays, or what their tracing gives."""
        try:
            return jax.eval_shape(self.scalar, self.leaves)
        except Exception:
            return self.scalar(self.leaves)

    @functools.cached_property
    def cotangents(self) -> list[Any]:
        """One for each output: 1 for a single real number, otherwise random."""
        outputs = self.fun(self.leaves)
        random = np.random.default_rng(SEED)
        single = len(outputs) == 1 and np.size(outputs[0]) == 1 and not is_kind(outputs[0], jnp.complexfloating)
        return [jnp.ones_like(y) if single else _normal(random, y) for y in outputs]

    @functools.cached_property
    def weights(self) -> list[np.ndarray]:
        """The cotangents as wide numbers."""
        return [_wide(cotangent) for cotangent in self.cotangents]

    @functools.cached_property
    def evaluate(self) -> Callable[[list[Any]], list[Any]]:
        """`fun`, compiled where that is possible and two plain calls agree."""
        first, second = ([_wide(y).tobytes() for y in self.fun(self.leaves)] for _ in range(2))
        return _compiled(self.fun, self.leaves) if first == second else self.fun

    @functools.cached_property
    def gradient(self) -> np.ndarray | None:
        """The claimed derivative in every coordinate; None where only directions can be asked for."""
        if self.claimed is not None:
            claims = [_wide(self.cotangents[0]) * _wide(claim) for claim in self.claimed]
        elif self.modes[0] == "rev":
            claims = jax.vjp(self.fun, self.leaves)[1](self.cotangents)[0]
        else:
            return None
        pairs = zip(map(_wide, claims), self.leaves, strict=True)
        return coordinates([g.conj() if is_kind(x, jnp.complexfloating) else g.real for g, x in pairs])  # Re sum g v

    @functools.cached_property
    def _push(self) -> Callable[..., list[Any]]:
        def push(leaves: list[Any], tangents: list[Any]) -> list[Any]:
            return jax.jvp(self.fun, (leaves,), (tangents,))[1]

        return _compiled(push, self.leaves, self.leaves)

    def phi(self, x: np.ndarray) -> float:
        """The function of the coordinates as one real number."""
        return self._weighed(self.evaluate(from_coordinates(x, self.leaves)))

    def slope(self, v: np.ndarray) -> float:
        """The claimed directional derivative."""
        if self.gradient is not None:
            return float(self.gradient @ v)
        return self._weighed(self._push(list(map(jnp.asarray, self.leaves)), from_coordinates(v, self.leaves)))

    def _weighed(self, outputs: Sequence[Any]) -> float:
        with np.errstate(all="ignore"):
            pairs = zip(self.weights, outputs, strict=True)
            return float(sum((np.real(np.sum(weight * _wide(y))) for weight, y in pairs), np.float64(0)))


def subject_of(
    fun: Callable, args: tuple[Any, ...], claimed: Any = None, *, modes: tuple[str, ...] = ("rev",), order: int = 1
) -> Subject:
    """A subject from a function, its arguments and a claim: None, a callable or values."""
    leaves, treedef = jax.tree.flatten(args[0])
    moving = [i for i, leaf in enumerate(leaves) if is_kind(leaf, jnp.inexact)]

    def scalar(values: list[Any]) -> list[Any]:
        whole = dict(enumerate(leaves)) | dict(zip(moving, values, strict=True))
        outputs = fun(treedef.unflatten(whole.values()), *args[1:])
        return [y for y in jax.tree.leaves(outputs) if is_kind(y, jnp.inexact)]

    def gradient(values: list[Any]) -> list[Any]:
        return jax.grad(lambda values: scalar(values)[0])(values)

    if claimed is not None:
        tree = claimed(*args) if callable(claimed) else claimed
        found = treedef.flatten_up_to(tree)
        claimed = [found[i] for i in moving]
    values = [jnp.asarray(leaves[i]) for i in moving]
    return Subject(gradient if order == 2 else scalar, scalar, values, claimed, modes, order)


def coordinates(leaves: Sequence[Any]) -> np.ndarray:
    """All real and imaginary parts in one row."""
    wide = [_wide(leaf) for leaf in leaves]
    return np.concatenate([np.stack([x.real, x.imag], -1).ravel() if x.dtype.kind == "c" else x.ravel() for x in wide])


def from_coordinates(x: np.ndarray, like: Sequence[Any]) -> list[jax.Array]:
    """Leaves with these coordinates, rounded to their own precision."""
    found, start = [], 0
    for leaf in like:
        parts = 2 if is_kind(leaf, jnp.complexfloating) else 1
        values = x[start : start + parts * np.size(leaf)]
        values = values[0::2] + 1j * values[1::2] if parts == 2 else values
        with np.errstate(all="ignore"):
            found.append(jnp.asarray(values.reshape(np.shape(leaf)).astype(leaf.dtype)))
        start += parts * np.size(leaf)
    return found


def is_kind(leaf: Any, kind: Any) -> bool:
    dtype = getattr(leaf, "dtype", type(leaf) if isinstance(leaf, (float, complex)) else None)
    return dtype is not None and jnp.issubdtype(dtype, kind)


def _wide(x: Any) -> np.ndarray:
    x = np.asarray(x)
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)


def _normal(random: np.random.Generator, like: Any) -> jax.Array:
    values = random.normal(size=np.shape(like))
    if is_kind(like, jnp.complexfloating):
        values = values + 1j * random.normal(size=np.shape(like))
    return jnp.asarray(np.asarray(values).astype(like.dtype))


def _compiled(fun: Callable, *args: Any) -> Callable:
    """`fun` compiled, if it can be."""
    compiled = jax.jit(fun)
    try:
        compiled(*args)
    except Exception:
        return fun
    return compiled


# ---------------------------------------------------------------------------------------------------------- peers


def by_check_grads(subject: Subject) -> Said:
    """`jax.test_util.check_grads` with its defaults, in the modes that the function supports.

    A claim that is not JAX's own gets into it as a `custom_vjp` around the function, in reverse mode; a function
    with such a rule inside is checked in reverse mode, too.
    """
    fun, modes = (subject.scalar, subject.modes) if subject.claimed is None else (_with_rule(subject), ("rev",))
    ask = functools.partial(check_grads, fun, (subject.leaves,), order=subject.order)
    try:
        try:
            ask(modes=modes)
        except TypeError as error:
            if "custom_vjp" not in str(error) or "rev" not in modes:
                raise
            ask(modes=("rev",))
    except AssertionError as error:
        return Said(False, None, " ".join(str(error).split())[:120])
    return Said(True, None, "passes")


def _with_rule(subject: Subject) -> Callable:
    pairs = zip(subject.claimed or (), subject.leaves, strict=True)
    claims = [jnp.asarray(np.asarray(claim), leaf.dtype) for claim, leaf in pairs]
    fun = jax.custom_vjp(subject.scalar)
    fun.defvjp(
        lambda leaves: (subject.scalar(leaves), None),
        lambda _, cotangents: ([(cotangents[0] * claim).astype(claim.dtype) for claim in claims],),
    )
    return fun


def by_one_step(subject: Subject, limit: float) -> Said:
    """One central difference per component, and one limit for all.

    "Gradient checks" in the notes of the course CS231n (Stanford): h = 1e-5 and the relative error |a - n| / max(|a|,
    |n|), where both zero is a pass; above 1e-2 the gradient is "probably wrong", below 1e-7 "you should be happy". The
    notes ask for double precision.
    """
    h, x = 1e-5, subject.point
    picked = np.arange(len(x))
    if len(x) > MOST_COMPONENTS:
        picked = np.random.default_rng(SEED).choice(len(x), MOST_COMPONENTS, replace=False)
    worst = 0.0
    for i in picked:
        unit = np.zeros_like(x)
        unit[i] = 1
        with np.errstate(all="ignore"):
            numeric, claim = (subject.phi(x + h * unit) - subject.phi(x - h * unit)) / (2 * h), subject.slope(unit)
        if numeric != claim:  # also where one is NaN
            with np.errstate(all="ignore"):
                error = abs(claim - numeric) / max(abs(claim), abs(numeric))
            worst = max(worst, error if np.isfinite(error) else np.inf)
    return Said(worst <= limit, worst, f"relative error {worst:.2g}")


def by_taylor_rate(subject: Subject) -> Said:
    """The rate at which the Taylor remainder falls: at least 1.9.

    `taylor_test` of pyadjoint (verification.py): steps 0.01 / 2**i for i in range(4), remainder |J(m + h v) - J(m) - h
    <dJ, v>|, rate log(ratio of remainders) / log(ratio of steps), of which the smallest counts, NaN where both
    remainders are zero; its tests and manual assert that this is > 1.9. The direction is the user's; here it is normal.
    """
    v = np.random.default_rng(SEED).normal(size=len(subject.point))
    steps = 0.01 / 2.0 ** np.arange(4)
    with np.errstate(all="ignore"):
        remainders = _remainders(subject, v, steps)
        later, former = remainders[1:], remainders[:-1]
        rates = np.where(former == 0, np.where(later == 0, np.nan, np.inf), np.log2(former / later))
    rate = min(map(float, rates))  # as Python's min has it, also with NaN
    return Said(rate > 1.9, rate, f"rate {rate:.3g}")


def by_slope_window(subject: Subject) -> Said:
    """The slope of the straightest piece of the Taylor remainder over the step, both as logarithms: about 2.

    `checkgradient` of Manopt (checkdiff.m, identify_linear_piece.m): a direction of norm 1, 51 steps from 1e-8 to 1; a
    line is fitted to every 11 neighbours, and the window with the smallest norm of residuals counts; if all remainders
    are below 1e-12 the linear model is exact, which passes. Windows with a zero remainder have no fit, which MATLAB's
    `min` passes over. Manopt prints the slope and leaves "far from 2" to the reader: here it is 0.1.
    """
    v = np.random.default_rng(SEED).normal(size=len(subject.point))
    steps = np.logspace(-8, 0, 51)
    remainders = _remainders(subject, v / np.linalg.norm(v), steps)
    if np.all(remainders < 1e-12):
        return Said(True, None, "linear model exact")
    with np.errstate(all="ignore"):
        x, y = np.log10(steps), np.log10(remainders)
    best, slope = np.inf, np.nan
    for i in range(len(steps) - 10):
        window = slice(i, i + 11)
        if np.isfinite(y[window]).all():
            line = np.polyfit(x[window], y[window], 1)
            residual = np.linalg.norm(y[window] - np.polyval(line, x[window]))
            if residual < best:
                best, slope = residual, float(line[0])
    return Said(abs(slope - 2) <= 0.1, slope, f"slope {slope:.3g}")


def _remainders(subject: Subject, v: np.ndarray, steps: np.ndarray) -> np.ndarray:
    value, slope = subject.phi(subject.point), subject.slope(v)
    with np.errstate(all="ignore"):
        return np.array([abs(subject.phi(subject.point + h * v) - value - h * slope) for h in steps])


PEERS: dict[str, Callable[[Subject], Said]] = {
    "check_grads": by_check_grads,
    "one step, 1e-2": functools.partial(by_one_step, limit=1e-2),
    "one step, 1e-7": functools.partial(by_one_step, limit=1e-7),
    "Taylor rate": by_taylor_rate,
    "slope window": by_slope_window,
}


# ------------------------------------------------------------------------------------------------ what goes wrong


@dataclasses.dataclass(frozen=True)
class Fact:
    """A derivative that a peer is known to misjudge.

    Attributes:
        what: what the peer does.
        peer: which one, a key of `PEERS`.
        kind: "right" or "wrong", as the derivative is.
        make: `make(dtype)` returns the function, its arguments and the claim.
        dtype: in which precision.
        modes: the modes of differentiation, the one to check first.
    """

    what: str
    peer: str
    kind: str
    make: Callable[[str], tuple[Callable, tuple[Any, ...], Any]]
    dtype: str = "float64"
    modes: tuple[str, ...] = ("rev",)


def normal(size: int, dtype: str, seed: int = SEED) -> np.ndarray:
    """Random numbers of a precision."""
    return np.random.default_rng(seed).normal(size=size).astype(dtype)


def forward(factor: float) -> Callable[[str], tuple[Any, ...]]:
    """1000 elements of 100 sin x, with the derivative in forward mode multiplied by a factor."""

    def make(dtype: str) -> tuple[Any, ...]:
        waves = jax.custom_jvp(lambda x: 100 * jnp.sin(x))
        waves.defjvp(lambda primals, tangents: (waves(*primals), factor * 100 * jnp.cos(primals[0]) * tangents[0]))
        return waves, (normal(1000, dtype),), None

    return make


def zero_rule(dtype: str) -> tuple[Any, ...]:
    """A gradient of a few millionths, and a `custom_vjp` that returns zeros."""
    small = jax.custom_vjp(lambda x: 1e-6 * jnp.sum(jnp.sin(x)))
    small.defvjp(lambda x: (small(x), None), lambda _, cotangent: (cotangent * jnp.zeros(10, dtype),))
    return small, (normal(10, dtype),), None


def small_leaf(dtype: str) -> tuple[Any, ...]:
    """A bias with a gradient that is a quarter too large, beside weights with large gradients."""

    def loss(params: Any) -> Any:
        return 500 * jnp.sum(jnp.sin(params["weights"])) + 0.01 * jnp.sum(jnp.cos(params["bias"]))

    def claimed(params: Any) -> Any:
        gradient = jax.grad(loss)(params)
        return gradient | {"bias": 1.25 * gradient["bias"]}

    return loss, ({"weights": normal(100, dtype), "bias": normal(3, dtype, 1)},), claimed


def squares(dtype: str) -> tuple[Any, ...]:
    """The sum of 1000 squares, whose gradient is right."""
    return lambda x: jnp.sum(x**2), (normal(1000, dtype),), None


def linear(dtype: str) -> tuple[Any, ...]:
    """A linear function, whose gradient is right."""
    weights = normal(20, dtype, 1)
    return lambda x: x @ weights, (normal(20, dtype),), None


def millionth(dtype: str) -> tuple[Any, ...]:
    """A gradient that is wrong by one part in a million."""

    def fun(x: Any) -> Any:
        return jnp.sum(jnp.exp(x))

    return fun, (normal(20, dtype),), lambda x: (1 + 1e-6) * jnp.exp(x)


FACTS = (
    Fact("passes a sign flip in forward mode on 1000 elements: its tolerance is multiplied by the size",
         "check_grads", "wrong", forward(-1.0), "float32", ("fwd",)),
    Fact("passes a derivative of zero in forward mode on 1000 elements",
         "check_grads", "wrong", forward(0.0), "float32", ("fwd",)),
    Fact("passes a gradient of zeros where the gradient is small", "check_grads", "wrong", zero_rule),
    Fact("passes a small leaf that is wrong by 25 % beside a large one", "check_grads", "wrong", small_leaf),
    Fact("rejects a right gradient in float32", "check_grads", "right", squares, "float32"),
    Fact("rejects a right gradient of a linear function", "Taylor rate", "right", linear),
    Fact("passes an error of 1e-6", "Taylor rate", "wrong", millionth),
    Fact("passes an error of 1e-6", "slope window", "wrong", millionth),
)  # fmt: skip
