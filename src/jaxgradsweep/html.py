"""A report as a page in one file, which loads nothing from elsewhere, and as a cell of a notebook."""

import base64
import hashlib
import importlib
import itertools
import os
import re
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxgradsweep import _json, plot, text
from jaxgradsweep import _sections as sections
from jaxgradsweep import _tables as tables
from jaxgradsweep._figure import as_png, as_svg
from jaxgradsweep._headline import headline
from jaxgradsweep._layout import printable
from jaxgradsweep._report import Report
from jaxgradsweep._store import write_whole
from jaxgradsweep._wording import MEASURED_IS_BETTER, RELATIVE_ERROR, Reason, Verdict
from jaxgradsweep._writing import leaf_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 1000  # leaves in a page's table
MOST_BLAMED = 3  # leaves whose wrong components are drawn
MOST_PARTS = 12  # checks that a joined report shows one by one
LARGEST = 400_000  # letters of a figure as SVG: of very many points, an image is smaller
MARKS = {Verdict.CORRECT: "✓", Verdict.WRONG: "✕", Verdict.UNRESOLVED: "?"}  # for readers without colours
MACHINE = ("backend", "device", "dtype")
VERSIONS = ("python", "jax", "jaxlib", "numpy", "jaxgradsweep")

# A browser that follows this loads nothing, and runs nothing but the script of the page itself.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{script}'"

NEEDS_JINJA = (
    "the page of a report needs the package jinja2, which is not installed. Install it with "
    '`pip install "jaxgradsweep[report]"`; what a notebook shows, and `print(report)`, do without'
)


