"""Detection limits, kept in a file from run to run: so that a loss of precision shows although nothing is wrong yet."""

import dataclasses
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORMAT, VERSION = "jaxgradsweep.Baseline", 1
FINEST = sys.float_info.epsilon  # what is finer than the spacing of doubles is not told apart

Limits = Mapping[str, float | None]  # of the checks of one test, by number and kind; None for one that is undecided

_UPDATE = "`pytest --gradsweep-update`"
_UNREADABLE = (
    "{path} is no baseline of detection limits ({why}). Restore it from version control, or delete it and write a new "
    f"one with {_UPDATE}"
)
_MISSING = (
    "{path} has no detection limit for check {check} of this test. If the check is new, write its limit with "
    f"{_UPDATE} and keep that file in version control"
)
_WORSE = (
    "the detection limit became worse by more than a factor of {factor:g}: it was {known:.1e}, and {now}. Something "
    "is computed less precisely than it was: look for a cast to a shorter dtype, a constant of single precision, or a "
    f"solver that stops earlier. If that is meant, write the new limit with {_UPDATE} ({{path}})"
)


class BaselineError(ValueError):
    """A file that should hold detection limits holds something else."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline:
    """The detection limits of the checks of each test.

    Attributes:
        path: The file that they are kept in.
        tests: For each test, the limits of its checks.
        factor: By how much a limit may be worse.
    """

    path: Path
    tests: Mapping[str, Limits]
    factor: float

    def objection(self, test: str, check: str, limit: float | None) -> str:
        """Say what there is to object to a detection limit.

        Args:
            test: The name of the test.
            check: The number and kind of the check in it.
            limit: The detection limit; None if the check could not tell.

        Returns:
            A sentence; empty if there is nothing to object.
        """
        limits = self.tests.get(test, {})
        if check not in limits:
            return _MISSING.format(path=self.path.name, check=check)
        known = limits[check]
        if known is None or (limit is not None and limit <= self.factor * max(known, FINEST)):
            return ""
        now = "now the check cannot tell" if limit is None else f"now it is {limit:.1e}"
        return _WORSE.format(path=self.path.name, factor=self.factor, known=known, now=now)

    def updated(self, measured: Mapping[str, Limits]) -> "Baseline":
        """Return the baseline with the limits of these tests in place of what it had for them, and all others kept.

        Limits are rounded to two digits, so that noise does not change the file. A test without checks is left out.
        """
        rounded = {
            test: {check: limit if limit is None else float(f"{limit:.1e}") for check, limit in limits.items()}
            for test, limits in measured.items()
        }
        tests = {test: limits for test, limits in {**self.tests, **rounded}.items() if limits}
        return dataclasses.replace(self, tests=tests)

    def save(self) -> None:
        """Write the file, sorted. It appears whole or not at all."""
        from jaxgradsweep._store import write_whole  # loads NumPy, which a run that only reads should not wait for

        content = {"format": FORMAT, "version": VERSION, "tests": self.tests}
        write_whole(self.path, f"{json.dumps(content, indent=1, sort_keys=True)}\n".encode())


def as_factor(text: str) -> float:
    """Read by how much a limit may be worse.

    Raises:
        ValueError: That is no number above 1.
    """
    try:
        factor = float(text)
    except ValueError:
        factor = math.nan
    if not 1 < factor < math.inf:
        raise ValueError(f"gradsweep_factor must be a number above 1; got {text!r}")
    return factor


def load(path: Path, *, factor: float) -> Baseline:
    """Read a baseline; where there is no file, an empty one.

    Args:
        path: Where it is.
        factor: By how much a limit may be worse.

    Returns:
        The baseline.

    Raises:
        BaselineError: The file holds something else, or cannot be read; the message says why.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Baseline(path=path, tests={}, factor=factor)
    except (OSError, ValueError) as error:
        raise BaselineError(_UNREADABLE.format(path=path, why=error)) from None
    if why := _fault_of(content):
        raise BaselineError(_UNREADABLE.format(path=path, why=why))
    return Baseline(path=path, tests=content["tests"], factor=factor)


def _fault_of(content: Any) -> str:
    """What keeps some JSON from being a baseline; empty if nothing does."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return f'it has no "format": "{FORMAT}"'
    if content.get("version") != VERSION:
        return f"it is of version {content.get('version')!r}, and this release reads version {VERSION}"
    tests = content.get("tests")
    if not isinstance(tests, dict) or not all(isinstance(limits, dict) for limits in tests.values()):
        return '"tests" does not map each test to its checks'
    for test, limits in tests.items():
        for check, limit in limits.items():
            known = isinstance(limit, (int, float)) and not isinstance(limit, bool)
            if limit is not None and not (known and math.isfinite(limit) and limit >= 0):
                return f"the limit of check {check} of {test} is {limit!r}"
    return ""
