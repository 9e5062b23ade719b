"""The networks that the benchmarks check: softmax cross-entropy of a multilayer perceptron on random data."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SIZES = (64, 256, 256, 10)  # 84 746 parameters
BATCH = 32
ACTIVATIONS: dict[str, Callable] = {"tanh": jnp.tanh, "gelu": jax.nn.gelu, "relu": jax.nn.relu}

Parameters = dict[str, Any]


def parameters(seed: int, dtype: Any = np.float64, sizes: tuple[int, ...] = SIZES) -> Parameters:
    """Weights of the usual initial size, and small biases that are not zero."""
    random = np.random.default_rng(seed)
    found = {}
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes), 1):
        found[f"weights{layer}"] = (random.normal(size=(inputs, outputs)) / np.sqrt(inputs)).astype(dtype)
        found[f"biases{layer}"] = (random.normal(size=outputs) / 10).astype(dtype)
    return found


def data(seed: int, dtype: Any = np.float64, sizes: tuple[int, ...] = SIZES) -> tuple[np.ndarray, np.ndarray]:
    """Random inputs and random labels."""
    random = np.random.default_rng([seed, 1])
    return random.normal(size=(BATCH, sizes[0])).astype(dtype), random.integers(0, sizes[-1], BATCH)


def make_loss(activation: str) -> Callable[[Parameters, Any, Any], jax.Array]:
    """Mean softmax cross-entropy of a perceptron with this activation."""
    activate = ACTIVATIONS[activation]

    def loss(parameters: Parameters, inputs: Any, labels: Any) -> jax.Array:
        layers = len(parameters) // 2
        signal = inputs
        for layer in range(1, layers + 1):
            signal = signal @ parameters[f"weights{layer}"] + parameters[f"biases{layer}"]
            if layer < layers:
                signal = activate(signal)
        return -jnp.mean(jax.nn.log_softmax(signal)[jnp.arange(len(signal)), labels])

    return loss


def flatten(parameters: Parameters) -> np.ndarray:
    """All parameters as one vector."""
    return np.concatenate([leaf.ravel() for leaf in parameters.values()])


def flat_loss(activation: str, like: Parameters) -> Callable[[Any, Any, Any], jax.Array]:
    """The same loss as a function of one vector, so that a direction moves all parameters at once."""
    loss = make_loss(activation)
    shapes = {name: leaf.shape for name, leaf in like.items()}

    def of_vector(vector: Any, inputs: Any, labels: Any) -> jax.Array:
        parts, start = {}, 0
        for name, shape in shapes.items():
            size = int(np.prod(shape))
            parts[name] = vector[start : start + size].reshape(shape)
            start += size
        return loss(parts, inputs, labels)

    return of_vector
