"""The command line: what it says, and with which exit code."""

import dataclasses
import io
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

import example_reports
from jaxgradsweep import Report, cli, cluster, commands, doctor, html

SOURCE = """
import sys
import jax, jax.numpy as jnp, numpy as np

ones = np.ones(3)
point = (np.array([0.3, 1.2, 2.0]),)

def wave(x):
    return jnp.sum(jnp.sin(x))

def slope(x):
    return jnp.cos(x)

def half_slope(x):
    return jnp.cos(x) / 2

def corner(x):
    return jnp.sum(jnp.abs(x))

def two(x, y):
    return jnp.sum(x * y), {"more": 1}

def args():
    return (np.array([0.3, 1.2, 2.0]),)

def zeros():
    return (np.zeros(3),)

def pair():
    return np.ones(3), np.ones(3)

def no_tuple():
    return [1.0]

def needs(size):
    return (np.ones(size),)

def broken_args():
    raise RuntimeError("no data")

def broken(x):
    return jnp.dot(x, jnp.ones(7))

def leaves(x):
    sys.exit(0)
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "waves.py"
    path.write_text(SOURCE)
    return str(path)


@pytest.fixture
def saved(tmp_path):
    """Paths of reports that are right and wrong."""
    paths = {name: tmp_path / f"{name}.json" for name in ("right", "wrong")}
    for name, path in paths.items():
        getattr(example_reports, name)().save(path)
    return {name: str(path) for name, path in paths.items()}


def check(source, function="wave", args="args", *more):
    return cli.main(["check", f"{source}:{function}", "--args", f"{source}:{args}", *more])


def stand_in_for_the_demo(monkeypatch, main):
    module = types.ModuleType("jaxgradsweep.demo")
    module.main = main
    monkeypatch.setitem(sys.modules, "jaxgradsweep.demo", module)
    monkeypatch.setattr("jaxgradsweep.demo", module, raising=False)


# ---- demo


def test_the_demo_gets_its_folder_and_its_exit_code_is_ours(monkeypatch, tmp_path):
    calls = []
    stand_in_for_the_demo(monkeypatch, lambda **arguments: calls.append(arguments) or 7)
    assert cli.main(["demo", "--out", str(tmp_path)]) == 7
    assert calls == [{"out": Path(tmp_path), "stream": sys.stdout}]


def test_without_scikit_learn_the_demo_says_how_to_install_it(monkeypatch, capsys):
    def main(**arguments):
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")

    stand_in_for_the_demo(monkeypatch, main)
    assert cli.main(["demo"]) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "demo needs scikit-learn" in shown.err
    assert f"{sys.executable} -m pip install scikit-learn" in shown.err


def test_another_missing_module_is_not_taken_for_scikit_learn(monkeypatch, capsys):
    def main(**arguments):
        raise ModuleNotFoundError("No module named 'jaxlib'", name="jaxlib")

    stand_in_for_the_demo(monkeypatch, main)
    assert cli.main(["demo"]) == 3
    shown = capsys.readouterr().err
    assert "No module named 'jaxlib'" in shown
    assert "scikit-learn" not in shown


# ---- check


@pytest.mark.parametrize(
    ("more", "code", "verdict"),
    [
        (("wave", "args"), 0, "CORRECT"),
        (("wave", "point"), 0, "CORRECT"),
        (("wave", "args", "--grad", "{}:slope"), 0, "CORRECT"),
        (("wave", "args", "--claim", "{}:half_slope"), 1, "WRONG"),
        (("corner", "zeros"), 2, "UNRESOLVED"),
    ],
)
def test_the_exit_code_of_a_check_is_its_verdict(source, capsys, more, code, verdict):
    assert check(source, *(word.format(source) for word in more)) == code
    assert capsys.readouterr().out.startswith(verdict)


def test_a_check_takes_fewer_steps_than_run_unless_it_is_thorough(source, capsys):
    counts = []
    for command, more in (("check", []), ("check", ["--thorough"]), ("run", [])):
        assert cli.main([command, f"{source}:wave", "--args", f"{source}:args", *more]) == 0
        counts.append(capsys.readouterr().out.splitlines()[-1])
    assert "at 16 of 40 steps" in counts[0]
    assert counts[1] == counts[2]
    assert "at 16" not in counts[1]


def test_what_is_printed_is_the_report_that_is_saved(source, tmp_path, capsys):
    names = {kind: tmp_path / f"report.{kind}" for kind in ("json", "svg")}
    assert check(source, "wave", "args", "--json", str(names["json"]), "--plot", str(names["svg"])) == 0
    assert capsys.readouterr().out == f"{Report.load(names['json'])}\n"
    assert b"<svg" in names["svg"].read_bytes()


def test_settings_reach_the_check_as_they_are_meant(source, monkeypatch):
    seen = {}
    monkeypatch.setitem(cluster.MODES, "vjp", lambda *given, **more: seen.update(more) or example_reports.right())
    more = ["--mode", "vjp", "--argnums", "0,1", "--has-aux", "--dtype", "native", "--rtol", "1e-3", "--key", "7"]
    assert check(source, "two", "pair", *more, "--directions", "3", "--thorough") == 0
    expected = {"argnums": (0, 1), "has_aux": True, "dtype": "native", "rtol": 1e-3, "key": 7, "directions": 3}
    assert seen == {**expected, "thorough": True, "checkpoint": None, "progress": False}


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("-1", -1), ("0,1", (0, 1)), ("1,", (1,))])
def test_argnums_are_a_number_or_a_tuple_as_in_jax_grad(source, monkeypatch, text, value):
    seen = {}
    monkeypatch.setitem(cluster.MODES, "grad", lambda *given, **more: seen.update(more) or example_reports.right())
    assert check(source, "two", "pair", f"--argnums={text}") == 0
    assert seen["argnums"] == value


def test_a_merged_job_has_the_settings_that_it_was_given(source, monkeypatch):
    seen = {}
    monkeypatch.setitem(cluster.MODES, "grad", lambda *given, **more: seen.update(more) or example_reports.right())
    cluster.Job(function=f"{source}:two", args=f"{source}:pair", settings={"argnums": [0, 1]}).check()  # JSON has lists
    assert seen["argnums"] == (0, 1)
    job = cluster.Job(function="f", args="a", settings={"argnums": [1], "has_aux": True})
    assert cluster.missing_parts([2], 3, job).endswith("--shard 2/3 --out FOLDER --argnums 1, --has-aux")


def test_quiet_says_nothing_but_errors(source, saved, capsys):
    assert check(source, "wave", "args", "--claim", f"{source}:half_slope", "--quiet") == 1
    assert cli.main(["compare", saved["right"], saved["wrong"], "--quiet"]) == 1
    assert capsys.readouterr() == ("", "")
    assert check(source, "wave", "broken_args", "--quiet") == 3
    assert "no data" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--json", "--plot", "--html"])
def test_a_folder_that_is_missing_is_told_before_the_check(source, tmp_path, monkeypatch, capsys, option):
    monkeypatch.setattr(cluster.Job, "check", lambda *given, **more: pytest.fail("it was checked"))
    assert check(source, "wave", "args", option, str(tmp_path / "no" / "file")) == 3
    assert "there is no folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "name", "says"),
    [("--plot", "figure.docx", "must end in .png, .svg or .pdf"), ("--html", "page.html", "needs the package jinja2")],
)
def test_what_cannot_be_written_is_told_before_the_check(source, tmp_path, monkeypatch, capsys, option, name, says):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setattr(cluster.Job, "check", lambda *given, **more: pytest.fail("it was checked"))
    assert check(source, "wave", "args", option, str(tmp_path / name)) == 3
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1


def test_a_page_without_jinja2_is_refused_in_one_line(saved, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert cli.main(["html", saved["right"]]) == 3
    told = capsys.readouterr().err
    assert told.startswith("jaxgradsweep: the page of a report needs the package jinja2")
    assert told.count("\n") == 1
    assert not Path(saved["right"]).with_suffix(".html").exists()


# ---- what goes wrong


@pytest.mark.parametrize(
    ("function", "args", "says"),
    [
        ("wave", "no_tuple", "must be a tuple of arguments, or a function that returns one; it returned something of"),
        ("wave", "ones", "must be a tuple of arguments, or a function that returns one; it is something of"),
        ("wave", "needs", "takes (size), and is called with no arguments"),
        ("two", "args", "is called with 1 argument: missing a required argument: 'y'"),
        ("point", "args", "must be a function; it is something of type tuple"),
        ("nothing", "args", "has no `nothing`; it has args, broken"),
    ],
)
def test_what_cannot_be_checked_is_told_in_one_line(source, capsys, function, args, says):
    assert check(source, function, args) == 3
    shown = capsys.readouterr().err
    assert says in shown
    assert shown.startswith("jaxgradsweep: ")
    assert shown.count("\n") == 1


def test_a_claim_that_takes_other_arguments_is_told_in_one_line(source, capsys):
    assert check(source, "wave", "args", "--grad", f"{source}:two") == 3
    assert capsys.readouterr().err.startswith(f"jaxgradsweep: `{source}:two` takes (x, y), and is called with 1")


def test_a_setting_out_of_range_is_told_in_one_line(source, capsys):
    assert check(source, "wave", "args", "--rtol", "2") == 3
    shown = capsys.readouterr().err
    assert shown.startswith("jaxgradsweep: `rtol` must be")
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("function", "args", "says"),
    [("wave", "broken_args", "RuntimeError: no data"), ("broken", "args", "(3,) and (7,)")],
)
def test_an_error_of_the_users_code_is_shown_with_their_frames_only(source, capsys, function, args, says):
    assert check(source, function, args) == 3
    shown = capsys.readouterr().err
    assert says in shown
    files = [line.split('"')[1] for line in shown.splitlines() if line.startswith("  File ")]
    assert set(files) == {source}
    place = "broken_args" if args == "broken_args" else "broken"
    assert shown.splitlines()[-1].endswith(f", in `{place}`: mend it there, and run the same command again")


def test_a_file_that_is_not_python_is_told_with_its_line(source, capsys):
    Path(source).write_text("x = 1\nx = = 2\n")
    assert check(source) == 3
    shown = capsys.readouterr().err
    assert "SyntaxError" in shown
    assert f"this comes from {source}, line 2: mend it there" in shown
    assert "importlib" not in shown


def test_code_that_ends_the_program_with_0_is_not_correct(source, capsys):
    assert check(source, "leaves") == 3
    assert "your code ended the program, by sys.exit(0)" in capsys.readouterr().err


def test_an_error_of_our_own_is_shown_whole(saved, monkeypatch, capsys):
    monkeypatch.setattr(commands, "read", lambda path: None)
    assert cli.main(["explain", saved["right"]]) == 3
    shown = capsys.readouterr().err
    assert "explanation.py" in shown
    assert "this is no error of your code" in shown


def test_an_interrupt_has_the_usual_exit_code(source, monkeypatch, capsys):
    def interrupted(*given, **more):
        raise KeyboardInterrupt

    monkeypatch.setitem(cluster.MODES, "grad", interrupted)
    assert check(source) == 130
    assert capsys.readouterr().err == "jaxgradsweep: interrupted\n"


def test_an_interrupted_check_prints_what_it_has(source, monkeypatch, capsys):
    report = example_reports.right()
    partial = dataclasses.replace(report, environment={**report.environment, "partial": "1 of 2 probes were measured"})
    monkeypatch.setitem(cluster.MODES, "grad", lambda *given, **more: partial)
    assert check(source) == 130
    assert "partial, since it was interrupted" in capsys.readouterr().out


def test_an_interrupted_part_is_not_kept_as_a_whole(source, tmp_path, monkeypatch):
    report = example_reports.right()
    partial = dataclasses.replace(report, environment={**report.environment, "partial": "1 of 2 probes were measured"})
    monkeypatch.setitem(cluster.MODES, "grad", lambda *given, **more: partial)
    out = ["--shard", "1/2", "--out", str(tmp_path / "part")]
    assert cli.main(["run", f"{source}:wave", "--args", f"{source}:args", *out]) == 130


@pytest.mark.parametrize("command", [["explain"], ["plot"], ["compare", "{right}"]])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file"),
        (b"{", "is not valid JSON"),
        (b"{}", "is not a report of jaxgradsweep"),
        (b"\xff\xfe\x00", "is no report"),
    ],
)
def test_a_report_that_cannot_be_read_is_told_in_one_line(saved, tmp_path, capsys, command, content, says):
    path = tmp_path / "some.json"
    if content is not None:
        path.write_bytes(content)
    assert cli.main([*(word.format(**saved) for word in command), str(path)]) == 3
    shown = capsys.readouterr().err
    assert says in shown
    assert shown.startswith(f"jaxgradsweep: {path} ")
    assert shown.count("\n") == 1


# ---- reports


def test_explain_says_a_report_in_prose(saved, capsys):
    assert cli.main(["explain", saved["wrong"]]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("What was asked\n")
    assert max(map(len, shown.splitlines())) <= 88


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_plot_writes_the_kind_of_figure_that_is_named(saved, tmp_path, capsys, ending):
    path = tmp_path / f"figure.{ending}"
    assert cli.main(["plot", saved["wrong"], "--out", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending]
    assert path.read_bytes().startswith(start)


def test_plot_writes_beside_the_report_and_says_where(saved, capsys):
    assert cli.main(["plot", saved["right"]]) == 0
    path = Path(saved["right"]).with_suffix(".png")
    assert capsys.readouterr().out == f"{path}\n"
    assert path.exists()


def test_plot_refuses_what_it_cannot_draw(saved, tmp_path, capsys):
    assert cli.main(["plot", saved["right"], "--out", str(tmp_path / "figure.docx")]) == 3
    assert "`path` must end in .png, .svg or .pdf" in capsys.readouterr().err
    assert not (tmp_path / "figure.docx").exists()


def test_html_writes_a_page(source, saved, tmp_path, capsys):
    pytest.importorskip("jinja2")
    assert cli.main(["html", saved["wrong"]]) == 0
    path = Path(saved["wrong"]).with_suffix(".html")
    assert capsys.readouterr().out == f"{path}\n"
    assert path.read_text(encoding="utf-8") == html.render(Report.load(saved["wrong"]))
    assert check(source, "wave", "args", "--html", str(tmp_path / "page.html")) == 0
    assert "CORRECT" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("first", "second", "code"), [("right", "right", 0), ("wrong", "right", 0)])
def test_compare_is_content_with_what_is_no_worse(saved, capsys, first, second, code):
    assert cli.main(["compare", saved[first], saved[second]]) == code
    assert capsys.readouterr().out.startswith("B is no worse than A")


def test_compare_counts_a_coarser_limit_from_the_ratio_that_is_asked_for(tmp_path, capsys):
    right = example_reports.right()
    (found,) = right.findings
    coarse = dataclasses.replace(right, findings=(dataclasses.replace(found, resolution=20 * found.resolution),))
    paths = [str(tmp_path / name) for name in ("a.json", "b.json")]
    right.save(paths[0])
    coarse.save(paths[1])
    assert cli.main(["compare", *paths]) == 1
    assert "the detection limit of ['w'] is 20 times coarser" in capsys.readouterr().out
    assert cli.main(["compare", *paths, "--coarser", "30"]) == 0
    with pytest.raises(SystemExit, match="3"):
        cli.main(["compare", *paths, "--coarser", "0.5"])


# ---- doctor


def test_the_doctor_finds_the_planted_mistake(capsys):
    assert cli.main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "checks work here" in shown
    assert "right derivative        CORRECT" in shown
    assert "planted mistake         WRONG" in shown


@pytest.mark.parametrize("verdict", ["CORRECT", "WRONG", "UNRESOLVED"])
def test_a_machine_on_which_all_verdicts_are_alike_is_not_healthy(monkeypatch, capsys, verdict):
    monkeypatch.setattr(doctor, "verdict_on", lambda jax, factor: verdict)
    assert cli.main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "checks do NOT work here" in shown
    assert f"the self-test says {verdict} of a derivative that is" in shown
    assert "Unset XLA_FLAGS" in shown


# ---- what it writes to


def test_a_pipe_gets_plain_text_of_any_width(saved, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert cli.main(["compare", saved["right"], saved["wrong"]]) == 1
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "only in B: ['conv']['kernel'], ['dense']['bias']" in shown


@pytest.mark.parametrize(("name", "written"), [("ascii", "+-"), ("latin-1", "±"), ("utf-8", "±")])
def test_a_locale_without_the_letters_gets_others(source, monkeypatch, name, written):
    held = io.BytesIO()
    stream = io.TextIOWrapper(held, encoding=name)
    monkeypatch.setattr(sys, "stdout", stream)
    assert check(source) == 0
    assert written in held.getvalue().decode(name)
    assert stream.errors == "strict"


def test_a_reader_who_leaves_takes_nothing_from_the_exit_code(source, monkeypatch, capsys):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert check(source, "wave", "args", "--claim", f"{source}:half_slope") == 1
    assert capsys.readouterr().err == ""


def test_a_reader_who_leaves_the_help_sees_no_traceback(monkeypatch, capsys):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert cli.main(["--help"]) == 141
    assert capsys.readouterr().err == ""


# ---- the parser


def test_a_command_line_without_a_command_is_refused_with_the_usage(capsys):
    with pytest.raises(SystemExit, match="3"):
        cli.main([])
    assert "COMMAND" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--mode", "hessian"], ["--argnums", "x"], ["--directions", "two"], ["--no-such"]])
def test_an_option_that_is_not_understood_is_refused_with_3(source, capsys, more):
    with pytest.raises(SystemExit, match="3"):
        check(source, "wave", "args", *more)
    assert "usage: jaxgradsweep check" in capsys.readouterr().err


def test_the_version_is_that_of_the_installed_package(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out.startswith("jaxgradsweep ")


def test_help_and_completion_answer_without_loading_jax():
    pytest.importorskip("argcomplete")
    script = """
import contextlib, io, sys
from jaxgradsweep import cli
names = "check run merge explain plot html compare demo doctor completion".split()
with contextlib.redirect_stdout(io.StringIO()) as held:
    for line in (["--help"], ["--version"], *([name, "--help"] for name in names)):
        try:
            cli.main(line)
        except SystemExit as stop:
            assert not stop.code, line
    assert cli.main(["completion", "bash"]) == 0
assert held.getvalue().count("usage: ") == 1 + len(names)
print(*({"jax", "numpy", "matplotlib", "rich"} & set(sys.modules)))
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == []
