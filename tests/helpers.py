"""Known functions with exact derivatives, and ways to plant a mistake in a derivative that is right.

Everything here is defined once, at module level: a check compiles one program per function and shape, so that tests
that share a function share its program.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np

from jaxgradsweep._sweep import Sweep

STEPS = 2.0 ** -np.arange(1.0, 41.0)
EPS = float(np.finfo(np.float64).eps)


# ---- one real variable, without JAX: what a fit works on


def sweep_of(*functions, steps=STEPS, claimed=0.0, eps=EPS):
    """The sweep of one phi(t) after the other, measured with NumPy. Each is called once on all points, 0 in front."""
    offsets = np.concatenate([[0.0], steps, -steps])
    with np.errstate(all="ignore"):
        values = np.array([np.asarray(phi(offsets), np.float64) for phi in functions])
    zero, plus, minus = values[:, :1], values[:, 1 : len(steps) + 1], values[:, len(steps) + 1 :]
    count = len(functions)
    with np.errstate(all="ignore"):
        return Sweep(
            paths=("",),
            leaf=np.zeros(count, int),
            scale=("leaf",) * count,
            steps=steps,
            difference=plus - minus,
            forward=plus - zero,
            backward=zero - minus,
            bend=np.abs((plus - zero) - (zero - minus)),
            roundoff=eps * np.maximum(np.maximum(abs(plus), abs(minus)), abs(zero)) / np.sqrt(12),
            claimed=np.full(count, float(claimed)),
            size=np.full(count, abs(float(claimed))),
            finite=np.isfinite(zero[:, 0]),
            eps=eps,
        )


# name: (function, its derivative by calculus, the point, the relative uncertainty that must at least be reached)
ONE_VARIABLE = {
    "sin": (np.sin, np.cos, 1.0, 1e-11),
    "exp": (np.exp, np.exp, 1.0, 1e-11),
    "log": (np.log, lambda x: 1 / x, 0.7, 1e-11),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2, 0.4, 1e-11),
    "atan": (np.arctan, lambda x: 1 / (1 + x * x), 2.0, 1e-11),
    "cube": (lambda x: x**3, lambda x: 3 * x**2, 1.0, 1e-11),
    "x^2.5": (lambda x: x**2.5, lambda x: 2.5 * x**1.5, 3.0, 1e-11),
    "sqrt near zero": (np.sqrt, lambda x: 0.5 / np.sqrt(x), 1e-6, 1e-11),
    "reciprocal at 0.01": (lambda x: 1 / x, lambda x: -1 / x**2, 0.01, 1e-11),
    "Runge": (lambda x: 1 / (1 + 25 * x * x), lambda x: -50 * x / (1 + 25 * x * x) ** 2, 0.3, 1e-10),
    "bell": (lambda x: np.exp(-x * x), lambda x: -2 * x * np.exp(-x * x), 0.8, 1e-11),
    "flat at zero": (lambda x: np.exp(-1 / x**2), lambda x: 2 / x**3 * np.exp(-1 / x**2), 0.4, 1e-10),
    "sin 1000x": (lambda x: np.sin(1000 * x), lambda x: 1000 * np.cos(1000 * x), 1.1, 1e-8),
    "large offset": (lambda x: 1e6 + x * x, lambda x: 2 * x, 1.3, 1e-8),
    "soft corner": (lambda x: np.sqrt(1e-4 + x * x), lambda x: x / np.sqrt(1e-4 + x * x), 0.01, 1e-9),
    "of size 1e-200": (lambda x: 1e-200 * np.sin(x), lambda x: 1e-200 * np.cos(x), 1.0, 1e-11),
    "of size 1e200": (lambda x: 1e200 * np.sin(x), lambda x: 1e200 * np.cos(x), 1.0, 1e-11),
}


def along(function, derivative, x, *, mantissa=1.375):
    """phi(t) = f(x + t v) and phi'(0), for a v of a short mantissa and about the size of x, as probes have it."""
    v = mantissa * 2.0 ** np.floor(np.log2(abs(x)))
    return (lambda t: function(x + t * v)), float(derivative(x) * v)


# ---- several variables, for checks


def smooth(x):
    """Sum of sin(x) exp(x / 3): every component has a derivative of order one."""
    return jnp.sum(jnp.sin(x) * jnp.exp(x / 3))


def smooth_gradient(x):
    x = np.asarray(x, np.float64)
    return (np.cos(x) + np.sin(x) / 3) * np.exp(x / 3)


def layers(params, inputs):
    """Loss of a network with one hidden layer. Its gradient by hand is `layers_gradient`."""
    hidden = jnp.tanh(inputs @ params["w1"] + params["b1"])
    return 0.5 * jnp.sum((hidden @ params["w2"] + params["b2"]) ** 2)


def layers_gradient(params, inputs):
    """The backward pass of `layers`, by hand and in NumPy."""
    hidden = np.tanh(inputs @ params["w1"] + params["b1"])
    out = hidden @ params["w2"] + params["b2"]
    back = (out @ params["w2"].T) * (1 - hidden**2)
    return {"w1": inputs.T @ back, "b1": back.sum(0), "w2": hidden.T @ out, "b2": out.sum(0)}


def layers_point():
    random = np.random.default_rng(0)
    shapes = {"w1": (4, 5), "b1": (5,), "w2": (5, 3), "b2": (3,)}
    params = {name: random.normal(size=shape) for name, shape in shapes.items()}
    return params, random.normal(size=(6, 4))


def off_by(gradient, relative, index=None):
    """A gradient with one component, or the whole array, wrong by a relative error of its RMS size."""
    gradient = np.array(gradient, np.float64)
    size = np.sqrt(np.mean(gradient**2))
    if index is None:
        return gradient * (1 + relative)
    wrong = gradient.copy()
    wrong[index] += relative * size
    return wrong


def is_numpy_all_through(value):
    """Whether no JAX array hides anywhere in a record."""
    if isinstance(value, jax.Array):
        return False
    if isinstance(value, dict):
        return all(map(is_numpy_all_through, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_numpy_all_through, value))
    if hasattr(value, "__dataclass_fields__"):
        return all(is_numpy_all_through(getattr(value, name)) for name in value.__dataclass_fields__)
    return True


# ---- printed text


def words(text):
    """Words without numbers: measured noise differs between machines, and the lines break elsewhere."""
    return [word for word in re.sub(r"-?\d[\d.,]*(e-?\d+)?", "", text).split() if word.strip("-,.()")]
