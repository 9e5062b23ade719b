"""The pipeline: a first look at every leaf, a second one where that does not decide, and the report."""

import dataclasses
import functools
import platform
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxgradsweep import _sweep
from jaxgradsweep._cause import Cause
from jaxgradsweep._closer import OUTWARD, look_closer
from jaxgradsweep._consistency import Consistency
from jaxgradsweep._criteria import Criteria, criteria_for
from jaxgradsweep._diagnosis import diagnose
from jaxgradsweep._identity import version_of
from jaxgradsweep._instrument import Instrument, Look, grid_for
from jaxgradsweep._locate import Blame, blame
from jaxgradsweep._progress import Tick, reporter
from jaxgradsweep._repeat import Change, changes
from jaxgradsweep._report import Report, classic_figures
from jaxgradsweep._request import Settings, SeveralTerms, check_args, check_steps, require_moving
from jaxgradsweep._runner import Interrupted
from jaxgradsweep._stale import renewed
from jaxgradsweep._store import Stopped
from jaxgradsweep._subject import Subject, prepare
from jaxgradsweep._tree import Same, split
from jaxgradsweep._verdict import Finding, not_measured
from jaxgradsweep._wording import NOTES, Law, Reason, Verdict, advice_for

BREAKS = {Law.VALUE: Reason.VALUE, Law.LINEARITY: Reason.NOT_LINEAR}  # what a broken identity says of the claim
TIED = 6  # directions: a third of them take the middle of three equal values for smooth, and half miss equal steps
SEVERITY = {Verdict.CORRECT: 0, Verdict.UNRESOLVED: 1, Verdict.WRONG: 2}


def examine(
    kind: str,
    fun: Callable,
    args: tuple[Any, ...],
    *,
    argnums: int | tuple[int, ...],
    rule: Any,
    settings: Settings,
    has_aux: bool = False,
    holomorphic: bool = False,
) -> Report:
    """Check one claim at one point."""

    def run(subject: Subject, dtype: str) -> Report:
        with reporter(settings.progress) as tick:
            return conclude(subject, settings, dtype, tick)

    shape = {"rule": rule, "has_aux": has_aux, "holomorphic": holomorphic}
    return at_precision(kind, fun, args, argnums, settings, shape, run)


def at_precision(
    kind: str,
    fun: Callable,
    args: tuple[Any, ...],
    argnums: int | tuple[int, ...],
    settings: Settings,
    shape: dict[str, Any],
    run: Callable[[Subject, str], Any],
) -> Any:
    """Prepare a subject and run something on it in the precision asked for, or natively if the function needs that."""
    if not callable(fun):
        raise TypeError(f"`fun` must be callable; got {type(fun).__name__}")
    numbers, single = check_args(args, argnums)
    require_moving(split(args, numbers, single=single), args)
    if settings.steps is not None:
        check_steps(settings.steps)

    def attempt(dtype: str, notes: tuple[str, ...] = ()) -> Any:
        read: tuple[Same, ...] = ()
        try:
            with _sweep.precision(dtype, settings.matmul_precision):
                subject = prepare(kind, fun, args, numbers, single=single, dtype=dtype, **shape)
                read = subject.claim.reads
                return run(dataclasses.replace(subject, notes=(*notes, *subject.notes)), dtype)
        finally:
            renewed(read)

    try:
        return attempt(settings.dtype)
    except Exception as error:
        if settings.dtype == "native" or isinstance(error, (SeveralTerms, Stopped)):
            raise
        cause = f"{type(error).__name__}: {first_line(error)[:120]}"
        try:
            return attempt("native", (NOTES["native"].format(error=cause),))
        except SeveralTerms:
            raise
        except Exception:
            raise error from None


def first_line(error: Exception) -> str:
    """What an error says in its first line, or, if that only announces a traceback, at the end of the traceback."""
    lines = [line for line in str(error).splitlines() if line.strip(" -")] or [""]
    traced = [i for i, line in enumerate(lines) if line.startswith("Traceback")]
    after = [line for line in lines[traced[0] + 1 :] if not line.startswith(" ")] if traced else []
    return (after or lines)[0]


def criteria_of(subject: Subject, settings: Settings) -> Criteria:
    """The criteria that suit the precision of the function, of what it computes inside, and of the claim."""
    criteria = criteria_for(subject.bits, settings.rtol)
    own = criteria_for(min(subject.bits, subject.claim_bits))
    inner = criteria_for(min(subject.traits.inner_bits, subject.bits))
    finest = max(own.finest, inner.rounding)
    # The noise of a claim in lower precision than the function is no accident of its formula.
    noisy_claim = finest if subject.traits.claim_is_shorter else criteria.noisy_claim
    return dataclasses.replace(
        criteria,
        finest=finest,
        coarsest=max(criteria.coarsest, own.coarsest, inner.coarsest),
        rounding=own.rounding,
        noisy_claim=noisy_claim,
        plain=criteria.rounded if subject.traits.claim_is_shorter else criteria.plain,
    )


