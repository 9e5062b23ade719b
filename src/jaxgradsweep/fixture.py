"""The checks as a test of pytest uses them: each returns its report, and fails the test unless that is `CORRECT`."""

import hashlib
import io
import json
import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import jaxgradsweep
from jaxgradsweep import text
from jaxgradsweep._hessian import HessianReport
from jaxgradsweep._report import DerivativeUnresolved, DerivativeWrong, Report
from jaxgradsweep._request import settings_from
from jaxgradsweep._store import write_whole
from jaxgradsweep._wording import Verdict
from jaxgradsweep.baseline import Baseline

LONGEST_NAME = 40  # letters of a test's name that the name of a file keeps


class PrecisionLost(AssertionError):
    """A derivative is right, but its detection limit is not what the baseline asks for. `report` tells the rest."""

    def __init__(self, report: Report, objection: str) -> None:
        super().__init__(objection)
        self.report = report


class Gradsweep:
    """The checks of one test. Each method has the name of a check, takes what that takes, and returns its report.

    The test fails unless the verdict is `CORRECT`. Every method also takes `allow_unresolved`: the reason, in words,
    why the test is to pass where the check cannot tell; what is wrong fails nonetheless. Settings that a call leaves
    out are those of the marker `gradsweep`.

    Args:
        item: The test.
        folder: Where files about failed checks are written, if anywhere.
        kept: What detection limits are held against, if they are.

    Raises:
        DerivativeWrong: In a method: the derivative is wrong.
        DerivativeUnresolved: The check cannot tell, and no reason was given to allow that.
        PrecisionLost: The detection limit is worse than that of the baseline, or the baseline has none.
    """

    def __init__(self, item: pytest.Item, *, folder: Path | None = None, kept: Baseline | None = None) -> None:
        self.failed: list[tuple[Report, str]] = []  # what is to be said about a report that made a check raise
        self._item, self._folder, self._kept = item, folder, kept
        self._settings = settings_of(item)
        self._test = f"{item.parent.nodeid if item.parent else ''}::{item.name}"  # its nodeid, but for groups of xdist
        self._count = 0

    def grad(self, *given: Any, **settings: Any) -> Report:
        """Check a gradient: `check_grad`."""
        __tracebackhide__ = True
        return self._check("grad", *given, **settings)

    def vjp(self, *given: Any, **settings: Any) -> Report:
        """Check a vector-Jacobian product: `check_vjp`."""
        __tracebackhide__ = True
        return self._check("vjp", *given, **settings)

    def jvp(self, *given: Any, **settings: Any) -> Report:
        """Check a Jacobian-vector product: `check_jvp`."""
        __tracebackhide__ = True
        return self._check("jvp", *given, **settings)

    def hvp(self, *given: Any, **settings: Any) -> Report:
        """Check a Hessian-vector product: `check_hvp`."""
        __tracebackhide__ = True
        return self._check("hvp", *given, **settings)

    def hessian(self, *given: Any, **settings: Any) -> HessianReport:
        """Check every entry of a Hessian: `check_hessian`."""
        __tracebackhide__ = True
        return self._check("hessian", *given, **settings)

    def gauss_newton(self, *given: Any, **settings: Any) -> Report:
        """Check a Gauss-Newton product: `check_gauss_newton`."""
        __tracebackhide__ = True
        return self._check("gauss_newton", *given, **settings)

    def stages(self, *given: Any, **settings: Any) -> Report:
        """Check every stage of a chain: `check_stages`."""
        __tracebackhide__ = True
        return self._check("stages", *given, **settings)

    def _check(self, kind: str, /, *given: Any, allow_unresolved: str | None = None, **settings: Any) -> Any:
        __tracebackhide__ = True  # so that the traceback of a failure ends in the test
        require_words(allow_unresolved)
        began = time.perf_counter()
        report = getattr(jaxgradsweep, f"check_{kind}")(*given, **{**self._settings, **settings})
        seconds = time.perf_counter() - began
        if is_interrupted(report):
            raise KeyboardInterrupt  # a check answers Ctrl-C with a report, but it is the run that was to end
        self._count += 1
        check = f"{self._count} {kind}"
        allowed = allow_unresolved if report.verdict == Verdict.UNRESOLVED else None
        facts = {"test": self._test, "check": check, **facts_of(report, seconds), "allowed": allowed}
        self._item.user_properties.append((jaxgradsweep.__name__, json.dumps(facts)))
        error = failure_of(report) if allowed is None else None
        if error is None and self._kept is not None:
            objection = self._kept.objection(self._test, check, facts["limit"])
            error = PrecisionLost(report, objection) if objection else None
        if error is not None:
            self.failed.append((report, f"{report}{self._files(report)}"))
            raise error
        return report

    def _files(self, report: Report) -> str:
        """Write the files about a failed check; which ones there are, to follow the report."""
        if self._folder is None:
            return ""
        digest = hashlib.blake2b(self._test.encode("utf-8", "backslashreplace"), digest_size=5).hexdigest()
        name = re.sub(r"[^A-Za-z0-9_]+", "-", self._item.name)[:LONGEST_NAME].strip("-")
        name = "-".join(filter(None, [name, digest, str(self._count)]))
        return "\n  ".join(["\n\nfiles", *write_files(report, self._folder, name)])


