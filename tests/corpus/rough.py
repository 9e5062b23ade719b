"""Points with no derivative, or one that is hard to see: kinks, jumps, noise, steps, and smooth points close by."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, nn

from corpus.build import array, normal
from corpus.case import CORRECT, F32, F64, UNRESOLVED, WRONG, Collection

CASES = Collection()
EITHER = frozenset({CORRECT, UNRESOLVED})
HARD_TO_SEE = frozenset({"NOISE", "ROUNDOFF", "QUANTISED", "JUMP", "DENSE_KINKS", "SCALES", "KINK", "TRUNCATION"})


def rough(name, fun, x, kind, reasons=(), claimed=None, **details):
    """One array or a dict of arrays; `claimed` is the claim, by default JAX's own."""

    def make(dtype):
        point = jax.tree.map(lambda v: array(v, dtype), x, is_leaf=lambda v: not isinstance(v, dict))
        return (fun, (point,)) if claimed is None else (fun, (point,), array(claimed, dtype))

    CASES.add(f"rough.{name}", make, "rough", kind=kind, reasons=frozenset(reasons), **details)


# ---- kinks at the point

for _name, _fun, _x in (
    ("abs_one_of_1000", lambda x: jnp.sum(jnp.abs(x)), np.where(np.arange(1000) == 321, 0, normal(400, 1000))),
    ("selu_at_0", nn.selu, [0.0, 0.7]),
    ("leaky_relu_at_0", lambda x: jnp.sum(nn.leaky_relu(x) * jnp.exp(x)), [0.0, -0.4, 1.0]),
    ("relu6_at_6", nn.relu6, [6.0, 3.0]),
    ("hard_swish_at_-3", lambda x: jnp.sum(nn.hard_swish(x)), [-3.0, 1.0]),
    ("hard_tanh_at_1", lambda x: jnp.sum(nn.hard_tanh(x) ** 2), [1.0, 0.3]),
    ("clip_at_bound", lambda x: jnp.sum(jnp.exp(jnp.clip(x, -0.5, 0.5))), [0.5, 0.1, -0.2]),
    ("soft_threshold", lambda x: jnp.sign(x) * jnp.maximum(jnp.abs(x) - 0.25, 0), [0.25, 1.0, -0.1]),
    ("pinball_at_0", lambda x: jnp.sum(jnp.maximum(0.9 * (x - 1.5), -0.1 * (x - 1.5))), [1.5, 2.0]),
    ("insensitive_at_edge", lambda x: jnp.sum(jnp.maximum(jnp.abs(x) - 0.125, 0)), [0.125, 0.5]),
    ("max_tie_of_three", jnp.max, [0.3, 2.0, 2.0, -1.0, 2.0]),
    ("min_of_two_parabolas", lambda x: jnp.minimum((x - 1) ** 2, (x + 1) ** 2), [0.0]),
    ("infinity_norm_tie", lambda x: jnp.linalg.norm(x, jnp.inf), [0.5, -2.0, 2.0]),
    ("total_variation_flat", lambda x: jnp.sum(jnp.abs(jnp.diff(x))), [0.1, 0.4, 0.4, 0.9]),
    (
        "group_norm_zero_row",
        lambda x: jnp.sum(jnp.sqrt(jnp.sum(x**2, axis=1))),
        normal(401, 4, 3) * [[1], [0], [1], [1]],
    ),
    ("rank_hinge", lambda x: jnp.sum(jnp.maximum(0, 1 - x[:3] + x[3:])), [1.5, 0.2, 2.0, 0.5, 0.4, 0.1]),
    ("sort_tie_weighted", lambda x: jnp.sort(x) @ jnp.array([1.0, 2.0, 4.0], x.dtype), [0.5, 0.5, 2.0]),
    (
        "table_knot",
        lambda x: jnp.interp(x, jnp.arange(4.0, dtype=x.dtype), jnp.array([0, 1, -1, 3], x.dtype)),
        [2.0, 0.5],
    ),
    ("triangle_wave", lambda x: jnp.abs(jnp.mod(x, 2.0) - 1), [3.0, 0.4]),
    (
        "l1_penalty_sparse_weights",
        lambda w: jnp.sum((w[:3] - 1) ** 2) + 0.5 * jnp.sum(jnp.abs(w)),
        [0.4, 0.0, 1.2, 0.0],
    ),
    ("complementarity", lambda x: jnp.minimum(x[0], x[1]) + x[0] * x[1], [0.75, 0.75]),
    ("cross_entropy_of_clipped", lambda p: -jnp.log(jnp.clip(p, 0.125, 1.0)).sum(), [0.125, 0.5]),
    ("largest_eigenvalue_crossing", lambda t: jnp.max(jnp.stack([1 + t, 1 - 2 * t])), 0.0),
    (
        "cone_in_ten_dimensions",
        lambda x: jnp.sqrt(jnp.sum(x[:5] ** 2)) + jnp.sum(x[5:] ** 3),
        np.r_[np.zeros(5), np.ones(5)],
    ),
):
    rough(_name, _fun, _x, "kink", {"KINK"})

