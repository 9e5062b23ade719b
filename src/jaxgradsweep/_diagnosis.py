"""From blame to causes: what is known of each wrong leaf, held against every mistake that is known."""

from collections.abc import Callable, Iterator, Sequence

import jax.numpy as jnp
import numpy as np

from jaxgradsweep._branch import branches
from jaxgradsweep._cause import ALIKE, FEWEST, SAME, Cause, Evidence, causes_of, meaning_of, ratio, root_mean_square
from jaxgradsweep._instrument import Instrument
from jaxgradsweep._locate import Blame
from jaxgradsweep._reference import (
    Evaluate,
    Leaves,
    about_cotangent,
    at_other_parameters,
    claimed_leaves,
    elsewhere,
    own_gradient,
    parts_of_batch,
    references,
)
from jaxgradsweep._remedy import CAUSES, FLOWS, FLOWS_OTHERWISE, OR_EQUALLY
from jaxgradsweep._slopes import mistaken
from jaxgradsweep._subject import Subject
from jaxgradsweep._verdict import Finding
from jaxgradsweep._wording import Reason, Verdict

BARS = 4.0  # error bars within which a whole derivative must agree with all single components that were measured
MOST_PLACES = 2  # so many operands that explain an error equally are named
MOST_COUNTED = 2**20  # values of an integer argument that are counted


def diagnose(instrument: Instrument, blames: Sequence[Blame], findings: Sequence[Finding]) -> tuple[Cause, ...]:
    """The mistakes that explain what is wrong, leaf by leaf: first from what was measured, then with JAX's help."""
    told = [*by_reason(findings)]
    subject = instrument.subject
    wrong = {blame.path: blame for blame in blames if blame.path in subject.point.paths}
    claimed = claimed_leaves(subject) if wrong and subject.claim.kind == "vjp" else None
    if claimed is not None and (name := about_cotangent(subject, claimed)):
        sentence = CAUSES[name]
        return tuple(Cause(name=name, path=path, factor=None, confidence=1.0, sentence=sentence) for path in wrong)
    each: dict[str, tuple[Cause, ...]] = {
        path: causes_of(evidence(subject, blame, None, None)) for path, blame in wrong.items()
    }
    if any(not found for found in each.values()):
        claimed = claimed or claimed_leaves(subject)
        right, evaluate = reference(subject, wrong)
        for path in [path for path, found in each.items() if not found]:
            each[path] = causes_of(evidence(subject, wrong[path], claimed, right))
        open_ = [path for path, found in each.items() if not found]
        if open_ and claimed is not None:
            found = by_program(subject, claimed, evaluate, open_, list(wrong))
            if {cause.path for cause in found} == set(wrong):  # one mistake for all leaves, not one for each
                each = dict.fromkeys(wrong, ())
            for cause in found:
                each[cause.path] = (*each[cause.path], cause)
    return (*told, *(cause for found in each.values() for cause in found))


def by_reason(findings: Sequence[Finding]) -> Iterator[Cause]:
    """Causes that the reason of a verdict names already."""
    names = {Reason.NOT_LINEAR: "nonlinear-in-cotangent", Reason.KINK: "subgradient"}
    for finding in findings:
        if finding.verdict is Verdict.WRONG and (name := names.get(finding.reason)):
            yield Cause(name=name, path=finding.path, factor=None, confidence=1.0, sentence=CAUSES[name])


def reference(subject: Subject, wrong: dict[str, Blame]) -> tuple[Leaves | None, Evaluate | None]:
    """A whole derivative that agrees with every component that was measured, and of what; None if JAX has none."""
    for leaves, evaluate in references(subject):
        found = dict(zip(subject.point.paths, leaves, strict=True))
        if all(agrees(found[path], blame) for path, blame in wrong.items()):
            return leaves, evaluate
    return None, None


def agrees(leaf: np.ndarray, blame: Blame) -> bool:
    """Whether a whole derivative agrees with the measured components of a leaf."""
    there = leaf[tuple(blame.looked_at.T)]
    size = root_mean_square(leaf)
    off = np.abs(there - blame.seen_estimate)
    known = np.isfinite(blame.seen_estimate)
    return bool(known.any() and np.all(off[known] <= BARS * blame.seen_uncertainty[known] + 0.1 * ALIKE * size))


def evidence(subject: Subject, blame: Blame, claimed: Leaves | None, right: Leaves | None) -> Evidence:
    """All that is known of one wrong leaf."""
    point = subject.point
    number = point.paths.index(blame.path)
    shape = blame.shape
    dtype = np.result_type(blame.seen_estimate)
    places = np.ravel_multi_index(tuple(blame.looked_at.T), shape) if shape else np.zeros(1, int)
    known, bar, own = np.full(shape, np.nan, dtype), np.full(shape, np.inf), np.full(shape, np.nan, dtype)
    known.flat[places], bar.flat[places] = blame.seen_estimate, blame.seen_uncertainty
    own.flat[places] = blame.seen_claimed
    others = {path: right[i] for i, path in enumerate(point.paths) if i != number and right is not None}
    return Evidence(
        path=blame.path,
        point=np.asarray(point.moving[number]),
        claimed=own if claimed is None else claimed[number],
        right=known if right is None else right[number],
        bar=bar if right is None else np.zeros(shape),
        others=others,
        sizes=sizes(subject),
        counts=tuple(counts(subject, shape)),
        beside=tuple(arrays_beside(subject, number)),
    )


