"""The report in words: what the first line says, how the table is set, what is said once."""

import math
import unicodedata

import numpy as np
import pytest

import example_reports as examples
from jaxgradsweep import text
from jaxgradsweep._wording import MEASURED_IS_BETTER, Reason, Verdict, advice_for

EVERY = pytest.mark.parametrize("make", examples.EVERY)


def of(*findings, **changes):
    """The report of these findings, all about exp at 0."""
    return examples.report([examples.probe(np.exp, 1.0, 1.0) for _ in findings], findings, **changes)


def row_of(report, path):
    """The table's row of a leaf, as words."""
    (row,) = [line for line in str(report).split("\n\n")[1].splitlines() if line.startswith(path)]
    return row.split()


# ---- the verdict


def test_a_correct_report_says_in_one_line_which_error_it_excludes():
    assert str(examples.right()).splitlines()[0] == (
        "CORRECT: the claimed derivative agrees with the function; "
        "an error above 2.1e-11 would have been seen (tolerance 1e-9, measured)"
    )


def test_a_tolerance_that_was_asked_for_is_not_called_measured():
    report = of(examples.finding(tolerance=1e-6), environment={"rtol": "1e-06"})
    assert "(tolerance 1e-6, as asked)" in text.verdict_line(report)


def test_a_wrong_report_names_the_wrong_leaves_first_and_only_those():
    first = text.verdict_line(examples.wrong())
    assert first.startswith("WRONG in ['conv']['kernel']: the claimed derivative is not the derivative")
    assert "off by 9.9e-3" in first
    assert "dense" not in first


def test_the_error_of_a_wrong_report_is_that_of_its_worst_leaf():
    wrong = [examples.finding(f"['{i}']", Verdict.WRONG, Reason.MISMATCH, error=e) for i, e in enumerate((0.1, -0.4))]
    assert "off by 0.4" in text.verdict_line(of(*wrong))


def test_a_claim_of_nan_is_the_worst_of_all():
    errors = (0.1, math.nan, 0.4)
    wrong = [examples.finding(f"['{i}']", Verdict.WRONG, Reason.NAN_CLAIM, error=e) for i, e in enumerate(errors)]
    assert "the claim is not finite where the function is smooth" in " ".join(text.verdict_line(of(*wrong)).split())


def test_an_unresolved_report_states_the_detection_limit_of_its_unresolved_leaves():
    noisy = examples.finding("['a']", Verdict.UNRESOLVED, Reason.NOISE, resolution=0.02)
    line = text.verdict_line(of(noisy, examples.finding("['b']", resolution=0.5)))
    assert line.startswith("UNRESOLVED in ['a']: the sweep cannot tell")
    assert "(detection limit 0.02, tolerance 1e-9, measured)" in " ".join(line.split())


@pytest.mark.parametrize("reason", sorted(text.NO_LIMIT, key=str))
def test_where_no_derivative_exists_the_verdict_has_the_reason_in_place_of_a_limit(reason):
    report = of(examples.finding("['a']", Verdict.UNRESOLVED, reason, resolution=7.2e-15))
    assert " ".join(text.verdict_line(report).split()).endswith(f"claimed derivative is right; {reason.value}")
    assert "7.2e-15" not in str(report) + text.render_classic(report)
    assert " ".join(str(report).split()).count(reason.value) == 1
    assert row_of(report, "['a']")[-3] == "-"


def test_several_reasons_stand_below_the_verdict():
    leaves = [examples.finding(f"['{reason}']", Verdict.UNRESOLVED, reason) for reason in (Reason.KINK, Reason.JUMP)]
    shown = str(of(*leaves))
    assert Reason.KINK.value not in text.verdict_line(of(*leaves))
    assert f"['KINK']: {Reason.KINK.value}" in shown
    assert f"['JUMP']: {Reason.JUMP.value}" in shown


def test_a_claim_that_is_wrong_at_a_kink_is_off_by_so_much_of_no_limit():
    line = text.verdict_line(of(examples.finding("['a']", Verdict.WRONG, Reason.KINK, error=2.0, resolution=7.2e-15)))
    assert " ".join(line.split()).endswith("; off by 2 (tolerance 1e-9, measured)")


