"""A small convolutional network with a backward pass written by hand, and the mistakes people make in one.

From the images to the loss; on the right, what one image has become:

    image                                      8 x 8 x 1
    conv1    3x3 filter, ReLU, 2x2 max-pool    4 x 4 x 4
    conv2    3x3 filter, tanh                  2 x 2 x 4
    dense    square weight, tanh               16
    output   weight                            10 scores
    loss     softmax cross-entropy, averaged over the batch, plus an L2 penalty on filters and weights

`backward` asks JAX for no derivative: it walks the same lines from the bottom to the top by the chain rule. The
formulas in it that are easy to get wrong are gathered in `Rules`, so that `mistakes` needs no second backward pass.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

Parameters = dict[str, dict[str, Array]]
Images = Float[Array, "images rows columns channels"]
Patches = Float[Array, "images rows columns 9 channels"]
Filter = Float[Array, "3 3 channels_in channels_out"]
Labels = Int[Array, " images"]

CLASSES = 10
PENALTY = 1e-2  # strength of the L2 term
LEARNING_RATE = 0.05
IMAGES = 32
SEED, DESCENTS = 8, 40  # chosen: here 7 parameters have a kink closer than 1e-4, most points have fewer or none


class Activations(NamedTuple):
    """What the forward pass leaves behind for the backward pass: z before an activation function, a after it."""

    patches1: Float[Array, "images 8 8 9 1"]
    z1: Float[Array, "images 8 8 4"]
    windows: Float[Array, "images 4 4 corners 4"]
    patches2: Float[Array, "images 2 2 9 4"]
    z2: Float[Array, "images 2 2 4"]
    a2: Float[Array, "images 2 2 4"]
    z3: Float[Array, "images 16"]
    a3: Float[Array, "images 16"]
    scores: Float[Array, "images 10"]


class Rules(NamedTuple):
    """The formulas of the backward pass that are easy to get wrong."""

    average: Callable = lambda batch: 1 / batch
    tanh_slope: Callable = lambda z, a: 1 - a**2
    transposed: Callable = lambda weight: weight.T
    flipped: Callable = lambda kernel: kernel[::-1, ::-1]
    penalty_slope: Callable = lambda weight: PENALTY * weight


RIGHT = Rules()


def forward(params: Parameters, images: Images) -> Activations:
    """Run the network and keep what the backward pass will need."""
    patches1 = patches(padded(images, 1))
    z1 = correlate(patches1, params["conv1"]["filter"]) + params["conv1"]["bias"]
    windows = pool_windows(jnp.maximum(z1, 0))

    patches2 = patches(jnp.max(windows, axis=3))
    z2 = correlate(patches2, params["conv2"]["filter"]) + params["conv2"]["bias"]
    a2 = jnp.tanh(z2)

    z3 = in_a_row(a2) @ params["dense"]["weight"] + params["dense"]["bias"]
    a3 = jnp.tanh(z3)

    scores = a3 @ params["output"]["weight"] + params["output"]["bias"]
    return Activations(patches1, z1, windows, patches2, z2, a2, z3, a3, scores)


def loss(params: Parameters, images: Images, labels: Labels) -> Float[Array, ""]:
    """Compute the softmax cross-entropy, averaged over the batch, plus the L2 penalty."""
    log_likelihoods = jax.nn.log_softmax(forward(params, images).scores) * jax.nn.one_hot(labels, CLASSES)
    weights = [leaf for layer in params.values() for name, leaf in layer.items() if name != "bias"]
    return -jnp.sum(log_likelihoods) / len(images) + PENALTY / 2 * sum(jnp.sum(weight**2) for weight in weights)


def gradient(params: Parameters, images: Images, labels: Labels, rules: Rules = RIGHT) -> Parameters:
    """Compute the gradient of `loss` in the parameters by hand: once forward, once back."""
    return backward(params, forward(params, images), labels, rules)


def backward(params: Parameters, seen: Activations, labels: Labels, rules: Rules = RIGHT) -> Parameters:
    """Walk back from the loss to the parameters. Each delta is the slope of the loss in the z (or scores) of its name.

    Args:
        params: the parameters.
        seen: what `forward` saw with these parameters.
        labels: the digit on each image.
        rules: the formulas to use; the right ones by default.

    Returns:
        The slope of the loss in each parameter, in the structure of `params`.
    """
    delta_scores = (jax.nn.softmax(seen.scores) - jax.nn.one_hot(labels, CLASSES)) * rules.average(len(labels))

    to_a3 = delta_scores @ params["output"]["weight"].T
    delta3 = to_a3 * rules.tanh_slope(seen.z3, seen.a3)

    to_a2 = (delta3 @ rules.transposed(params["dense"]["weight"])).reshape(seen.a2.shape)
    delta2 = to_a2 * rules.tanh_slope(seen.z2, seen.a2)

    kernel = jnp.swapaxes(rules.flipped(params["conv2"]["filter"]), 2, 3)
    to_pooled = correlate(patches(padded(delta2, 2)), kernel)
    delta1 = spread(to_pooled) * passes(seen)

    slopes = {
        "conv1": {"filter": filter_slope(seen.patches1, delta1), "bias": jnp.sum(delta1, (0, 1, 2))},
        "conv2": {"filter": filter_slope(seen.patches2, delta2), "bias": jnp.sum(delta2, (0, 1, 2))},
        "dense": {"weight": in_a_row(seen.a2).T @ delta3, "bias": jnp.sum(delta3, 0)},
        "output": {"weight": seen.a3.T @ delta_scores, "bias": jnp.sum(delta_scores, 0)},
    }
    for layer, name in [("conv1", "filter"), ("conv2", "filter"), ("dense", "weight"), ("output", "weight")]:
        slopes[layer][name] += rules.penalty_slope(params[layer][name])
    return slopes


def patches(images: Images) -> Patches:
    """Cut out every 3x3 patch, one for each pixel that is not on the edge."""
    rows, columns = images.shape[1] - 2, images.shape[2] - 2
    return jnp.stack([images[:, i : i + rows, j : j + columns] for i in range(3) for j in range(3)], axis=3)


def padded(images: Images, width: int) -> Images:
    """Surround every image with zeros."""
    return jnp.pad(images, [(0, 0), (width, width), (width, width), (0, 0)])


def correlate(patches: Patches, kernel: Filter) -> Images:
    """Lay the filter on every patch."""
    return jnp.einsum("nrcki,kio->nrco", patches, kernel.reshape(9, *kernel.shape[2:]))


def filter_slope(patches: Patches, delta: Images) -> Filter:
    """Pull the slope in the outputs of `correlate` back to its filter."""
    slope = jnp.einsum("nrcki,nrco->kio", patches, delta)
    return slope.reshape(3, 3, *slope.shape[1:])


def pool_windows(images: Images) -> Float[Array, "images half_rows half_columns 4 channels"]:
    """Cut into windows of 2x2 pixels."""
    return jnp.stack([images[:, i::2, j::2] for i in range(2) for j in range(2)], axis=3)


def spread(pooled: Images) -> Images:
    """Give each pixel of a 2x2 window what its window has."""
    return jnp.repeat(jnp.repeat(pooled, 2, axis=1), 2, axis=2)


def passes(seen: Activations) -> Bool[Array, "images 8 8 4"]:
    """Say which pixels the ReLU and the max-pool let through: positive, and the largest of their window."""
    winner = spread(jnp.argmax(seen.windows, axis=3))
    rows, columns = seen.windows.shape[1:3]
    corner = jnp.tile(jnp.array([[0, 1], [2, 3]]), (rows, columns))[:, :, None]
    return (winner == corner) & (seen.z1 > 0)


def in_a_row(features: Images) -> Float[Array, "images features"]:
    """Flatten all but the batch axis."""
    return features.reshape(len(features), -1)


def initial_parameters(seed: int) -> Parameters:
    """Draw weights in proportion to how many they sum, and set biases a little above zero."""
    random = np.random.default_rng(seed)

    def drawn(*shape):
        return random.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))

    params = {
        "conv1": {"filter": 2 * drawn(3, 3, 1, 4), "bias": np.full(4, 0.1)},
        "conv2": {"filter": drawn(3, 3, 4, 4), "bias": np.full(4, 0.1)},
        "dense": {"weight": drawn(16, 16), "bias": np.full(16, 0.1)},
        "output": {"weight": drawn(16, CLASSES), "bias": np.full(CLASSES, 0.1)},
    }
    return jax.tree.map(jnp.asarray, params)


class Scene(NamedTuple):
    """A network in the middle of its training, and the images it sees."""

    previous: Parameters
    params: Parameters
    images: Images
    labels: Labels

    @property
    def point(self) -> tuple[Parameters, Images, Labels]:
        """The arguments of the loss, and of every gradient."""
        return self.params, self.images, self.labels


def train() -> Scene:
    """Train the network for a few steps on scikit-learn's images of digits."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = jnp.asarray(pixels[:IMAGES].reshape(IMAGES, 8, 8, 1) / 16)
    labels = jnp.asarray(labels[:IMAGES])
    previous = params = initial_parameters(SEED)
    for _ in range(DESCENTS):
        previous, slopes = params, gradient(params, images, labels)
        params = jax.tree.map(lambda leaf, slope: leaf - LEARNING_RATE * slope, previous, slopes)
    return Scene(previous, params, images, labels)


