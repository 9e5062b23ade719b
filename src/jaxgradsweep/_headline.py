"""A verdict in one sentence: which leaves it is about, and how finely they were measured."""

from collections.abc import Sequence

from jaxgradsweep._layout import printable
from jaxgradsweep._report import Report
from jaxgradsweep._verdict import Finding
from jaxgradsweep._wording import BROKEN, LIMIT, MEASURABLY_OFF, NOTHING_PROBED, OFF_ALONG_ONE, Law, Reason, Verdict
from jaxgradsweep._writing import NO_LIMIT, names, number

LAWLESS = {Reason.VALUE: Law.VALUE, Reason.NOT_LINEAR: Law.LINEARITY}  # reasons that a broken identity gives


def headline(report: Report) -> tuple[str, str]:
    """Say a verdict in a sentence.

    Args:
        report: What a check found.

    Returns:
        The leaves that it is about, empty if it is `CORRECT`; and what it says, with the detection limit or the reason.
        Of a report that joins several checks, what they say together.
    """
    if report.summary:
        return "", f"{printable(report.summary)}{_broken(report)}"
    if not report.findings:
        return "", NOTHING_PROBED
    decisive = [finding for finding in report.findings if finding.verdict == report.verdict]
    sentence = f"{report.verdict.value}{_measured(report, decisive)}"
    if off := [f for f in report.findings if f.verdict == Verdict.CORRECT and abs(f.error) > f.resolution]:
        largest = max(off, key=lambda finding: abs(finding.error))
        words = MEASURABLY_OFF if abs(largest.error) <= largest.tolerance else OFF_ALONG_ONE
        sentence += f"; {words.format(error=number(abs(largest.error)), leaves=names(off))}"
    sentence += _broken(report)
    if partial := report.environment.get("partial"):
        sentence += f"; partial, since it was interrupted: {printable(partial)}"
    return "" if report.ok else names(decisive), sentence


def limit_of(findings: Sequence[Finding]) -> str:
    """Name the coarsest detection limit of those that have one; empty if none has."""
    limits = [finding.resolution for finding in findings if finding.reason not in NO_LIMIT]
    return f"limit {number(max(limits))}" if limits else ""


def only_reason(report: Report) -> Reason | None:
    """The reason that stands in the headline: that of all leaves that no limit can be stated for."""
    reasons = {finding.reason for finding in not_correct(report)}
    return reasons.pop() if report.verdict == Verdict.UNRESOLVED and len(reasons) == 1 and reasons <= NO_LIMIT else None


def not_correct(report: Report) -> list[Finding]:
    """The findings that need a word."""
    return [finding for finding in report.findings if finding.verdict != Verdict.CORRECT]


def all_hold(report: Report) -> bool:
    """Whether no identity that needs no steps is broken."""
    return all(law.holds for law in report.consistency)


def _broken(report: Report) -> str:
    """Name the identities that do not hold."""
    said = {LAWLESS.get(finding.reason) for finding in report.findings}
    broken = [law for law in report.consistency if not law.holds and law.law not in said]
    return "".join(f"; {BROKEN.format(law=law.law.name.lower(), off=number(law.residual))}" for law in broken)


def _measured(report: Report, decisive: Sequence[Finding]) -> str:
    """What was measured of the leaves that decide, in the words that follow a verdict."""
    asked = "as asked" if report.environment.get("rtol", "None") != "None" else "measured"
    tolerance = f"tolerance {number(report.tolerance)}, {asked}"
    if report.verdict == Verdict.CORRECT:
        return f"; {LIMIT.format(limit=number(report.resolution))} ({tolerance})"
    off = ""
    if report.verdict == Verdict.WRONG:
        decisive = [max(decisive, key=lambda finding: (finding.error != finding.error, abs(finding.error)))]
        known = decisive[0].error == decisive[0].error and decisive[0].reason not in LAWLESS
        off = f"; off by {number(abs(decisive[0].error))}" if known else f"; {decisive[0].reason.value}"
    elif reason := only_reason(report):
        return f"; {reason.value}"
    limit = limit_of(decisive)
    return f"{off} ({f'detection {limit}, ' if limit else ''}{tolerance})"
