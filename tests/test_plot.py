"""The figure: what is drawn where, read back from the axes; and that nothing of it needs pyplot."""

import os
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

import example_reports as examples
from jaxgradsweep import plot
from jaxgradsweep._wording import Reason, Verdict

EVERY = pytest.mark.parametrize("make", examples.EVERY)
FORWARD, BACKWARD = "forward difference F(h)", "backward difference B(h)"
ABOVE, BELOW, ZERO = "D(h) above the claim", "D(h) below the claim", "no difference at all"


def drawn(ax):
    """The labelled artists by their labels."""
    handles, labels = ax.get_legend_handles_labels()
    return dict(zip(labels, handles, strict=True))


def panel(make):
    """The axes of the first finding."""
    report = make()
    return plot.plot_finding(report, report.findings[0])


def test_points_are_the_relative_errors_of_the_central_differences():
    report = examples.right()
    points = drawn(panel(examples.right))[BELOW]
    steps, errors = points.get_data()
    exact = 1 - np.sin(steps) / steps  # D(h) of sin is cos(x) sin(h)/h
    large = steps > 1e-2
    assert np.count_nonzero(large) == 9
    np.testing.assert_allclose(errors[large], exact[large], rtol=1e-9)
    assert len(steps) + len(drawn(panel(examples.right))[ABOVE].get_xdata()) == len(report.sweep.steps)


def test_positive_points_are_filled_and_negative_ones_open():
    points = drawn(panel(examples.right))
    assert to_rgba(points[ABOVE].get_markerfacecolor()) != to_rgba("white")
    assert to_rgba(points[BELOW].get_markerfacecolor()) == to_rgba("white")


def test_axes_are_logarithmic():
    ax = panel(examples.right)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_the_truncation_line_falls_with_the_square_of_the_step_through_the_points():
    ax = panel(examples.right)
    x, y = drawn(ax)["truncation, $h^{2}$"].get_data()
    np.testing.assert_allclose(np.diff(np.log(y)) / np.diff(np.log(x)), 2)
    np.testing.assert_allclose(y, x**2 / 6, rtol=1e-9)


def test_the_truncation_line_has_the_order_that_was_fitted():
    row = {**examples.probe(np.exp, 1.0, 1.0), "order": 4.03, "coefficient": 1 / 120}
    ax = plot.plot_finding(report := examples.report([row], [examples.finding()]), report.findings[0])
    x, y = drawn(ax)["truncation, $h^{4}$"].get_data()
    np.testing.assert_allclose(np.diff(np.log(y)) / np.diff(np.log(x)), 4.03)


def test_the_roundoff_line_rises_as_one_over_the_step():
    report = examples.right()
    x, y = drawn(panel(examples.right))["roundoff, $1/h$"].get_data()
    np.testing.assert_allclose(y, report.fit.noise[0] / (np.sqrt(2) * x) / np.cos(1.0))


def test_the_crossover_lies_where_the_lines_nearly_meet():
    report, ax = examples.right(), panel(examples.right)
    assert drawn(ax)["crossover"].get_xdata()[0] == report.fit.crossover[0]
    assert 1e-6 < report.fit.crossover[0] < 1e-4


def test_the_uncertainty_is_a_band_from_the_bottom():
    ax = panel(examples.right)
    box = drawn(ax)["uncertainty of the estimate"].get_extents().transformed(ax.transData.inverted())
    assert box.y1 == pytest.approx(1e-12 / np.cos(1.0))


def test_the_trusted_steps_end_at_the_reach_of_the_fit():
    ax = panel(examples.right)
    box = drawn(ax)["trusted steps"].get_extents().transformed(ax.transData.inverted())
    assert box.x1 == pytest.approx(0.25)


def test_no_step_is_called_trusted_where_the_fit_has_no_error_bar():
    row = {**examples.probe(np.exp, 1.0, 1.0), "uncertainty": np.inf}
    ax = plot.plot_finding(report := examples.report([row], [examples.finding()]), report.findings[0])
    assert "trusted steps" not in drawn(ax)


def test_a_wrong_claim_has_a_plateau_at_its_error():
    plateau = drawn(panel(examples.wrong))["plateau: error of the claim"]
    assert set(plateau.get_ydata()) == {0.0099}


@pytest.mark.parametrize("make", [examples.right, examples.kink])
def test_a_claim_that_is_not_wrong_has_no_plateau(make):
    assert "plateau: error of the claim" not in drawn(panel(make))


