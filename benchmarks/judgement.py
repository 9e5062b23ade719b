"""How often a checker accuses a right derivative or passes a wrong one, on the open corpus in tests/corpus.

    python benchmarks/judgement.py [--dtype float32] [--only PATTERN] [--list-mistakes] [--write]
    python benchmarks/judgement.py peers

The first runs every case of the corpus through every checker, in processes of their own; the second shows what other
checkers are known to misjudge, and what jaxgradsweep says of the same.
"""

import argparse
import collections
import contextlib
import dataclasses
import functools
import json
import multiprocessing
import os
import queue
import re
import shlex
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
import peers
from record import number, section, table

import corpus
import jaxgradsweep as jgs
from corpus.case import BF16, CORRECT, F16, F32, F64, UNRESOLVED, WRONG, Case

OURS = "jaxgradsweep"
CHECKERS = (OURS, *peers.PEERS)
NOT_RUN = "not run"
CLEAR = 20  # cases after which a worker forgets what it has compiled
START = 600  # seconds that a worker may take to import everything

RIGHT, FALSE_ALARM, MISS = "right", "false alarm", "miss"
CALLED_RIGHT, CALLED_WRONG = "no derivative, called right", "no derivative, called wrong"
RIGHTLY, WRONGLY = "undecided, rightly", "undecided, wrongly"
MISTAKES = (FALSE_ALARM, MISS, CALLED_RIGHT, CALLED_WRONG, WRONGLY)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a checker said of a case.

    Attributes:
        verdict: CORRECT, WRONG, UNRESOLVED or NOT_RUN.
        reason: names of the reasons of all leaves with this verdict; a peer's figure in words; why it was not run.
        error: relative error, or the figure on which a peer decides.
        resolution: detection limit.
        seconds: wall time with all compilation.
        path: the leaf that decided.
    """

    verdict: str
    reason: str = ""
    error: float | None = None
    resolution: float | None = None
    seconds: float = 0.0
    path: str = ""


Key = tuple[str, str, str]  # case, dtype, checker


# -------------------------------------------------------------------------------------------------------- one case


def judge_case(case: Case, dtype: str, checker: str = OURS) -> Outcome:
    """Ask one checker about one case; what it raises makes it NOT_RUN."""
    begin = time.perf_counter()
    try:
        with jax.enable_x64(dtype == F64), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            problem = case.problem(dtype)
            begin = time.perf_counter()
            found = ours(case, dtype, *problem) if checker == OURS else theirs(case, checker, *problem)
    except Exception as error:
        words = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        return Outcome(NOT_RUN, words, seconds=time.perf_counter() - begin)
    return dataclasses.replace(found, seconds=time.perf_counter() - begin)


def ours(case: Case, dtype: str, fun: Callable, args: tuple[Any, ...], claimed: Any) -> Outcome:
    """Ask jaxgradsweep."""
    report = report_of(case, dtype, fun, args, claimed)
    findings = [finding for finding in report.findings if finding.verdict is report.verdict]
    if not findings:
        return Outcome(report.verdict.name)
    by_error = report.verdict is jgs.Verdict.WRONG
    worst = max(findings, key=lambda f: np.nan_to_num(abs(f.error if by_error else f.resolution), nan=np.inf))
    reasons = dict.fromkeys(finding.reason.name for finding in (worst, *findings))
    return Outcome(report.verdict.name, ", ".join(reasons), worst.error, worst.resolution, path=worst.path)


def report_of(
    case: Case, dtype: str, fun: Callable, args: tuple[Any, ...], claimed: Any, **settings: Any
) -> jgs.Report:
    """The check that suits the case, with default settings but for those given, and not looking for what is wrong."""
    setting: Any = {"dtype": "float64" if dtype == F64 else "native", "locate": False, **settings}
    outputs = peers.subject_of(fun, args).shapes
    single = len(outputs) == 1 and outputs[0].shape == ()
    real = single and jnp.issubdtype(outputs[0].dtype, jnp.floating)
    if case.order == 2 and claimed is None and real:
        return jgs.check_hvp(fun, args, **setting)
    if case.order == 2:
        rule = None if claimed is None else lambda *args: jax.vjp(claimed, *args)
        return jgs.check_vjp(jax.grad(fun), args, vjp=rule, **setting)
    if claimed is None and case.modes[0] == "fwd":
        return jgs.check_jvp(fun, args, **setting)
    if claimed is not None or real or (single and case.holomorphic):
        return jgs.check_grad(fun, args, grad=claimed, holomorphic=case.holomorphic, **setting)
    return jgs.check_vjp(fun, args, **setting)


def theirs(case: Case, checker: str, fun: Callable, args: tuple[Any, ...], claimed: Any) -> Outcome:
    """Ask a peer."""
    subject = peers.subject_of(fun, args, claimed, modes=case.modes, order=case.order)
    said = peers.PEERS[checker](subject)
    return Outcome(CORRECT if said.passed else WRONG, said.words, said.figure)


# --------------------------------------------------------------------------------------------------------- scoring


def score(case: Case, dtype: str, verdict: str) -> str:
    """What a verdict is worth."""
    if verdict == NOT_RUN:
        return NOT_RUN
    expected = verdict in case.expected(dtype)
    if verdict == UNRESOLVED:
        return RIGHTLY if expected else WRONGLY
    if expected or (case.kind, verdict) in (("right", CORRECT), ("wrong", WRONG)):
        return RIGHT  # a true answer is no mistake, not even where nobody could know
    if case.kind in ("right", "wrong"):
        return FALSE_ALARM if verdict == WRONG else MISS
    return CALLED_WRONG if verdict == WRONG else CALLED_RIGHT


def explained(case: Case, outcome: Outcome) -> bool | None:
    """Whether an UNRESOLVED of a case without a derivative has a right reason; None if any would do."""
    if outcome.verdict != UNRESOLVED or case.kind in ("right", "wrong") or not case.reasons:
        return None
    return not case.reasons.isdisjoint(outcome.reason.split(", "))


HEADER = (
    "checker", "dtype", "cases judged", "right", "false alarms", "misses", CALLED_RIGHT, CALLED_WRONG, RIGHTLY,
    WRONGLY, "reason right, where there is no derivative", "seconds, median", "seconds, total", "not run",
)  # fmt: skip


def row(cases: dict[str, Case], dtype: str, checker: str, outcomes: dict[str, Outcome]) -> list[str]:
    """One checker's row of the table."""
    counts = collections.Counter(score(cases[name], dtype, outcome.verdict) for name, outcome in outcomes.items())
    reasons = [explained(cases[name], outcome) for name, outcome in outcomes.items()]
    reasons = [reason for reason in reasons if reason is not None]
    seconds = [outcome.seconds for outcome in outcomes.values() if outcome.verdict != NOT_RUN]
    return [
        checker,
        dtype,
        f"{len(seconds)} of {len(outcomes)}",
        *(str(counts[column]) for column in (RIGHT, FALSE_ALARM, MISS, CALLED_RIGHT, CALLED_WRONG, RIGHTLY, WRONGLY)),
        f"{sum(reasons)} of {len(reasons)}" if reasons else "-",
        number(float(np.median(seconds))) if seconds else "-",
        f"{sum(seconds):.0f}",
        str(counts[NOT_RUN]),
    ]


