"""The report as a value: the familiar figures, JSON without loss, files, exceptions, HTML."""

import dataclasses
import json
import math
import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import example_reports as examples
from jaxgradsweep._report import TOTAL, Classic, DerivativeUnresolved, DerivativeWrong, Report, classic_figures
from jaxgradsweep._wording import NO_RULE, Reason, Verdict

EVERY = pytest.mark.parametrize("make", examples.EVERY)


def classic_of(claimed, estimate):
    """The familiar figures of one leaf with these directional derivatives."""
    probes = [examples.probe(np.sin, a, n) for a, n in zip(claimed, estimate, strict=True)]
    leaf = examples.finding(probes=tuple(range(len(probes))))
    report = examples.report(probes, [leaf])
    return report.classic[0]


def parts(record):
    """All leaves of a record with their places; numbers as text, so that NaN equals NaN and -0 is not 0."""
    if dataclasses.is_dataclass(record):
        return {(f.name, *k): v for f in dataclasses.fields(record) for k, v in parts(getattr(record, f.name)).items()}
    if isinstance(record, dict):
        return {(key, *k): v for key, value in record.items() for k, v in parts(value).items()}
    if isinstance(record, tuple):
        return {(): len(record), **{(i, *k): v for i, value in enumerate(record) for k, v in parts(value).items()}}
    if isinstance(record, np.ndarray):
        return {(): (record.dtype, record.shape, repr(record.tolist()))}
    return {(): repr(float(record)) if isinstance(record, float) else record}


def refuse(literal):
    raise AssertionError(f"{literal} is no JSON")


# ---- the familiar figures


def test_the_familiar_figures_are_those_of_their_formulas():
    figures = classic_of([1.0, 2.0], [1.1, 2.0])
    assert figures.cs231n == pytest.approx(0.1 / 2.1)
    assert figures.ratio == pytest.approx(0.1 / (math.hypot(1, 2) + math.hypot(1.1, 2)))
    assert figures.sum_ratio == pytest.approx(0.1 / math.hypot(2.1, 4))
    assert figures.max_normalised == pytest.approx(0.1 / 2)
    assert figures.same_sign == 1


def test_the_figure_of_cs231n_is_absolute_below_1e_8():
    assert classic_of([1e-12], [2e-12]).cs231n == pytest.approx(1e-12 / 1e-8)


def test_the_share_of_equal_signs_counts_probes():
    assert classic_of([1.0, 2.0, -3.0, 0.0], [1.0, -2.0, -3.0, 0.0]).same_sign == 0.75


@pytest.mark.parametrize("zeros", [[], [0.0, 0.0]])
def test_zero_over_zero_counts_as_agreement(zeros):
    figures = classic_of(zeros, zeros)
    assert [figures.cs231n, figures.ratio, figures.sum_ratio, figures.max_normalised] == [0, 0, 0, 0]


def test_a_claim_with_every_sign_wrong_has_no_finite_sum_ratio():
    assert classic_of([1.0, -2.0], [-1.0, 2.0]).sum_ratio == math.inf


@pytest.mark.parametrize("unit", [1e-200, 1.0, 1e200])
def test_ratios_do_not_depend_on_the_unit(unit):
    figures = classic_of([unit, 2 * unit], [1.1 * unit, 2 * unit])
    assert figures.ratio == pytest.approx(0.1 / (math.hypot(1, 2) + math.hypot(1.1, 2)))
    assert figures.max_normalised == pytest.approx(0.05)


def test_a_value_that_is_not_a_number_gets_no_answer_from_any_rule_of_thumb():
    rules = classic_of([1.0, math.nan], [1.0, 1.0]).rules_of_thumb()
    assert set(rules.values()) == {NO_RULE}


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        (2e-2, ["probably wrong", "worry", "too large"]),
        (2e-3, ["uncomfortable", "worry", "too large"]),
        (2e-5, ["ok with kinks", "look closely", "too large"]),
        (2e-6, ["ok with kinks", "fair", "too large"]),
        (2e-8, ["happy", "great", "too large"]),
        (2e-10, ["happy", "great", "small enough"]),
    ],
)
def test_each_rule_of_thumb_says_what_its_source_says(figure, words):
    figures = Classic(path="", cs231n=figure, ratio=figure, sum_ratio=figure, max_normalised=figure, same_sign=1.0)
    assert list(figures.rules_of_thumb().values()) == words


def test_the_total_takes_the_probes_of_all_leaves():
    report = examples.wrong()
    *leaves, total = classic_figures(report.sweep, report.fit, report.findings)
    claimed, slope = 1.01 * np.cos(1.0), np.cos(1.0)
    assert [leaf.path for leaf in leaves] == [finding.path for finding in report.findings]
    assert total.path == TOTAL
    assert total.ratio == pytest.approx((claimed - slope) / (math.hypot(claimed, 1) + math.hypot(slope, 1)))


# ---- JSON


@EVERY
def test_a_report_comes_back_from_json_without_any_loss(make):
    report = make()
    again = Report.from_json(report.to_json())
    assert parts(again) == parts(report)
    assert str(again) == str(report)


@EVERY
def test_the_json_has_no_literal_that_json_does_not_know(make):
    json.loads(make().to_json(), parse_constant=refuse)


@given(
    st.dictionaries(st.text(), st.floats() | st.text() | st.sampled_from(["nan", "inf", "-inf", "'nan", "''", "NaN"])),
    st.text(),
    st.floats(),
)
def test_any_text_and_any_number_come_back_as_they_were(evidence, path, error):
    report = examples.report(
        [examples.probe(np.sin, 1.0, 1.0)], [examples.finding(path, error=error, evidence=evidence)]
    )
    again = Report.from_json(report.to_json())
    assert parts(again.findings) == parts(report.findings)


