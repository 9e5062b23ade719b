"""What a verdict says: every sentence that a user reads about a verdict, its reason and what to do about it."""

import enum
import math
import re
from collections.abc import Sequence


class _Lasting(enum.Enum):
    """An enum whose members equal those of the same name from before a reload of this module, which old reports hold.

    So what reads a report compares with `==`, not with `is`.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, enum.Enum) and (type(self).__name__, self.name) == (type(other).__name__, other.name)

    def __hash__(self) -> int:
        return hash(self.name)


class Verdict(_Lasting):
    """The answer to "is this derivative right?". The value of each member is the sentence a user reads.

    Example:
        >>> import jaxgradsweep as jgs
        >>> print(jgs.Verdict.CORRECT.value)
        the claimed derivative agrees with the function
    """

    CORRECT = "the claimed derivative agrees with the function"
    WRONG = "the claimed derivative is not the derivative of the function"
    UNRESOLVED = "the sweep cannot tell whether the claimed derivative is right"

    def __str__(self) -> str:
        return self.name


class Reason(_Lasting):
    """Why a verdict was given. The value of each member is the sentence a user reads.

    Example:
        >>> import jaxgradsweep as jgs
        >>> print(jgs.Reason.KINK.value)
        the function has a kink at the point: the slopes on its two sides differ
    """

    CONVERGES = "the central differences converge, and their limit is the claim"
    EXACT = "the function is linear or quadratic along the probe, and its differences equal the claim"
    CONSTANT = "the function does not move at any step, and the claim is zero or drowns in the function's rounding"
    IDENTITY = (
        "the claim integrates back to the function along every segment, although the differences alone do not settle"
    )
    TWIN = "the claim agrees with the derivative of the same function in float64, as well as its precision allows"
    MISMATCH = "the central differences converge to another value than the claim"
    POINT_ONLY = "the claim is right near the point, but not at the point itself"
    NOISY_CLAIM = "the claim is not the slope at the point, and varies from point to point where the function is smooth"
    NAN_CLAIM = "the claim is not finite where the function is smooth"
    VALUE = "the value that comes with the derivative is not the function's value"
    NOT_LINEAR = "the claim is not linear in the direction, or in the cotangent, as every derivative is"
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
    INTERRUPTED = "the check was interrupted before this leaf was decided"

    def __str__(self) -> str:
        return self.name


class Law(_Lasting):
    """An identity that needs no steps. The value of each member is its formula.

    Example:
        >>> import jaxgradsweep as jgs
        >>> print(jgs.Law.SYMMETRY.value)
        <u, H v> = <v, H u>
    """

    VALUE = "the value that comes with the derivative is f(x)"
    LINEARITY = "L(a v + b w) = a L v + b L w"
    ADJOINT = "<u, J v> = <J^T u, v>, forward against reverse mode"
    SYMMETRY = "<u, H v> = <v, H u>"
    BATCH = "a batch of points under vmap gives what each gives alone"
    COMPILATION = "compiled code gives what uncompiled code gives"

    def __str__(self) -> str:
        return self.name

    @property
    def advice(self) -> str:
        """Where to look if it is broken."""
        return BROKEN_LAW[self]


BROKEN_LAW = {
    Law.VALUE: "The rule's forward pass computes another function: make it return what the function itself returns.",
    Law.LINEARITY: "A derivative is linear. Look for a clip, an absolute value, a normalisation or a constant that the "
    "rule applies to the tangent or cotangent.",
    Law.ADJOINT: "Forward and reverse mode are not transposes of each other: one of two rules is wrong. Check each by "
    "itself, with `check_jvp` and `check_vjp`.",
    Law.SYMMETRY: "No Hessian is unsymmetric where second derivatives are continuous: look for a term of the second "
    "derivative that is missing on one side, or a rule whose own derivative is wrong.",
    Law.BATCH: "The function mixes the points of a batch, or its batching rule is wrong: `vmap` of it cannot be "
    "trusted. Look at `custom_vmap`, `pure_callback(vmap_method=...)` and sums over an axis that is not named.",
    Law.COMPILATION: "Under `jit` the function or its derivative is another one: look for Python state, branches on "
    "`jax.core.Tracer`, and numbers that change between traces.",
}
TOTAL_ONLY = (
    "every term by itself is right, and the claim for their sum is wrong: a term is missing, counted twice or weighted "
    "otherwise"
)
NO_TWIN = "the function does not run in float64, so only its arithmetic as shipped could be checked"


def points_summary(found: Sequence[tuple[str, Verdict, Reason | None]]) -> str:
    """What verdicts at several points, the given one first, say together."""
    names = {verdict: [name for name, given, _ in found if given == verdict] for verdict in Verdict}
    right, wrong, open_ = (names[v] for v in (Verdict.CORRECT, Verdict.WRONG, Verdict.UNRESOLVED))
    count = len(found)
    if len(right) == count:
        return f"right at all {count} points"
    if len(wrong) == count:
        return f"wrong at all {count} points: the mistake is not one of a special point"
    if wrong and right:
        return (
            f"wrong at {', '.join(wrong)}, right at {', '.join(right)}: look for what is special at {wrong[0]}, a "
            "branch, a mask or a comparison in the derivative"
        )
    if wrong:
        return f"wrong at {', '.join(wrong)}, undecided at {', '.join(open_)}"
    if open_ == [found[0][0]]:
        why = f" ({found[0][2].name})" if found[0][2] is not None else ""
        others = "the other point" if len(right) == 1 else f"the other {len(right)} points"
        return f"right at {others} and undecided only at the given one{why}: only that point is special"
    if not right:
        return f"undecided at all {count} points"
    return f"right at {', '.join(right)}, undecided at {', '.join(open_)}"


def terms_summary(terms: Sequence[tuple[str, Verdict]], total: Verdict) -> str:
    """What the verdicts on the terms of a sum, and on the sum, say together."""
    wrong, right, open_ = (
        ", ".join(name for name, verdict in terms if verdict == wanted)
        for wanted in (Verdict.WRONG, Verdict.CORRECT, Verdict.UNRESOLVED)
    )
    rest = "".join([f"; {right} right" if right else "", f"; {open_} undecided" if open_ else ""])
    if wrong:
        return f"the mistake is in the derivative of {wrong}{rest}"
    if total == Verdict.WRONG:
        return TOTAL_ONLY if not open_ else f"the claim for the sum is wrong{rest}"
    if open_:
        return f"no term is seen to be wrong{rest}"
    undecided = "" if total == Verdict.CORRECT else ", though their sum is undecided"
    return f"the derivative of every term is right: {right}{undecided}"


IS_ITS = {
    Verdict.CORRECT: "is its derivative",
    Verdict.WRONG: "is not its derivative",
    Verdict.UNRESOLVED: "could not be decided",
}
AGREES = {
    Verdict.CORRECT: "the product is right",
    Verdict.WRONG: "the product is wrong",
    Verdict.UNRESOLVED: "the product is undecided",
}


OF_A_PRODUCT = (
    "If the gradient is right, `jgs.check_hessian` shows which entries are wrong: give it your Hessian, on a small "
    "example."
)
FLAT = (
    "H v = 0 along {count} of {count} directions: the function is linear here, or piecewise linear as a network of "
    "rectifiers is, so that a second-order check says little"
)


OFF_ENTRIES = "{count} of {total} entries of block {block} differ from what was measured"
NOT_SYMMETRIC = (
    "the claim is not symmetric in block {block}: entries and their mirror images differ by up to {most:.2g}"
)
UNKNOWN_ENTRIES = "{count} of {total} entries of block {block} could not be measured"
ENTRY = "the entry of {row} and {column}: claimed {claimed:.10g}, measured {estimate:.10g} ± {bar:.1g}"
ZERO_BLOCKS = "zero blocks: {blocks}"


def second_summary(gradient: Verdict, why: Reason | None, product: Verdict) -> str:
    """What the checks of a gradient, from the function, and of a Hessian-vector product, from the gradient, say."""
    agrees = f"the product {IS_ITS[product]}"
    if gradient == Verdict.CORRECT:
        return f"the gradient is right, and {agrees}"
    if gradient == Verdict.WRONG:
        tail = ": mend the gradient first" if product == Verdict.CORRECT else ""
        return f"the gradient itself is wrong, and {agrees}{tail}"
    return f"the gradient is undecided{f' ({why.name})' if why else ''}, and {agrees}"


def stages_summary(found: Sequence[tuple[str, Verdict]]) -> str:
    """What the verdicts on the stages of a chain say together."""
    wrong, open_ = ([name for name, given in found if given == v] for v in (Verdict.WRONG, Verdict.UNRESOLVED))
    undecided = f"; undecided: {', '.join(open_)}" if open_ else ""
    if not wrong:
        return f"no stage is seen to be wrong{undecided}" if open_ else f"all {len(found)} stages are right"
    more = f", then {', '.join(wrong[1:])}" if wrong[1:] else ", and no other"
    return f"the backward pass of stage {wrong[0]} is wrong{more}{undecided}"


def gauss_newton_summary(product: Verdict, jacobian: Verdict) -> str:
    """What the checks of a Gauss-Newton product and of the model's own Jacobian say."""
    said = {
        Verdict.CORRECT: "the product is that of the linearised model",
        Verdict.WRONG: "the product is not that of the linearised model",
        Verdict.UNRESOLVED: "the product could not be decided",
    }[product]
    if jacobian == Verdict.WRONG:
        return f"the model's own Jacobian is wrong, and {said}: mend the model's derivative first"
    known = "right" if jacobian == Verdict.CORRECT else "undecided"
    return f"the model's Jacobian is {known}, and {said}"