rough(
    "kink_of_1e-3_beside_a_slope",
    lambda x: jnp.sum(jnp.sin(x)) + 1e-3 * jnp.abs(x[1]),
    [0.4, 0.0, 1.0],
    "kink",
    {"KINK"},
    dtypes=(F64,),
)
rough(
    "cubic_over_square",
    lambda v: jnp.where(jnp.any(v != 0), v[0] ** 3 / jnp.maximum(v @ v, 1e-30), 0),
    [0.0, 0.0],
    "kink",
    {"DIRECTIONS"},
    claimed=[1.0, 0.0],
    answers=frozenset({UNRESOLVED, WRONG}),
    note="partial derivatives exist, but no derivative",
)
rough(
    "log_periodic",
    lambda x: jnp.where(x == 0, 0, x * jnp.sin(3 * jnp.log(jnp.maximum(jnp.abs(x), 1e-30)))),
    0.0,
    "kink",
    {"SCALES"},
    claimed=0.0,
    note="the slopes of the secants oscillate for ever",
)
rough(
    "takagi",
    lambda x: sum(jnp.abs(2**k * x - jnp.round(2**k * x)) / 2**k for k in range(40)),
    1 / 3,
    "kink",
    {"SCALES", "DENSE_KINKS", "SINGULAR", "KINK"},
    dtypes=(F64,),
    note="differentiable nowhere, down to the rounding",
)

# ---- claims at kinks that no side has

for _name, _fun, _x, _claim, _answers in (
    ("abs_claim_5", lambda x: jnp.abs(x), 0.0, 5.0, ()),
    ("relu_claim_minus_half", nn.relu, 0.0, -0.5, ()),
    ("max_tie_claims_both", jnp.max, [1.5, 1.5, 0.2], [1.0, 1.0, 0.0], (WRONG, UNRESOLVED)),
    ("norm_claim_too_long", lambda x: jnp.sqrt(jnp.sum(x**2)), [0.0, 0.0], [2.0, 0.0], (WRONG, UNRESOLVED)),
    ("norm_claim_100", lambda x: jnp.sqrt(jnp.sum(x**2)), [0.0, 0.0], [100.0, -70.0], ()),
    ("clip_claim_2", lambda x: jnp.clip(x, -1, 1), 1.0, 2.0, ()),
    (
        "abs_wrong_elsewhere",
        lambda x: jnp.sum(jnp.abs(x) + x**2),
        [0.0, 1.0, -2.0],
        [0.0, 4.0, -5.0],
        (WRONG, UNRESOLVED),
    ),
):
    rough(
        _name,
        _fun,
        _x,
        "wrong",
        {"KINK", "DIRECTIONS"},
        claimed=_claim,
        answers=frozenset(_answers),
        cause="the claim is no slope between those of the two sides",
        note="along some directions it is between them" if _answers else "",
    )

# ---- kinks and jumps near the point, but not at it

