"""What is written where somebody reads it: colours and wrapped tables on a terminal, plain text anywhere else."""

import itertools
import os
import re
import sys
import textwrap
from collections.abc import Sequence

import rich.console
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.table import Table as Drawn
from rich.text import Text

from jaxgradsweep import stream
from jaxgradsweep._layout import WIDTH, Table, joined, laid_out

COLOURS = {"CORRECT": "bold green", "WRONG": "bold red", "UNRESOLVED": "bold yellow"}
VERDICTS = re.compile(rf"\b({'|'.join(COLOURS)})\b")
NARROWEST = 12  # columns that are left to the first cell of a row
GAP = 2  # columns after each cell
CONTINUED = re.compile(r"\n {4,}(?=\S)")  # where the plain text of an item goes on in the next line


class Console(rich.console.Console):
    """A console that leaves a broken pipe to the caller; rich would exit with 1, which here means WRONG."""

    def on_broken_pipe(self) -> None:
        """Raise it again."""
        raise


def write(blocks: Sequence[str | Table], *, columns: int | None = None) -> None:
    """Write blocks of text to the standard output, with an empty line between them.

    Args:
        blocks: Words and tables. On a terminal, or with FORCE_COLOR, verdicts are coloured (not with NO_COLOR), and
            lines and tables fit its width.
        columns: To how many columns lines are wrapped in any case; by default plain text is written as it is.
    """
    console = Console(file=sys.stdout, force_jupyter=False, highlight=False)
    try:
        if console.is_terminal:
            _write_styled(console, blocks, columns)
        else:
            plain = [
                _wrapped(block, columns, hanging=0) if columns is not None and isinstance(block, str) else block
                for block in blocks
            ]
            sys.stdout.write(f"{joined(plain)}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        stream.abandon(sys.stdout)


def _write_styled(console: Console, blocks: Sequence[str | Table], columns: int | None) -> None:
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:  # a log with colours
        console.width = WIDTH
    for number, block in enumerate(blocks):
        if number:
            console.print()
        if isinstance(block, Table):
            _draw(console, block)
        else:
            width, hanging = (console.width, 2) if columns is None else (min(console.width, columns), 0)
            console.print(_coloured(_wrapped(block, width, hanging=hanging)), soft_wrap=True)


def _draw(console: Console, block: Table) -> None:
    columns = list(zip(block.columns, *block.rows, strict=True))
    widths = _widths(columns, console.width - GAP * len(columns))
    if not widths:
        console.print(_coloured(laid_out(block)), soft_wrap=True)  # the terminal wraps it, and nothing is lost
        return
    table = Drawn(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for number, (cells, width) in enumerate(zip(columns, widths, strict=True)):
        justify = "right" if number in block.numeric else "left"
        table.add_column(Text(cells[0]), justify=justify, overflow="fold", width=width)
    for row in block.rows:
        table.add_row(*map(_coloured, row))
    console.print(table)
    if block.more:
        console.print(_coloured(block.more))


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """How wide columns are that share some room: as they need, or so that titles wrap, or cells; empty if none fits."""
    needed = [max(map(cell_len, cells)) for cells in columns]
    for parts in (lambda cell: [cell]), str.split:
        pieces = [[*title.split(), *itertools.chain(*map(parts, cells))] for title, *cells in columns]
        widths = [max(map(cell_len, each), default=0) for each in pieces]
        widths[0] = min(widths[0], NARROWEST)  # names may be long, and have no words
        if (spare := room - sum(widths)) < 0:
            continue
        for number, most in enumerate(needed):
            more = min(spare, most - widths[number])
            widths[number] += more
            spare -= more
        return widths
    return []


def _coloured(words: str) -> Text:
    text = Text(words)
    for found in VERDICTS.finditer(words):
        text.stylize(COLOURS[found[0]], *found.span())
    return text


def _wrapped(block: str, width: int, *, hanging: int) -> str:
    """A block with its lines wrapped to a width; where one goes on, it is so far indented more."""
    lines = []
    whole = " ".join(block.split()) if VERDICTS.match(block) else CONTINUED.sub(" ", block)
    for line in whole.splitlines():
        indent = " " * (len(line) - len(line.lstrip()) + hanging)
        wrapped = textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)
        lines.extend(wrapped or [""])
    return "\n".join(lines)