def test_a_discrepancy_under_the_tolerance_is_stated():
    report = of(examples.finding("['a']"), examples.finding("['b']", error=-3.1e-10))
    line = " ".join(text.verdict_line(report).split())
    assert line.endswith("; measurably off by 3.1e-10 in ['b'], which is under the tolerance")


def test_an_error_above_the_tolerance_along_one_direction_only_is_told_as_that():
    """The tolerance is held against the RMS over all directions."""
    line = " ".join(text.verdict_line(of(examples.finding("['b']", error=1.3e-9))).split())
    assert line.endswith("; measurably off by 1.3e-9 along one direction in ['b']; over all directions that is under "
                         "the tolerance")  # fmt: skip


def test_an_error_inside_its_bound_is_not_called_measurable():
    assert "measurably" not in text.verdict_line(of(examples.finding(error=2e-11)))


def test_a_report_without_leaves_does_not_claim_to_have_seen_anything():
    line = text.verdict_line(examples.nothing_to_probe())
    assert "nothing was probed" in line
    assert "would have been seen" not in line


def test_many_leaves_are_counted_instead_of_named():
    wrong = [examples.finding(f"['{i}']", Verdict.WRONG, Reason.MISMATCH, error=0.1) for i in range(20)]
    line = text.verdict_line(of(*wrong))
    assert "['5'] and 14 more" in line
    assert "['6']" not in line


# ---- the table


def test_a_row_holds_the_figures_of_its_leaf():
    leaf = examples.finding("['w']", shape=(7,), error=-3.1e-10, slope=1.996, crossover=4.2e-6, evidence={"size": 0.5})
    figures = ["-3.1e-10", "±", "2e-12", "2.1e-11", "2.00", "4.2e-6"]
    assert row_of(of(leaf), "['w']") == ["['w']", "(7,)", "CORRECT", "CONVERGES", *figures]


def test_the_uncertainty_is_relative_to_the_probe_if_nothing_else_is_stated():
    report = examples.report([examples.probe(np.exp, 4.0, 1.0)], [examples.finding(uncertainty=1e-12)])
    assert row_of(report, "['w']")[-4] == "2.5e-13"


def test_what_is_undefined_is_a_dash():
    assert row_of(examples.nothing_finite(), "['w']")[-2:] == ["-", "-"]


def test_columns_are_aligned():
    header, *rows = str(examples.wrong()).split("\n\n")[1].splitlines()
    assert len({len(line) for line in (header, *rows)}) == 1
    assert len({line.index(verdict) for line, verdict in zip(rows, ("WRONG", "CORRECT"), strict=True)}) == 1
    assert rows[0].index("WRONG") == header.index("verdict")


def test_a_bare_argument_gets_a_name():
    assert row_of(examples.constant(), "(argument)")[2:4] == ["CORRECT", "EXACT"]


def test_a_long_path_loses_its_middle():
    path = "['encoder']" + "['block']" * 20 + "['kernel']"
    table = str(of(examples.finding(path))).split("\n\n")[1]
    assert max(map(len, table.splitlines())) <= text.WIDTH
    assert "['encoder']" in table
    assert "..." in table
    assert "['kernel']" in table


def test_long_paths_that_differ_in_the_middle_stay_apart():
    paths = [f"['encoder']{'[0]' * 30}['layer_{i}']{'[0]' * 30}['kernel']" for i in range(3)]
    table = str(of(*map(examples.finding, paths))).split("\n\n")[1]
    assert all(path in table for path in paths)


def test_a_long_table_keeps_the_leaves_that_matter_and_counts_the_others():
    leaves = [examples.finding(f"['{i}']") for i in range(100)]
    leaves[97] = examples.finding("['97']", Verdict.UNRESOLVED, Reason.NOISE)
    table = str(of(*leaves)).split("\n\n")[1].splitlines()
    assert table[-2].startswith("['97']")
    assert table[-1] == "and 60 more leaves: 60 CORRECT"
    assert len(table) == 1 + text.MOST_ROWS + 1


