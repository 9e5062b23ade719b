"""pytest: the fixture `gradsweep`, its marker and options, and what a run with many checks tells and keeps.

Only pytest and the standard library are imported before a test uses the fixture.
"""

import json
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import jaxgradsweep

if TYPE_CHECKING:
    from jaxgradsweep.baseline import Baseline, Limits
    from jaxgradsweep.fixture import Gradsweep

# Other rounding, as on another platform, was seen to move limits by a factor of up to 5, other seeds of the directions
# by up to 10 (benchmarks/RESULTS.md). What should be seen, single precision in place of double, costs a factor of 1e6.
FACTOR = "10"
MARKER = (
    "gradsweep(**settings): settings of the checks that a test, or each test of a class or a module, makes with the "
    "fixture `gradsweep`, as in gradsweep(rtol=1e-6, directions=4). The closest marker wins, and a call over all."
)
COLOURS = {"CORRECT": "green", "WRONG": "red", "UNRESOLVED": "yellow"}
COLUMNS = ("verdict", "reason", "limit", "evaluations", "seconds", "check", "test")

FOLDER = pytest.StashKey[Path | None]()  # of a run: where files about failed checks are written
KEPT = pytest.StashKey["Baseline | None"]()  # of a run: what limits are held against
CHECKS = pytest.StashKey["Gradsweep"]()  # of a test, while it runs


@pytest.fixture
def gradsweep(request: pytest.FixtureRequest) -> "Gradsweep":
    """Checks of derivatives: `gradsweep.grad(fun, args)` fails the test unless the gradient is right; so do others."""
    from jaxgradsweep.fixture import Gradsweep  # loads JAX

    stash = request.config.stash
    checks = request.node.stash[CHECKS] = Gradsweep(request.node, folder=stash[FOLDER], kept=stash[KEPT])
    return checks


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options and settings."""
    group = parser.getgroup(jaxgradsweep.__name__, "jaxgradsweep: is this derivative right?")
    group.addoption("--gradsweep-report", action="store_true", help="list every check in the summary")
    group.addoption("--gradsweep-dir", metavar="DIR", help="write JSON, a figure and a page about each failed check")
    group.addoption("--gradsweep-update", action="store_true", help="keep the detection limits of this run in a file")
    group.addoption("--gradsweep-check", action="store_true", help="fail where a limit became worse than the one kept")
    parser.addini("gradsweep_dir", "what --gradsweep-dir says, relative to the root directory")
    parser.addini("gradsweep_baseline", "the file in which limits are kept", default="gradsweep-baseline.json")
    parser.addini("gradsweep_factor", "by how much a limit may be worse than the one kept", default=FACTOR)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and refuse at once what cannot be done."""
    config.addinivalue_line("markers", MARKER)
    update, compare = config.getoption("gradsweep_update"), config.getoption("gradsweep_check")
    if update and compare:
        raise pytest.UsageError("--gradsweep-update writes what --gradsweep-check compares with: give one of them")
    kept = read_baseline(config) if update or compare else None
    config.stash[KEPT] = kept if compare else None
    config.stash[FOLDER] = open_folder(config)
    if not hasattr(config, "workerinput"):  # the workers of xdist report to the process that started them
        ledger = Ledger(listed=bool(config.getoption("gradsweep_report")), kept=kept if update else None)
        config.pluginmanager.register(ledger)


def read_baseline(config: pytest.Config) -> "Baseline":
    """The limits that are kept, if there are any."""
    from jaxgradsweep import baseline

    try:
        factor = baseline.as_factor(config.getini("gradsweep_factor"))
        return baseline.load(config.rootpath / config.getini("gradsweep_baseline"), factor=factor)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None


def open_folder(config: pytest.Config) -> Path | None:
    """The folder for files about failed checks, made and tried: not to be missed when there is something to write."""
    option, ini = config.getoption("gradsweep_dir"), config.getini("gradsweep_dir")
    if not option and not ini:
        return None
    folder = config.invocation_params.dir / option if option else config.rootpath / ini
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise pytest.UsageError(f"--gradsweep-dir: nothing can be written into {folder}: {error}") from None
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put what is to be said of the report of a failed check below the traceback."""
    outcome = yield
    error = call.excinfo.value if call.excinfo else None
    checks = item.stash.get(CHECKS, None)
    for report, words in checks.failed if checks else ():
        if getattr(error, "report", None) is report:
            # Not among the captured output, if it can be helped: `--show-capture=no` and JUnit's files leave that out.
            add = getattr(outcome.longrepr, "addsection", lambda *section: outcome.sections.append(section[:2]))
            add(jaxgradsweep.__name__, words, "-")
    if call.when == "teardown" and checks:
        del item.stash[CHECKS]  # pytest keeps all tests to the end, and reports are large
    return outcome


class Ledger:
    """All checks of a run, from whatever process, put together at its end."""

    def __init__(self, *, listed: bool, kept: "Baseline | None") -> None:
        self.listed: bool = listed
        self.kept: Baseline | None = kept
        self.checks: list[dict[str, Any]] = []
        self.measured: dict[str, Limits] = {}
        self.unfinished: set[str] = set()
        self.written: str = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in what a test found, once it is over."""
        if not report.passed:
            self.unfinished.add(report.nodeid)  # it may have ended before all its checks
        if report.when != "teardown":
            return
        name = jaxgradsweep.__name__
        checks = [json.loads(str(value)) for key, value in report.user_properties if key == name]
        self.checks += checks
        if report.nodeid not in self.unfinished:
            test = checks[0]["test"] if checks else report.nodeid
            self.measured[test] = {check["check"]: check["limit"] for check in checks}

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the baseline, if that was asked for."""
        if self.kept is None:
            return
        name = self.kept.path.name
        limits = sum(map(len, self.measured.values()))
        try:
            if limits:
                self.kept.updated(self.measured).save()
            self.written = f"{limits} limits written to {name}" if limits else f"no check passed: {name} is as it was"
        except OSError as error:
            self.written = f"{self.kept.path} was not written: {error}"
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List the checks, or count those that were allowed to stay unresolved; and say what became of the baseline."""
        allowed = sum(check["allowed"] is not None for check in self.checks)
        checks = sorted(self.checks, key=lambda check: check["test"]) if self.listed else []
        if not (checks or allowed or self.written):
            return
        terminalreporter.section(jaxgradsweep.__name__)
        for line, colour in table(checks):
            terminalreporter.write_line(line, **{colour: True} if colour else {})
        if allowed and not self.listed:
            terminalreporter.write_line(
                f"{allowed} of {len(self.checks)} checks unresolved, which is allowed: --gradsweep-report says why"
            )
        if self.written:
            terminalreporter.write_line(self.written)


def table(checks: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """A line for each check and one above them, each with its colour; names last, since they are of any length."""
    if not checks:
        return []
    rows = [COLUMNS, *map(cells, checks)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[-1] = 0
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return list(zip(lines, ["", *(COLOURS[check["verdict"]] for check in checks)], strict=True))


def cells(check: dict[str, Any]) -> tuple[str, ...]:
    """What the summary says of a check."""
    limit = "-" if check["limit"] is None else f"{check['limit']:.1e}"
    why = f" (allowed: {' '.join(check['allowed'].split())})" if check["allowed"] else ""
    return (
        check["verdict"],
        check["reason"],
        limit,
        f"{check['evaluations']:,}",
        f"{check['seconds']:.2f}",
        check["check"],
        f"{check['test']}{why}",
    )
