"""Detection limits from run to run: what counts as worse, and what is taken for a baseline at all."""

import json

import pytest

from jaxgradsweep import baseline

ONE = {"test_a.py::test_one": {"1 grad": 2e-13, "2 vjp": None}}


def kept(path, tests=ONE):
    return baseline.Baseline(path=path / "limits.json", tests=tests, factor=10.0)


def objection(path, limit, *, check="1 grad", test="test_a.py::test_one"):
    return kept(path).objection(test, check, limit)


def test_a_limit_within_the_factor_is_not_worse(tmp_path):
    assert objection(tmp_path, 1e-15) == ""
    assert objection(tmp_path, 1.9e-12) == ""


def test_a_limit_beyond_the_factor_is_told_with_both_limits_and_what_to_do(tmp_path):
    said = objection(tmp_path, 3.1e-7)
    assert "was 2.0e-13, and now it is 3.1e-07" in said
    assert "factor of 10:" in said
    assert "pytest --gradsweep-update" in said
    assert "(limits.json)" in said


def test_a_check_that_cannot_tell_any_more_is_worse_than_any_limit(tmp_path):
    assert "now the check cannot tell" in objection(tmp_path, None)


def test_a_check_that_never_could_tell_is_held_to_nothing(tmp_path):
    assert objection(tmp_path, None, check="2 vjp") == ""
    assert objection(tmp_path, 0.1, check="2 vjp") == ""


def test_limits_finer_than_the_spacing_of_doubles_are_not_told_apart(tmp_path):
    exact = kept(tmp_path, {"test": {"1 grad": 0.0}})
    assert exact.objection("test", "1 grad", 2e-15) == ""
    assert exact.objection("test", "1 grad", 3e-15) != ""


@pytest.mark.parametrize("unknown", [{"check": "3 grad"}, {"test": "test_a.py::test_two"}])
def test_a_check_without_a_limit_is_told_how_to_get_one(tmp_path, unknown):
    said = objection(tmp_path, 1e-13, **unknown)
    assert f"limits.json has no detection limit for check {unknown.get('check', '1 grad')}" in said
    assert "pytest --gradsweep-update" in said


def test_a_baseline_that_was_written_is_read_again(tmp_path):
    kept(tmp_path).save()
    assert baseline.load(tmp_path / "limits.json", factor=10.0) == kept(tmp_path)


def test_where_there_is_no_file_nothing_is_kept(tmp_path):
    assert baseline.load(tmp_path / "limits.json", factor=3.0).tests == {}


def test_an_update_replaces_the_tests_that_ran_and_keeps_the_others(tmp_path):
    before = kept(tmp_path, {"a": {"1 grad": 1e-13}, "b": {"1 grad": 2e-13, "2 grad": 3e-13}, "c": {"1 hvp": 1e-9}})
    after = before.updated({"b": {"1 grad": 4.5678e-13}, "c": {}, "d": {"1 grad": None}})
    assert after.tests == {"a": {"1 grad": 1e-13}, "b": {"1 grad": 4.6e-13}, "d": {"1 grad": None}}


def test_the_same_limits_give_the_same_file_in_whatever_order_they_came(tmp_path):
    tests = {"b": {"2 grad": 1e-13, "1 grad": 2e-13}, "a": {"1 grad": None}}
    kept(tmp_path, tests).save()
    one = (tmp_path / "limits.json").read_bytes()
    kept(tmp_path, {"a": tests["a"], "b": dict(reversed(tests["b"].items()))}).save()
    assert (tmp_path / "limits.json").read_bytes() == one
    assert one.endswith(b"}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["limits.json"]


def content(**changes):
    return json.dumps({"format": baseline.FORMAT, "version": baseline.VERSION, "tests": ONE, **changes})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<<<<<<< ours\n", "Expecting value"),
        (content()[:-10], "Unterminated string"),
        (b"\xff\xfe", "can't decode"),
        ("[]", '"format"'),
        (content(format="jaxgradsweep.Report"), '"format"'),
        (content(version=2), "of version 2"),
        (content(tests=[1]), '"tests"'),
        (content(tests={"a": 1e-13}), '"tests"'),
        (content(tests={"a": {"1 grad": "small"}}), "limit of check 1 grad of a is 'small'"),
        (content(tests={"a": {"1 grad": True}}), "is True"),
        (content(tests={"a": {"1 grad": -1e-13}}), "is -1e-13"),
        (content(tests={"a": {"1 grad": float("nan")}}), "is nan"),
    ],
)
def test_a_file_that_is_no_baseline_is_refused_with_the_reason_and_what_to_do(tmp_path, text, why):
    path = tmp_path / "limits.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(baseline.BaselineError) as refused:
        baseline.load(path, factor=10.0)
    assert str(path) in str(refused.value)
    assert why in str(refused.value)
    assert "pytest --gradsweep-update" in str(refused.value)


@pytest.mark.parametrize("text", ["1", "0.5", "nan", "inf", "ten", ""])
def test_a_factor_must_be_a_number_above_one(text):
    with pytest.raises(ValueError, match=f"gradsweep_factor.*{text!r}"):
        baseline.as_factor(text)
    assert baseline.as_factor("2.5") == 2.5
