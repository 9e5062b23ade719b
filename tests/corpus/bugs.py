"""Wrong derivatives of bug trackers and textbooks, retold, and their right twins, in float64."""

import functools
import math

import jax
import jax.numpy as jnp

from corpus.case import Collection
from corpus.trusted import FOLKLORE, TWIN, Known, normal64, trusted, weighted, with_jvp, with_vjp

CASES = Collection()
wrong = functools.partial(trusted, CASES, kind="wrong", family="plain")
right = functools.partial(trusted, CASES, kind="right", family="plain", source=TWIN)


# ---- rules from bug trackers


def isrlu(drop_cotangent):
    value = lambda x: jnp.where(x < 0, x / jnp.sqrt(1 + x**2), x)
    slope = lambda x: jnp.where(x < 0, (1 + x**2) ** -1.5, 1.0)
    return weighted(value, slope, normal64(31, 20), normal64(32, 20), drop_cotangent=drop_cotangent)


wrong(
    "isrlu_ignores_cotangent",
    lambda: isrlu(True),
    cause="dropped-term",
    error=1.517,
    source="pytorch/pytorch#4355 (backward returns nisr**3 without grad_out)",
    twin="isrlu_right",
)
right("isrlu_right", lambda: isrlu(False), cause="dropped-term", twin="isrlu_ignores_cotangent")


def floormod(reduce):
    x, y = normal64(51, 16, scale=5.0) + 20.0, jnp.array(3.3)
    weights = normal64(52, 16) + 1.0
    function = with_vjp(
        lambda x, y: jnp.remainder(x, y), lambda args, out, ct: (ct, reduce(-jnp.floor(args[0] / args[1]) * ct))
    )
    clean = lambda x, y: x - y * jax.lax.stop_gradient(jnp.floor(x / y))
    loss = lambda function: lambda p: jnp.sum(weights * function(p["x"], p["y"]))
    return loss(function), ({"x": x, "y": y},), None, loss(clean)


wrong(
    "floormod_divisor_mean_over_batch",
    lambda: floormod(jnp.mean),
    cause="broadcast",
    error=0.9358,
    source="tensorflow/tensorflow#8386 (reduce_mean over the broadcast axis)",
    twin="floormod_right",
)
right("floormod_right", lambda: floormod(jnp.sum), cause="broadcast", twin="floormod_divisor_mean_over_batch")


def segment_prod(zero_jvp):
    x, weights = normal64(91, 12) + 2.0, normal64(92, 4)
    segments = jnp.array([0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 3, 0])
    inside = segments[None] == jnp.arange(4)[:, None]

    def value(x):
        size = jnp.exp(jax.ops.segment_sum(jnp.log(jnp.abs(x)), segments, 4))
        return size * jnp.prod(jnp.where(inside, jnp.sign(x)[None], 1.0), axis=1)

    clean = lambda x: jnp.prod(jnp.where(inside, x[None], 1.0), axis=1)
    if zero_jvp:
        return with_jvp(value, lambda args, tangents: (value(*args), jnp.zeros(4))), (x,), None, clean
    function = with_vjp(value, lambda args, out, ct: (ct[segments],))
    return lambda x: jnp.vdot(weights, function(x)), (x,), None, lambda x: jnp.vdot(weights, clean(x))


wrong(
    "segment_prod_without_cofactors",
    lambda: segment_prod(False),
    cause="dropped-term",
    error=0.8343,
    source="jax-ml/jax#9296",
)
wrong(
    "scatter_prod_zero_jvp",
    lambda: segment_prod(True),
    cause="zero",
    error=1.0,
    source="pytorch/pytorch#196702 (forward mode returns 0)",
    note="vector-valued; custom_jvp",
)


def log_sigmoid():
    x = jnp.array([0.0, 0.4, -1.2, 0.0, 3.0])
    # |x| as x * sign(x) has the slope 0 at 0, as jnp.abs had in 2020 (today's takes +1 there, which is right here)
    fun = lambda x: jnp.sum(jnp.where(x < 0, x, 0.0) - jnp.log1p(jnp.exp(-x * jnp.sign(x))))
    return fun, (x,), None, lambda x: -jnp.sum(jnp.log(1 + jnp.exp(-x)))


