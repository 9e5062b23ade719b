"""A table as cells and as plain text. Nothing here needs JAX, so that it serves where JAX is broken."""

import dataclasses
from collections.abc import Iterable, Sequence

WIDTH = 110  # columns of the text
SHORTEST_PATH = 16  # columns that a leaf's name keeps, whatever else the table holds


class Cell(str):
    """What stands in a table, with the number that rows are sorted by; None for what has no number."""

    by: float | None

    def __new__(cls, words: str, by: float | None) -> "Cell":
        """Words and a number."""
        cell = super().__new__(cls, words)
        cell.by = by
        return cell


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """Titles and rows of words.

    Columns that are `numeric` are aligned to the right; `more` says what is left out; where it must be `whole`, no name
    is shortened, however wide it becomes.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[int, ...] = ()
    more: str = ""
    whole: bool = False


def joined(blocks: Iterable[str | Table]) -> str:
    """Return blocks as plain text, with an empty line between them; those that say nothing are left out."""
    return "\n\n".join(filter(None, map(laid_out, blocks)))


def laid_out(block: str | Table) -> str:
    """Return a block as plain text: words as they are, and of a table the columns aligned, numbers to the right.

    Names that shortening would make alike get a line of their own.
    """
    if isinstance(block, str):
        return block
    if not block.rows:
        return block.more
    titles, rows = block.columns, block.rows
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    if not block.whole:
        widths[0] = min(widths[0], max(SHORTEST_PATH, WIDTH - sum(widths[1:]) - 2 * (len(widths) - 1)))
    labels = [shorten(row[0], widths[0]) for row in rows]
    lines = []
    for label, row in zip([titles[0], *labels], [titles, *rows], strict=True):
        if labels.count(label) > 1:
            lines.append(row[0])
            label = ""
        lines.append(_line([label, *row[1:]], widths, block.numeric))
    return "\n".join([*lines, block.more] if block.more else lines)


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[int]) -> str:
    each = enumerate(zip(cells, widths, strict=True))
    aligned = (cell.rjust(width) if i in numeric else cell.ljust(width) for i, (cell, width) in each)
    return "  ".join(aligned).rstrip()


def shorten(text: str, width: int) -> str:
    """Cut a text down to a width by leaving out its middle."""
    if len(text) <= width:
        return text
    tail = (width - 3) // 2
    return f"{text[: width - 3 - tail]}...{text[len(text) - tail :]}"


def printable(text: str) -> str:
    """Make control codes visible."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
