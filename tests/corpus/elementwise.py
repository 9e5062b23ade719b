"""Elementwise functions of jax.numpy, jax.scipy.special, jax.nn and jax.lax, at tame and at hard points."""

import math

import jax.numpy as jnp
import jax.scipy.special as jsp
import mpmath as mp
from jax import lax
from jax import nn as jnn

from corpus.build import array, entrywise, newer, normal
from corpus.case import BF16, F32, F64, Collection

ALL = (F64, F32, BF16)

CASES = Collection()


def exact_sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def unary(name, fun, exact, interior=None, hard=None, **details):
    """An elementwise function of one array, exact for one mpf: one case for each set of points."""
    for tag, points in (("interior", interior), ("hard", hard)):
        if points is not None:
            make = lambda dtype, points=points: (fun, (array(points, dtype),))
            CASES.add(f"{name}.{tag}", make, f"elementwise-{name.split('.')[0]}", exact=entrywise(exact), **details)


def binary(name, fun, exact, interior=None, hard=None, **details):
    """An elementwise function of two arrays, differentiated with respect to both: the argument is the pair."""
    for tag, points in (("interior", interior), ("hard", hard)):
        if points is not None:
            make = lambda dtype, points=points: (lambda pair: fun(*pair), (tuple(array(p, dtype) for p in points),))
            CASES.add(f"{name}.{tag}", make, f"elementwise-{name.split('.')[0]}", exact=entrywise(exact, 2), **details)


# ---- jax.numpy
unary("jnp.exp", jnp.exp, mp.exp, [-1.0, 0.5, 2.0], [30.0, -30.0, 1e-8], dtypes=ALL)
unary("jnp.expm1", jnp.expm1, mp.expm1, [-1.0, 0.5, 2.0], [1e-10, -40.0, 30.0])
unary("jnp.log2", jnp.log2, lambda x: mp.log(x, 2), [0.2, 1.0, 5.0], [1e-20, 1e10])
unary("jnp.sqrt", jnp.sqrt, mp.sqrt, [0.2, 1.0, 5.0], [1e-12, 1e12, 1e-4], dtypes=ALL)
unary("jnp.square", jnp.square, lambda x: x * x, [0.2, -1.0, 5.0], [0.0, 1e-8, 1e8], dtypes=ALL)
unary("jnp.cos", jnp.cos, mp.cos, [0.3, -1.2, 2.5], [0.0, 1e-8, 1e4])
unary("jnp.arcsin", jnp.arcsin, mp.asin, [0.3, -0.7, 0.9], [1 - 1e-6, -1 + 1e-4, 1e-10])
unary("jnp.arctan", jnp.arctan, mp.atan, [0.3, -0.7, 2.0], [1e6, -1e4, 1e-9])
unary("jnp.sinh", jnp.sinh, mp.sinh, [0.3, -0.7, 2.0], [30.0, -25.0, 1e-9])
unary("jnp.cosh", jnp.cosh, mp.cosh, [0.3, -0.7, 2.0], [20.0, 1e-8, 0.0])
unary("jnp.tanh", jnp.tanh, mp.tanh, [0.3, -0.7, 2.0], [9.0, -7.0, 1e-6], dtypes=ALL)
unary("jnp.arccosh", jnp.arccosh, mp.acosh, [1.3, 2.7, 12.0], [1 + 1e-5, 1e8])
unary("jnp.sinc.tiny", jnp.sinc, lambda x: mp.sincpi(x), None, [1e-6, 1e-3], dtypes=(F64,))
unary("jnp.rad2deg", jnp.rad2deg, lambda x: x * 180 / mp.pi, [0.3, -7.0])
unary("jnp.abs", jnp.abs, abs, [0.3, -0.7, 2.0], [1e-6, -1e-3, 1e8])
unary("jnp.i0", jnp.i0, lambda x: mp.besseli(0, x), [0.3, -1.7, 4.0], [50.0, 1e-6, 0.0])
unary("jnp.floor", jnp.floor, mp.floor, [0.3, -1.7, 4.2], note="the derivative is exactly zero")
unary("jnp.power.x**-3", lambda x: x**-3, lambda x: x**-3, [0.3, -1.7, 4.2], [1e-3, -1e4])
unary(
    "jnp.sin.1e3x",
    lambda x: jnp.sin(1e3 * x),
    lambda x: mp.sin(1000 * x),
    [0.3, 1.7],
    [math.pi / 2000, 12.5],
    undecidable=(F32,),
    note="float32: 1e3*x is rounded to 1e-3 at 12.5, exact reference is of the real function",
)
binary("jnp.float_power", jnp.float_power, lambda x, y: x**y, ([0.3, 1.7, 4.2], [2.5, -1.3, 0.2]), dtypes=(F64,))
binary("jnp.hypot", jnp.hypot, mp.hypot, ([0.3, -1.7, 4.2], [2.5, -1.3, 0.2]), ([1e-6, 1e8, 1e-3], [1.0, 1.0, -1e-3]))
binary(
    "jnp.remainder",
    jnp.remainder,
    lambda x, y: x - y * mp.floor(x / y),
    ([5.3, -1.7, 7.7], [2.5, 0.7, -3.0]),
    ([100.3, 1e3], [0.7, 0.31]),
)
binary(
    "jnp.fmod",
    jnp.fmod,
    lambda x, y: x - y * (mp.floor(x / y) if x / y > 0 else mp.ceil(x / y)),
    ([5.3, -1.7, 7.7], [2.5, 0.7, -3.0]),
)
binary("jnp.copysign", jnp.copysign, lambda x, y: abs(x) * mp.sign(y), ([5.3, -1.7, 7.7], [-2.5, 0.7, 3.0]))
binary("jnp.divide", jnp.divide, lambda x, y: x / y, ([5.3, -1.7], [-2.5, 0.7]), ([1.0, 1e8, 1e-8], [1e-4, 1e-3, 1e8]))
unary(
    "jnp.frexp.mantissa",
    lambda x: jnp.frexp(x)[0],
    lambda x: mp.frexp(x)[0],
    [0.3, -1.7, 5.2],
    note="mantissa has slope 2**-e",
)


