"""The command line `jaxgradsweep`: which commands and options there are, and what ends it."""

import argparse
import importlib.metadata
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from jaxgradsweep import commands, completion, stream

BROKEN_PIPE = 141  # as of a program that the signal ends
EPILOG = """\
exit codes
  0    CORRECT; of other commands, success
  1    WRONG; of compare, B is worse; of doctor, checks do not work here
  2    UNRESOLVED
  3    something on the command line is not there or not understood, or your own code raised an error
  130  interrupted; a check prints what it has until then
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: What follows the name of the program; by default what it was called with.

    Returns:
        The exit code.

    Raises:
        SystemExit: After `--help` and `--version`, and where the command line is wrong.
    """
    with stream.any_encoding(sys.stdout):
        code = BROKEN_PIPE
        try:
            try:
                code = _run(argv)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            stream.abandon(sys.stdout)
        except KeyboardInterrupt:
            sys.stderr.write("jaxgradsweep: interrupted\n")
            code = commands.INTERRUPTED
        return code


def _run(argv: Sequence[str] | None) -> int:
    known = parser()
    completion.answer(known)
    arguments, unknown = known.parse_known_args(argv)
    if unknown:  # the usage of the command says more than that of all
        arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        return arguments.run(arguments)
    except BrokenPipeError:
        raise
    except SystemExit as stop:  # of the user's code; its 0 must not be taken for CORRECT
        sys.stderr.write(f"jaxgradsweep: your code ended the program, by sys.exit({stop.code!r}) or the like\n")
    except Exception as error:
        from jaxgradsweep import failure

        sys.stderr.write(failure.tell(error))
    return commands.USAGE