def conclude(subject: Subject, settings: Settings, dtype: str, tick: Tick) -> Report:
    """Look, look again where needed, and write the report."""
    if subject.traits.ties and settings.directions is None:
        settings = dataclasses.replace(settings, directions=max(settings.count, TIED))
    instrument = Instrument(subject, settings, criteria_of(subject, settings), tick)
    steps = grid_for(subject, settings)
    probes = instrument.draw_first()
    try:
        look = instrument.first_look(probes, steps)
    except Interrupted as stop:
        return partial_report(subject, instrument, stop, len(probes), settings, dtype)
    findings, stopped = look.findings(subject), False
    try:
        change = changes(instrument, look, findings) if findings else {}
        laws = instrument.consistency(look) if findings and not change else ()
        if subject.claim.vectorised and any(law.law is Law.BATCH and not law.holds for law in laws):
            return one_after_the_other(subject, settings, dtype, tick, laws)
        found = concluded(instrument, look, findings, steps, change, laws)
    except KeyboardInterrupt:  # the first look stands, but what it did not find right is not looked at closer
        instrument.notes.append(NOTES["partial"])
        found, stopped = (look, [unfinished(finding) for finding in findings], (), (), ()), True
    look, findings, laws, blames, causes = found
    report = report_on(subject, instrument, look, findings, settings, dtype)
    if stopped:
        report.environment["partial"] = "the first look was over"
    if len(look.sweep.steps) < len(steps):
        report.environment["steps"] = f"{len(look.sweep.steps)} of {len(steps)}"
    return dataclasses.replace(report, consistency=laws, blame=blames, causes=causes)


def concluded(
    instrument: Instrument,
    look: Look,
    findings: list[Finding],
    steps: np.ndarray,
    change: Change,
    laws: tuple[Consistency, ...],
) -> tuple[Look, list[Finding], tuple[Consistency, ...], tuple[Blame, ...], tuple[Cause, ...]]:
    """What further looks at what the first did not find right say, identities, and where and why a claim is wrong."""
    if change:
        findings = [changing(finding, change) for finding in findings]
    elif findings:
        look, findings = look_closer(instrument, look, findings, steps)
        findings = [lawful(finding, laws) for finding in findings]
    return look, findings, laws, *explained(instrument, look, findings)


def partial_report(
    subject: Subject, instrument: Instrument, stop: Interrupted, total: int, settings: Settings, dtype: str
) -> Report:
    """The report of a first look that was interrupted: of the leaves whose probes are all measured."""
    interrupted = f"{len(stop.done)} of {total} probes were measured"
    instrument.notes.append(NOTES["partial"])
    look = Look(stop.probes, stop.sweep, None, instrument.criteria)
    complete = [i for i in range(len(subject.point.paths)) if np.sum(stop.probes.leaf == i) >= settings.count]
    judged = look.findings(subject, complete) if complete else []
    known = dict(zip(complete, judged, strict=True))
    names = zip(subject.point.paths, subject.point.shapes, subject.dtypes, strict=True)
    findings = [
        unfinished(known[i]) if i in known else not_measured(path, shape, dtype)
        for i, (path, shape, dtype) in enumerate(names)
    ]
    report = report_on(subject, instrument, look, findings, settings, dtype)
    report.environment["partial"] = interrupted
    return report


def unfinished(finding: Finding) -> Finding:
    """The finding of a leaf that was to be looked at again: no accusation without a second look."""
    if finding.verdict is Verdict.CORRECT:
        return finding
    verdict, reason = Verdict.UNRESOLVED, Reason.INTERRUPTED
    return dataclasses.replace(finding, verdict=verdict, reason=reason, advice=advice_for(verdict, reason, {}))


def explained(
    instrument: Instrument, look: Look, findings: Sequence[Finding]
) -> tuple[tuple[Blame, ...], tuple[Cause, ...]]:
    """Where a claim is wrong, and why. No verdict depends on it: what goes wrong here becomes a note."""
    if instrument.settings.locate is False:
        return (), ()
    found: tuple[Blame, ...] = ()
    try:
        with np.errstate(all="ignore"):
            found = located(instrument, look, findings)
            return found, diagnose(instrument, found, findings)
    except Stopped:
        raise
    except Exception as error:
        instrument.notes.append(NOTES["unexplained"].format(error=f"{type(error).__name__}: {first_line(error)[:120]}"))
        return found, ()


def located(instrument: Instrument, look: Look, findings: Sequence[Finding]) -> tuple[Blame, ...]:
    """Which components are wrong, of the leaves that the differences accuse."""
    wrong = [i for i, f in enumerate(findings) if f.verdict is Verdict.WRONG and f.reason not in BREAKS.values()]
    return blame(instrument, look, wrong, thorough=instrument.settings.locate is True) if wrong else ()