@CASES.case("jnp.ldexp", "elementwise-jnp")
def _(dtype):
    return (lambda x, n: jnp.ldexp(x, n)), (array([1.3, -0.2, 5.0], dtype), jnp.array([2, -3, 5]))


# ---- jax.scipy.special


def exact_ndtr(x):
    return mp.erfc(-x / mp.sqrt(2)) / 2


unary("special.erf", jsp.erf, mp.erf, [0.3, -0.7, 2.0], [5.0, -4.0, 1e-9])
unary("special.erfc", jsp.erfc, mp.erfc, [0.3, -0.7, 2.0], [8.0, -5.0])
unary("special.erfcx.tail", newer("erfcx"), lambda x: mp.exp(x * x) * mp.erfc(x), None, [40.0, 1e3], dtypes=(F64,))
unary("special.expit", jsp.expit, exact_sigmoid, [0.3, -0.7, 2.0], [30.0, -30.0, -80.0])
unary("special.logit", jsp.logit, lambda p: mp.log(p / (1 - p)), [0.3, 0.7, 0.9], [1e-6, 1 - 1e-5])
unary("special.ndtri", jsp.ndtri, lambda p: mp.sqrt(2) * mp.erfinv(2 * p - 1), [0.3, 0.7, 0.9], [1e-6, 1 - 1e-5, 1e-3])
unary(
    "special.betainc.x",
    lambda x: jsp.betainc(jnp.asarray(2.5, x.dtype), jnp.asarray(0.7, x.dtype), x),
    lambda x: mp.betainc(mp.mpf("2.5"), mp.mpf(0.7), 0, x, regularized=True),
    [0.3, 0.7, 0.9],
    None,
    dtypes=(F64,),
)
unary(
    "special.betainc.peaked",
    lambda x: jsp.betainc(jnp.asarray(200.0, x.dtype), jnp.asarray(300.0, x.dtype), x),
    lambda x: mp.betainc(200, 300, 0, x, regularized=True),
    None,
    [0.4, 0.45],
)
unary(
    "special.gammainc.a",
    lambda a: jsp.gammainc(a, jnp.asarray(1.5, a.dtype)),
    lambda a: mp.gammainc(a, 0, mp.mpf("1.5"), regularized=True),
    [0.3, 1.7, 5.0],
    [1e-3, 12.0],
)
unary(
    "special.gammaincc.a",
    lambda a: jsp.gammaincc(a, jnp.asarray(1.5, a.dtype)),
    lambda a: mp.gammainc(a, mp.mpf("1.5"), mp.inf, regularized=True),
    [0.3, 1.7, 5.0],
    None,
)
unary(
    "special.gammainc.big_a",
    lambda a: jsp.gammainc(a, jnp.asarray(100.0, a.dtype)),
    lambda a: mp.gammainc(a, 0, 100, regularized=True),
    None,
    [90.0, 101.0, 120.0],
)
binary(
    "special.betaln",
    jsp.betaln,
    lambda a, b: mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b),
    ([0.3, 1.7], [2.5, 1.3]),
    ([1e-3, 1e5], [2.0, 1e5]),
)
binary(
    "special.rel_entr",
    jsp.rel_entr,
    lambda p, q: p * mp.log(p / q),
    ([0.3, 1.7], [2.5, 1.3]),
    ([1e-6, 0.5], [0.3, 0.5000001]),
)
binary(
    "special.kl_div",
    jsp.kl_div,
    lambda p, q: p * mp.log(p / q) - p + q,
    ([0.3, 1.7], [2.5, 1.3]),
    ([1e-6, 0.5], [0.3, 0.5]),
)
unary("special.exp1.tiny", jsp.exp1, mp.e1, None, [1e-6])
unary("special.i0e", jsp.i0e, lambda x: mp.besseli(0, x) * mp.exp(-abs(x)), [0.3, -1.7, 5.0], [1e3, 1e-6])
unary("special.i1", jsp.i1, lambda x: mp.besseli(1, x), [0.3, -1.7, 5.0], [40.0, 1e-6, 0.0])
unary(
    "special.hyp1f1",
    lambda x: jsp.hyp1f1(jnp.asarray(1.5, x.dtype), jnp.asarray(2.5, x.dtype), x),
    lambda x: mp.hyp1f1(mp.mpf("1.5"), mp.mpf("2.5"), x),
    [0.3, -1.7, 5.0],
    [20.0, 1e-6],
)
unary(
    "special.hyp1f1.negative",
    lambda x: jsp.hyp1f1(jnp.asarray(1.5, x.dtype), jnp.asarray(2.5, x.dtype), x),
    lambda x: mp.hyp1f1(mp.mpf("1.5"), mp.mpf("2.5"), x),
    None,
    [-10.0],
    dtypes=(F64,),
)
unary(
    "special.hyp2f1",
    lambda x: jsp.hyp2f1(jnp.asarray(1.5, x.dtype), jnp.asarray(0.5, x.dtype), jnp.asarray(2.5, x.dtype), x),
    lambda x: mp.hyp2f1(mp.mpf("1.5"), mp.mpf(".5"), mp.mpf("2.5"), x),
    [0.3, -0.4, 0.6],
    [0.85, -0.9, 1e-6],
)
unary("special.fresnel.s", lambda x: jsp.fresnel(x)[0], mp.fresnels, [0.3, -1.1, 2.3], [6.0, 1e-3])
unary("special.fresnel.c", lambda x: jsp.fresnel(x)[1], mp.fresnelc, [0.3, -1.1, 2.3], [6.0, 1e-3])
unary("special.sici.si", lambda x: jsp.sici(x)[0], mp.si, [0.3, 1.1, 5.3], [50.0, 1e-3, math.pi])
binary(
    "special.boxcox",
    newer("boxcox"),
    lambda x, power: (x**power - 1) / power,
    ([0.3, 1.7, 5.0], [0.5, 2.0, -1.0]),
    ([0.3, 1.7, 5.0], [1e-4, 1e-6, -1e-3]),
)
binary(
    "special.boxcox1p",
    newer("boxcox1p"),
    lambda x, power: ((1 + x) ** power - 1) / power,
    ([0.3, 1.7, 5.0], [0.5, 2.0, -1.0]),
)
binary("special.comb", newer("comb"), lambda n, k: mp.binomial(n, k), ([6.3, 9.7], [2.2, 3.4]))


