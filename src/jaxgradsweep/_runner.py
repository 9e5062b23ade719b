"""Run the programs of a check row by row: in calls of a second or so, over devices and processes, some known already.

What a program returns of a row depends on that row alone. So rows may be measured in any order and by anybody, kept in
a file, and put together again.
"""

import dataclasses
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxgradsweep._claim import Claim
from jaxgradsweep._compile import Program
from jaxgradsweep._identity import manifest_of
from jaxgradsweep._kernel import (
    MAX_PROBES,
    SEGMENTS,
    Placement,
    columns,
    evaluations_of,
    segment_program,
    sweep_program,
)
from jaxgradsweep._memory import MAPPED, SHARE, allowance, chunk_of_steps, smaller_chunk, too_large
from jaxgradsweep._probe import MAX_STEPS, WORDS, Probes
from jaxgradsweep._progress import Tick
from jaxgradsweep._request import Settings
from jaxgradsweep._stencil import PER_STEP
from jaxgradsweep._store import Stopped, Store, row_key
from jaxgradsweep._subject import Subject
from jaxgradsweep._tree import wide_dtype
from jaxgradsweep._wording import NO_ANSWER, NOTES, OTHER_FAILED, WAITS

LOG = logging.getLogger("jaxgradsweep")
PATIENCE = 30.0  # seconds after which a process says that it waits for others
PACE = 1.0  # seconds that one call may take: what comes between two calls is progress, and Ctrl-C
GROWTH = 4  # a call has at most so many times the rows of the one before
NO_ROWS = np.zeros((0, WORDS), np.int32)

Found = dict[str, np.ndarray]  # arrays of all rows
Row = dict[str, np.ndarray]  # of one row


@dataclasses.dataclass(frozen=True)
class Task:
    """A program to be run row by row: what it returns of each, at which steps, and how many of them it counts."""

    kind: str
    program: Program | None  # None where there are no rows
    shapes: Mapping[str, tuple[int, ...]]
    steps: np.ndarray
    width: int


class Lost(Stopped, RuntimeError):
    """Another process does not answer."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while rows were measured: which are done, and what was found of them."""

    def __init__(self, done: np.ndarray, found: Found) -> None:
        super().__init__()
        self.done, self.found = done, found
        self.probes: Any = None  # those that are done, and their sweep, once somebody knows
        self.sweep: Any = None


