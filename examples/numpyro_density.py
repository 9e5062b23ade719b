"""The log density of a NumPyro model in unconstrained parameters, as its samplers see it."""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.infer.util import log_density, potential_energy
from sklearn.datasets import load_diabetes

import jaxgradsweep as jgs


def regression(measurements, progression):
    """A regression whose coefficients share a scale."""
    scale = numpyro.sample("scale", dist.HalfCauchy(1.0))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    with numpyro.plate("columns", measurements.shape[1]):
        coefficients = numpyro.sample("coefficients", dist.Normal(0.0, scale))
    with numpyro.plate("patients", len(measurements)):
        numpyro.sample("progression", dist.StudentT(4.0, measurements @ coefficients, noise), obs=progression)


def problem():
    data = load_diabetes()
    measurements = data.data / data.data.std(axis=0)
    progression = (data.target - data.target.mean()) / data.target.std()
    start = {"scale": jnp.array(-1.2), "noise": jnp.array(-0.4), "coefficients": jnp.linspace(-0.2, 0.3, 10)}
    return start, measurements, progression


def potential(unconstrained, measurements, progression):
    """What a sampler differentiates: `scale` and `noise` are exponentials of what it moves."""
    return potential_energy(regression, (measurements, progression), {}, unconstrained)


def without_jacobian(unconstrained, measurements, progression):
    """The mistake: a density changes by the Jacobian of the exponential, and its gradient by that of the logarithm."""
    constrained = {name: jnp.exp(x) if name != "coefficients" else x for name, x in unconstrained.items()}
    return -log_density(regression, (measurements, progression), {}, constrained)[0]


def right():
    """NumPyro's own potential."""
    return jgs.check_grad(potential, problem())


def wrong():
    """The gradient misses the Jacobian of the change of variables."""
    return jgs.check_grad(potential, problem(), grad=jax.grad(without_jacobian))


def main():
    """Print what the checks say."""
    print(right(), wrong(), sep="\n\n")


if __name__ == "__main__":
    main()
