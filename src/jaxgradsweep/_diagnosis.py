"""From blame to causes: what is known of each wrong leaf, held against every mistake that is known."""

from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np

from jaxgradsweep._cause import ALIKE, Cause, Evidence, causes_of, ratio, root_mean_square
from jaxgradsweep._instrument import Instrument
from jaxgradsweep._locate import Blame
from jaxgradsweep._reference import (
    Gradient,
    Leaves,
    about_cotangent,
    at_other_parameters,
    claimed_leaves,
    mistaken,
    parts_of_batch,
    references,
)
from jaxgradsweep._remedy import CAUSES
from jaxgradsweep._subject import Subject
from jaxgradsweep._verdict import Finding
from jaxgradsweep._wording import Reason, Verdict

BARS = 4.0  # error bars within which a whole derivative must agree with all single components that were measured
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
    each = {path: causes_of(evidence(subject, blame, None, None)) for path, blame in wrong.items()}
    if any(not found for found in each.values()):
        claimed = claimed or claimed_leaves(subject)
        right, gradient = reference(subject, wrong)
        for path in [path for path, found in each.items() if not found]:
            each[path] = causes_of(evidence(subject, wrong[path], claimed, right))
        open_ = [path for path, found in each.items() if not found]
        if open_ and claimed is not None:
            for path, found in by_program(subject, claimed, gradient, open_):
                each[path] = (*each[path], found)
    return (*told, *(cause for found in each.values() for cause in found))


def by_reason(findings: Sequence[Finding]) -> Iterator[Cause]:
    """Causes that the reason of a verdict names already."""
    names = {Reason.NOT_LINEAR: "nonlinear-in-cotangent", Reason.KINK: "subgradient"}
    for finding in findings:
        if finding.verdict is Verdict.WRONG and (name := names.get(finding.reason)):
            yield Cause(name=name, path=finding.path, factor=None, confidence=1.0, sentence=CAUSES[name])


def reference(subject: Subject, wrong: dict[str, Blame]) -> tuple[Leaves | None, Gradient | None]:
    """A whole derivative that agrees with every component that was measured, and its program; None if JAX has none."""
    for leaves, gradient in references(subject):
        found = dict(zip(subject.point.paths, leaves, strict=True))
        if all(agrees(found[path], blame) for path, blame in wrong.items()):
            return leaves, gradient
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
    )


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
    subject: Subject, claimed: Leaves, gradient: Gradient | None, open_: Sequence[str]
) -> Iterator[tuple[str, Cause]]:
    """Causes that a program with one planted mistake shows: it gives the claim itself.

    `gradient` is the right derivative, where a program gives it.
    """
    at = {path: i for i, path in enumerate(subject.point.paths)}

    def cause(name: str, path: str, factor: float | None, **words: object) -> tuple[str, Cause]:
        sentence = CAUSES[name].format(**words)
        return path, Cause(name=name, path=path, factor=factor, confidence=1.0, sentence=sentence)

    for which, words, leaves in mistaken(subject):
        matching = [path for path in open_ if same(claimed[at[path]], leaves[at[path]])]
        if len(matching) == len(open_):
            yield from (cause("activation", path, None, which=which, words=words) for path in matching)
    if gradient is None:
        return
    for which, leaves in parts_of_batch(subject, gradient):
        for path in open_:
            value = ratio(claimed[at[path]], leaves[at[path]])
            if value and same(claimed[at[path]], value * leaves[at[path]]):
                yield cause("part-of-batch", path, value, which=which, value=value)
    late = at_other_parameters(subject, gradient, claimed)
    if late is not None and all(same(claimed[at[path]], late[1][at[path]]) for path in open_):
        yield from (cause("stale", path, late[0], value=late[0]) for path in open_)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two derivatives of a leaf are the same, and not both zero."""
    size = root_mean_square(a)
    return size > 0 and a.size > 1 and bool(np.all(np.abs(a - b) <= ALIKE * size))
