"""The checks of the fixture `gradsweep`, without a run of pytest around them: see also test_pytest_plugin.py."""

import dataclasses
import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

import example_reports
from helpers import smooth
from jaxgradsweep import fixture
from jaxgradsweep._report import DerivativeUnresolved, DerivativeWrong, Part
from jaxgradsweep._wording import Reason, Verdict

POINT = (np.array([0.3, 1.2]),)


@pytest.fixture
def checks(request):
    return fixture.Gradsweep(request.node)


def made(*findings):
    probes = [example_reports.probe(np.sin, claimed=1.0, derivative=1.0) for _ in findings]
    return example_reports.report(probes, findings)


def test_every_check_that_returns_a_report_is_a_method(checks):
    assert checks.grad(smooth, POINT).kind == "grad"
    assert checks.vjp(smooth, args=POINT, argnums=(0,)).kind == "vjp"
    assert checks.jvp(smooth, POINT).kind == "jvp"
    assert checks.hvp(smooth, POINT).kind == "hvp"
    assert checks.hessian(smooth, POINT).claimed.shape == (2, 2)
    assert [part.name for part in checks.gauss_newton(jnp.tanh, smooth, POINT).parts] == ["product", "model's Jacobian"]
    assert [part.name for part in checks.stages({"sine": jnp.sin, "sum": jnp.sum}, POINT).parts] == ["sine", "sum"]


@pytest.mark.parametrize(
    ("reason", "error"), [(True, TypeError), (0, TypeError), ("", ValueError), (" \n", ValueError)]
)
def test_a_reason_that_is_no_words_is_refused_before_anything_runs(checks, reason, error):
    def never(x):
        raise AssertionError("the function was called")

    with pytest.raises(error, match="`allow_unresolved` must say in words why"):
        checks.grad(never, POINT, allow_unresolved=reason)


def test_ctrl_c_in_a_check_ends_the_run(checks):
    def interrupt(what, done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checks.grad(smooth, POINT, progress=interrupt)


def test_ctrl_c_in_one_of_several_checks_is_seen():
    report = made(example_reports.finding())
    partial = dataclasses.replace(report, environment={**report.environment, "partial": "1 of 2 probes"})
    assert not fixture.is_interrupted(dataclasses.replace(report, parts=(Part(name="a", report=report),)))
    assert fixture.is_interrupted(dataclasses.replace(report, parts=(Part(name="a", report=partial),)))


def test_facts_name_each_deciding_reason_once():
    wrong = {"verdict": Verdict.WRONG, "reason": Reason.MISMATCH}
    report = made(
        example_reports.finding(),
        example_reports.finding(row=1, **wrong),
        example_reports.finding(row=2, **wrong),
        example_reports.finding(row=3, verdict=Verdict.WRONG, reason=Reason.POINT_ONLY),
    )
    facts = fixture.facts_of(report, 1.23456)
    assert facts["verdict"] == "WRONG"
    assert facts["reason"] == "MISMATCH, POINT_ONLY"
    assert facts["limit"] == 2.1e-11
    assert facts["seconds"] == 1.235


@pytest.mark.parametrize(
    "changes",
    [{"verdict": Verdict.UNRESOLVED, "reason": Reason.KINK}, {"resolution": math.inf}, {"resolution": math.nan}],
)
def test_facts_hold_no_limit_where_none_means_anything(changes):
    facts = fixture.facts_of(made(example_reports.finding(**changes)), 0.0)
    assert facts["limit"] is None
    json.dumps(facts, allow_nan=False)


def test_facts_of_a_report_without_findings_are_facts_too():
    assert fixture.facts_of(made(), 0.0)["reason"] == "-"


@pytest.mark.parametrize(
    ("verdict", "error"), [(Verdict.WRONG, DerivativeWrong), (Verdict.UNRESOLVED, DerivativeUnresolved)]
)
def test_the_error_of_a_check_is_one_line_and_carries_the_report(verdict, error):
    report = made(example_reports.finding(verdict=verdict, reason=Reason.NOISE))
    found = fixture.failure_of(report)
    assert type(found) is error
    assert found.report is report
    assert str(found).startswith(f"{verdict.name} in ['w']: ")
    assert "\n" not in str(found)
    assert found.__traceback__ is None


def test_a_file_that_cannot_be_written_is_told_and_the_others_are_written(tmp_path):
    report = made(example_reports.finding())
    (tmp_path / "name.svg").mkdir()
    told = fixture.write_files(report, tmp_path, "name")
    assert told[0] == str(tmp_path / "name.json")
    assert (tmp_path / "name.json").read_text(encoding="utf-8") == report.to_json()
    assert told[1].startswith(f"{tmp_path / 'name.svg'} was not written: IsADirectoryError")
    assert not list(tmp_path.glob("*.partial"))


def test_the_files_are_the_report_its_figure_and_its_page(tmp_path):
    report = made(example_reports.finding())
    told = fixture.write_files(report, tmp_path, "name")
    assert told[:2] == [str(tmp_path / "name.json"), str(tmp_path / "name.svg")]
    assert "</svg>" in (tmp_path / "name.svg").read_text(encoding="utf-8")
    html = pytest.importorskip("jaxgradsweep.html")
    assert told[2:] == [str(tmp_path / "name.html")]
    assert (tmp_path / "name.html").read_text(encoding="utf-8") == html.render(report)
