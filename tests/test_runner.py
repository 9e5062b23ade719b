"""Rows over calls, devices and processes."""

import json
import os
import socket
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgradsweep as jgs
from jaxgradsweep import _runner
from jaxgradsweep._memory import allowance, chunk_of_steps, smaller_chunk

RANDOM = np.random.default_rng(0)
PARAMS = {"a": RANDOM.normal(size=(200, 300)), "b": RANDOM.normal(size=300)}
INPUTS = RANDOM.normal(size=(8, 200))

PROBLEM = """
import os, sys, json
import jax, jax.numpy as jnp, numpy as np
import jaxgradsweep as jgs

random = np.random.default_rng(0)
params = {"a": random.normal(size=(200, 300)), "b": random.normal(size=300)}
inputs = random.normal(size=(8, 200))

def loss(p, x):
    return jnp.mean(jnp.tanh(x @ p["a"]) @ p["b"])

def wrong(p, x):
    return {**(right := jax.grad(loss)(p, x)), "b": right["b"] * 1.001}
"""


def loss(p, x):
    return jnp.mean(jnp.tanh(x @ p["a"]) @ p["b"])


def run_script(script, *arguments, devices=1, timeout=300):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    command = [sys.executable, "-c", PROBLEM + textwrap.dedent(script), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def answer_of(process, timeout=300):
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1])


# ---- devices


def test_several_devices_measure_the_same_numbers_as_one():
    told = answer_of(
        run_script(
            """
            one = jgs.check_grad(loss, (params, inputs), devices=1)
            all_ = jgs.check_grad(loss, (params, inputs))
            three = jgs.check_grad(loss, (params, inputs), devices=jax.devices()[2:5], directions=5)
            found = jgs.check_grad(loss, (params, inputs), grad=wrong)
            same = np.array_equal(one.sweep.difference, all_.sweep.difference)
            errors = {}
            for devices in (9, 0, [jax.devices()[0]] * 2, "cpu", []):
                try:
                    jgs.check_grad(loss, (params, inputs), devices=devices)
                except (TypeError, ValueError) as error:
                    errors[str(devices)] = str(error)
            print(json.dumps([bool(same), three.verdict.name, len(three.sweep.leaf), found.verdict.name,
                              [f.path for f in found.findings if f.verdict.name == "WRONG"], list(errors.values())]))
            """,
            devices=8,
        )
    )
    same, three, probes, wrong, where, errors = told
    assert same
    assert (three, probes) == ("CORRECT", 10)
    assert (wrong, where) == ("WRONG", ["['b']"])
    assert len(errors) == 5
    assert all("`devices`" in error for error in errors)


def test_leaves_that_are_spread_over_devices_stay_so_and_nothing_is_gathered():
    told = answer_of(
        run_script(
            """
            import re
            from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
            from jaxgradsweep import _compile
            mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("data", "model"))
            spread = {"a": NamedSharding(mesh, P("data", "model")), "b": NamedSharding(mesh, P("model"))}
            texts = []
            compile_ = _compile.Program.compile
            def compiled(self, given):
                code = compile_(self, given)
                texts.append(code.as_text())
                return code
            _compile.Program.compile = compiled
            with jax.enable_x64(True):
                given = jax.tree.map(jax.device_put, params, spread)
            right = jgs.check_grad(loss, (given, inputs))
            found = jgs.check_grad(loss, (given, inputs), grad=wrong, locate=False)
            lines = [line for text in texts for line in text.splitlines()]
            gathered = [line for line in lines if "all-gather(" in line and "[200,300]" in line]
            still = given["a"].sharding == spread["a"] and not given["a"].is_deleted()
            print(json.dumps([right.verdict.name, found.verdict.name, len(texts) > 0, gathered[:3], still,
                              [f.path for f in found.findings if f.verdict.name == "WRONG"]]))
            """,
            devices=8,
        )
    )
    assert told == ["CORRECT", "WRONG", True, [], True, ["['b']"]]


def test_a_function_that_uses_several_devices_by_itself_runs_as_it_is():
    told = answer_of(
        run_script(
            """
            from jax.sharding import Mesh, PartitionSpec as P
            mesh = Mesh(np.array(jax.devices()), ("jaxgradsweep_probes",))
            inner = jax.shard_map(lambda x: jax.lax.psum(jnp.sum(jnp.sin(x)), "jaxgradsweep_probes"), mesh=mesh,
                                  in_specs=P("jaxgradsweep_probes"), out_specs=P())
            report = jgs.check_grad(inner, (np.linspace(0.1, 1, 32),), devices=4)
            print(json.dumps([report.verdict.name, [note for note in report.notes if "not spread" in note] != []]))
            """,
            devices=4,
        )
    )
    assert told == ["CORRECT", True]


# ---- processes

