"""A Pallas kernel with a backward kernel of its own: RMS normalisation, as transformers have it.

Kernels run here in interpret mode, on any machine; leave `interpret` out to check what an accelerator computes.
"""

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from sklearn.datasets import load_digits

import jaxgradsweep as jgs

EPSILON = 1e-6


def inverse_size(rows):
    return jax.lax.rsqrt(jnp.mean(rows**2, axis=-1, keepdims=True) + EPSILON)


def forward_kernel(rows, scale, out):
    out[...] = rows[...] * inverse_size(rows[...]) * scale[...]


def backward_kernel(rows, scale, cotangent, out):
    unit, pulled = inverse_size(rows[...]), cotangent[...] * scale[...]
    along = jnp.mean(pulled * rows[...], axis=-1, keepdims=True)
    out[...] = unit * pulled - unit**3 * along * rows[...]


def hasty_kernel(rows, scale, cotangent, out):
    out[...] = inverse_size(rows[...]) * cotangent[...] * scale[...]  # the mistake: the size depends on the rows, too


def call(kernel, like, *arrays):
    return pl.pallas_call(kernel, out_shape=jax.ShapeDtypeStruct(like.shape, like.dtype), interpret=True)(*arrays)


def normalised_with(kernel):
    """Rows of size one, times a scale; `kernel` is the backward one."""

    @jax.custom_vjp
    def normalised(rows, scale):
        return call(forward_kernel, rows, rows, scale)

    def backward(kept, cotangent):
        rows, scale = kept
        by_scale = jnp.sum(cotangent * rows * inverse_size(rows), axis=0)
        return call(kernel, rows, rows, scale, cotangent), by_scale

    normalised.defvjp(lambda rows, scale: (normalised(rows, scale), (rows, scale)), backward)
    return normalised


def checked(kernel):
    rows = jnp.asarray(load_digits().images[0] / 16)
    return jgs.check_vjp(normalised_with(kernel), (rows, jnp.linspace(0.5, 1.5, 8)), argnums=(0, 1))


def right():
    """Both terms of the derivative."""
    return checked(backward_kernel)


def wrong():
    """The size of a row is taken for a constant."""
    return checked(hasty_kernel)


def main():
    """Print what the checks say."""
    print(right(), wrong(), sep="\n\n")


if __name__ == "__main__":
    main()
