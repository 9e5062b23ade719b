"""One check on many machines that know nothing of each other: each writes a part, and somebody joins them.

A part is a folder with what was measured of every n-th probe, and with the job that it belongs to.
"""

import dataclasses
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxgradsweep import target
from jaxgradsweep._check import check_grad, check_hvp, check_jvp, check_vjp
from jaxgradsweep._report import Report
from jaxgradsweep._store import SHARE, ShareDone, Store, write_whole

JOB = "job.json"
MODES: dict[str, Callable[..., Report]] = {"grad": check_grad, "vjp": check_vjp, "jvp": check_jvp, "hvp": check_hvp}


class JobError(Exception):
    """Parts that do not belong together, or are not all there."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A check as the command line names it.

    Attributes:
        function: FILE_OR_MODULE:NAME of the function.
        args: of the tuple of its arguments, or of a function that returns them.
        claim: of the claimed derivative; None for JAX's own.
        mode: "grad", "vjp", "jvp" or "hvp".
        settings: of the check, with `argnums` and `has_aux`.
    """

    function: str
    args: str
    claim: str | None = None
    mode: str = "grad"
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    def check(self, store: Store | None = None, *, thorough: bool = True, **more: Any) -> Report:
        """Do the check, at all steps by default: a part cannot know whether fewer would decide."""
        fun, args = target.load(self.function), target.load_args(self.args)
        target.require_call(self.function, fun, args)
        claim = {} if self.claim is None else {self.mode: target.load(self.claim)}
        for rule in filter(callable, claim.values()):
            target.require_call(self.claim or "", rule, args if self.mode in ("grad", "vjp") else (args, args))
        settings = {name: tuple(value) if isinstance(value, list) else value for name, value in self.settings.items()}
        more |= {"thorough": True} if thorough else {}
        return MODES[self.mode](fun, args, checkpoint=store, **claim, **settings, **more)


def run_part(job: Job, folder: Path, shard: tuple[int, int], **more: Any) -> int:
    """Measure one part of a job; how many probes it has."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / JOB, json.dumps(dataclasses.asdict(job), indent=1).encode())
    store = Store(folder / "rows", shard=(shard[0] - 1, shard[1]))
    try:
        report = job.check(store, **more)
    except ShareDone as done:
        return done.count
    if "partial" in report.environment:
        raise KeyboardInterrupt
    raise JobError("the check has nothing to measure")


def merge(folders: Sequence[Path], **more: Any) -> Report:
    """The report of a job from its parts. What is looked at closer, where they do not decide, is measured here.

    Raises:
        JobError: Parts of several jobs, or a part that is missing: it says which.
    """
    jobs = {folder: read(folder / JOB) for folder in folders}
    first = jobs[folders[0]]
    for folder, job in jobs.items():
        if job != first:
            differing = [name for name in first if job.get(name) != first[name]]
            raise JobError(f"{folder} is of another job than {folders[0]}: it differs in {', '.join(differing)}")
    shares = [share for folder in folders for share in finished(folder)]
    count = max((share["of"] for share in shares), default=0)
    known = {share["shard"] + 1 for share in shares if share["of"] == count}
    missing = [number for number in range(1, count + 1) if number not in known] if count else [1]
    if missing:
        raise JobError(missing_parts(missing, count, Job(**first)))
    with tempfile.TemporaryDirectory() as scratch:
        return Job(**first).check(Store(Path(scratch) / "rows", [folder / "rows" for folder in folders]), **more)


def missing_parts(missing: Sequence[int], count: int, job: Job) -> str:
    """Which parts are missing, and how to make each."""
    if not count:
        return "none of these folders holds a finished part"
    names = ", ".join(f"{number}/{count}" for number in missing)
    more = {"--claim": job.claim, "--mode": job.mode if job.mode != "grad" else None}
    more |= {f"--{name.replace('_', '-')}": as_word(value) for name, value in job.settings.items()}
    words = "".join(f" {name} {value}".rstrip() for name, value in more.items() if value is not None)
    again = f"jaxgradsweep run {job.function} --args {job.args} --shard {missing[0]}/{count} --out FOLDER{words}"
    return (
        f"of {count} parts, {names} {'is' if len(missing) == 1 else 'are'} missing or not finished; for each: {again}"
    )


def as_word(value: Any) -> str:
    """A setting as it stands on the command line: a flag has no value, and two numbers are joined by a comma."""
    if value is True:
        return ""
    return ",".join(map(str, value)) + "," * (len(value) == 1) if isinstance(value, (list, tuple)) else str(value)


def read(path: Path) -> dict[str, Any]:
    """A job or a share."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise JobError(f"{path} cannot be read ({error}): is {path.parent} what `jaxgradsweep run` wrote?") from None


def finished(folder: Path) -> list[dict[str, Any]]:
    """The shares that are finished in a folder: one for each check of the job."""
    return [read(path) for path in sorted((folder / "rows").rglob(SHARE))]
