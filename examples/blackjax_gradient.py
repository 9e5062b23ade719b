"""A gradient estimator of BlackJAX for samplers that look at a part of the data at a time.

On all of the data at once it must give the gradient of the log-posterior. That is a sum of two terms: the check looks
at each of them, and at their sum.
"""

import blackjax.sgmcmc.gradients as gradients
import jax
import jax.numpy as jnp
from sklearn.datasets import load_breast_cancer

import jaxgradsweep as jgs

BATCH = 64


def log_prior(params):
    """Normal for the weights, and wider for the offset."""
    return -0.5 * (jnp.sum(params["weights"] ** 2) + params["offset"] ** 2 / 25)


def log_likelihood(params, datum):
    """Of one patient."""
    measurements, benign = datum
    logit = measurements @ params["weights"] + params["offset"]
    return benign * jax.nn.log_sigmoid(logit) + (1 - benign) * jax.nn.log_sigmoid(-logit)


def posterior(params, data):
    """Both terms of the log-posterior."""
    likelihoods = jax.vmap(log_likelihood, in_axes=(None, 0))(params, data)
    return {"prior": log_prior(params), "likelihood": jnp.sum(likelihoods)}


def checked(size):
    table = load_breast_cancer()
    standardised = (table.data - table.data.mean(axis=0)) / table.data.std(axis=0)
    data = (jnp.asarray(standardised[:, :10]), jnp.asarray(table.target, float))
    params = {"weights": 0.3 * jax.random.normal(jax.random.key(0), (10,)), "offset": jnp.array(0.4)}
    estimator = gradients.grad_estimator(log_prior, log_likelihood, len(data[1]) if size is None else size)
    return jgs.check_grad(posterior, (params, data), grad=estimator)


def right():
    """The estimator knows how many patients there are."""
    return checked(None)


def wrong():
    """The estimator takes the size of a batch for that of the data."""
    return checked(BATCH)


def main():
    """Print what the checks say."""
    print(right(), wrong(), sep="\n\n")


if __name__ == "__main__":
    main()
