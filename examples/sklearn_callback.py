"""A black box of scikit-learn in JAX: the evidence of a Gaussian process, and the gradient that comes with it.

The box is called with `jax.pure_callback`, which JAX does not differentiate: the backward pass is by hand. It returns
what it computes in the precision of its arguments, so that the check can run in double precision.
"""

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel

import jaxgradsweep as jgs

DATA = load_diabetes()
COLUMNS = [2, 3, 8]  # body mass, blood pressure and a serum measurement
MEASUREMENTS = DATA.data[:24, COLUMNS] / DATA.data[:, COLUMNS].std(axis=0)
PROGRESSION = (DATA.target[:24] - DATA.target.mean()) / DATA.target.std()
KERNEL = RBF([1.0, 1.0, 1.0], (1e-5, 1e5)) + WhiteKernel(1.0)
PROCESS = GaussianProcessRegressor(KERNEL, optimizer=None).fit(MEASUREMENTS, PROGRESSION)


def on_host(scales, **wanted):
    """The evidence; with a gradient, that by the logarithms of the scales, which are what scikit-learn moves."""
    with np.errstate(invalid="ignore"):  # the check also looks where a scale is negative: that is NaN
        return PROCESS.log_marginal_likelihood(np.log(np.asarray(scales, float)), **wanted)


def evidence_with(chain_rule):
    """The evidence as a function of three lengths and a noise."""

    @jax.custom_vjp
    def evidence(scales):
        shape = jax.ShapeDtypeStruct((), scales.dtype)
        return jax.pure_callback(lambda s: np.asarray(on_host(s), s.dtype), shape, scales, vmap_method="sequential")

    def backward(scales, cotangent):
        shape = jax.ShapeDtypeStruct(scales.shape, scales.dtype)
        gradient = lambda s: on_host(s, eval_gradient=True)[1].astype(s.dtype)
        slopes = jax.pure_callback(gradient, shape, scales, vmap_method="sequential")
        return (cotangent * chain_rule(slopes, scales),)

    evidence.defvjp(lambda scales: (evidence(scales), scales), backward)
    return evidence


def checked(chain_rule):
    return jgs.check_grad(evidence_with(chain_rule), (jnp.array([1.3, 0.8, 2.1, 0.6]),))


def right():
    """d/ds = (d / d log s) / s."""
    return checked(lambda slopes, scales: slopes / scales)


def wrong():
    """The slopes are taken as they come: by the logarithms."""
    return checked(lambda slopes, scales: slopes)


def main():
    """Print what the checks say."""
    print(right(), wrong(), sep="\n\n")


if __name__ == "__main__":
    main()
