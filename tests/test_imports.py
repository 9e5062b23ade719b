"""Imports go one way: back along the order in which a check happens."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

# fmt: off
ORDER = [
    "_tree", "_stale", "_pure", "_cache", "_wording", "_store", "_claim", "_probe", "_request", "_progress", "_compile",
    "_program", "_subject", "_stencil", "_kernel", "_memory", "_identity", "_runner", "_consistency", "_sweep",
    "_window", "_noise", "_lost", "_shape", "_fit", "_criteria", "_opinion", "_verdict", "_instrument", "_repeat",
    "_grain", "_closer", "_pattern", "_locate", "_remedy", "_cause", "_interpreter", "_reference", "_slopes", "_branch",
    "_diagnosis", "_json", "_report", "_call", "_examination", "_survey", "_estimate", "_check", "_grads", "_hessian",
    "_gauss_newton", "_stages", "__init__", "_layout", "_writing", "_headline", "_tables", "_sections", "text",
    "_figure", "heatmap", "plot", "html", "explanation", "comparison", "stream", "terminal", "demo_network", "demo",
    "target", "cluster", "doctor", "completion", "failure", "commands", "cli", "__main__", "baseline", "fixture",
    "pytest_plugin",
]
# fmt: on
LAZILY = {
    "_report": {"text", "plot", "html"},
    "_hessian": {"heatmap"},
    "_locate": {"heatmap"},
}  # a report shows itself, and needs to know how only when it is asked
PLACELESS = {"utils", "helpers", "misc", "core", "types"}  # such names collect what nobody placed

SOURCE = Path(__file__).parents[1] / "src" / "jaxgradsweep"
MODULES = sorted(path.stem for path in SOURCE.rglob("*.py"))


def nodes_of(module):
    return set(ast.walk(ast.parse((SOURCE / f"{module}.py").read_text(encoding="utf-8"))))


def inside(nodes, kind, condition=lambda node: True):
    """The nodes inside of those of this kind: of functions, or of certain `if`s."""
    return {inner for node in nodes if isinstance(node, kind) and condition(node) for inner in ast.walk(node)}


def imported(nodes):
    """The full names that these nodes import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = ".".join(filter(None, ["jaxgradsweep" if node.level else "", node.module]))
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def siblings(nodes):
    """Which modules of the package these nodes import; `__init__` for a name that the package itself offers."""
    names = [name.split(".") for name in imported(nodes)]
    inner = [[*name, "__init__"][1] for name in names if name[0] == "jaxgradsweep"]
    return {module if module in ORDER else "__init__" for module in inner}


def test_every_module_has_a_place_in_the_order():
    assert set(MODULES) <= set(ORDER), "place the new module in ORDER, above all that import it"


def test_no_module_has_a_name_that_collects_what_nobody_placed():
    assert not {module.strip("_") for module in MODULES} & PLACELESS


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_stands_above_it(module):
    nodes = nodes_of(module)
    lazy = inside(nodes, ast.FunctionDef)
    above = set(ORDER[: ORDER.index(module)])
    assert siblings(nodes - lazy) <= above
    assert siblings(lazy) <= above | LAZILY.get(module, set())


@pytest.mark.parametrize("module", [module for module in MODULES if module not in ("_figure", "plot", "heatmap")])
def test_only_figures_import_matplotlib(module):
    nodes = nodes_of(module)
    annotations = inside(nodes, ast.If, lambda node: ast.unparse(node.test) == "TYPE_CHECKING")  # never executed
    assert "matplotlib" not in {name.partition(".")[0] for name in imported(nodes - annotations)}


def test_importing_the_package_leaves_matplotlib_and_the_precision_alone():
    script = "import sys, jaxgradsweep, jax; print('matplotlib' in sys.modules, jax.config.jax_enable_x64)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]