wrong(
    "log_sigmoid_zero_branch",
    log_sigmoid,
    cause="zero",
    error=0.6315,
    source="jax-ml/jax#2140",
    only_at=(("", (0,)), ("", (3,))),
    note="smooth function; two non-smooth pieces cancel; no custom rule",
)


def complex_gradient(conjugated):
    z = normal64(101, 6) + 1j * normal64(102, 6)
    fun = lambda z: jnp.sum(jnp.abs(z) ** 2 * jnp.real(z)) + jnp.sum(jnp.imag(z) ** 2)
    gradient = jax.grad(fun)
    return fun, (z,), (lambda z: jnp.conj(gradient(z))) if conjugated else gradient, fun


wrong(
    "complex_gradient_conjugated",
    lambda: complex_gradient(True),
    cause="sign",
    error=0.7435,
    source="jax-ml/jax#15872, #9110, #979 (PyTorch convention handed to JAX)",
    twin="complex_gradient_jax_convention",
    note="complex args[0]; JAX convention: grad = df/dx - i df/dy",
)
right(
    "complex_gradient_jax_convention",
    lambda: complex_gradient(False),
    cause="sign",
    twin="complex_gradient_conjugated",
)


def fourier(transpose):
    x, mask = normal64(111, 16), normal64(112, 16)
    value = lambda x: jnp.fft.fft(x.astype(complex))
    function = with_vjp(value, lambda args, out, ct: (jnp.real(transpose(ct)),))
    loss = lambda transform: (
        lambda x: jnp.sum(jnp.real(transform(x)) * mask) + jnp.sum(jnp.abs(transform(x)) ** 2 * mask**2) / 16
    )
    return loss(function), (x,), None, loss(value)


wrong(
    "fft_vjp_is_ifft",
    lambda: fourier(jnp.fft.ifft),
    cause="transpose",
    error=0.9487,
    source="HIPS/autograd#185, EnzymeAD/Enzyme-JAX#2071",
    twin="fft_vjp_right",
)
right("fft_vjp_right", lambda: fourier(jnp.fft.fft), cause="transpose", twin="fft_vjp_is_ifft")


# ---- textbook backward passes


def matrix_exponential():
    from jax.scipy.linalg import expm

    rule = lambda args, tangents: (expm(args[0]), expm(args[0]) @ tangents[0])
    return with_jvp(expm, rule), (normal64(141, 3, 3, scale=0.5),), None, lambda a: expm(a)


wrong(
    "expm_as_if_commuting",
    matrix_exponential,
    cause="dropped-term",
    error=0.4483,
    source=FOLKLORE + "d expm(A)[E] = expm(A) E",
    note="matrix-valued; custom_jvp",
)


def pseudoinverse():
    weights = normal64(152, 3, 6)
    value = lambda a: jnp.linalg.solve(a.T @ a, a.T)
    function = with_jvp(value, lambda args, tangents: (value(*args), -value(*args) @ tangents[0] @ value(*args)))
    loss = lambda inverse: lambda a: jnp.sum(weights * inverse(a))
    return loss(function), (normal64(151, 6, 3),), None, loss(value)


wrong(
    "pinv_projection_terms_missing",
    pseudoinverse,
    cause="dropped-term",
    error=0.6052,
    source=FOLKLORE + "pinv differentiated as inv (full-column-rank A)",
)


def convolution(flipped):
    x, kernel, weights = normal64(171, 30), jnp.array([0.5, -1.0, 2.0, 0.3]), normal64(172, 27)
    value = lambda x, kernel: jnp.convolve(x, kernel[::-1], mode="valid")  # cross-correlation

    def backward(args, out, ct):
        x, kernel = args
        to_x = jnp.convolve(ct, kernel[::-1] if flipped else kernel, mode="full")
        return to_x, jnp.convolve(x, ct[::-1], mode="valid")

    loss = lambda correlate: lambda p: jnp.vdot(weights, jnp.tanh(correlate(p["x"], p["k"])))
    return loss(with_vjp(value, backward)), ({"x": x, "k": kernel},), None, loss(value)


