"""The answer to a claim, for every signature that a sweep can have: from the function to the verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgradsweep as jgs
from helpers import layers, layers_gradient, layers_point, off_by, smooth, smooth_gradient
from jaxgradsweep import Reason, Verdict
from jaxgradsweep._probe import step_grid

X = np.array([0.3, 0.8, 1.2])
PARAMS, INPUTS = layers_point()
GRADIENT = layers_gradient(PARAMS, INPUTS)
LONG = np.random.default_rng(2).uniform(0.4, 1.6, 1000)


def verdicts(report):
    return {finding.path: finding.verdict.name for finding in report.findings}


def outcome(report):
    """Verdict and reason of a report of one leaf."""
    (finding,) = report.findings
    return finding.verdict, finding.reason


# ---- right and wrong


def test_the_right_gradient_of_a_network_is_correct_to_1e_10():
    for gradient in (None, GRADIENT):
        report = jgs.check_grad(layers, (PARAMS, INPUTS), grad=gradient)
        assert report.verdict is Verdict.CORRECT
        assert report.resolution < 1e-10


@pytest.mark.parametrize("error", 10.0 ** -np.arange(1, 9))
@pytest.mark.parametrize("leaf", ["w1", "b2"])
def test_a_gradient_wrong_in_one_leaf_is_wrong_there_only(leaf, error):
    gradient = GRADIENT | {leaf: off_by(GRADIENT[leaf], error)}
    report = jgs.check_grad(layers, (PARAMS, INPUTS), grad=gradient)
    assert verdicts(report) == {f"['{name}']": "WRONG" if name == leaf else "CORRECT" for name in GRADIENT}
    assert report.verdict is Verdict.WRONG


@pytest.mark.parametrize("error", 10.0 ** -np.arange(1, 9))
def test_a_gradient_wrong_in_one_component_of_a_thousand_is_wrong(error):
    rtol = None if error > 1e-8 else 1e-10  # of the leaf, an error of 1e-8 in one component is 3e-10
    report = jgs.check_grad(smooth, (LONG,), grad=off_by(smooth_gradient(LONG), error, index=617), rtol=rtol)
    assert outcome(report) == (Verdict.WRONG, Reason.MISMATCH)


@pytest.mark.parametrize("key", range(5))
def test_the_right_gradient_of_a_thousand_components_is_correct_whatever_the_directions(key):
    assert jgs.check_grad(smooth, (LONG,), grad=smooth_gradient(LONG), key=key).ok


def test_the_signed_error_of_a_gradient_that_is_too_large_throughout_is_measured():
    finding = jgs.check_grad(smooth, (X,), grad=1.001 * smooth_gradient(X)).findings[0]
    assert abs(finding.claimed / finding.estimate - 1.001) < 1e-9
    assert abs(finding.error) <= finding.error_bound


def sines(x):
    return {"a": jnp.sin(x), "b": jnp.cos(x).sum()}


def sines_rule(factor):
    def rule(x):
        return sines(x), lambda u: (jnp.cos(x) * u["a"] - factor * jnp.sin(x) * u["b"],)

    return rule


@pytest.mark.parametrize("error", [1e-2, 1e-7])
def test_a_vjp_wrong_for_one_output_is_wrong(error):
    assert jgs.check_vjp(sines, (X,), vjp=sines_rule(1 + error)).verdict is Verdict.WRONG


def test_the_right_vjp_of_several_outputs_is_correct():
    assert jgs.check_vjp(sines, (X,), vjp=sines_rule(1.0)).ok


@pytest.mark.parametrize(
    "wrong", [-smooth_gradient(X), 0 * X, smooth_gradient(X)[::-1], smooth_gradient(X) + 1e-3 * X], ids=str
)
def test_common_mistakes_are_wrong(wrong):
    assert outcome(jgs.check_grad(smooth, (X,), grad=wrong)) == (Verdict.WRONG, Reason.MISMATCH)


@pytest.mark.parametrize("there", [0.0, 1.1])
def test_a_claim_that_is_not_finite_beside_the_point_is_no_second_witness(there):
    """As the derivative of a series is, that somebody wrote for one side and mended at its end."""

    @jax.custom_vjp
    def series(x):
        return jnp.expm1(x)

    def pulled(x, u):
        return (u * jnp.where(x == 1, there, jnp.where(x > 1, jnp.nan, jnp.exp(x))),)

    series.defvjp(lambda x: (series(x), x), pulled)
    assert outcome(jgs.check_vjp(series, (np.array([1.0, 0.3]),))) == (Verdict.WRONG, Reason.MISMATCH)


# ---- kinks


def absolutes(x):
    """Sum of |x - 1|: a kink where a component is 1."""
    return jnp.sum(jnp.abs(x - 1))


AT_KINK = np.array([1.0, 1.0])


@pytest.mark.parametrize("slope", [-1.0, -0.5, 0.0, 0.5, 1.0])
def test_at_a_kink_a_valid_subgradient_is_unresolved(slope):
    report = jgs.check_grad(absolutes, (AT_KINK,), grad=np.full(2, slope))
    assert outcome(report) == (Verdict.UNRESOLVED, Reason.KINK)
    assert "kink" in report.findings[0].advice


@pytest.mark.parametrize("slope", [-3.0, 3.0, 100.0])
def test_at_a_kink_a_slope_clearly_outside_of_both_sides_is_wrong(slope):
    assert jgs.check_grad(absolutes, (AT_KINK[:1],), grad=np.full(1, slope)).verdict is Verdict.WRONG


@pytest.mark.parametrize("slope", [0.0, 0.3, 1.0])
def test_at_the_kink_of_a_relu_a_valid_subgradient_is_unresolved(slope):
    assert outcome(jgs.check_grad(relu, (np.array(0.0),), grad=slope)) == (Verdict.UNRESOLVED, Reason.KINK)


@pytest.mark.parametrize("slope", [-1.0, 2.0])
def test_at_the_kink_of_a_relu_a_slope_outside_is_wrong(slope):
    assert jgs.check_grad(relu, (np.array(0.0),), grad=slope).verdict is Verdict.WRONG


def relu(x):
    return jax.nn.relu(x) + 2.0


def test_a_kink_in_one_component_of_many_is_seen():
    x = np.array([0.3, 1.0, 1.7, 0.6])
    report = jgs.check_grad(absolutes, (x,), grad=np.sign(x - 1))
    assert outcome(report) == (Verdict.UNRESOLVED, Reason.KINK)


def leaky(x):
    """Weighted sines of a leaky rectifier."""
    return jnp.sum(jnp.sin(jnp.where(x > 0, x, 0.1 * x)) * jnp.arange(1.0, x.size + 1))


def off_in(*components, size):
    """A gradient of `leaky` that is 5 % too large in some components."""
    factor = np.ones(size)
    factor[list(components)] = 1.05
    return lambda x: jax.grad(leaky)(x) * factor


ONE_AT_ITS_KINK = np.array([0.7, -0.3, 1.1, 0.0, 0.4])


def test_a_kink_in_one_component_does_not_excuse_another():
    report = jgs.check_grad(leaky, (ONE_AT_ITS_KINK,), grad=off_in(2, size=5))
    assert outcome(report) == (Verdict.WRONG, Reason.MISMATCH)
    assert report.blame[0].indices.tolist() == [[2]]  # and not the one at its kink
    assert "along component [2] alone, which meets no kink; component [3] is at a kink" in " ".join(str(report).split())


def test_a_component_at_its_kink_is_named_and_no_other_is_accused():
    report = jgs.check_grad(leaky, (ONE_AT_ITS_KINK,))
    assert outcome(report) == (Verdict.UNRESOLVED, Reason.KINK)
    assert "component [3] is at a kink" in report.findings[0].advice


@pytest.mark.parametrize(("size", "words"), [(3, "all 3 components are"), (40, "all 8 components that were tried are")])
def test_components_that_are_all_at_their_kinks_are_not_listed(size, words):
    report = jgs.check_grad(lambda x: jnp.sum(jnp.abs(x)), (np.zeros(size),))
    assert f"{words} at a kink" in report.findings[0].advice


def zero_layer(fun):
    """A layer with all weights and biases zero, as it may be initialised, behind weights of either sign."""
    random = np.random.default_rng(3)
    inputs, outer, targets = (random.normal(size=size) for size in ((16, 5), 12, 16))

    def loss(p):
        return jnp.mean((fun(inputs @ p["w"] + p["b"]) @ outer + p["c"] - targets) ** 2)

    return loss, ({"w": np.zeros((5, 12)), "b": np.zeros(12), "c": np.array(0.3)},)


@pytest.mark.parametrize("key", [0, 1, 6])  # with these both slopes of every line lie on one side of the claim
def test_a_layer_of_relus_at_zero_has_a_subgradient_that_lies_outside_of_the_slopes_along_many_lines(key):
    report = jgs.check_grad(*zero_layer(jax.nn.relu), key=key)
    found = {finding.path: (finding.verdict, finding.reason) for finding in report.findings}
    assert found.pop("['c']")[0] is Verdict.CORRECT
    assert set(found.values()) == {(Verdict.UNRESOLVED, Reason.KINK)}


def test_a_slope_that_no_side_of_several_kinks_has_is_wrong():
    rule = jax.custom_vjp(jax.nn.relu)
    rule.defvjp(lambda x: (jax.nn.relu(x), x), lambda x, u: (u * jnp.where(x == 0, 20.0, x > 0),))
    for key in range(4):
        report = jgs.check_grad(lambda x: jnp.sum(rule(x) * jnp.arange(1.0, 4.0)), (np.zeros(3),), key=key)
        assert outcome(report) == (Verdict.WRONG, Reason.KINK)


def test_slopes_around_a_kink_are_those_along_the_directions_at_the_point():
    """A zero leaf has the scale 1, and one close by its own: the slopes of SELU differ, and neither is zero."""
    weights = jnp.array([1.0, -2.0, 0.5, 3.0])
    for key in range(4):
        report = jgs.check_grad(lambda x: jnp.sum(weights * jax.nn.selu(x)), (np.zeros(4),), key=key)
        assert outcome(report) == (Verdict.UNRESOLVED, Reason.KINK)


TIED = {
    "median": (jnp.median, [1.0, 1.0, 1.0, 0.0, 3.0]),
    "sine of a median": (lambda x: jnp.sin(jnp.median(x)), [0.5, 2.0, 0.5, 0.0, 0.5]),
    "quantile": (lambda x: jnp.quantile(x, 0.25), [0.0, 1.0, 1.0, 1.0, 2.0, 3.0, 3.5, 4.0, 5.0]),
}


def floors(x):
    """Jumps at whole numbers that cancel along half of all lines."""
    return jnp.sum(jnp.array([1.0, 2.0, -1.0]) * jnp.floor(x) + x**2)


TIED["floors"] = (floors, [1.0, 0.5, 2.0])


@pytest.mark.parametrize("name", TIED)
def test_no_key_takes_a_tie_or_jumps_that_cancel_for_smooth(name):
    fun, x = TIED[name]
    for key in range(6):
        assert jgs.check_grad(fun, (np.array(x),), key=key).verdict is Verdict.UNRESOLVED


def test_a_claim_known_at_the_point_only_is_not_refuted_by_a_single_component():
    """|u - v| - |u + v| is flat along u and along v, yet has the subgradient (2, 0) at u = v = 0."""

    def folded(x):
        u, v = x - 1
        return jnp.abs(u - v) - jnp.abs(u + v) + jnp.sum(x)

    report = jgs.check_grad(folded, (np.ones(2),), grad=np.array([3.0, 1.0]))
    assert outcome(report) == (Verdict.UNRESOLVED, Reason.KINK)


def test_a_large_leaf_at_many_kinks_is_refuted_by_some_of_its_components():
    x = np.where(np.arange(200) % 3 == 0, 0, np.linspace(-1, 1, 200))
    assert outcome(jgs.check_grad(leaky, (x,))) == (Verdict.UNRESOLVED, Reason.KINK)
    report = jgs.check_grad(leaky, (x,), grad=off_in(*range(200), size=200))
    assert outcome(report) == (Verdict.WRONG, Reason.MISMATCH)


@pytest.mark.parametrize(
    ("factors", "reason"),
    [([1, 1, 1.05], Reason.MISMATCH), ([1, 1, -1], Reason.KINK), ([1.05, 1.05, 1.05], Reason.MISMATCH)],
)
def test_a_kink_that_every_direction_meets_does_not_excuse_a_claim_that_integrates_to_another_function(factors, reason):
    rows, labels = np.array([[1, 0.5, -0.5], [0.5, 0.5, 0.25], [-2, 1, 0.75]]), np.array([1.0, 1.0, -1.0])

    def hinge(w):
        return jnp.sum(jnp.maximum(0, 1 - labels * (rows @ w)))

    point = (np.array([0.5, 1.0, 0.0]),)  # the first example is on the margin
    assert outcome(jgs.check_grad(hinge, point)) == (Verdict.UNRESOLVED, Reason.KINK)
    report = jgs.check_grad(hinge, point, grad=lambda w: jax.grad(hinge)(w) * jnp.array(factors))
    assert outcome(report) == (Verdict.WRONG, reason)  # outside of both slopes, or between them


def bent(x, distance):
    """sin x and a kink at a distance from 1."""
    return jnp.sin(x) + jnp.abs(x - 1 - distance)


@pytest.mark.parametrize("distance", [0.1, 1e-2, 1e-4, 1e-7])
def test_a_kink_at_a_distance_leaves_the_verdict_right(distance):
    x, slope = np.array(1.0), np.cos(1.0) - 1
    right, wrong = (jgs.check_grad(bent, (x, distance), grad=g) for g in (slope, slope + 2))
    assert right.ok
    assert wrong.verdict is Verdict.WRONG  # the slope from beyond the kink


@pytest.mark.parametrize(("distance", "error"), [(0.1, 1e-7), (1e-4, 1e-5), (1e-7, 3e-2)])
def test_small_errors_are_seen_beside_a_kink(distance, error):
    slope = np.cos(1.0) - 1
    report = jgs.check_grad(bent, (np.array(1.0), distance), grad=slope * (1 + error))
    assert report.verdict is Verdict.WRONG


def branching(x):
    """Slope 2 below zero and cos x above."""
    return jnp.sum(jnp.where(x < 0, 2 * x, jnp.sin(x)))


def branching_gradient(x):
    return jnp.where(x < 0, 2.0, jnp.cos(x))


def off_in_the_first(x):
    return branching_gradient(x).at[0].multiply(1.5)


BESIDE_A_BRANCH = np.array([1e-11, 0.7, 1.2])


def test_a_small_leaf_of_mixed_scales_beside_a_branch_is_looked_at_component_by_component():
    """Every step of the leaf's own size takes the smallest component across the branch."""
    report = jgs.check_grad(branching, (BESIDE_A_BRANCH,), grad=branching_gradient)
    assert report.ok
    assert "basis" in report.sweep.scale
    assert not jgs.check_grad(branching, (BESIDE_A_BRANCH,), grad=off_in_the_first).ok