for _distance in (1e-3, 1e-5, 1e-6, 1e-7, 1e-8, 1e-10):
    _far = _distance >= 1e-5
    rough(
        f"relu_{_distance:.0e}_away",
        lambda x, d=_distance: jnp.sum(jnp.exp(x) + nn.relu(x - 1)),
        [1 + _distance, 0.5, 1.7],
        "right",
        () if _far else HARD_TO_SEE,
        dtypes=(F64, F32) if _distance == 1e-3 else (F64,),
        undecidable=(F32,),
        answers=frozenset() if _far else EITHER,
    )
for _distance in (1e-2, 1e-4, 1e-6):
    rough(
        f"jump_{_distance:.0e}_away",
        lambda x: jnp.sum(jnp.sin(x) + 0.5 * jnp.heaviside(x - 1, 0.5)),
        [1 - _distance, 0.3],
        "right",
        () if _distance > 1e-5 else HARD_TO_SEE,
        dtypes=(F64, F32) if _distance > 1e-3 else (F64,),
        undecidable=(F32,),
        answers=frozenset() if _distance > 1e-5 else EITHER,
    )
rough(
    "kinks_1e-4_on_both_sides",
    lambda x: jnp.sum(jnp.clip(x, 0.9999, 1.0001) * jnp.cos(x)),
    [1.0, 0.2],
    "right",
    dtypes=(F64,),
)
rough(
    "max_close_1e-6",
    lambda x: jnp.max(x) * jnp.min(x),
    [1.0, 1 + 1e-6, 0.4],
    "right",
    HARD_TO_SEE,
    dtypes=(F64,),
    answers=EITHER,
)
rough(
    "kink_near_other_side_claimed",
    lambda x: jnp.sum(nn.relu(x - 1)),
    [1 + 1e-5, 2.0],
    "wrong",
    claimed=[0.0, 1.0],
    dtypes=(F64,),
    error=0.7071,
    cause="the slope of the other side of a kink 1e-5 away",
)

# ---- smooth once only, and flat

for _name, _fun, _x in (
    ("huber_corner", lambda x: jnp.sum(jnp.where(jnp.abs(x) < 1, x**2 / 2, jnp.abs(x) - 0.5)), [1.0, -1.0, 0.3]),
    ("x_abs_x", lambda x: jnp.sum(x * jnp.abs(x) + x), [0.0, 0.5]),
    ("elu_at_0", nn.elu, [0.0, -0.3, 0.9]),
    ("squared_hinge_margin", lambda w: jnp.sum(jnp.maximum(0, 1 - w) ** 2), [1.0, 0.5, 1.5]),
    ("cubic_spline_knot", lambda x: jnp.sum(jnp.maximum(x - 1, 0) ** 3 + jnp.sin(x)), [1.0, 0.5]),
    ("smoothstep_edge", lambda x: jnp.sum((lambda t: t * t * (3 - 2 * t))(jnp.clip(x, 0, 1)) + x), [0.0, 1.0, 0.4]),
    ("dead_relu_layer", lambda w: jnp.sum(nn.relu(w - 5)), [0.3, -1.0]),
    ("cosine_at_0", lambda x: jnp.sum(jnp.cos(x)), [0.0, 0.0]),
    ("inflexion", lambda x: jnp.sum(x**3), [0.0, 0.0]),
    ("flat_bump", lambda x: jnp.where(x == 0, 0, jnp.exp(-1 / jnp.where(x == 0, 1, x) ** 2)).sum(), [0.0, 0.6]),
    ("unused_half", lambda x: jnp.sum(jnp.tanh(x[:2])), [0.1, 0.2, 0.3, 0.4]),
    ("saddle", lambda x: x[0] ** 2 - x[1] ** 2 + x[0] * x[1], [0.0, 0.0]),
    ("zero_times_large", lambda x: 0.0 * jnp.exp(20 * x), [1.0]),
):
    rough(_name, _fun, _x, "right", note="smooth, or smooth once; some of these are stationary")
