"""What changes between calls with equal arguments: a function or a claim that hides randomness or state."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgradsweep._claim import linearise, outputs
from jaxgradsweep._criteria import criteria_for
from jaxgradsweep._instrument import Instrument, Look
from jaxgradsweep._program import same_constants
from jaxgradsweep._subject import Subject, structs_of
from jaxgradsweep._verdict import Finding
from jaxgradsweep._wording import CLAIM_TWICE, Verdict

ASIDE = 2.0**-6  # how far, in relative step, something is asked in between, so that what it remembers is of there

Change = dict[str, float | str]  # where something hides, what changes, and two of its values


def changes(instrument: Instrument, look: Look, findings: Sequence[Finding]) -> Change:
    """What is another at a second call, by more than rounding; empty if nothing is.

    What Python computes is compared in two traces, of a claim only where it is not found right. What compiled code
    computes is measured again. That may hide a state that changes alike in both, so that a function which calls out of
    JAX is also asked by itself.
    """
    subject = instrument.subject
    if subject.traits.unsteady:
        return values_twice(subject, 0.0) or {"changes in": "python"}
    rounding = criteria_for(min(subject.bits, subject.traits.inner_bits)).rounding
    if subject.traits.calls_out:
        instrument.count(3)
        if values := values_twice(subject, rounding):
            return values
    first, second = instrument.again(look)
    room = rounding * np.nan_to_num(look.fit.magnitude[0])
    pairs = [(getattr(first, name), getattr(second, name)) for name in ("difference", "forward")]
    if not all(np.allclose(a, b, rtol=0, atol=room, equal_nan=True) for a, b in pairs):
        return values_twice(subject, rounding) or {"changes in": "device"}
    claimed, now = float(first.claimed[0]), float(second.claimed[0])
    if abs(now - claimed) > look.criteria.finest * max(first.size[0], second.size[0]):
        return {**CLAIM_TWICE, "first": claimed, "second": now}
    if subject.claim.rule is not None and not all(finding.verdict is Verdict.CORRECT for finding in findings):
        return claims_twice(subject)
    return {}


def twice(ask: Callable[[list[jax.Array]], Any], subject: Subject) -> tuple[Any, Any] | None:
    """What something says of x before and after it was asked of another point; None where it cannot be asked so."""
    moving = [jnp.asarray(leaf) for leaf in subject.point.moving]
    points = [moving, [leaf * (1 + ASIDE) for leaf in moving], moving]
    try:
        first, _, second = (jax.tree.map(lambda y: np.real(np.asarray(y)), ask(point)) for point in points)
    except Exception:  # it lies on several machines, or runs inside of compiled code only
        return None
    return first, second


def values_twice(subject: Subject, rounding: float) -> Change:
    """Two values of the function at x that differ by more than rounding; empty if none do."""
    told = twice(lambda moving: outputs(subject.claim, moving, subject.point.held), subject)
    hides = "python" if subject.traits.unsteady else "host" if subject.traits.calls_out else "device"
    for path, a, b in zip(subject.output_paths, *told, strict=True) if told else ():
        apart = np.nan_to_num(np.abs(a - b))
        if apart.size and apart.max() > rounding * np.nan_to_num(np.abs(a)).max():
            at = np.unravel_index(np.argmax(apart), a.shape)
            place = f"{path}[{', '.join(map(str, at))}]" if at else path
            what = "the function" if place == "output" else place
            return {"changes in": hides, "what": what, "first": float(a[at]), "second": float(b[at])}
    return {}


def claims_twice(subject: Subject) -> Change:
    """Two values of a claim in which Python computes other numbers each time; empty if it does not."""
    claim = subject.claim

    def ask(moving: Any, held: Any) -> Any:
        out, pairing = linearise(claim, list(moving), held, subject.values)
        ones = [jnp.ones_like(y) for y in (moving if claim.kind == "curvature" else out)]
        return pairing(list(moving), ones)[0]

    traces = [jax.make_jaxpr(lambda *arrays: ask(*arrays))(*structs_of(subject.point)) for _ in range(2)]
    if same_constants(*traces) or (told := twice(lambda moving: ask(moving, subject.point.held), subject)) is None:
        return {}
    return {**CLAIM_TWICE, "first": float(told[0]), "second": float(told[1])}