@pytest.mark.parametrize("distance", [1e-7, 1e-8, 1e-9, 1e-10])
@pytest.mark.parametrize("factor", [1.01, 1.5])
def test_a_component_beside_its_branch_is_not_right_because_it_hardly_moves_at_its_own_scale(distance, factor):
    gradient = np.cos(BESIDE_A_BRANCH) * [factor, 1, 1]
    x = np.append(distance, BESIDE_A_BRANCH[1:])
    assert not jgs.check_grad(branching, (x,), grad=gradient).ok


# ---- jumps and other roughness


def stepped(x, distance):
    """sin x and a step at a distance from 1."""
    return jnp.sin(x) + 0.3 * (x > 1 + distance)


@pytest.mark.parametrize("slope", [np.cos(1.0), 0.0, 5.0])
def test_at_a_jump_nothing_is_decided(slope):
    report = jgs.check_grad(stepped, (np.array(1.0), 0.0), grad=slope)
    assert outcome(report) == (Verdict.UNRESOLVED, Reason.JUMP)
    assert "jumps by" in report.findings[0].advice


def test_the_advice_at_a_jump_tells_its_height():
    finding = jgs.check_grad(stepped, (np.array(1.0), 0.0), grad=0.0).findings[0]
    assert abs(finding.evidence["jump"]) == pytest.approx(0.3, rel=1e-3)