ANOTHER = (
    "{start}, and so is its arithmetic in {dtype}; but there the function is another one, whose derivative differs by "
    "{off}: does it draw random numbers in the default precision, or choose what to compute by a dtype?"
)


def twin_summary(
    formula: Verdict, finest: float, shipped: Verdict, off: float, dtype: str, limit: float, *, another: bool = False
) -> str:
    """What a check in float64 and one in the arithmetic as shipped say together.

    `another`: the differences show another derivative as shipped than in float64.
    """
    if formula == Verdict.WRONG:
        return f"the formula itself is wrong, in float64 too, so that its arithmetic in {dtype} does not matter"
    if formula != Verdict.CORRECT:
        return f"in float64 the formula is undecided, so that its arithmetic in {dtype} has nothing to be held against"
    start = f"the formula is right to {_short(finest)}"
    if not math.isfinite(off):
        return f"{start}; as shipped, in {dtype}, the claim or the function is not finite: look for overflow"
    if another and shipped == Verdict.CORRECT:
        return ANOTHER.format(start=start, dtype=dtype, off=_short(off))
    if off <= limit:
        agrees = f"agrees with the derivative in float64 to {_short(off)}, which is what {dtype} supports"
        other = f"; but the function itself, as it is computed in {dtype}, has another derivative"
    else:
        agrees = (
            f"differs from the derivative in float64 by {_short(off)}, more than the {_short(limit)} of its rounding"
        )
        other = ""
    lost = {
        Verdict.WRONG: other,
        Verdict.UNRESOLVED: f"; the differences in {dtype} are too coarse to add anything",
        Verdict.CORRECT: "",
    }[shipped]
    return f"{start}; as shipped, in {dtype}, the claim {agrees}{lost}"


