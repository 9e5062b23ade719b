"""Reports made by hand from functions with known derivatives, so that renderings can be tested without the engine."""

import dataclasses

import numpy as np

from jaxgradsweep._fit import Fit
from jaxgradsweep._report import Report, classic_figures
from jaxgradsweep._sweep import Sweep
from jaxgradsweep._verdict import Finding
from jaxgradsweep._wording import Reason, Verdict

STEPS = 2.0 ** np.arange(2, -41, -1)
EPS = float(np.finfo(np.float64).eps)


def probe(phi, claimed, derivative, *, uncertainty=1e-12, third=1.0, reach=0.25, steps=STEPS):
    """Measure `phi(t)` on the steps and state what a fit would say of it; `third` is its third derivative at 0."""
    with np.errstate(all="ignore"):
        plus, centre, minus = phi(steps), phi(0 * steps), phi(-steps)
        noise, coefficient = EPS * abs(centre[0]) / 3, third / 6
        crossover = (noise / (2 * abs(coefficient))) ** (1 / 3) if third else np.nan
    return {
        "claimed": claimed,
        "size": abs(claimed),
        "difference": plus - minus,
        "forward": plus - centre,
        "backward": centre - minus,
        "bend": np.abs(plus - 2 * centre + minus),
        "derivative": derivative,
        "uncertainty": uncertainty,
        "noise": noise,
        "order": 2.0 if third else np.nan,
        "coefficient": coefficient,
        "crossover": crossover,
        "reach": reach,
    }


def finding(path="['w']", verdict=Verdict.CORRECT, reason=Reason.CONVERGES, *, row=0, error=1e-13, **changes):
    """Make a finding about one probe."""
    fields = {
        "path": path,
        "shape": (3, 4),
        "dtype": "float64",
        "verdict": verdict,
        "reason": reason,
        "claimed": 0.5,
        "estimate": 0.5,
        "uncertainty": 1e-12,
        "error": error,
        "error_bound": abs(error) + 2.1e-11,
        "resolution": 2.1e-11,
        "tolerance": 1e-9,
        "slope": 2.0,
        "slope_error": 0.01,
        "crossover": 5e-6,
        "noise": 1e-16,
        "advice": "",
        "probes": (row,),
        "probe": row,
        "evidence": {},
    }
    return Finding(**{**fields, **changes})


def report(probes, findings, *, steps=STEPS, **changes):
    """Put probes and findings together."""

    def column(name, length=0):
        shape = (len(probes), length) if length else (len(probes),)
        return np.array([each[name] for each in probes], dtype=np.float64).reshape(shape)

    series = {name: column(name, len(steps)) for name in ("difference", "forward", "backward", "bend")}
    sweep = Sweep(
        paths=tuple(each.path for each in findings),
        leaf=np.arange(len(probes)),
        scale=("leaf",) * len(probes),
        steps=steps,
        roundoff=np.full((len(probes), len(steps)), EPS / 3),
        claimed=column("claimed"),
        size=column("size"),
        finite=np.ones(len(probes), dtype=bool),
        eps=EPS,
        **series,
    )
    measured = ("derivative", "uncertainty", "noise", "order", "coefficient", "crossover", "reach")
    rest = {field.name: np.zeros(len(probes)) for field in dataclasses.fields(Fit) if field.name not in measured}
    fit = Fit(**{name: column(name) for name in measured}, **rest)
    verdicts = [each.verdict for each in findings]
    worst = next((v for v in (Verdict.WRONG, Verdict.UNRESOLVED) if v in verdicts), Verdict.CORRECT)
    fields = {
        "kind": "grad",
        "verdict": worst,
        "findings": tuple(findings),
        "resolution": max((each.resolution for each in findings), default=0.0),
        "tolerance": max((each.tolerance for each in findings), default=0.0),
        "sweep": sweep,
        "fit": fit,
        "classic": classic_figures(sweep, fit, findings),
        "evaluations": 1234,
        "environment": {"jax": "0.10.2", "backend": "cpu", "dtype": "float64"},
        "notes": (),
    }
    return Report(**{**fields, **changes})


def right():
    """Sin at 1, with its derivative."""
    slope = np.cos(1.0)
    return report(
        [probe(lambda t: np.sin(1 + t), slope, slope, third=-slope)], [finding(claimed=slope, estimate=slope)]
    )


def wrong():
    """Sin at 1 claimed 1 % too large, beside a right leaf."""
    slope = np.cos(1.0)
    sine = lambda t: np.sin(1 + t)
    bad = {
        "error": 0.0099,
        "claimed": 1.01 * slope,
        "estimate": slope,
        "advice": "look at the backward pass of this leaf.",
    }
    return report(
        [probe(sine, 1.01 * slope, slope, third=-slope), probe(np.exp, 1.0, 1.0)],
        [
            finding("['conv']['kernel']", Verdict.WRONG, Reason.MISMATCH, **bad),
            finding("['dense']['bias']", row=1, claimed=1.0, estimate=1.0),
        ],
    )


def kink():
    """A slope of 1 to the right and of 0 to the left, claimed as 1."""
    relu = lambda t: np.maximum(t, 0) + 0.01 * np.sin(t)
    about = finding(
        "['relu']",
        Verdict.UNRESOLVED,
        Reason.KINK,
        claimed=1.01,
        estimate=0.51,
        error=0.49,
        resolution=1.0,
        advice="move the point off the kink, or check each side by itself.",
    )
    return report([probe(relu, 1.01, 0.51, third=-0.01)], [about])


def nothing_finite():
    """A function that is not finite anywhere: no field of the fit says anything."""
    nan = float("nan")
    row = probe(lambda t: t * nan, nan, nan, uncertainty=nan, third=0.0, reach=nan)
    about = finding(
        verdict=Verdict.UNRESOLVED,
        reason=Reason.NOT_FINITE,
        claimed=nan,
        estimate=nan,
        uncertainty=nan,
        error=nan,
        error_bound=nan,
        resolution=float("inf"),
        slope=None,
        slope_error=None,
        crossover=None,
        noise=None,
        evidence={"first": float("-inf"), "kind": "nan", "said": "'quoted"},
    )
    return report([{**row, "noise": nan, "coefficient": nan}], [about])


def constant():
    """A constant function with a claim of zero: every difference is exactly zero."""
    about = finding(
        "", reason=Reason.EXACT, claimed=0.0, estimate=0.0, uncertainty=0.0, error=0.0, shape=(), slope=None
    )
    return report([probe(lambda t: 0 * t + 3, 0.0, 0.0, uncertainty=0.0, third=0.0)], [about])


def one_step():
    """Only one step was measured."""
    slope = np.cos(1.0)
    steps = np.array([2.0**-10])
    row = probe(lambda t: np.sin(1 + t), slope, slope, third=-slope, steps=steps)
    return report([row], [finding(claimed=slope, estimate=slope)], steps=steps)


def nothing_to_probe():
    """A tree without elements."""
    return report([], [])


EVERY = (right, wrong, kink, nothing_finite, constant, one_step, nothing_to_probe)