@pytest.mark.parametrize("distance", [0.1, 1e-4])
def test_a_jump_at_a_distance_leaves_the_verdict_right(distance):
    right, wrong = (
        jgs.check_grad(stepped, (np.array(1.0), distance), grad=g) for g in (np.cos(1.0), 1.01 * np.cos(1.0))
    )
    assert right.ok
    assert wrong.verdict is Verdict.WRONG


def curved(x):
    """Its second derivative jumps at 1; its first is continuous: 2 |x - 1| + 1."""
    return (x - 1) * jnp.abs(x - 1) + x


def test_a_jump_of_the_second_derivative_has_slope_one_and_a_verdict():
    right, wrong = (jgs.check_grad(curved, (np.array(1.0),), grad=g) for g in (1.0, 1.0001))
    assert right.ok
    assert right.findings[0].slope == pytest.approx(1, abs=0.1)
    assert wrong.verdict is Verdict.WRONG


def rooted(x):
    return jnp.sum(jnp.sqrt(jnp.abs(x - 1)) * jnp.sign(x - 1))


def test_an_infinite_slope_is_never_correct_and_said_to_be_infinite():
    report = jgs.check_grad(rooted, (np.array(1.0),), grad=1.0)
    assert outcome(report) == (Verdict.UNRESOLVED, Reason.SINGULAR)


