"""Verdicts: the opinions of the witnesses put together, one finding per leaf."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from jaxgradsweep._criteria import Criteria
from jaxgradsweep._fit import Fit
from jaxgradsweep._opinion import Identity, Opinion, Weighing
from jaxgradsweep._probe import BASIS, COMPONENT, LEAF, SCALES, looked_at
from jaxgradsweep._sweep import Sweep
from jaxgradsweep._wording import FINITE_AT, INSIDE, NOT_FINITE_AT, OUTSIDE, Reason, Verdict, advice_for

ROUGH = (
    Reason.KINK,
    Reason.JUMP,
    Reason.SCALES,
    Reason.NOISY_CLAIM,
)  # open for what the function does, not for want of precision
UNSETTLED = (
    *(Reason.KINK, Reason.JUMP, Reason.SINGULAR, Reason.NOT_FINITE, Reason.SCALES, Reason.QUANTISED),
)  # a claim that is right almost everywhere integrates back to the function, also where it has no derivative
MOST_KINKS = 4  # so many components at a kink are named
DOUBLE = 1e-10  # outputs of a coarser spacing are of a short precision
FLOAT32 = 2.0**-28  # noise above this share of phi, and of rounded values, is that of float32
PRECISIONS = {23: "float32", 10: "float16 or TF32", 7: "bfloat16"}  # by bits of mantissa


@dataclasses.dataclass(frozen=True)
class Finding:
    """One leaf's fit held against the claim.

    Attributes:
        path: name of the leaf, as `jax.tree_util.keystr` gives it.
        shape: its shape.
        dtype: its dtype, as the caller passed it.
        verdict: the answer.
        reason: why.
        claimed: claimed directional derivative of the probe that decided.
        estimate: the same from the function's values alone, extrapolated to h = 0.
        uncertainty: error bar of `estimate`.
        error: (claimed - estimate) relative to the leaf's RMS contribution, signed.
        error_bound: the claim could be wrong by at most this, relative.
        resolution: detection limit: the smallest relative error that could have been seen.
        tolerance: relative error from which on the claim counts as wrong.
        slope: truncation order of the central differences; None where none is visible.
        slope_error: its standard error.
        crossover: relative step where roundoff takes over.
        noise: measured noise of the function, in its own units.
        advice: what to do; empty where nothing is.
        probes: rows of the report's sweep that belong to this leaf.
        probe: the row that decided.
        evidence: named numbers behind the reason.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgradsweep as jgs
        >>> def loss(params):
        ...     return jnp.sum(jnp.exp(params["x"]) * params["y"])
        >>> def gradient(params):
        ...     return {"x": jnp.exp(params["x"]) * params["y"], "y": params["x"]}  # the mistake: it is exp(x)
        >>> params = {"x": jnp.array([0.1, 0.7]), "y": jnp.array([2.0, 3.0])}
        >>> report = jgs.check_grad(loss, (params,), grad=gradient, locate=False)
        >>> [(finding.path, finding.verdict.name) for finding in report.findings]
        [("['x']", 'CORRECT'), ("['y']", 'WRONG')]
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    verdict: Verdict
    reason: Reason
    claimed: float
    estimate: float
    uncertainty: float
    error: float
    error_bound: float
    resolution: float
    tolerance: float
    slope: float | None
    slope_error: float | None
    crossover: float | None
    noise: float | None
    advice: str
    probes: tuple[int, ...]
    probe: int
    evidence: dict[str, float | str]


def not_measured(path: str, shape: tuple[int, ...], dtype: str) -> Finding:
    """The finding of a leaf of which nothing is known, since the check was interrupted."""
    nothing = dict.fromkeys(("claimed", "estimate", "error"), np.nan)
    unbounded = dict.fromkeys(("uncertainty", "error_bound", "resolution", "tolerance"), np.inf)
    verdict, reason = Verdict.UNRESOLVED, Reason.INTERRUPTED
    return Finding(
        path=path,
        shape=shape,
        dtype=dtype,
        verdict=verdict,
        reason=reason,
        **nothing,
        **unbounded,
        slope=None,
        slope_error=None,
        crossover=None,
        noise=None,
        advice=advice_for(verdict, reason, {}),
        probes=(),
        probe=-1,
        evidence={},
    )


