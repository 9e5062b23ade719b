"""What changed between two reports: verdicts, limits, errors, and what they were made with."""

import dataclasses
import math
from collections.abc import Iterator

from jaxgradsweep._layout import Table, joined, printable
from jaxgradsweep._report import Report
from jaxgradsweep._tables import RANK, flat_parts
from jaxgradsweep._verdict import Finding
from jaxgradsweep._wording import Verdict
from jaxgradsweep._writing import MOST_NAMES, NO_LIMIT, leaf_name, number
from jaxgradsweep.text import MOST_ROWS

COARSER = 10.0  # a limit that is so many times coarser is worse; run to run, with another key, it varies by up to 3
NOTHING = (None, 0.0)

NO_WORSE = "B is no worse than A ({verdicts})"
WORSE = "B is worse than A: {reasons}"
WORSE_VERDICT = "{leaf} was {before} and is {after}"
WORSE_WHOLE = "the report was {before} and is {after}"
WORSE_LIMIT = "the detection limit of {leaf} is {ratio} times coarser"
NEW_LEAF = "{leaf} is new, and {after}"
OTHER_CHECK = "A is a report of check_{before}, B of check_{after}: not the same question"

_COLUMNS = ("leaf", "verdict", "reason", "error in A", "in B", "limit in A", "in B", "B / A")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """One leaf in two reports.

    Attributes:
        name: of the leaf, after that of the check where a report joins several.
        before: what the first report found; None where it does not have the leaf.
        after: what the second found.
        eps: spacing at 1 of the outputs, in each: a limit below it says no more than it.
    """

    name: str
    before: Finding | None
    after: Finding | None
    eps: tuple[float, float]

    @property
    def limit_ratio(self) -> float | None:
        """How many times coarser the detection limit has become; None where one of the two has none."""
        if self.before is None or self.after is None or {self.before.reason, self.after.reason} & NO_LIMIT:
            return None
        limits = zip((self.before.resolution, self.after.resolution), self.eps, strict=True)
        before, after = (max(limit, eps) for limit, eps in limits)
        if not math.isfinite(before):
            return None if not math.isfinite(after) else 0.0
        return after / before

    def worse(self, coarser: float) -> str:
        """Why the second is worse, in words; empty if it is not."""
        if self.after is None:
            return ""
        verdicts = {"leaf": self.name, "after": self.after.verdict}
        if self.before is None:
            return "" if self.after.verdict == Verdict.CORRECT else NEW_LEAF.format(**verdicts)
        if RANK[self.after.verdict] > RANK[self.before.verdict]:
            return WORSE_VERDICT.format(before=self.before.verdict, **verdicts)
        ratio = self.limit_ratio
        return WORSE_LIMIT.format(leaf=self.name, ratio=number(ratio)) if ratio is not None and ratio > coarser else ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """What changed between two reports.

    Attributes:
        before: the first report, A.
        after: the second, B.
        changes: one for each leaf that is in one of them.
        worse: in what the second is worse, in sentences; empty if it is not.
        environment: what they were made with, by name, where it differs: in the first and in the second.
    """

    before: Report
    after: Report
    changes: tuple[Change, ...]
    worse: tuple[str, ...]
    environment: dict[str, tuple[str, str]]


