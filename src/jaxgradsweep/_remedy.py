"""What a cause means and which line of code to look at, in sentences."""

CAUSES = {
    "zero": (
        "The claim is zero. Look for a `stop_gradient`, a detached branch (`jnp.round`, a cast to integers, an "
        "array rebuilt from NumPy), or a leaf that the backward pass forgets."
    ),
    "zero in part": (
        "The wrong components are claimed to be zero. Look for a mask that is too wide, a slice that is left out,"
        " or a backward pass that fills only a part of the array."
    ),
    "sign": (
        "The claim has the wrong sign {part}: a minus is missing or one too many, as in the "
        "derivative of `y - prediction`, or of a loss that was a likelihood."
    ),
    "constant-factor": "The claim is {value:.8g} times the right derivative {part}: {why}.",
    "transposed": (
        "The claim has the right numbers with {where} exchanged: look for a `.T`, a `swapaxes` or the order of a "
        "matrix product in the backward pass."
    ),
    "flipped": (
        "The claim has the right numbers in reverse order along {where}: look for a `flip` or `[::-1]` that is missing "
        "or one too many, as in the derivative of a convolution, which is a correlation."
    ),
    "rolled": (
        "The claim is `{where}`, where right is the right derivative: look for a roll, or for an index that is off by "
        "one."
    ),
    "swapped": (
        "The claim is the derivative with respect to {other}: two leaves of equal shape have changed places in what "
        "the backward pass returns."
    ),
    "conjugate": "The claim is the complex conjugate of JAX's gradient: return `jnp.conj` of it.",
    "broadcast-sum": (
        "The claim is the {what} axis {axis} of the right derivative, repeated along it: look at a `keepdims`, a "
        "broadcast, or a sum over one axis too many."
    ),
    "index": "A wrong index: {places}. Look at an index in the backward pass.",
    "repeated-index": (
        "Only those rows are wrong that an integer argument names more than once: `.at[i].set` keeps the last "
        "contribution, where `.at[i].add` sums all."
    ),
    "low-precision": (
        "Every claimed number is exactly a {name}: the result is cast to it, or the last operation of the backward "
        "pass runs in it."
    ),
    "weight-decay missing": (
        "The claim lacks {strength:.6g} times {kind_of}: the derivative of an {kind} penalty, or a part of it, is "
        "forgotten."
    ),
    "weight-decay too much": (
        "The claim has {strength:.6g} times {kind_of} too much: an {kind} penalty, or weight decay, that the "
        "function does not have, or has once."
    ),
    "copied": (
        "The derivative with respect to {other}, times {value:.6g}, is added to what is right here: look for a `+=`, "
        "or a sum, under the wrong name."
    ),
    "activation": "The claim is what follows if the derivative of {which} is taken as {words}.",
    "branch": (
        "The claim is what follows if the derivative with respect to {where} {what}. Look at that line's part of the "
        "backward pass."
    ),
    "elsewhere": "The claim is the right derivative at another point, {where}: look at what the forward pass saves.",
    "jacobian-transposed": (
        "The claim is {used}, where {needed} is right, J being the Jacobian: the rule of one mode is used for the "
        "other, or a `.T` is missing."
    ),
    "permuted": (
        "The claim has the right numbers in another order{where}: look for an index or a permutation that is applied "
        "where its inverse is right, or not at all."
    ),
    "chain-rule": (
        "The claim is the right derivative times {what}, component by component. Either the chain rule of a change of "
        "variables is left out or applied twice, as for a parameter that is kept as its logarithm; or a product is "
        "used where one of its factors is right."
    ),
    "offset": (
        "The claim less the right derivative is {value:+.6g} in every component: look for a constant that is added or "
        "left out."
    ),
    "part-of-batch": (
        "The claim is {value} times the gradient of {which} examples alone: a loop over the batch overwrites (`=`) "
        "where it must add (`+=`)."
    ),
    "stale": (
        "The claim g is the gradient at other parameters, x + {value:.6g} g: those before a step of descent. The "
        "backward pass uses values that were saved before the update."
    ),
    "ignores-cotangent": (
        "The claim does not change with the cotangent: the backward pass must multiply by what it is given, and "
        "not assume that to be one."
    ),
    "nonlinear-in-cotangent": (
        "The claim is not linear in what the rule is given: look for a clip, a normalisation or an absolute value"
        " in it."
    ),
    "subgradient": (
        "The claim lies outside of the two slopes at a kink: a convention for one side, applied where the value "
        "does not come from that side."
    ),
}
KINDS = {"L2": "the parameters themselves", "L1": "the signs of the parameters"}
FACTORS = {
    2.0: "2, as from a square that was differentiated twice, a 1/2 that is left out, or a term counted twice",
    0.5: "1/2, as from a forgotten 2 of a square, or one of two terms left out",
    3.0: "3, as from a cube",
    1 / 3: "1/3, as from a cube whose 3 is forgotten",
    4.0: "4, as from a factor of 2 taken twice",
    0.25: "1/4, as from a factor of 1/2 taken twice",
    3.141592653589793: "pi",
    0.6931471805599453: "the natural logarithm of 2, as between `log` and `log2`",
    1.4426950408889634: "1 / log 2, as between `log` and `log2`",
    2.302585092994046: "the natural logarithm of 10, as between `log` and `log10`",
    0.4342944819032518: "1 / log 10, as between `log` and `log10`",
    57.29577951308232: "180 / pi, as between degrees and radians",
    0.017453292519943295: "pi / 180, as between degrees and radians",
    0.1: "0.1, as a learning rate",
    0.01: "0.01, as a learning rate",
    0.001: "0.001, as a learning rate",
}
OR = "; or "
LEADING = "the length of axis 0 of an argument"
UNKNOWN_FACTOR = "no number that is known here"
EACH_FACTOR = {
    "sum": "{n}, which is {what}: a sum where a mean is right",
    "mean": "1/{n}, and {n} is {what}: a mean where a sum is right, or a mean taken twice",
    "fewer": "{n}/{less}, and {n} is {what}: n - 1 where n is right",
    "more": "{less}/{n}, and {n} is {what}: n where n - 1 is right",
    "root": "the square root of {n}, which is {what}",
    "inverse root": "one over the square root of {n}, which is {what}",
}
FLOWS = {
    0.0: "is left out: that value is taken for a constant, or that term is forgotten",
    2.0: "is counted twice",
    -1.0: "has the wrong sign",
}
FLOWS_OTHERWISE = "is taken {value:.8g} times ({why})"
OR_EQUALLY = "; or, which is the same here, by "
JUST_WHERE = " These are just the components where {what}."
ALSO_SCALED = " It is also {value:.6g} times as large."
ALSO_SIGN = "the sign, and "
OTHERS_RIGHT = (
    "All other leaves are right, and so is what they share with {leaves}: look in the lines that only {it} uses."
)
NO_CAUSE = "none: no single mistake that is known here explains the error; {ratios}"
SINGLE_RATIO = "claimed / measured is {value:.6g}"
ONE_RATIO = "claimed / measured is {value:.6g} in {count} of {total} wrong components that were measured"
RATIOS_FROM = "claimed / measured goes from {least:.6g} to {most:.6g}"
ABOUT_ALL = ("branch", "activation", "stale", "ignores-cotangent", "nonlinear-in-cotangent", "subgradient")
