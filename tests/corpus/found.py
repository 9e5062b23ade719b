"""Cases on which a checker was once wrong, found by people who tried it."""

import jax
import jax.numpy as jnp
import numpy as np

from corpus.case import BF16, F32, F64, Collection

CASES = Collection()
FAMILY = "found by trying"


def offset_by(size):
    """`size + sum(sin)`, as a sum whose changing part drowns in the rounding of the constant one."""
    return lambda x: size + jnp.sum(jnp.sin(x))


@CASES.case(
    "found.constant_hides_sign",
    FAMILY,
    kind="wrong",
    dtypes=(F32,),
    undecidable=(F32,),
    reasons=frozenset({"ROUNDOFF"}),
    cause="sign",
)
def _(dtype):
    count = 200_000
    constant = 0.5 * count * np.log(2e4 * np.pi)
    return lambda m: -constant - jnp.sum(m**2) / 2, (jnp.array([0.3, 0.7], dtype),), lambda m: m


@CASES.case("found.offset_1e15_wrong_sign", FAMILY, kind="noise", dtypes=(F64,), reasons=frozenset({"ROUNDOFF"}))
def _(dtype):
    return offset_by(1e15), (jnp.array([0.3, 0.7], dtype),), lambda x: -jnp.cos(x)


@CASES.case("found.constant_claimed_to_move", FAMILY, kind="wrong", dtypes=(F32,), cause="claim of a constant function")
def _(dtype):
    return lambda x: 1e6 + 0 * jnp.sum(x), (jnp.array([0.3, 0.8, 1.2], dtype),), lambda x: 0 * x + 100


@CASES.case(
    "found.quarter_too_large", FAMILY, kind="wrong", dtypes=(F32, BF16), cause="factor 1.25", undecidable=(BF16,)
)
def _(dtype):
    return lambda x: jnp.sum(x**2), (jnp.linspace(0.1, 1, 6).astype(dtype),), lambda x: (2.5 * x).astype(x.dtype)


@CASES.case("found.sign_in_short_precision", FAMILY, kind="wrong", dtypes=(F64, F32, BF16), cause="sign")
def _(dtype):
    return lambda x: jnp.sum(x**2), (jnp.linspace(0.1, 1, 6).astype(dtype),), lambda x: (-2 * x).astype(x.dtype)


for number, where in enumerate((-0.3763370959790291, -0.475373319116301, 0.1234567, 1.7654321)):

    def mean_distance(dtype, where=where):
        grid = np.linspace(-3, 3, 20001).astype(dtype)
        return lambda x: jnp.mean(jnp.abs(x - grid)), (jnp.asarray(where, dtype),)

    CASES.add(f"found.kinks_in_a_row_{number}", mean_distance, FAMILY, dtypes=(F64,))


@CASES.case(
    "found.straight_through_on_a_grid", FAMILY, kind="jump", dtypes=(F64,), reasons=frozenset({"QUANTISED"}),
    answers=frozenset({"WRONG", "UNRESOLVED"}),
)  # fmt: skip
def _(dtype):
    def fun(w):
        return jnp.sum((jnp.round(w / 0.02) * 0.02 + w - jax.lax.stop_gradient(w)) ** 2)

    return fun, (jnp.array([0.301, 0.702], dtype),)


@CASES.case(
    "found.accept_or_reject", FAMILY, kind="jump", dtypes=(F64, F32), reasons=frozenset({"QUANTISED", "JUMP"}),
    answers=frozenset({"CORRECT", "UNRESOLVED"}), note="its derivative is 0, and so is the claim",
)  # fmt: skip
def _(dtype):
    def fun(x):
        uniform = jax.random.uniform(jax.random.key(0), (2000,), x.dtype)
        return jnp.mean(jnp.where(uniform < jax.nn.sigmoid(x), 1.0, 0.0))

    return fun, (jnp.asarray(0.3, dtype),)


@CASES.case("found.drawn_while_tracing", FAMILY, kind="noise", dtypes=(F64,), reasons=frozenset({"NONDETERMINISTIC"}))
def _(dtype):
    random = np.random.default_rng(0)
    return lambda x: jnp.sum((x + 0.1 * random.normal(size=2)) ** 2), (jnp.array([0.3, 0.7], dtype),)


@CASES.case("found.claim_in_bfloat16", FAMILY, dtypes=(F64,), note="right to the rounding of the claim")
def _(dtype):
    x = jnp.array([0.3, 0.8, 1.2], dtype)
    return lambda x: jnp.sum(jnp.sin(x)), (x,), jnp.cos(x).astype(jnp.bfloat16)


