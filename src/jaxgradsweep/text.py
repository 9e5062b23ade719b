"""A report in words: the verdict in one line, a table of leaves, what to do, and the figures that others print."""

import html
import textwrap
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from jaxgradsweep._locate import Blame
from jaxgradsweep._remedy import ABOUT_ALL, NO_CAUSE, ONE_RATIO, OTHERS_RIGHT, RATIOS_FROM
from jaxgradsweep._report import TOTAL, Report
from jaxgradsweep._verdict import Finding
from jaxgradsweep._wording import (
    BROKEN,
    HOLD,
    LIMIT,
    MEASURABLY_OFF,
    MEASURED_IS_BETTER,
    NO_PATTERN,
    NOTHING_PROBED,
    RELATIVE_ERROR,
    STOPPED,
    WRONG_ARE,
    Law,
    Reason,
    Verdict,
)

WIDTH = 110  # columns of the text
VERDICT_WIDTH = 130  # the verdict is one line, unless it names many leaves
MOST_ROWS = 40  # a longer table hides what matters
MOST_NAMES = 6  # leaves named in one sentence
LONGEST_NAME = 100  # columns of a leaf's name in a sentence
MOST_BLAMED = 3  # wrong components of a leaf that are spelled out
MOST_BLURRED = 1e3  # a ratio is shown where the estimate is so many times its uncertainty
SHARED = 0.2  # and named where so large a part of the wrong components has it
SHORTEST_PATH = 16  # columns that a leaf's name keeps, whatever else the table holds

# Where there is no derivative at the point, how finely it could have been measured says nothing.
NO_LIMIT = frozenset(
    {Reason.KINK, Reason.JUMP, Reason.SINGULAR, Reason.NOT_FINITE, Reason.NONDETERMINISTIC, Reason.QUANTISED}
)
LAWLESS = {Reason.VALUE: Law.VALUE, Reason.NOT_LINEAR: Law.LINEARITY}  # reasons that a broken identity gives
# What the integral of the claim along the probed segments says, by the opinion that it supports.
IDENTITY = {
    "FOR": "the claim integrates back to the function to within {residual} along the segments (bound {bound})",
    "AGAINST": "the claim, integrated along the segments, misses the function by {most}{residual} (bound {bound})",
}

_COLUMNS = ("leaf", "shape", "verdict", "reason", "relative error", "limit", "slope", "crossover")
_NUMBER_COLUMNS = ("directional derivative of", "claimed", "measured", "claimed / measured, every direction")
_PART_COLUMNS = ("check", "verdict", "leaf", "reason", "relative error", "limit")
_BLAME_COLUMNS = ("component", "claimed", "measured", "claimed / measured")
_LAW_COLUMNS = ("identity", "which says", "holds", "off by", "rounding")
_FIGURES = ("cs231n", "ratio", "sum_ratio", "max_normalised")
_FIGURE_COLUMNS = ("leaf", "cs231n", "ratio", "sum ratio", "max norm.", "same sign")
_RULE_COLUMNS = ("leaf", "cs231n says", "ratio says", "sum ratio says", "the sweep says")
_FORMULAS = """\
with a = claimed and n = numeric directional derivatives
  cs231n     max |a - n| / max(1e-8, |a| + |n|)   Stanford CS231n: 1e-2, 1e-4, 1e-7
  ratio      ||a - n|| / (||a|| + ||n||)          deeplearning.ai: 1e-3, 1e-5, 1e-7
  sum ratio  ||a - n|| / ||a + n||                Stanford UFLDL: 1e-9
  max norm.  max |a - n| / max(|a|, |n|)"""


def render(report: Report) -> str:
    """Return the report as plain text, without control codes and at most about 110 columns wide.

    Args:
        report: What a check found.

    Returns:
        The verdict with what was measured, a table with a row per leaf, why a finding is not `CORRECT`, the likely
        causes, and each distinct advice about leaves without one, the numbers that disagree, the notes, and how much
        was evaluated where. A report that joins several checks has a table with a row for each in front; the rest is
        about the one that decided.
    """
    return "\n\n".join(
        filter(None, [verdict_line(report), _part_table(report), _leaf_table(report), *_explanations(report)])
    )


