"""A Flax NNX model in training: it holds its batch statistics and random keys, and changes both when it is called.

A model is a pytree, so that it may be an argument as it is; or it is split into parameters and the rest, as for
`jax.grad`. What it changes in itself is changed in a copy.
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from sklearn.datasets import load_digits

import jaxgradsweep as jgs


class Network(nnx.Module):
    """Digits from images."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(1, 4, (3, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(0.25, rngs=rngs)
        self.readout = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, images):
        hidden = nnx.gelu(self.norm(self.conv(images[..., None])))
        return self.readout(self.dropout(hidden.reshape(len(images), -1)))


def loss(model, images, labels):
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(model(images), labels))


def loss_of_parts(graph, params, rest, images, labels):
    return loss(nnx.merge(graph, params, rest), images, labels)


def batch():
    digits = load_digits()
    return digits.images[:32] / 16, digits.target[:32]


def right():
    """The model as it is: parameters move, statistics too, keys and counts are held."""
    return jgs.check_grad(loss, (Network(nnx.Rngs(0)), *batch()))


def wrong():
    """The gradient is taken of the model in evaluation mode, the loss of the model in training."""
    model = Network(nnx.Rngs(0))
    training, params, rest = nnx.split(model, nnx.Param, ...)
    model.eval()
    evaluation, _, _ = nnx.split(model, nnx.Param, ...)
    gradient = jax.grad(loss_of_parts, argnums=1)
    return jgs.check_grad(
        jgs.pure(loss_of_parts, training, rest, *batch(), argnums=1),
        (params,),
        grad=jgs.pure(gradient, evaluation, rest, *batch(), argnums=1),  # the mistake: `training` is meant
    )


def main():
    """Print what the checks say."""
    print(right(), wrong(), sep="\n\n")


if __name__ == "__main__":
    main()