def judge(
    names: Mapping[int, tuple[str, tuple[int, ...], str]],
    sweep: Sweep,
    fit: Fit,
    weighing: Weighing,
    identity: Identity | None,
    criteria: Criteria,
    *,
    alone: bool,
) -> list[Finding]:
    """One finding per leaf: the opinions of its probes put together. `alone`: F is a single number.

    `names` has path, shape and dtype of each leaf.
    """
    findings = []
    for leaf, (path, shape, dtype) in names.items():
        rows = np.flatnonzero(sweep.leaf == leaf)
        verdict, reason, row = _decide(rows, sweep, weighing, identity, criteria, alone, _numbers(shape, dtype))
        findings.append(
            _finding((path, shape, dtype), rows, row, verdict, reason, sweep, fit, weighing, identity, criteria)
        )
    return findings


def _guilty(i: int, weighing: Weighing, identity: Identity | None, criteria: Criteria) -> tuple[Opinion, Reason]:
    """Both witnesses on one probe: an accusation needs both that speak, what one leaves open the other may decide."""
    opinion, reason = Opinion(weighing.opinion[i]), weighing.reason[i]
    if identity is None or identity.silent[i]:
        return opinion, reason
    other = Opinion(identity.opinion[i])
    if (opinion, reason) == (Opinion.OPEN, Reason.KINK) and other is Opinion.AGAINST and not weighing.noisy[i]:
        return other, Reason.MISMATCH  # a kink is one point of a segment, and no excuse for the others
    if opinion is Opinion.AGAINST:
        confirmed = other is Opinion.AGAINST or identity.agrees[i]
        if confirmed or reason in (Reason.KINK, Reason.NAN_CLAIM):
            return opinion, reason
        if identity.point_only[i]:
            return (Opinion.OPEN, Reason.KINK) if identity.at_kink[i] else (opinion, Reason.POINT_ONLY)
        if identity.noisy_claim[i]:
            plain = abs(weighing.error[i]) > criteria.noisy_claim * weighing.scale[i]
            return opinion if plain else Opinion.OPEN, Reason.NOISY_CLAIM
        return Opinion.OPEN, Reason.SCALES
    settles = reason not in UNSETTLED
    if opinion is Opinion.OPEN and settles and identity.pooled[i] != Opinion.OPEN:
        together = Opinion(identity.pooled[i])
        return together, Reason.IDENTITY if together is Opinion.FOR else Reason.MISMATCH
    if opinion is Opinion.OPEN and settles and other is Opinion.FOR:
        return Opinion.FOR, Reason.IDENTITY
    smooth = reason is not Reason.NOISE  # what looks like noise may be jumps, across which no claim integrates
    if opinion is Opinion.OPEN and settles and smooth and other is Opinion.AGAINST and weighing.significant[i]:
        return Opinion.AGAINST, Reason.MISMATCH
    return opinion, reason