# ---- why, what to do, notes


def test_every_finding_that_is_not_correct_says_why():
    leaves = [
        examples.finding("['a']", Verdict.WRONG, Reason.MISMATCH, error=0.1),
        examples.finding("['b']", Verdict.UNRESOLVED, Reason.QUANTISED),
        examples.finding("['c']"),
    ]
    shown = str(of(*leaves))
    assert f"['a']: {Reason.MISMATCH.value}" in shown
    assert f"['b']: {Reason.QUANTISED.value}" in shown
    assert Reason.CONVERGES.value not in shown


def test_the_same_advice_is_given_once_for_all_its_leaves():
    advice = "evaluate in float64."
    shown = str(of(*(examples.finding(f"['{name}']", advice=advice) for name in "ab")))
    assert f"['a'], ['b']: {advice}" in shown
    assert shown.count(advice) == 1


def test_the_numbers_that_disagree_stand_side_by_side():
    shown = str(examples.wrong())
    rows = [line.split() for line in shown.splitlines() if line.startswith("['conv']['kernel']  ")]
    claimed, slope = f"{1.01 * np.cos(1.0):.10g}", f"{np.cos(1.0):.10g}"
    assert rows[-1] == ["['conv']['kernel']", claimed, slope, "±", "1e-12", "1.01"]
    assert "claimed  " not in str(examples.right())


def directions(*claimed):
    """The report of a wrong leaf, with the derivative 1 in every direction."""
    rows = [examples.probe(np.exp, value, 1.0) for value in claimed]
    wrong = examples.finding("['w']", Verdict.WRONG, Reason.MISMATCH, error=0.5, probes=tuple(range(len(rows))))
    return examples.report(rows, [wrong])


def test_a_constant_factor_shows_as_one_ratio_of_all_directions():
    assert str(directions(0.5, 0.5, 0.5)).split("\n\n")[-2].splitlines()[1].endswith(" ± 1e-12  0.5")


def test_a_ratio_that_changes_is_shown_as_a_range():
    assert str(directions(0.5, -1.0, 2.0, np.nan)).split("\n\n")[-2].endswith("  -1 to 2")


def test_no_ratio_is_shown_of_an_estimate_that_is_mere_noise():
    report = examples.report([examples.probe(np.exp, 1.0, 1e-12)], [examples.wrong().findings[0]])
    assert str(report).split("\n\n")[-2].endswith("  -")


def test_no_ratio_is_shown_where_nothing_is_wrong():
    assert "claimed / estimated" not in str(examples.kink())


def test_zero_has_no_sign():
    zero = examples.finding("['w']", Verdict.UNRESOLVED, Reason.KINK, claimed=-0.0, estimate=-0.0, error=-0.0)
    shown = str(of(zero))
    assert row_of(of(zero), "['w']")[5] == "0"
    assert "-0 " not in shown


def integrated(opinion, residual=-4e-15, **changes):
    evidence = {"identity": opinion, "identity residual": residual, "identity bound": 1e-14}
    fields = {"verdict": Verdict.UNRESOLVED, "reason": Reason.NOISE, **changes}
    return examples.finding(evidence=evidence, **fields)


def test_the_integral_of_the_claim_is_evidence_for_it():
    sentence = "the claim integrates back to the function to within 4e-15 along the segments (bound 1e-14)"
    assert f"['w']: {sentence}" in str(of(integrated("FOR")))
    assert f"why\n  ['w']: {sentence}" in str(of(integrated("FOR", verdict=Verdict.CORRECT, reason=Reason.IDENTITY)))
    assert sentence not in str(of(integrated("FOR", verdict=Verdict.CORRECT, reason=Reason.CONVERGES)))


def test_the_integral_of_the_claim_is_evidence_against_it():
    shown = str(of(integrated("AGAINST", 0.17, verdict=Verdict.WRONG, reason=Reason.MISMATCH)))
    assert "integrated along the segments, misses the function by 0.17 (bound 1e-14)" in shown


