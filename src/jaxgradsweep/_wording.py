"""What a verdict says: every sentence that a user reads about a verdict, its reason and what to do about it."""

import enum


class Verdict(enum.Enum):
    """The answer to "is this derivative right?". The value of each member is the sentence a user reads."""

    CORRECT = "the claimed derivative agrees with the function"
    WRONG = "the claimed derivative is not the derivative of the function"
    UNRESOLVED = "the sweep cannot tell whether the claimed derivative is right"

    def __str__(self) -> str:
        return self.name


class Reason(enum.Enum):
    """Why a verdict was given. The value of each member is the sentence a user reads."""

    CONVERGES = "the central differences converge, and their limit is the claim"
    EXACT = "the function is linear or quadratic along the probe, and its differences equal the claim"
    IDENTITY = (
        "the claim integrates back to the function along every segment, although the differences alone do not settle"
    )
    MISMATCH = "the central differences converge to another value than the claim"
    POINT_ONLY = "the claim is right near the point, but not at the point itself"
    NAN_CLAIM = "the claim is not finite where the function is smooth"
    KINK = "the function has a kink at the point: the slopes on its two sides differ"
    DENSE_KINKS = "kinks lie so densely that the function is smooth over no usable range of steps"
    JUMP = "the function jumps at the point, or closer to it than any usable step"
    SINGULAR = "the slope grows without limit as the step shrinks"
    NOISE = "the function is noisier than a derivative of this size can show"
    QUANTISED = "the function moves in steps: it is constant for small changes"
    ROUNDOFF = "rounding errors hide the derivative at every step"
    TRUNCATION = "no step was small enough: the function varies on a finer scale than its roundoff"
    SCALES = "the function has different slopes at different step sizes"
    DIRECTIONS = "independent directions do not agree with each other"
    NOT_FINITE = "the function is not finite at the point, or on one side of it"
    NONDETERMINISTIC = "two evaluations at the same point differ"

    def __str__(self) -> str:
        return self.name


LIMIT = "an error above {limit} would have been seen"
MEASURABLY_OFF = "measurably off by {error} in {leaves}, which is under the tolerance"
NOTHING_PROBED = "no leaf has an element to move: nothing was probed"
MEASURED_IS_BETTER = (
    "A rule of thumb has one limit for all functions and steps, so it cannot tell a small bug from the truncation and "
    "rounding of the check itself. The sweep measures both on this function: its detection limit is the smallest error "
    "that could have been seen here, and an error above it is an error of the claim."
)

# What the rules of thumb say of a figure above each limit, tried from the top.
RULES_OF_THUMB = {
    "cs231n": ((1e-2, "probably wrong"), (1e-4, "uncomfortable"), (1e-7, "ok with kinks"), (float("-inf"), "happy")),
    "ratio": ((1e-3, "worry"), (1e-5, "look closely"), (1e-7, "fair"), (float("-inf"), "great")),
    "sum_ratio": ((1e-9, "too large"), (float("-inf"), "small enough")),
}
NO_RULE = "no answer"


