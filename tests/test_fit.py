"""A fit of phi alone, held against calculus: no JAX and no claim here."""

import dataclasses

import numpy as np
import pytest

from helpers import EPS, ONE_VARIABLE, STEPS, along, sweep_of
from jaxgradsweep._fit import fit
from jaxgradsweep._window import PROMISE, student


def fit_of(*functions, **settings):
    return fit(sweep_of(*functions, **settings))


def sine(t):
    return np.sin(1 + t)


SINE_SLOPE, SINE_THIRD = np.cos(1), -np.cos(1)


def noisy(size, seed=0):
    random = np.random.default_rng(seed)
    return lambda t: sine(t) + size * random.normal(size=np.shape(t))


# ---- the derivative and its uncertainty


@pytest.mark.parametrize("mantissa", [1.0, 1.375, -1.875])
@pytest.mark.parametrize("name", ONE_VARIABLE)
def test_the_actual_error_lies_within_a_fine_uncertainty(name, mantissa):
    function, derivative, x, fine = ONE_VARIABLE[name]
    phi, exact = along(function, derivative, x, mantissa=mantissa)
    found = fit_of(phi)
    assert abs(found.derivative[0] - exact) <= found.uncertainty[0]
    assert found.uncertainty[0] <= fine * abs(exact)


def test_a_stationary_point_has_a_derivative_of_zero_within_its_uncertainty():
    found = fit_of(lambda t: np.cos(t) - 0.3, lambda t: np.sin(np.pi / 2 + t))
    assert np.all(np.abs(found.derivative) <= found.uncertainty)
    assert np.all(found.uncertainty <= 1e-11)


def test_uncertainties_cover_the_errors_of_99_percent_of_smooth_functions_and_exaggerate_little():
    random = np.random.default_rng(1)
    weights, frequencies, phases = (random.normal(size=(500, 4)) for _ in range(3))
    frequencies = 2 ** (2 * frequencies)

    def wave(a, w, p):
        return lambda t: np.sum(a * np.sin(w * np.asarray(t)[:, None] + p), axis=1)

    found = fit_of(*(wave(*group) for group in zip(weights, frequencies, phases, strict=True)))
    exact = np.sum(weights * frequencies * np.cos(phases), axis=1)
    error = np.abs(found.derivative - exact)
    assert np.mean(error <= found.uncertainty) >= 0.99
    assert np.median(found.uncertainty) <= 10 * np.median(error)
    assert np.median(error / np.abs(exact)) <= 1e-12


# name: (function, its derivative, the range of points), none with a narrow reach of its own
FAMILIES = {
    "sin": (np.sin, np.cos, (-3, 3)),
    "exp": (np.exp, np.exp, (-2, 2)),
    "log": (np.log, lambda x: 1 / x, (0.1, 10)),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2, (-2, 2)),
    "cube": (lambda x: x * x * x, lambda x: 3 * x * x, (-2, 2)),
    "bell": (lambda x: np.exp(-x * x), lambda x: -2 * x * np.exp(-x * x), (-2, 2)),
    "Runge": (lambda x: 1 / (1 + 25 * x * x), lambda x: -50 * x / (1 + 25 * x * x) ** 2, (-1, 1)),
    "sin 50 x": (lambda x: np.sin(50 * x), lambda x: 50 * np.cos(50 * x), (-1, 1)),
    "softplus": (lambda x: np.log1p(np.exp(x)), lambda x: 1 / (1 + np.exp(-x)), (-4, 4)),
    "linear": (lambda x: 3 * x + 2, lambda x: 0 * x + 3, (-2, 2)),
}