def render_classic(report: Report) -> str:
    """Return the familiar figures of other checkers as a table, with what each rule of thumb would have said.

    Args:
        report: What a check found.

    Returns:
        The figures and what the rules say of them, for each leaf and for all together, the formulas, and why the
        measured detection limit is the better judge.
    """
    shown = report.classic[:1] if len(report.findings) == 1 else report.classic  # a total of one is the same again
    figures = [
        (leaf_name(each.path), *(number(getattr(each, name)) for name in _FIGURES), f"{each.same_sign:.0%}")
        for each in shown
    ]
    measured = {each.path: f"{each.verdict}, {_limit([each]) or each.reason}" for each in report.findings}
    measured[TOTAL] = ", ".join(filter(None, [str(report.verdict), _limit(report.findings)]))
    rules = [(leaf_name(each.path), *each.rules_of_thumb().values(), measured.get(each.path, "-")) for each in shown]
    tables = [_table(_FIGURE_COLUMNS, figures, numeric=range(1, 6)), _table(_RULE_COLUMNS, rules)]
    return "\n\n".join([*map("\n".join, tables), _FORMULAS, textwrap.fill(MEASURED_IS_BETTER, WIDTH)])


def render_html(report: Report) -> str:
    """Return the verdict, the table and the advice as escaped HTML, small enough for a notebook's cell."""
    head = "".join(f"<th>{html.escape(title)}</th>" for title in _COLUMNS)
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in _cells(report, finding))}</tr>"
        for finding in _shown(report.findings)
    )
    words = "\n\n".join(filter(None, [_left_out(report), *_explanations(report)]))
    return (
        f"<p><strong>{html.escape(' '.join(verdict_line(report).split()))}</strong></p>"
        f"{f'<pre>{html.escape(parts)}</pre>' if (parts := _part_table(report)) else ''}"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"<pre>{html.escape(words)}</pre>"
    )


