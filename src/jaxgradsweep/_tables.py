"""What a report says in tables, whatever shows them: a terminal, a page, a notebook."""

from collections.abc import Iterator, Sequence

import numpy as np

from jaxgradsweep._headline import all_hold, limit_of, not_correct
from jaxgradsweep._layout import Cell, Table, printable, shorten
from jaxgradsweep._report import TOTAL, Report
from jaxgradsweep._verdict import Finding
from jaxgradsweep._wording import NOTHING_PROBED, Reason, Verdict
from jaxgradsweep._writing import MOST_BLURRED, NO_LIMIT, leaf_name, number, relative_size

MOST_BLAMED = 3  # wrong components of a leaf that are spelled out
RANK = {Verdict.CORRECT: 0, Verdict.UNRESOLVED: 1, Verdict.WRONG: 2}  # by which rows are sorted
FORMULAS = """\
with a = claimed and n = numeric directional derivatives
  cs231n     max |a - n| / max(1e-8, |a| + |n|)   Stanford CS231n: 1e-2, 1e-4, 1e-7
  ratio      ||a - n|| / (||a|| + ||n||)          deeplearning.ai: 1e-3, 1e-5, 1e-7
  sum ratio  ||a - n|| / ||a + n||                Stanford UFLDL: 1e-9
  max norm.  max |a - n| / max(|a|, |n|)"""

_LEAVES = ("leaf", "shape", "verdict", "reason", "relative error", "limit", "slope", "crossover")
_NUMBERS = ("directional derivative of", "claimed", "measured", "claimed / measured, every direction")
_PARTS = ("check", "verdict", "leaf", "reason", "relative error", "limit")
_COMPONENTS = ("component", "claimed", "measured", "claimed / measured")
_LAWS = ("identity", "which says", "holds", "off by", "rounding")
_FAMILIAR = ("cs231n", "ratio", "sum_ratio", "max_normalised")
_FIGURES = ("leaf", "cs231n", "ratio", "sum ratio", "max norm.", "same sign")
_RULES = ("leaf", "cs231n says", "ratio says", "sum ratio says", "the sweep says")


def parts_table(report: Report) -> Table:
    """A row for each check that a report joins."""
    return Table(columns=_PARTS, rows=tuple(_part(name, part) for name, part in flat_parts(report)), numeric=(4, 5))


def flat_parts(report: Report, prefix: str = "") -> Iterator[tuple[str, Report]]:
    """All checks that a report joins, with their names; parts of parts have the names of both."""
    for part in report.parts:
        name = f"{prefix}{printable(part.name)}"
        if part.report.parts:
            yield from flat_parts(part.report, f"{name}, ")
        else:
            yield name, part.report


def _part(name: str, report: Report) -> tuple[str, ...]:
    """One row: the verdict of a check, and the leaf that decided it."""
    verdict = Cell(str(report.verdict), RANK[report.verdict])
    if not report.findings:
        return name, verdict, "-", NOTHING_PROBED, "-", "-"
    same = [finding for finding in report.findings if finding.verdict == report.verdict]
    worst = max(same, key=lambda finding: (finding.error != finding.error, abs(finding.error)))
    error = Cell(number(worst.error), abs(worst.error))
    return name, verdict, leaf_name(worst.path), str(worst.reason), error, _limit(worst)


def leaf_table(report: Report, most: int) -> Table:
    """A row for each leaf; if they are more than so many, those that are not correct before the others."""
    shown = _shown(report.findings, most)
    rows = tuple(_leaf(report, finding) for finding in shown)
    return Table(columns=_LEAVES, rows=rows, numeric=(4, 5, 6, 7), more=_left_out(report.findings, shown))


def _leaf(report: Report, finding: Finding) -> tuple[str, ...]:
    uncertainty = number(finding.uncertainty / relative_size(report, finding))
    return (
        leaf_name(finding.path),
        Cell(shorten(str(finding.shape), 18), float(np.prod(finding.shape, dtype=float))),
        Cell(str(finding.verdict), RANK[finding.verdict]),
        str(finding.reason),
        Cell(f"{number(finding.error)} ± {uncertainty}", abs(finding.error)),
        _limit(finding),
        Cell("-" if finding.slope is None else f"{finding.slope:.2f}", finding.slope),
        Cell(number(finding.crossover), finding.crossover),
    )


def _limit(finding: Finding) -> Cell:
    limit = None if finding.reason in NO_LIMIT else finding.resolution
    return Cell(number(limit), limit)


def _shown(findings: Sequence[Finding], most: int) -> list[Finding]:
    """Choose the rows of a table: all if they are few, else those that are not correct before the others."""
    by_interest = sorted(range(len(findings)), key=lambda i: findings[i].verdict == Verdict.CORRECT)
    return [findings[i] for i in sorted(by_interest[:most])]


