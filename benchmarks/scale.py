"""How a check scales: with probes, steps, parameters, devices and processes; and what its short first look saves.

    python benchmarks/scale.py [probes] [memory] [devices] [processes] [coarse] [--every K] [--batch-size N]
        [--quick] [--write]

All times are wall time with everything compiled. What needs a process of its own (peak memory, numbers of devices) gets
one. Without `--quick`, `memory` needs 16 GiB and a quarter of an hour, and `coarse` about as long.
"""

import argparse
import dataclasses
import hashlib
import itertools
import json
import os
import resource
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import judgement
import networks
import numpy as np
from record import parser_of, run_parts, section, table

import corpus
import jaxgradsweep as jgs
from corpus.case import F64
from jaxgradsweep import _runner

ALONE: dict[str, Any] = {"locate": False, "consistency": False}  # no more than the sweep
MIB, GIB = 2**20, 2**30


def seconds(fun: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    fun()
    return time.perf_counter() - begin


def grid(count: int) -> np.ndarray:
    """So many steps, each half of the one before: from 1/16 on, where the first look at a double begins."""
    return np.exp2(-4.0 - np.arange(count))


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """The power with which y grows, by least squares on logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def worker(*arguments: Any, flags: str = "", **variables: str) -> subprocess.Popen[str]:
    """This script in a process of its own, which prints one line of JSON."""
    own = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip(), **variables}
    command = [sys.executable, __file__, "--worker", json.dumps(arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | own)


def answer(process: subprocess.Popen[str]) -> Any:
    """What a worker found."""
    told, complaints = process.communicate()
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}\n{complaints}")
    return json.loads(told.splitlines()[-1])


# ------------------------------------------------------------------------------------------------------- probes

SIZES = (128, 512, 10)  # four leaves
DIRECTIONS = (1, 2, 4, 8, 16, 32, 64)  # for each leaf
STEPS = (16, 32, 64)


def probes_section(times: int, write: bool) -> None:
    loss, point, batch = networks.make_loss("tanh"), networks.parameters(0, sizes=SIZES), networks.data(0, sizes=SIZES)
    args = (point, *batch)

    def check(directions: int, steps: int) -> Callable[[], jgs.Report]:
        return lambda: jgs.check_grad(loss, args, directions=directions, steps=grid(steps), **ALONE)

    def sweep_of(cases: list[tuple[int, int]], by: Callable[[int, int], int]) -> tuple[list[list[str]], float]:
        """Rows of the table, and the exponent."""
        checks = [check(*case) for case in cases]
        reports = [each() for each in checks]
        walls = np.median([[seconds(each) for each in checks] for _ in range(times)], axis=0)
        rows = [
            [
                str(directions * len(point)), str(steps), str(report.evaluations), f"{1e3 * wall:.1f}",
                f"{1e6 * wall / report.evaluations:.1f}", f"{report.verdict.name}: {report.findings[0].reason.name}",
            ]
            for (directions, steps), report, wall in zip(cases, reports, walls, strict=True)
        ]  # fmt: skip
        return rows, exponent([by(*case) for case in cases], walls.tolist())

    header = ["probes", "steps", "evaluations", "check, ms", "µs an evaluation", "verdict"]
    by_probes, of_probes = sweep_of([(d, STEPS[0]) for d in DIRECTIONS], lambda directions, steps: directions)
    by_steps, of_steps = sweep_of([(16, s) for s in STEPS], lambda directions, steps: steps)
    body = f"""
A warm check of JAX's own gradient of a {"-".join(map(str, SIZES))} network ({networks.count(point)} parameters in
{len(point)} leaves, batch {networks.BATCH}, float64, `locate=False, consistency=False`) with more and more
`directions`, and with more and more `steps`. Medians of {times} turns. Exponents are by least squares on logarithms.

{table(header, by_probes)}

Time grows as the number of probes to the power **{of_probes:.3f}** (1.00 ± 0.05).

{table(header, by_steps)}

