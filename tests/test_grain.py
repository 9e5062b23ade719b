"""Numbers in single precision: what their rounding explains of an error, and what it does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgradsweep as jgs
from jaxgradsweep._grain import neighbour, rounded

RANDOM = np.random.default_rng(7)
LOGITS = RANDOM.normal(size=(3, 5)).astype(np.float32)
SMOOTHED = np.float32(0.9) * np.eye(5, dtype=np.float32)[[1, 0, 3]] + np.float32(0.02)  # adds up to 1, nearly
INPUTS, TARGETS = (RANDOM.normal(size=size).astype(np.float32) for size in ((20, 6), (20,)))
WEIGHTS = RANDOM.normal(size=6).astype(np.float32)


def cross_entropy(logits, targets):
    return -jnp.mean(jnp.sum(targets * jax.nn.log_softmax(logits), axis=-1))


def slope(logits, targets, factor=1.0):
    """Right where the targets add up to 1."""
    return factor * (jax.nn.softmax(logits) - targets) / len(targets)


def with_rule(factor):
    @jax.custom_vjp
    def loss(logits):
        return cross_entropy(logits, SMOOTHED)

    loss.defvjp(
        lambda logits: (cross_entropy(logits, SMOOTHED), logits),
        lambda logits, u: (u * slope(logits, SMOOTHED, factor),),
    )
    return loss


def in_args(factor):
    return jgs.check_grad(cross_entropy, (LOGITS, SMOOTHED), grad=lambda z, t: slope(z, t, factor))


def in_closures(factor):
    return jgs.check_grad(lambda z: cross_entropy(z, SMOOTHED), (LOGITS,), grad=lambda z: slope(z, SMOOTHED, factor))


def in_a_rule(factor):
    return jgs.check_grad(with_rule(factor), (LOGITS,))


def in_a_partial(factor):
    return jgs.check_grad(
        jgs.pure(lambda t, z: cross_entropy(z, t), jnp.asarray(SMOOTHED), argnums=1),
        (LOGITS,),
        grad=jgs.pure(lambda t, z: slope(z, t, factor), jnp.asarray(SMOOTHED), argnums=1),
    )


def in_a_pullback(factor):
    return jgs.check_vjp(with_rule(factor), (LOGITS,))


def in_a_push_forward(factor):
    return jgs.check_jvp(with_rule(factor), (LOGITS,))


def in_a_given_pullback(factor):
    def pullback(logits):
        return cross_entropy(logits, SMOOTHED), lambda u: (u * slope(logits, SMOOTHED, factor),)

    return jgs.check_vjp(lambda logits: cross_entropy(logits, SMOOTHED), (LOGITS,), vjp=pullback)


PLACES = [in_args, in_closures, in_a_rule, in_a_partial, in_a_pullback, in_a_push_forward, in_a_given_pullback]


@pytest.mark.parametrize("place", PLACES)
def test_targets_that_add_up_to_1_in_single_precision_only_accuse_nobody(place):
    report = place(1.0)
    assert report.ok
    assert 1e-9 < abs(report.findings[0].error) <= report.findings[0].tolerance < 1e-6
    assert any("move by their own rounding" in note for note in report.notes)


@pytest.mark.parametrize("place", PLACES)
def test_a_factor_beside_such_targets_is_found(place):
    assert place(1 + 3e-6).verdict is jgs.Verdict.WRONG


@pytest.mark.parametrize("factor", [1 + 1e-8, 1 + 1e-7, 1 + 1e-6])
def test_a_mistake_as_small_as_the_rounding_of_the_data_is_found_beside_them(factor):
    def loss(weights):
        return jnp.mean((jnp.tanh(INPUTS @ weights) - TARGETS) ** 2)

    report = jgs.check_grad(loss, (WEIGHTS,), grad=lambda w: factor * jax.grad(loss)(w), locate=False)
    assert report.verdict is jgs.Verdict.WRONG


def test_a_tolerance_that_was_asked_for_holds():
    loss = with_rule(1.0)
    assert jgs.check_grad(loss, (LOGITS,), rtol=1e-9).verdict is jgs.Verdict.WRONG


@pytest.mark.parametrize(
    ("numbers", "which"),
    [
        (np.array([0.1, 1.0, -0.75, 0.0], np.float32), [True, False, False, False]),
        (np.array([0.1, 1.0], np.float32).astype(np.float64), [True, False]),
        (np.array([0.1, 1.0]), [False]),
        (np.arange(3), [False]),
    ],
)
def test_numbers_of_single_precision_are_those_that_are_no_round_ones(numbers, which):
    assert rounded(numbers).tolist() == which
    moved = neighbour(numbers, seed=0)
    assert ((moved != numbers) == np.broadcast_to(which, numbers.shape)).all()
    assert np.allclose(moved, numbers, rtol=2**-22, atol=0)


def test_a_checkpoint_holds_the_point_itself(tmp_path):
    def ask():
        return jgs.check_grad(cross_entropy, (LOGITS, SMOOTHED), grad=slope, checkpoint=tmp_path / "kept")

    first = ask()
    assert first.ok
    assert ask().to_json() == first.to_json()


@pytest.mark.parametrize("check", [jgs.check_grad, jgs.check_vjp])
def test_a_number_that_function_and_claim_share_moves_alike_in_both(check):
    """The mistake is in a small term; the factor of the large one is in single precision."""
    factor = jnp.float32(0.3986004)

    @jax.custom_vjp
    def potential(x):
        return factor * jnp.sum(1 / x + 1e-3 * x**2)

    potential.defvjp(
        lambda x: (potential(x), x), lambda x, u: (u * jnp.float32(0.3986004) * (-1 / x**2 + 2.00001e-3 * x),)
    )
    report = check(potential, (np.array([1.3, 0.9, 1.7]),))
    assert report.verdict is jgs.Verdict.WRONG
    assert 1e-9 < abs(report.findings[0].error) < 1e-7


@pytest.mark.parametrize("check", [jgs.check_grad, jgs.check_vjp])
@pytest.mark.parametrize("data", [np.float64, np.float32])
def test_a_number_in_single_precision_that_the_claim_alone_holds_is_no_excuse(check, data):
    weights = RANDOM.normal(size=25).astype(data)

    @jax.custom_vjp
    def decibel(x):
        return 10 * jnp.log10(x)

    decibel.defvjp(lambda x: (decibel(x), x), lambda x, u: (u * 10 / (x * jnp.float32(np.log(10))),))
    report = check(lambda x: jnp.sum(weights * decibel(x)), (np.linspace(0.5, 1.5, 25),))
    assert report.verdict is jgs.Verdict.WRONG
    assert 1e-8 < abs(report.findings[0].error) < 1e-7