def _decide(
    rows: np.ndarray,
    sweep: Sweep,
    weighing: Weighing,
    identity: Identity | None,
    criteria: Criteria,
    alone: bool,
    size: int,
) -> tuple[Verdict, Reason, int]:
    """Verdict, reason and deciding row of one leaf of so many components."""
    said = {int(i): _guilty(int(i), weighing, identity, criteria) for i in rows}
    groups = {s: [i for i in said if sweep.scale[i] == s] for s in dict.fromkeys(sweep.scale[i] for i in said)}

    def those(group: list[int], opinion: Opinion) -> list[int]:
        return [i for i in group if said[i][0] is opinion]

    everyone = list(said)
    stairs = [i for i in said if weighing.reason[i] is Reason.SCALES]
    if stairs and those(everyone, Opinion.AGAINST):
        return Verdict.UNRESOLVED, Reason.SCALES, stairs[0]  # seen along one direction, it is there along all
    alone_wrong = _refuted(groups.get(SCALES[BASIS], []), said, weighing, identity)
    if alone_wrong:
        row = max(alone_wrong, key=lambda i: abs(weighing.error[i]) / weighing.scale[i])
        return Verdict.WRONG, Reason.MISMATCH, row
    for group in groups.values():
        against, speak_for = those(group, Opinion.AGAINST), those(group, Opinion.FOR)
        if any(said[i][1] is Reason.KINK for i in against) and len(against) < len(group):
            continue  # at a kink, valid subgradients may lie outside along some directions, but not along all
        if group is groups.get(SCALES[BASIS]) and any(said[i][1] is not Reason.KINK for i in against):
            continue  # a look at components asks which of them a kink is about
        erratic = any(said[i][1] is Reason.NOISY_CLAIM for i in against)
        if _contradicted(against, everyone, sweep, weighing, erratic=erratic):
            continue
        if (len(against) >= 2 and len(against) >= 2 * len(speak_for)) or len(against) == len(group) == 1:
            row = max(against, key=lambda i: _size(weighing.error[i]) / weighing.scale[i])
            return Verdict.WRONG, said[row][1], row
    own = [groups.get(SCALES[scale], []) for scale in (BASIS, COMPONENT)]
    if len(own[0]) == size and all(group and those(group, Opinion.FOR) == group for group in own):
        row = max(own[0], key=lambda i: weighing.resolution[i])
        return Verdict.CORRECT, said[row][1], row  # every component by itself, and all together, at their own scales
    if all(said[i][1] is Reason.KINK for i in those(everyone, Opinion.AGAINST)) and those(everyone, Opinion.AGAINST):
        return Verdict.UNRESOLVED, Reason.KINK, those(everyone, Opinion.AGAINST)[0]
    rough = [i for i in everyone if said[i][0] is Opinion.OPEN and said[i][1] in ROUGH]
    if rough and alone:  # a component close to its kink hardly moves at its own scale: what it adds is not seen there
        return Verdict.UNRESOLVED, said[rough[0]][1], rough[0]
    if not those(everyone, Opinion.AGAINST):
        for group in groups.values():
            if those(group, Opinion.FOR) == group:
                row = max(group, key=lambda i: weighing.resolution[i])
                return Verdict.CORRECT, said[row][1], row
    hidden = [i for i in everyone if said[i][0] is Opinion.OPEN]
    if those(everyone, Opinion.AGAINST) and those(everyone, Opinion.FOR):
        row = those(everyone, Opinion.AGAINST)[0]
        return Verdict.UNRESOLVED, said[row][1] if said[row][1] is Reason.NOISY_CLAIM else Reason.DIRECTIONS, row
    row = (hidden or everyone)[0]
    return Verdict.UNRESOLVED, said[row][1] if hidden else Reason.DIRECTIONS, row


def _refuted(
    components: list[int], said: dict[int, tuple[Opinion, Reason]], weighing: Weighing, identity: Identity | None
) -> list[int]:
    """Components that refute a claim each by itself: both witnesses accuse it along them, where nothing is rough.

    The kinks of other components are no excuse. Whatever a subgradient chooses at a kink, its integral along any
    segment is the change of the function (Bolte and Pauwels, Conservative set valued fields, 2021, Corollary 2).
    """
    if identity is None:
        return []
    both = [i for i in components if said[i] == (Opinion.AGAINST, Reason.MISMATCH)]
    return [i for i in both if identity.opinion[i] == Opinion.AGAINST and not weighing.noisy[i]]


def _contradicted(accusers: list[int], everyone: list[int], sweep: Sweep, weighing: Weighing, *, erratic: bool) -> bool:
    """Whether what accuses is noisy, and another scale of steps finds the claim right to within less than the error.

    Noisy is also what meets an `erratic` claim: steps of the size of the largest component may be far too long for the
    wave of a small one.
    """
    if not accusers or not (erratic or weighing.noisy[accusers].all()):
        return False
    error = min(abs(weighing.error[i]) / weighing.scale[i] for i in accusers)
    others = [i for i in everyone if sweep.scale[i] != sweep.scale[accusers[0]] and not weighing.significant[i]]
    return any(3 * weighing.resolution[i] < error for i in others)