@CASES.case("found.wrong_claim_in_bfloat16", FAMILY, kind="wrong", dtypes=(F64,), cause="sign")
def _(dtype):
    x = jnp.array([0.3, 0.8, 1.2], dtype)
    return lambda x: jnp.sum(jnp.sin(x)), (x,), (-jnp.cos(x)).astype(jnp.bfloat16)


def cosine_root(tolerance, method, factor=1.0):
    """The root s(a) of s = cos(a s), by an iteration, with the derivative of the exact root times a factor."""

    def solve(a):
        def turn(state):
            s, _ = state
            newton = (s - jnp.cos(a * s)) / (1 + a * jnp.sin(a * s))
            new = {"fixed point": jnp.cos(a * s), "newton": s - newton, "damped": s - 0.3 * (s - jnp.cos(a * s))}[
                method
            ]
            return new, new - s

        start = jnp.ones_like(a), jnp.ones_like(a)
        return jax.lax.while_loop(lambda state: jnp.any(jnp.abs(state[1]) > tolerance), turn, start)[0]

    @jax.custom_jvp
    def root(a):
        return solve(a)

    @root.defjvp
    def _(primals, tangents):
        (a,), (da,) = primals, tangents
        s = solve(a)
        return s, -factor * s * jnp.sin(a * s) / (1 + a * jnp.sin(a * s)) * da

    def make(dtype):
        return lambda a: jnp.sum(root(a)), (jnp.array([0.4, 0.3, 0.5, 0.45], dtype),)

    return make


LOOSE = {
    "dtypes": (F64,), "answers": frozenset({"UNRESOLVED"}), "reasons": frozenset({"SCALES", "JUMP", "NOISE"}),
    "source": "implicit derivatives of solvers that stop early", "note": "claimed is the exact solution's derivative",
}  # fmt: skip
for method, tolerance in (("fixed point", 1e-3), ("fixed point", 1e-6), ("damped", 1e-4), ("newton", 1e-3)):
    short = f"{method.split()[0]}_{tolerance:.0e}"
    CASES.add(f"found.loose_{short}", cosine_root(tolerance, method), FAMILY, **LOOSE)
    CASES.add(
        f"found.tight_{short}_wrong", cosine_root(1e-13, method, 1 + tolerance), FAMILY, kind="wrong", dtypes=(F64,),
        cause="factor", error=tolerance,
    )  # fmt: skip
CASES.add("found.tight_root", cosine_root(1e-13, "newton"), FAMILY, dtypes=(F64,))
CASES.add("found.loose_root_wrong_by_a_tenth", cosine_root(1e-6, "damped", 1.1), FAMILY, kind="wrong", dtypes=(F64,),
          cause="factor", error=0.1)  # fmt: skip


for height, width in ((1e-12, 1e-12), (1e-13, 1e-13), (1e-11, 1e-13)):

    def layer(dtype, height=height, width=width):
        return lambda x: height * jnp.tanh((x - 1) / width) + x**2, (jnp.ones((), dtype),), lambda x: 2 * x

    CASES.add(
        f"found.layer_of_{width:.0e}_and_{height:.0e}", layer, FAMILY, kind="jump", dtypes=(F64,),
        reasons=frozenset({"JUMP", "TRUNCATION", "NOISE"}), note="the claim leaves out a layer thinner than any step",
    )  # fmt: skip


@CASES.case("found.wave_just_above_rounding", FAMILY, undecidable=(F32,), note="of wave length 1e-6 and height 1e-6")
def _(dtype):
    return lambda x: x**2 + 1e-6 * jnp.sin(1e6 * x), (jnp.asarray(0.7, dtype),)


@CASES.case("found.chaos_on_a_parabola", FAMILY, undecidable=(F32,))
def _(dtype):
    def fun(x):
        chaos = jax.lax.fori_loop(0, 40, lambda _, s: 3.9 * s * (1 - s), jax.nn.sigmoid(x[0]))
        return jnp.sum(x**2) + 1e-6 * chaos

    return fun, (jnp.array([0.3, 0.7], dtype),)


def kept_finite(shape):
    """`sum(shape(|x|))` with 0 where x is 0, as people write it to have no NaN: JAX's gradient is 0 there."""

    def make(dtype):
        def fun(x):
            inside = jnp.where(x == 0, 1, jnp.abs(x))
            return jnp.sum(jnp.where(x == 0, 0, shape(inside)))

        return fun, (jnp.array([0, 0.3, 1], dtype),)

    return make


EVEN = {
    "root": jnp.sqrt,
    "power_09": lambda a: a**0.9,
    "power_099": lambda a: a**0.99,
    "entropy": lambda a: a * jnp.log(a),
    "logarithm": jnp.log,
    "reciprocal": lambda a: 1 / a,
    "log_periodic": lambda a: a * jnp.sin(jnp.log(a)),
}
for name, shape in EVEN.items():  # what is even in h cancels in every central difference
    CASES.add(f"found.even_{name}", kept_finite(shape), FAMILY, kind="kink",
              reasons=frozenset({"SINGULAR", "KINK", "JUMP"}))  # fmt: skip