@pytest.mark.parametrize(("noise", "points"), [(0.0, 200), (1e-7, 60)])
def test_error_bars_keep_their_promise_and_quote_no_more_than_they_need(noise, points):
    """The error is that of calculus at random points of every function: 2600 probes, smooth and noisy ones."""
    random = np.random.default_rng(3)
    errors, bars = [], []
    for function, derivative, (low, high) in FAMILIES.values():
        x = random.uniform(low, high, points)
        v = (1 + random.integers(0, 8, points) / 8) * 2.0 ** np.floor(np.log2(np.abs(x)))
        values = (
            lambda t, x=x[i], v=v[i], f=function: f(x + t * v) * (1 + noise * random.normal(size=np.shape(t)))
            for i in range(points)
        )
        found = fit_of(*values)
        errors.append(np.abs(found.derivative - derivative(x.astype(np.longdouble)) * v))
        bars.append(found.uncertainty)
    error, bar = np.concatenate(errors).astype(float), np.concatenate(bars)
    assert np.mean(np.isfinite(bar)) > 0.99
    error, bar = error[np.isfinite(bar)], bar[np.isfinite(bar)]
    assert abs(np.mean(error <= bar) - PROMISE) <= 0.01
    assert np.median(bar[error > 0] / error[error > 0]) <= 6


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(2, 9.925), (3, 5.841), (5, 4.032), (10, 3.169), (30, 2.750), (1e6, 2.576)]
)
def test_the_widening_is_the_quantile_of_student_that_holds_what_is_promised(freedom, quantile):
    assert PROMISE == 0.99
    assert student(np.array([freedom]))[0] == pytest.approx(quantile, rel=0.05)


def test_the_claim_has_no_influence_on_the_fit():
    honest, flattered = fit(sweep_of(sine, claimed=SINE_SLOPE)), fit(sweep_of(sine, claimed=7.0))
    for field in dataclasses.fields(honest):
        np.testing.assert_array_equal(getattr(honest, field.name), getattr(flattered, field.name), err_msg=field.name)


def test_a_probe_is_fitted_the_same_alone_and_among_others():
    among = fit_of(np.exp, noisy(1e-6), sine, np.abs)
    alone = fit_of(sine)
    for field in dataclasses.fields(alone):
        mine, others = getattr(alone, field.name)[0], getattr(among, field.name)[2]
        around_zero = 1e-3 * alone.leap_uncertainty[0] if field.name == "leap" else 0  # of a sine it is zero
        np.testing.assert_allclose(mine, others, rtol=1e-3, atol=around_zero, err_msg=field.name)


@pytest.mark.parametrize("factor", [2.0**-600, -1.0, 2.0**600])
def test_a_fit_scales_with_its_function(factor):
    plain, scaled = fit_of(sine), fit_of(lambda t: factor * sine(t))
    np.testing.assert_allclose(scaled.derivative, factor * plain.derivative, rtol=1e-13)
    np.testing.assert_allclose(scaled.uncertainty, abs(factor) * plain.uncertainty, rtol=1e-6)
    np.testing.assert_allclose(scaled.noise, abs(factor) * plain.noise, rtol=1e-6)
    np.testing.assert_allclose(scaled.order, plain.order, rtol=1e-6)


def test_a_function_that_is_finite_only_for_small_steps_is_fitted_there():
    found = fit_of(lambda t: np.log(1 + 200 * t))
    assert abs(found.derivative[0] - 200) <= found.uncertainty[0] <= 200e-10


def test_a_function_that_is_finite_on_no_step_has_no_derivative():
    found = fit_of(lambda t: np.where(t == 0, 1.0, np.nan))
    assert not np.isfinite(found.derivative[0])
    assert found.uncertainty[0] == np.inf


def test_a_wave_of_the_period_of_the_steps_is_not_taken_for_a_constant():
    phi, exact = along(lambda x: np.sin(128 * np.pi * x), lambda x: 128 * np.pi * np.cos(128 * np.pi * x), 0.5625)
    found = fit_of(phi)
    assert abs(found.derivative[0] - exact) <= found.uncertainty[0] <= 1e-8 * abs(exact)


def test_structure_on_a_scale_of_1e_5_is_resolved_below_that_scale():
    found = fit_of(lambda t: t + 1e-5 * np.tanh(t / 1e-5) + 1)
    assert abs(found.derivative[0] - 2) <= found.uncertainty[0] <= 1e-5
    assert found.reach[0] <= 1e-4


# ---- slope and crossover


@pytest.mark.parametrize(
    ("phi", "order"),
    [
        (sine, 2),
        (lambda t: np.exp(1 + t), 2),
        (lambda t: 1 + t + t**2 + t**5 + t**6, 4),
        (lambda t: 1 + t - t**4 + t**7, 6),
        (lambda t: 1 + t + t * np.abs(t), 1),
    ],
    ids=["sin: 2", "exp: 2", "no third derivative: 4", "nor a fifth: 6", "jump of the second derivative: 1"],
)
def test_the_slope_is_the_truncation_order_of_calculus(phi, order):
    found = fit_of(phi)
    assert found.order[0] == pytest.approx(order, rel=0.05)
    assert found.order_error[0] < 0.1
    assert not found.exact[0]


