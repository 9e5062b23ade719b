"""The pytest plugin: runs of pytest in processes of their own, with the plugin and no other."""

import json
import os
import re
import tomllib
import types
from pathlib import Path

import pytest

from jaxgradsweep import Report, baseline, fixture, pytest_plugin

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
FUNCTIONS = """
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

import jaxgradsweep as jgs

POINT = (np.array([0.3, 1.2]),)


def smooth(x):
    return jnp.sum(jnp.sin(x))


def in_single_precision(x):
    return jnp.sum(jnp.sin(x.astype(jnp.float32)).astype(x.dtype))


def kink(x):
    return jnp.abs(x)


def too_large(x):
    return 1.01 * jnp.cos(x)
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run pytest with the plugin in a process of its own, on a test file with the functions above."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(source, *options):
        pytester.makepyfile(test_inner=FUNCTIONS + source)
        return pytester.runpytest_subprocess("-p", "jaxgradsweep.pytest_plugin", *options)

    return run


def summary_of(result):
    """What the plugin says at the end of a run."""
    return (
        re.split(r"^=+ jaxgradsweep =+$", result.stdout.str(), flags=re.MULTILINE)[1].split("\n=")[0].splitlines()[1:]
    )


# ---- in the process of these tests: what needs no run


def test_pyproject_names_the_plugin_where_pytest_looks():
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"jaxgradsweep": pytest_plugin.__name__}


MARKED = """
import pytest

pytestmark = pytest.mark.gradsweep(rtol=1e-2, key=1, directions=1)


def test_module(): ...


class TestBase:
    pytestmark = pytest.mark.gradsweep(rtol=1e-3, key=2)


@pytest.mark.gradsweep(rtol=1e-4)
class TestDerived(TestBase):
    def test_class(self): ...

    @pytest.mark.gradsweep(key=3)
    def test_function(self): ...

    @pytest.mark.gradsweep(key=3)
    @pytest.mark.parametrize("value", [pytest.param(0, marks=pytest.mark.gradsweep(key=4))])
    def test_parameter(self, value): ...
"""


def test_the_closest_marker_wins_setting_by_setting(pytester):
    pytester.makeini("[pytest]\nmarkers =\n    gradsweep")
    settings = {item.name: fixture.settings_of(item) for item in pytester.getitems(MARKED)}
    assert settings == {
        "test_module": {"rtol": 1e-2, "key": 1, "directions": 1},
        "test_class": {"rtol": 1e-4, "key": 2, "directions": 1},
        "test_function": {"rtol": 1e-4, "key": 3, "directions": 1},
        "test_parameter[0]": {"rtol": 1e-4, "key": 4, "directions": 1},
    }


def test_a_baseline_that_cannot_be_written_fails_the_run(tmp_path):
    kept = baseline.Baseline(path=tmp_path / "missing" / "limits.json", tests={}, factor=10.0)
    ledger = pytest_plugin.Ledger(listed=False, kept=kept)
    facts = {"test": "test_a", "check": "1 grad", "limit": 1e-13}
    report = {"nodeid": "test_a", "user_properties": [("jaxgradsweep", json.dumps(facts))], "passed": True}
    ledger.pytest_runtest_logreport(types.SimpleNamespace(when="teardown", **report))
    session = types.SimpleNamespace(exitstatus=0)
    ledger.pytest_sessionfinish(session)
    assert session.exitstatus == pytest.ExitCode.USAGE_ERROR
    assert ledger.written.startswith(f"{kept.path} was not written: ")


# ---- runs that do not load JAX


def test_a_run_that_does_not_use_the_fixture_loads_neither_jax_nor_the_rest_of_the_package(pytester, run):
    source = """
        import sys

        def test_nothing_is_loaded():
            assert not {"jax", "numpy", "matplotlib", "rich"} & set(sys.modules)
            ours = {name for name in sys.modules if name.startswith("jaxgradsweep")}
            assert ours == {"jaxgradsweep", "jaxgradsweep.pytest_plugin"}
    """
    options = ("--gradsweep-report", "--gradsweep-dir=out")
    pytester.makepyfile(source)
    result = pytester.runpytest_subprocess("-p", "jaxgradsweep.pytest_plugin", *options)
    result.assert_outcomes(passed=1)
    assert "= jaxgradsweep =" not in result.stdout.str()


def test_pytest_finds_the_plugin_of_an_installed_package_and_documents_it(pytester, monkeypatch):
    folder = pytester.mkdir("jaxgradsweep-0.dist-info")
    group = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["entry-points"]["pytest11"]
    lines = ["[pytest11]", *(f"{name} = {module}" for name, module in group.items())]
    (folder / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: jaxgradsweep\nVersion: 0\n", encoding="utf-8")
    (folder / "RECORD").write_text("jaxgradsweep/pytest_plugin.py,,\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(pytester.path), prepend=os.pathsep)
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
    result = pytester.runpytest_subprocess("--help", "--markers", "-W", "error")
    assert result.ret == 0
    for shown in ("*--gradsweep-dir=DIR*", "*gradsweep_factor (string)*"):
        result.stdout.fnmatch_lines([shown])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--gradsweep-update", "--gradsweep-check"], "*give one of them*"),
        (["--gradsweep-check", "-o", "gradsweep_factor=1"], "*gradsweep_factor must be a number above 1; got '1'*"),
        (["--gradsweep-check", "-o", "gradsweep_baseline=a_file"], "*a_file is no baseline of detection limits*"),
        (["--gradsweep-update", "-o", "gradsweep_baseline=a_file"], "*a_file is no baseline of detection limits*"),
        (["--gradsweep-dir=a_file/out"], "*--gradsweep-dir: nothing can be written into *a_file*out: *"),
        (["-o", "gradsweep_dir=a_file"], "*--gradsweep-dir: nothing can be written into *a_file: *"),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_test_runs(pytester, run, options, said):
    (pytester.path / "a_file").write_text("<<<<<<< ours\n")
    result = run("def test_nothing(): ...", *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {said}"])
    assert "passed" not in result.stdout.str()


# ---- runs with checks


CHECKS = """
@pytest.mark.gradsweep(rtol=1e-2, key=5)
def test_right(gradsweep):
    report = gradsweep.grad(smooth, POINT, key=6)
    assert isinstance(report, jgs.Report)
    assert report.environment["rtol"] == "0.01"
    assert report.environment["key"] == "6"


