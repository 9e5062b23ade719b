"""What changed between two reports, and whether the second is worse."""

import dataclasses

import pytest

import example_reports
from jaxgradsweep import Part, Reason, Verdict, comparison
from jaxgradsweep.comparison import compare


def with_finding(report, **changes):
    """A report with changes to its only finding."""
    found = dataclasses.replace(report.findings[0], **changes)
    return dataclasses.replace(report, findings=(found,), verdict=found.verdict)


RIGHT = example_reports.right()
OPEN = with_finding(RIGHT, verdict=Verdict.UNRESOLVED, reason=Reason.NOISE)
BAD = with_finding(RIGHT, verdict=Verdict.WRONG, reason=Reason.MISMATCH, error=0.02)


@pytest.mark.parametrize(
    ("before", "after", "worse"),
    [
        (RIGHT, RIGHT, ()),
        (RIGHT, OPEN, ("['w'] was CORRECT and is UNRESOLVED",)),
        (OPEN, BAD, ("['w'] was UNRESOLVED and is WRONG",)),
        (BAD, OPEN, ()),
        (BAD, RIGHT, ()),
        (BAD, BAD, ()),
    ],
)
def test_a_verdict_can_only_get_worse_from_correct_by_way_of_unresolved_to_wrong(before, after, worse):
    assert compare(before, after).worse == worse


@pytest.mark.parametrize(
    ("before", "after", "coarser", "worse"),
    [
        (1e-12, 9e-12, 10, False),
        (1e-12, 2e-11, 10, True),
        (1e-12, 2e-11, 30, False),
        (2e-11, 1e-12, 10, False),
        (0.0, 1e-16, 10, False),  # both are below the rounding of the outputs
        (0.0, 1e-14, 10, True),
        (1e-12, float("inf"), 10, True),
        (float("inf"), float("inf"), 10, False),
        (float("inf"), 1e-12, 10, False),
    ],
)
def test_a_limit_is_worse_from_a_ratio_on(before, after, coarser, worse):
    pair = [with_finding(RIGHT, resolution=limit) for limit in (before, after)]
    assert bool(compare(*pair, coarser=coarser).worse) is worse


def test_no_limits_are_compared_where_there_is_none():
    kinks = [with_finding(OPEN, reason=Reason.KINK, resolution=limit) for limit in (1e-12, 1.0)]
    (change,) = compare(*kinks).changes
    assert change.limit_ratio is None
    assert not compare(*kinks).worse


def test_leaves_of_one_report_only_are_named_and_a_new_wrong_one_is_worse():
    wrong = example_reports.wrong()
    found = compare(RIGHT, wrong)
    told = comparison.render(found)
    assert found.worse == ("['conv']['kernel'] is new, and WRONG",)
    assert "only in A: ['w']\nonly in B: ['conv']['kernel'], ['dense']['bias']" in told
    assert not compare(wrong, RIGHT).worse


def test_what_changed_is_told_leaf_by_leaf_and_changed_verdicts_first():
    wrong = example_reports.wrong()
    kernel, bias = wrong.findings
    worse = dataclasses.replace(bias, verdict=Verdict.UNRESOLVED, reason=Reason.NOISE, resolution=4.2e-10)
    told = comparison.render(compare(wrong, dataclasses.replace(wrong, findings=(kernel, worse)))).split("\n\n")
    assert told[0] == "B is worse than A: ['dense']['bias'] was CORRECT and is UNRESOLVED"
    rows = [line.split() for line in told[1].splitlines()]
    assert rows[1][:7] == ["['dense']['bias']", "CORRECT", "->", "UNRESOLVED", "CONVERGES", "->", "NOISE"]
    assert rows[1][-3:] == ["2.1e-11", "4.2e-10", "20"]
    assert rows[2][:3] == ["['conv']['kernel']", "WRONG", "MISMATCH"]
    assert told[2] == "evaluations of the function: 1,234"


def test_long_names_are_not_cut():
    name = f"['{'layer' * 40}']"
    assert name in comparison.render(compare(with_finding(RIGHT, path=name), with_finding(BAD, path=name)))


def test_what_the_reports_were_made_with_is_told_where_it_differs():
    other = dataclasses.replace(RIGHT, environment={**RIGHT.environment, "jax": "0.11.0", "mode": "reverse"})
    found = compare(RIGHT, other)
    assert found.environment == {"jax": ("0.10.2", "0.11.0"), "mode": ("-", "reverse")}
    assert ["jax", "0.10.2", "0.11.0"] in [line.split() for line in comparison.render(found).splitlines()]
    assert "made with" not in comparison.render(compare(RIGHT, RIGHT))


def test_another_kind_of_check_is_not_the_same_question():
    told = comparison.render(compare(RIGHT, dataclasses.replace(RIGHT, kind="vjp")))
    assert "A is a report of check_grad, B of check_vjp" in told


def test_joined_checks_are_compared_one_by_one():
    before, after = (
        dataclasses.replace(worst, parts=(Part(name="args", report=RIGHT), Part(name="moved", report=worst)))
        for worst in (OPEN, BAD)
    )
    assert compare(before, after).worse == ("moved, ['w'] was UNRESOLVED and is WRONG",)


def test_many_that_are_worse_are_counted():
    findings = [dataclasses.replace(RIGHT.findings[0], path=f"['{i}']") for i in range(50)]
    bad = [dataclasses.replace(each, verdict=Verdict.WRONG) for each in findings]
    pair = [dataclasses.replace(RIGHT, findings=tuple(each)) for each in (findings, bad)]
    told = comparison.render(compare(*pair))
    assert told.splitlines()[0].endswith("; and 44 more")
    assert "and 10 more leaves" in told
