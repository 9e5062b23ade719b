"""The public contract: names, signatures, and what a report of a real check holds."""

import dataclasses
import inspect
import json
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import jaxgradsweep as jgs
from helpers import layers, layers_gradient, layers_point, smooth, smooth_gradient
from jaxgradsweep._instrument import chance_below
from jaxgradsweep._probe import step_grid

X = np.array([0.3, 0.8, 1.2])
PARAMS, INPUTS = layers_point()
CHECKS = {"grad": jgs.check_grad, "jvp": jgs.check_jvp, "vjp": jgs.check_vjp, "hvp": jgs.check_hvp}


@pytest.fixture(scope="module")
def right():
    return jgs.check_grad(layers, (PARAMS, INPUTS), grad=layers_gradient(PARAMS, INPUTS))


@pytest.fixture(scope="module")
def wrong():
    gradient = layers_gradient(PARAMS, INPUTS)
    return jgs.check_grad(layers, (PARAMS, INPUTS), grad=gradient | {"w2": 1.01 * gradient["w2"]})


@pytest.fixture(scope="module")
def unresolved():
    return jgs.check_grad(kinked, (np.zeros(2),), grad=np.zeros(2))


def kinked(x):
    return jnp.sum(jnp.abs(x)) + 1.0


@pytest.fixture(params=["right", "wrong", "unresolved"])
def report(request):
    return request.getfixturevalue(request.param)


# ---- names and signatures


@pytest.mark.parametrize(
    "name",
    [
        "check_grad",
        "check_jvp",
        "check_vjp",
        "check_hvp",
        "Report",
        "Finding",
        "Verdict",
        "Reason",
        "DerivativeWrong",
        "DerivativeUnresolved",
    ],
)
def test_the_package_offers_its_public_names(name):
    assert hasattr(jgs, name)