# ---- noise and low precision


def hashed(x, size):
    """sin x and noise of the given size, from the bits of x, with slope zero as JAX sees it."""
    bits = jax.lax.bitcast_convert_type(jax.lax.stop_gradient(x), jnp.uint64)
    for shift, factor in ((33, 0xFF51AFD7ED558CCD), (33, 0xC4CEB9FE1A85EC53), (33, 1)):
        bits = (bits ^ (bits >> shift)) * jnp.uint64(factor)
    return jnp.sin(x) + size * (bits.astype(jnp.float64) / 2.0**63 - 1)


@pytest.mark.parametrize("size", [1e-12, 1e-9, 1e-6, 1e-4])
def test_a_right_gradient_under_noise_is_never_wrong_and_a_bad_one_never_correct(size):
    x, slope = np.array(1.1), np.cos(1.1)
    right, wrong = (jgs.check_grad(hashed, (x, size), grad=g) for g in (slope, 2 * slope))
    assert right.verdict is not Verdict.WRONG
    assert wrong.verdict is not Verdict.CORRECT
    assert right.resolution > size


@pytest.mark.parametrize("size", [1e-12, 1e-9])
def test_weak_noise_coarsens_the_limit_but_not_the_verdict(size):
    x, slope = np.array(1.1), np.cos(1.1)
    right, wrong = (jgs.check_grad(hashed, (x, size), grad=g) for g in (slope, 1.01 * slope))
    assert (right.verdict, wrong.verdict) == (Verdict.CORRECT, Verdict.WRONG)


def test_strong_noise_is_named():
    report = jgs.check_grad(hashed, (np.array(1.1), 0.1), grad=np.cos(1.1), steps=step_grid(52))
    assert outcome(report) == (Verdict.UNRESOLVED, Reason.NOISE)
    assert 1 / 3 < report.findings[0].noise / (0.1 / np.sqrt(3)) < 3


def rounded(x):
    """A staircase of step 1/1024 along a slope of one: its derivative is zero almost everywhere."""
    return jnp.floor(1024 * x) / 1024


def test_a_staircase_with_the_slope_of_its_trend_is_quantised():
    assert outcome(jgs.check_grad(rounded, (np.array(1.03),), grad=1.0)) == (Verdict.UNRESOLVED, Reason.QUANTISED)


def test_a_staircase_with_neither_slope_is_not_correct():
    assert not jgs.check_grad(rounded, (np.array(1.03),), grad=7.0).ok


def single(x):
    """A function of float64 that computes in float32 inside."""
    return jnp.sum(jnp.sin(x.astype(jnp.float32)) * 2).astype(x.dtype)


def test_float32_inside_is_judged_as_float32():
    right, wrong = (jgs.check_grad(single, (X,), grad=g) for g in (2 * np.cos(X), 2.02 * np.cos(X)))
    assert (right.verdict, wrong.verdict) == (Verdict.CORRECT, Verdict.WRONG)
    assert 1e-8 < right.tolerance < 1e-2
    assert jgs.check_grad(single, (X,)).ok


@pytest.mark.parametrize(
    ("inside", "name"), [(jnp.float32, "float32"), (jnp.float16, "float16 or TF32"), (jnp.bfloat16, "bfloat16")]
)
def test_a_right_finding_says_which_precision_inside_limits_it(inside, name):
    limited = jgs.check_grad(lambda x: jnp.exp(jnp.sin(x.astype(inside))).astype(x.dtype), (np.array(1.1),))
    assert limited.ok
    assert f"computes in {name} inside" in limited.findings[0].advice
    assert not jgs.check_grad(lambda x: jnp.exp(jnp.sin(x)), (np.array(1.1),)).findings[0].advice