class _Parser(argparse.ArgumentParser):
    """A parser whose exit code for a wrong command line is ours: argparse's 2 means UNRESOLVED here."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(commands.USAGE, f"{self.prog}: error: {message}\n")


def parser() -> argparse.ArgumentParser:
    """Build the parser of all commands; what it returns has the function of the command, `run`, and its `parser`."""
    top = _Parser(
        prog="jaxgradsweep",
        description="Is this derivative right?",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    group = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(run: Callable[[argparse.Namespace], int], help: str, description: str) -> argparse.ArgumentParser:
        added = group.add_parser(run.__name__, help=help, description=description)
        added.set_defaults(run=run, parser=added)
        return added

    _add_checks(command)
    _add_reports(command)
    _add_others(command)
    return top


Adder = Callable[[Callable[[argparse.Namespace], int], str, str], argparse.ArgumentParser]


def _add_checks(command: Adder) -> None:
    """The commands that measure."""
    check = command(
        commands.check,
        "check the derivative of a function: the usual command",
        "Check the derivative of a function and print a report. The steps are taken as they are needed: 16 of 40 where "
        "they decide. To spread a large check over many machines, use `run --shard` on each and then `merge`.",
    )
    run = command(
        commands.run,
        "check at all steps, or measure one part of a check on one of many machines",
        "Check a function at all steps. With --shard I/N, measure only every N-th probe and write that to --out: "
        "`jaxgradsweep merge` makes one report of all N parts. On a single machine `check` gives the same verdict "
        "sooner.",
    )
    for each in (check, run):
        _add_question(each)
    check.add_argument("--thorough", action="store_true", help="evaluate at all steps, as `run` does")
    check.add_argument("--html", type=Path, metavar="FILE", help="write the report as a page")
    check.add_argument("--plot", type=Path, metavar="FILE", help="draw the report, as .png, .svg or .pdf")
    run.add_argument("--shard", type=_shard, metavar="I/N", help="measure part I of N only")
    run.add_argument("--out", type=Path, metavar="DIR", help="where a part is written")
    merge = command(
        commands.merge,
        "join the parts that `run --shard` wrote into one report",
        "Join the parts that `run --shard` wrote into one report: that of a single run.",
    )
    merge.add_argument("parts", nargs="+", type=Path, metavar="DIR", help="what `run --shard` wrote")
    for each in (check, run, merge):
        each.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON, for the commands below")
        each.add_argument("--progress", action="store_true", help="show a progress bar")
        _add_quiet(each)


def _add_question(command: argparse.ArgumentParser) -> None:
    """What is checked, and how."""
    function = command.add_argument("function", metavar="FILE_OR_MODULE:FUNCTION", help="as loss.py:loss")
    args = command.add_argument(
        "--args",
        required=True,
        metavar="FILE_OR_MODULE:MAKE_ARGS",
        help="a function that returns the arguments as a tuple, or the tuple",
    )
    claim = command.add_argument(
        "--grad",
        "--claim",
        dest="claim",
        metavar="FILE_OR_MODULE:NAME",
        help="the claimed derivative, in the form of the mode: a gradient, or what jax.vjp, "
        "jax.jvp or a Hessian-vector product returns; default: JAX's own",
    )
    for each in (function, args, claim):
        completion.complete(each, completion.targets)
    command.add_argument("--mode", choices=("grad", "vjp", "jvp", "hvp"), default="grad", help="default: %(default)s")
    command.add_argument(
        "--argnums",
        type=_argnums,
        metavar="N[,N]",
        help="which arguments to differentiate, as in jax.grad: 0 (default), or several, 0,1",
    )
    command.add_argument("--has-aux", action="store_true", default=None, help="the function returns (value, auxiliary)")
    command.add_argument("--dtype", choices=("float64", "native"), help="default: float64; native: as the arrays come")
    command.add_argument("--rtol", type=float, help="how large a relative error matters; default: measured")
    command.add_argument(
        "--directions",
        type=int,
        help="random directions per leaf; default: 2, or 8 with --rtol; 6 where the function sorts or rounds",
    )
    command.add_argument("--key", type=int, help="seed of the directions; default: 0")


def _add_reports(command: Adder) -> None:
    """The commands that read reports."""
    explain = command(
        commands.explain,
        "say in prose what a report tells",
        "Say in prose what was asked, what was measured and how, what the verdict means, and what to do next.",
    )
    plot = command(commands.plot, "draw a report", "Draw the error of a report's claims against the step.")
    html = command(commands.html, "make a page of a report", "Make one HTML page of a report, with all figures inside.")
    for each, ending in ((explain, None), (plot, ".png"), (html, ".html")):
        report = each.add_argument("report", type=Path, metavar="REPORT.json", help="what `check --json` wrote")
        completion.complete(report, completion.reports)
        if ending is not None:
            each.add_argument(
                "--out", type=Path, metavar="FILE", help=f"where to; default: the report's name with {ending}"
            )
    compare = command(
        commands.compare,
        "say what changed from one report to another",
        "Say what changed from report A to report B. The exit code is 1 if a verdict is worse or a detection limit "
        "much coarser, else 0.",
    )
    for name, letter in (("before", "A"), ("after", "B")):
        report = compare.add_argument(name, type=Path, metavar=f"{letter}.json", help=f"report {letter}")
        completion.complete(report, completion.reports)
    compare.add_argument(
        "--coarser",
        type=_ratio,
        default=10.0,
        metavar="RATIO",
        help="how many times coarser a detection limit must be to count; default: %(default)g",
    )
    _add_quiet(compare)


def _add_others(command: Adder) -> None:
    """The commands about the program itself."""
    demo = command(
        commands.demo,
        "check the hand-written backward pass of a small network, right and with planted mistakes",
        "Check the hand-written backward pass of a small convolutional network on images of digits: first as it should "
        "be, then with one planted mistake after another. Takes about a minute and downloads nothing.",
    )
    demo.add_argument(
        "--out",
        type=Path,
        default=Path("jaxgradsweep-demo"),
        metavar="DIR",
        help="where to write the figure and the JSON report (default: %(default)s)",
    )
    doctor = command(
        commands.doctor,
        "tell whether checks work on this machine",
        "Show what is installed and what JAX runs on, check a right and a wrong derivative, and say what to mend. The "
        "exit code is 0 if the right one is called CORRECT and the wrong one WRONG, else 1.",
    )
    _add_quiet(doctor)
    shell = command(
        commands.completion,
        "print what a shell needs to complete command lines",
        'Print what a shell needs to complete command lines: put `eval "$(jaxgradsweep completion bash)"` into '
        "~/.bashrc, the same with zsh into ~/.zshrc, or `jaxgradsweep completion fish | source` into "
        "~/.config/fish/config.fish. Needs argcomplete.",
    )
    shell.add_argument("shell", choices=completion.SHELLS)


def _add_quiet(command: argparse.ArgumentParser) -> None:
    command.add_argument("--quiet", action="store_true", help="print nothing but errors: the exit code tells")


def _shard(text: str) -> tuple[int, int]:
    """`I/N` with 1 <= I <= N."""
    first, slash, count = text.partition("/")
    if not (slash and first.isdigit() and count.isdigit() and 1 <= int(first) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with 1 <= I <= N, as in 3/8")
    return int(first), int(count)


def _argnums(text: str) -> int | tuple[int, ...]:
    """A number, or several with commas between them; `0,` is a tuple of one."""
    try:
        numbers = tuple(int(number) for number in text.split(",") if number.strip())
    except ValueError:
        numbers = ()
    if not numbers:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of an argument, and no list of them, as in 0,1")
    return numbers if "," in text else numbers[0]


def _ratio(text: str) -> float:
    """A number of at least 1."""
    try:
        ratio = float(text)
    except ValueError:
        ratio = math.nan
    if not ratio >= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no ratio of at least 1")
    return ratio


def _version() -> str:
    try:
        return importlib.metadata.version("jaxgradsweep")
    except importlib.metadata.PackageNotFoundError:  # run from the source folder
        return "(not installed)"