Time grows as the number of steps to the power **{of_steps:.3f}** (1.00 ± 0.05).
"""
    section("scale-probes", "Time against probes and steps", body, write=write)


# ------------------------------------------------------------------------------------------------------- memory

ALLOWED = 7 * GIB  # `memory`: half of what a machine of 16 GiB has free
FLAT = 10**7  # parameters at which the number of probes and steps is varied


def peak() -> int:
    """The most bytes that this process ever had in memory.

    `ru_maxrss` of a new process begins with what its parent had, so that Linux's own figure is better where it is.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def points_at_once(found: list[int]) -> None:
    """From now on, note how many points each program of a check evaluates at once."""
    plain = _runner.Runner.fitting

    def noting(self: _runner.Runner, build: Callable, rows: int) -> Any:
        program = plain(self, build, rows)
        found.append(2 * self.chunk + 1 if self.chunk > 1 else 1)
        return program

    _runner.Runner.fitting = noting


def memory_worker(total: int, directions: int, steps: int, timed: bool, batch_size: int | None) -> dict[str, Any]:
    """Check one network in single precision: peak memory, points at once, and times if they are asked for."""
    sizes = networks.square(total)
    batch = tuple(map(jnp.asarray, networks.data(0, np.float32, sizes)))
    jax.block_until_ready(batch)
    base = peak()
    random, point = np.random.default_rng(0), {}
    for layer, (rows, columns) in enumerate(itertools.pairwise(sizes), 1):
        weights = random.standard_normal((rows, columns), np.float32)
        weights /= np.float32(np.sqrt(rows))
        point[f"weights{layer}"] = jnp.asarray(weights)
        point[f"biases{layer}"] = jnp.asarray(random.standard_normal(columns, np.float32) / 10)
        del weights
    at_once: list[int] = []
    points_at_once(at_once)
    loss, walls = networks.make_loss("tanh"), {}

    def check(count: int) -> jgs.Report:
        settings = {"dtype": "native", "memory": ALLOWED, "batch_size": batch_size, **ALONE}
        return jgs.check_grad(loss, (point, *batch), directions=count, steps=grid(steps), **settings)

    report = check(directions)
    if timed:
        walls = probe_times(check, loss, (point, *batch), directions)
    return {
        "parameters": networks.count(point),
        "leaves": len(point),
        "base": base,
        "peak": peak(),
        "at once": at_once[0],
        "activations": networks.BATCH * sum(sizes[1:]),
        "verdict": f"{report.verdict.name}: {report.findings[0].reason.name}",
        "evaluations": report.evaluations,
        **walls,
    }


def probe_times(check: Callable[[int], jgs.Report], loss: Callable, args: Any, directions: int) -> dict[str, float]:
    """What further probes take, and one evaluation of the function by itself."""
    forward = jax.jit(loss)
    forward(*args).block_until_ready()
    alone = [seconds(lambda: forward(*args).block_until_ready()) for _ in range(5)]
    few, many = directions, 2 * directions
    begin, rounds = time.perf_counter(), []
    while len(rounds) < 5 and (not rounds or time.perf_counter() - begin < 20):
        rounds.append([seconds(lambda: check(few)), seconds(lambda: check(many))])
    first, second = np.median(rounds, axis=0)
    return {"probe": (second - first) / ((many - few) * len(args[0])), "forward": float(np.median(alone))}


def line(found: dict[str, Any]) -> int:
    """(2 x parameters + activations) x batch + 2 x parameters, in bytes."""
    parameters, activations = 4 * found["parameters"], 4 * found["activations"]
    return (2 * parameters + activations) * found["at once"] + 2 * parameters