def trusted_in_float32(x):
    """The gradient of `smooth`, right but for the float32 that it goes through on its way."""
    x = x.astype(jnp.float32)
    return ((jnp.cos(x) + jnp.sin(x) / 3) * jnp.exp(x / 3)).astype(jnp.float64)


def test_a_claim_that_goes_through_float32_is_wrong_and_called_noisy():
    x = np.random.default_rng(0).uniform(0.3, 1.6, 3)
    found = [outcome(jgs.check_grad(smooth, (x,), grad=trusted_in_float32, key=key, locate=False)) for key in range(8)]
    assert found.count((Verdict.WRONG, Reason.NOISY_CLAIM)) >= 7
    assert Verdict.CORRECT not in {verdict for verdict, _ in found}
    assert jgs.check_grad(smooth, (x,)).ok


def quantised(x):
    """Audio in 16 bits; its gradient is that of what goes in."""
    return jnp.sum(x + jax.lax.stop_gradient(jnp.round(x * 2**15) / 2**15 - x))


def test_a_quantiser_with_a_straight_through_gradient_is_not_taken_for_float32():
    """In a sum of a hundred its steps are as fine, beside the sum, as those of float32."""
    report = jgs.check_grad(quantised, (LONG[:100],))
    assert outcome(report) == (Verdict.UNRESOLVED, Reason.QUANTISED)
    assert "precision" not in report.findings[0].evidence


# ---- functions that give little to see


def linear(x):
    return jnp.sum(jnp.array([1.0, 2.0, 3.0]) * x) + 5.0


def quadratic(x):
    return jnp.sum(jnp.array([1.0, 2.0, 3.0]) * x**2)


@pytest.mark.parametrize(
    ("fun", "gradient"), [(linear, np.array([1.0, 2.0, 3.0])), (quadratic, np.array([2.0, 4.0, 6.0]) * X)]
)
def test_linear_and_quadratic_functions_are_exact(fun, gradient):
    report = jgs.check_grad(fun, (X,), grad=gradient)
    assert outcome(report) == (Verdict.CORRECT, Reason.EXACT)
    assert report.findings[0].slope is None
    assert jgs.check_grad(fun, (X,), grad=gradient * (1 + 1e-8)).verdict is Verdict.WRONG


def bowl(x):
    """Stationary at 1: the gradient is zero, the function is not constant."""
    return jnp.sum(jnp.cosh(x - 1))


def test_at_a_stationary_point_a_zero_gradient_is_correct_and_another_wrong():
    x = np.ones(3)
    assert jgs.check_grad(bowl, (x,), grad=0 * x).ok
    assert jgs.check_grad(bowl, (x,)).ok
    assert jgs.check_grad(bowl, (x,), grad=0 * x + 1e-3).verdict is Verdict.WRONG


def constant(x):
    return 0.0 * jnp.sum(x) + 3.0


def test_a_constant_has_a_zero_gradient_and_no_other():
    assert jgs.check_grad(constant, (X,), grad=0 * X).ok
    assert jgs.check_grad(constant, (X,), grad=0 * X + 1e-3).verdict is Verdict.WRONG


def shares(x):
    """The sum of probabilities: one, whatever x is, but for rounding."""
    return jnp.sum(jax.nn.softmax(x))


def test_a_constant_with_a_claim_of_the_size_of_rounding_is_constant():
    report = jgs.check_grad(shares, (X,))
    assert outcome(report) == (Verdict.CORRECT, Reason.CONSTANT)
    assert outcome(jgs.check_grad(shares, (X,), grad=0 * X + 1e-15)) == (Verdict.CORRECT, Reason.CONSTANT)
    assert jgs.check_grad(shares, (X,), grad=0 * X + 1e-6).verdict is Verdict.WRONG


def one_of_two(params):
    return jnp.sum(jnp.sin(params["used"]))


def test_a_leaf_that_is_not_used_has_a_zero_gradient_and_no_other():
    params = {"unused": X, "used": X}
    assert verdicts(jgs.check_grad(one_of_two, (params,))) == {"['unused']": "CORRECT", "['used']": "CORRECT"}
    wrong = {"unused": 1e-3 * X, "used": np.cos(X)}
    assert verdicts(jgs.check_grad(one_of_two, (params,), grad=wrong)) == {
        "['unused']": "WRONG",
        "['used']": "CORRECT",
    }


def lopsided(params):
    return jnp.sum(jnp.sin(params["large"])) * 1e6 + jnp.sum(jnp.sin(params["small"])) * 1e-3


@pytest.mark.parametrize("key", [0, 5])
def test_a_small_leaf_is_not_hidden_by_a_large_one(key):
    params = {"large": X, "small": X}
    gradient = {"large": 1e6 * np.cos(X), "small": 1e-3 * np.cos(X)}
    right = jgs.check_grad(lopsided, (params,), grad=gradient, key=key)
    wrong = jgs.check_grad(lopsided, (params,), grad=gradient | {"small": 1.1e-3 * np.cos(X)}, key=key)
    assert right.verdict is not Verdict.WRONG
    assert verdicts(wrong) == {"['large']": "CORRECT", "['small']": "WRONG"}


def spread(x):
    return jnp.sum(jnp.sin(x / SIZES))


SIZES = np.array([1e-8, 1.0, 1e8])