def test_numbers_of_numpy_become_plain_numbers():
    report = examples.report(
        [examples.probe(np.sin, 1.0, 1.0)],
        [examples.finding(error=np.float64(0.5), probe=np.int64(0), slope=np.float32(2))],
    )
    (again,) = Report.from_json(report.to_json()).findings
    assert [type(again.error), type(again.probe), type(again.slope)] == [float, int, float]


def test_a_report_cut_short_anywhere_is_refused():
    text = examples.right().to_json()
    for end in range(0, len(text), 97):
        with pytest.raises(ValueError, match="not valid JSON; was it cut short"):
            Report.from_json(text[:end])


@pytest.mark.parametrize("foreign", ["[]", "3", "null", '{"kind": "grad"}', '{"format": "somebody else"}'])
def test_json_that_is_no_report_is_refused(foreign):
    with pytest.raises(ValueError, match=r"not a report of jaxgradsweep: it has no `format`"):
        Report.from_json(foreign)


def test_a_report_of_a_later_version_is_refused_by_its_version():
    with pytest.raises(ValueError, match=r"version 99; this jaxgradsweep reads version 1"):
        Report.from_json(json.dumps({**examples.right().to_dict(), "version": 99}))


def set_at(tree, place, value):
    """Change one place of nested dicts and lists."""
    for key in place[:-1]:
        tree = tree[key]
    tree[place[-1]] = value


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["verdict"], "PERHAPS", "`verdict` is 'PERHAPS' and not a Verdict"),
        (["findings", 0, "error"], "small", r"`findings\[0\].error` is 'small' and not a float"),
        (["findings", 0, "probe"], 0.5, r"`findings\[0\].probe` is 0.5 and not a int"),
        (["findings", 0], 7, r"`findings\[0\]` is a int and not a Finding"),
        (["evaluations"], True, "`evaluations` is True and not a int"),
        (["environment", "jax"], None, r"`environment\['jax'\]` is None and not a str"),
        (["sweep", "steps"], [1, 2], "`sweep.steps` is not an array"),
        (["sweep", "steps", "shape"], [5], "`sweep.steps` is not an array"),
        (["fit", "order", "values"], ["two"], "`fit.order` is not an array"),
    ],
)
def test_a_damaged_report_is_refused_with_the_place_of_the_damage(place, value, message):
    tree = examples.right().to_dict()
    set_at(tree, place, value)
    with pytest.raises(ValueError, match=message):
        Report.from_json(json.dumps(tree))


def test_a_missing_field_is_named():
    tree = examples.right().to_dict()
    del tree["sweep"]["steps"]
    with pytest.raises(ValueError, match=r"`sweep\.steps` is missing"):
        Report.from_json(json.dumps(tree))


# ---- files


def test_a_saved_report_can_be_read_again_and_leaves_nothing_beside_it(tmp_path):
    report = examples.wrong()
    report.save(tmp_path / "report.json")
    report.save(str(tmp_path / "report.json"))
    assert parts(Report.from_json((tmp_path / "report.json").read_text(encoding="utf-8"))) == parts(report)
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_a_save_that_fails_leaves_the_old_file_and_nothing_half_written(tmp_path, monkeypatch):
    target = tmp_path / "report.json"
    target.write_text("old", encoding="utf-8")

    def fail(source, destination):
        assert json.loads(source.read_text(encoding="utf-8"))  # all of it was written before the exchange
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        examples.right().save(target)
    assert target.read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


@EVERY
def test_a_report_pickles(make):
    report = make()
    assert parts(pickle.loads(pickle.dumps(report))) == parts(report)


# ---- verdict and exceptions


def test_only_a_correct_report_is_ok():
    assert [make().ok for make in (examples.right, examples.wrong, examples.kink)] == [True, False, False]


def test_a_correct_report_raises_nothing():
    examples.right().raise_unless_correct()


@pytest.mark.parametrize(("make", "error"), [(examples.wrong, DerivativeWrong), (examples.kink, DerivativeUnresolved)])
def test_a_report_that_is_not_correct_raises_an_assertion_that_carries_it(make, error):
    report = make()
    with pytest.raises(AssertionError) as caught:
        report.raise_unless_correct()
    assert type(caught.value) is error
    assert caught.value.report is report
    assert str(caught.value) == str(report)


def test_the_exceptions_pickle_with_their_report():
    error = pickle.loads(pickle.dumps(DerivativeWrong(examples.wrong())))
    assert type(error) is DerivativeWrong
    assert parts(error.report) == parts(examples.wrong())


def test_the_short_form_names_the_check_and_the_verdict():
    assert repr(examples.wrong()) == "<Report of check_grad: WRONG, 2 leaves, detection limit 2.1e-11>"


# ---- HTML


def test_html_shows_the_verdict_the_leaves_and_a_figure():
    page = examples.wrong()._repr_html_()
    assert "WRONG in [&#x27;conv&#x27;][&#x27;kernel&#x27;]" in page
    assert page.count("<tr>") == 3
    assert page.count("<svg") == page.count("</svg>") == 1
    assert "look at the backward pass of this leaf." in page


def test_html_escapes_what_the_user_named():
    script = "<script>alert('x')</script>"
    leaf = examples.finding(script, Verdict.WRONG, Reason.MISMATCH, error=0.5, advice=script, dtype=script)
    report = examples.report(
        [examples.probe(np.sin, 1.0, 1.0)], [leaf], notes=(script,), environment={"dtype": script, "backend": script}
    )
    page = report._repr_html_()
    assert "<script" not in page.lower()
    assert "&lt;script&gt;" in page


@EVERY
def test_every_report_has_a_page(make):
    assert make()._repr_html_().startswith("<div>")
