"""Tiny and huge arguments, values and slopes, offsets, cancellation, fast oscillation and chaos."""

import functools

import jax.numpy as jnp
import mpmath as mp

from corpus.build import array, entrywise, normal
from corpus.case import BF16, F32, F64, Collection

CASES = Collection()


def scale(name, fun, exact, x, **details):
    make = lambda dtype: (fun, (array(x, dtype),))
    CASES.add(f"scale.{name}", make, "scale", exact=entrywise(exact) if exact else None, **details)


scale(
    "tiny_args",
    lambda x: jnp.sin(1e8 * x),
    lambda x: mp.sin(10**8 * x),
    [1e-8, -3e-8],
    note="scale of the argument is 1e-8",
)
scale(
    "huge_args",
    lambda x: jnp.sin(1e-8 * x),
    lambda x: mp.sin(mp.mpf(1e-8) * x),
    [1e8, -3e8],
    note="scale of the argument is 1e8",
    dtypes=(F64,),
)
scale("tiny_output_32", lambda x: 1e-20 * jnp.sin(x), None, [0.3, 1.0])
scale("huge_output", lambda x: 1e12 * jnp.sin(x), lambda x: 10**12 * mp.sin(x), [0.3, 1.0])
scale(
    "offset_1e6",
    lambda x: 1e6 + jnp.sin(x),
    lambda x: 10**6 + mp.sin(x),
    [0.3, 1.0],
    undecidable=(F32,),
    note="large constant offset",
)
scale("offset_1e14", lambda x: 1e14 + jnp.sin(x), lambda x: 10**14 + mp.sin(x), [0.3, 1.0], undecidable=(F64, F32))
scale(
    "arg_offset",
    lambda x: jnp.sin(x - 1e6),
    lambda x: mp.sin(x - 10**6),
    [1e6 + 0.5, 1e6 + 2.0],
    undecidable=(F32,),
    note="float32 spacing at the argument is 1/16",
)
scale("stationary_exact", lambda x: (x - 1.0) ** 2, lambda x: (x - 1) ** 2, [1.0, 1.0], note="gradient exactly zero")
scale("stationary_quartic", lambda x: (x - 1.0) ** 4, lambda x: (x - 1) ** 4, [1.0, 1.0])
scale(
    "stationary_offset",
    lambda x: 1e3 + 1e4 * (x - 0.7) ** 2,
    lambda x: 1000 + 10**4 * (x - mp.mpf(0.7)) ** 2,
    [0.7],
    dtypes=(F64,),
)
scale(
    "constant",
    lambda x: jnp.full((2,), 3.0, x.dtype),
    lambda x: mp.mpf(3),
    [1.0, 2.0],
    dtypes=(F64, F32, BF16),
    note="output does not depend on the input",
)
scale(
    "oscillation_1e5",
    lambda x: jnp.sin(1e5 * x),
    lambda x: mp.sin(10**5 * x),
    [0.1, 0.2],
    dtypes=(F64,),
    note="period 6e-5; a step of 1e-4 is blind",
)
scale("steep_tanh", lambda x: jnp.tanh(1e4 * x), lambda x: mp.tanh(10**4 * x), [0.0, 5e-5])
scale(
    "narrow_gaussian", lambda x: jnp.exp(-((x / 1e-4) ** 2)), lambda x: mp.exp(-((x / mp.mpf(1e-4)) ** 2)), [5e-5, 1e-4]
)
scale(
    "narrow_lorentzian",
    lambda x: 1e-6 / ((x - 0.5) ** 2 + 1e-6),
    lambda x: mp.mpf(1e-6) / ((x - mp.mpf(".5")) ** 2 + mp.mpf(1e-6)),
    [0.5005, 0.501],
    undecidable=(F32,),
)
scale(
    "spike_on_slope",
    lambda x: x + 1e-6 * jnp.sin(1e6 * x),
    None,
    [0.25, 0.5],
    dtypes=(F64,),
    note="true slope 1 + cos(1e6 x): micro-structure of period 6e-6",
)
scale("log_near_0", lambda x: x * jnp.log(x), lambda x: x * mp.log(x), [1e-10, 1e-5])
scale(
    "sub_cancel",
    lambda x: (1 - jnp.cos(x)) / x**2,
    lambda x: (1 - mp.cos(x)) / x**2,
    [1e-3, 1e-2],
    dtypes=(F64,),
    undecidable=(F64,),
    note="cancellation: the function is noisy (1e-10), the derivative too",
)
scale(
    "ill_cond_poly",
    lambda x: x**6 - 6 * x**5 + 15 * x**4 - 20 * x**3 + 15 * x**2 - 6 * x + 1,
    lambda x: (x - 1) ** 6,
    [1.1, 0.9, 1.5],
    dtypes=(F64,),
    note="expanded (x-1)^6",
)
scale(
    "denormal_step",
    lambda x: x * x,
    lambda x: x * x,
    [1e-20, -1e-20],
    note="f underflows in float32",
    undecidable=(F32,),
)
scale("domain_edge_log", lambda x: jnp.log(x), mp.log, [1e-6, 1e-5], note="NaN one step of 1e-4 away")
scale("domain_edge_pow", lambda x: x**1.5, lambda x: x ** mp.mpf("1.5"), [1e-6, 1e-5], note="NaN for negative x")
scale("near_kink_1e-3", lambda x: jnp.abs(x - 1.0), lambda x: abs(x - 1), [1.001, 0.999])
scale(
    "logistic_map20",
    lambda x: functools.reduce(lambda a, _: 3.9 * a * (1 - a), range(20), x),
    None,
    [0.3],
    dtypes=(F64,),
    note="chaotic map: derivative about 1e4, curvature much more",
)
scale(
    "logistic_map45",
    lambda x: functools.reduce(lambda a, _: 3.9 * a * (1 - a), range(45), x),
    None,
    [0.3],
    dtypes=(F64,),
    undecidable=(F64,),
    note="chaotic map: derivative about 1e9",
)
scale(
    "weierstrass8",
    lambda x: sum(0.5**k * jnp.cos(7.0**k * x) for k in range(8)),
    None,
    [0.3],
    dtypes=(F64,),
    note="rough: curvature 5e5 at 7^7",
)


@CASES.case(
    "high_frequency",
    "hard-right",
    dtypes=(F64,),
    cause="hard-right",
    source="a fixed step of 1e-4 aliases",
    truth=lambda: 2e4 * jnp.cos(2e4 * array(normal(702, 6), F64)) + 1,
)
def _(dtype):
    return lambda x: jnp.sum(jnp.sin(2e4 * x)) + jnp.sum(x), (array(normal(702, 6), dtype),)