@pytest.mark.parametrize("phi", [lambda t: 3 * t + 1, lambda t: 3 * t + 1 - 7 * t**2], ids=["linear", "quadratic"])
def test_a_function_without_truncation_error_is_exact_and_has_no_slope(phi):
    found = fit_of(phi)
    assert found.exact[0]
    assert np.isnan(found.order[0])
    assert abs(found.derivative[0] - 3) <= found.uncertainty[0] <= 1e-12


def test_the_coefficient_of_the_truncation_is_a_sixth_of_the_third_derivative():
    assert fit_of(sine).coefficient[0] == pytest.approx(abs(SINE_THIRD) / 6, rel=0.05)


@pytest.mark.parametrize("noise", [1e-12, 1e-10, 1e-8])
def test_the_crossover_is_that_of_the_planted_noise(noise):
    theory = (noise / (2 * abs(SINE_THIRD) / 6)) ** (1 / 3)
    crossover = np.median(fit_of(*(noisy(noise, seed) for seed in range(9))).crossover)
    assert theory / 2 <= crossover <= 2 * theory


def test_the_crossover_of_a_clean_function_is_that_of_its_rounding():
    theory = (EPS * np.sin(1) / np.sqrt(12) / (2 * abs(SINE_THIRD) / 6)) ** (1 / 3)
    assert theory / 4 <= fit_of(sine).crossover[0] <= 4 * theory


# ---- noise


@pytest.mark.parametrize("size", 10.0 ** np.arange(-12, -2))
def test_planted_noise_is_measured_within_a_factor_of_three(size):
    noise = fit_of(*(noisy(size, seed) for seed in range(50))).noise
    assert np.mean((size / 3 <= noise) & (noise <= 3 * size)) >= 0.9
    assert np.all((size / 10 <= noise) & (noise <= 10 * size))


BELOW = pytest.mark.xfail(reason="97.5 %: the promise is one over functions and noise levels together", strict=True)


@pytest.mark.parametrize("size", [1e-12, pytest.param(1e-9, marks=BELOW), 1e-6, 1e-3])
def test_the_uncertainty_covers_the_error_that_noise_makes(size):
    found = fit_of(*(noisy(size, seed) for seed in range(200)))
    error = np.abs(found.derivative - SINE_SLOPE)
    assert np.median(found.uncertainty) <= 100 * size + 1e-10
    assert np.mean(error <= found.uncertainty) >= 0.98


def test_over_all_noise_levels_the_uncertainty_keeps_its_promise():
    inside = []
    for size in 10.0 ** np.arange(-12, -2):
        found = fit_of(*(noisy(size, seed) for seed in range(300)))
        inside.append(np.mean(np.abs(found.derivative - SINE_SLOPE) <= found.uncertainty))
    assert np.mean(inside) >= PROMISE


@pytest.mark.parametrize("size", [1e-2, 1e-3])
def test_what_saturates_farther_out_is_not_taken_for_noise(size):
    """Over large steps a cubic hides it; noise that much larger than measured would not be alike from step to step."""
    widths = 2 ** np.random.default_rng(0).uniform(-1, 1, 200)

    def phi(width, seed):
        random = np.random.default_rng(seed)
        return lambda t: t + 0.4 * t**3 + np.tanh(width * t) / 4 + size * random.normal(size=np.shape(t))

    found = fit_of(*map(phi, widths, range(200)), steps=2.0 ** -np.arange(-12.0, 21.0), eps=2.0**-23)
    inside = np.abs(found.derivative - 1 - widths / 4) <= found.uncertainty
    assert np.mean(inside) >= 0.98
    assert np.median(found.uncertainty) < 0.1


def test_float32_inside_is_recognised_and_still_has_its_derivative():
    found = fit_of(lambda t: np.sin(np.float32(1.1 + 1.375 * t)).astype(np.float64))
    exact = 1.375 * np.cos(1.1)
    assert found.low_precision[0]
    assert abs(found.derivative[0] - exact) <= found.uncertainty[0] <= 1e-3 * exact
    assert 1e-9 <= found.noise[0] <= 1e-6


