"""Digits that a function loses inside near the point, where its smallest steps show a clean slope of something else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgradsweep as jgs
from jaxgradsweep import Reason, Verdict
from jaxgradsweep._lost import outer_line
from jaxgradsweep._probe import step_grid
from jaxgradsweep._window import bank, extrapolate

H = step_grid(52)
EDGE = 2.0**-27
OUTSIDE = np.where(H > EDGE, H, 0)


def outer(half, leaf=(0,), bend=0.0):
    half, noise, first = np.atleast_2d(half), np.full((len(leaf), len(H)), 1e-17), np.zeros(len(leaf), int)
    fine = extrapolate(half, noise, first, bank(tuple(H), (1, 3, 5, 7, 9)))
    return outer_line(H, half, np.full_like(half, bend), noise, fine, first, np.array(leaf))


def scattered(h):
    """What rounding leaves of a line: nothing below the edge, and noise that falls as 1/h above it."""
    noise = np.random.default_rng(0).uniform(0.1, 0.3, len(H)) * EDGE**2 / H
    return np.where(h > EDGE, h + noise, 0)


def test_digits_that_are_lost_close_to_the_point_leave_a_second_line():
    found = outer(scattered(H))
    assert 0.5 * EDGE < found.gap[0] < 2 * EDGE
    assert found.rounded[0]


def test_a_function_that_jumps_from_line_to_line_loses_no_digits():
    found = outer(OUTSIDE)
    assert np.isfinite(found.gap[0])
    assert not found.rounded[0]


@pytest.mark.parametrize(("times", "second"), [(1.0, True), (100.0, False)])
def test_a_line_that_passes_by_the_point_is_not_taken_for_it(times, second):
    found = outer(scattered(H), bend=times * EDGE)
    assert np.isfinite(found.gap[0]) == second


@pytest.mark.parametrize("key", range(2))
def test_a_peak_that_is_far_narrower_than_its_distance_from_zero_is_no_lost_digit(key):
    def peaks(x):
        return jnp.sum(jnp.exp(-(((x - 0.3) / 1e-6) ** 2)))

    report = jgs.check_grad(peaks, (np.array([0.3 + 0.7e-6, 0.3 - 0.4e-6, 0.9]),), key=key)
    assert report.verdict is Verdict.CORRECT
    assert report.resolution < 1e-6


def test_what_is_lost_along_one_direction_is_lost_along_all_of_its_leaf():
    found = outer([scattered(H), OUTSIDE, OUTSIDE], leaf=(0, 0, 1))
    assert found.rounded.tolist() == [True, True, False]


@pytest.mark.parametrize(
    "half",
    [
        H,
        np.sin(H),
        np.maximum(H - EDGE, 0),
        0.3 * H + np.maximum(H - 2**-12, 0) + np.maximum(H - 2**-9, 0),
        H + 2e-7 * np.sin(2e7 * H),
        1e-8 * np.tanh(H / 1e-8) + H,
        OUTSIDE + np.where(H > EDGE, EDGE, 0),
        OUTSIDE + np.where(H > EDGE, EDGE / 10, 0) * np.random.default_rng(0).uniform(-1, 1, len(H)),
    ],
    ids=["line", "sine", "kink beside", "kinks beside", "wave", "layer", "jump beside", "scatter that does not fall"],
)
def test_lines_that_miss_the_point_and_single_lines_are_not_taken_for_it(half):
    assert np.isnan(outer(half).gap[0])


def quotient(x):
    away = jnp.where(x == 0, 1, x)
    return jnp.sum(jnp.where(x == 0, 1, (jnp.exp(away) - 1) / away))


def quotient_rule(x):
    return jnp.where(x == 0, 0.5, jax.grad(quotient)(x))


@pytest.mark.parametrize("point", [0.0, [0.0, 0.0, 0.0], [0.0, 0.5, 1.0]])
@pytest.mark.parametrize("thorough", [False, True])
def test_the_slope_of_lost_digits_is_not_taken_for_the_derivative(point, thorough):
    right = jgs.check_grad(quotient, (np.array(point),), grad=quotient_rule, thorough=thorough)
    wrong = jgs.check_grad(quotient, (np.array(point),), thorough=thorough)
    assert right.ok
    assert (wrong.verdict, wrong.findings[0].reason) == (Verdict.WRONG, Reason.POINT_ONLY)


def test_a_product_that_a_where_makes_zero_is_not_correct():
    """The second derivative of sin(x) / x at 0 is -1/3; JAX differentiates the constant that `where` puts there."""

    def sinc(x):
        away = jnp.where(x == 0, 1, x)
        return jnp.sum(jnp.where(x == 0, 1, jnp.sin(away) / away))

    assert not jgs.check_hvp(sinc, (np.array(0.0),)).ok


@pytest.mark.parametrize("width", [1e-8, 1e-5, 1e-2])
def test_a_function_that_is_flat_around_the_point_has_no_second_line(width):
    def shrunk(x):
        return jnp.sum(jnp.sign(x) * jnp.maximum(jnp.abs(x) - width, 0))

    assert jgs.check_grad(shrunk, (np.array([0.0, 0.5]),)).ok


def test_nobody_knows_which_line_a_guarded_function_means():
    def guarded(x):
        near = jnp.abs(x) < 1e-7
        away = jnp.where(near, 1, x)
        return jnp.where(near, 1, jnp.expm1(away) / away)

    report = jgs.check_grad(guarded, (np.array(0.0),))
    assert (report.verdict, report.findings[0].reason) == (Verdict.UNRESOLVED, Reason.QUANTISED)
