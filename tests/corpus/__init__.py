"""The open corpus: functions with trusted derivatives, right and wrong, to judge the judge.

Each module holds a `CASES`. Importing this package is cheap; `load` imports the modules.
"""

import importlib
from collections.abc import Iterable

from corpus.case import Case

MODULES = (
    "bugs",
    "subtle_bugs",
    "elementwise",
    "scales",
    "arrays",
    "linear_algebra",
    "control_flow",
    "inputs",
    "objectives",
    "kinks",
    "defects",
    "models",
    "fresh",
    "found",
    "inside",
    "more_garbow_hillstrom",
    "step_size",
    "planted",
    "planted_approximate",
    "planted_ladder",
    "planted_sparse",
    "rough",
    "hard",
    "second_order",
)


def load(modules: Iterable[str] = MODULES) -> dict[str, Case]:
    """All cases by name. Turn x64 on before the first float64 case is made."""
    found: dict[str, Case] = {}
    for module in modules:
        for case in importlib.import_module(f"corpus.{module}").CASES:
            if case.name in found:
                raise ValueError(f"two cases are named {case.name!r}, one of them in {module}")
            found[case.name] = case
    return found
