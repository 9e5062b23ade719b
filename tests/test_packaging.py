"""What is shipped: the sdist builds the wheel, and the wheel works from anywhere."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import jaxgradsweep as jgs
from jaxgradsweep._identity import version_of

ROOT = Path(__file__).parents[1]
CHECK = """
import jaxgradsweep as jgs, jax.numpy as jnp
print(jgs.__file__)
print(jgs.__version__)
print(jgs.check_grad(jnp.sin, (0.3,)).verdict)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with a sdist, and with the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = set(wheel.namelist())
    source = ROOT / "src" / "jaxgradsweep"
    shipped = {f"jaxgradsweep/{path.relative_to(source).as_posix()}" for path in source.rglob("*") if path.is_file()}
    assert {name for name in names if ".dist-info/" not in name} == {n for n in shipped if "__pycache__" not in n}
    assert "jaxgradsweep/py.typed" in names


def test_the_sdist_holds_what_the_tests_need(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"README.md", "LICENSE", "tests/conftest.py", "docs/index.md", "pyproject.toml"} <= names
    assert not [name for name in names if name.startswith(("docs/_build", "docs/notebooks"))]


def test_what_the_wheel_installs_works_from_anywhere(wheel, tmp_path, monkeypatch):
    wheel.extractall(tmp_path / "site")
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))

    def python(*arguments):
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=tmp_path / "empty", check=True, capture_output=True, text=True).stdout

    path, version, verdict = python("-c", CHECK).split()
    assert Path(path).is_relative_to(tmp_path)
    assert verdict == "CORRECT"
    assert python("-m", "jaxgradsweep", "--version").split() == ["jaxgradsweep", version]
    assert not list((tmp_path / "empty").iterdir())


def test_a_folder_that_is_not_installed_has_a_version_too():
    assert version_of("jaxgradsweep-of-nobody") == "not installed"
    assert version_of("jaxgradsweep") == jgs.__version__
