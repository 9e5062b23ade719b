"""Rules that are right in first order, to the last bit, and wrong in second order; each with its right twin."""

import jax
import jax.numpy as jnp
import numpy as np

from corpus.build import normal
from corpus.case import Collection

CASES = Collection()
FAMILY = "wrong in second order only"


def twice(value, slope, curvature):
    """A function with a rule for its slope, which has one of its own: `curvature(x, v)` is its derivative along v."""

    @jax.custom_jvp
    def first(x):
        return slope(x)

    @first.defjvp
    def _(primals, tangents):
        return first(*primals), curvature(primals[0], tangents[0])

    @jax.custom_jvp
    def function(x):
        return value(x)

    @function.defjvp
    def _(primals, tangents):
        change = first(primals[0]) * tangents[0]
        return function(*primals), change if value(primals[0]).shape else jnp.sum(change)

    return function


def elementwise(curvature):
    return lambda x, v: curvature(x) * v


def gaussian(x):
    return jnp.exp(-(x**2) / 2)


def log_cosh(x):
    return jnp.logaddexp(x, -x) - jnp.log(2.0).astype(x.dtype)


def unit(x):
    return x / jnp.linalg.norm(x)


def inverse(x):
    return jnp.linalg.inv(x).T


SPREAD = normal(901, 5)
POSITIVE = abs(SPREAD) + 0.3
SQUARE = normal(902, 4, 4) + 5 * np.eye(4)
MATRIX = normal(903, 5, 5)

# name: (value, slope, right curvature, wrong curvature, point, cause)
RULES = {
    "softplus": (
        jax.nn.softplus,
        jax.nn.sigmoid,
        elementwise(lambda x: jax.nn.sigmoid(x) * (1 - jax.nn.sigmoid(x))),
        elementwise(lambda x: jax.nn.sigmoid(x) * (1 + jax.nn.sigmoid(x))),
        SPREAD,
        "sign in the logistic derivative",
    ),
    "sine": (jnp.sin, jnp.cos, elementwise(lambda x: -jnp.sin(x)), elementwise(jnp.sin), SPREAD, "sign"),
    "square": (lambda x: x**2, lambda x: 2 * x, lambda x, v: 2 * v, lambda x, v: v, SPREAD, "factor 1/2"),
    "exponential": (jnp.exp, jnp.exp, elementwise(jnp.exp), lambda x, v: 0 * v, SPREAD, "stopped gradient"),
    "logarithm": (
        jnp.log,
        lambda x: 1 / x,
        elementwise(lambda x: -1 / x**2),
        elementwise(lambda x: -1 / x),
        POSITIVE,
        "power",
    ),
    "tanh": (
        jnp.tanh,
        lambda x: 1 - jnp.tanh(x) ** 2,
        elementwise(lambda x: -2 * jnp.tanh(x) * (1 - jnp.tanh(x) ** 2)),
        elementwise(lambda x: -2 * jnp.tanh(x)),
        SPREAD,
        "chain rule forgotten",
    ),
    "root": (
        jnp.sqrt,
        lambda x: 0.5 / jnp.sqrt(x),
        elementwise(lambda x: -0.25 * x**-1.5),
        elementwise(lambda x: -0.2501 * x**-1.5),
        POSITIVE,
        "constant off by 4e-4",
    ),
    "reciprocal": (
        lambda x: 1 / x,
        lambda x: -1 / x**2,
        elementwise(lambda x: 2 / x**3),
        elementwise(lambda x: -2 / x**3),
        POSITIVE,
        "sign",
    ),
    "log_cosh": (
        log_cosh,
        jnp.tanh,
        elementwise(lambda x: 1 - jnp.tanh(x) ** 2),
        elementwise(lambda x: 1 - jnp.abs(jnp.tanh(x))),
        SPREAD,
        "another function",
    ),
    "gaussian": (
        gaussian,
        lambda x: -x * gaussian(x),
        elementwise(lambda x: (x**2 - 1) * gaussian(x)),
        elementwise(lambda x: x**2 * gaussian(x)),
        SPREAD,
        "a term of the product rule missing",
    ),
    "norm": (
        jnp.linalg.norm,
        unit,
        lambda x, v: (v - unit(x) * jnp.vdot(unit(x), v)) / jnp.linalg.norm(x),
        lambda x, v: v / jnp.linalg.norm(x),
        SPREAD,
        "projection missing",
    ),
    "log_determinant": (
        lambda x: jnp.linalg.slogdet(x)[1],
        inverse,
        lambda x, v: -inverse(x) @ v.T @ inverse(x),
        lambda x, v: -inverse(x) @ v @ inverse(x),
        SQUARE,
        "transposed",
    ),
    "quadratic_form": (
        lambda x: x @ MATRIX.astype(x.dtype) @ x,
        lambda x: (MATRIX + MATRIX.T).astype(x.dtype) @ x,
        lambda x, v: (MATRIX + MATRIX.T).astype(x.dtype) @ v,
        lambda x, v: 2 * MATRIX.astype(x.dtype) @ v,
        SPREAD,
        "not symmetric",
    ),
    "cube_of_one": (
        lambda x: x**3,
        lambda x: 3 * x**2,
        elementwise(lambda x: 6 * x),
        lambda x, v: (6 * x * v).at[2].mul(1.01),
        SPREAD,
        "one component",
    ),
}

for _name, (_value, _slope, _right, _wrong, _point, _cause) in RULES.items():
    for _kind, _curvature in (("right", _right), ("wrong", _wrong)):

        def _make(dtype, value=_value, slope=_slope, curvature=_curvature, point=_point):
            function = twice(value, slope, curvature)
            return lambda x: jnp.sum(function(x)), (jnp.asarray(point, dtype),)

        CASES.add(
            f"second.{_name}.{_kind}",
            _make,
            FAMILY,
            kind=_kind,
            order=2,
            cause=_cause if _kind == "wrong" else "",
            twin=f"second.{_name}.{'wrong' if _kind == 'right' else 'right'}",
            note="the rules of value and slope are right; that of the slope's derivative is asked",
        )
