"""An Equinox module with static fields, and a loss with a backward pass written by hand.

The module goes into the check as it is: arrays move, and what is static stays where it is.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from sklearn.datasets import load_digits

import jaxgradsweep as jgs

SMOOTHING = 0.1


class Classifier(eqx.Module):
    """Digits from pixels."""

    hidden: eqx.nn.Linear
    norm: eqx.nn.LayerNorm
    readout: eqx.nn.Linear
    activation: Callable = eqx.field(static=True)
    temperature: float = eqx.field(static=True)

    def __init__(self, width, *, key):
        first, second = jax.random.split(key)
        self.hidden = eqx.nn.Linear(64, width, key=first)
        self.norm = eqx.nn.LayerNorm(width)
        self.readout = eqx.nn.Linear(width, 10, key=second)
        self.activation, self.temperature = jax.nn.gelu, 2.0

    def __call__(self, pixels):
        return self.readout(self.norm(self.activation(self.hidden(pixels)))) / self.temperature


def smoothed(labels):
    return (1 - SMOOTHING) * jax.nn.one_hot(labels, 10) + SMOOTHING / 10


def cross_entropy_with(backward):
    """Cross-entropy of smoothed labels; its gradient is `backward`."""

    @jax.custom_vjp
    def cross_entropy(logits, labels):
        return -jnp.mean(jnp.sum(smoothed(labels) * jax.nn.log_softmax(logits), axis=-1))

    cross_entropy.defvjp(lambda logits, labels: (cross_entropy(logits, labels), (logits, labels)), backward)
    return cross_entropy


def by_hand(kept, cotangent):
    logits, labels = kept
    return cotangent * (jax.nn.softmax(logits) - smoothed(labels)) / len(labels), None


def forgetful(kept, cotangent):
    logits, labels = kept  # the mistake: the labels that go forward are smoothed, these are not
    return cotangent * (jax.nn.softmax(logits) - jax.nn.one_hot(labels, 10)) / len(labels), None


def checked(backward):
    cross_entropy = cross_entropy_with(backward)
    digits = load_digits()
    model = Classifier(8, key=jax.random.key(0))
    args = (model, digits.images[:32].reshape(32, 64) / 16, digits.target[:32])
    return jgs.check_grad(lambda model, pixels, labels: cross_entropy(jax.vmap(model)(pixels), labels), args)


def right():
    """The gradient of the smoothed loss."""
    return checked(by_hand)


def wrong():
    """The backward pass forgets that labels are smoothed."""
    return checked(forgetful)


def main():
    """Print what the checks say."""
    print(right(), wrong(), sep="\n\n")


if __name__ == "__main__":
    main()