rough(
    "stationary_on_an_offset", lambda x: 1e6 + jnp.sum((x - 0.5) ** 2), [0.5, 0.5], "right", HARD_TO_SEE, answers=EITHER
)
rough(
    "stationary_claim_1e-3",
    lambda x: jnp.sum(jnp.cos(x)),
    [0.0, 0.0],
    "wrong",
    claimed=[1e-3, 0.0],
    dtypes=(F64,),
    cause="a slope where there is none",
)

# ---- jumps

for _name, _fun, _x in (
    ("step_at_point", lambda x: jnp.heaviside(x - 1, 0.5) + x**2, 1.0),
    ("hard_shrink_edge", lambda x: jnp.where(jnp.abs(x) >= 0.5, x, 0), [0.5, 0.2]),
    ("argmax_switch", lambda x: jnp.array([1.0, 4.0, 9.0], x.dtype)[jnp.argmax(x)] * jnp.sum(x), [1.0, 1.0, 0.5]),
    ("nearest_lookup_edge", lambda x: jnp.array([3.0, -1.0, 2.0], x.dtype)[jnp.floor(x + 0.5).astype(int)] + x, 0.5),
    ("integer_part", lambda x: x - jnp.trunc(x) + x**2, 3.0),
    ("ceiling", lambda x: jnp.ceil(x) * jnp.cos(x), [2.0, 0.5]),
    ("branch_at_threshold", lambda x: lax.cond(x > 0.25, lambda v: jnp.exp(v), lambda v: v**2, x), 0.25),
    (
        "jump_one_of_200",
        lambda x: jnp.sum(jnp.sin(x)) + jnp.where(x[7] > 0, 1.0, 0.0),
        np.where(np.arange(200) == 7, 0, normal(402, 200)),
    ),
):
    rough(_name, _fun, _x, "jump", {"JUMP"})

# ---- infinite slopes and the edges of domains

for _name, _fun, _x, _reasons in (
    ("root_of_abs", lambda x: jnp.sqrt(jnp.abs(x)), 0.0, {"SINGULAR", "KINK"}),
    ("signed_root", lambda x: jnp.sign(x) * jnp.sqrt(jnp.abs(x)) + x, 0.0, {"SINGULAR", "NAN_CLAIM"}),
    ("power_0.9_of_abs", lambda x: jnp.abs(x) ** 0.9, 0.0, {"SINGULAR", "KINK"}),
    ("arcsin_at_1", jnp.arcsin, 1.0, {"SINGULAR", "NOT_FINITE"}),
    ("log_at_0", jnp.log, 0.0, {"SINGULAR", "NOT_FINITE"}),
    ("entropy_at_0", lambda p: -jnp.sum(jax.scipy.special.xlogy(p, p)), [0.0, 0.4], {"SINGULAR", "NOT_FINITE"}),
    ("power_1.5_at_0", lambda x: jnp.sum(x**1.5), [0.0, 2.0], {"NOT_FINITE", "SINGULAR"}),
    ("pole", lambda x: 1 / (x - 1), 1.0, {"NOT_FINITE", "SINGULAR"}),
    ("value_nan", lambda x: jnp.sum(jnp.log(x)), [-1.0, 2.0], {"NOT_FINITE"}),
    ("overflow", lambda x: jnp.exp(jnp.exp(x)), 10.0, {"NOT_FINITE"}),
    ("arccosh_at_1", jnp.arccosh, 1.0, {"SINGULAR", "NOT_FINITE"}),
    ("x_log_abs_x", lambda x: x * jnp.log(jnp.maximum(jnp.abs(x), 1e-30)), 0.0, {"SINGULAR", "SCALES"}),
):
    rough(_name, _fun, _x, "kink", _reasons)

# ---- noise that a hash of the input's bits makes: the same at each call, different at each point


def hashed(x):
    """A number from -1 to 1 that looks random, and has no derivative."""
    wide = x.dtype == jnp.float64
    bits = lax.bitcast_convert_type(lax.stop_gradient(jnp.ravel(x)), jnp.uint64 if wide else jnp.uint32)
    odd = np.uint64(0x9E3779B97F4A7C15) if wide else np.uint32(0x9E3779B9)
    shift = 29 if wide else 15
    bits = jnp.sum(bits * odd + jnp.arange(bits.size, dtype=bits.dtype) * odd, dtype=bits.dtype)
    for _ in range(3):
        bits = (bits ^ (bits >> shift)) * odd
    return (bits >> (11 if wide else 8)).astype(x.dtype) / 2.0 ** (52 if wide else 23) - 1


