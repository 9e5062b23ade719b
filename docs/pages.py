"""The code of these pages: run it, and show or write what it prints.

    python docs/pages.py howto/relu.md            # show what differs from the page
    python docs/pages.py howto/relu.md --write    # put what came out into the page

On a page, a `python` or `sh` block is run, in order and with what the ones above left behind; a `text` block right
below it is what it prints. A block with a caption is a file of that name in the folder where all of them run.
"""

import contextlib
import difflib
import io
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
FENCE = re.compile(
    r"^(`{3,})(?:(\w+)|\{code-block\} (\w+)\n:caption: (\S+))\n(.*?)^\1$", flags=re.MULTILINE | re.DOTALL
)
RUN, SHOWN = ("python", "sh"), "text"


@dataclass(frozen=True)
class Block:
    """A fenced block: what it is, the name of the file that it is, if any, its text, and where that is."""

    language: str
    caption: str | None
    text: str
    start: int
    stop: int


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page that are no directives."""
    return [
        Block(match[2] or match[3], match[4], match[5], match.start(5), match.end(5)) for match in FENCE.finditer(page)
    ]


def pages() -> list[Path]:
    """All pages that are written by hand."""
    found = sorted(HERE.rglob("*.md"))
    return [path for path in found if "_build" not in path.parts and "notebooks" not in path.parts]


def executed(page: Path, folder: Path) -> list[tuple[Block, str, str]]:
    """Run the code of a page in a folder: each block, what it printed, and what the page shows below it."""
    found = blocks(page.read_text(encoding="utf-8"))
    namespace: dict[str, object] = {"__name__": "__main__"}
    results = []
    with contextlib.chdir(folder):
        for block, below in zip(found, [*found[1:], None], strict=True):
            if block.caption:
                Path(block.caption).write_text(block.text, encoding="utf-8")
            elif block.language in RUN:
                printed = run(block, page, namespace)
                shown = below.text if below is not None and below.language == SHOWN else ""
                results.append((block, printed, shown))
    return results


def run(block: Block, page: Path, namespace: dict[str, object]) -> str:
    """What one block prints."""
    if block.language == "sh":
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        given = os.environ | {"PATH": path, "COLUMNS": "120"}
        done = subprocess.run(["bash", "-c", block.text], env=given, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block.text, str(page), "exec"), namespace)
    return "".join(f"{line.rstrip()}\n" for line in printed.getvalue().splitlines())


def rewritten(page: str, results: list[tuple[Block, str, str]]) -> str:
    """A page with what its blocks printed in the place of what it shows."""
    found = blocks(page)
    for block, printed, shown in reversed(results):
        if shown:
            below = next(each for each in found if each.start > block.start)
            page = page[: below.start] + printed + page[below.stop :]
        elif printed:
            end = block.stop + page[block.stop :].index("\n") + 1
            page = f"{page[:end]}\n```text\n{printed}```\n{page[end:]}"
    return page


def main() -> None:
    write = "--write" in sys.argv
    for path in [HERE / name for name in sys.argv[1:] if name != "--write"] or pages():
        before = path.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            after = rewritten(before, executed(path, Path(folder)))
        if write:
            path.write_text(after, encoding="utf-8")
        else:
            name = str(path.relative_to(HERE))
            sys.stdout.writelines(difflib.unified_diff(before.splitlines(True), after.splitlines(True), name, name))


if __name__ == "__main__":
    main()
