"""Measured rows in files."""

import json
import os

import jax.numpy as jnp
import numpy as np
import pytest

import jaxgradsweep as jgs
from jaxgradsweep import _runner
from jaxgradsweep._store import MANIFEST, Store, read_part, write_whole

X = np.linspace(0.3, 1.2, 7)


def smooth(x):
    return jnp.sum(jnp.sin(x))


def other(x):
    return jnp.sum(jnp.cos(x))


def parts(folder):
    return sorted(folder.glob("part-*.npz"))


@pytest.fixture
def calls(monkeypatch):
    """How many rows each call of a compiled program measures."""
    counted = []
    call = _runner.call
    monkeypatch.setattr(_runner, "call", lambda task, arrays, rows, lanes: counted.append(len(rows)) or call(
        task, arrays, rows, lanes))  # fmt: skip
    return counted


def test_the_same_call_goes_on_from_what_is_measured_to_the_same_report(tmp_path, calls):
    first = jgs.check_grad(smooth, (X,), checkpoint=tmp_path)
    assert sum(calls) > 0
    calls.clear()
    again = jgs.check_grad(smooth, (X,), checkpoint=tmp_path)
    assert calls == []
    assert again.to_json() == first.to_json() == jgs.check_grad(smooth, (X,)).to_json()


def test_a_part_that_is_lost_is_measured_again(tmp_path, calls):
    first = jgs.check_grad(smooth, (X,), checkpoint=tmp_path)
    parts(tmp_path)[0].unlink()
    calls.clear()
    assert jgs.check_grad(smooth, (X,), checkpoint=tmp_path).to_json() == first.to_json()
    assert sum(calls) > 0


def test_a_damaged_part_is_left_out_with_a_warning_and_the_others_are_used(tmp_path, calls):
    first = jgs.check_grad(smooth, (X,), checkpoint=tmp_path)
    total, broken = len(parts(tmp_path)), parts(tmp_path)[0]
    broken.write_bytes(broken.read_bytes()[:-100])
    calls.clear()
    with pytest.warns(UserWarning, match="damaged"):
        again = jgs.check_grad(smooth, (X,), checkpoint=tmp_path)
    assert again.to_json() == first.to_json()
    assert len(calls) < total + 1


@pytest.mark.parametrize(
    ("fun", "args", "setting", "differs"),
    [
        (other, (X,), {}, "function"),
        (smooth, (X + 1,), {}, "values"),
        (smooth, (X[:5],), {}, "leaves"),
        (smooth, (X,), {"key": 1}, "key"),
        (smooth, (X,), {"directions": 5}, "directions"),
        (smooth, (X,), {"dtype": "native"}, "dtype"),
        (smooth, (X,), {"steps": 2.0 ** -np.arange(20)}, "steps"),
    ],
)
def test_the_checkpoint_of_another_check_is_refused_and_says_what_differs(tmp_path, fun, args, setting, differs):
    jgs.check_grad(smooth, (X,), checkpoint=tmp_path)
    with pytest.raises(ValueError, match=f"another check.*{differs}: .* there, .* here"):
        jgs.check_grad(fun, args, checkpoint=tmp_path, **setting)


def test_another_claim_is_another_check(tmp_path):
    jgs.check_grad(smooth, (X,), grad=jnp.cos, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="function: "):
        jgs.check_grad(smooth, (X,), grad=lambda x: 2 * jnp.cos(x), checkpoint=tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 0}'])
def test_an_unreadable_manifest_is_refused(tmp_path, text):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ValueError, match=r"[Cc]hoose another folder"):
        jgs.check_grad(smooth, (X,), checkpoint=tmp_path)


def test_several_checks_in_one_call_have_a_folder_each(tmp_path):
    first = jgs.check_hvp(smooth, (X,), points=1, checkpoint=tmp_path)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} >= {"gradient", "args", "perturbed 1"} - {"args"}
    assert jgs.check_hvp(smooth, (X,), points=1, checkpoint=tmp_path).to_json() == first.to_json()


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    write_whole(tmp_path / "file", b"old")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_part_keeps_every_row(tmp_path):
    store = Store(tmp_path)
    store.open({"check": "grad"})
    rows = {"difference": np.arange(6.0).reshape(2, 3), "claimed": np.array([1.0, np.nan])}
    store.put(["a", "b"], rows)
    found = read_part(parts(tmp_path)[0])
    assert list(found) == ["a", "b"]
    np.testing.assert_array_equal(found["b"]["difference"], [3, 4, 5])
    assert np.isnan(found["b"]["claimed"])
    assert json.loads((tmp_path / MANIFEST).read_text())["check"] == "grad"


def test_a_checkpoint_must_be_a_path():
    with pytest.raises(TypeError, match="`checkpoint` must be the path of a folder; got int"):
        jgs.check_grad(smooth, (X,), checkpoint=3)


def test_a_full_disk_ends_the_check_and_says_what_to_do(tmp_path, monkeypatch, calls):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(
        "jaxgradsweep._store.np.savez", lambda *given, **arrays: monkeypatch.setattr(os, "replace", full)
    )
    with pytest.raises(OSError, match=r"cannot be written .*No space.* Make room"):
        jgs.check_grad(smooth, (X,), checkpoint=tmp_path)
    assert len(calls) == 1  # no smaller steps are tried
    assert parts(tmp_path) == []
