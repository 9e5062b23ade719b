"""The numeric gradient, component by component, with error bars."""

from typing import Any

import jax
import numpy as np

from jaxgradsweep._criteria import Criteria, criteria_for
from jaxgradsweep._fit import Fit, fit
from jaxgradsweep._instrument import Instrument, grid_for
from jaxgradsweep._probe import BASIS, BASIS_LEAF, basis, coarse_part
from jaxgradsweep._progress import reporter
from jaxgradsweep._request import Settings, check_args
from jaxgradsweep._subject import Subject
from jaxgradsweep._tree import is_inexact

CLEAR = 1e-10  # a component known to this relative error on a part of the grid needs no more of it
GOOD_ENOUGH = 1e-9  # a component known to this relative error is not looked at again with the leaf's scale


def estimate(subject: Subject, settings: Settings) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Value and uncertainty of every component of every moving leaf, from the function's values alone.

    The subject's claim is one for every component (`1 - i` for complex ones), so that the claimed pairing of a basis
    direction is its length, which the difference quotient is divided by.
    """
    with reporter(settings.progress) as tick:
        instrument = Instrument(subject, settings, criteria_for(subject.bits), tick)
        found = [one_leaf(instrument, leaf, settings) for leaf in range(len(subject.point.moving))]
    return [value for value, _ in found], [bar for _, bar in found]


def one_leaf(instrument: Instrument, leaf: int, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Value and uncertainty of one leaf's components."""
    array = np.asarray(instrument.subject.point.moving[leaf])
    parts = 2 if np.iscomplexobj(array) else 1
    steps = grid_for(instrument.subject, settings)
    part = coarse_part(steps) if settings.steps is None and not settings.thorough else slice(None)
    everything = np.arange(array.size * parts)
    value, bar = quotients(instrument, leaf, everything, BASIS, steps[part])
    further = [(BASIS, CLEAR)] if len(steps[part]) < len(steps) else []
    for scale, enough in (*further, (BASIS_LEAF, GOOD_ENOUGH)):
        poor = ~(bar <= enough * np.abs(value)) & (bar > 0)
        if poor.any():
            other, other_bar = quotients(instrument, leaf, everything[poor], scale, steps)
            better = other_bar < bar[poor]
            value[poor], bar[poor] = np.where(better, other, value[poor]), np.where(better, other_bar, bar[poor])
    value, bar = value.reshape(parts, *array.shape), bar.reshape(parts, *array.shape)
    if parts == 1:
        return value[0], bar[0]
    return value[0] - 1j * value[1], np.hypot(bar[0], bar[1])  # JAX's convention: df/dx - i df/dy


def quotients(
    instrument: Instrument, leaf: int, components: np.ndarray, scale: int, steps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Difference quotients along some components, extrapolated, with their error bars."""
    sweep = instrument.measure(basis(leaf, components, scale), steps, "components")
    found = fit(sweep)
    bar = cautious(found, instrument.criteria)
    return found.derivative / sweep.claimed, bar / np.abs(sweep.claimed)


def cautious(found: Fit, criteria: Criteria) -> np.ndarray:
    """Error bars that reach to both slopes where a kink is."""
    kink = np.abs(found.kink) > np.maximum(
        criteria.bends * found.kink_uncertainty, criteria.least_kink * found.variation
    )
    return np.where(kink, np.maximum(found.uncertainty, np.abs(found.kink) / 2), found.uncertainty)


def unit_claim(args: Any, argnums: Any) -> Any:
    """A claim of one for every component of `args[argnums]`; the door has not looked at `args` yet."""

    def one(leaf: Any) -> Any:
        return np.full(np.shape(leaf), 1 - 1j if np.iscomplexobj(leaf) else 1.0) if is_inexact(leaf) else None

    if not isinstance(args, tuple):
        return None  # the door will say so
    numbers, single = check_args(args, argnums)
    parts = tuple(jax.tree.map(one, args[i]) for i in numbers)
    return parts[0] if single else parts