def memory_section(totals: list[int], flat: int, batch_size: int | None, write: bool) -> None:
    steps = STEPS[0]
    rows = []
    for total in totals:
        found = answer(worker("memory", total, 1, steps, True, batch_size))
        beyond, ratio = found["peak"] - found["base"], found["probe"] / (2 * steps * found["forward"])
        rows.append(
            [
                f"{total:.0e}",
                f"{found['peak'] / GIB:.2f}" + (" (16)" if total == 10**8 else ""),
                f"{beyond / MIB:.0f}",
                f"{line(found) / MIB:.0f} ({found['at once']})",
                f"{beyond / line(found):.2f}",
                f"{1e3 * found['probe']:.1f}",
                f"{1e3 * found['forward']:.2f}",
                f"{ratio:.2f} (1.1)",
                found["verdict"],
            ]
        )
        print(rows[-1], flush=True)
    header = [
        "parameters", "peak, GiB (target)", "beyond the base, MiB", "line, MiB (batch)", "beyond the base / line",
        "a probe, ms", "an evaluation, ms", "a probe / (2 x steps x evaluation) (target)", "verdict",
    ]  # fmt: skip
    cases = [(1, steps), (2, steps), (8, steps), (1, 2 * steps), (1, 4 * steps)]
    flatness = []
    for directions, count in cases:
        found = answer(worker("memory", flat, directions, count, False, batch_size))
        mebibytes = [found["peak"] / MIB, (found["peak"] - found["base"]) / MIB]
        probes = directions * found["leaves"]
        flatness.append([str(probes), str(count), *(f"{each:.0f}" for each in mebibytes), found["verdict"]])
        print(flatness[-1], flush=True)
    own = ["probes", "steps", "peak, MiB", "beyond the base, MiB", "verdict"]
    body = f"""
Checks of JAX's own gradient of a tanh network with two equal hidden layers, float32, batch {networks.BATCH}, with
`dtype="native"`, `locate=False`, `consistency=False`, `directions=1`, a `memory` of {ALLOWED // GIB} GiB, {steps} steps
and `batch_size={batch_size}`, each in a process of its own. "Peak" is the largest resident set of the whole process;
the base is what it had before the parameters were made. The line is (2 x parameters + activations) x batch +
2 x parameters, where batch is the number of points that the check evaluates at once. What a probe takes is from the
difference of warm checks with two directions and with one; an evaluation is the compiled function at the point, by
itself, with the matmuls of the backend's own precision. Targets: 1.1 x 2 x steps x the
time of an evaluation, and 1e8 parameters inside 16 GiB.

{table(header, rows)}

The same with {flat:.0e} parameters, against the number of probes and of steps: the peak should stay where it is.

{table(own, flatness)}
"""
    section("scale-memory", "Memory", body, write=write)


# ------------------------------------------------------------------------------------------ devices and processes


def digest(report: jgs.Report) -> str:
    """A name for all numbers of a sweep, to the last bit."""
    sweep, parts = report.sweep, hashlib.sha256()
    for field in ("difference", "forward", "backward", "bend", "roundoff", "claimed", "size"):
        parts.update(np.ascontiguousarray(getattr(sweep, field)).tobytes())
    return parts.hexdigest()[:12]


def timed_check(directions: int, times: int, **settings: Any) -> dict[str, Any]:
    """First and further checks of one network: times, and what is in the report."""
    loss, args = networks.make_loss("tanh"), (networks.parameters(0), *networks.data(0))
    reports: list[jgs.Report] = []

    def check() -> None:
        reports.append(jgs.check_grad(loss, args, directions=directions, thorough=True, **ALONE, **settings))

    walls = [seconds(check) for _ in range(times + 1)]
    report = reports[-1]
    return {
        "first": walls[0],
        "warm": float(np.median(walls[1:])),
        "digest": digest(report),
        "report": hashlib.sha256(report.to_json().encode()).hexdigest()[:12],
        "probes": len(report.sweep.leaf),
        "verdict": f"{report.verdict.name}: {report.findings[0].reason.name}",
    }