def test_components_of_very_different_sizes_are_all_probed():
    x = SIZES * np.array([0.4, 0.7, 1.1])
    gradient = np.cos(x / SIZES) / SIZES
    assert jgs.check_grad(spread, (x,), grad=gradient).verdict is not Verdict.WRONG
    for index in range(3):
        wrong = gradient.copy()
        wrong[index] *= 1.5
        assert not jgs.check_grad(spread, (x,), grad=wrong).ok


def test_a_wave_of_the_period_of_the_steps_is_no_constant():
    x = np.array(0.5625)
    right, wrong = (jgs.check_grad(wave, (x,), grad=g) for g in (128 * np.pi * np.cos(72 * np.pi), 0.0))
    assert (right.verdict, wrong.verdict) == (Verdict.CORRECT, Verdict.WRONG)


def wave(x):
    return jnp.sin(128 * jnp.pi * x)


# ---- functions that change, or end


def make_counter():
    """A function that is different at every call."""
    calls = []

    def host(x):
        calls.append(None)
        return np.float64(np.sin(x) + 1e-3 * len(calls))

    def fun(x):
        return jax.pure_callback(host, jax.ShapeDtypeStruct((), jnp.float64), x, vmap_method="sequential")

    return fun


def test_a_function_that_changes_between_calls_is_nondeterministic():
    report = jgs.check_grad(make_counter(), (np.array(1.1),), grad=np.cos(1.1))
    assert outcome(report) == (Verdict.UNRESOLVED, Reason.NONDETERMINISTIC)
    assert "random keys" in report.findings[0].advice


def roots(x):
    return jnp.sum(jnp.sqrt(x))


def test_the_finite_part_counts_where_large_steps_leave_the_domain():
    x = np.array([1.0, 1e-3])
    gradient = 0.5 / np.sqrt(x)
    assert jgs.check_grad(roots, (x,), grad=gradient).ok
    assert jgs.check_grad(roots, (x,), grad=1.001 * gradient).verdict is Verdict.WRONG


def test_on_the_edge_of_the_domain_nothing_is_decided():
    for slope in (0.0, 1.0, np.inf, np.nan):
        assert outcome(jgs.check_grad(roots, (np.array([0.0]),), grad=np.array([slope]))) == (
            Verdict.UNRESOLVED,
            Reason.NOT_FINITE,
        )


def test_a_gradient_that_is_nan_through_the_branch_of_a_where_that_is_not_taken_is_wrong():
    report = jgs.check_grad(famous_where, (np.zeros(2),))
    assert outcome(report) == (Verdict.WRONG, Reason.NAN_CLAIM)


def famous_where(x):
    return jnp.sum(jnp.where(x > -1, x, jnp.log(x * 0)))


# ---- wrong at the point only, far features


@jax.custom_jvp
def special(x):
    return jnp.sin(x)


@special.defjvp
def special_jvp(primals, tangents):
    (x,), (v,) = primals, tangents
    return special(x), v * jnp.where(x == 0.5, 2.0, jnp.cos(x))


def test_a_claim_wrong_at_the_point_only_is_wrong_and_named_so():
    assert outcome(jgs.check_grad(special, (np.array(0.5),))) == (Verdict.WRONG, Reason.POINT_ONLY)
    assert jgs.check_grad(special, (np.array(0.6),)).ok


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: jnp.sin(x) + jnp.maximum(x - 1.3, 0) * 50,
        lambda x: jnp.sin(x) + 10 * (x > 1.4),
        lambda x: jnp.sin(x) + 1e-6 / (1.25 - x),
        lambda x: jnp.where(x < 1.6, jnp.sin(x), jnp.nan),
    ],
    ids=["kink", "jump", "pole", "not finite"],
)
def test_a_far_feature_does_not_taint_a_right_gradient(fun):
    report = jgs.check_grad(fun, (np.array(1.0),))
    assert report.ok
    assert report.resolution < 1e-8


def test_structure_on_a_small_scale_is_resolved():
    x, small = np.array(1.0), np.array(1e-5)
    assert jgs.check_grad(structured, (x, small), grad=2.0).ok
    assert not jgs.check_grad(structured, (x, small), grad=1.0).ok  # the slope that large steps show


def structured(x, small):
    return x + small * jnp.tanh((x - 1) / small)


# ---- tolerance


@pytest.mark.parametrize(
    ("error", "rtol", "verdict"),
    [
        (0.0, 1e-3, "CORRECT"),
        (1e-6, 1e-3, "CORRECT"),
        (1e-6, 1e-8, "WRONG"),
        (1e-2, 1e-3, "WRONG"),
        (1e-10, None, "CORRECT"),  # under the finest measured tolerance
        (1e-7, None, "WRONG"),
        (0.0, 1e-11, "CORRECT"),
        (1e-10, 1e-11, "WRONG"),
        (0.0, 1e-15, "UNRESOLVED"),  # finer than anything that can be measured
    ],
)
def test_rtol_decides_how_large_an_error_matters(error, rtol, verdict):
    report = jgs.check_grad(smooth, (X,), grad=(1 + error) * smooth_gradient(X), rtol=rtol)
    assert report.verdict.name == verdict
    assert report.tolerance == (1e-9 if rtol is None else rtol)


def test_with_rtol_correct_means_that_the_whole_interval_lies_under_it():
    report = jgs.check_grad(hashed, (np.array(1.1), 1e-6), grad=np.cos(1.1))
    assert report.ok
    limit = report.findings[0].error_bound
    assert jgs.check_grad(hashed, (np.array(1.1), 1e-6), grad=np.cos(1.1), rtol=3 * limit).ok
    assert jgs.check_grad(hashed, (np.array(1.1), 1e-6), grad=np.cos(1.1), rtol=limit / 3).verdict is Verdict.UNRESOLVED


