"""Every code block of the documentation runs, and prints what stands below it."""

import importlib.util
import sys
from pathlib import Path

import pytest

from helpers import words

DOCS = Path(__file__).parents[1] / "docs"


def loaded(name):
    """A script of the documentation as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pages = loaded("pages")
PAGES = {str(path.relative_to(DOCS)): path for path in pages.pages()}
CODE = {name: pages.blocks(path.read_text(encoding="utf-8")) for name, path in PAGES.items()}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_code_that_is_not_run(name):
    for block in CODE[name]:
        assert block.caption or block.language in (*pages.RUN, pages.SHOWN)


@pytest.mark.parametrize("name", [name for name, found in CODE.items() if found])
def test_the_code_of_a_page_prints_what_stands_below_it(name, tmp_path):
    results = pages.executed(PAGES[name], tmp_path)
    assert results
    for block, printed, shown in results:
        assert words(printed) == words(shown), block.text