def devices_section(directions: int, times: int, write: bool) -> None:
    rows, found = [], {}
    for count in (1, 2, 4, 8):
        flags = f"--xla_force_host_platform_device_count={count}"
        found[count] = answer(worker("devices", count, directions, times, flags=flags, JAX_PLATFORMS="cpu"))
        same = found[count]["digest"] == found[1]["digest"]
        rows.append(
            [
                str(count),
                f"{found[count]['first']:.2f}",
                f"{found[count]['warm']:.3f}",
                f"{found[1]['warm'] / found[count]['warm']:.2f}",
                f"{'yes' if same else 'no'} (yes)",
                found[count]["verdict"],
            ]
        )
        print(rows[-1], flush=True)
    header = [
        "devices", "first check, s", "warm check, s", "speed-up", "sweep as on one, to the bit (target)", "verdict",
    ]  # fmt: skip
    body = f"""
A check of the tanh {"-".join(map(str, networks.SIZES))} network ({found[1]["probes"]} probes, float64,
`locate=False, consistency=False, thorough=True`), in processes with so many host devices
(`--xla_force_host_platform_device_count`) and `devices` set to all of them. Host devices share the cores of the
machine, of which XLA uses several for one device too. Medians of {times}.

{table(header, rows)}
"""
    section("scale-devices", "Several devices", body, write=write)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def process_worker(count: int, index: int, port: int, directions: int, times: int) -> dict[str, Any]:
    """One of several processes of a check, on a core of its own."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[index % len(cores)]})
    if count > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"127.0.0.1:{port}", count, index)
        assert jax.process_count() == count
    return timed_check(directions, times)


def processes_section(directions: int, times: int, write: bool) -> None:
    variables = {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    flags = "--xla_cpu_multi_thread_eigen=false"
    answers: dict[int, list[dict[str, Any]]] = {}
    for count in (1, 2):
        port = free_port()
        started = [
            worker("process", count, index, port, directions, times, flags=flags, **variables) for index in range(count)
        ]
        try:
            answers[count] = [answer(each) for each in started]
        finally:
            for each in started:
                each.kill()
    alone = answers[1][0]
    rows = []
    for count, found in answers.items():
        warm = max(each["warm"] for each in found)
        equal = [len({each[name] for each in (alone, *found)}) == 1 for name in ("digest", "report")]
        rows.append(
            [
                str(count),
                f"{max(each['first'] for each in found):.2f}",
                f"{warm:.3f}",
                f"{alone['warm'] / warm:.2f}" + (" (1.7)" if count == 2 else ""),
                *(f"{'yes' if same else 'no'} (yes)" for same in equal),
                ", ".join(dict.fromkeys(each["verdict"] for each in found)),
            ]
        )
    header = [
        "processes", "first check, s", "warm check, s", "speed-up (target)", "sweeps equal, to the bit (target)",
        "reports equal as JSON (target)", "verdict",
    ]  # fmt: skip
    pinned = "each held to a core of its own" if hasattr(os, "sched_setaffinity") else "not held to a core"
    body = f"""
A check of the tanh {"-".join(map(str, networks.SIZES))} network ({alone["probes"]} probes, float64,
`locate=False, consistency=False, thorough=True`) by processes that `jax.distributed` joins (gloo, on one machine),
{pinned}, and XLA with one thread in each (`{flags}`). Medians of {times}; of the processes the slowest.