def _signal(x):
    return jnp.sum(jnp.exp(jnp.sin(x)))


_POINT = [0.3, 1.1, -0.6]
_SLOPE = np.cos(_POINT) * np.exp(np.sin(_POINT))

for _level in (1e-14, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-3):
    rough(
        f"hash_noise_{_level:.0e}",
        lambda x, level=_level: _signal(x) * (1 + level * hashed(x)),
        _POINT,
        "right" if _level < 1e-5 else "noise",
        HARD_TO_SEE,
        dtypes=(F64, F32) if _level > 1e-7 else (F64,),
        answers=frozenset() if _level < 1e-11 else EITHER,
        note="the claim is the derivative without the noise",
    )
rough("hash_noise_1_of_10", lambda x: _signal(x) * (1 + 0.1 * hashed(x)), _POINT, "noise", HARD_TO_SEE)
for _level, _off in ((1e-10, 1e-3), (1e-8, 0.1), (1e-6, 0.5), (1e-6, -3.0)):
    rough(
        f"hash_noise_{_level:.0e}_claim_off_{abs(_off):g}",
        lambda x, level=_level: _signal(x) * (1 + level * hashed(x)),
        _POINT,
        "wrong",
        claimed=_SLOPE * (1 + _off),
        dtypes=(F64,),
        error=abs(_off),
        cause="a claim off by more than the noise can hide",
    )
rough(
    "truncation_wave",
    lambda x: jnp.sum(jnp.sin(x) + 1e-9 * jnp.sin(1e7 * x)),
    [0.4, 1.2],
    "right",
    HARD_TO_SEE | {"MISMATCH"},
    dtypes=(F64,),
    answers=EITHER,
    note="a ripple of 1e-9 with a slope of 1e-2, which is in the claim",
)

# ---- a host that answers differently each time


def _register_hosts():
    for level, answers in ((1e-3, None), (1e-7, EITHER)):

        def make(dtype, level=level):
            calls = itertools.count()

            def host(value):
                return np.asarray(value * (1 + level * np.sin(np.float64(next(calls)) * 1e3)), value.dtype)

            @jax.custom_jvp
            def noisy(value):
                return jax.pure_callback(host, jax.ShapeDtypeStruct((), value.dtype), value, vmap_method="sequential")

            noisy.defjvp(lambda primals, tangents: (noisy(*primals), tangents[0]))
            return (lambda x: noisy(_signal(x))), (array(_POINT, dtype),)

        CASES.add(
            f"rough.host_noise_{level:.0e}",
            make,
            "rough",
            kind="noise",
            dtypes=(F64, F32) if level == 1e-3 else (F64,),
            answers=answers or frozenset(),
            reasons=frozenset({"NONDETERMINISTIC", "NOISE"}),
        )


_register_hosts()

# ---- functions that move in steps


def straight_through(fun):
    """`fun` with the derivative of the identity."""
    through = jax.custom_jvp(fun)
    through.defjvp(lambda primals, tangents: (fun(*primals), tangents[0]))
    return through