def nearest_kink(
    params_at: Callable[[Array | float], Parameters], images: Images, *, within: float
) -> Float[Array, ""]:
    """Find how far the parameters move until the ReLU or the max-pool lets another pixel through, by bisection.

    Args:
        params_at: the parameters after a move by a distance, which may be negative.
        images: the images that the network sees.
        within: how far to look.

    Returns:
        The distance, or infinity if nothing changes within reach.
    """

    def changed(distance):
        here, ahead, behind = (passes(forward(params_at(move), images)) for move in (0.0, distance, -distance))
        return jnp.any(here != ahead) | jnp.any(here != behind)

    def halve(_, bracket):
        low, high = bracket
        middle = (low + high) / 2
        return jax.lax.cond(changed(middle), lambda: (low, middle), lambda: (middle, high))

    _, distance = jax.lax.fori_loop(0, 20, halve, (0.0, within))
    return jnp.where(changed(within), distance, jnp.inf)


class Mistake(NamedTuple):
    """A backward pass that is wrong in one place, and the leaves of the gradient that this makes wrong."""

    name: str
    gradient: Callable[[Parameters, Images, Labels], Parameters]
    leaves: frozenset[str]


CONV1 = frozenset({"['conv1']['filter']", "['conv1']['bias']"})
CONV2 = frozenset({"['conv2']['filter']", "['conv2']['bias']"})
DENSE = frozenset({"['dense']['weight']", "['dense']['bias']"})
OUTPUT = frozenset({"['output']['weight']", "['output']['bias']"})
LAYERS = {"conv1": CONV1, "conv2": CONV2, "dense": DENSE, "output": OUTPUT}
ALL = CONV1 | CONV2 | DENSE | OUTPUT
PENALISED = frozenset(leaf for leaf in ALL if "bias" not in leaf)