def arrays_beside(subject: Subject, number: int) -> Iterator[tuple[str, np.ndarray]]:
    """Held arrays and other leaves of the shape of a leaf."""
    point = subject.point
    shape = np.shape(point.moving[number])
    for leaf in point.held:
        if np.shape(leaf) == shape and shape and jnp.result_type(leaf).kind in "biuf":
            yield f"the argument of shape {shape}", np.asarray(leaf, float)
    for i, leaf in enumerate(point.moving):
        if i != number and np.shape(leaf) == shape and shape:
            yield point.paths[i], np.asarray(leaf, np.result_type(leaf, float))


def sizes(subject: Subject) -> dict[int, str]:
    """Numbers from 2 on that occur in shapes, and what has them; batches first."""
    found: dict[int, str] = {}
    shapes = [(f"an argument of shape {np.shape(leaf)}", np.shape(leaf)) for leaf in subject.point.held]
    shapes += [(f"the output of shape {y.shape}", y.shape) for y in subject.outputs]
    shapes += [
        (path or "the argument", np.shape(x)) for path, x in zip(subject.point.paths, subject.point.moving, strict=True)
    ]
    for name, shape in shapes:
        for axis, length in enumerate(shape):
            if length > 1:
                found.setdefault(length, f"the length of axis {axis} of {name}")
    for name, shape in shapes:
        if (size := int(np.prod(shape, dtype=int))) > 1:
            found.setdefault(size, f"the size of {name}")
    return found


def counts(subject: Subject, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """How often each place along the first axis of a leaf occurs in each integer argument that may index it."""
    for leaf in subject.point.held:
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.integer) or not 1 < np.size(leaf) <= MOST_COUNTED or not shape:
            continue
        values = np.asarray(leaf).ravel()
        if values.min() >= 0 and values.max() < shape[0]:
            yield np.bincount(values, minlength=shape[0])


def by_program(
    subject: Subject, claimed: Leaves, evaluate: Evaluate | None, open_: Sequence[str], wrong: Sequence[str]
) -> list[Cause]:
    """Causes that a program with one planted mistake shows: it gives the claim itself.

    Args:
        subject: what was checked.
        claimed: the claimed derivative.
        evaluate: the function as JAX differentiates it rightly, if it does.
        open_: the leaves that a cause must explain.
        wrong: all wrong leaves; if it explains these too, it is the cause of all.
    """
    at = {path: i for i, path in enumerate(subject.point.paths)}

    def causes(name: str, leaves: Leaves, factor: float | None, **words: object) -> list[Cause]:
        """One for each leaf that is explained."""
        sentence = CAUSES[name].format(**words)
        paths = wrong if fits(leaves, wrong) else open_
        return [Cause(name=name, path=path, factor=factor, confidence=1.0, sentence=sentence) for path in paths]

    def fits(leaves: Leaves, paths: Sequence[str] = open_) -> bool:
        """Whether the claim is this derivative, in more numbers than could be so by accident."""
        enough = sum(int(np.count_nonzero(claimed[at[path]])) for path in paths) >= FEWEST
        return enough and all(same(claimed[at[path]], leaves[at[path]]) for path in paths)

    found: list[Cause] = []
    slopes = {words: (which, leaves) for which, words, leaves in mistaken(subject) if fits(leaves)}
    for words, (which, leaves) in slopes.items():  # the single place, where others make no difference
        found += causes("activation", leaves, None, which=which, words=words)
    if evaluate is None:
        return found
    gradient = own_gradient(subject.claim.plain, evaluate)
    if (flow := by_branch(subject, claimed, [at[path] for path in open_], fits, wrong)) is not None:
        value, leaves, words = flow
        found += causes("branch", leaves, value, **words)
    for which, leaves in parts_of_batch(subject, gradient):
        for path in open_:
            value = ratio(claimed[at[path]], leaves[at[path]])
            if value and fits([value * leaf for leaf in leaves], [path]):
                sentence = CAUSES["part-of-batch"].format(which=which, value=as_fraction(value))
                found.append(Cause(name="part-of-batch", path=path, factor=value, confidence=1.0, sentence=sentence))
    for name, words, leaves in elsewhere(subject, evaluate):
        if fits(leaves):
            found += causes(name, leaves, None, **words)
    if found:
        return found
    late = at_other_parameters(subject, gradient, claimed)
    if late is not None and fits(late[1]):
        found += causes("stale", late[1], float(late[0]), value=late[0])
    return found


def as_fraction(value: float) -> str:
    """A number, as 1/n if it is."""
    whole = round(1 / value)
    return f"1/{whole}" if whole > 1 and abs(value * whole - 1) < SAME else f"{value:.6g}"


def by_branch(
    subject: Subject, claimed: Leaves, numbers: Sequence[int], fits: Callable[..., bool], wrong: Sequence[str]
) -> tuple[float, Leaves, dict[str, str]] | None:
    """The factor with which the claim takes what flows through one operand, what follows, and the words for it.

    An operand that explains all wrong leaves comes before those that explain only what nothing else does.
    """
    found = [each for each in branches(subject, claimed, numbers) if fits(each[2])]
    found = [each for each in found if fits(each[2], wrong)] or found
    if not found:
        return None
    found.reverse()  # where the path ends comes first
    _, value, leaves = found[0]
    places = [where for where, other, _ in found if abs(other - value) <= SAME * abs(value - 1)]
    what = next((words for number, words in FLOWS.items() if abs(value - number) <= SAME), None)
    what = what or FLOWS_OTHERWISE.format(value=value, why=meaning_of(value, sizes(subject)))
    where = OR_EQUALLY.join(dict.fromkeys(places[:MOST_PLACES]))
    return value, leaves, {"where": where, "what": what}


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two derivatives of a leaf are the same."""
    return bool(np.all(np.abs(a - b) <= ALIKE * root_mean_square(a)))