def test_a_significant_error_under_the_tolerance_is_said():
    report = jgs.check_grad(smooth, (X,), grad=(1 + 3e-10) * smooth_gradient(X))
    assert report.ok
    assert "measurably off by" in str(report)


# ---- precision


def test_in_native_float32_a_right_gradient_is_correct_and_one_wrong_by_a_percent_is_wrong():
    x = X.astype(np.float32)
    gradient = smooth_gradient(x).astype(np.float32)
    right, wrong = (
        jgs.check_grad(smooth, (x,), grad=g, dtype="native") for g in (gradient, np.float32(1.01) * gradient)
    )
    assert (right.verdict, wrong.verdict) == (Verdict.CORRECT, Verdict.WRONG)
    assert 1e-7 < right.resolution < 1e-3


def test_in_native_bfloat16_a_right_gradient_is_not_wrong_and_an_opposite_one_is_not_correct():
    x = jnp.asarray(X, jnp.bfloat16)
    assert jgs.check_grad(smooth, (x,), dtype="native").verdict is not Verdict.WRONG
    opposite = -smooth_gradient(np.asarray(x, np.float64))
    assert (
        jgs.check_grad(smooth, (x,), grad=jnp.asarray(opposite, jnp.bfloat16), dtype="native").verdict.name != "CORRECT"
    )


def test_a_claim_in_float32_is_judged_by_its_own_precision():
    gradient = smooth_gradient(X).astype(np.float32)  # off by 3e-8 from rounding alone
    assert jgs.check_grad(smooth, (X,), grad=gradient).ok
    assert jgs.check_grad(smooth, (X,), grad=gradient * np.float32(1.01)).verdict is Verdict.WRONG


def test_a_float32_network_is_checked_in_double_precision_by_default():
    params = jax.tree.map(lambda leaf: leaf.astype(np.float32), PARAMS)
    report = jgs.check_grad(layers, (params, INPUTS.astype(np.float32)))
    assert report.ok
    assert report.resolution < 1e-10
    assert {finding.dtype for finding in report.findings} == {"float32"}


def test_tiny_and_huge_points_and_values_are_judged_like_others():
    for size in (1e-150, 1e-30, 1e30, 1e150):
        x = np.array([0.4, 0.9]) * size
        right, wrong = (
            jgs.check_grad(cubic, (x, size), grad=g * (1 + x * 0 + 3 * (x / size) ** 2)) for g in (1, 1.001)
        )
        assert (right.verdict, wrong.verdict) == (Verdict.CORRECT, Verdict.WRONG), size


def cubic(x, size):
    return jnp.sum(x + x * (x / size) ** 2)


@pytest.mark.parametrize(
    ("height", "width", "dtype"), [(1e-12, 1e-12, "float64"), (1e-13, 1e-13, "float64"), (1e-11, 1e-13, "float64")]
)
def test_a_layer_that_is_thinner_than_every_step_is_not_called_right(height, width, dtype):
    def layer(x):
        return height * jnp.tanh((x - 1) / width) + x**2

    report = jgs.check_grad(layer, (1.0,), grad=lambda x: 2 * x, dtype=dtype)
    assert report.verdict is Verdict.UNRESOLVED
    assert report.findings[0].reason is Reason.JUMP


@pytest.mark.parametrize(("size", "dtype"), [(1e-6, "native"), (1e-13, "float64")])
def test_a_claim_that_varies_as_a_rough_function_does_is_not_accused(size, dtype):
    def rough(x):
        return x**2 + size * jnp.sin(x / size)

    report = jgs.check_grad(rough, (jnp.float32(0.7),), dtype=dtype)
    assert report.verdict is not Verdict.WRONG


def normalised(p, x):
    """A bias that the normalisation cancels: what it moves is rounding."""
    h = x @ p["w"] + p["b"]
    n = (h - h.mean(0)) / jnp.sqrt(h.var(0) + 1e-5)
    return jnp.sum(jnp.tanh(n * jnp.arange(3.0)) + n**3)


def point_of_normalised(seed):
    random = np.random.default_rng(seed)
    return {"w": random.normal(size=(4, 3)), "b": random.normal(size=3)}, random.normal(size=(9, 4))


@pytest.mark.parametrize("seed", range(6))
def test_a_parameter_that_is_cancelled_moves_nothing_but_rounding(seed):
    report = jgs.check_grad(normalised, point_of_normalised(seed))
    assert report.verdict.name == "CORRECT"
    assert report.findings[0].reason.name == "CONSTANT"


def test_a_claim_above_the_rounding_of_a_parameter_that_is_cancelled_is_wrong():
    def off(p, x):
        gradient = jax.grad(normalised)(p, x)
        return {**gradient, "b": gradient["b"] + 1e-9}

    report = jgs.check_grad(normalised, point_of_normalised(3), grad=off, locate=False)
    assert [finding.verdict.name for finding in report.findings] == ["WRONG", "CORRECT"]


def attention(p, x):
    """Softmax in single precision within double precision, as libraries have it: no bias of the keys moves it."""
    scores = (x @ p["q"]) @ (x @ p["k"] + p["b"]).T
    return jnp.sum(jnp.sin(jax.nn.softmax(scores.astype(jnp.float32)).astype(scores.dtype) @ x))


