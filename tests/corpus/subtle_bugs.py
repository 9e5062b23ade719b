"""Wrong derivatives that are hard to see: a small error, few wrong components, or wrong in second order only."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from corpus.build import normal, uniform
from corpus.case import UNRESOLVED, WRONG, Collection
from corpus.trusted import (
    FOLKLORE,
    LIVE,
    TWIN,
    Known,
    exact_slope,
    normal64,
    positive_definite64,
    trusted,
    weighted,
    with_jvp,
    with_vjp,
)

CASES = Collection()
subtle = functools.partial(trusted, CASES, kind="wrong", family="subtle")
sparse = functools.partial(trusted, CASES, kind="wrong", family="sparse")
right = functools.partial(trusted, CASES, kind="right", family="plain", source=TWIN)


# ---- subtle: relative error between 1e-3 and 1e-8


def layernorm(*, eps_in_backward=True, saved=jnp.float64):
    eps = 1e-5
    x, weights = normal64(311, 8, 16), normal64(312, 8, 16)
    value = lambda x: (x - x.mean(1, keepdims=True)) / jnp.sqrt(x.var(1, keepdims=True) + eps)

    def backward(args, out, ct):
        x = args[0].astype(saved).astype(jnp.float64)
        variance = args[0].var(1, keepdims=True) + (eps if eps_in_backward else 0.0)
        scale = 1 / jnp.sqrt(variance)
        unit = (x - x.mean(1, keepdims=True)) * scale
        return (scale * (ct - ct.mean(1, keepdims=True) - unit * (ct * unit).mean(1, keepdims=True)),)

    loss = lambda norm: lambda x: jnp.sum(weights * norm(x))
    return loss(with_vjp(value, backward)), (x,), None, loss(value)


subtle(
    "layernorm_eps_missing_in_backward",
    lambda: layernorm(eps_in_backward=False),
    cause="dropped-term",
    error=1.128e-05,
    source=FOLKLORE + "LayerNorm eps only in the forward pass",
    twin="layernorm_right",
)
subtle(
    "layernorm_residual_saved_in_bf16",
    lambda: layernorm(saved=jnp.bfloat16),
    cause="stale-cache",
    error=0.0007197,
    source=FOLKLORE + "activation compressed to bfloat16 for the backward pass",
    twin="layernorm_right",
)
right("layernorm_right", layernorm, cause="dropped-term", twin="layernorm_eps_missing_in_backward")


def sinc():
    x = jnp.array([1e-5, -2e-5, 3e-5])
    slope = lambda x: exact_slope(lambda mp, t: mp.sin(mp.pi * t) / (mp.pi * t), x)
    return lambda x: jnp.sum(jnp.sinc(x)), (x,), None, Known(lambda: jnp.array([slope(v) for v in x]))


subtle(
    "sinc_cancellation_near_zero",
    sinc,
    cause="zero",
    error=8.216e-08,
    answers=frozenset({WRONG, UNRESOLVED}),
    reasons=frozenset({"ROUNDOFF", "NOISE"}),
    source="jax-ml/jax#40629 (closed; still in 0.10.2)",
    note=LIVE + "; f(x) is 1 - 1.6e-10: its value barely changes, so finite differences need large steps",
)


def incomplete_beta(derivative):
    from jax.scipy.special import betainc

    point = {"a": jnp.array([1.3, 4.2]), "b": jnp.array([2.2, 0.8])}
    x = jnp.array([0.4, 0.7])

    def rule(args, tangents):
        a, b, x = args
        to_a = derivative(lambda step: betainc(a + step, b, x))
        to_b = derivative(lambda step: betainc(a, b + step, x))
        return betainc(a, b, x), to_a * tangents[0] + to_b * tangents[1]

    def truth():
        value = lambda mp, a, b, x: mp.betainc(a, b, 0, x, regularized=True)
        points = [tuple(map(float, point)) for point in zip(point["a"], point["b"], x, strict=True)]
        to_a = [exact_slope(lambda mp, t, b=b, x=x: value(mp, t, mp.mpf(b), mp.mpf(x)), a) for a, b, x in points]
        to_b = [exact_slope(lambda mp, t, a=a, x=x: value(mp, mp.mpf(a), t, mp.mpf(x)), b) for a, b, x in points]
        return {"a": jnp.array(to_a), "b": jnp.array(to_b)}

    function = with_jvp(betainc, rule)
    return lambda p, x: jnp.sum(function(p["a"], p["b"], x)), (point, x), None, Known(truth)


def one_sided(function, step=2e-4):
    return (function(step) - function(0.0)) / step


def fourth_order(function, step=1e-3):
    near, far = function(step) - function(-step), function(2 * step) - function(-2 * step)
    return (8 * near - far) / (12 * step)


subtle(
    "betainc_one_sided_difference_rule",
    lambda: incomplete_beta(one_sided),
    cause="adjoint-approximation",
    error=3.295e-05,
    source="CamDavidsonPilon/autograd-gamma#6, jax-ml/jax#38610 (no closed form, finite differences inside the rule)",
    twin="betainc_central_rule",
)
right(
    "betainc_central_rule",
    lambda: incomplete_beta(fourth_order),
    cause="adjoint-approximation",
    twin="betainc_one_sided_difference_rule",
    note="accurate to ~1e-12, itself a difference formula",
)


def fixed_point(terms):
    w = normal64(321, 6, 6)
    point = {"W": 0.6 * w / jnp.linalg.norm(w, 2), "b": normal64(322, 6)}
    weights = normal64(323, 6)
    step = lambda p, z: jnp.tanh(p["W"] @ z + p["b"])
    solve = lambda p: jax.lax.fori_loop(0, 120, lambda i, z: step(p, z), jnp.zeros(6))

    def backward(args, z, ct):
        (p,) = args
        to_z = jax.vjp(lambda z: step(p, z), z)[1]
        adjoint = jax.lax.fori_loop(0, terms, lambda i, u: ct + to_z(u)[0], ct)
        return jax.vjp(lambda p: step(p, z), p)[1](adjoint)

    def clean(p):
        return jnp.vdot(weights, jax.lax.scan(lambda z, _: (step(p, z), None), jnp.zeros(6), None, length=120)[0])

    function = with_vjp(solve, backward)
    return lambda p: jnp.vdot(weights, function(p)), (point,), None, clean


subtle(
    "fixed_point_neumann_truncated",
    lambda: fixed_point(12),
    cause="adjoint-approximation",
    error=1.65e-08,
    source=FOLKLORE + "implicit layer, truncated Neumann series",
    twin="fixed_point_neumann_converged",
)
right(
    "fixed_point_neumann_converged",
    lambda: fixed_point(120),
    cause="adjoint-approximation",
    twin="fixed_point_neumann_truncated",
)


def softplus(slope):
    x = jnp.concatenate([normal64(361, 30), jnp.array([10.5, 11.0, 14.0])])
    weights = jnp.concatenate([normal64(362, 30), jnp.array([2.0, -1.5, 1.0])])
    return weighted(lambda x: jnp.logaddexp(x, 0.0), slope, x, weights)


subtle(
    "softplus_threshold_in_backward",
    lambda: softplus(lambda x: jnp.where(x > 10.0, 1.0, jax.nn.sigmoid(x))),
    cause="activation-derivative",
    error=1.568e-05,
    source=FOLKLORE + "torch-style softplus threshold applied to the derivative only",
    only_at=(("", (30,)), ("", (31,)), ("", (32,))),
    twin="softplus_right",
)
right(
    "softplus_right",
    lambda: softplus(jax.nn.sigmoid),
    cause="activation-derivative",
    twin="softplus_threshold_in_backward",
)


def iterate(lag):
    a, b, x = positive_definite64(371, 8), normal64(372, 8), normal64(373, 8)
    fun = lambda x: 0.5 * x @ a @ x - b @ x + jnp.sum(jnp.cos(x))
    gradient = jax.grad(fun)
    return fun, (x,), lambda x: gradient(x + lag * jnp.ones(8)), fun


subtle(
    "gradient_at_previous_iterate",
    lambda: iterate(1e-5),
    cause="stale-cache",
    error=5.151e-06,
    source=FOLKLORE + "gradient cached from the previous iterate",
    twin="gradient_at_this_iterate",
)
right("gradient_at_this_iterate", lambda: iterate(0.0), cause="stale-cache", twin="gradient_at_previous_iterate")


def log_gamma(slope):
    x, weights = jnp.array([6.5, 9.0, 12.0, 20.0]), jnp.array([1.0, -2.0, 0.5, 1.5])
    fun, args, claimed, _ = weighted(lambda x: jax.scipy.special.gammaln(x), slope, x, weights)

    def truth():
        import mpmath as mp

        return jnp.array([float(mp.digamma(mp.mpf(float(v)))) for v in x]) * weights

    return fun, args, claimed, Known(truth)


subtle(
    "lgamma_derivative_short_asymptotic",
    lambda: log_gamma(lambda x: jnp.log(x) - 1 / (2 * x) - 1 / (12 * x**2)),
    cause="adjoint-approximation",
    error=8.042e-07,
    source=FOLKLORE + "asymptotic series cut short (cf. stan-dev/math#3408, #3409)",
    twin="lgamma_derivative_right",
)
right(
    "lgamma_derivative_right",
    lambda: log_gamma(jax.scipy.special.digamma),
    cause="adjoint-approximation",
    twin="lgamma_derivative_short_asymptotic",
)


def cross_entropy(backward_smoothing):
    classes, z = 10, normal64(381, 16, 10)
    labels = jnp.asarray(np.random.default_rng(382).integers(0, classes, 16))
    target = lambda smoothing, y: (1 - smoothing) * jax.nn.one_hot(y, classes) + smoothing / classes
    fun = lambda z, y: -jnp.mean(jnp.sum(target(5e-4, y) * jax.nn.log_softmax(z), 1))
    return fun, (z, labels), lambda z, y: (jax.nn.softmax(z) - target(backward_smoothing, y)) / 16, fun


subtle(
    "label_smoothing_missing_in_backward",
    lambda: cross_entropy(0.0),
    cause="dropped-term",
    error=0.000465,
    source=FOLKLORE + "fused cross-entropy kernels, smoothing forward only",
    twin="label_smoothing_right",
)
right(
    "label_smoothing_right",
    lambda: cross_entropy(5e-4),
    cause="dropped-term",
    twin="label_smoothing_missing_in_backward",
)


# ---- sparse: 1 to 3 wrong components of 1000 or more


def bessel(function):
    x, weights = normal64(411, 1024, scale=1.5).at[417].set(0.0), normal64(412, 1024).at[417].set(1.7)

    def truth():
        import scipy.special

        return weights * jnp.asarray(scipy.special.i1(np.asarray(x)))

    return lambda x: jnp.vdot(weights, function(x)), (x,), None, Known(truth)


def i0_with_rule():
    from jax.scipy.special import i0, i1

    return with_jvp(i0, lambda args, tangents: (i0(args[0]), i1(args[0]) * tangents[0]))


sparse(
    "i0_gradient_at_zero",
    lambda: bessel(jax.scipy.special.i0),
    cause="zero",
    error=0.02878,
    source="jax-ml/jax#40628, fixed after 0.10.2 by #40640",
    only_at=(("", (417,)),),
    twin="i0_right",
    note=LIVE,
)
right("i0_right", lambda: bessel(i0_with_rule()), cause="zero", twin="i0_gradient_at_zero")


def digamma():
    x, weights = jnp.asarray(uniform(421, 0.5, 9.0, 1000)).at[613].set(-16.5), normal64(422, 1000)

    def truth():
        from scipy.special import polygamma

        slope = np.array(polygamma(1, np.where(np.asarray(x) > 0, np.asarray(x), 1.0)))
        slope[613] = math.pi**2 - float(polygamma(1, 17.5))  # psi1(x) = pi^2 / sin^2(pi x) - psi1(1 - x)
        return weights * jnp.asarray(slope)

    return lambda x: jnp.vdot(weights, jax.lax.digamma(x)), (x,), None, Known(truth)


sparse(
    "digamma_negative_half_integer",
    digamma,
    cause="index",
    error=0.3762,
    source="jax-ml/jax#37635",
    only_at=(("", (613,)),),
    note=LIVE,
)


def row_products(divide):
    x, weights = (normal64(461, 300, 4) + 1.2).at[123, 2].set(0.0), normal64(462, 300)
    value = lambda x: x[:, 0] * x[:, 1] * x[:, 2] * x[:, 3]

    def backward(args, out, ct):
        (x,) = args
        if divide:
            return (jnp.where(x == 0, 0.0, (ct * out)[:, None] / jnp.where(x == 0, 1.0, x)),)
        ones = jnp.ones((300, 1))
        before = jnp.cumprod(jnp.concatenate([ones, x[:, :-1]], 1), 1)
        after = jnp.cumprod(jnp.concatenate([ones, x[:, :0:-1]], 1), 1)[:, ::-1]
        return (ct[:, None] * before * after,)

    loss = lambda product: lambda x: jnp.vdot(weights, product(x))
    return loss(with_vjp(value, backward)), (x,), None, loss(value)


sparse(
    "reduce_prod_zero_element",
    lambda: row_products(True),
    cause="zero",
    error=0.02459,
    source="tensorflow/tensorflow#2641 (prod / x, NaN masked to 0)",
    only_at=(("", (123, 2)),),
    twin="reduce_prod_right",
)
right("reduce_prod_right", lambda: row_products(False), cause="zero", twin="reduce_prod_zero_element")


def top_k(compare, k=50):
    value = lambda x: jnp.sum(jnp.sort(x)[-k:] ** 2)
    function = with_vjp(value, lambda args, out, ct: (ct * 2 * args[0] * compare(args[0], jnp.sort(args[0])[-k]),))
    loss = lambda best: lambda x: best(x) + 0.1 * jnp.sum(jnp.sin(x))
    return loss(function), (normal64(471, 1500),), None, loss(value)


sparse(
    "topk_threshold_strict",
    lambda: top_k(jnp.greater),
    cause="index",
    error=0.1192,
    source=FOLKLORE + "top-k mask with > in place of >=",
    only_at=(("", (int(np.argsort(normal(471, 1500))[-50]),)),),
    twin="topk_right",
)
right("topk_right", lambda: top_k(jnp.greater_equal), cause="index", twin="topk_threshold_strict")


def table_lookup():
    knots = np.linspace(0.0, 1.0, 1001)
    queries = np.append(uniform(482, 0.0, 0.99, 400), 0.9996)
    table, weights = normal64(481, 1001), normal64(483, 401) + 0.3
    bins = np.clip(np.searchsorted(knots, queries, side="right") - 1, 0, 999)
    part = jnp.asarray((queries - knots[bins]) / (knots[bins + 1] - knots[bins]))
    value = lambda table: table[bins] * (1 - part) + table[bins + 1] * part

    def backward(args, out, ct):
        folded = np.minimum(bins, 998)  # the last bin is folded into the one before
        return (jnp.zeros(1001).at[folded].add(ct * (1 - part)).at[folded + 1].add(ct * part),)

    loss = lambda lookup: lambda table: jnp.vdot(weights, lookup(table) ** 2) / 10 + 0.1 * jnp.sum(table**2)
    return loss(with_vjp(value, backward)), (table,), None, loss(value)


sparse(
    "interp_last_bin_off_by_one",
    table_lookup,
    cause="index",
    error=0.03443,
    source=FOLKLORE + "table lookup, last interval",
    only_at=(("", (998,)), ("", (999,)), ("", (1000,))),
)


def per_tensor_scale():
    x, weights = normal64(501, 1100), normal64(502, 1100)
    loss = lambda through: lambda x: jnp.vdot(weights, jnp.tanh(x / through(jnp.max(jnp.abs(x)))))
    return loss(jax.lax.stop_gradient), (x,), None, loss(lambda scale: scale)


sparse(
    "absmax_scale_detached",
    per_tensor_scale,
    cause="dropped-term",
    error=0.03669,
    source=FOLKLORE + "detach/stop_gradient leak in per-tensor scaling",
    only_at=(("", (int(np.argmax(np.abs(normal(501, 1100)))),)),),
)


# ---- wrong in second order: the gradient is right

second_order = functools.partial(trusted, CASES, kind="wrong", family="second-order", order=2)


def nested_rule():
    @jax.custom_vjp
    def backward(x, ct):
        return 3 * x**2 * ct

    backward.defvjp(
        lambda x, ct: (backward(x, ct), (x, ct)), lambda saved, c: (jnp.zeros_like(saved[0]), 3 * saved[0] ** 2 * c)
    )
    cube = jax.custom_vjp(lambda x: x**3)
    cube.defvjp(lambda x: (x**3, x), lambda x, ct: (backward(x, ct),))
    loss = lambda cube: lambda x: jnp.sum(cube(x)) + 0.2 * jnp.sum(x**2)
    return loss(cube), (normal64(601, 5) + 1.0,), None, loss(lambda x: x**3)


second_order(
    "nested_custom_vjp_saved_has_no_cotangent",
    nested_rule,
    cause="dropped-term",
    error=0.9552,
    source="jax-ml/jax#21220",
)


def bessel_hessian():
    x = jnp.array([0.7, 0.0, -1.1])

    def truth():
        import scipy.special

        return jnp.asarray(np.diag(0.5 * (scipy.special.i0(np.asarray(x)) + scipy.special.iv(2, np.asarray(x)))))

    return lambda x: jnp.sum(jnp.i0(x)), (x,), None, Known(truth)


second_order(
    "i0_second_derivative_at_zero",
    bessel_hessian,
    cause="zero",
    error=0.4639,
    source="jax-ml/jax#40627, fixed after 0.10.2 by #40640",
    only_at=(("", (1, 1)),),
    note=LIVE,
)


def safe_norm_kernel():
    def fun(x):
        square = jnp.sum(x**2)
        norm = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
        return jnp.exp(-(norm**2))

    return fun, (jnp.zeros(4),), None, lambda x: jnp.exp(-jnp.sum(x**2))


second_order(
    "rbf_safe_norm_hessian_at_zero",
    safe_norm_kernel,
    cause="zero",
    error=1.0,
    source="pytorch/pytorch#92075, functorch#1097",
    note="no custom rule: the double-where safe norm; the gradient (zero) is right",
)


def hessian_vector_product(factor):
    a, point = normal64(621, 6, 5), {"u": normal64(622, 5), "s": jnp.array(0.8)}
    value = lambda p: jnp.sum(jnp.log(jnp.cosh(p["s"] * (a @ p["u"]))))

    def gradient_rule(args, tangents):
        gradient, tangent = jax.jvp(jax.grad(value), args, tangents)
        return gradient, {"u": tangent["u"] * factor, "s": tangent["s"]}

    gradient = with_jvp(jax.grad(value), gradient_rule)

    def rule(args, tangents):
        return value(*args), sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient(*args), tangents[0])))

    return with_jvp(value, rule), (point,), None, value


second_order(
    "hvp_factor_two",
    lambda: hessian_vector_product(0.5),
    cause="scale",
    error=0.3513,
    source=FOLKLORE + "Hessian-vector product, factor 2",
    twin="hvp_right",
)
right(
    "hvp_right",
    lambda: hessian_vector_product(1.0),
    family="second-order",
    order=2,
    cause="scale",
    twin="hvp_factor_two",
)
