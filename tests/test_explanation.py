"""A report in prose: everything a stranger needs, in order, with the report's own numbers."""

import dataclasses

import numpy as np
import pytest

import example_reports
from jaxgradsweep import Consistency, HessianReport, Law, Part, Reason, Verdict, explanation, text


def said(report):
    """The prose as a dict of its chapters, each in one line."""
    chapters = explanation.render(report).split("\n\n")
    return {title: " ".join(lines.split()) for title, _, lines in (chapter.partition("\n") for chapter in chapters)}


@pytest.mark.parametrize("make", example_reports.EVERY)
def test_every_report_can_be_explained_in_lines_of_a_page(make):
    told = explanation.render(make())
    assert max(map(len, told.splitlines())) <= explanation.WIDTH
    assert not {"nan", "None", "{", "}"} & set(told.replace("[", " ").split())
    assert told == told.strip()


def test_a_wrong_report_says_what_was_asked_measured_and_found_and_what_to_do():
    report = example_reports.wrong()
    told = said(report)
    assert list(told) == [
        "What was asked",
        "What was measured, and how",
        "What came out",
        "Why",
        "How sure",
        "What to do next",
        "How to repeat it",
    ]
    assert "['conv']['kernel'] of shape (3, 4) and ['dense']['bias'] of shape (3, 4)" in told["What was asked"]
    assert "for 43 steps h, each half of the one before: from 4 down to 9.1e-13" in told["What was measured, and how"]
    assert "1,234 evaluations" in told["What was measured, and how"]
    assert told["What came out"].startswith(f"WRONG: {Verdict.WRONG.value}.")
    assert f"['conv']['kernel']: WRONG, since {Reason.MISMATCH.value}" in told["Why"]
    assert "the claim along one direction is 0.545705" in told["Why"].lower()
    assert "and 0.5403023059 ± 1e-12 was measured: a relative error of 9.9e-3" in told["Why"]
    assert f"['dense']['bias']: CORRECT, since {Reason.CONVERGES.value}" in told["Why"]
    assert "Look at the backward pass of this leaf." not in told["What to do next"]
    assert "['conv']['kernel']: look at the backward pass of this leaf." in told["What to do next"]


def test_the_detection_limit_is_said_in_words():
    sure = said(example_reports.right())["How sure"]
    assert "The detection limit is 2.1e-11: a relative error of one part in 48 billion would have been seen" in sure
    assert "So 10 digits of the claim are checked" in sure
    assert "From a relative error of 1e-9 on, the claim counts as wrong. That, too, is measured" in sure


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.05, "5 %"),
        (2e-3, "0.2 %"),
        (5e-4, "one part in 2 thousand"),
        (1e-9, "one part in 1 billion"),
        (2.1e-12, "one part in 480 billion"),
        (2.5e-13, "one part in 4 trillion"),
        (1e-20, "one part in 1e+05 quadrillion"),
        (0.0, "any size"),
    ],
)
def test_a_share_is_said_as_one_part_in_so_many(share, words):
    assert explanation.one_part_in(share) == words


def test_a_tolerance_that_was_asked_for_and_a_limit_that_does_not_reach_it_are_told():
    right = example_reports.right()
    (found,) = right.findings
    asked = dataclasses.replace(
        right,
        findings=(dataclasses.replace(found, verdict=Verdict.UNRESOLVED, reason=Reason.NOISE, tolerance=1e-12),),
        verdict=Verdict.UNRESOLVED,
        environment={**right.environment, "rtol": "1e-12"},
    )
    sure = said(asked)["How sure"]
    assert "as asked with `rtol`. Errors between that and the limit are not seen." in sure
    assert "digits of the claim are checked" not in sure


def test_where_there_is_no_derivative_no_limit_is_stated():
    told = said(example_reports.kink())
    assert told["How sure"].startswith("For ['relu'] no detection limit can be stated")
    assert "falls as h" not in told["Why"]
    assert "no accusation" in told["What came out"]


def test_an_error_between_limit_and_tolerance_is_not_called_rounding():
    right = example_reports.right()
    (found,) = right.findings
    off = dataclasses.replace(right, findings=(dataclasses.replace(found, error=3e-10),))
    assert "which is what rounding leaves" in said(right)["Why"]
    assert "up to 3e-10, which is more than rounding and less than the tolerance" in said(off)["Why"]


def test_joined_checks_are_named_with_their_verdicts():
    right, wrong = example_reports.right(), example_reports.wrong()
    parts = (Part(name="product", report=right), Part(name="gradient", report=wrong))
    joined = dataclasses.replace(wrong, parts=parts, summary="the gradient itself is wrong")
    asked = said(joined)["What was asked"]
    assert "product (CORRECT) and gradient (WRONG). Together: the gradient itself is wrong." in asked


def test_identities_causes_notes_and_an_interrupt_are_told():
    laws = tuple(
        Consistency(law=law, residual=residual, roundoff=1e-16, limit=1e-15, advice=law.advice)
        for law, residual in ((Law.SYMMETRY, 0.5), (Law.VALUE, 0.0))
    )
    right = example_reports.right()
    report = dataclasses.replace(
        right,
        consistency=laws,
        notes=("held fixed: ['n']",),
        environment={**right.environment, "partial": "3 of 4 probes were measured"},
    )
    told = said(report)
    assert "these are broken: symmetry (<u, H v> = <v, H u>; off by 0.5); these hold: value" in told["Why"]
    assert Law.SYMMETRY.advice in told["What to do next"]
    assert told["What else the check did"] == "Held fixed: ['n']."
    assert "interrupted (3 of 4 probes were measured)" in told["What came out"]


def test_the_call_and_the_versions_are_told_to_repeat_it():
    report = example_reports.right()
    called = dataclasses.replace(report, environment={**report.environment, "call": "check_grad(loss, args)"})
    assert said(called)["How to repeat it"].startswith("In Python: `check_grad(loss, args)`. With jax 0.10.2; backend")
    assert said(report)["How to repeat it"].startswith("With jax 0.10.2")


def test_the_structure_of_a_hessian_is_told():
    right = example_reports.right()
    fields = {field.name: getattr(right, field.name) for field in dataclasses.fields(right)}
    matrix = np.zeros((2, 2))
    hessian = HessianReport(
        **fields,
        claimed=matrix,
        estimate=matrix,
        uncertainty=matrix,
        leaves=("x",),
        offsets=(0, 2),
        structure=("zero blocks: x x y",),
    )
    assert said(hessian)["What the matrix shows"] == "Zero blocks: x x y."


def test_control_codes_in_a_report_stay_visible_and_do_nothing():
    report = dataclasses.replace(example_reports.right(), notes=("\x1b[31mred\x1b[0m",))
    told = explanation.render(report)
    assert "\x1b" not in told
    assert "\\x1b[31mred" in told.lower()


def test_the_prose_is_not_the_report():
    report = example_reports.wrong()
    shared = set(explanation.render(report).splitlines()) & set(text.render(report).splitlines())
    assert shared <= {""}
