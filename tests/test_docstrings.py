"""Every example in a docstring gives what stands below it, and every public name has one."""

import doctest
import importlib
import pkgutil

import pytest

import jaxgradsweep

MODULES = [f"jaxgradsweep.{module.name}" for module in pkgutil.iter_modules(jaxgradsweep.__path__)]


def examples(module):
    found = doctest.DocTestFinder().find(importlib.import_module(module))
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", jaxgradsweep.__all__)
def test_every_public_name_has_an_example(name):
    assert ">>> " in getattr(jaxgradsweep, name).__doc__


@pytest.mark.parametrize("module", [name for name in MODULES if not name.endswith("__main__")])
def test_the_examples_of_a_module_give_what_they_say(module):
    runner = doctest.DocTestRunner()
    for test in examples(module):
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