def exact_owens_t(h, a):
    return mp.quad(lambda t: mp.exp(-h * h * (1 + t * t) / 2) / (1 + t * t), [0, a]) / (2 * mp.pi)


binary(
    "special.owens_t", newer("owens_t"), exact_owens_t, ([0.3, 1.7, -0.6], [0.5, 2.0, 1.2]), ([3.0, 1e-3], [0.1, 0.9])
)


@CASES.case(
    "special.sph_harm_y",
    "elementwise-special",
    note="real part of Y_3^1(theta, phi)",
    exact=entrywise(lambda theta, phi: mp.re(mp.spherharm(3, 1, theta, phi)), 2),
)
def _(dtype):
    def f(t):
        n, m = jnp.full(3, 3), jnp.full(3, 1)
        return jnp.real(jsp.sph_harm_y(n, m, t[0], t[1], n_max=3))

    return f, ((array([0.3, 1.1, 2.6], dtype), array([0.3, 2.2, 5.0], dtype)),)


# ---- jax.nn


def exact_softplus(x):
    return mp.log(1 + mp.exp(x))


SELU_ALPHA, SELU_SCALE = mp.mpf("1.6732632423543772848170429916717"), mp.mpf("1.0507009873554804934193349852946")
unary("nn.relu", jnn.relu, lambda x: max(x, mp.mpf(0)), [0.3, -0.7, 2.0], [1e-6, -1e-6, 1e6], dtypes=ALL)
unary("nn.relu6", jnn.relu6, lambda x: min(max(x, mp.mpf(0)), mp.mpf(6)), [0.3, -0.7, 7.0], [1e-5, 6.001])
unary("nn.selu", jnn.selu, lambda x: SELU_SCALE * (x if x > 0 else SELU_ALPHA * mp.expm1(x)), [0.3, -0.7, 2.0], [-20.0])
unary(
    "nn.gelu.exact",
    lambda x: jnn.gelu(x, approximate=False),
    lambda x: x * exact_ndtr(x),
    [0.3, -0.7, 2.0],
    [-0.751791524693564457, -5.0, 8.0],
)
unary(
    "nn.silu",
    jnn.silu,
    lambda x: x * exact_sigmoid(x),
    [0.3, -0.7, 2.0],
    [-1.2784645427610738, -30.0, 40.0],
    dtypes=ALL,
)
unary("nn.mish", jnn.mish, lambda x: x * mp.tanh(exact_softplus(x)), [0.3, -0.7, 2.0], [-30.0, 40.0])
unary("nn.softplus", jnn.softplus, exact_softplus, [0.3, -0.7, 2.0], [-40.0, 100.0, 0.0], dtypes=ALL)
unary(
    "nn.soft_sign",
    jnn.soft_sign,
    lambda x: x / (1 + abs(x)),
    [0.3, -0.7, 2.0],
    [0.0, 1e4, -1e-8],
    note="C1 at 0, second derivative jumps",
)
unary("nn.squareplus", jnn.squareplus, lambda x: (x + mp.sqrt(x * x + 4)) / 2, [0.3, -0.7, 2.0], [-30.0, 1e4])
unary(
    "nn.squareplus.tail",
    jnn.squareplus,
    lambda x: (x + mp.sqrt(x * x + 4)) / 2,
    None,
    [-1e3],
    dtypes=(F64,),
    note="in float32 the derivative itself cancels: 2% off",
)
unary(
    "nn.sparse_plus",
    jnn.sparse_plus,
    lambda x: mp.mpf(0) if x <= -1 else (x if x >= 1 else (x + 1) ** 2 / 4),
    [0.3, -0.7, 2.0],
    [-1.0, 1.0, -1.001],
    note="C1 at +-1",
)
unary(
    "nn.hard_sigmoid", jnn.hard_sigmoid, lambda x: min(max(x + 3, mp.mpf(0)), mp.mpf(6)) / 6, [0.3, -0.7, 4.0], [2.9999]
)
unary("nn.hard_tanh", jnn.hard_tanh, lambda x: min(max(x, mp.mpf(-1)), mp.mpf(1)), [0.3, -0.7, 4.0], [0.9999])
unary(
    "nn.sigmoid.steep", lambda x: jnn.sigmoid(200.0 * x), lambda x: exact_sigmoid(200 * x), [0.003, -0.004], [0.0, 0.08]
)


