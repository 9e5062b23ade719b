"""What a report says in sentences, under titles, whatever shows them: a terminal, a page, a notebook."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from jaxgradsweep._headline import all_hold, not_correct, only_reason
from jaxgradsweep._layout import printable
from jaxgradsweep._locate import Blame
from jaxgradsweep._remedy import ABOUT_ALL, NO_CAUSE, ONE_RATIO, OTHERS_RIGHT, RATIOS_FROM, SINGLE_RATIO
from jaxgradsweep._report import Report
from jaxgradsweep._verdict import Finding
from jaxgradsweep._wording import BESIDE_KINKS, HOLD, NO_PATTERN, STOPPED, STOPS_EARLY, WRONG_ARE, Law, Reason, Verdict
from jaxgradsweep._writing import MOST_BLURRED, MOST_NAMES, leaf_name, names, number

SHARED = 0.2  # a ratio is named that so large a part of the wrong components has

# What the integral of the claim along the probed segments says, by the opinion that it supports.
IDENTITY = {
    "FOR": "the claim integrates back to the function to within {residual} along the segments (bound {bound})",
    "AGAINST": "the claim, integrated along the segments, misses the function by {most}{residual} (bound {bound})",
}


@dataclasses.dataclass(frozen=True)
class Item:
    """A sentence, and the leaves that it is about."""

    about: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.about}: {self.sentence}" if self.about else self.sentence


@dataclasses.dataclass(frozen=True)
class Section:
    """What is said under one title; nothing, if there are no items."""

    title: str
    items: tuple[Item, ...]


def why(report: Report) -> Section:
    """The reasons, unless the headline states the only one, and what the integral of the claim says."""
    findings = [] if only_reason(report) else not_correct(report)
    reasons = [(finding.reason.value, finding) for finding in findings]
    beside = [f for f in findings if f.verdict == Verdict.WRONG and {"component", "kinked"} <= f.evidence.keys()]
    kinks = [(BESIDE_KINKS.format(**finding.evidence), finding) for finding in beside]
    return _grouped("why", [*reasons, *kinks, *integrals(report.findings)])


def integrals(findings: Sequence[Finding]) -> Iterator[tuple[str, Finding]]:
    """Say what the segments tell, with the largest residual of all leaves that they tell the same of."""
    asked = [f for f in findings if f.verdict != Verdict.CORRECT or f.reason == Reason.IDENTITY]
    asked = [f for f in asked if f.reason not in (Reason.JUMP, Reason.QUANTISED)]  # nothing integrates a jump
    for opinion, sentence in IDENTITY.items():
        group = [finding for finding in asked if finding.evidence.get("identity") == opinion]
        told = [[float(each.evidence[f"identity {name}"]) for name in ("residual", "bound")] for each in group]
        residual, bound = max(((abs(residual), bound) for residual, bound in told), default=(0.0, 0.0))
        most = "up to " if len(group) > 1 else ""
        words = sentence.format(most=most, residual=number(residual), bound=number(bound))
        yield from ((words, finding) for finding in group)


def likely(report: Report) -> Section:
    """The causes, and what the leaves that are right tell of them."""
    causes: dict[str, list[str]] = {}
    for cause in report.causes:
        causes.setdefault(cause.sentence, []).append(leaf_name(cause.path))
    said = [(", ".join(leaves[:MOST_NAMES]), sentence) for sentence, leaves in causes.items()]
    wrong = [finding for finding in report.findings if finding.verdict == Verdict.WRONG]
    others = [finding for finding in report.findings if finding.verdict == Verdict.CORRECT]
    alone = len(wrong) == 1 and len(others) == len(report.findings) - 1 > 0
    if report.blame and not causes:
        said = [(leaf_name(blame.path), NO_CAUSE.format(ratios=_spread(blame))) for blame in report.blame]
    if said and alone and not {cause.name for cause in report.causes} & set(ABOUT_ALL):
        said.append(("", OTHERS_RIGHT.format(leaves=names(wrong), it=names(wrong))))
    return _section("likely cause", said)


def _spread(blame: Blame) -> str:
    """The ratios of claimed to measured components: those that several share, or from where to where they go."""
    wrong = blame.wrong & (np.abs(blame.seen_estimate) > MOST_BLURRED * blame.seen_uncertainty)
    ratios = np.real(blame.seen_claimed[wrong] / blame.seen_estimate[wrong])
    if not len(ratios):
        return "the measured ones are zero, or too small to tell a ratio"
    if len(ratios) == 1:
        return SINGLE_RATIO.format(value=ratios[0])
    values, counts = np.unique([float(f"{ratio:.5e}") for ratio in ratios], return_counts=True)
    shared = [i for i in np.argsort(-counts, kind="stable")[:2] if counts[i] >= max(2, SHARED * len(ratios))]
    said = [ONE_RATIO.format(value=values[i], count=counts[i], total=len(ratios)) for i in shared]
    return ", and ".join(said) or RATIOS_FROM.format(least=ratios.min(), most=ratios.max())


def to_do(report: Report) -> Section:
    """Each distinct advice about leaves of which nothing better is known."""
    caused = {cause.path for cause in report.causes}  # what a cause says is more than what holds of any mistake
    located = {blame.path for blame in report.blame} - caused  # and so is what was measured, but not of a solver
    told = [finding for finding in report.findings if finding.advice and finding.path not in caused]
    early = [finding for finding in told if finding.path in located and finding.advice.endswith(STOPS_EARLY)]
    pairs = [(STOPS_EARLY, finding) for finding in early]
    return _grouped("what to do", pairs + [(f.advice, f) for f in told if f.path not in located])


def where(report: Report) -> Section:
    """What the wrong components of each leaf have in common."""
    return _section("where", [(leaf_name(blame.path), _pattern(blame)) for blame in report.blame])


def _pattern(blame: Blame) -> str:
    count, total = int(blame.wrong.sum()), int(np.prod(blame.shape, dtype=int))
    words = WRONG_ARE.format(pattern=blame.pattern) if blame.pattern else NO_PATTERN.format(count=count, total=total)
    return words if blame.complete else f"{words}; {STOPPED}"


def structure(report: Report) -> Section:
    """What the blocks of a Hessian tell; nothing of a report without one."""
    return _section("structure", [("", said) for said in getattr(report, "structure", ())])


def laws_that_hold(report: Report) -> str:
    """The identities that need no steps in one line, if all hold and any of them is not tested by every sweep."""
    if not all_hold(report) or all(law.law in (Law.VALUE, Law.BATCH) for law in report.consistency):
        return ""
    return f"{HOLD} {', '.join(f'{law.law.name.lower()} ({number(law.residual)})' for law in report.consistency)}"


def broken_laws(report: Report) -> Section:
    """Where to look if an identity is broken."""
    known = {Law.LINEARITY, Law.ADJOINT} if report.causes else set()  # a cause says more
    broken = [law for law in report.consistency if not law.holds and law.law not in known]
    return _section("where an identity is broken", [(law.law.name.lower(), law.advice) for law in broken])


def notes(report: Report) -> Section:
    """What the check did that the caller may not expect."""
    return _section("notes", [("", note) for note in report.notes])


def cost(report: Report) -> str:
    """How much was evaluated, in which precision, and on what."""
    known = {name: report.environment[name] for name in ("dtype", "backend", "device") if name in report.environment}
    if known.get("dtype") == "native" and report.findings:
        known["dtype"] += f" ({', '.join(dict.fromkeys(finding.dtype for finding in report.findings))})"
    if report.kind == "hvp" and "mode" in report.environment:
        known["mode"] = report.environment["mode"]
    part = f" (at {report.environment['steps']} steps)" if "steps" in report.environment else ""
    words = [f"{report.evaluations:,} evaluations of the function{part}", *dict.fromkeys(known.values())]
    return printable(", ".join(words))


def _grouped(title: str, said: Iterable[tuple[str, Finding]]) -> Section:
    """Each distinct sentence once, after the names of its leaves."""
    leaves: dict[str, list[Finding]] = {}
    for sentence, finding in said:
        leaves.setdefault(sentence, []).append(finding)
    return _section(title, [(names(findings), sentence) for sentence, findings in leaves.items()])


def _section(title: str, said: Iterable[tuple[str, str]]) -> Section:
    return Section(title, tuple(Item(printable(about), printable(" ".join(s.split()))) for about, s in said))
