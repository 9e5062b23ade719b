"""How far a check is: a bar on the terminal, or whatever the caller makes of it."""

import contextlib
from collections.abc import Callable, Iterator

Tick = Callable[[str, int, int], None]


@contextlib.contextmanager
def reporter(progress: bool | Tick | None) -> Iterator[Tick]:
    """A function of (what, done, total) to call as the check goes on: silent, the caller's own, or a bar on stderr."""
    if callable(progress):
        yield progress
    elif not progress:
        yield lambda what, done, total: None
    else:
        import rich.console
        import rich.progress

        with rich.progress.Progress(console=rich.console.Console(stderr=True), transient=True) as bar:
            rows: dict[str, rich.progress.TaskID] = {}

            def tick(what: str, done: int, total: int) -> None:
                if what not in rows:
                    rows[what] = bar.add_task(what, total=total)
                bar.update(rows[what], completed=done, total=total)

            yield tick
