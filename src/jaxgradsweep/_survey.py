"""Surveys: the same question at several points, of every term of a sum, or in two precisions, and one report of all."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgradsweep._cache import kept
from jaxgradsweep._examination import SEVERITY, examine
from jaxgradsweep._probe import seed_words
from jaxgradsweep._report import Part, Report
from jaxgradsweep._request import Settings, SeveralTerms, check_args, check_points
from jaxgradsweep._sweep import precision
from jaxgradsweep._tree import Same, is_inexact
from jaxgradsweep._verdict import Finding
from jaxgradsweep._wording import (
    AGREES,
    FLAT,
    NO_TWIN,
    OF_A_PRODUCT,
    Reason,
    Verdict,
    points_summary,
    replaced,
    second_summary,
    terms_summary,
    twin_summary,
)

TOTAL = "total"
VIA = ("gradient", "function", "both")  # what a Hessian-vector product can be held against
NEAREST, FARTHEST = 1 / 32, 1 / 8  # a perturbed component moves by so much of its size: off ties, not out of domains


def survey(kind: str, fun: Callable, args: tuple[Any, ...], *, settings: Settings, **claim: Any) -> Report:
    """Check a claim as often as the settings and the function ask for: once, where they ask for nothing else."""
    if settings.points is not None:
        return at_points(kind, fun, args, settings, claim)
    if settings.dtype == "both":
        return in_both_precisions(kind, fun, args, settings, claim)
    try:
        return examine(kind, fun, args, settings=settings, **claim)
    except SeveralTerms as several:
        return of_terms(several.names, fun, args, settings, claim)


def worst_of(parts: Sequence[Part]) -> Report:
    """The worst report, the first if there are more."""
    return max(parts, key=lambda part: SEVERITY[part.report.verdict]).report


def join(parts: Sequence[Part], summary: str, decides: Report | None = None) -> Report:
    """One report of several: that which decides, else the worst, the first if there are more; with all as its parts."""
    worst = decides or worst_of(parts)
    reports = [part.report for part in parts]
    return dataclasses.replace(
        worst,
        parts=tuple(parts),
        summary=summary,
        resolution=max(report.resolution for report in reports),
        tolerance=max(report.tolerance for report in reports),
        evaluations=sum(report.evaluations for report in reports),
        notes=tuple(dict.fromkeys(note for report in reports for note in report.notes)),
    )


# ---- second derivatives


def check_second(fun: Callable, args: tuple[Any, ...], settings: Settings, via: str, **claim: Any) -> Report:
    """A Hessian-vector product against the gradient, and that against the function; or against the function alone."""
    if via not in VIA:
        raise ValueError(f"`via` must be one of {', '.join(map(repr, VIA))}; got {via!r}")
    if via == "function":
        alone = survey("curvature", fun, args, settings=settings.within("function"), **claim)
        return advised(alone, "estimate_grad", OF_A_PRODUCT)
    product = advised(survey("hvp", fun, args, settings=settings, **claim), "estimate_grad", OF_A_PRODUCT)
    gradient = survey("grad", fun, args, settings=settings.within("gradient"), **{**claim, "rule": None})
    why = worst_finding(gradient).reason if gradient.findings else None
    summary = second_summary(gradient.verdict, why, product.verdict)
    parts = [Part(name="product", report=product), Part(name="gradient", report=gradient)]
    if directions := flat_directions(product):
        summary += f"; {FLAT.format(count=directions)}"
    if product.summary:
        summary += f"; the product: {product.summary}"
    if via == "both":
        alone = check_second(fun, args, settings, "function", **claim)
        parts.insert(1, Part(name="product, from the function alone", report=alone))
        summary += f"; from the function alone, {AGREES[alone.verdict]}"
    # An undecided gradient, as a large constant makes it, leaves the product's verdict as it is.
    judged = [part for part in parts if part.name != "gradient" or gradient.verdict is Verdict.WRONG]
    return join(parts, summary, decides=worst_of(judged))


def flat_directions(product: Report) -> int:
    """Along how many directions a Hessian-vector product was held against zeros, if it was along all of them."""
    zero = (product.sweep.claimed == 0) & (np.abs(product.fit.derivative) <= product.fit.uncertainty)
    return int(zero.sum()) if zero.all() else 0


# ---- points


def at_points(kind: str, fun: Callable, args: tuple[Any, ...], settings: Settings, claim: dict[str, Any]) -> Report:
    """The claim at `args` and at other points: wrong everywhere, or special at one?"""
    numbers, _ = check_args(args, claim["argnums"])
    check_points(settings.points, args, claim["rule"])
    if isinstance(settings.points, (int, np.integer)):
        names = [f"perturbed {i + 1}" for i in range(int(settings.points))]
        points = [perturbed(args, numbers, settings.key, i) for i in range(int(settings.points))]
    else:
        points = list(settings.points or ())
        names = [f"points[{i}]" for i in range(len(points))]
    one = dataclasses.replace(settings, points=None)
    parts = [
        Part(name=name, report=advised(survey(kind, fun, point, settings=one.within(name), **claim), "`points="))
        for name, point in zip(["args", *names], [args, *points], strict=True)
    ]
    reasons = [worst_finding(part.report).reason if part.report.findings else None for part in parts]
    return join(parts, points_summary([(p.name, p.report.verdict, r) for p, r in zip(parts, reasons, strict=True)]))


def advised(report: Report, word: str, instead: str = "") -> Report:
    """A report in whose advice sentences that have a word are replaced."""
    findings = tuple(dataclasses.replace(f, advice=replaced(f.advice, word, instead)) for f in report.findings)
    parts = tuple(dataclasses.replace(part, report=advised(part.report, word, instead)) for part in report.parts)
    return dataclasses.replace(report, findings=findings, parts=parts)


def worst_finding(report: Report) -> Finding:
    """The finding that decided a report."""
    return max(report.findings, key=lambda finding: SEVERITY[finding.verdict])


def perturbed(args: tuple[Any, ...], numbers: tuple[int, ...], key: int, count: int) -> tuple[Any, ...]:
    """The arguments with every component of the moving leaves a little aside; no sign changes but that of zero."""

    def move(path: Any, leaf: Any) -> Any:
        if not is_inexact(leaf) or not np.size(leaf):
            return leaf
        array = np.asarray(leaf)
        own = array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)
        size = np.abs(own)
        largest = np.max(size, where=np.isfinite(size), initial=0.0) or 1.0
        usual = largest * np.sqrt(np.mean((size / largest) ** 2)) or 1.0
        random = np.random.default_rng(seed_words(key, f"{jax.tree_util.keystr(path)}/{count}"))
        # A number of few bits moves by at least two of its last place.
        nearest = max(NEAREST, 2 * float(jnp.finfo(array.dtype).eps))
        factor = random.uniform(nearest, max(FARTHEST, 2 * nearest), own.shape) * random.choice([-1.0, 1.0], own.shape)
        moved = (own + np.where(size > 0, own, usual) * factor).astype(array.dtype)
        moved = np.where(np.isfinite(moved.astype(own.dtype)), moved, array)
        return type(leaf)(moved) if isinstance(leaf, (float, complex)) else moved.astype(array.dtype)

    moved = list(args)
    for number in numbers:
        moved[number] = jax.tree_util.tree_map_with_path(move, args[number])
    return tuple(moved)


# ---- terms


@kept
def term_of(fun: Same, name: Any, has_aux: bool) -> Callable:
    """One term of a sum as a function of its own; always the same object, so that its program is compiled once."""

    def term(*args: Any) -> Any:
        terms = fun.value(*args)[0] if has_aux else fun.value(*args)
        return terms[name] if name is not None else sum(terms.values())

    return term


def of_terms(
    names: tuple[Any, ...], fun: Callable, args: tuple[Any, ...], settings: Settings, claim: dict[str, Any]
) -> Report:
    """Every term of a sum, and the sum: in which term is the mistake?

    The claim is JAX's own gradient of each term, or a dict of one gradient per term, or the gradient of the sum.
    """
    rule, has_aux = claim["rule"], claim["has_aux"]
    each = rule_per_term(rule, names, args, claim["argnums"], settings.dtype)
    known = {**claim, "has_aux": False}

    def ask(name: Any, rule: Any) -> Report:
        term = term_of(Same(fun), name, has_aux)
        within = settings.within(TOTAL if name is None else f"term {name}")
        return examine("grad", term, args, settings=within, **{**known, "rule": rule})

    parts = [Part(name=str(name), report=ask(name, each[name])) for name in names]
    parts.append(Part(name=TOTAL, report=ask(None, each[None])))
    return join(
        parts, terms_summary([(part.name, part.report.verdict) for part in parts[:-1]], parts[-1].report.verdict)
    )


def rule_per_term(rule: Any, names: tuple[Any, ...], args: tuple[Any, ...], argnums: Any, dtype: str) -> dict[Any, Any]:
    """The claim for every term, and under None that for the sum."""
    if rule is None:
        return dict.fromkeys((*names, None))
    if not callable(rule):
        if isinstance(rule, dict) and set(rule) == set(names) and not _looks_like(rule, args, argnums):
            total = jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]), *rule.values())
            return {**rule, None: total}
        return {**dict.fromkeys(names), None: rule}
    with precision(dtype):
        shape = jax.eval_shape(lambda: rule(*args))
    if isinstance(shape, dict) and set(shape) == set(names) and not _looks_like(shape, args, argnums):
        return {name: term_rule(Same(rule), name) for name in names} | {None: term_rule(Same(rule), None)}
    return {**dict.fromkeys(names), None: rule}


def _looks_like(tree: Any, args: tuple[Any, ...], argnums: Any) -> bool:
    """Whether a derivative has the structure of `args[argnums]` itself."""
    numbers, single = check_args(args, argnums)
    point = args[numbers[0]] if single else tuple(args[i] for i in numbers)
    return jax.tree.structure(tree) == jax.tree.structure(point)


@kept
def term_rule(rule: Same, name: Any) -> Callable:
    """The gradient of one term, from a rule that returns those of all; of the sum, for None."""

    def gradient(*args: Any) -> Any:
        found = rule.value(*args)
        return found[name] if name is not None else jax.tree.map(lambda *g: sum(g[1:], g[0]), *found.values())

    return gradient


# ---- precisions


def in_both_precisions(
    kind: str, fun: Callable, args: tuple[Any, ...], settings: Settings, claim: dict[str, Any]
) -> Report:
    """The formula in float64, the arithmetic as it ships, and how well the second agrees with the first."""

    def ask(dtype: str) -> Report:
        return survey(kind, fun, args, settings=dataclasses.replace(settings, dtype=dtype).within(dtype), **claim)

    formula = ask("float64")
    refuses = formula.environment["dtype"] == "native"
    shipped = formula if refuses else ask("native")
    dtypes = ", ".join(dict.fromkeys(finding.dtype for finding in shipped.findings)) or "native"
    if refuses:
        return join([Part(name=dtypes, report=shipped)], NO_TWIN)
    parts = [Part(name="float64", report=formula), Part(name=dtypes, report=shipped)]
    if formula.parts or not formula.findings:
        return join(parts, "; ".join(f"{part.name}: {part.report.summary}" for part in parts if part.report.summary))
    off, bars, apart = agreement(formula, shipped)
    limit = max(float(finding.evidence["finest"]) for finding in shipped.findings)
    if formula.ok and shipped.verdict is Verdict.UNRESOLVED:
        each = zip(shipped.findings, off, bars, strict=True)
        findings = [agreed(finding, error, bar, limit) for finding, error, bar in each]
        verdict = max((finding.verdict for finding in findings), key=SEVERITY.__getitem__)
        resolution = max(finding.resolution for finding in findings)
        shipped = dataclasses.replace(shipped, findings=tuple(findings), verdict=verdict, resolution=resolution)
    worst = float(np.max(off))
    another = worst > limit and bool(np.any(apart > limit))
    summary = twin_summary(formula.verdict, formula.resolution, shipped.verdict, worst, dtypes, limit, another=another)
    return join([parts[0], Part(name=dtypes, report=shipped)], summary)


def agreement(formula: Report, shipped: Report) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How far the claim as shipped is from the derivative measured in float64, for each leaf, and its error bar.

    And how far at least the derivative measured as shipped is from it. All are RMS over the directions of the first
    look, which are the same in both precisions.
    """
    off, bars, apart = [], [], []
    for wide, own in zip(formula.findings, shipped.findings, strict=True):
        count = min(len(wide.probes), len(own.probes), int(formula.environment["directions"]))
        a, b = list(wide.probes[:count]), list(own.probes[:count])
        scale = float(wide.evidence["size"])
        off.append(np.sqrt(np.mean((shipped.sweep.claimed[b] - formula.fit.derivative[a]) ** 2)) / scale)
        bars.append(np.sqrt(np.mean(formula.fit.uncertainty[a] ** 2)) / scale)
        both = np.abs(shipped.fit.derivative[b] - formula.fit.derivative[a])
        least = np.maximum(both - shipped.fit.uncertainty[b] - formula.fit.uncertainty[a], 0)
        apart.append(np.sqrt(np.mean(least**2)) / scale)
    return np.array(off), np.array(bars), np.array(apart)


def agreed(finding: Finding, off: float, bar: float, limit: float) -> Finding:
    """A finding that its own precision left open, decided by the derivative in float64 where that agrees."""
    if finding.verdict is not Verdict.UNRESOLVED or not off + bar <= limit:
        return finding
    return dataclasses.replace(
        finding,
        verdict=Verdict.CORRECT,
        reason=Reason.TWIN,
        error=float(off),
        error_bound=float(off + bar),
        resolution=float(max(bar, limit)),
        tolerance=float(limit),
        advice="",
    )
