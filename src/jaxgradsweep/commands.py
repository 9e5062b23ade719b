"""What each command of the command line does: read or measure, write, and return an exit code."""

# What a command needs is imported inside of it: `--help` and `--version` answer at once, without loading JAX.

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxgradsweep.target import TargetError

if TYPE_CHECKING:
    from jaxgradsweep._layout import Table
    from jaxgradsweep._report import Report
    from jaxgradsweep.cluster import Job

CORRECT, WRONG, UNRESOLVED, USAGE = 0, 1, 2, 3  # exit codes; 3 also for errors of the user's own code
WORSE = 1
INTERRUPTED = 130  # as of every program that Ctrl-C ends

_NEEDS = """\
jaxgradsweep {command} needs {package}, {why}. Install it with

    {python} -m pip install {package}
"""


def check(arguments: argparse.Namespace) -> int:
    """Check a function, and write what was asked for."""
    for path in filter(None, (arguments.json, arguments.html, arguments.plot)):
        _require_folder(path)
    _require_renderings(arguments)
    report = _job(arguments).check(thorough=arguments.thorough, progress=arguments.progress)
    return _tell(report, arguments)


def run(arguments: argparse.Namespace) -> int:
    """Check a function at all steps, or measure one part of that."""
    if (arguments.shard is None) != (arguments.out is None):
        raise TargetError("`--shard` and `--out` go together")
    if arguments.json is not None:
        _require_folder(arguments.json)
    if arguments.shard is None:
        return _tell(_job(arguments).check(progress=arguments.progress), arguments)
    from jaxgradsweep import cluster

    count = cluster.run_part(_job(arguments), arguments.out, arguments.shard, progress=arguments.progress)
    _write([f"part {arguments.shard[0]} of {arguments.shard[1]}: {count} probes, in {arguments.out}"], arguments.quiet)
    return 0


def merge(arguments: argparse.Namespace) -> int:
    """Join the parts that `run --shard` wrote."""
    from jaxgradsweep import cluster

    return _tell(cluster.merge(arguments.parts, progress=arguments.progress), arguments)


def explain(arguments: argparse.Namespace) -> int:
    """Say in prose what a report tells."""
    from jaxgradsweep import explanation, terminal

    terminal.write(explanation.blocks(read(arguments.report)), columns=explanation.WIDTH)
    return 0


def plot(arguments: argparse.Namespace) -> int:
    """Draw a report."""
    from jaxgradsweep import plot

    return _rendered(arguments, plot.save, ".png")


def html(arguments: argparse.Namespace) -> int:
    """Make a page of a report."""
    from jaxgradsweep import html

    return _rendered(arguments, html.save, ".html")


def compare(arguments: argparse.Namespace) -> int:
    """Hold one report against another."""
    from jaxgradsweep import comparison

    found = comparison.compare(read(arguments.before), read(arguments.after), coarser=arguments.coarser)
    _write(comparison.blocks(found), arguments.quiet)
    return WORSE if found.worse else 0


def doctor(arguments: argparse.Namespace) -> int:
    """Look at the installation."""
    from jaxgradsweep import doctor

    checkup = doctor.examine()
    _write(doctor.blocks(checkup), arguments.quiet)
    return 0 if checkup.healthy else 1


def demo(arguments: argparse.Namespace) -> int:
    """Run the demo."""
    try:
        from jaxgradsweep import demo

        return demo.main(out=arguments.out, stream=sys.stdout)
    except ModuleNotFoundError as error:
        return _needs("demo", error, "sklearn", "scikit-learn", "for the images of digits that come with it")


def completion(arguments: argparse.Namespace) -> int:
    """Print what a shell must evaluate to complete command lines."""
    from jaxgradsweep import completion

    try:
        sys.stdout.write(completion.code(arguments.shell))
    except ModuleNotFoundError as error:
        return _needs("completion", error, "argcomplete", "argcomplete", "which knows the shells")
    return 0


def read(path: Path) -> "Report":
    """The report in a file, of one check or of a whole Hessian.

    Raises:
        TargetError: There is none.
    """
    from jaxgradsweep._hessian import HessianReport
    from jaxgradsweep._report import Report

    try:
        content = path.read_text(encoding="utf-8")
        return (HessianReport if '"structure": [' in content else Report).from_json(content)
    except OSError as error:
        raise TargetError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise TargetError(f"{path} is no report that `--json` or `Report.save` wrote: {error}") from None


def _job(arguments: argparse.Namespace) -> "Job":
    from jaxgradsweep import cluster

    names = ("dtype", "rtol", "directions", "key", "argnums", "has_aux")
    settings = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    return cluster.Job(
        function=arguments.function, args=arguments.args, claim=arguments.claim, mode=arguments.mode, settings=settings
    )


def _tell(report: "Report", arguments: argparse.Namespace) -> int:
    """Print a report, write it, and turn its verdict into an exit code."""
    from jaxgradsweep import text
    from jaxgradsweep._tables import flat_parts

    _write(text.blocks(report), arguments.quiet)
    if arguments.json is not None:
        report.save(arguments.json)
    if getattr(arguments, "html", None) is not None:
        from jaxgradsweep import html

        html.save(report, arguments.html)
    if getattr(arguments, "plot", None) is not None:
        from jaxgradsweep import plot

        plot.save(report, arguments.plot)
    if any("partial" in each.environment for each in (report, *(part for _, part in flat_parts(report)))):
        return INTERRUPTED
    return {"CORRECT": CORRECT, "WRONG": WRONG, "UNRESOLVED": UNRESOLVED}[report.verdict.name]


def _write(blocks: "Sequence[str | Table]", quiet: bool) -> None:
    from jaxgradsweep import terminal

    if not quiet:
        terminal.write(blocks)


def _require_folder(path: Path) -> None:
    """Find out before a long check, and not after it, that its report cannot be written."""
    if not path.absolute().parent.is_dir():
        raise TargetError(f"there is no folder {path.parent} to write {path.name} to: make it first")


def _require_renderings(arguments: argparse.Namespace) -> None:
    """Find out before a long check that what is to show it is not installed, or cannot draw that kind of figure."""
    if arguments.html is not None:
        from jaxgradsweep import html

        html.require_jinja()
    if arguments.plot is not None:
        from jaxgradsweep import plot

        plot.kind_of(arguments.plot)


def _rendered(arguments: argparse.Namespace, save: "Callable[[Report, Path], None]", ending: str) -> int:
    """Write a rendering of a report beside it, or where it was asked for, and say where."""
    path = arguments.out or arguments.report.with_suffix(ending)
    _require_folder(path)
    save(read(arguments.report), path)
    _write([str(path)], quiet=False)
    return 0


def _needs(command: str, error: ModuleNotFoundError, module: str, package: str, why: str) -> int:
    """Say which package a command needs, if that is what is missing."""
    if (error.name or "").partition(".")[0] != module:
        raise error
    sys.stderr.write(_NEEDS.format(command=command, package=package, why=why, python=sys.executable))
    return USAGE
