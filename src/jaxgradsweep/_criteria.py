"""Criteria: every number that decides a verdict, with its reason."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Criteria:
    """Every number that decides. Relative errors are in units of the leaf's RMS contribution.

    Attributes:
        rtol: what the user asked for; None: the tolerance is measured.
        finest: a measured tolerance is never finer: below it, discrepancies are reported but not wrong.
        coarsest: a detection limit above it supports no verdict of CORRECT.
        rounding: a claim is rounded by at most so much of its own size.
        margin: a discrepancy accuses only from so many times its bound on.
        bends: a jump of slopes is one if it is so many times its error bar.
        least_kink: smallest jump of slopes that counts as a kink, relative.
        beyond_kink: a claim at a kink accuses from so many half widths of the kink on.
        kinked: second differences that grow with h to the power of one, to within this, come from a kink.
        dense: second differences that grow with a power of h between these two come from dense kinks.
        flat: what grows with h to a smaller power than this does not grow.
        steep: what shrinks with h to a smaller power than this has no slope at the point: h, or h log h, has.
        rounded: noise of at most so many roundings can come from rounding alone.
        plain: noise of at most so many roundings leaves no room for structure of the function's own.
        leap: a jump at the point, in the trend of all small steps, is one from so many error bars and roundings on.
        drowned: where a function does not move at any step, a claim of at most so many roundings of its value is zero.
        drowned_beside: where it moves by no more than so many standard deviations of the rounding that it shows along
            other leaves, and is claimed to move no more, it does not move.
        missing: a claim smaller than this part of what is measured sets no scale.
        tells: an identity must be so many times finer than the discrepancy that it confirms.
        alike: discrepancies of the two witnesses are the same one if they differ by at most this part of it.
        steps_that_tell: so many of the smallest telling steps of an identity must agree,
        fewest_that_tell: and so many there must be.
        loose: a discrepancy below it may come from a loose iteration that jumps close by.
        near: a slope at large steps is the claim's if it misses it by at most this part of the discrepancy.
        close: a smooth claim has settled over segments of this half width; one that still varies there is noisy.
        noisy_claim: a claim that is noisy around the point is wrong from this relative error on; below, its formula may
            be ill-conditioned and lose digits.
        nearly: a claim that is off by less than this part in every direction may be right, of something approximate.
        slight: a claim whose integral two quadratures give alike to this part is smooth.
        clear: a detection limit so fine on a part of the grid needs no more of it: a measured tolerance is not finer.
        quantum: jumps below this part of phi may be rounding (bfloat16 has 2^-8).
        hidden: where the function computes in a lower precision inside, changes below so many of its roundings may be
            lost there.

    Example:
        >>> import jaxgradsweep as jgs
        >>> jgs.Criteria().finest, jgs.Criteria().coarsest
        (1e-09, 0.001)
    """

    rtol: float | None = None
    finest: float = 1e-9
    coarsest: float = 1e-3
    rounding: float = 64 * 2.0**-53
    margin: float = 3.0
    bends: float = 4.5
    least_kink: float = 1e-6
    beyond_kink: float = 1.5
    kinked: float = 0.15
    dense: tuple[float, float] = (1.15, 1.75)
    flat: float = 0.05
    steep: float = 0.98
    rounded: float = 1e4
    plain: float = 8.0
    leap: tuple[float, float] = (2.5, 32.0)
    drowned: float = 64.0
    drowned_beside: float = 8.0
    missing: float = 0.1
    tells: float = 3.0
    alike: float = 0.5
    steps_that_tell: int = 4
    fewest_that_tell: int = 2
    loose: float = 1e-2
    near: float = 0.3
    close: float = 2.0**-6
    noisy_claim: float = 1e-3
    nearly: float = 5e-2
    slight: float = 1e-2
    clear: float = 1e-9
    quantum: float = 2.0**-7
    hidden: float = 8.0

    @property
    def tolerance(self) -> float:
        return self.finest if self.rtol is None else self.rtol


# Tolerances by the precision in which the function is evaluated. The finest is about eps^0.58: what a sweep resolves
# of a smooth function with some margin; a claim in bfloat16 has a rounding of its own of 1 %.
_BY_PRECISION: dict[int, dict[str, Any]] = {
    52: {"finest": 1e-9, "coarsest": 1e-3, "rounding": 64 * 2.0**-53},
    23: {"least_kink": 1e-3, "finest": 1e-4, "coarsest": 1e-2, "rounding": 32 * 2.0**-24, "noisy_claim": 0.3},
    10: {"least_kink": 3e-2, "finest": 2e-2, "coarsest": 1e-1, "rounding": 8 * 2.0**-11, "noisy_claim": 0.3},
    7: {"least_kink": 1e-1, "finest": 6e-2, "coarsest": 1.5e-1, "rounding": 4 * 2.0**-8, "noisy_claim": 0.5},
}


def criteria_for(bits: int, rtol: float | None = None) -> Criteria:
    """The criteria for functions evaluated with so many bits of mantissa."""
    known = max((b for b in _BY_PRECISION if b <= bits), default=min(_BY_PRECISION))
    return dataclasses.replace(Criteria(rtol=rtol), **_BY_PRECISION[known])
