"""Parts of a check on several machines, the command line around them, and functions that it names."""

import json
import subprocess
import sys

import pytest

from jaxgradsweep import Report, cli, target

SOURCE = """
import jax, jax.numpy as jnp, numpy as np

def loss(p, x):
    return jnp.mean(jnp.tanh(x @ p["a"]) @ p["b"])

def args():
    random = np.random.default_rng(0)
    return {"a": random.normal(size=(4, 5)), "b": random.normal(size=5)}, random.normal(size=(8, 4))

def wrong(p, x):
    return jax.tree.map(lambda g: 1.01 * g, jax.grad(loss)(p, x))

def broken():
    raise RuntimeError("no data")
"""


@pytest.fixture
def job(tmp_path):
    path = tmp_path / "losses.py"
    path.write_text(SOURCE)
    return [f"{path}:loss", "--args", f"{path}:args"]


def parts_of(job, tmp_path, count, *more):
    folders = [str(tmp_path / f"part{number}") for number in range(1, count + 1)]
    for number, folder in enumerate(folders, 1):
        assert cli.main(["run", *job, *more, "--shard", f"{number}/{count}", "--out", folder]) == 0
    return folders


@pytest.mark.parametrize(("more", "code"), [([], 0), (["--claim", "wrong"], 1)])
def test_the_parts_together_are_the_report_of_a_single_run(job, tmp_path, more, code):
    more = [f"{job[0].rpartition(':')[0]}:{word}" if word == "wrong" else word for word in more]
    folders = parts_of(job, tmp_path, 3, *more)
    assert cli.main(["merge", *folders, "--json", str(tmp_path / "merged.json")]) == code
    assert cli.main(["run", *job, *more, "--json", str(tmp_path / "single.json")]) == code
    assert (tmp_path / "merged.json").read_text() == (tmp_path / "single.json").read_text()


def test_a_part_that_is_missing_is_named_with_the_command_that_makes_it(job, tmp_path, capsys):
    folders = parts_of(job, tmp_path, 3)
    assert cli.main(["merge", folders[0], folders[2]]) == 3
    told = capsys.readouterr().err
    assert "of 3 parts, 2/3 is missing" in told
    assert f"jaxgradsweep run {job[0]} --args {job[2]} --shard 2/3" in told


def test_parts_of_different_jobs_are_refused(job, tmp_path, capsys):
    one = parts_of(job, tmp_path, 1)
    other = str(tmp_path / "other")
    assert cli.main(["run", *job, "--key", "3", "--shard", "1/1", "--out", other]) == 0
    assert cli.main(["merge", *one, other]) == 3
    assert "differs in settings" in capsys.readouterr().err
    assert cli.main(["merge", str(tmp_path)]) == 3
    assert "is" in capsys.readouterr().err


def test_the_report_is_printed_and_saved(job, tmp_path, capsys):
    assert cli.main(["run", *job, "--json", str(tmp_path / "report.json")]) == 0
    assert capsys.readouterr().out.startswith("CORRECT")
    assert Report.load(tmp_path / "report.json").ok


@pytest.mark.parametrize(
    ("function", "args", "says"),
    [
        ("nothing.py:loss", "args", "there is no file nothing.py"),
        ("loss", "args", "must be FILE:NAME"),
        ("no_such_module_at_all:loss", "args", "there is no module"),
        (None, "nothing", "has no `nothing`; it has args, broken"),
        (None, "broken", "RuntimeError: no data"),
    ],
)
def test_what_is_not_there_or_fails_is_said_with_exit_code_3(job, capsys, function, args, says):
    file = job[0].rpartition(":")[0]
    assert cli.main(["run", function or job[0], "--args", f"{file}:{args}"]) == 3
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("shard", ["0/3", "4/3", "3", "a/b"])
def test_a_part_is_one_of_several(job, shard, capsys):
    with pytest.raises(SystemExit, match="3"):
        cli.main(["run", *job, "--shard", shard, "--out", "x"])
    assert "is not I/N" in capsys.readouterr().err


def test_shard_and_out_go_together(job, capsys):
    assert cli.main(["run", *job, "--shard", "1/2"]) == 3
    assert "go together" in capsys.readouterr().err


def test_a_target_may_be_an_attribute_of_a_module():
    assert target.load("json:JSONDecoder.decode") is json.JSONDecoder.decode


def test_what_lies_beside_a_file_can_be_imported(tmp_path):
    (tmp_path / "beside_it.py").write_text("number = 3")
    (tmp_path / "main_file.py").write_text("from beside_it import number")
    assert target.load(f"{tmp_path / 'main_file.py'}:number") == 3
    assert str(tmp_path) not in sys.path


def test_the_command_is_installed(job):
    answer = subprocess.run([sys.executable, "-m", "jaxgradsweep", "run", *job], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("CORRECT")