@CASES.case("nn.softmax.interior", "elementwise-nn", dtypes=ALL)
def _(dtype):
    return jnn.softmax, (array(normal(1, 3, 5), dtype),)


@CASES.case("nn.softmax.saturated", "elementwise-nn", note="one logit leads by 40: derivatives of 1e-18")
def _(dtype):
    return jnn.softmax, (array([40.0, 0.0, 1.0, -2.0], dtype),)


@CASES.case("nn.log_softmax.large", "elementwise-nn", note="logits offset by 1e4", undecidable=(F32,))
def _(dtype):
    return jnn.log_softmax, (array([1e4, 1e4 + 1, 1e4 - 2], dtype),)


@CASES.case("nn.logsumexp.minus_inf", "elementwise-nn", note="one entry is -inf (masked)")
def _(dtype):
    def f(x, m):
        return jnn.logsumexp(jnp.where(m, x, -jnp.inf))

    return f, (array([0.3, -0.4, 2.0], dtype), jnp.array([True, False, True]))


@CASES.case("nn.logmeanexp", "elementwise-nn")
def _(dtype):
    return (lambda x: jnn.logmeanexp(x, axis=-1)), (array(normal(2, 3, 4), dtype),)


@CASES.case("nn.glu", "elementwise-nn")
def _(dtype):
    return jnn.glu, (array(normal(3, 3, 4), dtype),)


@CASES.case("nn.standardize", "elementwise-nn")
def _(dtype):
    return jnn.standardize, (array(normal(4, 3, 8), dtype),)


@CASES.case(
    "nn.dot_product_attention",
    "elementwise-nn",
    undecidable=(F64,),
    note="JAX computes the softmax in float32 even for float64 input: value noise 1e-8 in float64",
)
def _(dtype):
    def f(t):
        return jnn.dot_product_attention(t["q"], t["k"], t["v"], is_causal=True)

    return f, ({k: array(normal(i, 2, 6, 2, 4), dtype) for i, k in enumerate("qkv")},)


# ---- jax.lax
unary("lax.bessel_i1e", lax.bessel_i1e, lambda x: mp.besseli(1, x) * mp.exp(-abs(x)), [0.3, -1.7], [20.0])
unary(
    "lax.clamp",
    lambda x: lax.clamp(x.dtype.type(-1), x, x.dtype.type(1)),
    lambda x: min(max(x, mp.mpf(-1)), mp.mpf(1)),
    [0.3, -1.7],
    [0.999],
)


@CASES.case("lax.cummax", "elementwise-lax")
def _(dtype):
    return (lambda x: lax.cummax(x)), (array([0.5, -2.0, 3.0, 0.1], dtype),)


@CASES.case("lax.cumlogsumexp", "elementwise-lax")
def _(dtype):
    return (lambda x: lax.cumlogsumexp(x)), (array([0.5, -2.0, 300.0, 0.1], dtype),)
