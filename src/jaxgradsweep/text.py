"""A report in words: the verdict in one line, a table of leaves, what to do, and the figures that others print."""

import textwrap

from jaxgradsweep import _sections as sections
from jaxgradsweep import _tables as tables
from jaxgradsweep._headline import headline
from jaxgradsweep._layout import WIDTH, Table, joined, laid_out, shorten
from jaxgradsweep._report import Report
from jaxgradsweep._wording import MEASURED_IS_BETTER, RELATIVE_ERROR, Verdict
from jaxgradsweep._writing import NO_LIMIT, leaf_name, number, relative_size

__all__ = [
    "NO_LIMIT",
    "blocks",
    "explanations",
    "joined",
    "laid_out",
    "leaf_name",
    "number",
    "relative_size",
    "render",
    "render_classic",
    "shorten",
    "verdict_line",
]

VERDICT_WIDTH = 130  # the verdict is one line, unless it names many leaves
MOST_ROWS = 40  # a longer table hides what matters


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
    return joined(blocks(report))


def blocks(report: Report) -> list[str | Table]:
    """Return what `render` joins, the verdict first: words, and tables whose cells can be drawn otherwise."""
    shown = (tables.parts_table(report), tables.leaf_table(report, MOST_ROWS))
    return [block for block in (verdict_line(report), *shown, *explanations(report)) if laid_out(block)]


def render_classic(report: Report) -> str:
    """Return the familiar figures of other checkers as a table, with what each rule of thumb would have said.

    Args:
        report: What a check found.

    Returns:
        The figures and what the rules say of them, for each leaf and for all together, the formulas, and why the
        measured detection limit is the better judge.
    """
    return joined([*tables.familiar_tables(report), tables.FORMULAS, textwrap.fill(MEASURED_IS_BETTER, WIDTH)])


def verdict_line(report: Report) -> str:
    """Return the verdict, the leaves that it is about unless it is `CORRECT`, and the detection limit or the reason.

    Of a report that joins several checks, the verdict and what they say together.
    """
    about, sentence = headline(report)
    line = f"{report.verdict}{f' in {about}' if about else ''}: {sentence}"
    return textwrap.fill(line, VERDICT_WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def explanations(report: Report) -> list[str | Table]:
    """Return all that is said below the table of leaves, block by block; some may be empty."""
    return [
        textwrap.fill(RELATIVE_ERROR, WIDTH) if report.verdict == Verdict.WRONG else "",
        _items(sections.why(report)),
        _items(sections.likely(report)),
        _items(sections.to_do(report)),
        tables.numbers_table(report, MOST_ROWS),
        _items(sections.where(report)),
        tables.components_table(report),
        _items(sections.structure(report)),
        textwrap.fill(sections.laws_that_hold(report), WIDTH, subsequent_indent="  "),
        tables.laws_table(report),
        _items(sections.broken_laws(report)),
        _items(sections.notes(report)),
        sections.cost(report),
    ]


def _items(section: sections.Section) -> str:
    wrap = textwrap.TextWrapper(WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
    items = [wrap.fill(str(item)) for item in section.items]
    return "\n".join([section.title, *items]) if items else ""
