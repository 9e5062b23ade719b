"""A report as a figure: the error of the claim against the step. No pyplot."""

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from jaxgradsweep._figure import DATELESS, Drawing, as_file, as_svg
from jaxgradsweep._layout import shorten
from jaxgradsweep._report import Report
from jaxgradsweep._store import write_whole
from jaxgradsweep._verdict import Finding
from jaxgradsweep._wording import Reason, Verdict
from jaxgradsweep._writing import NO_LIMIT, leaf_name, number, relative_size

MOST_PANELS = 6
TITLE_WIDTH = 58  # letters over the narrowest panel
# Central differences cannot show these, since they are blind to what is symmetric; one-sided ones can.
ONE_SIDED = frozenset({Reason.KINK, Reason.JUMP, Reason.SINGULAR, Reason.DENSE_KINKS})

# The colours of Okabe and Ito, which stay distinct for every common kind of colour vision.
_POINT = "#0072B2"
_TRUNCATION = "#D55E00"
_ROUNDOFF = "#009E73"
_UNCERTAINTY = "#56B4E9"
_CROSSOVER = "#CC79A7"
_PLATEAU = "#E69F00"
_TRUSTED = "#000000"  # as a faint grey
_ONE_SIDED = "#000000"

_SMALLEST, _LARGEST = 1e-300, 1e300  # what a log axis can still show


