"""A report in words: the verdict in one line, a table of leaves, what to do, and the figures that others print."""

import textwrap
from collections.abc import Sequence

from jaxgradsweep import _sections as sections
from jaxgradsweep import _tables as tables
from jaxgradsweep._headline import headline
from jaxgradsweep._report import Report
from jaxgradsweep._wording import MEASURED_IS_BETTER, RELATIVE_ERROR, Verdict
from jaxgradsweep._writing import NO_LIMIT, leaf_name, number, relative_size, shorten

__all__ = [
    "NO_LIMIT",
    "explanations",
    "leaf_name",
    "number",
    "relative_size",
    "render",
    "render_classic",
    "shorten",
    "verdict_line",
]

WIDTH = 110  # columns of the text
VERDICT_WIDTH = 130  # the verdict is one line, unless it names many leaves
MOST_ROWS = 40  # a longer table hides what matters
SHORTEST_PATH = 16  # columns that a leaf's name keeps, whatever else the table holds


def render(report: Report) -> str:
    """Return the report as plain text, without control codes and at most about 110 columns wide.

    Args:
        report: What a check found.

    Returns:
        The verdict with what was measured, a table with a row per leaf, why a finding is not `CORRECT`, the likely
        causes, and each distinct advice about leaves without one, the numbers that disagree, the notes, and how much
        was evaluated where. A report that joins several checks has a table with a row for each in front; the rest is
        about the one that decided.
    """
    shown = (_laid_out(tables.parts_table(report)), _laid_out(tables.leaf_table(report, MOST_ROWS)))
    return "\n\n".join(filter(None, [verdict_line(report), *shown, *explanations(report)]))


def render_classic(report: Report) -> str:
    """Return the familiar figures of other checkers as a table, with what each rule of thumb would have said.

    Args:
        report: What a check found.

    Returns:
        The figures and what the rules say of them, for each leaf and for all together, the formulas, and why the
        measured detection limit is the better judge.
    """
    shown = map(_laid_out, tables.familiar_tables(report))
    return "\n\n".join([*shown, tables.FORMULAS, textwrap.fill(MEASURED_IS_BETTER, WIDTH)])


def verdict_line(report: Report) -> str:
    """Return the verdict, the leaves that it is about unless it is `CORRECT`, and the detection limit or the reason.

    Of a report that joins several checks, the verdict and what they say together.
    """
    about, sentence = headline(report)
    line = f"{report.verdict}{f' in {about}' if about else ''}: {sentence}"
    return textwrap.fill(line, VERDICT_WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def explanations(report: Report) -> list[str]:
    """Return all that is said below the table of leaves, paragraph by paragraph; some may be empty."""
    return [
        textwrap.fill(RELATIVE_ERROR, WIDTH) if report.verdict == Verdict.WRONG else "",
        _items(sections.why(report)),
        _items(sections.likely(report)),
        _items(sections.to_do(report)),
        _laid_out(tables.numbers_table(report, MOST_ROWS)),
        _items(sections.where(report)),
        _laid_out(tables.components_table(report)),
        _items(sections.structure(report)),
        textwrap.fill(sections.laws_that_hold(report), WIDTH, subsequent_indent="  "),
        _laid_out(tables.laws_table(report)),
        _items(sections.broken_laws(report)),
        _items(sections.notes(report)),
        sections.cost(report),
    ]


def _items(section: sections.Section) -> str:
    wrap = textwrap.TextWrapper(WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
    items = [wrap.fill(str(item)) for item in section.items]
    return "\n".join([section.title, *items]) if items else ""


def _laid_out(table: tables.Table) -> str:
    """Align columns, numbers to the right. Names that shortening would make alike get a line of their own."""
    if not table.rows:
        return table.more
    titles, rows = table.columns, table.rows
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    widths[0] = min(widths[0], max(SHORTEST_PATH, WIDTH - sum(widths[1:]) - 2 * (len(widths) - 1)))
    labels = [shorten(row[0], widths[0]) for row in rows]
    lines = []
    for label, row in zip([titles[0], *labels], [titles, *rows], strict=True):
        if labels.count(label) > 1:
            lines.append(row[0])
            label = ""
        lines.append(_line([label, *row[1:]], widths, table.numeric))
    return "\n".join([*lines, table.more] if table.more else lines)


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[int]) -> str:
    each = enumerate(zip(cells, widths, strict=True))
    aligned = (cell.rjust(width) if i in numeric else cell.ljust(width) for i, (cell, width) in each)
    return "  ".join(aligned).rstrip()
