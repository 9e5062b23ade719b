"""What shells are given, and what they then offer."""

import os
import shutil
import subprocess
import sys

import pytest

from jaxgradsweep import cli, completion

pytest.importorskip("argcomplete")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with files, and the command on the path."""
    command = tmp_path / "bin" / "jaxgradsweep"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m jaxgradsweep "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "losses.py").write_text(
        "import sys\nsys.exit('it was run')\ndef loss(x): ...\ndef make(): ...\n_hidden = 1\npoint = (1.0,)\n"
    )
    (tmp_path / "report.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


BASH = """
source <(jaxgradsweep completion bash)
complete -p jaxgradsweep
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9
_python_argcomplete jaxgradsweep 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


def offered_by_bash(line):
    answer = subprocess.run(["bash", "-c", BASH, "bash", line], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    registered, *offers = answer.stdout.splitlines()
    assert registered.endswith("-F _python_argcomplete jaxgradsweep")
    return [offer.strip() for offer in offers]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_offers_commands_options_files_and_functions(place):
    assert offered_by_bash("jaxgradsweep comp") == ["compare", "completion"]
    assert "--grad" in offered_by_bash("jaxgradsweep check --")
    assert "losses.py:" in offered_by_bash("jaxgradsweep check lo")
    assert offered_by_bash("jaxgradsweep check losses.py:lo") == ["loss"]  # bash breaks words at colons
    assert offered_by_bash("jaxgradsweep explain re") == ["report.json"]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_shell_gets_code_that_it_can_read(capsys, tmp_path, shell):
    assert cli.main(["completion", shell]) == 0
    code = capsys.readouterr().out
    registers = {"bash": "-F _python_argcomplete jaxgradsweep", "zsh": "compdef", "fish": "complete --command"}
    assert registers[shell] in code
    if shutil.which(shell) is None:
        return  # what it says was looked at, what it does cannot be
    path = tmp_path / "code"
    path.write_text(code)
    assert subprocess.run([shell, "-n", str(path)], capture_output=True).returncode == 0


def test_functions_of_a_file_are_offered_without_running_it(place):
    assert completion.targets("losses.py:") == ["losses.py:loss", "losses.py:make", "losses.py:point"]
    assert completion.targets("losses:") == ["losses:loss", "losses:make", "losses:point"]
    assert completion.targets("nothing.py:") == []
    assert sorted(completion.targets("")) == ["bin/", "losses.py:"]
    assert sorted(completion.targets(f"{place}/lo")) == [f"{place}/bin/", f"{place}/losses.py:"]


def test_a_file_that_is_no_python_offers_nothing(place):
    (place / "losses.py").write_text("def (")
    assert completion.targets("losses.py:") == []


def test_without_argcomplete_the_command_says_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    assert cli.main(["completion", "bash"]) == 3
    assert f"{sys.executable} -m pip install argcomplete" in capsys.readouterr().err
