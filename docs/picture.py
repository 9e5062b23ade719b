"""Draw `sweep.svg`: what the sweep of a right gradient looks like, and that of a wrong one.

python docs/picture.py
"""

from pathlib import Path

import jax.numpy as jnp
import matplotlib as mpl
from matplotlib.figure import Figure

import jaxgradsweep as jgs
from jaxgradsweep import plot

RIGHT = "right: the error falls as h², then rises as 1/h"
WRONG = "wrong by 1 part in 10,000: the same error at every step"


def loss(x):
    return jnp.sum(jnp.sin(x) ** 2)


def gradient(x):
    return 2 * jnp.sin(x) * jnp.cos(x)


def draw() -> Figure:
    """Two panels: a claim that is right, and one that is a little too large."""
    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for panel, factor, title in ((left, 1.0, RIGHT), (right, 1.0001, WRONG)):
        claim = lambda x, factor=factor: factor * gradient(x)  # noqa: E731
        report = jgs.check_grad(loss, (jnp.linspace(0.3, 1.2, 5),), grad=claim, thorough=True, locate=False)
        plot.plot_finding(report, report.findings[0], panel)
        panel.set_title(title, fontsize="medium")
        panel.set_ylim(1e-16, 1)
    handles, labels = ([*a, *b] for a, b in zip(*(p.get_legend_handles_labels() for p in (left, right)), strict=True))
    names = dict(zip(labels, handles, strict=True))
    for panel in (left, right):
        panel.get_legend().remove()
    right.set_ylabel("")
    figure.legend(names.values(), names, loc="outside lower center", ncols=4, fontsize="small", frameon=False)
    return figure


if __name__ == "__main__":
    # Letters stay letters and ids do not change, so that the file is small and a new drawing is the same.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sweep", "font.family": "sans-serif"}):
        draw().savefig(Path(__file__).with_name("sweep.svg"), metadata={"Date": None})