def settings_of(item: pytest.Item) -> dict[str, Any]:
    """The settings of the markers of a test; of two, that of the closest one.

    At one place the last one is the closest: pytest lists a base class before what is derived from it, and a function
    before its parameters.
    """
    settings: dict[str, Any] = {}
    for mark in [mark for node in item.listchain() for mark in node.own_markers if mark.name == "gradsweep"]:
        if fault := fault_of(mark):
            pytest.fail(f"the marker `gradsweep` of this test cannot be used: {fault}", pytrace=False)
        settings |= mark.kwargs
    return settings


def fault_of(mark: pytest.Mark) -> str:
    """What is wrong with a marker; empty if nothing is."""
    if mark.args:
        return f"it takes keyword arguments only, as in gradsweep(rtol=1e-6); got {mark.args[0]!r}"
    try:
        settings_from(dict(mark.kwargs))
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


def require_words(allow_unresolved: Any) -> None:
    """A reason is given in words, or not at all."""
    __tracebackhide__ = True
    if allow_unresolved is None:
        return
    wanted = "`allow_unresolved` must say in words why the test is to pass where the check cannot tell"
    if not isinstance(allow_unresolved, str):
        raise TypeError(f"{wanted}; got {allow_unresolved!r}")
    if not allow_unresolved.strip():
        raise ValueError(f"{wanted}; got an empty string")


def is_interrupted(report: Report) -> bool:
    """Whether Ctrl-C ended a check, or a part of it."""
    return "partial" in report.environment or any(is_interrupted(part.report) for part in report.parts)


def facts_of(report: Report, seconds: float) -> dict[str, Any]:
    """What the summary of a run and the baseline keep of a report, as JSON can hold it."""
    deciding = [finding.reason for finding in report.findings if finding.verdict is report.verdict]
    unlimited = not math.isfinite(report.resolution) or (bool(deciding) and text.NO_LIMIT.issuperset(deciding))
    return {
        "verdict": report.verdict.name,
        "reason": ", ".join(dict.fromkeys(reason.name for reason in deciding)) or "-",
        "limit": None if unlimited else report.resolution,
        "evaluations": report.evaluations,
        "seconds": round(seconds, 3),
    }


def failure_of(report: Report) -> AssertionError | None:
    """The error of a report that is not `CORRECT`. It says the verdict only: the rest of the report follows it."""
    try:
        report.raise_unless_correct()
    except (DerivativeWrong, DerivativeUnresolved) as error:
        error.args = (" ".join(text.verdict_line(report).split()),)
        return error.with_traceback(None)
    return None


def write_files(report: Report, folder: Path, name: str) -> list[str]:
    """Write a report as JSON, as a figure and as a page; the paths, or why there is no such file."""
    writers: dict[str, Callable[[Path], None]] = {
        "json": report.save,
        "svg": lambda path: write_figure(report, path),
        "html": lambda path: write_page(report, path),
    }
    told = []
    for suffix, write in writers.items():
        path = folder / f"{name}.{suffix}"
        try:
            write(path)
            told.append(str(path))
        except Exception as error:  # a full disk, or whatever it is: it must not hide the verdict
            told.append(f"{path} was not written: {type(error).__name__}: {error}")
    return told


def write_figure(report: Report, path: Path) -> None:
    """Write the figure of a report; whole or not at all."""
    content = io.BytesIO()
    figure: Any = report.plot()  # of no given axes: a figure
    figure.savefig(content, format="svg", metadata={"Date": None})
    write_whole(path, content.getvalue())


def write_page(report: Report, path: Path) -> None:
    """Write a report as a page."""
    from jaxgradsweep import html  # pyright: ignore[reportAttributeAccessIssue]  # here: it loads matplotlib

    html.save(report, path)