class Runner:
    """Runs the programs of one subject: knows where, how many steps at once, and what is known already."""

    def __init__(self, subject: Subject, settings: Settings, tick: Tick) -> None:
        self.subject, self.tick, self.store = subject, tick, opened(subject, settings)
        self.notes: list[str] = []
        self.placement = placement_for(subject, settings, self.notes)
        self.arrays = placed(subject.arrays, self.placement)
        device = self.placement.devices[0] if self.placement.devices else jax.local_devices()[0]
        self.allowed = allowance(settings.memory, device)
        self.most = self.allowed if settings.memory is not None else int(self.allowed / SHARE)  # for a single point
        self.chunk = chunk_of_steps(
            subject.point.moving, settings.batch_size, self.allowed, largest_for(subject, device)
        )
        self.evaluations = 0

    def sweep(self, claim: Claim, probes: Probes, steps: np.ndarray, what: str | None = None) -> Found:
        """What the sweep program returns of every probe."""
        program = self.fitting(lambda chunk: sweep_program(claim, chunk, self.placement), len(probes))
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(PER_STEP, (MAX_STEPS,))
        shapes |= dict.fromkeys(columns(claim), ())
        kind = "both modes" if claim.both_modes else "sweep"
        self.evaluations += len(probes) * evaluations_of(claim, len(steps), self.chunk)
        return self.run(Task(kind, program, shapes, steps, -(-len(steps) // self.chunk)), probes, what)

    def segments(self, claim: Claim, probes: Probes, steps: np.ndarray) -> Found:
        """What the segment program returns of every probe."""
        program = self.fitting(lambda chunk: segment_program(claim, nodes_at_once(chunk), self.placement), len(probes))
        shapes = {str(name): (MAX_STEPS,) for name in SEGMENTS}
        return self.run(Task("segments", program, shapes, steps, len(steps)), probes, None)

    def fitting(self, build: Callable[[int], Program], rows: int) -> Program | None:
        """A program whose working memory is allowed, with fewer steps at once if need be; None for no rows."""
        if not rows:
            return None
        while True:
            program = build(self.chunk)
            needed = program.working_memory((*self.arrays, *packed_for(self.placement.lanes, NO_ROWS, np.zeros(0), 0)))
            if needed <= self.allowed:
                return program
            smaller = smaller_chunk(self.chunk, needed, self.allowed)
            if smaller is None and needed <= self.most:
                return program
            if smaller is None:
                raise too_large(needed, self.most, self.subject.point.moving)
            self.chunk = smaller

    def run(self, task: Task, probes: Probes, what: str | None) -> Found:
        """What a program returns of every row: those that are known already, and the others, in several calls."""
        if not len(probes):
            return stacked([], task)
        rows = probes.packed(len(probes))
        keys = [row_key(self.named(task), row, task.steps) for row in rows] if self.store else []
        known: list[Row | None] = [self.store.get(key) for key in keys] if self.store else [None] * len(rows)
        todo = list(range(len(rows))) if self.shared else [i for i, found in enumerate(known) if found is None]
        mine = todo[jax.process_index() :: jax.process_count()] if self.shared else todo
        mine = [i for i in mine if known[i] is None]
        mine = self.store.share(mine) if self.store else mine

        def done(part: list[int], found: Found) -> None:
            for j, i in enumerate(part):
                known[i] = {name: values[j] for name, values in found.items()}
            if self.store:
                self.store.put([keys[i] for i in part], found)
            if what is not None:
                self.tick(what, sum(each is not None for each in known), len(rows))

        failure = None
        try:
            self.in_calls(task, rows, mine, done)
        except KeyboardInterrupt:
            finished = [i for i, found in enumerate(known) if found is not None]
            raise Interrupted(np.array(finished, int), stacked([known[i] for i in finished], task)) from None
        except Exception as error:
            if not self.shared:
                raise
            failure = error
        if self.shared:
            exchange(known, todo, task.shapes, failure)
        if self.store:
            self.store.end_of_share(len(mine))
        return stacked(known, task)

    def named(self, task: Task) -> str:
        """How the results of a task differ from others of the same check."""
        claim = self.subject.claim
        return f"{task.kind}/{self.chunk}/{np.dtype(wide_dtype())}/{claim.vectorised}/{claim.mode}"

    def in_calls(self, task: Task, rows: np.ndarray, left: list[int], done: Callable[[list[int], Found], None]) -> None:
        """Measure some rows, in calls that take about a second each: single rows first where one may take long."""
        most = self.placement.lanes * MAX_PROBES
        size = most if self.subject.claim.small else self.placement.lanes
        while left:
            part, left = left[:size], left[size:]
            begin = time.perf_counter()
            done(part, call(task, self.arrays, rows[part], self.placement.lanes))
            pace = PACE * len(part) / max(time.perf_counter() - begin, 1e-6)
            size = int(min(max(pace, self.placement.lanes), GROWTH * size, most))

    @property
    def shared(self) -> bool:
        """Whether other processes measure some of the rows."""
        return jax.process_count() > 1 and not self.placement.shardings


def opened(subject: Subject, settings: Settings) -> Store | None:
    """The store of a check, if it has one, with what is known already."""
    if settings.checkpoint is None:
        return None
    store = settings.checkpoint if isinstance(settings.checkpoint, Store) else Store(settings.checkpoint)
    if jax.process_count() > 1:
        store = store.within(f"process {jax.process_index()}")
    store.open(manifest_of(subject, settings))
    return store


def largest_for(subject: Subject, device: Any) -> int | None:
    """The largest that a leaf of all points together should be.

    On a CPU, convolutions with a kernel of each point's own are slow: such points are evaluated one after the other.
    """
    return None if device.platform != "cpu" else 0 if subject.traits.convolves else MAPPED


def nodes_at_once(chunk: int) -> int:
    """How many nodes of an integral are evaluated at once, where so many steps are."""
    return 2 * chunk + 1 if chunk > 1 else 1


def placement_for(subject: Subject, settings: Settings, notes: list[str]) -> Placement:
    """The devices that are asked for, or all local ones where the work is worth it."""
    leaves = [
        leaf for leaf in subject.point.moving if isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) > 1
    ]
    if leaves:
        return Placement(shardings=tuple(getattr(leaf, "sharding", None) for leaf in subject.point.moving))
    devices = jax.local_devices() if settings.devices is None else chosen(settings.devices)
    asked, alone = settings.devices is not None, subject.claim.calls_out or subject.traits.spreads
    if len(devices) > 1 and asked and alone:
        notes.append(NOTES["one device"])
    if subject.traits.spreads:
        return Placement()
    if len(devices) > 1 and not alone and (asked or not subject.claim.small):
        return Placement(devices=tuple(devices))
    return Placement(devices=tuple(devices[:1]) if asked else ())


def chosen(devices: Any) -> list[Any]:
    """The devices that a setting names: a list of them, or how many of the local ones."""
    return jax.local_devices()[:devices] if isinstance(devices, int) else list(devices)


def placed(arrays: Any, placement: Placement) -> Any:
    """The arguments on the devices, once for all calls; numbers stay numbers, and what is spread stays as it is."""
    if placement.lanes > 1:
        mesh = jax.sharding.Mesh(np.array(placement.devices), ("all",))
        where: Any = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    else:
        where = placement.devices[0] if placement.devices else None
    if placement.shardings:
        return arrays

    def put(leaf: Any) -> Any:
        return jax.device_put(leaf, where) if isinstance(leaf, (np.ndarray, jax.Array)) else leaf

    return jax.tree.map(put, arrays)


def packed_for(lanes: int, rows: np.ndarray, steps: np.ndarray, width: int) -> tuple[np.ndarray, ...]:
    """Rows, steps and counts as a program takes them: the rows dealt out to the devices."""
    packed, counts = np.zeros((lanes, MAX_PROBES, rows.shape[1]), np.int32), np.zeros((lanes, 2), np.int32)
    padded = np.zeros(MAX_STEPS, wide_dtype())
    padded[: len(steps)] = steps
    for lane in range(lanes):
        own = rows[lane::lanes]
        packed[lane, : len(own)] = own
        counts[lane] = len(own), width
    return packed.reshape(-1, rows.shape[1]), padded, counts


def call(task: Task, arrays: Any, rows: np.ndarray, lanes: int) -> Found:
    """What one call of a program returns of some rows."""
    assert task.program is not None
    told = task.program(*arrays, *packed_for(lanes, rows, task.steps, task.width))
    values = np.concatenate([np.asarray(part, np.float64).reshape(lanes, MAX_PROBES, -1) for part in told], axis=2)
    own = np.empty((len(rows), values.shape[2]))
    for lane in range(lanes):
        own[lane::lanes] = values[lane, : len(rows[lane::lanes])]
    return side_by_side(own, task.shapes)


def side_by_side(values: np.ndarray, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Arrays of such shapes, from the rows of numbers in which they are side by side."""
    stops = np.cumsum([math.prod(shape) for shape in shapes.values()])[:-1]
    parts = np.split(values, stops, axis=-1)
    return {
        name: part.reshape((*values.shape[:-1], *shape))
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }


def stacked(known: Sequence[Row | None], task: Task) -> Found:
    """One array for each name, of all rows and of the steps that were asked for."""
    rows, found = [row for row in known if row is not None], {}
    for name, shape in task.shapes.items():
        values = np.array([row[name] for row in rows]).reshape(len(rows), *shape)
        found[name] = values[:, : len(task.steps)] if shape else values
    return found


def exchange(
    known: list[Row | None], todo: list[int], shapes: Mapping[str, tuple[int, ...]], failure: Exception | None
) -> None:
    """Give all processes the rows that each has measured: the same call in every process, with the same rows to do.

    Raises:
        Lost: A process does not answer.
        RuntimeError: The function raised in another process.
    """
    from jax.experimental import multihost_utils

    processes, index = jax.process_count(), jax.process_index()
    width = sum(math.prod(shape) for shape in shapes.values())
    own = np.zeros((-(-len(todo) // processes), width))
    for j, i in enumerate(todo[index::processes]):
        row = known[i]
        if row is not None:
            own[j] = np.concatenate([np.ravel(row[name]) for name in shapes])
    waiting = threading.Timer(
        PATIENCE, LOG.warning, (WAITS.format(index=index, processes=processes, seconds=PATIENCE),)
    )
    waiting.daemon = True
    waiting.start()
    try:
        failed = np.ravel(multihost_utils.process_allgather(np.array([failure is not None], np.int32)))
        told = multihost_utils.process_allgather(own.view(np.int32))  # as words: floats may be cut to 32 bits
    except Exception as error:
        raise Lost(NO_ANSWER.format(index=index, processes=processes, error=error)) from error
    finally:
        waiting.cancel()
    if failure is not None:
        raise failure
    if failed.any():
        raise RuntimeError(OTHER_FAILED.format(process=int(np.flatnonzero(failed)[0])))
    told = np.ascontiguousarray(told).view(np.float64).reshape(processes, -1, width)
    for process in range(processes):
        for j, i in enumerate(todo[process::processes]):
            known[i] = side_by_side(told[process, j], shapes)