@pytest.mark.parametrize("seed", [0, 1, 2, 6])  # in the last, claims are rounded by more than the function is
def test_a_parameter_that_is_cancelled_moves_nothing_but_the_rounding_of_a_lower_precision_inside(seed):
    random = np.random.default_rng(seed)
    point = {"q": random.normal(size=(6, 4)), "k": random.normal(size=(6, 4)), "b": random.normal(size=4)}
    x = random.normal(size=(10, 6))
    report = jgs.check_grad(attention, (point, x))
    assert (report.findings[0].verdict.name, report.findings[0].reason.name) == ("CORRECT", "CONSTANT")

    def off(p, x):
        gradient = jax.grad(attention)(p, x)
        return {**gradient, "b": gradient["b"] + 1e-3}

    assert verdicts(jgs.check_grad(attention, (point, x), grad=off, locate=False))["['b']"] == "WRONG"


def test_the_rounding_that_one_leaf_meets_inside_does_not_excuse_another():
    random = np.random.default_rng(5)
    x = random.normal(size=(10, 9))
    sizes = {"b": (6, 0.1), "c": (5, 1.0), "w": ((9, 6), 0.3)}
    p = {name: random.normal(size=size) * scale for name, (size, scale) in sizes.items()}

    def layer(p):
        product = jnp.dot(x.astype(jnp.bfloat16), p["w"].astype(jnp.bfloat16), preferred_element_type=jnp.float32)
        nearly_one = jnp.sum(jax.nn.softmax(p["c"].astype(jnp.float32)).astype(x.dtype))
        return jnp.sum(jax.nn.softplus(product.astype(x.dtype) + p["b"])) + 0.1 * nearly_one

    def off(name, factor, shift):
        return lambda p: {**jax.grad(layer)(p), name: factor * jax.grad(layer)(p)[name] + shift}

    found = verdicts(jgs.check_grad(layer, (p,)))
    assert (found["['b']"], found["['c']"]) == ("CORRECT", "CORRECT")
    for factor in (1.5, 2, 0):
        assert verdicts(jgs.check_grad(layer, (p,), grad=off("b", factor, 0), locate=False))["['b']"] == "WRONG"
    for shift in (1e-3, 1e-2, 0.1):
        with jax.enable_x64(True):
            values = off("c", 1, shift)(p)  # which cannot be asked whether they vary as rounding does
        assert verdicts(jgs.check_grad(layer, (p,), grad=values, locate=False))["['c']"] != "CORRECT"


UNITS = np.array([1e-9, 1e-3, 1.0, 1e4, 1e9])


def waves(x):
    """Steps that suit the largest component are far too long for the waves of the others."""
    return jnp.sum(jnp.sin(x / UNITS) ** 2 + x / UNITS)


@pytest.mark.parametrize("key", range(3))
def test_components_of_any_size_may_share_a_leaf(key):
    x = UNITS * np.array([0.3, 0.7, -0.4, 1.1, 0.9])
    assert jgs.check_grad(waves, (x,), key=key).verdict.name == "CORRECT"


@pytest.mark.parametrize("component", range(5))
def test_a_small_error_in_one_of_components_of_all_sizes_is_found(component):
    def off(x):
        return jax.grad(waves)(x).at[component].mul(1 + 1e-7)

    x = UNITS * np.array([0.3, 0.7, -0.4, 1.1, 0.9])
    assert jgs.check_grad(waves, (x,), grad=off, locate=False).verdict.name == "WRONG"


# ---- what is even in h


def kept_finite(shape):
    """`sum(shape(|x|))` with 0 where x is 0, as people write it to have no NaN: JAX's gradient is 0 there."""

    def fun(x):
        return jnp.sum(jnp.where(x == 0, 0, shape(jnp.where(x == 0, 1, jnp.abs(x)))))

    return fun


EVEN = {
    "root": jnp.sqrt,
    "power": lambda a: a**0.95,
    "entropy": lambda a: a * jnp.log(a),
    "logarithm": jnp.log,
    "reciprocal": lambda a: 1 / a,
    "log-periodic": lambda a: a * jnp.sin(jnp.log(a)),
}


@pytest.mark.parametrize("shape", EVEN.values(), ids=EVEN)
def test_a_point_where_the_slope_has_no_limit_is_not_right_though_all_central_differences_agree(shape):
    report = jgs.check_grad(kept_finite(shape), (np.array([0.0, 0.3, 1.0]),), locate=False)
    assert report.verdict.name == "UNRESOLVED"
    assert report.findings[0].reason.name in ("SINGULAR", "KINK")


def test_no_integral_of_the_claim_settles_a_point_where_the_slope_has_no_limit():
    report = jgs.check_grad(lambda x: jnp.sum(jnp.sqrt(jnp.abs(x))), (np.zeros(1),), grad=jnp.zeros_like)
    assert (report.verdict.name, report.findings[0].reason.name) == ("UNRESOLVED", "SINGULAR")


@pytest.mark.parametrize("frequency", [1e4, 1e6, 1e7])
def test_a_fast_wave_is_not_taken_for_such_a_point(frequency):
    assert jgs.check_grad(lambda x: jnp.sum(jnp.sin(frequency * x)), (np.array([0.3, 1.1]),)).ok


def test_a_power_above_one_has_a_slope():
    assert jgs.check_grad(kept_finite(lambda a: a**1.3), (np.array([0.0, 0.3, 1.0]),)).ok
