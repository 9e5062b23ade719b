"""The command line: `jaxgradsweep demo`."""

import argparse
import importlib.metadata
import sys
from collections.abc import Sequence
from pathlib import Path

MISSING_DEPENDENCY = 3  # exit code; argparse itself uses 2 for a command line that it does not understand

_NEEDS_SCIKIT_LEARN = """\
jaxgradsweep demo needs scikit-learn, for the images of digits that come with it. Install it with

    {python} -m pip install scikit-learn
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = _parser().parse_args(argv)
    return arguments.run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jaxgradsweep", description="Is this derivative right?")
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    demo = commands.add_parser(
        "demo",
        help="check the hand-written backward pass of a small network, right and with planted mistakes",
        description="Check the hand-written backward pass of a small convolutional network on images of digits: first "
        "as it should be, then with one planted mistake after another. Takes about a minute and downloads nothing.",
    )
    demo.add_argument(
        "--out",
        type=Path,
        default=Path("jaxgradsweep-demo"),
        metavar="DIR",
        help="where to write the figure and the JSON report (default: %(default)s)",
    )
    demo.set_defaults(run=_run_demo)
    return parser


def _version() -> str:
    try:
        return importlib.metadata.version("jaxgradsweep")
    except importlib.metadata.PackageNotFoundError:  # run from the source folder
        return "(not installed)"


def _run_demo(arguments: argparse.Namespace) -> int:
    # Imported here: `--help` and `--version` answer at once, without loading JAX, and without scikit-learn.
    try:
        from jaxgradsweep import demo

        return demo.main(out=arguments.out, stream=sys.stdout)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "sklearn":
            raise
        sys.stderr.write(_NEEDS_SCIKIT_LEARN.format(python=sys.executable))
        return MISSING_DEPENDENCY