wrong(
    "conv_filter_flipped",
    lambda: convolution(True),
    cause="transpose",
    error=1.732,
    source=FOLKLORE + "correlation vs convolution in the backward pass",
    twin="conv_filter_right",
)
right("conv_filter_right", lambda: convolution(False), cause="transpose", twin="conv_filter_flipped")


def attention(*, diagonal_only=False, scaled=True):
    length, width = 5, 8
    point = {"q": normal64(181, length, width), "k": normal64(182, length, width), "v": normal64(183, length, width)}
    weights = normal64(184, length, width)

    def value(q, k, v):
        return jax.nn.softmax(q @ k.T / math.sqrt(width)) @ v

    def backward(args, out, ct):
        q, k, v = args
        p = jax.nn.softmax(q @ k.T / math.sqrt(width))
        to_p = ct @ v.T
        to_scores = p * (to_p if diagonal_only else to_p - jnp.sum(to_p * p, 1, keepdims=True))
        scale = 1 / math.sqrt(width) if scaled else 1.0
        return to_scores @ k * scale, to_scores.T @ q * scale, p.T @ ct

    loss = lambda attend: lambda p: jnp.sum(weights * attend(p["q"], p["k"], p["v"]))
    return loss(with_vjp(value, backward)), (point,), None, loss(value)


wrong(
    "attention_softmax_jacobian_diag_only",
    lambda: attention(diagonal_only=True),
    cause="dropped-term",
    error=0.4998,
    source=FOLKLORE + "softmax backward without the rank-one term",
)
wrong(
    "attention_scale_missing_in_backward",
    lambda: attention(scaled=False),
    cause="scale",
    error=1.067,
    source=FOLKLORE + "1/sqrt(d) missing in dQ, dK",
    twin="attention_right",
)
right("attention_right", attention, cause="scale", twin="attention_scale_missing_in_backward")


def lstm():
    steps, width = 6, 4
    inputs, matrices, weights = (
        normal64(191, steps, width),
        normal64(192, 3, width, width, scale=0.5),
        normal64(193, width),
    )

    def cell(forget, admit, new, c):
        return forget * c + admit * new

    # the slope to the forget gate is the new cell, not the old one
    stale = with_vjp(cell, lambda args, out, ct: (ct * out, ct * args[2], ct * args[1], ct * args[0]))

    def loss(cell):
        def fun(matrices, inputs):
            def step(c, x):
                forget, admit = jax.nn.sigmoid(matrices[0] @ x), jax.nn.sigmoid(matrices[1] @ (x + c))
                return cell(forget, admit, jnp.tanh(matrices[2] @ x), c), None

            return jnp.vdot(weights, jnp.tanh(jax.lax.scan(step, jnp.zeros(width), inputs)[0]))

        return fun

    return loss(stale), (matrices, inputs), None, loss(cell)


wrong(
    "lstm_forget_gate_uses_new_cell",
    lstm,
    cause="stale-cache",
    error=0.05848,
    source=FOLKLORE + "wrong cached tensor (c_t for c_{t-1})",
)


def cumulative_sum():
    weights = normal64(232, 15)
    function = with_vjp(lambda x: jnp.cumsum(x), lambda args, out, ct: (jnp.cumsum(ct),))
    loss = lambda cumsum: lambda x: jnp.vdot(weights, jnp.exp(-(cumsum(x) ** 2) / 9))
    return loss(function), (normal64(231, 15),), None, loss(jnp.cumsum)


wrong(
    "cumsum_adjoint_not_reversed",
    cumulative_sum,
    cause="transpose",
    error=2.138,
    source=FOLKLORE + "scan adjoint runs forward",
)


def float32_inside():
    a, x = normal64(241, 6, 6), normal64(242, 6)
    gradient = jax.grad(lambda x: jnp.sum(jnp.sin(a @ x)))

    def fun(x):
        return jnp.sum(jnp.sin(jnp.dot(a.astype(jnp.float32), x.astype(jnp.float32)))).astype(jnp.float64)

    return fun, (x,), lambda x: 1.1 * gradient(x), Known(lambda: gradient(x))


wrong(
    "float32_inside_ten_percent_off",
    float32_inside,
    cause="scale",
    error=0.1,
    source="gradcheck float32 threads: pytorch#8659, #5351",
    note="noise ~1e-7 relative, error 0.1: decidable",
)
