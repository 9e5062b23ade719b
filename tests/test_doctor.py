"""What the doctor sees of a broken installation, and what it says to do."""

import importlib
import subprocess
import sys
import types
from importlib import metadata

import jax
import pytest

from jaxgradsweep import doctor, text


@pytest.fixture
def no_self_test(monkeypatch):
    """Answers without measuring: each of these tests is about something else."""
    monkeypatch.setattr(doctor, "verdict_on", lambda jax, factor: "CORRECT" if factor == 1 else "WRONG")


def versions(monkeypatch, **changed):
    known = metadata.version

    def version(name):
        if changed.get(name, "") is None:
            raise metadata.PackageNotFoundError(name)
        return changed.get(name) or known(name)

    monkeypatch.setattr(metadata, "version", version)


def test_a_sound_installation_has_nothing_to_mend(no_self_test):
    found = doctor.examine()
    assert found.healthy
    assert not found.problems
    assert found.facts["jax"] == jax.__version__
    assert found.facts["device 0"].startswith("cpu")
    assert "checks turn double precision on for themselves" in found.facts["double precision (x64)"]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"matplotlib": None}, "matplotlib is not installed: run `"),
        ({"jax": "0.7.2", "jaxlib": "0.7.2"}, "jax 0.7.2 is older than 0.8.0"),
        ({"jax": "0.10.2", "jaxlib": "0.9.1"}, "jax 0.10.2 and jaxlib 0.9.1 are not of one release"),
    ],
)
def test_packages_that_are_missing_or_do_not_fit_are_named_with_what_to_run(no_self_test, monkeypatch, changed, says):
    versions(monkeypatch, **changed)
    (problem,) = doctor.examine().problems
    assert says in problem
    assert "-m pip install" in problem


def test_a_jax_that_cannot_be_imported_is_told_and_not_raised(monkeypatch):
    known = importlib.import_module

    def broken(name, *more):
        if name == "jax":
            raise RuntimeError("jaxlib is newer\nthan jax")
        return known(name, *more)

    monkeypatch.setattr(importlib, "import_module", broken)
    found = doctor.examine()
    assert not found.healthy
    assert "jax cannot be imported (RuntimeError: jaxlib is newer than jax): run" in found.problems[-1]
    assert doctor.blocks(found)[0].startswith("checks do NOT work here")


def test_devices_that_do_not_start_are_told(no_self_test):
    def fails():
        raise RuntimeError("no backend 'foo'")

    facts, (problem,) = doctor.devices(types.SimpleNamespace(devices=fails))
    assert facts == {}
    assert "cannot start its devices (RuntimeError: no backend 'foo')" in problem


def test_a_device_tells_its_memory():
    device = types.SimpleNamespace(
        id=3,
        platform="gpu",
        device_kind="H100",
        memory_stats=lambda: {"bytes_limit": 80 * 2**30, "bytes_in_use": 20 * 2**30},
    )
    facts, problems = doctor.devices(types.SimpleNamespace(devices=lambda: [device]))
    assert facts == {"device 3": "gpu, H100, 60.0 of 80.0 GiB free"}
    assert not problems


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--xla_cpu_enable_fast_math=true", True),
        ("--a=b --xla_cpu_enable_fast_math", True),
        ("--xla_cpu_enable_fast_math=false", False),
        ("--xla_cpu_fast_math_honor_nans=true", False),
        ("", False),
    ],
)
def test_fast_math_is_told(no_self_test, monkeypatch, flags, told):
    monkeypatch.setenv("XLA_FLAGS", flags)
    found = doctor.examine()
    assert any("fast math" in problem for problem in found.problems) is told
    assert found.facts["XLA_FLAGS"] == flags


def test_without_jit_checks_do_not_work_and_the_doctor_says_why():
    with jax.disable_jit():
        found = doctor.examine()
    assert not found.healthy
    assert any("JAX_DISABLE_JIT is set" in problem for problem in found.problems)
    assert len(set(found.problems)) == len(found.problems)


def test_a_compilation_cache_that_cannot_be_written_is_told(no_self_test, monkeypatch, tmp_path):
    folder = tmp_path / "cache"
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    facts, problems = doctor.configuration(
        types.SimpleNamespace(
            config=types.SimpleNamespace(
                jax_compilation_cache_dir=str(folder),
                jax_enable_x64=True,
                jax_default_matmul_precision="bfloat16",
                jax_disable_jit=False,
            )
        )
    )
    assert facts["matmul precision"] == "bfloat16"
    assert facts["double precision (x64)"] == "on"
    assert facts["compilation cache"] == str(folder)
    assert any(f"cache {folder} cannot be written" in problem for problem in problems)


def test_control_codes_in_the_environment_do_nothing(no_self_test, monkeypatch):
    monkeypatch.setenv("JAX_SOMETHING", "\x1b[2J")
    told = text.joined(doctor.blocks(doctor.examine()))
    assert "\x1b" not in told
    assert "JAX_SOMETHING" in told


def test_the_doctor_comes_also_where_jax_is_broken():
    script = "import sys; sys.modules['jax'] = None; from jaxgradsweep import cli; sys.exit(cli.main(['doctor']))"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert answer.returncode == 1, answer.stderr
    assert answer.stdout.startswith("checks do NOT work here")
    assert "jax cannot be imported" in answer.stdout
    assert answer.stderr == ""