{table(header, rows)}
"""
    section("scale-processes", "Several processes", body, write=write)


# ------------------------------------------------------------------------------------------------------- coarse


@dataclasses.dataclass(frozen=True)
class Effort(judgement.Outcome):
    """What a check said of a case, and how often it evaluated the function."""

    evaluations: int = 0


def coarse_answers() -> Callable[[str, bool], judgement.Outcome]:
    """What answers for a case by default or at all steps, in a process of its own."""
    jax.config.update("jax_enable_x64", True)
    cases, asked = corpus.load(), set()

    def answer(name: str, thorough: bool) -> judgement.Outcome:
        asked.add(name)
        if len(asked) % judgement.CLEAR == 0:
            jax.clear_caches()
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                report = judgement.report_of(cases[name], F64, *cases[name].problem(F64), thorough=thorough)
        except Exception as error:
            return judgement.Outcome(judgement.NOT_RUN, f"{type(error).__name__}: {error}"[:200])
        reasons = dict.fromkeys(f.reason.name for f in report.findings if f.verdict is report.verdict)
        return Effort(report.verdict.name, ", ".join(reasons), evaluations=report.evaluations)

    return answer


def coarse_section(every: int, write: bool) -> None:
    names = [name for name, case in corpus.load().items() if F64 in case.dtypes][::every]
    asked = judgement.Worker(coarse_answers, patience=120)
    told: dict[str, list[Any]] = {}
    try:
        for name in names:
            told[name] = [asked.ask(name, False)]
            told[name] += [asked.ask(name, True)] if told[name][0].verdict != judgement.NOT_RUN else []
            print(name, *((each.verdict, getattr(each, "evaluations", 0)) for each in told[name]), flush=True)
    finally:
        asked.stop()
    run = {name: pair for name, pair in told.items() if all(each.verdict != judgement.NOT_RUN for each in pair)}
    changed = [
        f"{name} ({one.verdict}: {one.reason} by default, {other.verdict}: {other.reason} at all steps)"
        for name, (one, other) in run.items()
        if one.verdict != other.verdict
    ]
    rows = []
    for verdict in (*sorted({pair[1].verdict for pair in run.values()}), "all"):
        pairs = np.array(
            [[e.evaluations for e in pair] for pair in run.values() if verdict in (pair[1].verdict, "all")]
        )
        default, thorough = pairs.sum(axis=0)
        rows.append(
            [
                verdict,
                str(len(pairs)),
                str(np.sum(pairs[:, 0] < pairs[:, 1])),
                str(default),
                str(thorough),
                f"{100 * (1 - default / thorough):.0f} %",
                f"{thorough / default:.2f}" + (" (2)" if verdict == "all" else ""),
                f"{np.median(pairs[:, 1] / np.maximum(pairs[:, 0], 1)):.2f}",
            ]
        )
    header = [
        "verdict at all steps", "cases", "of these with fewer by default", "evaluations by default", "at all steps",
        "share saved", "times as many at all steps (target)", "the same, median of cases",
    ]  # fmt: skip
    lost = [name for name in told if name not in run]
    body = f"""
Every {every}th case of the open corpus in float64, checked by default, where a part of the steps may decide, and with
`thorough=True`, at all steps; both with `locate=False`.

{table(header, rows)}

Verdicts changed: {len(changed)} (0){": " if changed else ""}{"; ".join(changed)}. Not run: {", ".join(lost) or "none"}.
"""
    section("scale-coarse", "What the short first look saves", body, write=write)


WORKERS: dict[str, Callable[..., Any]] = {
    "memory": memory_worker,
    "devices": lambda count, directions, times: timed_check(directions, times, devices=count),
    "process": process_worker,
}


def main() -> None:
    parser = parser_of(__doc__, "probes, memory, devices, processes, coarse")
    parser.add_argument("--every", type=int, default=10, metavar="K", help="of coarse: every K-th case of the corpus")
    parser.add_argument("--batch-size", type=int, metavar="N", help="of the checks of memory; default: their own")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, and at most a million parameters")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        name, *arguments = options.worker
        print(json.dumps(WORKERS[name](*arguments)))
        return
    quick, write = options.quick, options.write
    run = {
        "probes": lambda: probes_section(3 if quick else 9, write),
        "memory": lambda: memory_section(
            [10**p for p in range(5, 7 if quick else 9)], 10**6 if quick else FLAT, options.batch_size, write
        ),
        "devices": lambda: devices_section(4 if quick else 32, 2 if quick else 5, write),
        "processes": lambda: processes_section(4 if quick else 32, 2 if quick else 5, write),
        "coarse": lambda: coarse_section(options.every, write),
    }
    run_parts(parser, options.parts, run)


if __name__ == "__main__":
    main()