_STEPS = frozenset({"QUANTISED", "JUMP", "NOISE"})
rough("round_inside_a_step", lambda x: jnp.sum(jnp.round(x) * jnp.sin(x)), [1.2, 2.3], "right")
rough("integer_cast_inside", lambda x: jnp.sum(x.astype(int) * x**2), [1.4, 3.3], "right")
rough("table_inside_a_cell", lambda x: jnp.array([3.0, -1.0, 2.0], x.dtype)[x.astype(int)] * jnp.exp(x), 1.4, "right")
rough(
    "fine_grid_no_slope",
    lambda x: jnp.sum(jnp.floor(x * 1e6) / 1e6),
    [0.1234567, 0.7654321],
    "right",
    _STEPS,
    dtypes=(F64,),
    answers=EITHER,
    note="the claim 0 is right within a step of 1e-6",
)
for _step in (1e-2, 1e-4, 1e-7):
    rough(
        f"straight_through_{_step:.0e}",
        lambda x, step=_step: jnp.sum(jnp.sin(straight_through(lambda v: jnp.round(v / step) * step)(x))),
        [0.31234567, 0.98765432],
        "jump",
        _STEPS | {"MISMATCH"},
        dtypes=(F64,),
        answers=frozenset({WRONG, UNRESOLVED} if _step > 1e-3 else {WRONG, UNRESOLVED, CORRECT}),
        note="constant within a step, but the claim is the slope of the staircase",
    )
rough(
    "weights_in_8_bits",
    lambda w: jnp.mean((straight_through(lambda v: jnp.round(v * 127) / 127)(w) @ jnp.ones(32, w.dtype)) ** 2),
    np.tanh(normal(403, 16, 32)),
    "jump",
    _STEPS | {"MISMATCH", "DENSE_KINKS", "SCALES"},
    dtypes=(F64,),
    answers=frozenset({WRONG, UNRESOLVED, CORRECT}),
)

# ---- solvers and hidden precision


def _bisection(x, rounds):
    low, high = jnp.zeros_like(x), 2 * jnp.ones_like(x)
    for _ in range(rounds):
        middle = (low + high) / 2
        above = middle**3 + middle > x
        low, high = jnp.where(above, low, middle), jnp.where(above, middle, high)
    return (low + high) / 2


def _bisected(rounds):
    root = jax.custom_jvp(lambda x: _bisection(x, rounds))
    root.defjvp(lambda primals, tangents: (root(*primals), tangents[0] / (1 + 3 * root(*primals) ** 2)))
    return lambda x: jnp.sum(root(x))


def _newton(x):
    z = jnp.ones_like(x)
    for _ in range(4):
        z = z - (z**3 + z - x) / (3 * z**2 + 1)
    return z


rough(
    "bisection_to_1e-3",
    _bisected(11),
    [1.3, 2.9],
    "noise",
    HARD_TO_SEE | {"MISMATCH"},
    note="a staircase with the slope of the root",
    answers=frozenset({UNRESOLVED, WRONG}),
)
rough("bisection_to_the_end", _bisected(60), [1.3, 2.9], "right", HARD_TO_SEE, dtypes=(F64,))
rough("four_newton_steps", lambda x: jnp.sum(_newton(x)), [1.3, 2.9, 9.0], "right", note="not converged, but smooth")
rough(
    "hidden_float32",
    lambda x: jnp.sum(jnp.exp(jnp.sin(x.astype(F32)))).astype(x.dtype),
    _POINT,
    "right",
    dtypes=(F64,),
    approximate=1e-6,
)
rough(
    "hidden_float32_in_one_term",
    lambda x: jnp.sum(x**2) + jnp.sin(x[0].astype(F32)).astype(x.dtype),
    _POINT,
    "right",
    dtypes=(F64,),
    approximate=1e-6,
)
rough(
    "hidden_float16",
    lambda x: jnp.sum(jnp.sin(x.astype("float16")).astype(x.dtype)),
    _POINT,
    "right",
    HARD_TO_SEE,
    answers=EITHER,
    approximate=2e-3,
)
rough(
    "hidden_bfloat16",
    lambda x: jnp.sum(jnp.tanh(jnp.sum(x.astype("bfloat16") ** 2).astype(x.dtype))),
    _POINT,
    "right",
    HARD_TO_SEE | {"MISMATCH"},
    answers=EITHER,
    approximate=2e-2,
)
rough(
    "dense_kinks",
    lambda x: jnp.mean(jnp.abs(x - jnp.linspace(-1, 1, 20_000, dtype=x.dtype)[:, None])),
    [0.30001234, -0.2],
    "right",
    HARD_TO_SEE,
    answers=EITHER,
)
