"""How numbers and names are written, wherever a report is shown."""

from collections.abc import Sequence

from jaxgradsweep._layout import printable, shorten
from jaxgradsweep._report import Report
from jaxgradsweep._verdict import Finding
from jaxgradsweep._wording import Reason

MOST_NAMES = 6  # leaves named in one sentence
MOST_BLURRED = 1e3  # a ratio is shown where the estimate is so many times its uncertainty
LONGEST_NAME = 100  # letters of a leaf's name in a sentence

# Where there is no derivative at the point, how finely it could have been measured says nothing.
NO_LIMIT = frozenset(
    {Reason.KINK, Reason.JUMP, Reason.SINGULAR, Reason.NOT_FINITE, Reason.NONDETERMINISTIC, Reason.QUANTISED}
)


def number(value: float | None) -> str:
    """Write a number with two or three digits: 0.031, 120, 3.1e-10; "-" stands for None."""
    if value is None:
        return "-"
    if value == 0 or 1e-2 <= abs(value) < 999.5:
        return f"{value + 0.0:.3g}"  # + 0.0, since -0.0 is no news
    mantissa, exponent, power = f"{value:.1e}".partition("e")
    return f"{mantissa.removesuffix('.0')}{exponent}{int(power)}" if exponent else mantissa


def leaf_name(path: str) -> str:
    """Name a leaf: its path with control codes made visible, or words where the whole argument is one array."""
    return printable(path) or "(argument)"


def names(findings: Sequence[Finding]) -> str:
    """Name the leaves of findings in a sentence: the first of them, and how many more there are."""
    named = [shorten(leaf_name(finding.path), LONGEST_NAME) for finding in findings]
    more = f" and {len(named) - MOST_NAMES} more" if len(named) > MOST_NAMES else ""
    return ", ".join(named[:MOST_NAMES]) + more


def relative_size(report: Report, finding: Finding) -> float:
    """Return the directional derivative that an error of 1 means for a finding."""
    probed = 0 <= finding.probe < report.sweep.size.size
    sizes = (report.sweep.size[finding.probe] if probed else 0.0, abs(finding.estimate))
    stated = finding.evidence.get("size", max(size if size < float("inf") else 0.0 for size in sizes))
    return float(stated) if isinstance(stated, (int, float)) and 0 < stated < float("inf") else 1.0