def test_leaves_that_the_integral_tells_the_same_of_share_a_line_with_the_largest_residual():
    shown = str(of(integrated("AGAINST", 0.17, path="['a']"), integrated("AGAINST", -0.3, path="['b']")))
    assert "['a'], ['b']: the claim, integrated along the segments, misses the function by up to 0.3" in shown


def test_advice_about_a_mismatch_has_the_ratio_if_it_is_known():
    known = advice_for(Verdict.WRONG, Reason.MISMATCH, {"ratio": 1 / 32, "pattern": "factor"})
    assert "is 0.03125 times the measured derivative in every direction" in known
    slight = advice_for(Verdict.WRONG, Reason.MISMATCH, {"ratio": 1 + 1e-6, "pattern": "small"})
    assert "1.000001 times" in slight
    assert "a few components" in slight
    assert "estimate_grad" in advice_for(Verdict.WRONG, Reason.MISMATCH, {"ratio": 1 / 32})
    assert "jnp.conj" in advice_for(Verdict.WRONG, Reason.MISMATCH, {"ratio": 1 / 32, "complex": "yes"})


def test_nothing_to_do_is_not_announced():
    assert "what to do" not in str(examples.right())


def test_notes_and_the_cost_are_told():
    shown = str(of(examples.finding(), notes=("leaves held fixed: ['step'] (int32)",), evaluations=12345))
    assert "notes\n  leaves held fixed: ['step'] (int32)\n" in shown
    assert shown.splitlines()[-1] == "12,345 evaluations of the function, float64, cpu"


def test_native_names_the_dtypes_of_the_leaves():
    leaves = [examples.finding(f"['{i}']", dtype=dtype) for i, dtype in enumerate(("float32", "bfloat16", "float32"))]
    shown = str(of(*leaves, environment={"dtype": "native", "backend": "cpu", "device": "cpu"}))
    assert shown.endswith("evaluations of the function, native (float32, bfloat16), cpu")


@EVERY
def test_no_line_is_too_wide(make):
    first, *rest = str(make()).splitlines() + text.render_classic(make()).splitlines()
    assert len(first) <= text.VERDICT_WIDTH
    assert max(map(len, rest)) <= text.VERDICT_WIDTH


def test_text_has_no_control_codes_even_if_the_user_has():
    nasty = "\x1b[31mred\x1b[0m\x07\u202e"
    report = of(
        examples.finding(nasty, Verdict.UNRESOLVED, Reason.NOISE, advice=nasty),
        notes=(nasty,),
        environment={"device": nasty},
    )
    shown = str(report) + text.render_classic(report)
    assert {c for c in shown if unicodedata.category(c) in ("Cc", "Cf")} == {"\n"}
    assert r"\x1b[31mred" in shown


# ---- the familiar figures


def test_the_familiar_figures_stand_beside_what_the_rules_and_the_sweep_say():
    figures, rules, *_ = text.render_classic(examples.wrong()).split("\n\n")
    assert figures.splitlines()[1].split() == ["['conv']['kernel']", "5e-3", "5e-3", "5e-3", "9.9e-3", "100%"]
    assert rules.splitlines()[1].endswith("  WRONG, limit 2.1e-11")
    assert "uncomfortable" in rules.splitlines()[1]
    assert rules.splitlines()[2].split()[:3] == ["['dense']['bias']", "happy", "great"]
    assert rules.splitlines()[3].startswith("total")


def test_a_single_leaf_is_not_repeated_as_a_total():
    assert "total" not in text.render_classic(examples.right()).split("\n\nwith a")[0]


def test_the_familiar_figures_come_with_the_reason_to_prefer_the_measured_limit():
    shown = text.render_classic(examples.wrong())
    assert " ".join(shown.split()).endswith(MEASURED_IS_BETTER)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (0.0, "0"),
        (-0.0, "0"),
        (0.5, "0.5"),
        (-0.03125, "-0.0312"),
        (120.0, "120"),
        (999.4, "999"),
        (999.9, "1e3"),
        (1e-9, "1e-9"),
        (-3.14e-10, "-3.1e-10"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_numbers_are_short(value, shown):
    assert text.number(value) == shown