def verdict_line(report: Report) -> str:
    """Return the verdict, the leaves that it is about unless it is `CORRECT`, and the detection limit or the reason.

    Of a report that joins several checks, the verdict and what they say together.
    """
    if report.summary:
        line = f"{report.verdict}: {_printable(report.summary)}{_broken(report)}"
        return textwrap.fill(line, VERDICT_WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    if not report.findings:
        return f"{report.verdict}: {NOTHING_PROBED}"
    decisive = [finding for finding in report.findings if finding.verdict is report.verdict]
    line = f"{report.verdict}{'' if report.ok else f' in {_names(decisive)}'}: {report.verdict.value}"
    line += _measured(report, decisive)
    if off := [f for f in report.findings if f.verdict is Verdict.CORRECT and abs(f.error) > f.resolution]:
        largest = max(abs(finding.error) for finding in off)
        line += f"; {MEASURABLY_OFF.format(error=number(largest), leaves=_names(off))}"
    line += _broken(report)
    line += f"; partial, since it was interrupted: {partial}" if (partial := report.environment.get("partial")) else ""
    return textwrap.fill(line, VERDICT_WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _broken(report: Report) -> str:
    """Name the identities that do not hold."""
    said = {LAWLESS.get(finding.reason) for finding in report.findings}
    broken = [law for law in report.consistency if not law.holds and law.law not in said]
    return "".join(f"; {BROKEN.format(law=law.law.name.lower(), off=number(law.residual))}" for law in broken)


def _measured(report: Report, decisive: Sequence[Finding]) -> str:
    """What was measured of the leaves that decide, in the words that follow a verdict."""
    asked = "as asked" if report.environment.get("rtol", "None") != "None" else "measured"
    tolerance = f"tolerance {number(report.tolerance)}, {asked}"
    if report.verdict is Verdict.CORRECT:
        return f"; {LIMIT.format(limit=number(report.resolution))} ({tolerance})"
    off = ""
    if report.verdict is Verdict.WRONG:
        decisive = [max(decisive, key=lambda finding: (finding.error != finding.error, abs(finding.error)))]
        known = decisive[0].error == decisive[0].error and decisive[0].reason not in LAWLESS
        off = f"; off by {number(abs(decisive[0].error))}" if known else f"; {decisive[0].reason.value}"
    elif reason := _only_reason(report):
        return f"; {reason.value}"
    limit = _limit(decisive)
    return f"{off} ({f'detection {limit}, ' if limit else ''}{tolerance})"


def _limit(findings: Sequence[Finding]) -> str:
    """Name the coarsest detection limit of those that have one; empty if none has."""
    limits = [finding.resolution for finding in findings if finding.reason not in NO_LIMIT]
    return f"limit {number(max(limits))}" if limits else ""


def _only_reason(report: Report) -> Reason | None:
    """The reason that stands in the verdict's line: that of all leaves that no limit can be stated for."""
    reasons = {finding.reason for finding in _not_correct(report)}
    return reasons.pop() if report.verdict is Verdict.UNRESOLVED and len(reasons) == 1 and reasons <= NO_LIMIT else None


def relative_size(report: Report, finding: Finding) -> float:
    """Return the directional derivative that an error of 1 means for a finding."""
    probed = 0 <= finding.probe < report.sweep.size.size
    sizes = (report.sweep.size[finding.probe] if probed else 0.0, abs(finding.estimate))
    stated = finding.evidence.get("size", max(size if size < float("inf") else 0.0 for size in sizes))
    return float(stated) if isinstance(stated, (int, float)) and 0 < stated < float("inf") else 1.0


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
    return _printable(path) or "(argument)"


def shorten(text: str, width: int) -> str:
    """Cut a text down to a width by leaving out its middle."""
    if len(text) <= width:
        return text
    tail = (width - 3) // 2
    return f"{text[: width - 3 - tail]}...{text[len(text) - tail :]}"


def _part_table(report: Report) -> str:
    rows = [_part_cells(name, part) for name, part in _flat(report)]
    return "\n".join(_table(_PART_COLUMNS, rows, (4, 5))) if rows else ""


def _flat(report: Report, prefix: str = "") -> Iterator[tuple[str, Report]]:
    """All checks that a report joins, with their names; parts of parts have the names of both."""
    for part in report.parts:
        name = f"{prefix}{_printable(part.name)}"
        if part.report.parts:
            yield from _flat(part.report, f"{name}, ")
        else:
            yield name, part.report


def _part_cells(name: str, report: Report) -> tuple[str, ...]:
    """One row: the verdict of a check, and the leaf that decided it."""
    if not report.findings:
        return name, str(report.verdict), "-", NOTHING_PROBED, "-", "-"
    same = [finding for finding in report.findings if finding.verdict is report.verdict]
    worst = max(same, key=lambda finding: (finding.error != finding.error, abs(finding.error)))
    limit = number(None if worst.reason in NO_LIMIT else worst.resolution)
    return name, str(report.verdict), leaf_name(worst.path), str(worst.reason), number(worst.error), limit


def _leaf_table(report: Report) -> str:
    rows = [_cells(report, finding) for finding in _shown(report.findings)]
    return "\n".join(filter(None, [*(_table(_COLUMNS, rows, (4, 5, 6, 7)) if rows else []), _left_out(report)]))


def _cells(report: Report, finding: Finding) -> tuple[str, ...]:
    uncertainty = number(finding.uncertainty / relative_size(report, finding))
    return (
        leaf_name(finding.path),
        shorten(str(finding.shape), 18),
        str(finding.verdict),
        str(finding.reason),
        f"{number(finding.error)} ± {uncertainty}",
        number(None if finding.reason in NO_LIMIT else finding.resolution),
        "-" if finding.slope is None else f"{finding.slope:.2f}",
        number(finding.crossover),
    )


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = ()) -> list[str]:
    """Align columns, numbers to the right. Names that shortening would make alike get a line of their own."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    widths[0] = min(widths[0], max(SHORTEST_PATH, WIDTH - sum(widths[1:]) - 2 * (len(widths) - 1)))
    labels = [shorten(row[0], widths[0]) for row in rows]
    lines = []
    for label, row in zip([titles[0], *labels], [titles, *rows], strict=True):
        if labels.count(label) > 1:
            lines.append(row[0])
            label = ""
        cells = zip([label, *row[1:]], widths, strict=True)
        aligned = (cell.rjust(width) if i in numeric else cell.ljust(width) for i, (cell, width) in enumerate(cells))
        lines.append("  ".join(aligned).rstrip())
    return lines


def _shown(findings: Sequence[Finding]) -> list[Finding]:
    """Choose the rows of the table: all if they are few, else those that are not correct before the others."""
    by_interest = sorted(range(len(findings)), key=lambda i: findings[i].verdict is Verdict.CORRECT)
    return [findings[i] for i in sorted(by_interest[:MOST_ROWS])]


def _left_out(report: Report) -> str:
    shown = {id(finding) for finding in _shown(report.findings)}
    rest = [finding for finding in report.findings if id(finding) not in shown]
    counts = [(verdict, sum(finding.verdict is verdict for finding in rest)) for verdict in Verdict]
    counted = ", ".join(f"{count} {verdict}" for verdict, count in counts if count)
    return f"and {len(rest)} more leaves: {counted}" if rest else ""


def _explanations(report: Report) -> list[str]:
    explained = {cause.path for cause in report.causes}  # what a cause says is more than what holds of any mistake
    explained |= {blame.path for blame in report.blame}  # and so is what was measured of its components
    told = [finding for finding in report.findings if finding.advice and finding.path not in explained]
    return [
        textwrap.fill(RELATIVE_ERROR, WIDTH) if report.verdict is Verdict.WRONG else "",
        _why(report),
        _likely(report),
        _section("what to do", ((finding.advice, finding) for finding in told)),
        _numbers(report),
        *_blames(report),
        _items("structure", getattr(report, "structure", ())),
        *_identities(report),
        _items("notes", report.notes),
        _footer(report),
    ]


def _blames(report: Report) -> list[str]:
    """Which components are wrong: what they have in common, and those that are off most."""
    said = []
    for blame in report.blame:
        count, total = int(blame.wrong.sum()), int(np.prod(blame.shape, dtype=int))
        words = (
            WRONG_ARE.format(pattern=blame.pattern) if blame.pattern else NO_PATTERN.format(count=count, total=total)
        )
        said.append(f"{leaf_name(blame.path)}: {words}{'' if blame.complete else f'; {STOPPED}'}")
    rows = [
        (
            f"{leaf_name(blame.path)}{list(map(int, index)) if len(index) else ''}",
            f"{claimed:.8g}",
            f"{estimate:.8g} ± {number(bar)}",
            f"{(claimed / estimate):.6g}" if abs(estimate) > MOST_BLURRED * bar else "-",
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
    return [_items("where", said), "\n".join(_table(_BLAME_COLUMNS, rows, (1, 2, 3))) if rows else ""]


def _likely(report: Report) -> str:
    """The causes, and what the leaves that are right tell of them."""
    causes: dict[str, list[str]] = {}
    for cause in report.causes:
        causes.setdefault(cause.sentence, []).append(leaf_name(cause.path))
    said = [f"{', '.join(names[:MOST_NAMES])}: {sentence}" for sentence, names in causes.items()]
    wrong = [finding for finding in report.findings if finding.verdict is Verdict.WRONG]
    others = [finding for finding in report.findings if finding.verdict is Verdict.CORRECT]
    alone = len(wrong) == 1 and len(others) == len(report.findings) - 1 > 0
    if report.blame and not causes:
        said = [f"{leaf_name(blame.path)}: {NO_CAUSE.format(ratios=_spread(blame))}" for blame in report.blame]
    if said and alone and not {cause.name for cause in report.causes} & set(ABOUT_ALL):
        said.append(OTHERS_RIGHT.format(leaves=_names(wrong), it=_names(wrong)))
    return _items("likely cause", said)


def _spread(blame: Blame) -> str:
    """The ratios of claimed to measured components: those that several share, or from where to where they go."""
    wrong = blame.wrong & (np.abs(blame.seen_estimate) > MOST_BLURRED * blame.seen_uncertainty)
    ratios = np.real(blame.seen_claimed[wrong] / blame.seen_estimate[wrong])
    if not len(ratios):
        return "the measured ones are zero, or too small to tell a ratio"
    values, counts = np.unique([float(f"{ratio:.5e}") for ratio in ratios], return_counts=True)
    shared = [i for i in np.argsort(-counts, kind="stable")[:2] if counts[i] >= max(2, SHARED * len(ratios))]
    said = [ONE_RATIO.format(value=values[i], count=counts[i], total=len(ratios)) for i in shared]
    return ", and ".join(said) or RATIOS_FROM.format(least=ratios.min(), most=ratios.max())


def _identities(report: Report) -> list[str]:
    """The identities that need no steps: in a line where all hold, else as a table with where to look."""
    told = report.consistency
    if all(law.holds for law in told):
        own = any(law.law not in (Law.VALUE, Law.BATCH) for law in told)  # every sweep tests these two
        held = [f"{law.law.name.lower()} ({number(law.residual)})" for law in told]
        return [textwrap.fill(f"{HOLD} {', '.join(held)}", WIDTH, subsequent_indent="  ")] if own else []
    rows = [
        (
            law.law.name.lower(),
            law.law.value,
            "yes" if law.holds else "NO",
            number(law.residual),
            number(law.roundoff) if law.roundoff else "-",
        )
        for law in told
    ]
    known = {Law.LINEARITY, Law.ADJOINT} if report.causes else set()  # a cause says more
    broken = [f"{law.law.name.lower()}: {law.advice}" for law in told if not law.holds and law.law not in known]
    return ["\n".join(_table(_LAW_COLUMNS, rows, (3, 4))), _items("where an identity is broken", broken)]


def _why(report: Report) -> str:
    """The reasons, unless the verdict's line states the only one, and what the integral of the claim says."""
    findings = [] if _only_reason(report) else _not_correct(report)
    reasons = [(finding.reason.value, finding) for finding in findings]
    integrated = [f for f in report.findings if f.verdict is not Verdict.CORRECT or f.reason is Reason.IDENTITY]
    integrated = [f for f in integrated if f.reason not in (Reason.JUMP, Reason.QUANTISED)]  # nothing integrates a jump
    return _section("why", [*reasons, *_integrals(integrated)])


def _integrals(findings: Sequence[Finding]) -> Iterator[tuple[str, Finding]]:
    """Say what the segments tell, with the largest residual of all leaves that they tell the same of."""
    for opinion, sentence in IDENTITY.items():
        group = [finding for finding in findings if finding.evidence.get("identity") == opinion]
        told = [[float(each.evidence[f"identity {name}"]) for name in ("residual", "bound")] for each in group]
        residual, bound = max(((abs(residual), bound) for residual, bound in told), default=(0.0, 0.0))
        most = "up to " if len(group) > 1 else ""
        words = sentence.format(most=most, residual=number(residual), bound=number(bound))
        yield from ((words, finding) for finding in group)


def _not_correct(report: Report) -> list[Finding]:
    return [finding for finding in report.findings if finding.verdict is not Verdict.CORRECT]


def _numbers(report: Report) -> str:
    """Set claimed and estimated derivatives side by side where they do not agree."""
    rows = [
        (
            leaf_name(finding.path),
            f"{finding.claimed + 0.0:.10g}",
            f"{finding.estimate + 0.0:.10g} ± {number(finding.uncertainty)}",
            _ratios(report, finding),
        )
        for finding in _shown(_not_correct(report))
    ]
    columns = 4 if report.verdict is Verdict.WRONG else 3
    return "\n".join(_table(_NUMBER_COLUMNS[:columns], [r[:columns] for r in rows], (1, 2))) if rows else ""


def _ratios(report: Report, finding: Finding) -> str:
    """The range of claimed / estimated over the directions in which the estimate is sharp."""
    rows = list(finding.probes)
    claimed, estimate = report.sweep.claimed[rows], report.fit.derivative[rows]
    sharp = np.isfinite(claimed) & (np.abs(estimate) > MOST_BLURRED * report.fit.uncertainty[rows])
    if finding.verdict is not Verdict.WRONG or not sharp.any():
        return "-"
    ratios = claimed[sharp] / estimate[sharp]
    return " to ".join(dict.fromkeys(f"{ratio + 0.0:.6g}" for ratio in (ratios.min(), ratios.max())))


def _section(title: str, said: Iterable[tuple[str, Finding]]) -> str:
    """Write each distinct sentence once, after the names of its leaves."""
    leaves: dict[str, list[Finding]] = {}
    for sentence, finding in said:
        leaves.setdefault(sentence, []).append(finding)
    return _items(title, [f"{_names(findings)}: {sentence}" for sentence, findings in leaves.items()])


def _items(title: str, sentences: Sequence[str]) -> str:
    wrap = textwrap.TextWrapper(WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
    items = [wrap.fill(_printable(" ".join(sentence.split()))) for sentence in sentences]
    return "\n".join([title, *items]) if items else ""


def _footer(report: Report) -> str:
    known = {name: report.environment[name] for name in ("dtype", "backend", "device") if name in report.environment}
    if known.get("dtype") == "native" and report.findings:
        known["dtype"] += f" ({', '.join(dict.fromkeys(finding.dtype for finding in report.findings))})"
    if report.kind == "hvp" and "mode" in report.environment:
        known["mode"] = report.environment["mode"]
    part = f" (at {report.environment['steps']} steps)" if "steps" in report.environment else ""
    words = [f"{report.evaluations:,} evaluations of the function{part}", *dict.fromkeys(known.values())]
    return _printable(", ".join(words))


def _names(findings: Sequence[Finding]) -> str:
    names = [shorten(leaf_name(finding.path), LONGEST_NAME) for finding in findings]
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