def test_allowed_kink(gradsweep):
    gradsweep.grad(kink, (0.0,), allow_unresolved="on purpose")


def test_kink(gradsweep):
    gradsweep.grad(kink, (0.0,))


def test_wrong(gradsweep):
    gradsweep.grad(smooth, POINT, grad=too_large)


def test_wrong_is_not_allowed(gradsweep):
    shutil.rmtree("out")
    gradsweep.grad(smooth, POINT, grad=too_large, allow_unresolved="on purpose")


def test_another_failure(gradsweep):
    with pytest.raises(jgs.DerivativeWrong):
        gradsweep.grad(smooth, POINT, grad=too_large)
    raise RuntimeError("another failure")


@pytest.mark.gradsweep(rtl=1e-6)
def test_unknown_setting(gradsweep): ...


@pytest.mark.gradsweep(1e-6)
def test_positional_setting(gradsweep): ...
"""


def test_a_failure_ends_in_the_test_and_shows_the_whole_report_once(run):
    result = run(CHECKS, "--gradsweep-dir=out", "--show-capture=no", "--junitxml=junit.xml")
    result.assert_outcomes(passed=2, failed=4, errors=2)
    out = result.stdout.str()
    failures = dict(re.findall(r"^_+ (test_\w+) _+$(.*?)(?=^_____|^=====)", out, flags=re.MULTILINE | re.DOTALL))
    told = {name: re.findall(r"^E +(.*)$", text, flags=re.MULTILINE) for name, text in failures.items()}
    assert {name: [line.split(":")[1].split()[0] for line in lines] for name, lines in told.items()} == {
        "test_kink": ["UNRESOLVED"],
        "test_wrong": ["WRONG"],
        "test_wrong_is_not_allowed": ["WRONG"],
        "test_another_failure": ["another"],
    }
    assert failures["test_kink"].count("what to do") == 1
    for name in ("test_wrong", "test_wrong_is_not_allowed"):
        assert failures[name].count("likely cause") == 1
        assert re.search(r"^> +gradsweep.grad\(smooth, POINT, grad=too_large", failures[name], flags=re.MULTILINE)
    assert "likely cause" not in failures["test_another_failure"]
    assert "fixture.py" not in out
    assert re.search(r"^files\n  .*/out/test_wrong-\w+-1.json\n", failures["test_wrong"], flags=re.MULTILINE)
    assert failures["test_wrong_is_not_allowed"].count("was not written: FileNotFoundError") >= 2
    assert "of this test cannot be used: unknown setting `rtl`; there are `dtype`" in out
    assert "of this test cannot be used: it takes keyword arguments only, as in gradsweep(rtol=1e-6); got 1e-06" in out
    assert "During handling" not in out
    assert summary_of(result) == ["1 of 6 checks unresolved, which is allowed: --gradsweep-report says why"]
    assert Path("junit.xml").read_text(encoding="utf-8").count("likely cause") == 2


ODD = ["a/b::c", "../..", "ü ][ *?", "x" * 80, "x" * 79 + "y"]
SPREAD = f"""
@pytest.mark.parametrize("name", {ODD!r})
def test_odd(gradsweep, name):
    gradsweep.grad(smooth, POINT)
    gradsweep.grad(smooth, POINT, grad=too_large)