def test_a_float64_function_is_not_taken_for_float32():
    functions = [along(f, d, x)[0] for f, d, x, _ in ONE_VARIABLE.values()]
    assert not fit_of(*functions).low_precision.any()


def test_a_staircase_is_quantised_and_a_ramp_is_not():
    stairs, ramp = (lambda t: np.round(1e4 * (0.3 + t)) / 1e4), (lambda t: 0.3 + t)
    found = fit_of(stairs, ramp)
    assert list(found.quantised) == [True, False]
    assert abs(found.coarse[0] - 1) <= found.coarse_uncertainty[0] <= 1e-2  # the trend over many stairs


def test_a_constant_stands_still():
    found = fit_of(lambda t: np.full_like(t, 0.7), lambda t: 0.7 + 1e-9 * t)
    assert list(found.still) == [True, False]
    assert abs(found.derivative[0]) <= found.uncertainty[0]


# ---- kinks and jumps


@pytest.mark.parametrize("size", [1e-4, 0.1, 5.0])
def test_a_kink_is_measured_as_the_jump_of_its_slopes(size):
    found = fit_of(lambda t: np.sin(1 + t) + size * np.abs(t))
    assert abs(found.kink[0] - 2 * size) <= found.kink_uncertainty[0] <= 1e-3 * size
    assert found.derivative[0] == pytest.approx(SINE_SLOPE, abs=1e-6)  # the mean of both sides


def test_a_kink_of_one_side_is_measured_too():
    found = fit_of(lambda t: 1 + np.maximum(t, 0))
    assert abs(found.kink[0] - 1) <= found.kink_uncertainty[0] <= 1e-6


def test_a_smooth_function_has_no_kink():
    found = fit_of(sine, np.exp, lambda t: t**2 + 1)
    assert np.all(np.abs(found.kink) <= np.maximum(found.kink_uncertainty, 1e-9))


def test_a_kink_at_a_distance_is_not_a_kink_at_the_point():
    found = fit_of(*(lambda t, d=d: np.sin(1 + t) + np.maximum(t - d, 0) for d in (0.1, 1e-3)))
    assert np.all(np.abs(found.kink) <= np.maximum(found.kink_uncertainty, 1e-6))
    assert np.all(np.abs(found.derivative - SINE_SLOPE) <= found.uncertainty)


@pytest.mark.parametrize("at_zero", [0.0, 0.5, 1.0])
def test_a_jump_is_measured_as_its_height(at_zero):
    found = fit_of(lambda t: np.sin(1 + t) + 0.3 * np.where(t == 0, at_zero, t > 0))
    assert abs(found.jump[0]) == pytest.approx(0.3, rel=1e-3)
    assert abs(found.jump[0]) > found.jump_uncertainty[0]


def test_a_smooth_function_has_no_jump():
    found = fit_of(sine, np.exp)
    assert np.all(np.abs(found.jump) <= found.jump_uncertainty + 1e-9)


@pytest.mark.parametrize("power", [0.3, 0.5, 0.7])
def test_the_growth_of_a_root_is_its_exponent(power):
    found = fit_of(lambda t: np.sign(t) * np.abs(t) ** power)
    assert found.growth[0] == pytest.approx(power, abs=0.05)


def test_the_steps_of_a_float32_grid_serve_a_float32_function():
    steps = STEPS[:20]
    values = lambda t: np.sin(np.float32(1) + np.float32(1.375) * np.float32(t))
    found = fit_of(values, steps=steps, eps=float(np.finfo(np.float32).eps))
    exact = 1.375 * np.cos(1)
    assert abs(found.derivative[0] - exact) <= found.uncertainty[0] <= 1e-3 * exact


def test_a_point_that_is_rounded_unlike_those_close_by_looks_like_no_power_of_the_step():
    """As after many steps of a chaotic system: F(x) is off by the same in all second differences."""
    random = np.random.default_rng(0)

    def chaotic():
        alike, own = 25 + 6 * random.normal(size=len(STEPS)), random.normal(size=2 * len(STEPS) + 1)
        off = own + np.concatenate([[0], alike, alike])
        return lambda t: sine(t) + 3e-14 * off

    found = fit_of(*(chaotic() for _ in range(50)))
    assert np.sum(found.bends_at_once) > 20
    assert np.mean(np.abs(found.bend_order[found.bends_at_once]) < 0.05) > 0.7  # a third without asking