CASES.add("found.even_power_13", kept_finite(lambda a: a**1.3), FAMILY, undecidable=(F32,))


@CASES.case("found.root_at_0_claimed_flat", FAMILY, kind="kink", reasons=frozenset({"SINGULAR"}))
def _(dtype):
    return lambda x: jnp.sum(jnp.sqrt(jnp.abs(x))), (jnp.zeros(1, dtype),), lambda x: 0 * x


def raising_beyond(edge):
    """`sum(exp(x))`, which raises where a component lies beyond an edge."""

    def host(x):
        if np.any(np.asarray(x) > edge):
            raise ValueError(f"beyond {edge}")
        return np.exp(np.asarray(x))

    @jax.custom_vjp
    def guarded(x):
        return jax.pure_callback(host, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="expand_dims")

    guarded.defvjp(lambda x: (guarded(x), x), lambda x, u: (u * jnp.exp(x),))
    return lambda dtype: (lambda x: jnp.sum(guarded(x)), (jnp.array([1.0, 0.3], dtype),))


CASES.add("found.raises_beyond_2", raising_beyond(2.0), FAMILY, modes=("rev",))
CASES.add("found.raises_close_by", raising_beyond(1 + 1e-3), FAMILY, modes=("rev",), undecidable=(F32,))
CASES.add("found.raises_1e-7_away", raising_beyond(1 + 1e-7), FAMILY, modes=("rev",), dtypes=(F64,))


def half_inside(x):
    """A sum of sines of `x`, which loses its last digits beside 1 in float16: several outputs move in steps of 1e-3."""
    weights = np.random.default_rng(3019).standard_normal(6)
    return jnp.sum(weights * jnp.sin(((1 + x).astype(jnp.float16) - 1).astype(x.dtype)))


def half_inside_point(dtype):
    return (jnp.asarray(np.random.default_rng(3020).uniform(0.1, 0.9, 6), dtype),)


CASES.add("found.half_precision_inside", lambda dtype: (half_inside, half_inside_point(dtype)), FAMILY,
          undecidable=(F64, F32))  # fmt: skip
CASES.add("found.half_precision_inside_claimed_double", lambda dtype: (
    half_inside, half_inside_point(dtype), lambda x: 2 * jax.grad(half_inside)(x)), FAMILY, kind="wrong",
          cause="factor 2", undecidable=(F64, F32))  # fmt: skip


@jax.custom_vjp
def leaky(x):
    return jnp.where(x > 0, x, 0.1 * x)


leaky.defvjp(
    lambda x: (leaky(x), x),
    lambda x, g: (jnp.where(x > 0, g, 0.1 * g) * jnp.where(jnp.arange(x.size) == 2, 1.05, 1.0),),
)
BESIDE_A_KINK = np.array([0.7, -0.3, 1.1, 0.0, 0.4])  # one component at it


def weighted_sines(activation):
    return lambda x: jnp.sum(jnp.sin(activation(x)) * jnp.arange(1.0, x.size + 1).astype(x.dtype))


@CASES.case("found.leaky_at_its_kink", FAMILY, kind="kink", dtypes=(F64, F32), reasons=frozenset({"KINK"}))
def _(dtype):
    return weighted_sines(lambda x: jnp.where(x > 0, x, 0.1 * x)), (jnp.asarray(BESIDE_A_KINK, dtype),)


@CASES.case("found.wrong_beside_a_kink", FAMILY, kind="wrong", dtypes=(F64, F32), cause="factor 1.05 in one component")
def _(dtype):
    return weighted_sines(leaky), (jnp.asarray(BESIDE_A_KINK, dtype),)


def lasso(factor):
    """A sparse regression at a sparse point: half of its coefficients are at the kink of their penalty."""

    def case(dtype):
        random = np.random.default_rng(0)
        design = random.normal(size=(50, 300)).astype(dtype)
        target = random.normal(size=50).astype(dtype)
        sparse = random.normal(size=300) * (random.random(300) < 0.5)

        def loss(w):
            return jnp.sum((design.astype(w.dtype) @ w - target) ** 2) / 2 + 3 * jnp.sum(jnp.abs(w))

        def claim(w):
            return factor * design.T.astype(w.dtype) @ (design.astype(w.dtype) @ w - target) + 3 * jnp.sign(w)

        return loss, (jnp.asarray(sparse, dtype),), claim

    return case


