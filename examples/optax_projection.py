"""A loss and a projection of Optax: weights on the simplex, fitted to data, and a projection with a rule of its own."""

import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_breast_cancer

import jaxgradsweep as jgs

COLUMNS = 12


@jax.custom_vjp
def projection(scores):
    """The nearest point of the simplex."""
    return optax.projections.projection_simplex(scores)


def forward(scores):
    weights = projection(scores)
    return weights, weights > 0


def backward(support, cotangent):
    mean = jnp.mean(jnp.where(support, cotangent, 0))  # the mistake: the mean over the support is meant, not over all
    return (jnp.where(support, cotangent - mean, 0),)


projection.defvjp(forward, backward)


def fit(project):
    """How well a convex combination of measurements tells benign tumours from others, as a function of its scores."""

    def loss(scores, measurements, labels):
        return jnp.mean(optax.losses.sigmoid_focal_loss(measurements @ project(scores), labels))

    return loss


def problem():
    data = load_breast_cancer()
    columns = data.data[:, :COLUMNS]
    standardised = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    scores = jax.random.normal(jax.random.key(0), (COLUMNS,)) / 4
    return scores, -standardised, data.target.astype(float)


def right():
    """Optax's own loss, through its own projection."""
    return jgs.check_grad(fit(optax.projections.projection_simplex), problem())


def wrong():
    """The rule of the projection takes a mean over too many entries."""
    return jgs.check_grad(fit(projection), problem())


def main():
    """Print what the checks say."""
    print(right(), wrong(), sep="\n\n")


if __name__ == "__main__":
    main()
