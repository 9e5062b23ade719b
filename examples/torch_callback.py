"""A PyTorch module in JAX: called on the host, with PyTorch's own gradient as the backward pass.

PyTorch adds gradients up in `.grad` until somebody sets them to zero. Who forgets that has a backward pass that is
right once, and another one at every call.
"""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from sklearn.datasets import load_diabetes

import jaxgradsweep as jgs

torch.manual_seed(0)
MODEL = torch.nn.Sequential(torch.nn.Linear(10, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()


def value_on_host(inputs):
    with torch.no_grad():
        return MODEL(torch.tensor(np.asarray(inputs, float))).numpy().astype(inputs.dtype)


def fresh_gradient(inputs, cotangent):
    leaf = torch.tensor(np.asarray(inputs, float), requires_grad=True)
    MODEL(leaf).backward(torch.tensor(np.asarray(cotangent, float)))
    return leaf.grad.numpy().astype(inputs.dtype)


class Reused:
    """A leaf that is made once."""

    def __init__(self, shape):
        self.leaf = torch.zeros(shape, dtype=torch.float64, requires_grad=True)

    def __call__(self, inputs, cotangent):
        self.leaf.data = torch.tensor(np.asarray(inputs, float))  # the mistake: `self.leaf.grad = None` is missing
        MODEL(self.leaf).backward(torch.tensor(np.asarray(cotangent, float)))
        return self.leaf.grad.numpy().astype(inputs.dtype)


def network_with(gradient):
    """Predictions for patients, one row each."""

    @jax.custom_vjp
    def network(inputs):
        shape = jax.ShapeDtypeStruct((len(inputs), 1), inputs.dtype)
        return jax.pure_callback(value_on_host, shape, inputs, vmap_method="sequential")

    def backward(inputs, cotangent):
        shape = jax.ShapeDtypeStruct(inputs.shape, inputs.dtype)
        return (jax.pure_callback(gradient, shape, inputs, cotangent, vmap_method="sequential"),)

    network.defvjp(lambda inputs: (network(inputs), inputs), backward)
    return network


def checked(gradient):
    network, data = network_with(gradient), load_diabetes()

    def loss(inputs, targets):
        return jnp.mean((network(inputs)[:, 0] - targets) ** 2)

    return jgs.check_grad(loss, (data.data[:6] * 20, data.target[:6] / 100))


def right():
    """A new leaf for each gradient."""
    return checked(fresh_gradient)


def wrong():
    """One leaf for all of them."""
    return checked(Reused((6, 10)))


def main():
    """Print what the checks say."""
    print(right(), wrong(), sep="\n\n")


if __name__ == "__main__":
    main()