def plot_report(report: Report, ax: Axes | None = None) -> Figure | Axes:
    """Draw the error of each finding against the step, the worst findings first.

    Args:
        report: What a check found.
        ax: Axes to draw the worst finding into. By default a new figure gets up to six panels.

    Returns:
        The new figure, or the axes that were given.
    """
    findings = worst_first(report.findings)
    if ax is not None:
        return plot_finding(report, findings[0], ax) if findings else _say_so(ax, "nothing was probed")
    shown = findings[:MOST_PANELS]
    columns = min(len(shown), 3 if len(shown) > 4 else 2) or 1
    rows = -(-len(shown) // columns) or 1
    figure = Drawing(figsize=(1.8 + 4.6 * columns, 1.2 + 3.5 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    if not shown:
        _say_so(panels[0], "nothing was probed")
    for panel, finding in zip(panels, shown, strict=False):
        plot_finding(report, finding, panel)
        panel.get_legend().remove()
    for panel in panels[max(len(shown), 1) :]:
        panel.remove()
    if shown:
        _share_legend(figure, 3 if columns == 1 else 5)
    if len(findings) > len(shown):
        left_out = len(findings) - len(shown)
        figure.suptitle(f"the {len(shown)} worst of {len(findings)} leaves, {left_out} left out")
    return figure


def plot_finding(report: Report, finding: Finding, ax: Axes | None = None) -> Axes:
    """Draw how far the central differences of one probe are from the claim, against the step, on log axes.

    A right claim leaves a V: truncation, which falls with the step as h^2, and roundoff, which rises as 1/h. A wrong
    one leaves a plateau. If the claim is not finite, the differences are held against their own limit instead. Where
    the reason is a kink, a jump or the like, the one-sided differences are drawn too: a kink leaves two plateaus.

    Args:
        report: What a check found.
        finding: One of `report.findings`; its deciding probe is drawn.
        ax: Axes to draw into; by default those of a new figure.

    Returns:
        The axes.
    """
    if ax is None:
        ax = Drawing(figsize=(6.4, 4.8), layout="constrained").subplots()
    ax.set(xscale="log", yscale="log", xlabel="relative step h")
    ax.set_title(_title(finding), fontsize="medium", parse_math=False)
    if not 0 <= finding.probe < report.sweep.claimed.size or report.sweep.steps.size == 0:
        return _say_so(ax, "nothing was measured")
    if np.isfinite(finding.claimed):
        words, reference = "error |D(h) − claim|", finding.claimed
    elif abs(finding.estimate) > finding.uncertainty:
        words, reference = "error |D(h) − estimate|", finding.estimate
    else:  # neither is known
        words, reference = "size |D(h)|", 0.0
    ax.set_ylabel(f"relative {words}")
    _draw(ax, report, finding, reference)
    return ax


def save(report: Report, path: str | os.PathLike[str]) -> None:
    """Write the figure of a report to a file, which appears whole or not at all.

    Args:
        report: What a check found.
        path: Where to; it ends in .png, .svg or .pdf.

    Raises:
        ValueError: It ends otherwise.
        OSError: The file cannot be written.
    """
    kind = kind_of(path)
    figure = plot_report(report)
    assert isinstance(figure, Figure)
    write_whole(Path(path), as_file(figure, kind))


def kind_of(path: str | os.PathLike[str]) -> str:
    """Return the kind of figure that a name asks for: "png", "svg" or "pdf".

    Raises:
        ValueError: It asks for another.
    """
    kind = Path(path).suffix.removeprefix(".").lower()
    if kind not in DATELESS:
        raise ValueError(f"`path` must end in .png, .svg or .pdf; got {os.fspath(path)!r}")
    return kind


def of_worst(report: Report) -> Figure:
    """Draw the worst finding, or what else a report draws into one panel, as a figure of its own."""
    figure = Drawing(figsize=(6.4, 4.8), layout="constrained")
    report.plot(figure.subplots())
    return figure


def render_svg(report: Report) -> str:
    """Return a figure of the worst finding as an SVG element for a page."""
    return as_svg(of_worst(report))


def _title(finding: Finding) -> str:
    name = shorten(leaf_name(finding.path), 44) if finding.path else "the argument"
    off = f", off by {number(abs(finding.error))}" if finding.verdict == Verdict.WRONG else ""
    measured = f"{finding.reason}, detection limit {number(finding.resolution)}"
    why = f"{finding.reason}: {finding.reason.value}" if finding.reason in NO_LIMIT else measured
    return f"{name}: {finding.verdict}{off}\n{textwrap.fill(why, TITLE_WIDTH)}"


def _draw(ax: Axes, report: Report, finding: Finding, reference: float) -> None:
    steps, row = report.sweep.steps, finding.probe
    size = relative_size(report, finding)
    with np.errstate(all="ignore"):
        errors = (report.sweep.derivative[row] - reference) / size
        sides = [
            np.abs(series[row] / steps - reference) / size
            for series in (report.sweep.forward, report.sweep.backward)
            if finding.reason in ONE_SIDED
        ]
        levels = [abs(finding.error)] if finding.verdict == Verdict.WRONG else []
        levels.append(finding.uncertainty / size)
    ax.set_xlim(steps.min() / 2, steps.max() * 2)
    ax.set_ylim(*_vertical_range(np.concatenate([np.abs(errors), levels, *sides])))
    _draw_points(ax, steps, errors)
    _draw_sides(ax, steps, sides)
    _draw_model(ax, report, finding, size)
    _draw_limits(ax, report, finding, levels)
    _set_ticks(ax)
    ax.legend(fontsize="small", framealpha=0.9)


def _draw_points(ax: Axes, steps: Float[np.ndarray, " steps"], errors: Float[np.ndarray, " steps"]) -> None:
    style = {"linestyle": "", "color": _POINT, "zorder": 3}
    positive, negative = errors > 0, errors < 0
    finite = np.isfinite(errors)
    if np.any(positive & finite):
        ax.plot(steps[positive & finite], errors[positive & finite], "o", label="D(h) above the claim", **style)
    if np.any(negative & finite):
        below = negative & finite
        ax.plot(steps[below], -errors[below], "o", markerfacecolor="white", label="D(h) below the claim", **style)
    edge = {**style, "transform": ax.get_xaxis_transform()}
    if np.any(errors == 0):
        bottom = np.full(np.count_nonzero(errors == 0), 0.02)
        ax.plot(steps[errors == 0], bottom, "|", markersize=9, label="no difference at all", **edge)
    if not np.all(finite):
        top = np.full(np.count_nonzero(~finite), 0.98)
        ax.plot(steps[~finite], top, "x", markersize=5, label="not finite, or not tried", **edge)
    if not np.any(finite):
        _say_so(ax, "no finite difference at any step")


def _draw_sides(ax: Axes, steps: Float[np.ndarray, " steps"], sides: Sequence[Float[np.ndarray, " steps"]]) -> None:
    """Draw how far the one-sided differences are from the claim; at the bottom edge where they equal it."""
    looks = (("forward difference F(h)", ">", _ONE_SIDED, 0), ("backward difference B(h)", "<", "white", 1))
    for errors, (label, marker, face, first) in zip(sides, looks, strict=False):
        style = {"linestyle": "", "color": _ONE_SIDED, "marker": marker, "markerfacecolor": face, "zorder": 4}
        apart, equal = np.isfinite(errors) & (errors > 0), errors == 0
        if np.any(apart):  # by turns, since the two coincide where the claim is their mean
            ax.plot(steps[apart], errors[apart], label=label, markevery=(first, 2), markersize=5, **style)
        if np.any(equal):
            edge, bottom = ax.get_xaxis_transform(), np.full(np.count_nonzero(equal), 0.06 + 0.04 * first)
            ax.plot(steps[equal], bottom, label=f"{label[-4:]}: no difference", transform=edge, markersize=3, **style)


def _draw_model(ax: Axes, report: Report, finding: Finding, size: float) -> None:
    """Draw what the fit says of the function alone: truncation, roundoff, their crossover, and the steps it trusts."""
    fit, row = report.fit, finding.probe
    left, right = ax.get_xlim()
    x = np.geomspace(left, right, 200)
    order = fit.order[row] if np.isfinite(fit.order[row]) else 2.0
    exponent = round(order) if abs(order - round(order)) < 0.2 else round(order, 1)
    with np.errstate(all="ignore"):
        truncation = np.abs(fit.coefficient[row]) * x**order / size
        level = fit.noise[row] * min(fit.reach[row], 1e300) ** (report.sweep.order - 1)
        roundoff = level / (np.sqrt(2) * x**report.sweep.order) / size
    _draw_curve(ax, x, truncation, linestyle="--", color=_TRUNCATION, label=f"truncation, $h^{{{exponent}}}$")
    _draw_curve(
        ax,
        x,
        roundoff,
        linestyle="-.",
        color=_ROUNDOFF,
        label="roundoff, $1/h$" if report.sweep.order == 1 else "roundoff, $1/h^2$",
    )
    if left < fit.crossover[row] < right:
        ax.axvline(fit.crossover[row], linestyle=":", color=_CROSSOVER, linewidth=2, label="crossover")
    if fit.reach[row] > left and np.isfinite(fit.uncertainty[row]):
        ax.axvspan(left, min(fit.reach[row], right), color=_TRUSTED, alpha=0.06, linewidth=0, label="trusted steps")


def _draw_limits(ax: Axes, report: Report, finding: Finding, levels: Sequence[float]) -> None:
    """Draw how well the limit of small steps is known, and the plateau that a wrong claim leaves."""
    bottom, _ = ax.get_ylim()
    *plateau, uncertainty = levels
    if bottom < uncertainty < np.inf:
        ax.axhspan(bottom, uncertainty, color=_UNCERTAINTY, alpha=0.3, linewidth=0, label="uncertainty of the estimate")
    for level in plateau:
        if 0 < level < np.inf:
            ax.axhline(level, color=_PLATEAU, linewidth=2, label="plateau: error of the claim")


def _draw_curve(ax: Axes, x: np.ndarray, y: np.ndarray, **style: Any) -> None:
    bottom, top = ax.get_ylim()
    seen = (y >= bottom / 10) & (y <= top * 10)
    if np.any(seen):
        ax.plot(x[seen], y[seen], **style)


def _vertical_range(values: Float[np.ndarray, " values"]) -> tuple[float, float]:
    drawn = values[(values > 0) & np.isfinite(values)]
    if drawn.size == 0:
        return 1e-17, 1.0
    return max(drawn.min() / 4, _SMALLEST), 4 * min(drawn.max(), _LARGEST)


def _set_ticks(ax: Axes) -> None:
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(numticks=7))
        axis.set_minor_locator(NullLocator())
    ax.grid(True, which="major", linewidth=0.4, alpha=0.5)


def _share_legend(figure: Figure, columns: int) -> None:
    """Give all panels one legend under the figure."""
    handles = {}
    for panel in figure.axes:
        handles.update({label: handle for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)})
    labels = sorted(handles, key=lambda label: "(h)" not in label)
    figure.legend(
        [handles[label] for label in labels], labels, loc="outside lower center", ncols=columns, fontsize="small"
    )


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """Sort findings: wrong ones first, the largest error first, then those with the coarsest detection limit."""
    rank = {Verdict.WRONG: 0, Verdict.UNRESOLVED: 1, Verdict.CORRECT: 2}

    def badness(finding: Finding) -> tuple[int, float]:
        size = abs(finding.error) if finding.verdict == Verdict.WRONG else finding.resolution
        return rank[finding.verdict], -size if size == size else -np.inf

    return sorted(findings, key=badness)


def _say_so(ax: Axes, words: str) -> Axes:
    ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center")
    return ax
