"""Functions of which a part computes in a shorter precision: it stands still over small steps, and the rest does not.

The wrong claims leave that part's derivative out, which is what such steps show.
"""

import jax
import jax.numpy as jnp
import numpy as np

from corpus.case import BF16, F16, F32, F64, Collection

CASES = Collection()
FAMILY = "mixed precision"
HIGHER = {F32: (F64,), BF16: (F64, F32), F16: (F64, F32)}
normal = np.random.default_rng(2026).normal
INPUTS, TARGETS, QUERIES = normal(size=(8, 4)), normal(size=8), normal(size=(6, 4))


def term(low):
    """A sum of cosines beside one of sines."""

    def fun(x):
        return jnp.sum(jnp.sin(x)) + jnp.sum(jnp.cos(2 * x).astype(low)).astype(x.dtype)

    return fun, jnp.cos, (5,)


def normaliser(low):
    """A log-sum-exp beside a square."""

    def fun(x):
        return jax.nn.logsumexp(x.astype(low)).astype(x.dtype) + jnp.sum(x**2)

    return fun, lambda x: 2 * x, (7,)


def factor(low):
    """A sine as a factor."""
    return lambda x: jnp.sum(x * jnp.sin(x).astype(low).astype(x.dtype)), jnp.sin, (5,)


def attention(low):
    """Weights of attention."""

    def weights(x, keep=lambda x: x):
        return keep(jax.nn.softmax((QUERIES.astype(x.dtype) @ x).astype(low)).astype(x.dtype))

    def fun(x):
        return jnp.sum(weights(x) * TARGETS[:6].astype(x.dtype)) + jnp.sum(x**3)

    return fun, lambda x: 3 * x**2, (4,)


def layer(low):
    """A layer with weight decay."""

    def fun(w):
        hidden = jnp.tanh(INPUTS.astype(low) @ w.astype(low)).astype(w.dtype)
        return jnp.mean((jnp.sum(hidden, axis=1) - TARGETS.astype(w.dtype)) ** 2) + jnp.sum(w**2)

    return fun, lambda w: 2 * w, (4, 6)


def offset_by(constant, low):
    """Squares beside a large constant."""
    return lambda x: (constant + jnp.sum(x**2)).astype(low).astype(x.dtype) + jnp.sum(jnp.exp(x))


def large_offset(low):
    """Squares beside a constant that is a hundred times as large."""
    return offset_by(100, low), jnp.exp, (5,)


def add(shape, low):
    fun, without, size = shape(jnp.dtype(low))

    def point(dtype):
        return (jnp.asarray(np.random.default_rng(len(shape.__name__)).normal(size=size) / 2, dtype),)

    name, details = f"inside.{shape.__name__}_{low}", {"dtypes": HIGHER[low]}
    CASES.add(name, lambda dtype: (fun, point(dtype)), FAMILY, **details)
    CASES.add(
        f"{name}_left_out",
        lambda dtype: (fun, point(dtype), without),
        FAMILY,
        kind="wrong",
        twin=name,
        cause=f"the derivative of what is computed in {low} is left out",
        **details,
    )


for low in (F32, BF16, F16):
    for shape in (term, normaliser, factor, attention, layer):
        add(shape, low)
add(large_offset, F32)


@CASES.case("inside.drowned_bfloat16", FAMILY, dtypes=(F64, F32), undecidable=(F64, F32), note="it rests at most steps")
def _(dtype):
    return offset_by(1000, jnp.bfloat16), (jnp.asarray(np.random.default_rng(0).normal(size=5), dtype),)
