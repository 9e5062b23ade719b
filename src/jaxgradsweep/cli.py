"""The command line: `jaxgradsweep demo`, `run` and `merge`."""

import argparse
import importlib.metadata
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from jaxgradsweep._report import Report

CORRECT, WRONG, UNRESOLVED, USAGE = 0, 1, 2, 3  # exit codes; 3 also for errors of the user's own code

_NEEDS_SCIKIT_LEARN = """\
jaxgradsweep demo needs scikit-learn, for the images of digits that come with it. Install it with

    {python} -m pip install scikit-learn
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = _parser().parse_args(argv)
    return arguments.run(arguments)


class _Parser(argparse.ArgumentParser):
    """A parser whose exit code for a wrong command line is ours: argparse's 2 means UNRESOLVED here."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="jaxgradsweep", description="Is this derivative right?")
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

    run = commands.add_parser(
        "run",
        help="check a function, or measure one part of a check on one of many machines",
        description="Check a function at all steps. With --shard I/N, measure only every N-th probe and write that to "
        "--out: `jaxgradsweep merge` makes one report of all N parts.",
    )
    run.add_argument("function", metavar="FILE_OR_MODULE:FUNCTION", help="what is checked, as loss.py:loss")
    run.add_argument("--args", required=True, metavar="FILE_OR_MODULE:NAME", help="its arguments: a function that "
                     "returns them as a tuple, or the tuple")  # fmt: skip
    run.add_argument("--claim", metavar="FILE_OR_MODULE:NAME", help="the claimed derivative; default: JAX's own")
    run.add_argument("--mode", choices=("grad", "vjp", "jvp", "hvp"), default="grad", help="default: %(default)s")
    run.add_argument("--dtype", choices=("float64", "native"), help="default: float64")
    run.add_argument("--rtol", type=float, help="how large a relative error matters; default: measured")
    run.add_argument("--directions", type=int, help="random directions per leaf; default: 2")
    run.add_argument("--key", type=int, help="seed of the directions; default: 0")
    run.add_argument("--shard", type=_shard, metavar="I/N", help="measure part I of N only")
    run.add_argument("--out", type=Path, metavar="DIR", help="where a part is written")
    run.set_defaults(run=_run_check)

    merge = commands.add_parser(
        "merge",
        help="join the parts that `run --shard` wrote into one report",
        description="Join the parts that `run --shard` wrote into one report: that of a single run.",
    )
    merge.add_argument("parts", nargs="+", type=Path, metavar="DIR", help="what `run --shard` wrote")
    merge.set_defaults(run=_run_merge)
    for command in (run, merge):
        command.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
        command.add_argument("--progress", action="store_true", help="show a progress bar")
    return parser


def _shard(text: str) -> tuple[int, int]:
    """`I/N` with 1 <= I <= N."""
    first, slash, count = text.partition("/")
    if not (slash and first.isdigit() and count.isdigit() and 1 <= int(first) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with 1 <= I <= N, as in 3/8")
    return int(first), int(count)


def _run_check(arguments: argparse.Namespace) -> int:
    if (arguments.shard is None) != (arguments.out is None):
        sys.stderr.write("jaxgradsweep run: --shard and --out go together\n")
        return USAGE
    from jaxgradsweep import cluster

    names = ("dtype", "rtol", "directions", "key")
    settings = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    job = cluster.Job(
        function=arguments.function, args=arguments.args, claim=arguments.claim, mode=arguments.mode, settings=settings
    )

    def measure() -> int:
        if arguments.shard is None:
            return _tell(job.check(progress=arguments.progress), arguments.json)
        count = cluster.run_part(job, arguments.out, arguments.shard, progress=arguments.progress)
        sys.stdout.write(f"part {arguments.shard[0]} of {arguments.shard[1]}: {count} probes, in {arguments.out}\n")
        return 0

    return _guarded(measure)


def _run_merge(arguments: argparse.Namespace) -> int:
    from jaxgradsweep import cluster

    return _guarded(lambda: _tell(cluster.merge(arguments.parts, progress=arguments.progress), arguments.json))


def _tell(report: "Report", path: Path | None) -> int:
    """Print a report, write it, and turn its verdict into an exit code."""
    sys.stdout.write(f"{report}\n")
    if path is not None:
        report.save(path)
    return {"CORRECT": CORRECT, "WRONG": WRONG, "UNRESOLVED": UNRESOLVED}[report.verdict.name]


def _guarded(measure: Callable[[], int]) -> int:
    """Run a check; what is missing is said in a line, and an error of the user's code with where it happened."""
    from jaxgradsweep import cluster, target

    try:
        return measure()
    except (target.TargetError, cluster.JobError, OSError) as error:
        sys.stderr.write(f"jaxgradsweep: {error}\n")
    except Exception:
        traceback.print_exc()
    return USAGE


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
        return USAGE
