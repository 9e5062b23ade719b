"""All that one check found, as one record: read it, print it, draw it, keep it as JSON, or raise it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from jaxgradsweep import _json
from jaxgradsweep._cause import Cause
from jaxgradsweep._consistency import Consistency
from jaxgradsweep._fit import Fit
from jaxgradsweep._locate import Blame
from jaxgradsweep._store import write_whole
from jaxgradsweep._sweep import Sweep
from jaxgradsweep._verdict import Finding
from jaxgradsweep._wording import NO_RULE, RULES_OF_THUMB, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOTAL = "total"
FORMAT = "jaxgradsweep.Report"
VERSION = 1  # raise it when an older reader would misread the JSON


@dataclass(frozen=True, kw_only=True)
class Classic:
    """The figures that other gradient checkers print, over the probed directional derivatives of one leaf.

    With claimed values `a` and numeric values `n` (here the extrapolated ones), one of each per probe::

        cs231n         = max |a - n| / max(1e-8, |a| + |n|)
        ratio          = ||a - n|| / (||a|| + ||n||)
        sum_ratio      = ||a - n|| / ||a + n||
        max_normalised = max |a - n| / max(|a|, |n|)      (the largest of each over the set)
        same_sign      = share of the probes on which a and n have the same sign

    0/0 counts as 0; a value that is not a number stays one.

    Source: the notes of Stanford's CS231n ("Gradient checks", `cs231n`), the deeplearning.ai course (`ratio`) and
    Stanford's UFLDL tutorial (`sum_ratio`).

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgradsweep as jgs
        >>> import numpy as np
        >>> report = jgs.check_grad(jnp.sin, (0.3,), grad=1.00001 * np.cos(0.3), locate=False)
        >>> report.verdict.name, report.classic[0].rules_of_thumb()["cs231n"]
        ('WRONG', 'ok with kinks')
    """

    path: str
    cs231n: float
    ratio: float
    sum_ratio: float
    max_normalised: float
    same_sign: float

    def rules_of_thumb(self) -> dict[str, str]:
        """Say what each familiar rule of thumb would have concluded from its figure.

        Returns:
            A few words for each: `cs231n` (limits 1e-2, 1e-4, 1e-7), `ratio` (1e-3, 1e-5, 1e-7), `sum_ratio` (1e-9).
        """
        return {name: _apply_rule(getattr(self, name), ladder) for name, ladder in RULES_OF_THUMB.items()}


def _apply_rule(figure: float, ladder: Sequence[tuple[float, str]]) -> str:
    # The last rung lies at minus infinity, so that only NaN passes every comparison and gets no answer.
    return next((words for limit, words in ladder if figure > limit), NO_RULE)


def classic_figures(sweep: Sweep, fit: Fit, findings: Sequence[Finding]) -> tuple[Classic, ...]:
    """Compute the familiar figures for each finding's probes, and for all of them together (path "total")."""
    rows = [(finding.path, finding.probes) for finding in findings]
    rows.append((TOTAL, tuple(probe for finding in findings for probe in finding.probes)))
    return tuple(_classic(path, sweep.claimed[list(probes)], fit.derivative[list(probes)]) for path, probes in rows)


def _classic(path: str, claimed: Float[np.ndarray, " probes"], estimate: Float[np.ndarray, " probes"]) -> Classic:
    if claimed.size == 0:
        return Classic(path=path, cs231n=0.0, ratio=0.0, sum_ratio=0.0, max_normalised=0.0, same_sign=1.0)
    largest = np.maximum(np.max(np.abs(claimed)), np.max(np.abs(estimate)))
    with np.errstate(all="ignore"):
        error = np.abs(claimed - estimate)
        each = error / np.maximum(1e-8, np.abs(claimed) + np.abs(estimate))
        return Classic(
            path=path,
            cs231n=float(np.max(each)),
            ratio=_divide(_norm(error), _norm(claimed) + _norm(estimate)),
            sum_ratio=_divide(_norm(error), _norm(claimed + estimate)),
            max_normalised=_divide(np.max(error), largest),
            same_sign=float(np.mean(np.sign(claimed) == np.sign(estimate))),
        )


def _divide(numerator: float, denominator: float) -> float:
    return 0.0 if numerator == 0 and denominator == 0 else float(np.float64(numerator) / np.float64(denominator))