def rows(cases: dict[str, Case], found: dict[Key, Outcome]) -> list[list[str]]:
    """One row for each checker and dtype, in the order in which they were asked for."""
    groups: dict[tuple[str, str], dict[str, Outcome]] = {}
    for (name, dtype, checker), outcome in found.items():
        groups.setdefault((dtype, checker), {})[name] = outcome
    order = sorted(groups, key=lambda group: ((F64, F32, F16, BF16).index(group[0]), CHECKERS.index(group[1])))
    return [row(cases, dtype, checker, groups[dtype, checker]) for dtype, checker in order]


def mistakes(cases: dict[str, Case], found: dict[Key, Outcome]) -> Iterable[str]:
    """A line or two for every mistake, every wrong reason, and everything that was not run."""
    for (name, dtype, checker), outcome in sorted(found.items()):
        case = cases[name]
        what = score(case, dtype, outcome.verdict)
        if explained(case, outcome) is False:
            what = "wrong reason"
        elif what not in (*MISTAKES, NOT_RUN):
            continue
        figures = {"at": outcome.path, "error": outcome.error, "limit": outcome.resolution}
        figures = {key: number(x) if isinstance(x, float) else x for key, x in figures.items()}
        told = [f"{key} {x}" for key, x in figures.items() if x]
        wanted = f"expected {' or '.join(sorted(case.expected(dtype)))}, {case.kind}"
        extra = [", ".join(sorted(case.reasons)), case.cause, f"off by {case.error:g}" if case.error else ""]
        yield f"{what}: {name} ({dtype}, {checker}): {outcome.verdict}, {'; '.join([outcome.reason, *told])}"
        yield f"    {'; '.join(filter(None, [wanted, *extra]))}"


# --------------------------------------------------------------------------------------------------------- workers


def answers(dtype: str, modules: Sequence[str]) -> Callable[[str, str], Outcome]:
    """What answers for a case and a checker, in a process that works in one precision."""
    jax.config.update("jax_enable_x64", dtype == F64)
    cases = corpus.load(modules)
    seen: set[str] = set()

    def answer(name: str, checker: str) -> Outcome:
        if name not in seen and seen and len(seen) % CLEAR == 0:
            jax.clear_caches()
        seen.add(name)
        return judge_case(cases[name], dtype, checker)

    return answer