@pytest.mark.parametrize("kind", CHECKS)
def test_a_check_takes_two_positional_arguments_and_the_rest_by_name(kind):
    parameters = inspect.signature(CHECKS[kind]).parameters
    by_position = [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    by_name = {name: p.default for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert by_position == ["fun", "args"]
    assert {name: by_name[name] for name in ("argnums", "has_aux", kind)} == {
        "argnums": 0,
        "has_aux": False,
        kind: None,
    }


def test_every_check_explains_itself():
    for check in CHECKS.values():
        assert len(check.__doc__.splitlines()) > 1
        for word in ("Args:", "Returns:", "Raises:"):
            assert word in check.__doc__


@pytest.mark.parametrize("kind", CHECKS)
def test_a_report_says_which_check_it_is_of(kind):
    fun = smooth if kind in ("grad", "hvp") else jnp.sin
    assert CHECKS[kind](fun, (X,)).kind == kind


# ---- the report


def test_a_report_is_as_bad_as_its_worst_finding(right, wrong, unresolved):
    assert [r.verdict.name for r in (right, wrong, unresolved)] == ["CORRECT", "WRONG", "UNRESOLVED"]
    assert [r.ok for r in (right, wrong, unresolved)] == [True, False, False]
    assert {f.path: f.verdict.name for f in wrong.findings} == {
        "['b1']": "CORRECT",
        "['b2']": "CORRECT",
        "['w1']": "CORRECT",
        "['w2']": "WRONG",
    }


def test_the_resolution_is_the_coarsest_of_the_findings(right):
    assert right.resolution == max(finding.resolution for finding in right.findings)
    assert 0 < right.resolution <= right.tolerance == 1e-9


def test_a_finding_measures_the_planted_error(wrong):
    (finding,) = [finding for finding in wrong.findings if finding.path == "['w2']"]
    assert finding.shape == (5, 3)
    assert finding.dtype == "float64"
    assert finding.reason is jgs.Reason.MISMATCH
    assert finding.claimed == pytest.approx(1.01 * finding.estimate, rel=1e-9)
    assert abs(finding.claimed - 1.01 * finding.estimate) <= 1.01 * finding.uncertainty + 1e-12 * abs(finding.claimed)
    assert np.sign(finding.error) == np.sign(finding.claimed - finding.estimate)
    assert abs(finding.error) < finding.error_bound <= abs(finding.error) + 1.001 * finding.resolution
    assert finding.advice


def test_the_estimate_is_the_directional_derivative_of_calculus():
    report = jgs.check_grad(smooth, (X,), directions=4)
    finding = report.findings[0]
    assert abs(finding.claimed - finding.estimate) <= finding.uncertainty
    assert finding.slope == pytest.approx(2, abs=0.1)
    assert finding.slope_error < 0.1
    assert 1e-7 < finding.crossover < 1e-3
    assert 1e-18 < finding.noise < 1e-14


def test_the_probes_of_the_findings_are_rows_of_the_sweep(report):
    rows = [row for finding in report.findings for row in finding.probes]
    assert sorted(rows) == list(range(len(report.sweep.leaf)))
    for index, finding in enumerate(report.findings):
        assert finding.probe in finding.probes
        assert {report.sweep.paths[report.sweep.leaf[row]] for row in finding.probes} == {finding.path}
        assert report.sweep.leaf[finding.probe] == index


def test_the_sweep_holds_the_function_itself():
    report = jgs.check_grad(cube, (np.array(1.0),))
    sweep, finding = report.sweep, report.findings[0]
    v = finding.claimed / 3  # the derivative at 1 is 3
    for h, difference in zip(sweep.steps[:10], sweep.difference[finding.probe][:10], strict=True):
        assert difference == pytest.approx((1 + h * v) ** 3 - (1 - h * v) ** 3, rel=1e-12)


def cube(x):
    return x**3


def test_familiar_figures_are_given_per_leaf_and_in_total(wrong):
    figures = {classic.path: classic for classic in wrong.classic}
    assert list(figures) == ["['b1']", "['b2']", "['w1']", "['w2']", "total"]
    assert figures["['w2']"].cs231n == pytest.approx(0.01 / 2.01, rel=1e-6)
    assert figures["['w2']"].ratio == pytest.approx(0.01 / 2.01, rel=1e-6)
    assert figures["['w1']"].ratio < 1e-9


# ---- evaluations, notes, environment


def test_evaluations_are_counted_as_they_happen():
    calls = []

    def host(x):
        calls.append(None)
        return np.sin(x)

    def fun(x):
        return jax.pure_callback(host, jax.ShapeDtypeStruct((), x.dtype), x, vmap_method="sequential")

    report = jgs.check_grad(fun, (np.array(1.1),), grad=np.cos(1.1))
    assert report.ok
    assert report.evaluations == pytest.approx(len(calls), abs=5)


def test_a_second_look_counts_too(right, wrong):
    assert wrong.evaluations > right.evaluations > 2 * len(right.sweep.steps) * len(right.findings)


def test_notes_are_empty_where_nothing_is_unexpected(right):
    assert right.notes == ()


def test_notes_tell_what_was_held_fixed():
    report = jgs.check_grad(with_count, ({"w": X, "n": np.arange(2)},))
    assert report.ok
    assert any("held fixed" in note and "['n'] (int64[2])" in note for note in report.notes)


def with_count(params):
    return jnp.sum(jnp.sin(params["w"])) * params["n"][1]


def test_the_environment_says_what_is_needed_to_repeat_a_check():
    report = jgs.check_grad(smooth, (X,), key=7, rtol=1e-6, directions=3)
    assert report.environment["jax"] == jax.__version__
    assert report.environment["numpy"] == np.__version__
    assert report.environment["backend"] == jax.default_backend()
    assert report.environment["dtype"] == "float64"
    assert [report.environment[name] for name in ("key", "rtol", "directions")] == ["7", "1e-06", "3"]
    assert len(report.findings[0].probes) == 3


def test_a_report_knows_the_call_that_made_it():
    report = jgs.check_grad(smooth, (X,), grad=smooth_gradient, key=7, rtol=1e-6, progress=False)
    assert report.environment["call"] == (
        f"check_grad({smooth.__module__}.smooth, args, grad={smooth.__module__}.smooth_gradient, key=7, rtol=1e-06)"
    )


def test_what_cannot_be_written_again_is_named_by_its_argument():
    claim, steps = (np.ones(3),), 2.0 ** -np.arange(40)
    report = jgs.check_grad(lambda x: jnp.sum(x), (X,), argnums=(0,), grad=claim, steps=steps)
    assert report.environment["call"] == "check_grad(fun, args, argnums=(0,), grad=grad, steps=steps)"


@pytest.mark.parametrize(
    ("check", "call"),
    [
        (lambda: jgs.check_stages([jnp.sin], (X,), key=1), "check_stages(stages, args, key=1)"),
        (lambda: jgs.check_hvp(kinked, (X,), via="function"), "check_hvp({here}.kinked, args, via='function')"),
        (lambda: jgs.check_hessian(kinked, (X[:1],)), "check_hessian({here}.kinked, args)"),
    ],
    ids=["stages", "hvp", "hessian"],
)
def test_every_check_keeps_its_own_call(check, call):
    assert check().environment["call"] == call.format(here=__name__)


def test_progress_is_told_as_a_check_goes_on():
    told = []
    jgs.check_grad(smooth, (X,), progress=lambda what, done, total: told.append((what, done, total)))
    assert told
    assert all(isinstance(what, str) and 0 <= done <= total for what, done, total in told)


def test_directions_and_keys_change_the_probes_and_not_the_verdict():
    reports = [jgs.check_grad(smooth, (X,), key=key, directions=3) for key in (0, 1)]
    assert all(report.ok for report in reports)
    assert not set(reports[0].sweep.claimed) & set(reports[1].sweep.claimed)


def test_one_direction_is_enough_for_a_verdict():
    right = jgs.check_grad(smooth, (X,), grad=smooth_gradient(X), directions=1)
    wrong = jgs.check_grad(smooth, (X,), grad=1.01 * smooth_gradient(X), directions=1)
    assert (right.verdict.name, wrong.verdict.name) == ("CORRECT", "WRONG")


# ---- a report as a value


def test_a_report_of_a_real_check_survives_json(report):
    text = report.to_json()
    again = jgs.Report.from_json(text)
    assert again.to_json() == text
    assert again.findings == report.findings
    assert (again.verdict, again.notes, again.environment) == (report.verdict, report.notes, report.environment)
    np.testing.assert_array_equal(again.sweep.difference, report.sweep.difference)
    np.testing.assert_array_equal(again.fit.derivative, report.fit.derivative)
    json.loads(text, parse_constant=lambda literal: pytest.fail(f"{literal} is no JSON"))


def test_a_report_with_values_that_are_not_finite_survives_json():
    report = jgs.check_grad(smooth, (X,), grad=np.full(3, np.nan))
    again = jgs.Report.from_json(report.to_json())
    assert np.isnan(again.findings[0].claimed)
    assert again.to_json() == report.to_json()


def test_a_report_of_a_real_check_survives_pickling(report):
    again = pickle.loads(pickle.dumps(report))
    assert again.to_json() == report.to_json()
    assert str(again) == str(report)


def test_a_report_and_its_findings_cannot_be_changed(report):
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.verdict = jgs.Verdict.CORRECT
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.findings[0].verdict = jgs.Verdict.CORRECT


def test_a_report_says_its_verdict_first_and_names_every_leaf(report):
    text = str(report)
    assert report.verdict.name in text.splitlines()[0]
    for finding in report.findings:
        assert (finding.path or "argument") in text or len(report.findings) == 1


def test_raising_is_a_call_of_its_own(right, wrong, unresolved):
    right.raise_unless_correct()
    with pytest.raises(jgs.DerivativeWrong) as caught:
        wrong.raise_unless_correct()
    assert caught.value.report is wrong
    with pytest.raises(jgs.DerivativeUnresolved):
        unresolved.raise_unless_correct()
    assert issubclass(jgs.DerivativeWrong, AssertionError)
    assert issubclass(jgs.DerivativeUnresolved, AssertionError)


# ---- how many steps


def smooth_sum(x):
    return jnp.sum(jnp.sin(x) * jnp.exp(x))


POINT = np.linspace(0.3, 1.2, 5)


def test_some_of_the_steps_decide_what_is_clearly_right_and_the_report_says_so():
    quick, whole = (jgs.check_grad(smooth_sum, (POINT,), thorough=thorough) for thorough in (False, True))
    assert quick.ok
    assert whole.ok
    assert (len(quick.sweep.steps), len(whole.sweep.steps)) == (16, 40)
    assert 2 * quick.evaluations < whole.evaluations
    assert "(at 16 of 40 steps)" in str(quick)
    assert "steps)" not in str(whole)


def test_all_steps_are_asked_where_some_do_not_decide():
    wrong = jgs.check_grad(smooth_sum, (POINT,), grad=lambda x: (1 + 1e-8) * jax.grad(smooth_sum)(x))
    kinked = jgs.check_grad(lambda x: jnp.sum(jnp.abs(x - 1)), (np.ones(3),))
    noisy = jgs.check_grad(lambda x: jnp.sum(jnp.sin(x.astype(jnp.float32)).astype(x.dtype)), (POINT,))
    for report, verdict in ((wrong, "WRONG"), (kinked, "UNRESOLVED"), (noisy, "CORRECT")):
        assert report.verdict.name == verdict
        assert len(report.sweep.steps) >= 40


def test_a_kink_closer_than_all_of_the_first_steps_is_seen():
    near = jgs.check_grad(lambda x: jnp.sum(jnp.maximum(x, 1 - 1e-7)), (np.ones(1),))
    assert near.ok  # the slope at the point itself
    wrong = jgs.check_grad(lambda x: jnp.sum(jnp.maximum(x, 1 - 1e-7)), (np.ones(1),), grad=lambda x: 0.5 * jnp.ones(1))
    assert wrong.verdict.name == "WRONG"


def test_steps_of_ones_own_are_all_used():
    report = jgs.check_grad(smooth_sum, (POINT,), steps=2.0 ** -np.arange(2, 42))
    assert len(report.sweep.steps) == 40


@pytest.mark.parametrize("thorough", [None, 2, "yes"])
def test_thorough_is_yes_or_no(thorough):
    with pytest.raises(ValueError, match="`thorough` must be True or False"):
        jgs.check_grad(smooth_sum, (POINT,), thorough=thorough)


def test_a_function_that_raises_close_by_is_checked_where_it_does_not():
    def host(x):
        if np.any(x > 1 + 1e-7):
            raise ValueError("beyond")
        return np.exp(x)

    @jax.custom_vjp
    def guarded(x):
        return jax.pure_callback(host, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="expand_dims")

    guarded.defvjp(lambda x: (guarded(x), x), lambda x, u: (u * jnp.exp(x),))
    report = jgs.check_grad(lambda x: jnp.sum(guarded(x)), (np.array([1.0, 0.3]),), locate=False)
    assert report.ok
    assert any("raises an error at steps above" in note for note in report.notes)


@pytest.mark.parametrize("distance", [1e-3, 1e-5, 1e-7])
def test_a_numeric_gradient_beside_a_kink_takes_all_steps(distance):
    """At most of the larger steps a component looks as if it were at the kink."""
    x, rates = np.array([1e-6, 0.5]), np.array([1e6, 1])

    def fun(x):
        return jnp.sum(jnp.sin(rates * x)) + jnp.abs(1e6 * x[0] - 1 - distance)

    value, bar = jgs.estimate_grad(fun, (x,))
    assert np.all(np.abs(value - (rates * np.cos(rates * x) - [1e6, 0])) <= bar)
    assert np.all(bar / rates < [1e-7, 1e-12])


def test_directions_that_are_all_nearly_orthogonal_to_the_gradient_are_not_enough():
    """Along them an error in proportion to the gradient would cancel as its terms do."""
    inputs = np.random.default_rng(163).normal(size=(20, 4)).astype(np.float32)
    point = np.random.default_rng(164).normal(size=4)

    def loss(w):
        return jnp.mean(jnp.cos(inputs @ w.astype(jnp.float32)) ** 2)

    right = jgs.check_grad(loss, (point,), key=16225)
    wrong = jgs.check_grad(loss, (point,), grad=lambda w: 1.001 * jax.grad(loss)(w), key=16225)
    assert right.ok
    assert wrong.verdict is jgs.Verdict.WRONG
    rows = list(right.findings[0].probes)
    length = np.linalg.norm(right.sweep.claimed[rows]) / np.linalg.norm(right.sweep.size[rows])
    assert len(rows) == 4
    assert np.linalg.norm(right.sweep.claimed[rows[:2]]) < 0.1 * np.linalg.norm(right.sweep.size[rows[:2]])
    assert length > 0.25


@pytest.mark.parametrize("key", [3572, 8654])
@pytest.mark.parametrize("directions", [None, 2])
def test_two_swapped_components_are_found_though_two_directions_would_move_both_alike(key, directions):
    def loss(x):
        return jnp.sin(x[0]) + 2 * jnp.sin(x[1])

    def swapped(x):
        return jnp.cos(x) * jnp.array([2.0, 1.0])

    report = jgs.check_grad(loss, (np.array([0.7, 0.7]),), grad=swapped, key=key, directions=directions)
    assert report.verdict is jgs.Verdict.WRONG


@pytest.mark.parametrize("directions", [None, 2])
@pytest.mark.parametrize("key", [6, 60, 61, 72])
def test_an_error_above_the_tolerance_is_found_though_two_directions_show_less_of_it(key, directions):
    """They are nearly orthogonal to it; an error that is measured close below the tolerance is looked at along more."""
    point = np.linspace(0.2, 1.2, 50)
    off = 4e-9 * np.where(np.random.default_rng(0).random(50) < 0.5, -1, 1)
    settings = {"key": key, "directions": directions, "locate": False}

    def claim(x):
        return jnp.cos(x) * (1 + off)

    report = jgs.check_grad(lambda x: jnp.sum(jnp.sin(x)), (point,), grad=claim, **settings)
    assert report.verdict is jgs.Verdict.WRONG


@pytest.mark.parametrize("key", [82, 86, 151, 400])
def test_an_error_of_twice_the_tolerance_is_found_though_eight_directions_show_half_of_it(key):
    point = np.linspace(0.2, 1.2, 50)
    off = 2e-9 * np.where(np.random.default_rng(0).random(50) < 0.5, -1, 1)
    settings = {"key": key, "directions": 8, "locate": False}
    report = jgs.check_grad(lambda x: jnp.sum(jnp.sin(x)), (point,), grad=lambda x: jnp.cos(x) * (1 + off), **settings)
    assert report.verdict is jgs.Verdict.WRONG


@pytest.mark.parametrize("count", [2, 4, 8, 14])
@pytest.mark.parametrize("ratio", [0.02, 0.3, 0.9, 2.0])
def test_how_often_directions_hide_an_error_is_chi_squared(ratio, count):
    assert chance_below(ratio, count) == pytest.approx(
        scipy.stats.chi2.cdf(count * ratio**2, count), rel=1e-6, abs=1e-15
    )


@pytest.mark.parametrize("factor", [-1.0, 0.0, 2.0])
@pytest.mark.parametrize("key", [2239, 3532])
def test_a_wrong_factor_is_found_though_the_first_directions_are_orthogonal_to_the_gradient(key, factor):
    point = (np.array([0.7, 0.7]),)
    report = jgs.check_grad(
        lambda x: jnp.sum(jnp.sin(x)), point, grad=lambda x: factor * jnp.cos(x), key=key, locate=False
    )
    assert report.verdict is jgs.Verdict.WRONG


@pytest.mark.parametrize("inside", [jnp.float64, jnp.float32, jnp.float16, jnp.bfloat16])
def test_steps_suit_the_function_and_the_least_precise_number_inside(inside):
    def fun(x):
        return jnp.sum(jnp.sin(x).astype(inside)).astype(x.dtype) + jnp.sum(x**2)

    steps = jgs.check_grad(fun, (X,), thorough=True).sweep.steps
    assert set(steps) == {*step_grid(52), *step_grid(jnp.finfo(inside).nmant)}
    assert np.all(np.diff(steps) < 0)


@pytest.mark.parametrize("largest", [-2, -4, -5, -8, -20])
def test_steps_asked_for_may_all_be_too_small_for_the_precision_inside(largest):
    """Then what is rounded inside may stand still at all of them, and that limits the answer."""

    def fun(x):
        return jnp.sum(jnp.sin(x).astype(jnp.bfloat16)).astype(x.dtype) + jnp.sum(x**2)

    report = jgs.check_grad(fun, (X,), steps=2.0 ** (largest - np.arange(20)))
    assert report.verdict is not jgs.Verdict.WRONG
    assert not jgs.check_grad(fun, (X,), grad=lambda x: 2 * x, steps=2.0 ** (largest - np.arange(20))).ok


def test_larger_steps_stand_in_front_of_all_others():
    """Also of those of a short precision, which begin above 1 themselves."""
    point = jnp.asarray(X, jnp.bfloat16)
    report = jgs.check_grad(lambda x: 300 + jnp.sum(x), (point,), dtype="native")
    assert report.sweep.steps[0] > 2**4
    assert np.all(np.diff(report.sweep.steps) < 0)