def _norm(values: Float[np.ndarray, " probes"]) -> float:
    # Scaled, since the square of 1e-200 is zero and that of 1e200 is infinite.
    largest = np.max(np.abs(values))
    return float(largest * np.linalg.norm(values / largest)) if largest > 0 else float(largest)


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """One of several checks that a report joins: at one of several points, of one term, or in one precision.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgradsweep as jgs
        >>> report = jgs.check_grad(jnp.abs, (0.0,), points=1)
        >>> [(part.name, part.report.verdict.name) for part in report.parts]
        [('args', 'UNRESOLVED'), ('perturbed 1', 'CORRECT')]
    """

    name: str
    report: "Report"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Report:
    """What one check found: a verdict, a finding per leaf, and the measurements they rest on.

    Attributes:
        kind: Which check: "grad", "jvp", "vjp" or "hvp".
        verdict: The worst verdict of the findings.
        findings: One per leaf that moves.
        resolution: The coarsest detection limit of the findings: a larger relative error would have been seen.
        tolerance: The coarsest tolerance used, relative.
        blame: Which components of the wrong leaves are wrong, and of which outputs.
        causes: Which mistakes explain what is wrong, each with a sentence; none where no pattern is known.
        sweep: The raw measurements, kept for plotting.
        fit: What the sweep says of the function alone.
        classic: The familiar figures of other checkers, per leaf and in total.
        evaluations: How often the function was evaluated.
        environment: Versions, backend, dtype, key: what somebody needs to repeat this.
        notes: What the check did that the caller may not expect.
        parts: The checks that this report joins, where there were several; the other attributes are those of the one
            that decided, but for the coarsest `resolution` and `tolerance` and the sum of `evaluations`.
        summary: What the parts say together, in a sentence.
        consistency: How well identities hold that need no steps: symmetry of a Hessian, linearity, forward against
            reverse mode, the value that comes with a derivative, batches.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgradsweep as jgs
        >>> report = jgs.check_grad(jnp.sin, (0.3,), grad=jnp.sin, locate=False)
        >>> print(report.verdict.value)
        the claimed derivative is not the derivative of the function
        >>> report.ok, report.resolution < 1e-12
        (False, True)
    """

    kind: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    resolution: float
    tolerance: float
    blame: tuple[Blame, ...] = ()
    causes: tuple[Cause, ...] = ()
    sweep: Sweep
    fit: Fit
    classic: tuple[Classic, ...]
    evaluations: int
    environment: dict[str, str]
    notes: tuple[str, ...]
    parts: tuple[Part, ...] = ()
    summary: str = ""
    consistency: tuple[Consistency, ...] = ()

    # A rendering is loaded where it is asked for: renderings import this module, and matplotlib is slow to import.

    @property
    def ok(self) -> bool:
        """Whether the verdict is `CORRECT`."""
        return self.verdict == Verdict.CORRECT

    def __repr__(self) -> str:
        leaves = f"{len(self.findings)} {'leaf' if len(self.findings) == 1 else 'leaves'}"
        return f"<Report of check_{self.kind}: {self.verdict}, {leaves}, detection limit {self.resolution:.1e}>"

    def __str__(self) -> str:
        from jaxgradsweep import text

        return text.render(self)

    def _repr_html_(self) -> str:
        from jaxgradsweep import html

        return html.fragment(self)

    def plot(self, ax: "Axes | None" = None) -> "Figure | Axes":
        """Draw the error against the step.

        Args:
            ax: Axes to draw the worst finding into. By default a new figure gets up to six panels, the worst first.

        Returns:
            The new figure, or the axes that were given.
        """
        from jaxgradsweep import plot

        return plot.plot_report(self, ax)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as the dicts, lists, numbers and strings that `to_json` writes."""
        return {"format": FORMAT, "version": VERSION, **_json.encode(self)}

    def to_json(self) -> str:
        """Return the report as strict JSON: numbers that are not finite become the strings "nan", "inf", "-inf"."""
        return _json.write(self.to_dict())

    @classmethod
    def from_json(cls, text: str | bytes) -> "Report":
        """Read what `to_json` wrote, without any loss.

        Raises:
            ValueError: The text is not JSON, or not a report, or was cut short; the message says where.
        """
        return _json.decode(cls, _json.read(text, FORMAT, VERSION))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report to `path` as JSON. The file appears whole or not at all."""
        write_whole(Path(path), self.to_json().encode())

    def save_html(self, path: str | os.PathLike[str]) -> None:
        """Write the report to `path` as a page for a browser, in one file. It appears whole or not at all.

        Args:
            path: Where to write it.

        Raises:
            ModuleNotFoundError: jinja2 is not installed: `pip install "jaxgradsweep[report]"`.
        """
        from jaxgradsweep import html

        html.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Report":
        """Read a report that `save` wrote.

        Args:
            path: Where it is.

        Returns:
            The report.

        Raises:
            ValueError: The file holds something else.
        """
        return cls.from_json(Path(path).read_text(encoding="utf-8"))

    def raise_unless_correct(self) -> None:
        """Do nothing if the verdict is `CORRECT`.

        Raises:
            DerivativeWrong: The verdict is `WRONG`.
            DerivativeUnresolved: The verdict is `UNRESOLVED`.
        """
        if self.verdict == Verdict.WRONG:
            raise DerivativeWrong(self)
        if not self.ok:
            raise DerivativeUnresolved(self)


class DerivativeWrong(AssertionError):
    """A claimed derivative is wrong. `report` tells the rest.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgradsweep as jgs
        >>> try:
        ...     jgs.check_grad(jnp.sin, (0.3,), grad=jnp.sin, locate=False).raise_unless_correct()
        ... except jgs.DerivativeWrong as wrong:
        ...     print(wrong.report.findings[0].reason)
        MISMATCH
    """

    def __init__(self, report: Report) -> None:
        super().__init__(report)
        self.report = report


class DerivativeUnresolved(AssertionError):
    """A check could not tell whether the claimed derivative is right. `report` tells why, and what to do.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgradsweep as jgs
        >>> try:
        ...     jgs.check_grad(jnp.abs, (0.0,)).raise_unless_correct()
        ... except jgs.DerivativeUnresolved as unresolved:
        ...     print(unresolved.report.findings[0].reason)
        KINK
    """

    def __init__(self, report: Report) -> None:
        super().__init__(report)
        self.report = report
