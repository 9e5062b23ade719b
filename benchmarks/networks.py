"""The networks that the benchmarks check: a multilayer perceptron, a convolutional network and a transformer block.

All have random parameters and random data, and a smooth loss.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SIZES = (64, 256, 256, 10)  # 85 002 parameters
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


def square(total: int, outputs: int = 10) -> tuple[int, ...]:
    """The sizes of a perceptron of two equal hidden layers with about so many parameters."""
    width = round((np.sqrt((outputs + 2) ** 2 + 8 * total) - outputs - 2) / 4)  # of 2 w^2 + (outputs + 2) w = total
    return (width, width, width, outputs)


def count(parameters: Any) -> int:
    """How many numbers a pytree holds."""
    return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(parameters))


Model = tuple[Callable, Any, tuple[Any, ...]]  # a loss, its parameters, and its further arguments


def perceptron(activation: str) -> Model:
    """The perceptron with this activation."""
    return make_loss(activation), parameters(0), data(0)


def normal(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Weights of the usual initial size: all axes but the last are summed over."""
    return random.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))


def convolutional() -> Model:
    """Two convolutions, a mean over pairs, and two dense layers, on images of 8 x 8: 46 650 parameters."""
    random = np.random.default_rng(2)
    point = {
        "filters1": normal(random, 3, 3, 1, 16),
        "filters2": normal(random, 3, 3, 16, 32),
        "weights3": normal(random, 4 * 4 * 32, 80),
        "weights4": normal(random, 80, 10),
        **{f"biases{layer}": random.normal(size=size) / 10 for layer, size in enumerate((16, 32, 80, 10), 1)},
    }
    images, labels = random.normal(size=(BATCH, 8, 8, 1)), random.integers(0, 10, BATCH)

    def loss(p: Parameters, images: Any, labels: Any) -> jax.Array:
        signal = images
        for layer in (1, 2):
            dimensions = ("NHWC", "HWIO", "NHWC")
            signal = jax.lax.conv_general_dilated(
                signal, p[f"filters{layer}"], (1, 1), "SAME", dimension_numbers=dimensions
            )
            signal = jax.nn.gelu(signal + p[f"biases{layer}"])
        signal = signal.reshape(len(signal), 4, 2, 4, 2, -1).mean(axis=(2, 4)).reshape(len(signal), -1)
        signal = jnp.tanh(signal @ p["weights3"] + p["biases3"]) @ p["weights4"] + p["biases4"]
        return -jnp.mean(jax.nn.log_softmax(signal)[jnp.arange(len(signal)), labels])

    return loss, point, (images, labels)


def transformer(width: int = 64, heads: int = 4, tokens: int = 16, batch: int = 8) -> Model:
    """A block of causal attention and a dense part, each after a normalisation: 49 728 parameters."""
    random = np.random.default_rng(3)
    point = {
        **{name: normal(random, width, width) for name in ("query", "key", "value", "out")},
        "up": normal(random, width, 4 * width),
        "down": normal(random, 4 * width, width),
        "biases_up": random.normal(size=4 * width) / 10,
        "biases_down": random.normal(size=width) / 10,
        **{f"scale{i}": 1 + random.normal(size=width) / 10 for i in (1, 2)},
        **{f"shift{i}": random.normal(size=width) / 10 for i in (1, 2)},
    }
    inputs, targets = random.normal(size=(2, batch, tokens, width))

    def normalised(x: Any, scale: Any, shift: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        return scale * centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) + shift

    def split(x: Any) -> Any:
        return x.reshape(*x.shape[:-1], heads, width // heads)

    def loss(p: Parameters, inputs: Any, targets: Any) -> jax.Array:
        x = normalised(inputs, p["scale1"], p["shift1"])
        query, key, value = (split(x @ p[name]) for name in ("query", "key", "value"))
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(width // heads)
        past = np.tril(np.ones((tokens, tokens), bool))
        weights = jax.nn.softmax(jnp.where(past, scores, -1e9), axis=-1)
        x = inputs + jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(inputs.shape) @ p["out"]
        dense = jax.nn.gelu(normalised(x, p["scale2"], p["shift2"]) @ p["up"] + p["biases_up"])
        return jnp.mean((x + dense @ p["down"] + p["biases_down"] - targets) ** 2)

    return loss, point, (inputs, targets)


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
