"""What a terminal gets: colours, and nothing that is cut off."""

import io
import os
import re
import sys

import pytest

import example_reports
from jaxgradsweep import stream, terminal, text
from jaxgradsweep._layout import Table

CODE = re.compile(r"\x1b\[[0-9;]*m")
RED = "\x1b[1;31m"


@pytest.fixture
def shown(monkeypatch):
    """A function that writes blocks to a terminal of some width and returns what came there."""

    def show(blocks, columns, **more):
        monkeypatch.setenv("COLUMNS", str(columns))
        screen, device = os.openpty()
        with open(device, "w", encoding="utf-8") as slave, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", slave)
            terminal.write(blocks, **more)
        received = b""
        while True:
            try:
                received += os.read(screen, 65536)
            except OSError:  # all is read, and the other end is closed
                break
        os.close(screen)
        return received.decode().replace("\r\n", "\n")

    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return show


def test_a_terminal_gets_coloured_verdicts_and_tables_that_fit(shown):
    told = shown(text.blocks(example_reports.wrong()), 80)
    assert told.startswith(f"{RED}WRONG\x1b[0m in ['conv']['kernel']")
    assert "\x1b[1;32mCORRECT\x1b[0m" in told
    lines = CODE.sub("", told).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("crossover" in line for line in lines)
    assert any(set(line) == {"─"} for line in lines)


def test_no_colours_where_none_are_wanted(shown, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    told = shown(text.blocks(example_reports.wrong()), 80)
    assert not re.search(r"\x1b\[[0-9;]*3\d", told)
    assert "WRONG" in told


def test_a_terminal_that_is_too_narrow_for_a_table_loses_nothing_of_it(shown):
    told = CODE.sub("", shown(text.blocks(example_reports.wrong()), 30))
    table = next(block for block in text.blocks(example_reports.wrong()) if isinstance(block, Table))
    assert text.laid_out(table) in told


def test_a_log_with_colours_has_the_width_of_the_text(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    for name in ("NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    terminal.write([f"WRONG: {'word ' * 40}"])
    told = capsys.readouterr().out
    assert RED in told
    assert 100 < max(map(len, CODE.sub("", told).splitlines())) <= 110


def test_plain_text_is_what_print_gives(monkeypatch, capsys):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "30")
    terminal.write(text.blocks(example_reports.wrong()))
    assert capsys.readouterr().out == f"{example_reports.wrong()}\n"


MEASURED = Table(columns=("the derivative of", "measured as"), rows=(("a", "0.0529139354 ± 6.9e-14"),), numeric=(1,))


def test_titles_are_broken_before_cells_are(shown):
    assert "0.0529139354 ± 6.9e-14" in shown([MEASURED], 36)
    assert "0.0529139354 ± 6.9e-14" not in shown([MEASURED], 30)


@pytest.mark.parametrize("columns", range(10, 50))
def test_a_table_loses_nothing_at_any_width(shown, columns):
    told = CODE.sub("", shown([MEASURED], columns)).split()
    for word in ["the", "derivative", "of", "measured", "as", "a", "0.0529139354", "±", "6.9e-14"]:
        assert word in told


def test_names_are_no_markup(shown):
    name = "['[red]w[/red]']"
    told = shown([f"WRONG in {name}", Table(columns=("leaf", "is"), rows=((name, "WRONG"),))], 80)
    assert CODE.sub("", told).count(name) == 2


def test_items_are_wrapped_to_the_terminal_and_hang(shown):
    told = shown([f"why\n  a: {'word ' * 12}\n    {'word ' * 12}\n  b: short"], 60)
    lines = told.splitlines()
    assert lines[0] == "why"
    assert lines[1].startswith("  a: word")
    assert all(line.startswith("    word") for line in lines[2:-1])
    assert lines[-1] == "  b: short"
    assert max(map(len, lines)) <= 60
    assert told.count("word") == 24


def test_prose_is_wrapped_in_a_pipe_too(monkeypatch, capsys):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    terminal.write([f"title\n{'word ' * 40}"], columns=50)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "title"
    assert max(map(len, lines)) <= 50
    assert all(line.startswith("word") for line in lines[1:])


def test_what_an_encoding_lacks_is_written_with_what_it_has():
    held = io.BytesIO()
    with stream.any_encoding(wrapped := io.TextIOWrapper(held, encoding="ascii")):
        wrapped.write("1 ± 2 × 3 − é")
        wrapped.flush()
    assert held.getvalue() == b"1 +- 2 x 3 - \\xe9"
    with pytest.raises(UnicodeEncodeError):
        wrapped.write("±")
