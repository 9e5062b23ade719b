"""Every example finds what it says: the right derivative is right, and the planted mistake is found where it is."""

import importlib.util
from pathlib import Path

import pytest

from jaxgradsweep import Reason, Verdict

EXAMPLES = Path(__file__).parents[1] / "examples"
HOW = {"torch": "pip install torch --index-url https://download.pytorch.org/whl/cpu"}  # the others are in a group
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))

# What is found of each mistake: the leaves that are wrong, the causes that are named, and words of the report.
FOUND = {
    "blackjax_gradient": (["['offset']", "['weights']"], None, "every term by itself is right"),
    "diffrax_adjoints": (["['birth']", "['death']", "['eaten']", "['grown']"], set(), ""),
    "equinox_module": (
        [f".{layer}.{leaf}" for layer in ("hidden", "norm", "readout") for leaf in ("weight", "bias")],
        None,
        "",
    ),
    "flax_linen": (None, None, "PRNG keys are held fixed"),
    "flax_nnx": (None, None, "PRNG keys are held fixed"),
    "numpyro_density": (["['noise']", "['scale']"], None, "the only component"),
    "optax_projection": ([""], None, "components 0, 1, 8, 10"),
    "optimistix_implicit": (["['bias']", "['inner']", "['recurrent']"], None, ""),
    "pallas_kernel": (["[0]"], None, "look in the lines that only [0] uses"),
    "scipy_callback": (["[0]", "[1]"], None, ""),
    "sklearn_callback": ([""], {"chain-rule"}, "kept as its logarithm"),
}


@pytest.fixture(scope="module")
def example(request):
    """An example as a module; a test of one whose library is missing is skipped."""
    spec = importlib.util.spec_from_file_location(request.param, EXAMPLES / f"{request.param}.py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as missing:
        library = str(missing.name).partition(".")[0]
        if library == "jaxgradsweep":
            raise
        pytest.skip(f"{library} is not installed: {HOW.get(library, 'pip install --group clients')}")
    return module


def test_every_example_is_tested():
    assert set(NAMES) == {*FOUND, "torch_callback"}


@pytest.mark.parametrize("example", NAMES, indirect=True)
def test_the_right_derivative_of_an_example_is_right(example):
    report = example.right()
    assert report.verdict is Verdict.CORRECT
    assert report.environment["dtype"] == "float64"


@pytest.mark.parametrize("example", sorted(FOUND), indirect=True)
def test_the_mistake_of_an_example_is_found_where_it_is(example):
    leaves, causes, words = FOUND[example.__name__]
    report = example.wrong()
    assert report.verdict is Verdict.WRONG
    wrong = [finding.path for finding in report.findings if finding.verdict is Verdict.WRONG]
    assert leaves is None or wrong == leaves
    assert causes is None or {cause.name for cause in report.causes} == causes
    assert words in " ".join(str(report).split())


@pytest.mark.parametrize("example", ["torch_callback"], indirect=True)
def test_gradients_that_add_up_are_no_derivative_of_a_function(example):
    finding = example.wrong().findings[0]
    assert (finding.verdict, finding.reason) == (Verdict.UNRESOLVED, Reason.NONDETERMINISTIC)
    assert "gradients that add up" in finding.advice


@pytest.mark.parametrize("example", ["optimistix_implicit"], indirect=True)
def test_a_loose_solver_is_told_by_how_much_it_is_off(example):
    report = example.loose()
    assert not report.ok
    assert "The function has a loop that ends on a condition" in " ".join(str(report).split())
    assert 1e-5 < max(abs(finding.error) for finding in report.findings) < 1e-2


@pytest.mark.parametrize("example", ["numpyro_density"], indirect=True)
def test_an_example_prints_both_of_its_reports(example, capsys):
    example.main()
    printed = capsys.readouterr().out
    assert printed.startswith("CORRECT")
    assert "\n\nWRONG in " in printed
