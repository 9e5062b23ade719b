"""The command line: what it says, and with which exit code."""

import sys
import types
from pathlib import Path

import pytest

from jaxgradsweep import cli


def stand_in_for_the_demo(monkeypatch, main):
    module = types.ModuleType("jaxgradsweep.demo")
    module.main = main
    monkeypatch.setitem(sys.modules, "jaxgradsweep.demo", module)
    monkeypatch.setattr("jaxgradsweep.demo", module, raising=False)


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


def test_another_missing_module_is_not_taken_for_scikit_learn(monkeypatch):
    def main(**arguments):
        raise ModuleNotFoundError("No module named 'jaxlib'", name="jaxlib")

    stand_in_for_the_demo(monkeypatch, main)
    with pytest.raises(ModuleNotFoundError, match="jaxlib"):
        cli.main(["demo"])


def test_a_command_line_without_a_command_is_refused_with_the_usage(capsys):
    with pytest.raises(SystemExit, match="3"):
        cli.main([])
    assert "COMMAND" in capsys.readouterr().err


def test_the_version_is_that_of_the_installed_package(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out.startswith("jaxgradsweep ")