def render(report: Report) -> str:
    """Return the report as an HTML page that needs no other file and no network.

    A small script sorts tables by the column whose title is clicked; the page can be read without it. It forbids the
    browser to load anything, so that it can be opened, mailed and kept as it is.

    Args:
        report: What a check found.

    Returns:
        The page: the verdict, the likely causes, what to do, the table of leaves, figures, the reasons and the numbers
        behind them, the familiar figures of other checkers, and the call that made the report.

    Raises:
        ModuleNotFoundError: jinja2 is not installed.
    """
    require_jinja()
    import jinja2
    from markupsafe import Markup

    files = resources.files("jaxgradsweep") / "_page"
    style, script = ((files / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["code"] = lambda words: Markup(_with_code(words))
    page = environment.from_string((files / "report.html.jinja").read_text(encoding="utf-8"))
    count = itertools.count(1)
    source = page.render(
        report=report,
        style=Markup(style),
        script=Markup(script),
        policy=POLICY.format(script=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()),
        draw=lambda figure: Markup(_embedded(figure, f"figure{next(count)}")),
        **_words(),
    )
    return source.strip() + "\n"


def require_jinja() -> None:
    """Make sure that a page can be made, before what is to be shown on it is measured.

    Raises:
        ModuleNotFoundError: jinja2 is not installed.
    """
    try:
        importlib.import_module("jinja2")
    except ModuleNotFoundError as error:
        if error.name not in ("jinja2", "markupsafe"):
            raise
        raise ModuleNotFoundError(NEEDS_JINJA, name=error.name) from None


def save(report: Report, path: str | os.PathLike[str]) -> None:
    """Write the report to `path` as an HTML page. The file appears whole or not at all.

    Args:
        report: What a check found.
        path: Where to write it; what is there already is replaced.

    Raises:
        ModuleNotFoundError: jinja2 is not installed.
        OSError: The file cannot be written.
    """
    write_whole(Path(path), render(report).encode())


def fragment(report: Report) -> str:
    """Return the report for the cell of a notebook: the verdict, a table, what is said of it, and a figure.

    Args:
        report: What a check found.

    Returns:
        One element without style or script. It takes nothing but matplotlib to make.
    """
    leaves = tables.leaf_table(report, text.MOST_ROWS)
    said = text.joined(text.explanations(report))
    drawn = [plot.of_worst(report), *(blame.plot() for blame in report.blame[:MOST_BLAMED])]
    return "".join(
        [
            f"<div><p><strong>{escape(' '.join(text.verdict_line(report).split()))}</strong></p>",
            _plain_table(tables.parts_table(report)),
            _plain_table(leaves),
            f"<pre>{escape(said)}</pre>",
            *map(_embedded, drawn),
            "</div>",
        ]
    )


def call_of(report: Report) -> str:
    """Return the Python code that makes a report again, as far as the report knows it.

    Args:
        report: What a check found.

    Returns:
        The versions and the machine as comments, and the call. Functions stand there by their names, and arrays by the
        names of their arguments: a report keeps neither.
    """
    known = report.environment
    versions = ", ".join(f"{name} {known[name]}" for name in VERSIONS if name in known)
    machine = ", ".join(dict.fromkeys(known[name] for name in MACHINE if name in known))
    comments = [f"# {printable(words)}" for words in (versions, machine) if words]
    call = printable(known.get("call") or _guess(report))
    return "\n".join([*comments, "import jaxgradsweep as jgs", "", f"report = jgs.{call}"])


def _guess(report: Report) -> str:
    """The call of a report that does not know it, as a part of another, from what it measured."""
    known = report.environment
    name, more = ("hvp", ["via='function'"]) if report.kind == "curvature" else (report.kind, [])
    more += [f"{name}={known[name]}" for name in ("rtol", "directions", "key") if name in known]
    more += ["dtype='native'"] * (known.get("dtype") == "native")
    return f"check_{name}({', '.join(['fun', 'args', *more])})"


def _words() -> dict[str, Any]:
    """What the page says, and what it asks of a report."""
    return {
        "call_of": call_of,
        "check_name": _check_name,
        "headline": headline,
        "marks": {str(verdict): mark for verdict, mark in MARKS.items()},
        "meanings": _meanings,
        "measured_is_better": MEASURED_IS_BETTER,
        "most_blamed": MOST_BLAMED,
        "most_figures": plot.MOST_PANELS,
        "most_rows": MOST_ROWS,
        "name": leaf_name,
        "parts": _parts,
        "most_parts": MOST_PARTS,
        "plot": plot,
        "printable": printable,
        "relative_error": RELATIVE_ERROR,
        "sections": sections,
        "shown": {"call", *VERSIONS, *MACHINE},
        "tables": tables,
    }


def _check_name(report: Report) -> str:
    """The check that was called, or that it would be."""
    return (report.environment.get("call") or _guess(report)).partition("(")[0]


def _parts(report: Report) -> tuple[str, list[tuple[str, Report]]]:
    """Of the checks that a report joins, the name of that which decided, whose findings it has, and all others."""
    parts = list(tables.flat_parts(report))
    findings = _json.encode(report.findings)  # as JSON, since NaN is not equal to itself
    decided = next((i for i, (_, part) in enumerate(parts) if _json.encode(part.findings) == findings), None)
    others = [part for i, part in enumerate(parts) if i != decided]
    return "" if decided is None else parts[decided][0], others


def _meanings(report: Report) -> dict[str, str]:
    """What the reasons of leaves that are right mean; the others are said under "why"."""
    reasons = dict.fromkeys(finding.reason for finding in report.findings if finding.verdict == Verdict.CORRECT)
    return {str(reason): reason.value for reason in reasons if reason != Reason.IDENTITY}


def _with_code(words: str) -> str:
    """Escaped words, with what stands between backticks as code, and numbers that no line breaks."""
    numbers = re.sub(r"\b[\d.]+e-\d+", r'<span class="whole">\g<0></span>', escape(words))
    return re.sub("`([^`]+)`", r"<code>\1</code>", numbers)


def _embedded(figure: "Figure", name: str = "") -> str:
    """A figure as an element: as SVG, or as an image where it has so many points that it would be slow and large."""
    svg = as_svg(figure, name)
    if len(svg) <= LARGEST:
        return svg
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(as_png(figure)).decode()}">'


def _plain_table(table: tables.Table) -> str:
    if not table.rows:
        return ""
    head = "".join(f"<th>{escape(title)}</th>" for title in table.columns)
    rows = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in table.rows)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    more = f"<p>{escape(table.more)}</p>" if table.more else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"