ADVICE = {
    Reason.KINK: (
        "No derivative exists at a kink. Along the direction that decided, the slope is {slope before:.6g} before "
        "it and {slope after:.6g} after it, and the claim {claim}. Check at a point a little aside; if the kink "
        "comes from equal or zero inputs, perturb them."
    ),
    Reason.DENSE_KINKS: (
        "The second differences grow like h^{bend order:.2f} instead of h^2. Use float64: its smaller steps fit "
        "between the kinks of a network of rectifiers or max-pools."
    ),
    Reason.JUMP: "The function jumps by {jump:.3g} at the point: no derivative exists. Check at another point.",
    Reason.SINGULAR: (
        "The differences grow like h^{exponent:.2f}: the slope at the point is infinite. Check at a point a little "
        "aside, or give the function a safe form there (a `where` around its argument)."
    ),
    Reason.NOISE: (
        "The function's noise is {noise over rounding:.1e} times the rounding of its output. Tighten the tolerance "
        "of solvers inside it, compute in float64 throughout, or fix its random numbers; larger `directions` do not"
        " help."
    ),
    Reason.QUANTISED: (
        "The function stands still for small changes, so its true derivative there is zero, while over large steps "
        "it moves by jumps. Look for rounding, casts to integers or a lookup table in it."
    ),
    Reason.ROUNDOFF: (
        "The function's value is so large beside its change that rounding hides the derivative. Subtract the "
        "constant part, check a term of the sum by itself, or ask for less with a larger `rtol`."
    ),
    Reason.TRUNCATION: (
        "The function varies on a finer scale than any step that rises above its rounding. Rescale the argument, "
        "check at a tamer point, or shorten what is iterated inside it."
    ),
    Reason.SCALES: (
        "Small and large steps, or the differences and the integrated claim, give different slopes. A loose solver "
        "does this (tighten its tolerance), as does a claim that is meant as a smoothed derivative; decide which "
        "one you mean."
    ),
    Reason.DIRECTIONS: (
        "Some directions agree with the claim and some do not. Raise `directions` to 8 and look at the figure."
    ),
    Reason.NOT_FINITE: (
        "Evaluate the function at the point: it must be finite there and a little to both sides. If the point lies "
        "on the edge of the domain, move it inside."
    ),
    Reason.NONDETERMINISTIC: (
        "Pass random keys and state as arguments, so that equal arguments give equal values; a derivative of a "
        "function that changes between calls has no meaning."
    ),
    Reason.MISMATCH: (
        "Along the direction that decided, the claim is {ratio:.10g} times the estimate. A ratio of claimed to "
        "estimated that is the same in every direction points to a constant factor or a sign, one that changes to "
        "single components or terms: find them with `estimate_grad`, which measures a scalar function's gradient "
        "component by component, on a small example."
    ),
    Reason.POINT_ONLY: (
        "The claim is right around the point and wrong at it. Look for a special case in the derivative: a "
        "comparison with zero, a `where`, a mask at equal values."
    ),
    Reason.NAN_CLAIM: (
        "The derivative is NaN or infinite where the function is smooth. Look for a `where` whose untaken branch is"
        " not finite, a square root or a norm at zero, or 0/0 in the backward pass."
    ),
}
LOW_PRECISION = "The function computes in float32 inside; it is judged at that precision."

INSIDE = "lies between the two, as that of a valid subgradient does"
OUTSIDE = "does not lie between the two, as that of a subgradient would"
TIE = (
    "The slopes along two halves of a direction do not add up to that along the whole, so no derivative exists at this "
    "point, as at equal values under a median or a sort. Perturb the inputs and check again."
)


def advice_for(verdict: Verdict, reason: Reason, evidence: dict[str, float | str]) -> str:
    """What to do about a finding, with its own numbers; empty where nothing is to do."""
    if verdict is Verdict.CORRECT:
        return LOW_PRECISION if "precision" in evidence else ""
    template = ADVICE.get(reason, "")
    try:
        return template.format(**evidence)
    except KeyError:  # a number that this finding could not measure
        return template.split(". ", 1)[-1]


NOT_TRACED = (
    "jaxgradsweep evaluates the function at many points in one compiled program, so JAX must be able to trace it: "
    "write it with jax.numpy and jax.lax, or wrap NumPy code with `jax.pure_callback`."
)
NOTES = {
    "fixed": "held fixed, since they are empty, or neither floating nor complex: {leaves}",
    "native": "evaluated as the arrays come, since the function does not run in float64 ({error})",
    "mode": "{missing} mode is not available for this function; {used} mode was used for the claim",
    "no vmap": "the function cannot be vmapped; its points were evaluated one after the other",
    "untraceable": "the claimed gradient cannot be traced by JAX; it was evaluated once, and is judged as numbers",
    "reach": "the function raises an error at steps above {step:.2g}; the steps below were used",
}