def serve(pipe: Any, prepare: Callable[[], Callable[..., Outcome]]) -> None:
    """What a worker process does: answer one question after the other."""
    os.dup2(2, 1)  # what a case prints is no result
    answer = prepare()
    pipe.send(None)
    with contextlib.suppress(EOFError):
        while True:
            pipe.send(answer(*pipe.recv()))


class Worker:
    """A process that answers questions, started again where it was lost."""

    def __init__(self, prepare: Callable[[], Callable[..., Outcome]], patience: float) -> None:
        self.prepare, self.patience = prepare, patience
        self.process: Any = None

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, far_end = context.Pipe()
        self.process = context.Process(target=serve, args=(far_end, self.prepare), daemon=True)
        self.process.start()
        far_end.close()
        if not self.pipe.poll(START):
            raise RuntimeError("a worker did not start")
        self.pipe.recv()  # an EOFError, if it did not live through the imports

    def ask(self, *question: Any) -> Outcome:
        """One answer; a worker that takes too long or dies is given up."""
        if self.process is None:
            self.start()
        begin = time.perf_counter()
        try:
            self.pipe.send(question)
            if self.pipe.poll(self.patience):
                return self.pipe.recv()
            words = f"took more than {self.patience:g} s"
        except (EOFError, OSError):
            self.process.join(5)
            words = f"the process died, exit code {self.process.exitcode}"
        self.stop()
        return Outcome(NOT_RUN, words, seconds=time.perf_counter() - begin)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
            self.process = None


def run(options: argparse.Namespace, todo: list[Key], tell: Callable[[Key, Outcome], None]) -> None:
    """Ask for everything in `todo`, one precision after the other, and tell each answer as it comes."""
    for dtype in dict.fromkeys(key[1] for key in todo):
        by_case: dict[str, list[Key]] = {}
        for key in todo:
            if key[1] == dtype:
                by_case.setdefault(key[0], []).append(key)
        prepare = functools.partial(answers, dtype, options.modules)
        workers = [Worker(prepare, options.patience) for _ in range(options.workers)]
        run_cases(list(by_case.values()), workers, tell)


def run_cases(cases: list[list[Key]], workers: list[Worker], tell: Callable[[Key, Outcome], None]) -> None:
    """Hand out cases to whichever worker is idle."""
    idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    lock, over = threading.Lock(), threading.Event()

    def ask(keys: list[Key]) -> None:
        worker = idle.get()
        try:
            for key in keys:
                outcome = None if over.is_set() else worker.ask(key[0], key[2])
                with lock:
                    if outcome is not None and not over.is_set():  # when all is over, workers die of that
                        tell(key, outcome)
        finally:
            idle.put(worker)

    for worker in workers:
        idle.put(worker)
    executor = ThreadPoolExecutor(len(workers))
    try:
        for _ in executor.map(ask, cases):
            pass
    finally:
        over.set()
        executor.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.stop()


# ---------------------------------------------------------------------------------------------------- command line


def read(path: Path) -> dict[Key, Outcome]:
    """The outcomes in a file; a line that was cut short is left out."""
    found = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        key = (entry.pop("case"), entry.pop("dtype"), entry.pop("checker"))
        found[key] = Outcome(**entry)
    return found


def corpus_part(options: argparse.Namespace) -> None:
    """Ask every checker about every case, and print the table."""
    cases = {name: case for name, case in corpus.load(options.modules).items() if re.search(options.only, name)}
    wanted: list[Key] = [
        (name, dtype, checker)
        for dtype in options.dtype
        for name, case in cases.items()
        if dtype in case.dtypes
        for checker in options.checkers
    ]
    path = options.out or Path(tempfile.mkdtemp(prefix="judgement-")) / "outcomes.jsonl"
    known = read(path)
    found = {key: known[key] for key in wanted if key in known}
    todo = [key for key in wanted if key not in known]
    print(f"{len(todo)} questions, {len(found)} known; answers go to {path}", file=sys.stderr, flush=True)
    with path.open("a") as lines:

        def tell(key: Key, outcome: Outcome) -> None:
            found[key] = outcome
            entry = dict(zip(("case", "dtype", "checker"), key, strict=True)) | dataclasses.asdict(outcome)
            lines.write(f"\n{json.dumps(entry)}")
            lines.flush()
            if (len(found) % 100) == 0:
                print(f"{len(found)} of {len(wanted)}", file=sys.stderr, flush=True)

        run(options, todo, tell)
    if options.list_mistakes:
        print("\n".join(mistakes(cases, found)))
    write_table(cases, found, options.write)


