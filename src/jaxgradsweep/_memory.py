"""How much memory a check may take, and how many points at once fit into it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxgradsweep._store import Stopped

SHARE = 0.5  # of what the device has free
UNKNOWN = 2**32  # where the system does not tell
MAPPED = 2**24  # on a CPU, larger arrays are new pages at each use, and cost more than what is computed with them
CHUNKS = (8, 5, 4, 2, 1)  # steps evaluated at once: 17 points were the fastest on a CPU, and half of the first steps


def allowance(memory: int | None, device: Any) -> int:
    """The bytes that a check may take on a device: those asked for, or a share of those that are free."""
    if memory is not None:
        return memory
    stats = device.memory_stats()  # None on a CPU
    if stats and "bytes_limit" in stats:
        return int(SHARE * (stats["bytes_limit"] - stats.get("bytes_in_use", 0)))
    return int(SHARE * free_memory())


def free_memory() -> int:
    """The bytes that programs of this machine may still have, with what the system can give back."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        told = dict(line.split(":", 1) for line in lines)
        return 1024 * int(told["MemAvailable"].split()[0])
    except (OSError, ValueError, KeyError, IndexError):  # another system than Linux
        return UNKNOWN


def size_of(leaves: Sequence[Any]) -> int:
    """Bytes of some arrays."""
    return sum(int(np.size(leaf)) * jnp.result_type(leaf).itemsize for leaf in leaves)


def chunk_of_steps(moving: Sequence[Any], batch_size: int | None, memory: int, largest: int | None = None) -> int:
    """How many steps to evaluate at once: each takes two points, and x itself comes along in every chunk.

    A point and its direction take twice the size of the leaves; what the function itself needs is not known yet. No
    leaf of all points together is to be larger than `largest`, unless so many points are asked for.
    """
    limit = CHUNKS[0] if batch_size is None else (batch_size - 1) // 2
    if largest is not None and batch_size is None:
        limit = min(limit, (largest // max(max(map(size_of, ([leaf] for leaf in moving)), default=1), 1) - 1) // 2)
    limit = min(limit, (memory // max(2 * size_of(moving), 1) - 1) // 2)
    return next((chunk for chunk in CHUNKS if chunk <= limit), 1)


def smaller_chunk(chunk: int, needed: int, allowed: int) -> int | None:
    """The chunk to try where one needs more than is allowed; None where a single step does."""
    return next((c for c in CHUNKS if c < chunk and c <= chunk * allowed / needed), 1) if chunk > 1 else None


class TooLarge(Stopped, ValueError):
    """A check does not fit into the memory that it may take."""


def too_large(needed: int, allowed: int, moving: Sequence[Any]) -> TooLarge:
    """The error for a check that does not fit."""
    return TooLarge(
        f"one evaluation of the function, with one direction, needs {needed:,} bytes beside the {size_of(moving):,} of "
        f"the leaves that move, and `memory` allows {allowed:,}. Free some, allow more, spread the leaves over several "
        "devices, or check a smaller example"
    )