CASES.add("found.sparse_point", lasso(1.0), FAMILY, kind="kink", dtypes=(F64,), reasons=frozenset({"KINK"}))
CASES.add(
    "found.sparse_point_wrong",
    lasso(1.02),
    FAMILY,
    kind="wrong",
    dtypes=(F64,),
    cause="factor 1.02 of one term",
)


def single_inside(factor):
    """A loss in float32 inside, along whose first two directions the terms of the gradient nearly cancel."""

    def case(dtype):
        inputs = np.random.default_rng(163).normal(size=(20, 4)).astype(np.float32)

        def loss(w):
            return jnp.mean(jnp.cos(inputs @ w.astype(jnp.float32)) ** 2)

        point = jnp.asarray(np.random.default_rng(164).normal(size=4), dtype)
        return loss, (point,), lambda w: (factor * jax.grad(loss)(w)).astype(w.dtype)

    return case


CASES.add("found.gradient_along_neither_direction", single_inside(1.0), FAMILY, dtypes=(F64, F32))
CASES.add("found.gradient_along_neither_direction_wrong", single_inside(1.001), FAMILY, kind="wrong",
          dtypes=(F64, F32), cause="factor 1.001")  # fmt: skip


SMOOTHED = np.float32(0.9) * np.eye(5, dtype=np.float32)[[1, 0, 3]] + np.float32(0.02)  # adds up to 1, nearly


def smoothed_labels(factor):
    """A cross entropy of labels in float32, with the gradient of labels that add up to 1."""

    def case(dtype):
        def loss(logits):
            return -jnp.mean(jnp.sum(SMOOTHED * jax.nn.log_softmax(logits), axis=-1))

        def claim(logits):
            return (factor * (jax.nn.softmax(logits) - SMOOTHED) / 3).astype(logits.dtype)

        return loss, (jnp.asarray(np.random.default_rng(21).normal(size=(3, 5)), dtype),), claim

    return case


CASES.add("found.labels_in_float32", smoothed_labels(1.0), FAMILY, dtypes=(F64, F32))
CASES.add("found.labels_in_float32_wrong", smoothed_labels(1 + 1e-5), FAMILY, kind="wrong", dtypes=(F64,),
          cause="factor 1.00001")  # fmt: skip


def on_the_margin(factors):
    """A hinge loss with one example exactly on the margin: every component meets its kink."""
    inputs = np.array([[1.0, 0.5, -0.5], [0.5, 0.5, 0.25], [-2.0, 1.0, 0.75], [0.25, -0.75, 1.0]])
    labels = np.array([1.0, 1.0, -1.0, 1.0])

    def case(dtype):
        def loss(w):
            return jnp.sum(jnp.maximum(0, 1 - labels.astype(dtype) * (inputs.astype(dtype) @ w)))

        def claim(w):
            return jax.grad(loss)(w) * jnp.array(factors, w.dtype)

        return loss, (jnp.array([0.5, 1.0, 0.0], dtype),), claim

    return case


CASES.add("found.hinge_on_the_margin", on_the_margin([1, 1, 1]), FAMILY, kind="kink", reasons=frozenset({"KINK"}),
          dtypes=(F64, F32))  # fmt: skip
CASES.add("found.hinge_on_the_margin_wrong", on_the_margin([1, 1, 1.05]), FAMILY, kind="wrong",
          cause="factor 1.05 in one component", dtypes=(F64, F32), undecidable=(F32,))  # fmt: skip
CASES.add("found.hinge_on_the_margin_sign", on_the_margin([1, 1, -1]), FAMILY, kind="wrong",
          cause="sign in one component", dtypes=(F64, F32), undecidable=(F32,))  # fmt: skip


def quotient(x):
    """`(exp(x) - 1) / x` as people write it, with its limit at 0: close to 0 it is 1, and its slope there is 1/2."""
    away = jnp.where(x == 0, 1, x)
    return jnp.where(x == 0, 1, (jnp.exp(away) - 1) / away)


for shape, point in (("alone", 0.0), ("beside_others", [0.0, 0.5, 1.0])):

    def lost(dtype, point=point):
        return lambda x: jnp.sum(quotient(x)), (jnp.asarray(point, dtype),)

    def lost_with_its_limit(dtype, point=point):
        def right(x):
            return jnp.where(x == 0, 0.5, jax.grad(lambda x: jnp.sum(quotient(x)))(x))

        return lambda x: jnp.sum(quotient(x)), (jnp.asarray(point, dtype),), right

    CASES.add(f"found.lost_digits_{shape}", lost, FAMILY, kind="wrong", dtypes=(F64,))
    CASES.add(f"found.lost_digits_{shape}_right", lost_with_its_limit, FAMILY, dtypes=(F64,))
