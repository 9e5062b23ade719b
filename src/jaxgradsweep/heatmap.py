"""What is wrong in a picture: the error of every component of a leaf or of a Hessian, and claimed against measured."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxgradsweep._figure import Drawing
from jaxgradsweep._layout import shorten
from jaxgradsweep._writing import leaf_name, number

if TYPE_CHECKING:
    from jaxgradsweep._hessian import HessianReport
    from jaxgradsweep._locate import Blame

_DECADES = (-16.0, 0.0)  # of relative error, from the first colour to the last
_SEEN_AS_GREY = colormaps["viridis"].with_extremes(bad="#999999")  # what was not measured
_RIGHT, _WRONG, _LINE = "#0072B2", "#D55E00", "#000000"  # of Okabe and Ito
_LABEL = "log10 |claimed − measured|, relative to RMS"


def plot_hessian(report: "HessianReport", ax: Axes | None = None) -> Figure | Axes:
    """Draw log10 of the relative error of every entry of a Hessian, with lines between the leaves.

    Args:
        report: What `check_hessian` found.
        ax: Axes to draw into; by default those of a new figure.

    Returns:
        The new figure, or the axes that were given.
    """
    figure = Drawing(figsize=(6.4, 5.4), layout="constrained") if ax is None else None
    panel = figure.subplots() if figure is not None else ax
    assert panel is not None
    _image(panel, report.relative_error)
    for boundary in report.offsets[1:-1]:
        panel.axhline(boundary, color="white", linewidth=1)
        panel.axvline(boundary, color="white", linewidth=1)
    centres = [(a + b) / 2 for a, b in zip(report.offsets[:-1], report.offsets[1:], strict=True)]
    names = [shorten(leaf_name(name), 16) for name in report.leaves]
    panel.set_xticks(centres, names, rotation=90, parse_math=False)
    panel.set_yticks(centres, names, parse_math=False)
    panel.set_title(str(report.verdict), fontsize="medium", parse_math=False)
    return figure if figure is not None else panel


def plot_blame(blame: "Blame") -> Figure:
    """Draw the relative error of each component that was measured, and claimed against measured values.

    A leaf of one axis is drawn as bars, one of two as an image, filters as tiles.

    Args:
        blame: Where a leaf is wrong.

    Returns:
        A new figure of two panels.
    """
    figure = Drawing(figsize=(10.4, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    figure.suptitle(shorten(leaf_name(blame.path), 80), fontsize="medium", parse_math=False)
    errors = component_errors(blame)
    if errors.ndim <= 1:
        flat = np.atleast_1d(errors)
        left.bar(np.arange(len(flat)), np.maximum(np.nan_to_num(flat), 10 ** _DECADES[0]), color=_RIGHT)
        left.set(yscale="log", xlabel="component", ylabel="|claimed − measured|, relative to RMS")
    else:
        _image(left, tiles(errors))
        left.set_xticks([])
        left.set_yticks([])
    _scatter(right, blame)
    return figure


def component_errors(blame: "Blame") -> np.ndarray:
    """`|claimed - measured|` of each component, relative to the RMS of those measured; NaN where none was."""
    errors = np.full(blame.shape, np.nan)
    size = np.sqrt(np.mean(np.abs(blame.seen_estimate) ** 2)) or 1.0
    places = np.ravel_multi_index(tuple(blame.looked_at.T), blame.shape) if blame.shape else np.zeros(1, int)
    errors.flat[places] = np.abs(blame.seen_claimed - blame.seen_estimate) / size
    return errors


def tiles(array: np.ndarray) -> np.ndarray:
    """An array of two or more axes as an image: filters side by side, with a gap between them."""
    if array.ndim == 2:
        return array
    if array.ndim == 4 and max(array.shape[:2]) < max(array.shape[2:]) and array.shape[0] == array.shape[1]:
        array = np.moveaxis(array, (2, 3), (0, 1))  # height and width come first
    array = array.reshape(-1, *array.shape[-3:]) if array.ndim > 4 else array
    array = array[None] if array.ndim == 3 else array
    rows, columns, height, width = array.reshape(-1, *array.shape[-3:]).shape
    found = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), np.nan)
    for i in range(rows):
        for j in range(columns):
            place = np.s_[i * (height + 1) : i * (height + 1) + height, j * (width + 1) : j * (width + 1) + width]
            found[place] = array[i, j]
    return found


def _image(panel: Axes, errors: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        shown = np.clip(np.log10(errors), *_DECADES)
    rows, columns = shown.shape
    image = panel.imshow(
        shown,
        cmap=_SEEN_AS_GREY,
        vmin=_DECADES[0],
        vmax=_DECADES[1],
        extent=(0, columns, rows, 0),
        interpolation="nearest",
    )
    panel.figure.colorbar(image, ax=panel, label=_LABEL)


def _scatter(panel: Axes, blame: "Blame") -> None:
    claimed, measured = np.real(blame.seen_claimed), np.real(blame.seen_estimate)
    for flags, colour, words in ((~blame.wrong, _RIGHT, "right"), (blame.wrong, _WRONG, "wrong")):
        panel.plot(measured[flags], claimed[flags], "o", color=colour, markersize=4, label=words)
    ends = np.array([np.nanmin(measured), np.nanmax(measured)])
    panel.plot(ends, ends, color=_LINE, linewidth=0.8, label="claimed = measured")
    wrong = measured[blame.wrong]
    if wrong.any():
        ratio = float(np.dot(wrong, claimed[blame.wrong]) / np.dot(wrong, wrong))
        panel.plot(ends, ratio * ends, "--", color=_WRONG, linewidth=0.8, label=f"claimed = {number(ratio)} measured")
    panel.set(xlabel="measured", ylabel="claimed")
    panel.legend(fontsize="small")