def test_a_kink_shows_the_plateaus_of_its_two_sides():
    row = examples.probe(lambda t: np.maximum(t, 0) + 0.01 * np.sin(t), 0.26, 0.51, third=-0.01)
    leaf = examples.finding(verdict=Verdict.UNRESOLVED, reason=Reason.KINK, claimed=0.26, estimate=0.51)
    artists = drawn(plot.plot_finding(examples.report([row], [leaf]), leaf))
    for label, slope in ((FORWARD, 1.01), (BACKWARD, 0.01)):
        steps, errors = artists[label].get_data()
        small = (steps > 1e-6) & (steps < 1e-3)
        np.testing.assert_allclose(errors[small], abs(slope - 0.26) / 0.51, rtol=1e-5)
    assert artists[FORWARD].get_marker() != artists[BACKWARD].get_marker()


def test_a_side_that_equals_the_claim_lies_at_the_bottom():
    leaf = examples.finding(verdict=Verdict.UNRESOLVED, reason=Reason.KINK, claimed=0.0, estimate=0.5)
    ax = plot.plot_finding(examples.report([examples.probe(lambda t: np.maximum(t, 0), 0.0, 0.5)], [leaf]), leaf)
    assert len(drawn(ax)["B(h): no difference"].get_xdata()) == len(examples.STEPS)
    assert drawn(ax)["B(h): no difference"].get_transform() == ax.get_xaxis_transform()
    assert set(drawn(ax)[FORWARD].get_ydata()) == {2.0}
    assert BACKWARD not in drawn(ax)


@pytest.mark.parametrize("make", [examples.right, examples.wrong, examples.constant])
def test_smooth_functions_need_no_one_sided_differences(make):
    assert not {FORWARD, BACKWARD} & set(drawn(panel(make)))


def test_zero_differences_are_ticks_at_the_bottom():
    ax = panel(examples.constant)
    ticks = drawn(ax)[ZERO]
    assert len(ticks.get_xdata()) == len(examples.STEPS)
    assert set(ticks.get_ydata()) == {0.02}
    assert ticks.get_transform() == ax.get_xaxis_transform()
    assert ABOVE not in drawn(ax)


def test_steps_that_are_not_finite_are_marked_and_the_others_drawn():
    with np.errstate(divide="ignore", invalid="ignore"):
        row = examples.probe(lambda t: np.log(0.1 + t), 10.0, 10.0, third=2e3)
    report = examples.report([row], [examples.finding(claimed=10.0, estimate=10.0)])
    artists = drawn(plot.plot_finding(report, report.findings[0]))
    assert min(artists["not finite, or not tried"].get_xdata()) == 0.125
    assert max(artists[ABOVE].get_xdata()) == 0.0625


def test_a_report_with_nothing_finite_says_so():
    ax = panel(examples.nothing_finite)
    assert "no finite difference at any step" in [words.get_text() for words in ax.texts]


def test_a_claim_of_nan_is_replaced_by_the_estimate():
    nan = float("nan")
    row = {**examples.probe(np.exp, 1.0, 1.0), "claimed": nan, "size": nan}
    wrong = examples.finding("['w']", Verdict.WRONG, Reason.NAN_CLAIM, claimed=nan, estimate=1.0, error=nan)
    ax = plot.plot_finding(examples.report([row], [wrong]), wrong)
    assert "estimate" in ax.get_ylabel()
    steps, errors = drawn(ax)[ABOVE].get_data()
    np.testing.assert_allclose(errors[steps > 1e-2], (np.sinh(steps) / steps - 1)[steps > 1e-2], rtol=1e-9)


def test_the_title_names_the_leaf_and_the_verdict():
    assert panel(examples.wrong).get_title().startswith("['conv']['kernel']: WRONG, off by 9.9e-3\nMISMATCH")


def test_the_title_of_a_kink_has_the_reason_in_place_of_a_limit():
    title = panel(examples.kink).get_title()
    assert " ".join(title.split()) == f"['relu']: UNRESOLVED KINK: {Reason.KINK.value}"


def test_the_title_names_an_argument_without_leaves():
    assert panel(examples.constant).get_title().startswith("the argument: CORRECT\nEXACT, detection limit 2.1e-11")


def test_without_claim_and_estimate_the_differences_themselves_are_drawn():
    nan, root = float("nan"), lambda t: np.sign(t) * np.sqrt(np.abs(t))
    leaf = examples.finding(
        verdict=Verdict.UNRESOLVED, reason=Reason.SINGULAR, claimed=nan, estimate=9.0, uncertainty=99
    )
    ax = plot.plot_finding(examples.report([{**examples.probe(root, nan, 9.0), "size": 1.0}], [leaf]), leaf)
    assert ax.get_ylabel() == "relative size |D(h)|"
    steps, sizes = drawn(ax)[ABOVE].get_data()
    np.testing.assert_allclose(sizes, steps**-0.5 / 9.0)


def test_a_path_with_dollars_is_not_read_as_mathematics():
    leaf = examples.finding("['$\\frac{$']")
    report = examples.report([examples.probe(np.exp, 1.0, 1.0)], [leaf])
    plot.plot_report(report).draw_without_rendering()


