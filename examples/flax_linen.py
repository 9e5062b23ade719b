"""A Flax Linen network in training: batch statistics that change, dropout keys, and auxiliary output.

`jgs.pure` binds the statistics, the batch and the key, so that a function of the parameters alone is checked.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_digits

import jaxgradsweep as jgs


class Network(nn.Module):
    """Digits from images."""

    @nn.compact
    def __call__(self, images, *, train):
        hidden = nn.Conv(4, (3, 3), strides=2)(images[..., None])
        hidden = nn.gelu(nn.BatchNorm(use_running_average=not train)(hidden))
        hidden = nn.Dropout(0.25, deterministic=not train)(hidden.reshape(len(images), -1))
        return nn.Dense(10)(hidden)


NETWORK = Network()


def loss(params, batch_stats, images, labels, key):
    """The loss of a batch, and the new statistics."""
    variables = {"params": params, "batch_stats": batch_stats}
    logits, changed = NETWORK.apply(variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key})
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels)), changed["batch_stats"]


def problem():
    digits = load_digits()
    images, labels = digits.images[:32] / 16, digits.target[:32]
    variables = NETWORK.init(jax.random.key(0), images, train=False)
    return variables["params"], variables["batch_stats"], images, labels


def right():
    """The gradient in training mode, with the keys that the loss has."""
    params, *batch = problem()
    return jgs.check_grad(jgs.pure(loss, *batch, jax.random.key(1), has_aux=True), (params,))


def wrong():
    """The gradient is taken after the key was split once more: it belongs to other dropped units than the loss."""
    params, *batch = problem()
    key = jax.random.key(1)
    gradient = jgs.pure(jax.grad(loss, has_aux=True), *batch, jax.random.split(key)[0], has_aux=True)  # the mistake
    return jgs.check_grad(jgs.pure(loss, *batch, key, has_aux=True), (params,), grad=gradient)


def main():
    """Print what the checks say."""
    print(right(), wrong(), sep="\n\n")


if __name__ == "__main__":
    main()