def write_table(cases: dict[str, Case], found: dict[Key, Outcome], write: bool) -> None:
    """Print the table, and put it into RESULTS.md."""
    lost = sorted(f"{name} ({dtype}, {checker})" for (name, dtype, checker), o in found.items() if o.verdict == NOT_RUN)
    body = f"""
The cases of the open corpus (`tests/corpus`), each asked of every checker in the precision of the row, with default
settings throughout. A false alarm is a right derivative called wrong, a miss a wrong one called right. Where there is
no derivative (a kink, a jump, noise), the right answer is that nobody can tell, which only jaxgradsweep can give:
"undecided, rightly" counts that, also where rounding hides the answer, and "undecided, wrongly" where an answer was to
be had. Seconds are wall time with all compilation.

The others, with their sources, are in `benchmarks/peers.py`: `jax.test_util.check_grads`; one central difference per
component (h = 1e-5) under a limit of 1e-2 or 1e-7, after the notes of CS231n; the rate of the Taylor remainder, above
1.9, after pyadjoint; and the slope of its straightest piece, 2 ± 0.1, after Manopt.

{table(HEADER, rows(cases, found))}

Not run: {", ".join(lost) or "none"}.
"""
    several = len({checker for _, _, checker in found}) > 1
    name, against = ("judgement-peers", ", beside other checkers") if several else ("judgement", "")
    section(name, f"Right and wrong derivatives told apart{against}", body, write=write)


def fact_case(fact: peers.Fact) -> Case:
    """A fact as a case, to be judged as all others."""
    name = f"known.{fact.peer}.{fact.what}"
    return Case(name=name, make=fact.make, family="known", kind=fact.kind, dtypes=(fact.dtype,), modes=fact.modes)


def peers_part(write: bool) -> None:
    """Show what the peers are known to misjudge, and what jaxgradsweep says of the same."""
    lines = []
    for fact in peers.FACTS:
        case = fact_case(fact)
        peer, own = (judge_case(case, fact.dtype, checker) for checker in (fact.peer, OURS))
        again = score(case, fact.dtype, peer.verdict) in MISTAKES
        own_words = f"{own.verdict}: {own.reason}" + (f", limit {number(own.resolution)}" if own.resolution else "")
        lines.append(
            [fact.peer, fact.what, f"{'' if again else 'not '}reproduced", peer.reason.replace("|", "\\|"), own_words]
        )
    header = ["checker", "what it is known for", "here", "what it says", "what jaxgradsweep says of the same"]
    body = f"""
Derivatives that other checkers misjudge, each asked again with the version named above.

{table(header, lines)}
"""
    section("peers", "What other checkers misjudge", body, write=write)


def options_from(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("corpus", "peers"), default="corpus")
    parser.add_argument("--dtype", action="append", choices=(F64, F32, F16, BF16), help="repeatable; default: float64")
    parser.add_argument("--only", default="", metavar="PATTERN", help="a regular expression in the names of cases")
    parser.add_argument("--modules", nargs="+", choices=corpus.MODULES, default=corpus.MODULES, metavar="MODULE")
    parser.add_argument("--checkers", nargs="+", choices=CHECKERS, default=CHECKERS, metavar="CHECKER")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes side by side")
    parser.add_argument("--patience", type=float, default=180, metavar="SECONDS", help="for one checker on one case")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON lines; default: in a new temporary directory")
    parser.add_argument("--resume", action="store_true", help="go on with what is in --out already")
    parser.add_argument("--list-mistakes", action="store_true", help="print every mistake before the table")
    parser.add_argument("--write", "--record", action="store_true", help="put the table into benchmarks/RESULTS.md")
    options = parser.parse_args(arguments)
    options.dtype = list(dict.fromkeys(options.dtype or [F64]))
    if options.resume and options.out is None:
        parser.error("--resume needs the --out of the run that it continues")
    if options.out is not None and options.out.exists() and not options.resume:
        parser.error(f"{options.out} exists; add --resume to go on with it")
    return options


def command(options: argparse.Namespace) -> list[str]:
    """What decides the result, as arguments: what RESULTS.md should quote."""
    if options.part == "peers":
        return ["peers"]
    words = [word for dtype in options.dtype for word in ("--dtype", dtype)]
    words += ["--only", options.only] if options.only else []
    words += ["--modules", *options.modules] if options.modules != corpus.MODULES else []
    words += ["--checkers", *options.checkers] if options.checkers != CHECKERS else []
    return list(map(shlex.quote, words))


def main() -> None:
    options = options_from()
    sys.argv[1:] = command(options)
    if options.part == "peers":
        peers_part(options.write)
    else:
        corpus_part(options)


if __name__ == "__main__":
    main()
