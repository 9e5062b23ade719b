"""Custom rules and hand-written gradients with the mistakes that people make, next to the right ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from corpus import planting
from corpus.build import array, normal, positive_definite
from corpus.case import Collection
from corpus.planting import with_backward, with_forward

CASES = Collection()
planted = functools.partial(planting.planted, CASES)


# ---- layers of networks


@planted("bias_without_sum_over_batch", "missing sum over the broadcast axis: the mean is taken", 0.4115)
def _(dtype, wrong):
    x, y = array(normal(100, 12, 4), dtype), array(normal(101, 12, 3), dtype)

    def back(inputs, out, ct):
        return ct, (ct.mean(0) if wrong else ct.sum(0))

    add = with_backward(lambda z, b: z + b, back)
    return (
        lambda p: jnp.sum((jnp.tanh(add(x @ p["w"], p["b"])) - y) ** 2),
        ({"w": array(normal(102, 4, 3), dtype), "b": array(normal(103, 3), dtype)},),
    )


@planted("matmul_weight_transposed", "the weight's cotangent is transposed", 1.268)
def _(dtype, wrong):
    def back(inputs, out, ct):
        x, w = inputs
        return ct @ w.T, (ct.T @ x if wrong else x.T @ ct)

    dot = with_backward(jnp.matmul, back)
    x = array(normal(104, 9, 5), dtype)
    return (lambda w: jnp.mean(jnp.sin(dot(jnp.tanh(dot(x, w)), w)))), (array(normal(105, 5, 5) / 2, dtype),)


@planted("embedding_duplicates_overwrite", "rows used twice get the last cotangent in place of the sum", 0.406)
def _(dtype, wrong):
    tokens = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3])
    target = array(normal(106, 10, 4), dtype)

    def back(inputs, out, ct):
        zero = jnp.zeros_like(inputs[0])
        return (zero.at[tokens].set(ct) if wrong else zero.at[tokens].add(ct),)

    look = with_backward(lambda table: table[tokens], back)
    return (lambda table: jnp.sum((look(table) - target) ** 4)), (array(normal(107, 12, 4), dtype),)


@planted("relu_mask_shifted", "the mask of a leaky rectifier is that of the neighbour", 0.7725)
def _(dtype, wrong):
    def back(inputs, out, ct):
        mask = inputs[0] > 0
        mask = jnp.roll(mask, 1) if wrong else mask
        return (jnp.where(mask, ct, 0.1 * ct),)

    leaky = with_backward(lambda z: jnp.where(z > 0, z, 0.1 * z), back)
    a = array(normal(108, 15, 6), dtype)
    return (lambda x: jnp.sum(leaky(a @ x) ** 2)), (array(normal(109, 6), dtype),)


@planted("batch_element_lost", "the last element of the batch is left out of the gradient", 0.03333)
def _(dtype, wrong):
    x, y = array(normal(110, 64, 5), dtype), array(normal(111, 64), dtype)

    def fun(w):
        return jnp.mean(jnp.log(jnp.cosh(x @ w - y)))

    def gradient(w):
        each = jnp.tanh(x @ w - y)[:, None] * x
        return (each[:-1] if wrong else each).sum(0) / len(each)

    return fun, (array(normal(112, 5), dtype),), gradient


@planted("softmax_backward_wrong_axis", "the projection sums over the other axis", 0.7257)
def _(dtype, wrong):
    def back(inputs, out, ct):
        return (out * (ct - jnp.sum(out * ct, axis=0 if wrong else 1, keepdims=True)),)

    soft = with_backward(lambda z: jax.nn.softmax(z, axis=1), back)
    mix = array(normal(113, 6, 6), dtype)
    return (lambda z: jnp.vdot(mix, soft(z) ** 2)), (array(normal(114, 6, 6), dtype),)


@planted("batch_norm_stale_variance", "the backward pass uses the running variance", 0.2387)
def _(dtype, wrong):
    running = array([1.1, 0.7, 1.6], dtype)

    def norm(x):
        return (x - x.mean(0)) / jnp.sqrt(x.var(0) + 1e-5)

    def back(inputs, out, ct):
        var = running if wrong else inputs[0].var(0)
        return ((ct - ct.mean(0) - out * (ct * out).mean(0)) / jnp.sqrt(var + 1e-5),)

    apply = with_backward(norm, back)
    w = array(normal(115, 10, 3), dtype)
    return (lambda x: jnp.vdot(w, jnp.tanh(apply(x)))), (array(normal(116, 10, 3) * 1.2, dtype),)


@planted("layer_norm_mean_term_missing", "the term of the mean is missing", 0.2257)
def _(dtype, wrong):
    def norm(x):
        return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-6)

    def back(inputs, out, ct):
        mean = 0 if wrong else ct.mean(-1, keepdims=True)
        scale = jnp.sqrt(inputs[0].var(-1, keepdims=True) + 1e-6)
        return ((ct - mean - out * (ct * out).mean(-1, keepdims=True)) / scale,)

    apply = with_backward(norm, back)
    w = array(normal(117, 4, 32), dtype)
    return (lambda x: jnp.vdot(w, apply(x) ** 3)), (array(normal(118, 4, 32), dtype),)


@planted("rms_norm_sum_for_mean", "sum for mean in the projection", 3.496)
def _(dtype, wrong):
    def norm(x):
        return x / jnp.sqrt((x**2).mean(-1, keepdims=True))

    def back(inputs, out, ct):
        inner = (ct * out).sum(-1, keepdims=True) if wrong else (ct * out).mean(-1, keepdims=True)
        return ((ct - out * inner) / jnp.sqrt((inputs[0] ** 2).mean(-1, keepdims=True)),)

    apply = with_backward(norm, back)
    w = array(normal(119, 3, 16), dtype)
    return (lambda x: jnp.vdot(w, jnp.sin(apply(x)))), (array(normal(120, 3, 16), dtype),)


@planted("gelu_of_the_other_kind", "derivative of the tanh approximation for the exact function", 2.635e-4)
def _(dtype, wrong):
    def back(inputs, out, ct):
        kind = functools.partial(jax.nn.gelu, approximate=wrong)
        return (jax.vjp(kind, inputs[0])[1](ct)[0],)

    gelu = with_backward(functools.partial(jax.nn.gelu, approximate=False), back)
    a = array(normal(121, 20, 7), dtype)
    return (lambda x: jnp.sum(gelu(a @ x) ** 2)), (array(normal(122, 7), dtype),)


@planted("causal_mask_off_by_one", "the mask of the backward pass is one place off", 0.5723)
def _(dtype, wrong):
    n = 7
    mask, other = np.tri(n, dtype=bool), np.tri(n, k=-1, dtype=bool)

    def weights(s):
        return jax.nn.softmax(jnp.where(mask, s, -1e9), axis=-1)

    def back(inputs, out, ct):
        through = out * (ct - jnp.sum(out * ct, axis=-1, keepdims=True))
        return (jnp.where(other, through, 0) if wrong else through,)

    apply, v = with_backward(weights, back), array(normal(123, n, 3), dtype)
    return (lambda qk: jnp.sum(jnp.tanh(apply(qk[0] @ qk[1].T) @ v))), (array(normal(124, 2, n, 4), dtype),)


@planted("rotary_sine_not_flipped", "the rotation back turns the same way", 1.074)
def _(dtype, wrong):
    angle = np.outer(np.arange(6), [1.0, 0.1])
    cos, sin = array(np.cos(angle), dtype), array(np.sin(angle), dtype)

    def turn(x, s):
        return jnp.concatenate([x[:, :2] * cos - x[:, 2:] * s, x[:, 2:] * cos + x[:, :2] * s], 1)

    apply = with_backward(lambda x: turn(x, sin), lambda inputs, out, ct: (turn(ct, sin if wrong else -sin),))
    k = array(normal(125, 6, 4), dtype)
    return (lambda x: jnp.sum(jax.nn.logsumexp(apply(x) @ k.T, axis=1))), (array(normal(126, 6, 4), dtype),)


@planted("average_pool_counts_padding", "border windows are divided by the full window in the backward pass", 0.05515)
def _(dtype, wrong):
    n = 10
    windows = (abs(np.arange(n) - np.arange(n)[:, None]) <= 1).astype(float)
    pool, full = array(windows / windows.sum(1, keepdims=True), dtype), array(windows / 3, dtype)
    apply = with_backward(lambda x: pool @ x, lambda inputs, out, ct: ((full if wrong else pool).T @ ct,))
    return (lambda x: jnp.sum(apply(x) ** 3)), (array(1 + normal(127, n) / 2, dtype),)


@planted("strided_convolution_shifted", "the cotangent of the input is shifted by one place", 1.879)
def _(dtype, wrong):
    kernel = np.array([0.3, -1.0, 0.6])
    dense = np.zeros((7, 15))
    for i in range(7):
        dense[i, 2 * i : 2 * i + 3] = kernel
    a = array(dense, dtype)

    def back(inputs, out, ct):
        pulled = a.T @ ct
        return (jnp.roll(pulled, 1) if wrong else pulled,)

    conv = with_backward(lambda x: a @ x, back)
    return (lambda x: jnp.sum(jnp.exp(conv(x)))), (array(normal(128, 15), dtype),)


@planted("dropout_not_rescaled_back", "the kept elements are not rescaled in the backward pass", 0.04465)
def _(dtype, wrong):
    keep = np.random.default_rng(129).random(30) < 0.9
    apply = with_backward(
        lambda x: jnp.where(keep, x / 0.9, 0),
        lambda inputs, out, ct: (jnp.where(keep, ct if wrong else ct / 0.9, 0),),
    )
    return (lambda x: jnp.sum(jnp.sin(apply(x)) * x)), (array(normal(130, 30), dtype),)


@planted("weighted_cross_entropy_weights_lost", "class weights only in the forward pass", 0.1576)
def _(dtype, wrong):
    labels, weight = np.array([0, 2, 1, 1, 0, 2, 2]), array([0.8, 1.3, 1.0], dtype)

    def fun(z):
        return -jnp.mean(weight[labels] * jax.nn.log_softmax(z, axis=1)[np.arange(7), labels])

    def gradient(z):
        each = (jax.nn.softmax(z, axis=1) - jax.nn.one_hot(labels, 3, dtype=z.dtype)) / 7
        return each if wrong else each * weight[labels][:, None]

    return fun, (array(normal(131, 7, 3), dtype),), gradient


@planted("padding_counted_in_the_mean", "the backward pass divides by all tokens, not by the unmasked ones", 0.25)
def _(dtype, wrong):
    mask, y = array(np.arange(12) < 9, dtype), array(normal(132, 12), dtype)

    def fun(x):
        return jnp.sum(mask * (jnp.sinh(x) - y) ** 2) / jnp.sum(mask)

    def gradient(x):
        return 2 * mask * (jnp.sinh(x) - y) * jnp.cosh(x) / (12 if wrong else jnp.sum(mask))

    return fun, (array(normal(133, 12), dtype),), gradient


@planted("gru_reset_path_missing", "the path through the reset gate is cut", 0.1067)
def _(dtype, wrong):
    xs = array(normal(134, 8, 3), dtype)

    def fun(p):
        def step(h, x):
            z, r = jnp.split(jax.nn.sigmoid(x @ p["in"] + h @ p["rec"]), 2)
            r = jax.lax.stop_gradient(r) if wrong else r
            return (1 - z) * h + z * jnp.tanh((r * h) @ p["new"] + x[:2]), None

        return jnp.sum(jax.lax.scan(step, jnp.ones(2, dtype), xs)[0] ** 2)

    shapes = {"in": (3, 4), "rec": (2, 4), "new": (2, 2)}
    return fun, ({k: array(normal(135 + i, *s), dtype) for i, (k, s) in enumerate(shapes.items())},)


@planted("recurrence_gradient_of_new_state", "the backward scan uses the new state in place of the old one", 0.09613)
def _(dtype, wrong):
    xs = array(normal(138, 20) / 2, dtype)

    def fun(p):
        return jax.lax.scan(lambda h, x: (jnp.tanh(p[0] * h + p[1] * x + p[2]), None), jnp.zeros((), dtype), xs)[0]

    def gradient(p):
        def step(h, x):
            new = jnp.tanh(p[0] * h + p[1] * x + p[2])
            return new, (h, new)

        _, (old, new) = jax.lax.scan(step, jnp.zeros((), dtype), xs)

        def back(carry, row):
            ct, total = carry
            before, after, x = row
            ct = ct * (1 - after**2)
            state = after if wrong else before
            return (ct * p[0], total + ct * jnp.stack([state, x, jnp.ones((), dtype)])), None

        return jax.lax.scan(back, (jnp.ones((), dtype), jnp.zeros(3, dtype)), (old, new, xs), reverse=True)[0][1]

    return fun, (array([0.8, 0.7, 0.1], dtype),), gradient


def _truncated(steps, dtype, wrong):
    """Backpropagation through time that stops before the first `40 - steps` steps are reached."""
    xs = array(normal(139, 40) / 2, dtype)

    def fun(p):
        def step(carry, x):
            h, i = carry
            h = jnp.where(i == 40 - steps, jax.lax.stop_gradient(h), h) if wrong else h
            return (0.75 * jnp.tanh(p[0] * h + p[1] * x), i + 1), None

        return jax.lax.scan(step, (jnp.zeros((), dtype), jnp.zeros((), int)), xs)[0][0]

    return fun, (array([1.1, 0.6], dtype),)


planted("backpropagation_cut_after_5", "backpropagation through time is cut after 5 steps", 0.2604)(
    functools.partial(_truncated, 5)
)
planted("backpropagation_cut_after_15", "backpropagation through time is cut after 15 steps", 0.01162, twin=False)(
    functools.partial(_truncated, 15)
)
planted("backpropagation_cut_after_35", "backpropagation through time is cut after 35 steps", 6.005e-6, twin=False)(
    functools.partial(_truncated, 35)
)


# ---- likelihoods


@planted("gaussian_log_scale_chain_factor", "derivative by sigma where the parameter is log sigma", 0.1806)
def _(dtype, wrong):
    x = array(normal(140, 30) * 1.7 + 0.4, dtype)

    def fun(p):
        return jnp.sum(((x - p["mean"]) * jnp.exp(-p["log_scale"])) ** 2 / 2 + p["log_scale"])

    def gradient(p):
        scale = jnp.exp(p["log_scale"])
        by_scale = jnp.sum(1 / scale - (x - p["mean"]) ** 2 / scale**3)
        return {"mean": -jnp.sum(x - p["mean"]) / scale**2, "log_scale": by_scale * (1 if wrong else scale)}

    return fun, ({"mean": array(0.1, dtype), "log_scale": array(0.2, dtype)},), gradient


@planted("multivariate_normal_logdet_missing", "the gradient of the log-determinant is left out", 1.75)
def _(dtype, wrong):
    x = array(normal(141, 15, 4), dtype)

    def fun(factor):
        return jnp.sum(jax.scipy.linalg.solve_triangular(factor, x.T, lower=True) ** 2) / 2 + 15 * jnp.sum(
            jnp.log(jnp.diag(factor))
        )

    def gradient(factor):
        inverse = jnp.linalg.inv(factor)
        scaled = inverse @ x.T
        grad = -jnp.tril(inverse.T @ scaled @ scaled.T)
        return grad if wrong else grad + 15 * jnp.diag(1 / jnp.diag(factor))

    return fun, (array(np.linalg.cholesky(positive_definite(142, 4)), dtype),), gradient


@planted("student_t_normaliser_missing", "the normaliser's derivative by the degrees of freedom is left out", 1.15)
def _(dtype, wrong):
    x, digamma, lgamma = array(normal(143, 20) * 1.5, dtype), jax.scipy.special.digamma, jax.scipy.special.gammaln

    def fun(nu):
        normaliser = lgamma(nu / 2) - lgamma((nu + 1) / 2) + jnp.log(nu) / 2
        return 20 * normaliser + (nu + 1) / 2 * jnp.sum(jnp.log1p(x**2 / nu))

    def gradient(nu):
        normaliser = (digamma(nu / 2) - digamma((nu + 1) / 2) + 1 / nu) / 2
        rest = jnp.sum(jnp.log1p(x**2 / nu)) / 2 - (nu + 1) / 2 * jnp.sum(x**2 / nu / (nu + x**2))
        return rest + (0 if wrong else 20 * normaliser)

    return fun, (array(4.2, dtype),), gradient


@planted("ratio_quotient_rule", "the derivative of the denominator is left out", 0.07587)
def _(dtype, wrong):
    a, b = array(normal(144, 5), dtype), array(0.1 * normal(145, 5), dtype)

    def fun(x):
        return jnp.exp(a @ x) / (3 + jnp.sin(b @ x))

    def gradient(x):
        first = jnp.exp(a @ x) / (3 + jnp.sin(b @ x))
        return first * a - (0 if wrong else first * jnp.cos(b @ x) / (3 + jnp.sin(b @ x)) * b)

    return fun, (array(normal(146, 5) / 2, dtype),), gradient


@planted("temperature_missing_in_backward", "the temperature of a soft maximum is left out of the weights", 0.02199)
def _(dtype, wrong):
    t = 1.05
    soft = with_backward(
        lambda x: t * jax.nn.logsumexp(x / t),
        lambda inputs, out, ct: (ct * jax.nn.softmax(inputs[0] if wrong else inputs[0] / t),),
    )
    return (lambda x: soft(x) ** 2), (array(normal(147, 8), dtype),)


# ---- matrices


@planted("inverse_without_transposes", "the transposes are missing in the rule of the inverse", 0.7059)
def _(dtype, wrong):
    def back(inputs, out, ct):
        return (-out @ ct @ out if wrong else -out.T @ ct @ out.T,)

    inverse, w = with_backward(jnp.linalg.inv, back), array(normal(148, 4, 4), dtype)
    return (lambda a: jnp.vdot(w, jnp.sin(inverse(a)))), (array(normal(149, 4, 4) + 3 * np.eye(4), dtype),)


@planted("determinant_cofactors_transposed", "the matrix of cofactors is transposed", 0.3931)
def _(dtype, wrong):
    def back(inputs, out, ct):
        inverse = jnp.linalg.inv(inputs[0])
        return (ct * out * (inverse if wrong else inverse.T),)

    det = with_backward(jnp.linalg.det, back)
    return (lambda a: jnp.log1p(det(a) ** 2)), (array(normal(150, 4, 4) / 3 + 2 * np.eye(4), dtype),)


@planted("triangular_solve_not_transposed", "solve with L in place of its transpose", 0.7939)
def _(dtype, wrong):
    factor = array(np.linalg.cholesky(positive_definite(151, 5)), dtype)
    solve = functools.partial(jax.scipy.linalg.solve_triangular, factor, lower=True)
    apply = with_backward(lambda b: solve(b), lambda inputs, out, ct: (solve(ct) if wrong else solve(ct, trans="T"),))
    return (lambda b: jnp.sum(jnp.cosh(apply(b)))), (array(normal(152, 5), dtype),)


@planted("eigenvalue_vectors_of_the_neighbour", "the projectors belong to the next eigenvalue", 1.153)
def _(dtype, wrong):
    def back(inputs, out, ct):
        v = jnp.linalg.eigh(inputs[0])[1]
        v = jnp.roll(v, 1, axis=1) if wrong else v
        return ((v * ct) @ v.T,)

    values = with_backward(lambda a: jnp.linalg.eigvalsh(a), back)
    return (lambda a: jnp.sum(jnp.sin(values((a + a.T) / 2)))), (array(normal(153, 4, 4), dtype),)


@planted("matrix_square_root_as_scalar", "the rule of the scalar root for the matrix root", 0.02822)
def _(dtype, wrong):
    def root(a):
        values, v = jnp.linalg.eigh(a)
        return (v * jnp.sqrt(values)) @ v.T

    def back(inputs, out, ct):
        ct = (ct + ct.T) / 2
        if wrong:
            half = jnp.linalg.inv(out) / 2
            return ((half @ ct + ct @ half) / 2,)
        values, v = jnp.linalg.eigh(inputs[0])
        r = jnp.sqrt(values)
        return (v @ ((v.T @ ct @ v) / (r[:, None] + r)) @ v.T,)

    apply, w = with_backward(root, back), array(normal(154, 4, 4), dtype)
    return (
        lambda a: jnp.vdot(w, apply((a + a.T) / 2)),
        (array(positive_definite(155, 4, 3.0), dtype),),
    )


@planted("cholesky_adjoint_unhalved", "the diagonal is not halved in the adjoint of the Cholesky factor", 0.6752)
def _(dtype, wrong):
    def back(inputs, out, ct):
        phi = jnp.tril(out.T @ ct)
        phi = phi if wrong else phi - jnp.diag(jnp.diag(phi)) / 2
        inverse = jnp.linalg.inv(out)
        full = inverse.T @ phi @ inverse
        return ((full + full.T) / 2,)

    factor, w = with_backward(lambda a: jnp.linalg.cholesky(a), back), array(np.tril(normal(156, 4, 4)), dtype)
    return (lambda a: jnp.vdot(w, factor((a + a.T) / 2))), (array(positive_definite(157, 4), dtype),)


@planted("norm_projection_missing", "the derivative of the length is left out of that of the unit vector", 0.285)
def _(dtype, wrong):
    def back(inputs, out, ct):
        length = jnp.linalg.norm(inputs[0])
        return (ct / length if wrong else (ct - out * jnp.vdot(out, ct)) / length,)

    unit, w = with_backward(lambda x: x / jnp.linalg.norm(x), back), array(normal(158, 6), dtype)
    return (lambda x: jnp.exp(unit(x) @ w)), (array(normal(159, 6), dtype),)


# ---- sums, indices and tables


@planted("subtraction_sign", "the sign of the second operand's cotangent", 0.01569)
def _(dtype, wrong):
    minus = with_backward(lambda a, b: a - b, lambda inputs, out, ct: (ct, ct if wrong else -ct))
    return (
        lambda p: jnp.sum(minus(jnp.exp(p["a"]), 0.01 * p["b"]) ** 2),
        ({"a": array(normal(160, 6), dtype), "b": array(normal(161, 6), dtype)},),
    )


@planted(
    "exclusive_sum_adjoint_inclusive", "the adjoint of an exclusive running sum includes the element itself", 0.09092
)
def _(dtype, wrong):
    def back(inputs, out, ct):
        inclusive = jnp.cumsum(ct[::-1])[::-1]
        return (inclusive if wrong else inclusive - ct,)

    before = with_backward(lambda x: jnp.cumsum(x) - x, back)
    return (lambda x: jnp.mean(jnp.tanh(before(x)))), (array(normal(162, 40), dtype),)


@planted("trapezoid_end_weights", "full weights at the two ends of an integral", 0.06961)
def _(dtype, wrong):
    def back(inputs, out, ct):
        weights = jnp.full_like(inputs[0], 0.05)
        return (ct * (weights if wrong else weights.at[jnp.array([0, -1])].multiply(0.5)),)

    integral = with_backward(lambda y: 0.05 * (jnp.sum(y) - (y[0] + y[-1]) / 2), back)
    t = array(np.linspace(0, 1, 21), dtype)
    return (lambda p: integral(jnp.exp(p[0] * t) * jnp.cos(p[1] * t))), (array([0.7, 2.1], dtype),)


@planted("bilinear_cell_size_missing", "the slope of a table is not divided by its spacing", 0.2)
def _(dtype, wrong):
    table, spacing = array(normal(163, 9), dtype), 0.8

    def forward(inputs, tangents):
        cell = jnp.floor(inputs[0] / spacing).astype(int)
        slope = table[cell + 1] - table[cell]
        return tangents[0] * slope / (1 if wrong else spacing)

    def look(x):
        cell = jnp.floor(x / spacing).astype(int)
        share = x / spacing - cell
        return (1 - share) * table[cell] + share * table[cell + 1]

    where = np.random.default_rng(164).uniform(0.1, 0.9, 6) * spacing + spacing * np.arange(6)
    return with_forward(look, forward), (array(where, dtype),)


@planted("leibniz_boundary_term_missing", "the moving limit of an integral is held fixed", 0.06767)
def _(dtype, wrong):
    nodes, weights = (array(v, dtype) for v in np.polynomial.legendre.leggauss(12))

    def fun(x):
        t = x * (nodes + 1) / 2
        return jnp.sum(weights * jnp.exp(-(t**2)) * jnp.cos(x * t)) * x / 2

    def gradient(x):
        t = x * (nodes + 1) / 2
        inside = -jnp.sum(weights * jnp.exp(-(t**2)) * t * jnp.sin(x * t)) * x / 2
        return inside + (0 if wrong else jnp.exp(-(x**2)) * jnp.cos(x * x))

    return fun, (array(1.3, dtype),), gradient


@planted(
    "tangent_of_the_first_argument_twice",
    "the rule uses the first tangent for both arguments",
    0.9363,
    modes=("fwd",),
)
def _(dtype, wrong):
    def forward(inputs, tangents):
        (x, y), (dx, dy) = inputs, tangents
        return jnp.cos(x) * y * dx + jnp.sin(x) * (dx if wrong else dy)

    f = with_forward(lambda x, y: jnp.sin(x) * y, forward)
    return (lambda p: f(p["x"], p["y"])), ({"x": array(normal(165, 4), dtype), "y": array(normal(166, 4), dtype)},)


@planted("second_argument_forgotten", "the rule forgets the exponent", 0.1037, modes=("rev", "fwd"))
def _(dtype, wrong):
    def forward(inputs, tangents):
        (x, n), (dx, dn) = inputs, tangents
        return n * x ** (n - 1) * dx + (0 if wrong else x**n * jnp.log(x) * dn)

    power = with_forward(lambda x, n: x**n, forward)
    return (
        lambda p: jnp.sum(power(p["base"], p["exponent"])),
        ({"base": array(1 + normal(167, 5) ** 2 / 9, dtype), "exponent": array(1.7, dtype)},),
    )
