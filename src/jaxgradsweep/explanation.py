"""A report in prose, for somebody who has never seen one: what was asked, measured and found, and what to do next."""

import math
import textwrap
from collections.abc import Iterator, Sequence

from jaxgradsweep import _sections as sections
from jaxgradsweep._layout import printable
from jaxgradsweep._report import Report
from jaxgradsweep._tables import flat_parts
from jaxgradsweep._verdict import Finding
from jaxgradsweep._wording import NOTHING_PROBED, RELATIVE_ERROR, Reason, Verdict
from jaxgradsweep._writing import NO_LIMIT, leaf_name, names, number

WIDTH = 88  # columns of the prose
MOST_LEAVES = 12  # leaves that are listed with their shapes

ASKED = {
    "grad": "Is the claimed gradient the derivative of the function, whose value is a single number?",
    "vjp": "Is the claimed backward pass right? It is a vector-Jacobian product: for weights u of the outputs, it says "
    "how much their weighted sum changes with each component of the arguments.",
    "jvp": "Is the claimed forward mode right? It is a Jacobian-vector product: it says how the outputs change along a "
    "direction v of the arguments.",
    "hvp": "Is the claimed Hessian-vector product right? It says how the gradient changes along a direction v of the "
    "arguments, and is held against differences of the gradient.",
    "curvature": "Is the claimed Hessian-vector product right? It is held against second differences of the function "
    "itself, so that no gradient need be trusted.",
}
DIFFERENCE = {
    1: "the central difference D(h), what it gains between x - h v and x + h v, over 2h",
    2: "the second difference, what it gains from x to x + h v and from x to x - h v together, over h^2",
}
MEASURED = (
    "{probes} drawn, at least {each} for each leaf. Along each, {subject} was evaluated at x + h v and x - h v "
    "for {steps} steps h{grid}, each half of the one before: from {largest} down to {smallest}, where 1 moves a leaf "
    "by about its own size. From these comes {difference}. That took {evaluations:,} evaluations of the function."
)
WHY_STEPS = (
    "No single step would do. A large one leaves an error of truncation, which falls as h squared; a small one leaves "
    "rounding, which rises as 1 / h. A right claim differs from D(h) by these two only. A wrong claim differs from it "
    "by something that no step makes smaller. So the differences are extrapolated to h = 0, with an error bar. The "
    "claim takes no part in that: it cannot choose the steps that flatter it."
)
MEANS = {
    Verdict.CORRECT: "Within what could be seen, claim and function agree. That is a measurement and no proof: it "
    "speaks of this point, and of errors above the detection limit.",
    Verdict.WRONG: "This is said only where the function's own values contradict the claim by far more than steps and "
    "rounding explain, or where the claim breaks a law that every derivative obeys. So it is the claim, or the rule "
    "behind it, that needs mending, and no tolerance.",
    Verdict.UNRESOLVED: "This is no accusation, and no pass either: something about the function, or about its "
    "precision, keeps the measurement from telling a right claim from a wrong one.",
}
JOINED = "Several checks were joined: {parts}. Together: {summary}. What follows is about the one that decided."
NUMBERS = (
    "{where}the claim along one direction is {claimed:.10g}, and {estimate:.10g} ± {bar} was measured: a relative "
    "error of {error}."
)
MOST = "For {leaf}, which is off most, "
AT_MOST = "Claim and measurement differ by at most {error}, which is what rounding leaves."
MEASURABLE = (
    "Claim and measurement differ by up to {error}, which is more than rounding and less than the tolerance: the claim "
    "is a little inexact, and good enough."
)
SLOPE = "The error of the differences falls as h^{slope:.2f}{usual}{until}."
USUAL = ", as it does for a smooth function"
UNUSUAL = ", where a smooth function leaves h^2"
UNTIL = ", until rounding takes over, at a step of about {crossover}"
NO_SLOPE = "No truncation is visible at any step, so that there was nothing to extrapolate."
LIMIT = (
    "The detection limit is {limit}{of}: a relative error of {part} would have been seen{digits}. It is measured, from "
    "how much the function's values scatter and how far they bend."
)
DIGITS = ". So {digits} digits of the claim are checked"
UNSTATED = "For {leaves} no detection limit can be stated: there is no derivative at the point to be measured."
TOLERANCE = {
    True: "From a relative error of {tolerance} on, the claim counts as wrong. That, too, is measured: it is the "
    "detection limit, or the finest that this precision supports.",
    False: "From a relative error of {tolerance} on, the claim counts as wrong, as asked with `rtol`.",
}
COARSE = "Errors between that and the limit are not seen."
LAWS = "Identities that need no steps were tested as well, and {held}."
NEXT = {
    Verdict.CORRECT: "Nothing is to be mended. To keep it so, put the check into a test and end it with "
    "`report.raise_unless_correct()`.",
    Verdict.WRONG: "Mend it, and check again: with the same key the directions are the same, so that the two reports "
    "can be held against each other with `jaxgradsweep compare`.",
    Verdict.UNRESOLVED: "Until that is settled, neither trust the claim nor mend it because of this report.",
}
PARTIAL = "The check was interrupted ({partial}): what it did not reach is undecided."
REPEAT = "{call}With {versions}; {settings}."
CALL = "In Python: `{call}`. "
VERSIONS = ("jaxgradsweep", "jax", "jaxlib", "numpy", "python")
SETTINGS = ("backend", "device", "dtype", "mode", "directions", "rtol", "key")
LARGE = ((1e15, "quadrillion"), (1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand"))


def render(report: Report) -> str:
    """Return the prose as plain text.

    Args:
        report: What a check found.

    Returns:
        What was asked, what was measured and how, what the verdict means, why, how sure that is, and what to do next:
        each under a title, in lines of at most 88 columns.
    """
    return "\n\n".join("\n".join(textwrap.fill(line, WIDTH) for line in b.splitlines()) for b in blocks(report))


def blocks(report: Report) -> list[str]:
    """Return what `render` puts together: a title and lines of any length in each."""
    if not report.findings and not report.parts:
        return [f"{report.verdict}: {NOTHING_PROBED}"]
    chapters = {
        "What was asked": _asked(report),
        "What was measured, and how": _measured(report),
        "What came out": [f"{report.verdict}: {report.verdict.value}.", MEANS[report.verdict], *_partial(report)],
        "Why": [words for group in _groups(report.findings) for words in _why(report, group)] + _laws(report),
        "How sure": _how_sure(report),
        "What the matrix shows": _told(sections.structure(report)),
        "Where it is wrong": [words.replace(": wrong: ", ": ") for words in _told(sections.where(report))],
        "What is likely the mistake": [words.replace(": none: ", ": ") for words in _told(sections.likely(report))],
        "What to do next": _next(report),
        "What else the check did": _told(sections.notes(report)),
        "How to repeat it": [_repeat(report)],
    }
    return ["\n".join([title, *map(_line, said)]) for title, said in chapters.items() if said]


def _asked(report: Report) -> list[str]:
    shapes = [f"{leaf_name(f.path)} of shape {f.shape}" for f in report.findings[:MOST_LEAVES]]
    more = len(report.findings) - len(shapes)
    leaves = _listed([*shapes, f"{more} more"] if more else shapes)
    moving = f"What moves {'is' if len(report.findings) == 1 else 'are'} {leaves}." if shapes else ""
    asked = [f"{ASKED.get(report.kind, f'Is the claim of check_{report.kind} right?')} {moving}".rstrip()]
    if report.parts:
        parts = _listed([f"{name} ({part.verdict})" for name, part in flat_parts(report)])
        asked.append(JOINED.format(parts=parts, summary=report.summary or str(report.verdict)))
    return asked


def _measured(report: Report) -> list[str]:
    steps, probes = report.sweep.steps, len(report.sweep.leaf)
    if not len(steps) or not probes:
        return []
    grid = f" ({given} of the grid)" if (given := report.environment.get("steps")) else ""
    measured = MEASURED.format(
        probes="One random direction v was" if probes == 1 else f"{probes} random directions v were",
        each=report.environment.get("directions", "one"),
        subject="the gradient" if report.kind == "hvp" else "the function",
        steps=len(steps),
        grid=grid,
        largest=number(steps.max()),
        smallest=number(steps.min()),
        difference=DIFFERENCE[report.sweep.order],
        evaluations=report.evaluations,
    )
    return [measured, WHY_STEPS]


def _groups(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Findings of the same verdict and reason, those that are not correct first."""
    groups: dict[tuple[Verdict, Reason], list[Finding]] = {}
    for finding in sorted(findings, key=lambda finding: finding.verdict == Verdict.CORRECT):
        groups.setdefault((finding.verdict, finding.reason), []).append(finding)
    return list(groups.values())


def _why(report: Report, group: Sequence[Finding]) -> Iterator[str]:
    """A paragraph for leaves that share verdict and reason, with the numbers of the one that is off most."""
    worst = max(group, key=lambda finding: (finding.error != finding.error, abs(finding.error)))
    size, said = number(abs(worst.error)), [_sentence(f"{worst.verdict}, since {worst.reason.value}")]
    if worst.verdict == Verdict.CORRECT:
        beyond = max((abs(f.error) for f in group if abs(f.error) > f.resolution), default=None)
        said.append(AT_MOST.format(error=size) if beyond is None else MEASURABLE.format(error=number(beyond)))
    elif math.isfinite(worst.claimed) and math.isfinite(worst.estimate):
        where = MOST.format(leaf=leaf_name(worst.path)) if len(group) > 1 else ""
        numbers = {"claimed": worst.claimed + 0.0, "estimate": worst.estimate + 0.0, "bar": number(worst.uncertainty)}
        said.append(_sentence(NUMBERS.format(where=where, error=size, **numbers)))
    said += map(_sentence, dict.fromkeys(words for words, _ in sections.integrals(group)))
    if worst.reason not in NO_LIMIT:
        said.append(_slope(worst))
    yield f"{names(group)}: {' '.join(filter(None, said))}"


def _slope(finding: Finding) -> str:
    """How the error of the differences depends on the step."""
    if finding.slope is None:
        return NO_SLOPE if finding.reason == Reason.EXACT else ""
    until = UNTIL.format(crossover=number(finding.crossover)) if finding.crossover is not None else ""
    usual = USUAL if abs(finding.slope - 2) < 0.2 else UNUSUAL
    return SLOPE.format(slope=finding.slope, usual=usual, until=until)


def _how_sure(report: Report) -> list[str]:
    with_limit = [f for f in report.findings if f.reason not in NO_LIMIT and math.isfinite(f.resolution)]
    without = [f for f in report.findings if f not in with_limit]
    said = []
    if with_limit:
        coarsest = max(with_limit, key=lambda finding: finding.resolution)
        limit = coarsest.resolution
        of = f", that of {leaf_name(coarsest.path)}, the coarsest" if len(with_limit) > 1 else ""
        known = int(-math.log10(limit)) if 0 < limit < 0.1 else 0
        digits = DIGITS.format(digits=known) if known and coarsest.verdict == Verdict.CORRECT else ""
        said.append(LIMIT.format(limit=number(limit), of=of, part=one_part_in(limit), digits=digits))
        measured = report.environment.get("rtol", "None") == "None"
        said.append(TOLERANCE[measured].format(tolerance=number(coarsest.tolerance)))
        if coarsest.tolerance < limit:
            said[-1] += f" {COARSE}"
        said.append(_sentence(RELATIVE_ERROR))
    return said + ([UNSTATED.format(leaves=names(without))] if without else [])


def one_part_in(share: float) -> str:
    """A small share in words: "one part in 480 billion", "5 %"; of any size at all, if it is zero."""
    if share <= 0:
        return "any size"
    if share > 1e-3:
        return f"{100 * share:.2g} %"
    count = float(f"{1 / share:.1e}")
    size, name = next(((size, name) for size, name in LARGE if count >= size), LARGE[-1])
    return f"one part in {count / size:.3g} {name}"


def _laws(report: Report) -> list[str]:
    """What the identities tell that need no steps."""
    laws = {True: [], False: []}
    for law in report.consistency:
        laws[law.holds].append(f"{law.law.name.lower()} ({law.law.value}; off by {number(law.residual)})")
    if not report.consistency:
        return []
    held = f"these hold: {_listed(laws[True])}" if laws[True] else ""
    broken = f"these are broken: {_listed(laws[False])}" if laws[False] else ""
    return [LAWS.format(held="; ".join(filter(None, [broken, held])))]


def _next(report: Report) -> list[str]:
    return [*_told(sections.to_do(report)), *_told(sections.broken_laws(report)), NEXT[report.verdict]]


def _partial(report: Report) -> list[str]:
    partial = report.environment.get("partial")
    return [PARTIAL.format(partial=partial)] if partial else []


def _repeat(report: Report) -> str:
    versions, settings = (
        ", ".join(f"{name} {report.environment[name]}" for name in names if name in report.environment)
        for names in (VERSIONS, SETTINGS)
    )
    call = CALL.format(call=words) if (words := report.environment.get("call")) else ""
    return REPEAT.format(call=call, versions=versions, settings=settings)


def _told(section: sections.Section) -> list[str]:
    """What a section says, as sentences."""
    return [_sentence(str(item)) for item in section.items]


def _listed(words: Sequence[str]) -> str:
    """A, b and c."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _sentence(words: str) -> str:
    """Words as a sentence: with a capital letter and a full stop."""
    words = words[:1].upper() + words[1:]
    return words if words.endswith((".", "?", "!")) else f"{words}."


def _line(words: str) -> str:
    return printable(" ".join(words.split()))