def compare(before: Report, after: Report, *, coarser: float = COARSER) -> Comparison:
    """Hold a report against an earlier one.

    Args:
        before: The earlier report, A.
        after: The later one, B.
        coarser: From which ratio on a coarser detection limit counts as worse.

    Returns:
        What changed. B is worse where a verdict is, in the order `CORRECT`, `UNRESOLVED`, `WRONG`, where a new leaf is
        not `CORRECT`, or where a detection limit is more than `coarser` times that of A. A leaf that B does not have is
        named, and does not make it worse.
    """
    first, second = dict(_findings(before)), dict(_findings(after))
    changes = tuple(
        Change(
            name=name,
            before=first.get(name, NOTHING)[0],
            after=second.get(name, NOTHING)[0],
            eps=(first.get(name, NOTHING)[1], second.get(name, NOTHING)[1]),
        )
        for name in dict.fromkeys([*first, *second])
    )
    worse = [words for change in changes if (words := change.worse(coarser))]
    if not worse and RANK[after.verdict] > RANK[before.verdict]:
        worse.append(WORSE_WHOLE.format(before=before.verdict, after=after.verdict))
    names = dict.fromkeys([*before.environment, *after.environment])
    pairs = {name: (before.environment.get(name, "-"), after.environment.get(name, "-")) for name in names}
    return Comparison(
        before=before,
        after=after,
        changes=changes,
        worse=tuple(worse),
        environment={name: (old, new) for name, (old, new) in pairs.items() if old != new},
    )


def _findings(report: Report) -> Iterator[tuple[str, tuple[Finding, float]]]:
    """Each finding of a report, or of all that it joins, with its name and the spacing of the outputs."""
    for prefix, one in [(f"{name}, ", part) for name, part in flat_parts(report)] or [("", report)]:
        for finding in one.findings:
            yield f"{prefix}{leaf_name(finding.path)}", (finding, one.sweep.eps)


def blocks(comparison: Comparison) -> list[str | Table]:
    """Return what changed: whether B is worse, the leaves, those in one report only, the rest."""
    before, after = comparison.before, comparison.after
    reasons, more = comparison.worse[:MOST_NAMES], len(comparison.worse) - MOST_NAMES
    verdicts = _arrow(str(before.verdict), str(after.verdict))
    said: list[str | Table] = [
        WORSE.format(reasons="; ".join([*reasons, *([f"and {more} more"] if more > 0 else [])]))
        if reasons
        else NO_WORSE.format(verdicts=verdicts if "->" in verdicts else f"{verdicts} in both")
    ]
    if before.kind != after.kind:
        said.append(OTHER_CHECK.format(before=before.kind, after=after.kind))
    both = [change for change in comparison.changes if change.before and change.after]
    both.sort(key=_same)
    left_out = f"and {len(both) - MOST_ROWS} more leaves" if len(both) > MOST_ROWS else ""
    rows = tuple(_cells(change) for change in both[:MOST_ROWS])
    if rows:
        said.append(Table(columns=_COLUMNS, rows=rows, numeric=tuple(range(3, 8)), more=left_out, whole=True))
    lines = []
    for letter, other in (("A", "after"), ("B", "before")):
        only = [change.name for change in comparison.changes if getattr(change, other) is None]
        lines += [f"only in {letter}: {', '.join(only)}"] if only else []
    if lines:
        said.append("\n".join(lines))
    said.append(f"evaluations of the function: {_arrow(f'{before.evaluations:,}', f'{after.evaluations:,}')}")
    if comparison.environment:
        rows = tuple((name, *map(printable, pair)) for name, pair in comparison.environment.items())
        said.append(Table(columns=("made with", "A", "B"), rows=rows, whole=True))
    return said


def render(comparison: Comparison) -> str:
    """Return what changed as plain text."""
    return joined(blocks(comparison))


def _cells(change: Change) -> tuple[str, ...]:
    before, after = change.before, change.after
    assert before is not None
    assert after is not None
    limits = [number(None if each.reason in NO_LIMIT else each.resolution) for each in (before, after)]
    return (
        change.name,
        _arrow(str(before.verdict), str(after.verdict)),
        _arrow(str(before.reason), str(after.reason)),
        number(before.error),
        number(after.error),
        *limits,
        number(change.limit_ratio),
    )


def _same(change: Change) -> bool:
    return change.before is not None and change.after is not None and change.before.verdict == change.after.verdict


def _arrow(before: str, after: str) -> str:
    return before if before == after else f"{before} -> {after}"
