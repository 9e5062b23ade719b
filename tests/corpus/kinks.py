"""Points without a derivative, on purpose: kinks, ties, jumps, infinite slopes, and functions that are noise."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax import nn as jnn

from corpus.build import array, normal
from corpus.case import CORRECT, UNRESOLVED, WRONG, Collection
from corpus.trusted import FOLKLORE, Known, normal64, positive_definite64, trusted, with_vjp, without_slope

CASES = Collection()

# The slopes of the middle value of three equal ones agree on both sides of every direction, but are not additive.
TIE = {"KINK", "DIRECTIONS"}


def kink(name, fun, x, kind="kink", reasons=frozenset({"KINK"}), **details):
    make = lambda dtype: (fun, (array(x, dtype),))
    CASES.add(f"kink.{name}", make, "kink", kind=kind, reasons=frozenset(reasons), **details)


kink("relu_0", jnn.relu, [0.0, 1.0])
kink("max_tie", jnp.max, [1.0, 1.0, 0.3])
kink("top_k_tie", lambda x: lax.top_k(x, 1)[0], [1.0, 1.0, 0.5])
kink("median_tie", jnp.median, [1.0, 1.0, 1.0, 0.0, 3.0], reasons=TIE, note="three equal middle values")
kink("maxpool_tie", lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (2,), (2,), "VALID"), [1.0, 1.0, 0.0, 3.0])
kink("norm_0", jnp.linalg.norm, [0.0, 0.0, 0.0], note="JAX returns NaN")
kink("sqrt_0", jnp.sqrt, [0.0], reasons={"SINGULAR", "NOT_FINITE"}, note="infinite slope at the edge of the domain")
kink("cbrt_0", jnp.cbrt, [0.0], reasons={"SINGULAR"}, note="infinite slope")
kink("floor_integer", lambda x: jnp.floor(x) * x, [2.0], kind="jump", reasons={"JUMP"})
kink("sign_0", jnp.sign, [0.0], kind="jump", reasons={"JUMP"})
kink("mod_multiple", lambda x: jnp.mod(x, 1.0), [2.0], kind="jump", reasons={"JUMP"})
kink("arctan2_cut", lambda x: jnp.arctan2(x[0], x[1]), [0.0, -1.0], kind="jump", reasons={"JUMP"}, note="jump of 2 pi")
kink("eigvalsh_repeated", lambda a: jnp.linalg.eigvalsh((a + a.T) / 2), np.eye(3))
kink(
    "hinge_margin",
    lambda w: jnp.mean(jnp.maximum(0.0, 1 - jnp.array([[1.0, 2.0], [-1.0, 0.5]], w.dtype) @ w)),
    [0.5, 0.25],
)
kink("argmax_gather", lambda x: jnp.sin(x[jnp.argmax(x)]) + x[0], [1.0, 1.0, 0.2])
kink("quantile_knot", lambda x: jnp.quantile(x, 0.5), [0.0, 1.0, 1.0, 1.0, 2.0], reasons=TIE)
kink(
    "prelu_net_zero_init",
    lambda w: jnp.sum(jnn.relu(jnp.array([[1.0, -2.0], [0.5, 1.0]], w.dtype) @ w)),
    [0.0, 0.0],
    note="a ReLU layer at zero initialisation",
)


# ---- kinks and jumps, in float64

KINK = {"family": "kink", "kind": "kink", "cause": "subgradient", "dtypes": ("float64",)}


@CASES.case("abs_at_zero", source="classic", only_at=(("", (0,)),), reasons=frozenset({"KINK"}), **KINK)
def _(dtype):
    return lambda x: jnp.sum(jnp.abs(x)), (jnp.array([0.0, 1.3, -0.2]),), None


@CASES.case(
    "norm_at_origin",
    source=FOLKLORE + "norm at zero, NaN gradient",
    answers=frozenset({UNRESOLVED, WRONG}),
    reasons=frozenset({"KINK"}),
    note="claimed is NaN",
    **KINK,
)
def _(dtype):
    return lambda x: jnp.linalg.norm(x), (jnp.zeros(3),), None


@CASES.case("hinge_exactly_on_margin", source="classic", reasons=frozenset({"KINK"}), **KINK)
def _(dtype):
    fun = lambda w, inputs, labels: jnp.mean(jnp.maximum(0.0, 1 - labels * (inputs @ w)))
    inputs, labels = jnp.array([[1.0, 3.0], [2.0, 1.0], [-0.5, 0.2]]), jnp.array([1.0, 1.0, -1.0])
    return fun, (jnp.array([1.0, 0.0]), inputs, labels), None


near = functools.partial(trusted, CASES, family="kink", kind="kink", cause="subgradient")


def near_kink(distance, *, other_side=False):
    x = jnp.array([distance, 0.6, -0.4])
    slope = lambda x: jnp.sign(x) + 2 * x
    claimed = (lambda x: jnp.sign(x - 2 * distance) + 2 * x) if other_side else slope
    return lambda x: jnp.sum(jnp.abs(x)) + jnp.sum(x**2), (x,), claimed, Known(lambda: slope(x))


near(
    "kink_at_distance_1e-4",
    lambda: near_kink(1e-4),
    error=0.0,
    answers=frozenset({CORRECT, UNRESOLVED}),
    reasons=frozenset({"SCALES"}),
    source="step longer than the distance to the kink",
    note="the claimed gradient is right",
)
near(
    "kink_at_distance_1e-7",
    lambda: near_kink(1e-7),
    error=0.0,
    answers=frozenset({CORRECT, UNRESOLVED}),
    reasons=frozenset({"SCALES", "KINK"}),
    source="same, closer",
    note="the claimed gradient is right",
)
near(
    "kink_at_distance_1e-4_wrong_side",
    lambda: near_kink(1e-4, other_side=True),
    error=0.6637,
    answers=frozenset({WRONG, UNRESOLVED}),
    reasons=frozenset({"SCALES"}),
    source="same, rule reports the other side's slope",
    only_at=(("", (0,)),),
    note="wrong by 2 in component 0; steps below 1e-4 show it",
)


def straight_through():
    x, weights = jnp.array([0.3, 1.7, -0.9, 2.2]), jnp.array([1.0, -2.0, 0.5, 1.5])
    fun = lambda x: jnp.vdot(weights, x + jax.lax.stop_gradient(jnp.round(x) - x))
    return fun, (x,), None, Known(lambda: jnp.zeros(4))


trusted(
    CASES,
    "straight_through_estimator",
    straight_through,
    family="kink",
    kind="jump",
    cause="subgradient",
    error=math.inf,
    answers=frozenset({WRONG, UNRESOLVED}),
    reasons=frozenset({"QUANTISED", "SCALES"}),
    source="straight-through rounding; the local derivative is 0, claimed is 1",
    note="intended by its author; wrong as a derivative",
)


# ---- noise, in float64: the claim is the derivative of the smooth part

noisy = functools.partial(
    trusted, CASES, family="noise", kind="noise", cause="noise", error=0.0, answers=frozenset({UNRESOLVED, CORRECT})
)


def fresh_noise():
    calls = {"number": 0}
    x = normal64(801, 5)

    def draw(x):
        calls["number"] += 1
        return np.asarray(1e-3 * normal(calls["number"]), dtype=np.float64)

    @without_slope
    def noise(x):
        return jax.pure_callback(draw, jax.ShapeDtypeStruct((), jnp.float64), x, vmap_method="sequential")

    smooth = lambda x: jnp.sum(jnp.sin(x) * x)
    return lambda x: smooth(x) + noise(x), (x,), None, Known(lambda: jax.grad(smooth)(x))


noisy(
    "host_counter_key",
    fresh_noise,
    reasons=frozenset({"NONDETERMINISTIC", "NOISE"}),
    source="impure pure_callback: a fresh key on every call",
    note="noise 1e-3 absolute; the gradient of the smooth part is right",
)


def loose_solver():
    a, c, weights = positive_definite64(811, 6), normal64(812, 6), normal64(813, 6)

    def solve(p):
        def body(state):
            x, residual, count = state
            x = x + residual / 14.0
            return x, c * p - a @ x, count + 1

        return jax.lax.while_loop(lambda state: jnp.linalg.norm(state[1]) > 1e-3, body, (jnp.zeros(6), c * p, 0))[0]

    function = with_vjp(solve, lambda args, out, ct: (c * jnp.linalg.solve(a, ct),))
    p = np.asarray(normal64(814, 6)) + 2.0
    residual = np.asarray(c) * p
    while np.linalg.norm(residual) > 1e-3:
        residual = residual - np.asarray(a) @ residual / 14.0
    # the exit test holds by 1 part in 1e7: the count jumps close by
    p = jnp.asarray(p * (1e-3 * (1 - 1e-7) / np.linalg.norm(residual)))
    truth = Known(lambda: c * jnp.linalg.solve(a, weights))
    return lambda p: jnp.vdot(weights, function(p)), (p,), None, truth


noisy(
    "loose_iterative_solver",
    loose_solver,
    reasons=frozenset({"SCALES", "NOISE", "JUMP"}),
    source=FOLKLORE + "loose tolerance: iteration count jumps with the input (cf. diffrax#499)",
    note="tolerance 1e-3; the claimed derivative is that of the exact solution; "
    "a jump in the iteration count lies 1e-7 away",
)


def input_seeded_noise():
    x = normal64(831, 4)

    @without_slope
    def noise(x):
        bits = jax.lax.bitcast_convert_type(x, jnp.uint64)
        key = jax.random.key(jnp.sum(bits * jnp.array([1, 3, 5, 7], dtype=jnp.uint64)))
        return 1e-5 * jax.random.normal(key, dtype=jnp.float64)

    return lambda x: jnp.sum(x**3) + noise(x), (x,), None, Known(lambda: 3 * x**2)


noisy(
    "dither_seeded_by_the_input",
    input_seeded_noise,
    reasons=frozenset({"NOISE"}),
    source="stochastic rounding keyed by the data: deterministic, rough everywhere",
    note="repeating the call gives the same value; noise 1e-5",
)
