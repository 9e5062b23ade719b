"""Each notebook is a pair: a script, which is read and reviewed, and an `.ipynb` with its output, which is shown."""

from pathlib import Path

import jupytext
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def cells(path):
    return [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]


@pytest.mark.parametrize("name", sorted({path.stem for path in NOTEBOOKS.glob("*.*")}))
def test_the_two_halves_of_a_notebook_have_the_same_cells(name):
    # To mend it: jupytext --sync notebooks/*.ipynb
    assert cells(NOTEBOOKS / f"{name}.py") == cells(NOTEBOOKS / f"{name}.ipynb")