def _short(value: float) -> str:
    """A number with two digits: 3.8e-2."""
    mantissa, _, power = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(power)}"


WAITS = (
    "process {index} of {processes} has waited {seconds:.0f} s for what the others measure. If one of them has ended, "
    "JAX ends this one after the `heartbeat_timeout_seconds` of `jax.distributed.initialize`; with `checkpoint=` the "
    "next start goes on from what is measured"
)
NO_ANSWER = (
    "process {index} of {processes} waited for what the others have measured, and did not get it: a process has ended, "
    "or the connection is lost ({error}). Start all of them again; with `checkpoint=` each keeps what it has measured"
)
OTHER_FAILED = "process {process} raised an error while it measured its part of the probes: see its own output"
OTHER_CHECK = (
    "the checkpoint in {folder} belongs to another check, and its measurements cannot be used for this one ({differing}"
    "). Choose another folder, or remove that one"
)
UNREADABLE_MANIFEST = "the checkpoint's {path} cannot be read ({error}): choose another folder, or remove that one"
NOT_KEPT = (
    "{path} cannot be written ({error}). Make room, or choose another folder with `checkpoint=`: the same call then "
    "goes on from what was kept"
)
CORRUPT = "{path} is damaged and was left out; what it held is measured again ({error})"
WRONG_ARE = "wrong: {pattern}"
NO_PATTERN = "{count} of {total:,} components are wrong, without a pattern that is known here"
STOPPED = "the search ended with its budget: there may be more. `locate=True` looks for all"
RELATIVE_ERROR = (
    "relative error: claimed less measured along a random direction, over the root sum of squares of its terms"
)
HOLD = "identities that hold to rounding:"
BROKEN = "{law} is broken by {off}"
LIMIT = "an error above {limit} would have been seen"
MEASURABLY_OFF = "measurably off by {error} in {leaves}, which is under the tolerance"
OFF_ALONG_ONE = (
    "measurably off by {error} along one direction in {leaves}; over all directions that is under the tolerance"
)
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
        "it and {slope after:.6g} after it, and the claim {claim}. Check at points a little aside, with `points=4`: if "
        "the claim is right there, only this point is special, as equal or zero inputs are, and nothing is to be "
        "mended. In a test, use a point without a kink. Moved alone, {kinked}."
    ),
    Reason.DENSE_KINKS: (
        "Many kinks (rectifiers, max-pools, absolute values) lie closer together than any step that this precision "
        'allows. Use the default `dtype="float64"`: its smaller steps fit between them.'
    ),
    Reason.JUMP: (
        "The function jumps by {jump:.3g} at the point, or in a layer around it that is thinner than any step: no "
        "derivative can be seen. Check at points a little aside, with `points=4`."
    ),
    Reason.SINGULAR: (
        "The function changes like |h|^{exponent:.2f} down to the smallest steps, so that its slope at the point is "
        "infinite, or steeper than any step can show. Check at a point a little aside, or give the function a safe "
        "form there (a `where` around its argument)."
    ),
    Reason.NOISE: (
        "At small steps the function's values scatter by about {scatter:.1g} of their size. Either it is noisy: "
        "tighten the tolerance of solvers inside it, compute in float64 throughout, or fix its random numbers. Or it "
        "varies faster than any step can follow, as a fast wave or a chaotic iteration does: rescale the argument, or "
        "iterate less. More directions do not help."
    ),
    Reason.QUANTISED: (
        "The function stands still for small changes, so its true derivative there is zero, while over large steps "
        "it moves by jumps. Look for rounding, casts to integers, bfloat16 or float16, a lookup table, a solver that "
        "stops early, a `where` that puts a constant in the place of a formula near the point (put its series there), "
        "or counting with fixed random numbers. A straight-through estimator differs from the derivative "
        "on purpose: hold it against the function without the rounding."
    ),
    Reason.ROUNDOFF: (
        "The function's value is so large beside its change that rounding hides the derivative. Subtract the "
        "constant part, or check the part that changes by itself."
    ),
    Reason.TRUNCATION: (
        "The function varies on a finer scale than any step that rises above its rounding. Rescale the argument, "
        "check at a tamer point, or shorten what is iterated inside it."
    ),
    Reason.SCALES: (
        "Small and large steps, or the differences and the integrated claim, give different slopes. A solver that "
        "stops early does this: tighten its tolerance, or say with `rtol` how large an error matters. So do kinks at "
        "regular distances, a wave or a chaotic iteration that is faster than any step, and a claim that is meant as "
        "a smoothed derivative."
    ),
    Reason.DIRECTIONS: (
        "Some directions agree with the claim and some do not. With `directions={more:.0f}` more of them vote. If they "
        "still differ, the claim is not linear in the direction (compare what it gives for 2 v with twice that for v, "
        "and for -v with the opposite), or the function has no derivative here: check at points a little aside, with "
        "`points=4`."
    ),
    Reason.NOT_FINITE: (
        "{where finite}. If the point lies on the edge of the domain (a square root at 0, an arccosine at 1), move it "
        "inside; in short precisions, look for overflow."
    ),
    Reason.NONDETERMINISTIC: (
        "With equal arguments, {what} was {first:.10g} at one call and {second:.10g} at the next. {where it hides}. "
        "Pass random keys and state as arguments, so that equal arguments give equal values; a derivative of a "
        "function that changes between calls has no meaning. For a function of parameters, state and keys, "
        "`jgs.pure(fun, state, key)` is a function of the parameters alone."
    ),
    Reason.INTERRUPTED: (
        "Run the check again and let it end. With `checkpoint=` it goes on from what is measured already."
    ),
    Reason.MISMATCH: (
        "The ratio of claim to measured derivative changes with the direction, so that single components or terms are "
        "wrong. Compare your gradient with `jgs.estimate_grad(fun, args)`, which measures each component of a scalar "
        "function's gradient (on a small example)."
    ),
    Reason.POINT_ONLY: (
        "The claim is right around the point and wrong at it. Look for a special case in the derivative: a "
        "comparison with zero, a `where`, a mask at equal values."
    ),
    Reason.NOISY_CLAIM: (
        "The claim is {ratio:.10g} times the estimate at the point, and changes erratically around it, while the "
        "function is smooth: the derivative loses its digits. Look for a difference of two large numbers, or a lower "
        "precision, in the backward pass."
    ),
    Reason.VALUE: (
        "While it is differentiated, the function returns another value than by itself, by {broken:.2g} of its size. "
        "Look at the forward pass of a custom rule: it must return what the function returns."
    ),
    Reason.NOT_LINEAR: (
        "The claim of a sum differs from the sum of the claims by {broken:.2g}. Look for a clip, a normalisation, an "
        "absolute value or a constant that the rule applies to what it is given."
    ),
    Reason.NAN_CLAIM: (
        "The derivative is NaN or infinite where the function is smooth. Look for a `where` whose untaken branch is"
        " not finite, a square root or a norm at zero, or 0/0 in the backward pass."
    ),
}
CLAIM_TWICE = {"changes in": "claim", "what": "the claimed derivative along one direction"}
HIDES = {
    "python": "What Python computes in it differs from run to run: look for `np.random`, a counter, or something "
    "outside that it changes",
    "host": "Look into what it calls out of JAX, such as `pure_callback`: a generator or a cache that lives there, a "
    "counter, a warm start",
    "claim": "Look in the backward pass for gradients that add up, a generator, a cache or a counter",
}
FACTOR = (
    "The claim is {ratio:.10g} times the measured derivative in every direction: look for a factor or a sign, such as "
    "n / (n - 1)."
)
ONE_NUMBER = (
    "The claim is {ratio:.10g} times the measured derivative. That is one number, which any mistake turns into "
    "another: look at all that the backward pass sums up for it."
)
SMALL = (
    "The difference is small, and changes with the direction; along the one that decided, the claim is {ratio:.10g} "
    "times the measured derivative. Either a few components of the leaf are wrong: `jgs.estimate_grad(fun, args)` "
    "measures each of them (on a small example). Or the backward pass computes in lower precision than the function."
)
STOPS_EARLY = (
    "The function has a loop that ends on a condition. If that is a solver which stops early, its exact solution has "
    "another derivative than what it computes: tighten its tolerance, and see whether the difference shrinks."
)
CONJUGATE = "`jax.grad` returns the conjugate of the usual complex gradient: try `jnp.conj` of the claim."
NOT_FINITE_CLAIM = (
    "No derivative exists at this kink, and the claim is not finite. If your program can reach the point (a norm of "
    "zeros, a distance between equal points), give the derivative a finite value there, with a `where` inside and "
    "outside of the root."
)
IN_FLOAT64 = (
    "Check in float64 first, the default `dtype`: its steps are finer, and fit between kinks that in {precision} look "
    "like one."
)
LOW_PRECISION = (
    "The function computes in {precision inside} inside, which limits this check. To check more finely, let it use the "
    "dtype of its arguments."
)