WORKER = """
    index, port, dies = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "dies"
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, index, heartbeat_timeout_seconds=10)

    def tick(what, done, total):
        if dies and index == 1 and done:
            os._exit(9)

    right = jgs.check_grad(loss, (params, inputs), directions=6, progress=tick)
    found = jgs.check_grad(loss, (params, inputs), grad=wrong, locate=False)
    for name, report in (("right", right), ("found", found)):
        report.save(f"{sys.argv[4]}/{name}{index}.json")
    print(json.dumps(jax.process_count()))
"""


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def test_two_processes_share_the_work_and_give_the_same_report(tmp_path):
    port = free_port()
    workers = [run_script(WORKER, i, port, "lives", tmp_path) for i in (0, 1)]
    assert [answer_of(worker) for worker in workers] == [2, 2]
    for name in ("right", "found"):
        assert (tmp_path / f"{name}0.json").read_text() == (tmp_path / f"{name}1.json").read_text()
    right, found = (jgs.Report.load(tmp_path / f"{name}0.json") for name in ("right", "found"))
    assert (right.verdict.name, found.verdict.name) == ("CORRECT", "WRONG")
    alone = jgs.check_grad(loss, (PARAMS, INPUTS), directions=6)
    np.testing.assert_allclose(right.fit.derivative, alone.fit.derivative, rtol=1e-9)


def test_a_process_that_is_killed_ends_the_others_with_a_message_and_not_in_a_hang(tmp_path):
    port = free_port()
    first, second = (run_script(WORKER, i, port, "dies", tmp_path) for i in (0, 1))
    _, err = first.communicate(timeout=120)
    second.communicate(timeout=120)
    assert second.returncode == 9
    assert first.returncode != 0
    assert "another task died" in err or "a process has ended" in err


# ---- calls


def test_ctrl_c_ends_with_a_report_of_what_was_measured(monkeypatch):
    calls = []
    call = _runner.call

    def stopped(*given):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return call(*given)

    monkeypatch.setattr(_runner, "call", stopped)
    monkeypatch.setattr(_runner, "PACE", 0.0)  # a row at a time
    report = jgs.check_grad(lambda p, x: loss(p, x), (PARAMS, INPUTS), devices=1)
    assert [finding.verdict.name for finding in report.findings] == ["CORRECT", "UNRESOLVED"]
    assert report.findings[1].reason.name == "INTERRUPTED"
    assert "partial, since it was interrupted: 2 of 4 probes" in " ".join(str(report).split())
    assert "INTERRUPTED" in str(report)
    assert jgs.Report.from_json(report.to_json()).verdict is report.verdict


def test_ctrl_c_in_a_closer_look_accuses_nobody(monkeypatch):
    def stopped(what, done, total):
        if what == "second look":
            raise KeyboardInterrupt

    report = jgs.check_grad(loss, (PARAMS, INPUTS), grad=lambda p, x: {**p, "b": p["b"]}, progress=stopped)
    assert {finding.reason.name for finding in report.findings} == {"INTERRUPTED"}
    assert report.verdict.name == "UNRESOLVED"


def test_progress_counts_the_probes_that_are_done(monkeypatch):
    told = []
    monkeypatch.setattr(_runner, "PACE", 0.0)
    jgs.check_grad(lambda p, x: loss(p, x), (PARAMS, INPUTS), devices=1, progress=lambda *tick: told.append(tick))
    assert [done for what, done, total in told if what == "first look"] == [0, 1, 2, 3, 4]


# ---- memory


def test_what_does_not_fit_says_so_before_it_runs(monkeypatch):
    monkeypatch.setattr(_runner, "call", lambda *given: pytest.fail("it ran"))
    with pytest.raises(ValueError, match=r"needs [\d,]+ bytes .* `memory` allows 100,000"):
        jgs.check_grad(loss, (PARAMS, INPUTS), memory=100_000)


def test_a_small_allowance_evaluates_fewer_points_at_once_with_the_same_verdict():
    needed = 8 * 60_000
    small = jgs.check_grad(loss, (PARAMS, INPUTS), memory=7 * needed)
    large = jgs.check_grad(loss, (PARAMS, INPUTS))
    assert small.ok
    assert large.ok
    assert small.evaluations != large.evaluations  # other chunks
    wrong = jgs.check_grad(loss, (PARAMS, INPUTS), memory=7 * needed, grad=lambda p, x: jax.tree.map(
        lambda g: g * (1 + 1e-7), jax.grad(loss)(p, x)), locate=False)  # fmt: skip
    assert wrong.verdict.name == "WRONG"


def test_an_allowance_is_a_share_of_what_is_free():
    device = jax.local_devices()[0]
    assert allowance(123, device) == 123
    assert 2**20 < allowance(None, device) < 2**50


@pytest.mark.parametrize(("chunk", "needed", "allowed", "next_"), [(8, 100, 60, 4), (8, 100, 1, 1), (1, 100, 60, None)])
def test_the_next_chunk_is_one_that_may_fit(chunk, needed, allowed, next_):
    assert smaller_chunk(chunk, needed, allowed) == next_


def test_a_batch_holds_no_more_points_than_asked_for():
    assert chunk_of_steps([np.zeros(3)], 9, 2**40) == 4
    assert chunk_of_steps([np.zeros(3)], 3, 2**40) == 1