def test_right(gradsweep):
    gradsweep.grad(smooth, POINT)
    gradsweep.vjp(jnp.sin, POINT)


def test_kink(gradsweep):
    gradsweep.grad(kink, (0.0,), allow_unresolved="on\\n purpose")
"""


def test_two_processes_write_one_summary_one_baseline_and_files_of_their_own(run):
    result = run(SPREAD, "-p", "xdist", "-n2", "--gradsweep-report", "--gradsweep-dir=out", "--gradsweep-update")
    result.assert_outcomes(passed=2, failed=5)
    head, *lines, written = summary_of(result)
    assert head.split() == ["verdict", "reason", "limit", "evaluations", "seconds", "check", "test"]
    assert len(lines) == 2 * len(ODD) + 3
    row = r"CORRECT +CONVERGES +\S+e-1\d +\d+ +[\d.]+ +2 vjp +test_inner.py::test_right"
    assert sum(bool(re.fullmatch(row, line)) for line in lines) == 1
    row = r"UNRESOLVED +KINK +- +\d+ +[\d.]+ +1 grad +test_inner.py::test_kink \(allowed: on purpose\)"
    assert sum(bool(re.fullmatch(row, line)) for line in lines) == 1
    assert sum(line.startswith("WRONG ") for line in lines) == len(ODD)

    assert written == "3 limits written to gradsweep-baseline.json"
    tests = json.loads(Path("gradsweep-baseline.json").read_text(encoding="utf-8"))["tests"]
    assert set(tests) == {"test_inner.py::test_kink", "test_inner.py::test_right"}
    assert tests["test_inner.py::test_kink"] == {"1 grad": None}
    assert all(0 < limit < 1e-11 for limit in tests["test_inner.py::test_right"].values())

    files = sorted(path.name for path in Path("out").iterdir())
    assert all(re.fullmatch(r"test_odd[\w-]{0,32}-[0-9a-f]{10}-2\.(json|svg|html)", name) for name in files)
    stems = {name.partition(".")[0] for name in files}
    assert len(stems) == len(ODD)
    for stem in stems:
        assert Report.load(f"out/{stem}.json").verdict.name == "WRONG"
        assert f"{stem}.svg" in files
    pytest.importorskip("jaxgradsweep.html")
    assert len(files) == 3 * len(ODD)


TWO_TESTS = """
def test_one(gradsweep):
    gradsweep.grad(smooth, POINT)


def test_two(gradsweep):
    gradsweep.grad(smooth, POINT)
"""
LESS_PRECISE = TWO_TESTS.replace("smooth", "in_single_precision", 1)
THREE_TESTS = f"{LESS_PRECISE}{TWO_TESTS.replace('_one', '_three').partition('def test_two')[0]}"


def test_a_loss_of_precision_and_a_new_check_fail_until_the_baseline_is_updated(run):
    kept = Path("limits.json")
    options = ("-o", "gradsweep_baseline=limits.json", "-o", "gradsweep_factor=100")
    run(TWO_TESTS, *options, "--gradsweep-update").assert_outcomes(passed=2)
    before = json.loads(kept.read_text(encoding="utf-8"))["tests"]

    result = run(THREE_TESTS, *options, "--gradsweep-check")
    result.assert_outcomes(passed=1, failed=2)
    out = result.stdout.str()
    assert re.search(r"^E .*PrecisionLost: the detection limit became worse by more than a factor of 100:", out, re.M)
    assert re.search(r"^E .*PrecisionLost: limits.json has no detection limit for check 1 grad", out, re.M)
    assert len(re.findall(r"^CORRECT: ", out, re.M)) == 2
    assert "fixture.py" not in out
    assert json.loads(kept.read_text(encoding="utf-8"))["tests"] == before

    run(THREE_TESTS, *options, "--gradsweep-update", "-k", "three").assert_outcomes(passed=1, deselected=2)
    after = json.loads(kept.read_text(encoding="utf-8"))["tests"]
    assert after.keys() - before.keys() == {"test_inner.py::test_three"}
    assert {test: after[test] for test in before} == before