INSIDE = "lies between the two, as that of a valid subgradient does"
OUTSIDE = "lies outside of the two; derivative rules that are right elsewhere can do this at a kink"
BESIDE_KINKS = (
    "seen along component {component} alone, which meets no kink; {kinked}, but what the claim chooses there explains "
    "nothing along another component"
)
TIE = (
    "No derivative exists here: several values are equal, as under a median, a sort or a maximum, and the slope "
    "depends on which of them moves. Check at points a little aside, with `points=4`."
)
FINITE_AT = "The function is finite at the point, but not on both sides of it"
NOT_FINITE_AT = "The function is not finite at the point itself"

SHORT_OF_DIGITS = (Reason.KINK, Reason.TRUNCATION, Reason.SCALES, Reason.NOISY_CLAIM)  # what float64 may decide
SENTENCE = re.compile(r"(?<=\.)\s+")


def advice_for(verdict: Verdict, reason: Reason, evidence: dict[str, float | str]) -> str:
    """What to do about a finding, with its own numbers; empty where nothing is to do."""
    if verdict == Verdict.CORRECT:
        return _filled(LOW_PRECISION, evidence)
    template, first, more = ADVICE.get(reason, ""), "", ""
    if (hides := HIDES.get(str(evidence.get("changes in")))) is not None:
        evidence = evidence | {"where it hides": hides}
    if reason == Reason.MISMATCH:
        template = {"factor": FACTOR, "one number": ONE_NUMBER, "small": SMALL}.get(
            str(evidence.get("pattern")) * ("ratio" in evidence), template
        )
        more = CONJUGATE if evidence.get("complex") else ""
    elif reason == Reason.KINK and evidence.get("claim") == "is not finite":
        template = NOT_FINITE_CLAIM
    elif reason in SHORT_OF_DIGITS and "precision" in evidence:
        first = IN_FLOAT64
    sentences = SENTENCE.split(f"{first} {template} {more}".strip())
    return " ".join(filter(None, (_filled(sentence, evidence) for sentence in sentences)))