def mistakes(previous: Parameters) -> tuple[Mistake, ...]:
    """Plant the classical mistakes, one in each.

    Args:
        previous: the parameters before the last step of descent, whose activations the stale cache still holds.

    Returns:
        The mistakes; each has a gradient that takes the same arguments as `gradient`.
    """

    def with_rule(**rule):
        return lambda params, images, labels: gradient(params, images, labels, Rules(**rule))

    def stale_cache(params, images, labels):
        return backward(params, forward(previous, images), labels)

    def wrong_index(params, images, labels):
        slopes = gradient(params, images, labels)
        kernel = slopes["conv2"]["filter"]
        slopes["conv2"]["filter"] = kernel.at[1, 2, 0, 3].set(kernel[1, 1, 0, 3])
        return slopes

    return (
        Mistake("sum over batch, not mean", with_rule(average=lambda batch: 1), ALL),
        Mistake("tanh' of pre-activation", with_rule(tanh_slope=lambda z, a: 1 - z**2), CONV1 | CONV2 | DENSE),
        Mistake("dense weight untransposed", with_rule(transposed=lambda weight: weight), CONV1 | CONV2),
        Mistake("filter of conv2 unflipped", with_rule(flipped=lambda kernel: kernel), CONV1),
        Mistake("L2 term forgotten", with_rule(penalty_slope=lambda weight: 0), PENALISED),
        Mistake("stale cache, one step old", stale_cache, ALL),
        Mistake("one wrong index", wrong_index, frozenset({"['conv2']['filter']"})),
    )
