"""Tables in Markdown, and their place in RESULTS.md beside the machine, the versions, the date and the command."""

import argparse
import datetime
import os
import platform
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")
PREFACE = """# Benchmark results

Every section is written by the command that it names, run in the root of the repository with `--write` added; without
it, the section is only printed. `pip install -e . --group bench` installs what the comparisons need. A figure in
brackets after a measured one is its target where the heading says so.
"""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def number(value: float) -> str:
    """Two digits are all that is meant."""
    return f"{value:.1e}" if value != 0 and not 0.01 <= abs(value) < 1000 else f"{value:.3g}"


def circumstances(packages: Sequence[str]) -> str:
    """Machine, versions and date in one line."""
    versions = [f"{name} {metadata.version(name)}" for name in ("jaxgradsweep", "jax", "jaxlib", "numpy", *packages)]
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return f"{today}; {machine()}; Python {platform.python_version()}, {', '.join(versions)}"


def machine() -> str:
    """Processor, number of cores and operating system."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name} ({platform.machine()}), {os.cpu_count()} cores, {platform.system()}"


def section(name: str, title: str, body: str, *, packages: Sequence[str] = (), write: bool = False) -> None:
    """Print a section, and put it into RESULTS.md in place of the one of the same name."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--write"]
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *arguments])
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    text = f"{start}\n## {title}\n\n`{command}`  \n{circumstances(packages)}\n\n{body.strip()}\n{end}\n"
    print(f"\n{text}", flush=True)
    if not write:
        return
    found = RESULTS.read_text() if RESULTS.exists() else PREFACE
    if start in found:
        before, rest = found.split(start, 1)
        found = before + text + rest.split(f"{end}\n", 1)[1]
    else:
        found = f"{found}\n{text}"
    RESULTS.write_text(found)


def parser_of(description: str | None, parts: str) -> argparse.ArgumentParser:
    """The command line of a benchmark of several parts."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{parts}; default: all")
    parser.add_argument("--write", action="store_true", help="put the sections into benchmarks/RESULTS.md")
    return parser


def run_parts(parser: argparse.ArgumentParser, named: Sequence[str], parts: dict[str, Callable[[], None]]) -> None:
    """Run the parts that the command line names, or all."""
    if unknown := set(named) - set(parts):
        parser.error(f"unknown part {min(unknown)!r}; there are {', '.join(parts)}")
    for part in named or parts:
        parts[part]()
