"""Why a claim is wrong: mistakes that people make, each tested against what was measured.

A hypothesis predicts the claim from the right derivative, or the other way round. It is named only if it explains the
error to a hundredth part and better, in every component that is known; what two hypotheses explain equally is said of
both.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from jaxgradsweep._remedy import (
    ALSO_SCALED,
    ALSO_SIGN,
    CAUSES,
    EACH_FACTOR,
    FACTORS,
    JUST_WHERE,
    KINDS,
    LEADING,
    OR,
    UNKNOWN_FACTOR,
)

EXPLAINS = 1e-2  # a cause leaves at most this part of the error
ALIKE = 1e-6  # and at most this part of the derivative
SAME = 1e-5  # a factor is a well-known number if it is one to this relative error
BARS = 3.0  # error bars within which a measured component is met
WRITTEN = 3  # significant digits of a number that somebody wrote
EXACTLY = 1e-7  # to this relative error
MOST_LISTED = 16  # an order of at most so many places is written out
ORDERS = ("transposed", "flipped", "rolled")
OTHER_WAY = str.maketrans("+-", "-+")
FEWEST = 3  # components, at least one per fitted number and two more, that a cause must explain


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cause:
    """A mistake that explains an error.

    Attributes:
        name: one of a fixed vocabulary, such as "constant-factor", "sign" or "transposed".
        path: the leaf.
        factor: the number that was estimated with it, such as the constant factor or the strength of a weight decay.
        confidence: share of the error that it explains.
        sentence: what it means, and where to look.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgradsweep as jgs
        >>> x = jnp.linspace(0.3, 1.2, 6)
        >>> report = jgs.check_grad(lambda x: jnp.mean(jnp.sin(x)), (x,), grad=jnp.cos)
        >>> report.causes[0].name, round(report.causes[0].factor, 6)
        ('constant-factor', 6.0)
    """

    name: str
    path: str
    factor: float | None
    confidence: float
    sentence: str


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """One wrong leaf: NaN stands for what is not known.

    Attributes:
        path: its name.
        point: the parameters.
        claimed: the claimed derivative.
        right: the right one.
        bar: its error bar.
        others: the right derivative of the other leaves, by name.
        sizes: numbers that occur in shapes, and what has them.
        counts: how often each index along the first axis occurs in an integer argument, for those that index it.
        beside: arrays of the leaf's shape: what each is called, and its values.
    """

    path: str
    point: np.ndarray
    claimed: np.ndarray
    right: np.ndarray
    bar: np.ndarray
    others: dict[str, np.ndarray]
    sizes: dict[int, str]
    counts: tuple[np.ndarray, ...] = ()
    beside: tuple[tuple[str, np.ndarray], ...] = ()

    @property
    def known(self) -> np.ndarray:
        return np.isfinite(self.right) & np.isfinite(self.claimed)

    @property
    def error(self) -> np.ndarray:
        return self.claimed - self.right

    @property
    def wrong(self) -> np.ndarray:
        """Which known components are wrong."""
        size = root_mean_square(self.right[self.known])
        return np.asarray(self.known & (np.abs(self.error) > BARS * self.bar + 1e-9 * size))


Found = tuple[str, float | None, float, str]  # name, factor, confidence, sentence


def causes_of(evidence: Evidence) -> tuple[Cause, ...]:
    """The mistakes that explain the error of one leaf: those with the fewest fitted numbers, and all that tie.

    Where the right derivative is known of single components only, a wrong order is looked for from the other side: the
    right numbers must be the claimed ones in another order.
    """
    if not evidence.wrong.any():
        return ()
    mirrored = dataclasses.replace(evidence, claimed=evidence.right, right=evidence.claimed)
    for tests in (EXACT, FITTED):
        found = [each for test in tests for each in test(evidence)]
        if tests is EXACT and not any(name in ORDERS for name, *_ in found):
            found += rearranged(mirrored, back=True)
        if found:
            best = max(confidence for _, _, confidence, _ in found)
            kept = {name: each for each in found if (name := each[0]) and each[2] >= best - EXPLAINS}
            return tuple(
                Cause(name=name, path=evidence.path, factor=factor, confidence=confidence, sentence=sentence)
                for name, factor, confidence, sentence in kept.values()
            )
    return ()


def explained(evidence: Evidence, prediction: np.ndarray, fitted: int = 0) -> float:
    """The share of the error that a prediction of the claim explains; 0 unless it does so everywhere."""
    where = evidence.known & np.isfinite(prediction)
    wrong = evidence.wrong & where
    needed = FEWEST + fitted if fitted else min(FEWEST, int(evidence.wrong.sum()))
    if int(wrong.sum()) < max(needed, 1) or not (evidence.wrong <= where).all():
        return 0.0
    with np.errstate(all="ignore"):
        left = np.abs(evidence.claimed - prediction)[where]
        error = root_mean_square(evidence.error[wrong])
        size = root_mean_square(evidence.right[where]) or root_mean_square(evidence.claimed[where])
        slack = min(ALIKE * size, EXPLAINS * error) + BARS * np.nan_to_num(evidence.bar[where], posinf=0)
    if np.any(left > slack) or error <= BARS * root_mean_square(evidence.bar[wrong]):
        return 0.0
    return float(1 - min(1.0, root_mean_square(left) / error))


def root_mean_square(values: np.ndarray) -> float:
    """RMS without overflow; 0 of nothing."""
    size = np.abs(np.asarray(values)).ravel()
    largest = np.max(size, initial=0.0)
    return float(largest * np.sqrt(np.mean((size / largest) ** 2))) if largest > 0 and np.isfinite(largest) else 0.0


def ratio(a: np.ndarray, b: np.ndarray) -> float:
    """The factor f for which a = f b in least squares."""
    unit = np.max(np.abs(b), initial=0.0) or 1.0
    b = b / unit
    return float(np.real(np.vdot(b, a)) / max(np.real(np.vdot(b, b)), np.finfo(float).tiny) / unit)


# ---- causes without a fitted number


def zero(evidence: Evidence) -> Iterator[Found]:
    if not evidence.claimed[evidence.wrong].any() and int(evidence.wrong.sum()) >= 1:
        whole = not evidence.claimed[evidence.known].any()
        yield "zero", 0.0, 1.0, CAUSES["zero" if whole else "zero in part"]


def arrangements(array: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """Ways in which the numbers of an array get into a wrong order: name, words, and the array in that order."""
    axes = range(array.ndim)
    for a, b in itertools.combinations(axes, 2):
        if array.shape[a] == array.shape[b]:
            yield "transposed", f"axes {a} and {b}", np.swapaxes(array, a, b)
    if array.ndim >= 2 and array.shape != array.shape[::-1]:
        yield "transposed", "all axes, and then reshaped", array.T.reshape(array.shape)
        yield "transposed", "all axes, read in the other order", array.reshape(array.shape[::-1]).T
    for count in range(1, array.ndim + 1):
        for chosen in itertools.combinations(axes, count):
            if all(array.shape[axis] > 1 for axis in chosen):
                where = f"axis {chosen[0]}" if count == 1 else f"axes {', '.join(map(str, chosen))}"
                yield "flipped", where, np.flip(array, chosen)
    for axis in axes:
        for shift in (1, -1, 2, -2):
            if array.shape[axis] > 2:
                yield "rolled", f"jnp.roll(right, {shift:+d}, axis={axis})", np.roll(array, shift, axis)


def rearranged(evidence: Evidence, *, back: bool = False) -> Iterator[Found]:
    """A wrong order; with `back`, of evidence in which claim and measurement have changed places."""
    for name, where, prediction in arrangements(evidence.right):
        if confidence := explained(evidence, prediction):
            where = where.translate(OTHER_WAY) if back and name == "rolled" else where
            yield name, None, confidence, CAUSES[name].format(where=where)


def partly_transposed(evidence: Evidence) -> Iterator[Found]:
    """One of several terms is transposed: the claim and its transpose add up to what the right derivative does."""
    right, claimed = evidence.right, evidence.claimed
    for a, b in itertools.combinations(range(right.ndim), 2):
        if right.shape[a] != right.shape[b] or right.shape[a] < FEWEST:
            continue
        turned, prediction = np.swapaxes(right, a, b), right + np.swapaxes(right - claimed, a, b)
        if not explained(evidence, turned) and (confidence := explained(evidence, prediction)):
            where = f"axes {a} and {b}, in one of its terms,"
            yield "transposed", None, confidence, CAUSES["transposed"].format(where=where)


def opposite(evidence: Evidence) -> Iterator[Found]:
    if confidence := explained(evidence, -evidence.right):
        yield "sign", -1.0, confidence, CAUSES["sign"].format(part="everywhere")


def swapped(evidence: Evidence) -> Iterator[Found]:
    for path, right in evidence.others.items():
        if right.shape == evidence.right.shape and (confidence := explained(evidence, right)):
            yield "swapped", None, confidence, CAUSES["swapped"].format(other=path)


def conjugate(evidence: Evidence) -> Iterator[Found]:
    if np.iscomplexobj(evidence.claimed) and (confidence := explained(evidence, np.conj(evidence.right))):
        yield "conjugate", None, confidence, CAUSES["conjugate"]


def summed(evidence: Evidence) -> Iterator[Found]:
    """A sum over an axis that is missing, or one too many."""
    right = evidence.right
    for axis in range(right.ndim):
        if right.shape[axis] < 2:
            continue
        with np.errstate(all="ignore"):
            total = np.broadcast_to(right.sum(axis=axis, keepdims=True), right.shape)
        for name, prediction in (("sum over", total), ("mean over", total / right.shape[axis])):
            if confidence := explained(evidence, prediction):
                yield "broadcast-sum", None, confidence, CAUSES["broadcast-sum"].format(what=name, axis=axis)


def other_index(evidence: Evidence) -> Iterator[Found]:
    """Few wrong components, each of which has the value of another component."""
    wrong: list[tuple[int, ...]] = [tuple(map(int, index)) for index in np.argwhere(evidence.wrong)]
    if not 1 <= len(wrong) <= min(4, evidence.claimed.size // 4):
        return
    places = []
    for index in wrong:
        same: np.ndarray = np.array(np.isclose(evidence.right, evidence.claimed[index], rtol=1e-9, atol=0))
        same[index] = False
        if not evidence.claimed[index] or not same.any():
            return
        nearest = min(
            np.argwhere(same).tolist(), key=lambda at: sum(abs(a - b) for a, b in zip(at, index, strict=True))
        )
        places.append(f"{list(index)} has the value of {nearest}")
    yield "index", None, 1.0, CAUSES["index"].format(places="; ".join(places))


def permuted(evidence: Evidence) -> Iterator[Found]:
    """All the right numbers, each once, in an order that has no name."""
    right, claimed = evidence.right, evidence.claimed
    if right.size < 2 * FEWEST or not evidence.known.all() or np.iscomplexobj(right) or evidence.wrong.sum() < FEWEST:
        return
    if len(np.unique(right)) < right.size or any(explained(evidence, each) for *_, each in arrangements(right)):
        return
    if np.allclose(np.sort(right, axis=None), np.sort(claimed, axis=None), rtol=1e-9, atol=0):
        along = [axis for axis in range(right.ndim) if whole_slices(right, claimed, axis)]
        where = order_along(right, claimed, along[0]) if along else ""
        yield "permuted", None, 1.0, CAUSES["permuted"].format(where=where)


def whole_slices(right: np.ndarray, claimed: np.ndarray, axis: int) -> bool:
    """Whether the slices along an axis are the right ones in another order."""
    rows = [np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1) for array in (right, claimed)]
    order = [np.argsort(row[:, 0]) for row in rows]
    return bool(np.allclose(rows[0][order[0]], rows[1][order[1]], rtol=1e-9, atol=0))


def order_along(right: np.ndarray, claimed: np.ndarray, axis: int) -> str:
    """The order itself, where it is short enough to read."""
    words = f" along axis {axis}" if right.ndim > 1 else ""
    if right.shape[axis] > MOST_LISTED:
        return words
    rows = [np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)[:, 0] for array in (right, claimed)]
    order = [int(np.argmin(np.abs(rows[0] - value))) for value in rows[1]]
    return f"{words}, {order} instead of 0 to {right.shape[axis] - 1}"


def reparametrised(evidence: Evidence) -> Iterator[Found]:
    """The right derivative times, or over, what the chain rule of a change of variables multiplies by."""
    x = evidence.point
    with np.errstate(all="ignore"):
        forms = [("the parameters themselves", x), ("their exponentials", np.exp(x)), ("their squares", x**2)]
        forms += list(evidence.beside)
        for what, by in forms:
            if np.ptp(np.abs(by)) == 0:
                continue  # that is a factor, and not a chain rule
            for words, prediction in ((what, evidence.right * by), (f"one over {what}", evidence.right / by)):
                if confidence := explained(evidence, prediction):
                    yield "chain-rule", None, confidence, CAUSES["chain-rule"].format(what=words)


def repeated(evidence: Evidence) -> Iterator[Found]:
    """Rows that an integer argument names more than once are wrong, and no others; and not by one factor."""
    if evidence.claimed.ndim < 1:
        return
    rows, known = (mask.reshape(len(mask), -1).max(axis=1) for mask in (evidence.wrong, evidence.known))
    for counts in evidence.counts:
        if not np.array_equal(rows[known], (counts > 1)[known]) or not rows.any() or rows[known].all():
            continue
        scaled = [value for name, value, *_ in factor(evidence) if name in ("constant-factor", "sign")]
        if not scaled or any(abs(value * n - 1) < SAME for value in scaled if value for n in counts[counts > 1]):
            yield "repeated-index", None, 1.0, CAUSES["repeated-index"]


def rounded(evidence: Evidence) -> Iterator[Found]:
    """Every claimed number fits into fewer bits than the function has."""
    claimed = evidence.claimed[evidence.known & (evidence.claimed != 0)]
    if len(claimed) < 8 or np.iscomplexobj(claimed):
        return
    mantissa = np.frexp(claimed)[0]
    for bits, name in ((8, "bfloat16"), (11, "float16"), (24, "float32")):
        if np.array_equal(np.round(mantissa * 2.0**bits), mantissa * 2.0**bits):
            size = np.abs(evidence.error) <= 2.0 ** (2 - bits) * np.abs(evidence.claimed)
            if size[evidence.wrong].mean() > 0.9:
                yield "low-precision", None, 1.0, CAUSES["low-precision"].format(name=name)
            return


# ---- causes with one fitted number


def factor(evidence: Evidence) -> Iterator[Found]:
    """A constant factor, on the whole leaf or on its wrong components; on few of them only one that has a meaning."""
    wrong = evidence.wrong
    value = ratio(evidence.claimed[wrong], evidence.right[wrong])
    whole = (wrong | (evidence.known & (np.abs(evidence.right) <= BARS * evidence.bar))) >= evidence.known
    part = "everywhere" if whole.all() else "in every wrong component"
    meaning = meaning_of(value, evidence.sizes) if value else UNKNOWN_FACTOR
    fitted = int(meaning.endswith(UNKNOWN_FACTOR) and abs(value + 1) >= SAME)
    confidence = explained(evidence, np.where(wrong, value * evidence.right, evidence.right), fitted=fitted)
    if not confidence or not value:
        return
    if abs(value + 1) < SAME:
        yield "sign", -1.0, confidence, CAUSES["sign"].format(part=part)
        return
    sentence = CAUSES["constant-factor"].format(part=part, value=value, why=meaning)
    yield "constant-factor", value, confidence, sentence + ("" if whole.all() else mask_of(evidence))


def mask_of(evidence: Evidence) -> str:
    """That the wrong components are those that an argument marks, if they are."""
    for what, values in evidence.beside:
        if set(np.unique(values)) != {0, 1}:
            continue
        for words, marked in (("is true", values == 1), ("is false", values == 0)):
            if np.array_equal(marked & evidence.known, evidence.wrong):
                return JUST_WHERE.format(what=f"{what} {words}")
    return ""


def meaning_of(value: float, sizes: dict[int, str]) -> str:
    """What a factor usually comes from: lengths of batches, well-known numbers, other lengths, roots; two at most."""
    size, sign = abs(value), ALSO_SIGN if value < 0 else ""
    lengths: dict[bool, list[str]] = {True: [], False: []}
    for n, what in sizes.items():
        forms = {"sum": n, "mean": 1 / n} | ({"fewer": n / (n - 1), "more": (n - 1) / n} if n > 2 else {})
        lengths[what.startswith(LEADING)] += [
            EACH_FACTOR[form].format(n=n, less=n - 1, what=what)
            for form, number in forms.items()
            if abs(size / number - 1) < SAME
        ]
    known = [words for number, words in FACTORS.items() if abs(size / number - 1) < SAME]
    found = lengths[True] + known + lengths[False]
    for n, what in sizes.items():
        forms = {"root": n**0.5, "inverse root": n**-0.5}
        found += [
            EACH_FACTOR[form].format(n=n, what=what) for form, number in forms.items() if abs(size / number - 1) < SAME
        ]
    return f"{sign}{OR.join(dict.fromkeys(found[:2])) or UNKNOWN_FACTOR}"


def decay(evidence: Evidence) -> Iterator[Found]:
    """The error is a multiple of the parameters, or of their signs."""
    for kind, prediction in (("L2", evidence.point), ("L1", np.sign(evidence.point))):
        strength = ratio(evidence.error[evidence.known], prediction[evidence.known])
        if np.ptp(np.abs(prediction[evidence.known])) == 0 and kind == "L2":
            continue  # all parameters are alike: this says nothing
        confidence = explained(evidence, evidence.right + strength * prediction, fitted=1)
        if confidence and is_written(abs(strength), evidence.sizes):
            words = CAUSES["weight-decay missing" if strength < 0 else "weight-decay too much"]
            told = words.format(kind=kind, kind_of=KINDS[kind], strength=abs(strength))
            yield "weight-decay", abs(strength), confidence, told


def is_written(strength: float, sizes: dict[int, str]) -> bool:
    """Whether a number looks as if somebody wrote it, perhaps over the length of something.

    An error along the parameters with another number comes from a norm or a projection, and not from a penalty.
    """
    if not strength:
        return False
    for value in (strength, *(strength * n for n in sizes)):
        if abs(float(f"{value:.{WRITTEN - 1}e}") / value - 1) < EXACTLY:
            return True
    return False


def offset(evidence: Evidence) -> Iterator[Found]:
    """The error is the same number everywhere."""
    if not np.array_equal(evidence.wrong, evidence.known):
        return
    value = ratio(evidence.error[evidence.known], np.ones(int(evidence.known.sum())))
    if is_written(abs(value), {}) and (confidence := explained(evidence, evidence.right + value, fitted=1)):
        yield "offset", value, confidence, CAUSES["offset"].format(value=value)


def arranged_and_scaled(evidence: Evidence) -> Iterator[Found]:
    """A wrong order and a factor at once."""
    for name, where, prediction in arrangements(evidence.right):
        known = evidence.known & np.isfinite(prediction)
        value = ratio(evidence.claimed[known], prediction[known])
        if abs(value) > 0 and (confidence := explained(evidence, value * prediction, fitted=1)):
            yield name, value, confidence, CAUSES[name].format(where=where) + ALSO_SCALED.format(value=value)


def copied(evidence: Evidence) -> Iterator[Found]:
    """The error is a multiple of another leaf's derivative."""
    for path, right in evidence.others.items():
        if right.shape != evidence.right.shape or not np.isfinite(right[evidence.known]).all():
            continue
        value = ratio(evidence.error[evidence.known], right[evidence.known])
        if value and (confidence := explained(evidence, evidence.right + value * right, fitted=1)):
            yield "copied", value, confidence, CAUSES["copied"].format(other=path, value=value)


Test = Callable[[Evidence], Iterator[Found]]
EXACT: Sequence[Test] = (
    zero,
    opposite,
    rearranged,
    partly_transposed,
    swapped,
    conjugate,
    summed,
    other_index,
    permuted,
    reparametrised,
    repeated,
    rounded,
)
FITTED: Sequence[Test] = (factor, decay, offset, arranged_and_scaled, copied)