def _left_out(findings: Sequence[Finding], shown: Sequence[Finding]) -> str:
    known = set(map(id, shown))
    rest = [finding for finding in findings if id(finding) not in known]
    counts = [(verdict, sum(finding.verdict == verdict for finding in rest)) for verdict in Verdict]
    counted = ", ".join(f"{count} {verdict}" for verdict, count in counts if count)
    return f"and {len(rest)} more leaves: {counted}" if rest else ""


def numbers_table(report: Report, most: int) -> Table:
    """Claimed and estimated derivatives side by side where they do not agree."""
    count = 4 if report.verdict == Verdict.WRONG else 3
    steady = [finding for finding in not_correct(report) if finding.reason != Reason.NONDETERMINISTIC]
    rows = tuple(_numbers(report, finding)[:count] for finding in _shown(steady, most))
    return Table(columns=_NUMBERS[:count], rows=rows, numeric=(1, 2))


def _numbers(report: Report, finding: Finding) -> tuple[str, ...]:
    return (
        f"{leaf_name(finding.path)}{finding.evidence.get('component', '')}",
        Cell(f"{finding.claimed + 0.0:.10g}", finding.claimed),
        Cell(f"{finding.estimate + 0.0:.10g} ± {number(finding.uncertainty)}", finding.estimate),
        _ratios(report, finding),
    )


def _ratios(report: Report, finding: Finding) -> Cell:
    """The range of claimed / estimated over the directions in which the estimate is sharp."""
    rows = list(finding.probes)
    claimed, estimate = report.sweep.claimed[rows], report.fit.derivative[rows]
    sharp = np.isfinite(claimed) & (np.abs(estimate) > MOST_BLURRED * report.fit.uncertainty[rows])
    if finding.verdict != Verdict.WRONG or not sharp.any():
        return Cell("-", None)
    ratios = claimed[sharp] / estimate[sharp]
    least, most = float(ratios.min()), float(ratios.max())
    return Cell(" to ".join(dict.fromkeys(f"{ratio + 0.0:.6g}" for ratio in (least, most))), least)


def components_table(report: Report) -> Table:
    """The components of each wrong leaf that are off most."""
    rows = [
        (
            f"{leaf_name(blame.path)}{list(map(int, index)) if len(index) else ''}",
            Cell(f"{claimed:.8g}", abs(claimed)),
            Cell(f"{estimate:.8g} ± {number(bar)}", abs(estimate)),
            Cell(f"{(ratio := claimed / estimate):.6g}", abs(ratio))
            if abs(estimate) > MOST_BLURRED * bar
            else Cell("-", None),
        )
        for blame in report.blame
        for index, claimed, estimate, bar in zip(
            blame.indices[:MOST_BLAMED],
            blame.claimed[:MOST_BLAMED],
            blame.estimate[:MOST_BLAMED],
            blame.uncertainty[:MOST_BLAMED],
            strict=True,
        )
    ]
    return Table(columns=_COMPONENTS, rows=tuple(rows), numeric=(1, 2, 3))


def laws_table(report: Report) -> Table:
    """The identities that need no steps, where one of them is broken."""
    rows = [
        (
            law.law.name.lower(),
            law.law.value,
            "yes" if law.holds else "NO",
            Cell(number(law.residual), law.residual),
            Cell(number(law.roundoff) if law.roundoff else "-", law.roundoff),
        )
        for law in report.consistency
    ]
    return Table(columns=_LAWS, rows=() if all_hold(report) else tuple(rows), numeric=(3, 4))


def familiar_tables(report: Report) -> tuple[Table, Table]:
    """The figures of other checkers, and what their rules of thumb would have said beside what the sweep says."""
    shown = report.classic[:1] if len(report.findings) == 1 else report.classic  # a total of one is the same again
    figures = [
        (
            leaf_name(each.path),
            *(Cell(number(value := getattr(each, name)), value) for name in _FAMILIAR),
            Cell(f"{each.same_sign:.0%}", each.same_sign),
        )
        for each in shown
    ]
    measured = {each.path: f"{each.verdict}, {limit_of([each]) or each.reason}" for each in report.findings}
    measured[TOTAL] = ", ".join(filter(None, [str(report.verdict), limit_of(report.findings)]))
    rules = [(leaf_name(each.path), *each.rules_of_thumb().values(), measured.get(each.path, "-")) for each in shown]
    return Table(columns=_FIGURES, rows=tuple(figures), numeric=tuple(range(1, 6))), Table(
        columns=_RULES, rows=tuple(rules)
    )