def one_after_the_other(
    subject: Subject, settings: Settings, dtype: str, tick: Tick, laws: tuple[Consistency, ...]
) -> Report:
    """The report of a function that gives other values in a batch than alone, evaluated without batches."""
    alone = dataclasses.replace(subject.claim, vectorised=False)
    notes = (*subject.notes, NOTES["batch"])
    report = conclude(dataclasses.replace(subject, claim=alone, notes=notes), settings, dtype, tick)
    broken = [law for law in laws if law.law is Law.BATCH]
    return dataclasses.replace(
        report, consistency=(*(law for law in report.consistency if law.law is not Law.BATCH), *broken)
    )


def lawful(finding: Finding, laws: Sequence[Consistency]) -> Finding:
    """The finding of a claim that breaks what every derivative obeys, beyond the tolerance, along with its value."""
    for law in laws:
        reason = BREAKS.get(law.law)
        settled = finding.verdict is Verdict.CORRECT or finding.reason in (Reason.DIRECTIONS, *OUTWARD)
        if reason is None or law.holds or law.residual <= finding.tolerance or not settled:
            continue
        evidence = finding.evidence | {"broken": law.residual}
        advice = advice_for(Verdict.WRONG, reason, evidence)
        finding = dataclasses.replace(finding, verdict=Verdict.WRONG, reason=reason, evidence=evidence, advice=advice)
    return finding


def right_in_both_modes(fun: Callable, args: tuple[Any, ...], argnums: Any) -> bool:
    """Whether JAX's own JVP and VJP are both right at the first look: one program, where two checks take two."""

    def run(subject: Subject, dtype: str) -> bool:
        instrument = Instrument(subject, settings, criteria_of(subject, settings), lambda *progress: None)
        if subject.claim.mode != "forward" or subject.traits.unsteady or subject.traits.ties:
            return False
        probes, steps = instrument.draw_first(), grid_for(subject, settings)
        looks = instrument.look_in_both_modes(probes, steps)
        again, _ = instrument.look_in_both_modes(probes.rows(slice(0, 1)), steps)
        same = np.array_equal(again.sweep.difference[0], looks[0].sweep.difference[0], equal_nan=True)
        findings = [finding for look in looks for finding in look.findings(subject)]
        lawful = all(law.holds for law in instrument.swept(looks[0]))
        return same and lawful and all(finding.verdict is Verdict.CORRECT for finding in findings)

    settings = Settings(consistency=False)
    try:
        return at_precision("jvp", fun, args, argnums, settings, {"rule": None}, run)
    except Exception:  # the checks of each mode say so in their own words
        return False


def changing(finding: Finding, change: Change) -> Finding:
    """The finding of a function, or of a claim, that changes between calls, with two of its values."""
    verdict, reason, evidence = Verdict.UNRESOLVED, Reason.NONDETERMINISTIC, finding.evidence | change
    advice = advice_for(verdict, reason, evidence)
    return dataclasses.replace(finding, verdict=verdict, reason=reason, evidence=evidence, advice=advice)


def report_on(
    subject: Subject, instrument: Instrument, look: Look, findings: list[Finding], settings: Settings, dtype: str
) -> Report:
    """Put everything together."""
    worst = max((finding.verdict for finding in findings), key=SEVERITY.__getitem__, default=Verdict.CORRECT)
    return Report(
        kind=subject.claim.kind,
        verdict=worst,
        findings=tuple(findings),
        resolution=max((finding.resolution for finding in findings), default=0.0),
        tolerance=max((finding.tolerance for finding in findings), default=look.criteria.tolerance),
        sweep=look.sweep,
        fit=look.fit,
        classic=classic_figures(look.sweep, look.fit, findings),
        evaluations=instrument.evaluations,
        environment=environment(settings, dtype) | own_mode(subject),
        notes=(*subject.notes, *dict.fromkeys(instrument.notes)),
    )


@functools.cache
def versions() -> dict[str, str]:
    """What is installed; reading it takes milliseconds."""
    packages = {name: version_of(name) for name in ("jaxgradsweep", "jax", "jaxlib", "numpy")}
    return packages | {"python": platform.python_version()}


def own_mode(subject: Subject) -> dict[str, str]:
    """How JAX's own derivative was taken; nothing for a claim of the user's."""
    claim = subject.claim
    return {"mode": claim.mode} if claim.mode and claim.rule is None and not claim.by_value else {}


def environment(settings: Settings, dtype: str) -> dict[str, str]:
    """What somebody needs to repeat a check."""
    device = jax.devices()[0]
    return versions() | {
        "backend": device.platform,
        "device": device.device_kind,
        "dtype": dtype,
        "matmul_precision": str(settings.matmul_precision),
        "rtol": str(settings.rtol),
        "directions": str(settings.count),
        "key": str(settings.key),
    }