def _size(error: float) -> float:
    return abs(error) if np.isfinite(error) else np.inf


def _finding(
    name: tuple[str, tuple[int, ...], str],
    rows: np.ndarray,
    row: int,
    verdict: Verdict,
    reason: Reason,
    sweep: Sweep,
    fit: Fit,
    weighing: Weighing,
    identity: Identity | None,
    criteria: Criteria,
) -> Finding:
    error, bound, scale = weighing.error[row], weighing.bound[row], weighing.scale[row]
    at_kink = reason is Reason.MISMATCH and weighing.reason[row] is Reason.KINK
    if identity is not None and (reason is Reason.IDENTITY or at_kink):
        error, bound = identity.error[row], identity.bound[row]
    resolution = float(bound / scale)
    relative = float(error / scale)
    tolerance = max(resolution, criteria.finest) if criteria.rtol is None else criteria.rtol
    evidence = _evidence(row, reason, sweep, fit, weighing, identity) | {"finest": criteria.tolerance}
    evidence |= _pattern(rows, sweep, fit, criteria, int(np.prod(name[1]))) | (
        {"complex": "yes"} if name[2].startswith("complex") else {}
    )
    evidence |= _alone(rows, row, name[1], _numbers(*name[1:]), sweep, weighing)
    if reason is Reason.DIRECTIONS:
        evidence["more"] = 2.0 * sum(sweep.scale[i] == SCALES[LEAF] for i in rows)
    if sweep.eps > DOUBLE:
        evidence["precision"] = name[2]
    return Finding(
        path=name[0],
        shape=name[1],
        dtype=name[2],
        verdict=verdict,
        reason=reason,
        claimed=float(sweep.claimed[row]),
        estimate=float(fit.derivative[row]),
        uncertainty=float(fit.uncertainty[row]),
        error=relative,
        error_bound=abs(relative) + resolution,
        resolution=resolution,
        tolerance=float(tolerance),
        slope=_known(fit.order[row]),
        slope_error=_known(fit.order_error[row]),
        crossover=_known(fit.crossover[row]),
        noise=_known(fit.noise[row]),
        advice=advice_for(verdict, reason, evidence),
        probes=tuple(int(i) for i in rows),
        probe=int(row),
        evidence=evidence,
    )


def _pattern(rows: np.ndarray, sweep: Sweep, fit: Fit, criteria: Criteria, size: int) -> dict[str, float | str]:
    """Whether claim and estimate differ by one factor, or by little, along all directions of a leaf."""
    claimed, estimate = sweep.claimed[rows], fit.derivative[rows]
    sharp = np.isfinite(claimed) & (np.abs(estimate) > fit.uncertainty[rows] / criteria.near**3)
    if not sharp.any():
        return {}
    ratio = claimed[sharp] / estimate[sharp]
    blur = fit.uncertainty[rows][sharp] / np.abs(estimate[sharp])
    same = np.ptp(ratio) <= criteria.margin * np.max(blur) * np.max(np.abs(ratio)) + criteria.slight**3
    if same and sharp.sum() > 1:
        return {"pattern": "factor" if size > 1 else "one number"}
    return {"pattern": "small"} if np.all(np.abs(ratio - 1) < criteria.nearly) else {}


def _numbers(shape: tuple[int, ...], dtype: str) -> int:
    """How many real numbers a leaf has."""
    return int(np.prod(shape)) * (2 if dtype.startswith("complex") else 1)