def replaced(advice: str, word: str, instead: str = "") -> str:
    """Advice with another sentence in the place of those that have a word, which is not for everybody."""
    sentences = [instead if word in sentence else sentence for sentence in SENTENCE.split(advice)]
    return " ".join(filter(None, dict.fromkeys(sentences)))


def _filled(sentence: str, evidence: dict[str, float | str]) -> str:
    """A sentence with its numbers; empty where this finding could not measure one of them."""
    try:
        return sentence.strip().format(**evidence)
    except KeyError:
        return ""


NOT_TRACED = (
    "jaxgradsweep evaluates the function at many points in one compiled program, so JAX must be able to trace it: "
    "write it with jax.numpy and jax.lax, or wrap NumPy code with `jax.pure_callback`."
)
KEEPS = (
    "`fun` keeps something from one call to the next that it computes itself (a random key that it splits, statistics "
    "of a module), so that equal arguments do not give equal values. Pass that as an argument; a module that changes "
    "when it is called can be given to `jgs.pure`"
)
EPS_IGNORED = (
    "`eps` was ignored: no single step suits every function, so all of them were tried, from the size of the arguments "
    "down to rounding."
)
NOTES = {
    "fixed": "held fixed, since they are empty, or neither floating nor complex: {leaves}",
    "others": "only args[{number}] was moved; `argnums={all}` checks the derivatives with respect to the others too",
    "keys": "PRNG keys are held fixed, so that every evaluation draws the same numbers: {leaves}",
    "native": "evaluated as the arrays come, since the function does not run in float64 ({error}). Arrays that it "
    "reads from outside keep their precision: pass them as arguments. Numbers written as float32 inside, and results "
    "of callbacks, need the dtype of the arguments",
    "stale": "JAX kept constants that the function reads in another precision; its caches were emptied",
    "mode": "{missing} mode is not available for this function; {used} mode was used",
    "no vmap": "the function cannot be vmapped; its points were evaluated one after the other",
    "untraceable": "the claimed gradient cannot be traced by JAX; it was evaluated once, and is judged as numbers",
    "unexplained": "the search for what is wrong ended early ({error}); the verdict does not depend on it, and "
    "`locate=False` leaves it out",
    "no adjoint": "the adjoint identity needs forward and reverse mode, and this function has one of them only",
    "branches": "the function chooses between branches that hold loops, and a batch of points would run all of them; "
    "its points were evaluated one after the other",
    "batch": "the function gives other values in a batch of points than alone; its points were evaluated one after the "
    "other",
    "matmul": "matrix products multiply numbers of {bits} bits of mantissa here: each is rounded by up to {error:.1e} "
    'of itself, which sets the floor of this check. `matmul_precision="highest"`, the default, checks the formula '
    "without it",
    "one device": "the function calls out of JAX, or uses several devices by itself: its probes were not spread over "
    "devices",
    "partial": "the check was interrupted: leaves that were not decided by then are undecided",
    "grain": "at {leaf}, claim and function differ by {off:.1e}. That changes as a whole if numbers in float32 "
    "(arguments, or what the functions hold) move by their own rounding: it is theirs, as where probabilities add up "
    "to 1 only nearly, and no error of the claim",
    "reach": "the function raises an error at steps above {step:.2g}; the steps below were used",
}