def test_axes_that_are_given_are_used_and_get_a_legend():
    ax = Figure().subplots()
    report = examples.right()
    assert plot.plot_finding(report, report.findings[0], ax) is ax
    assert BELOW in [words.get_text() for words in ax.get_legend().get_texts()]


def test_the_worst_finding_goes_into_axes_that_are_given():
    ax = Figure().subplots()
    leaves = [
        examples.finding("['a']", resolution=1e-3),
        examples.finding("['b']", Verdict.UNRESOLVED, Reason.NOISE, row=1, resolution=0.1),
        examples.finding("['c']", Verdict.WRONG, Reason.MISMATCH, row=2, error=1e-6),
        examples.finding("['d']", Verdict.WRONG, Reason.MISMATCH, row=3, error=-1e-5),
    ]
    report = examples.report([examples.probe(np.exp, 1.0, 1.0)] * 4, leaves)
    assert report.plot(ax=ax) is ax
    assert ax.get_title().startswith("['d']: WRONG")


def test_a_figure_has_a_panel_for_each_finding_the_worst_first():
    figure = examples.wrong().plot()
    assert [ax.get_title().split(":")[0] for ax in figure.axes] == ["['conv']['kernel']", "['dense']['bias']"]
    assert figure.get_suptitle() == ""


def test_one_legend_serves_all_panels():
    figure = examples.wrong().plot()
    assert [ax.get_legend() for ax in figure.axes] == [None, None]
    labels = [words.get_text() for words in figure.legends[0].get_texts()]
    assert set(labels) == set().union(*(drawn(ax) for ax in figure.axes))
    assert labels[0].startswith("D(h)")


def test_more_than_six_findings_are_cut_to_six_and_counted():
    leaves = [examples.finding(f"['{i}']", row=i, resolution=i * 1e-12) for i in range(9)]
    figure = plot.plot_report(examples.report([examples.probe(np.exp, 1.0, 1.0)] * 9, leaves))
    assert [ax.get_title().split(":")[0] for ax in figure.axes] == [f"['{i}']" for i in (8, 7, 6, 5, 4, 3)]
    assert figure.get_suptitle() == "the 6 worst of 9 leaves, 3 left out"


@pytest.mark.parametrize("count", range(1, 7))
def test_every_number_of_findings_has_as_many_panels(count):
    leaves = [examples.finding(f"['{i}']", row=i) for i in range(count)]
    assert len(plot.plot_report(examples.report([examples.probe(np.exp, 1.0, 1.0)] * count, leaves)).axes) == count


@EVERY
def test_every_report_can_be_drawn(make, tmp_path):
    figure = make().plot()
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "figure.png", dpi=40)
    assert (tmp_path / "figure.png").stat().st_size > 1000


@EVERY
def test_every_report_can_be_drawn_into_given_axes(make):
    ax = Figure().subplots()
    assert make().plot(ax=ax) is ax
    ax.figure.draw_without_rendering()


@pytest.mark.parametrize("size", [1e-300, 1e-20, 1e20, 1e300])
def test_derivatives_of_any_size_can_be_drawn(size):
    row = examples.probe(lambda t: size * np.exp(t), size, size, third=size, uncertainty=1e-12 * size)
    report = examples.report([row], [examples.finding(claimed=size, estimate=size, uncertainty=1e-12 * size)])
    ax = plot.plot_finding(report, report.findings[0])
    assert isinstance(ax, Axes)
    ax.figure.draw_without_rendering()
    steps, errors = drawn(ax)[ABOVE].get_data()
    np.testing.assert_allclose(errors[steps == 1], np.sinh(1) - 1, rtol=1e-9)


def test_errors_at_the_end_of_the_number_range_can_be_drawn():
    report = examples.report([examples.probe(np.exp, 1.0, 1.0)], [examples.finding(evidence={"size": 1e-308})])
    ax = plot.plot_finding(report, report.findings[0])
    ax.figure.draw_without_rendering()
    assert max(drawn(ax)[ABOVE].get_ydata()) > 1e307


def test_the_svg_is_one_element_without_a_prologue():
    svg = plot.render_svg(examples.wrong())
    assert svg.startswith("<svg")
    assert svg.rstrip().endswith("</svg>")


def test_drawing_does_not_touch_pyplot():
    script = (
        "import sys, example_reports; example_reports.wrong()._repr_html_(); example_reports.kink().plot(); "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert answer.stdout.strip() == "False"


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_equal_reports_make_equal_files(tmp_path, kind):
    paths = [tmp_path / f"{name}.{kind}" for name in ("first", "second")]
    for path in paths:
        plot.save(examples.wrong(), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