def _alone(
    rows: np.ndarray, row: int, shape: tuple[int, ...], size: int, sweep: Sweep, weighing: Weighing
) -> dict[str, float | str]:
    """Which components meet a kink, and which of them decided, of a leaf whose components were moved one by one."""
    components = [int(i) for i in rows if sweep.scale[i] == SCALES[BASIS]]
    if not components or not shape:
        return {}

    places = looked_at(size) % int(np.prod(shape))

    def named(i: int) -> str:
        return str(list(map(int, np.unravel_index(places[components.index(i)], shape))))

    kinked = list(dict.fromkeys(named(i) for i in components if weighing.reason[i] is Reason.KINK))
    found: dict[str, float | str] = {"component": named(row)} if row in components else {}
    if kinked:
        tried = " that were tried" if len(places) < size else ""
        more = f" and {len(kinked) - MOST_KINKS} more" if len(kinked) > MOST_KINKS else ""
        more += f" of {len(places)}{tried}" if tried else ""
        subject = (
            f"components {', '.join(kinked[:MOST_KINKS])}{more} are" if len(kinked) > 1 else f"component {kinked[0]} is"
        )
        if len(kinked) == len(set(places.tolist())) > 1:
            subject = f"all {len(kinked)} components{tried} are"
        found["kinked"] = f"{subject} at a kink"
    return found


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _precision_inside(row: int, sweep: Sweep, fit: Fit) -> str:
    """Name of the precision inside of which phi has the noise; empty where it has no more than its own."""
    if sweep.inner and fit.noise_ratio[row] > Criteria.plain:
        return PRECISIONS.get(round(-np.log2(sweep.inner)), "a lower precision")
    measured = sweep.shorter and fit.low_precision[row] and fit.noise[row] > FLOAT32 * fit.magnitude[row]
    return PRECISIONS[23] if measured else ""


def _evidence(
    row: int, reason: Reason, sweep: Sweep, fit: Fit, weighing: Weighing, identity: Identity | None
) -> dict[str, float | str]:
    """Named numbers behind a reason."""
    found: dict[str, float | str] = {
        "size": float(weighing.scale[row]),
        "noise over rounding": float(fit.noise_ratio[row]),
        "scatter": float(fit.noise[row] / fit.magnitude[row]) if fit.magnitude[row] > 0 else 0.0,
    }
    if np.isfinite(sweep.claimed[row]) and fit.derivative[row] != 0 and np.isfinite(fit.derivative[row]):
        found["ratio"] = float(sweep.claimed[row] / fit.derivative[row])
    if np.isfinite(fit.reach[row]):
        found["largest trusted step"] = float(fit.reach[row])
    if reason is Reason.KINK and np.isfinite(fit.derivative[row]):
        half = fit.kink[row] / 2
        before, after = fit.derivative[row] - half, fit.derivative[row] + half
        found |= {"slope before": float(before + 0.0), "slope after": float(after + 0.0)}  # never -0
        inside = abs(weighing.error[row]) <= abs(half) * (1 + 1e-6) + weighing.bound[row]
        found["claim"] = INSIDE if inside else OUTSIDE if np.isfinite(weighing.error[row]) else "is not finite"
    if reason is Reason.DENSE_KINKS:
        found["bend order"] = float(fit.bend_order[row])
    if reason is Reason.JUMP:
        found["jump"] = max(abs(float(fit.jump[row])), abs(float(fit.leap[row])))
    if reason is Reason.NOT_FINITE:
        found["where finite"] = FINITE_AT if sweep.finite[row] else NOT_FINITE_AT
    if reason is Reason.SINGULAR:
        cusp = fit.bends_at_once[row] and not fit.growth[row] < fit.bend_order[row]  # the same slope on both sides
        found["exponent"] = float(fit.bend_order[row] if cusp else fit.growth[row])
    if np.isfinite(fit.coarse_uncertainty[row]):
        found |= {"slope at large steps": float(fit.coarse[row]), "its uncertainty": float(fit.coarse_uncertainty[row])}
    if precision := _precision_inside(row, sweep, fit):
        found["precision inside"] = precision
    if identity is not None and np.isfinite(identity.bound[row]):
        found["identity residual"] = float(identity.error[row] / weighing.scale[row])
        found["identity bound"] = float(identity.bound[row] / weighing.scale[row])
        found["identity"] = Opinion(identity.opinion[row]).name
    return found
