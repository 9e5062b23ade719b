"""What is read from a traced program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.lax import DotAlgorithmPreset, Precision

import jaxgradsweep as jgs
from jaxgradsweep._program import FULL, product_bits, unit_bits

WEIGHTS = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32) / 6
INPUTS = np.random.default_rng(1).normal(size=(8, 32)).astype(np.float32)


def halved(x):
    """x halved until it is below 1; that loop never ends for what is not finite."""
    return jax.lax.while_loop(lambda y: ~(y < 1), lambda y: y / 2, x)


def layer(weights, inputs):
    return jnp.mean(jnp.tanh(inputs @ weights) ** 2)


@pytest.mark.parametrize(
    ("precision", "platform", "bits"),
    [
        (None, "cpu", FULL),
        (None, "gpu", 10),
        (Precision.DEFAULT, "tpu", 7),
        (Precision.HIGHEST, "gpu", FULL),
        ((Precision.HIGHEST, Precision.DEFAULT), "gpu", 10),
        ((Precision.HIGHEST, Precision.HIGHEST), "tpu", FULL),
        (DotAlgorithmPreset.BF16_BF16_F32, "gpu", 7),
        (DotAlgorithmPreset.BF16_BF16_F32, "cpu", FULL),
        (DotAlgorithmPreset.TF32_TF32_F32_X3, "gpu", 21),
        (DotAlgorithmPreset.BF16_BF16_F32_X9, "gpu", FULL),
        (DotAlgorithmPreset.F32_F32_F32, "gpu", FULL),
        (DotAlgorithmPreset.F16_F16_F16, "cpu", 10),
        (DotAlgorithmPreset.ANY_F8_ANY_F8_F32, "gpu", 2),
    ],
)
def test_the_bits_of_a_matrix_unit_follow_from_precision_and_platform(precision, platform, bits):
    assert unit_bits(precision, platform) == bits


@pytest.mark.parametrize(("dtype", "bits"), [(jnp.int32, FULL), (jnp.float32, 10), (jnp.float64, FULL)])
def test_a_gpu_rounds_what_it_multiplies_in_float32_only(dtype, bits):
    with jax.enable_x64(True):
        numbers = jnp.ones((2, 2), dtype)
        [step] = jax.make_jaxpr(lambda a: jax.lax.dot(a, a))(numbers).eqns
    assert product_bits(step, "gpu") == bits


def test_matrix_products_run_at_the_highest_precision_unless_that_which_ships_is_asked_for():
    with jax.default_matmul_precision("F16_F16_F16"):
        formula = jgs.check_grad(layer, (WEIGHTS, INPUTS), dtype="native")
        shipped = jgs.check_grad(layer, (WEIGHTS, INPUTS), dtype="native", matmul_precision=None)
    assert formula.ok
    assert shipped.verdict is not jgs.Verdict.WRONG
    assert formula.resolution < 1e-3 < shipped.resolution
    assert not any("matrix products" in note for note in formula.notes)
    assert any("10 bits of mantissa" in note for note in shipped.notes)


def test_a_wrong_factor_is_found_above_the_floor_of_half_precision_products():
    """Along most directions: along some, five percent lie under it."""

    def scaled(weights, inputs):
        return 1.05 * jax.grad(layer)(weights, inputs)

    verdicts = [
        jgs.check_grad(
            layer, (WEIGHTS, INPUTS), grad=scaled, dtype="native", matmul_precision="F16_F16_F16", key=key, locate=False
        ).verdict
        for key in range(8)
    ]
    assert jgs.Verdict.CORRECT not in verdicts
    assert verdicts.count(jgs.Verdict.WRONG) >= 5


def test_double_precision_has_no_such_floor():
    report = jgs.check_grad(layer, (WEIGHTS, INPUTS), matmul_precision="tensorfloat32")
    assert report.tolerance == pytest.approx(1e-9)


@pytest.mark.parametrize("precision", ["fast", 3])
def test_an_unknown_precision_is_an_error_that_says_what_there_is(precision):
    with pytest.raises(ValueError, match=r"`matmul_precision` must be None.*got") as caught:
        jgs.check_grad(layer, (WEIGHTS, INPUTS), matmul_precision=precision)
    assert repr(precision) in str(caught.value)


@pytest.mark.parametrize("grad", [None, lambda x: jax.lax.cond(x > 4, lambda x: halved(x) / x, lambda x: 1.0, x)])
def test_a_loop_in_a_branch_that_is_not_taken_is_never_entered(grad):
    def fun(x):
        return jax.lax.cond(x > 4, halved, lambda x: x + (0 if grad else x**2), x)

    report = jgs.check_grad(fun, (np.float64(1.5),), grad=grad, dtype="float64")
    assert report.ok
    assert any("branches that hold loops" in note for note in report.notes)


@pytest.mark.parametrize("kept", [23, 10])
def test_a_residual_that_is_rounded_without_a_cast_makes_a_claim_wrong(kept):
    @jax.custom_vjp
    def exponential(x):
        return jnp.exp(x)

    exponential.defvjp(lambda x: (jnp.exp(x), jax.lax.reduce_precision(jnp.exp(x), 8, kept)), lambda y, u: (u * y,))
    report = jgs.check_vjp(exponential, (np.linspace(-1.0, 1.1, 7),))
    assert report.verdict is jgs.Verdict.WRONG
    assert abs(report.findings[0].error) < 2.0**-kept


@pytest.mark.parametrize(("fun", "directions"), [(jax.nn.logsumexp, "2"), (jnp.median, "6"), (jnp.max, "2")])
def test_more_directions_are_drawn_only_where_numbers_are_put_in_order(fun, directions):
    report = jgs.check_grad(fun, (np.array([0.3, 1.2, -0.4]),))
    assert report.ok
    assert report.environment["directions"] == directions
