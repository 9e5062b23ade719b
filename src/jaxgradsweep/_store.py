"""Measured rows in files: a long check goes on where it was stopped, and several machines share one.

Each file holds what was measured of some rows, and is written whole or not at all. A manifest says of what check.
"""

import hashlib
import io
import json
import os
import re
import secrets
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxgradsweep._wording import CORRUPT, NOT_KEPT, OTHER_CHECK, UNREADABLE_MANIFEST

FORMAT = 1
MANIFEST, PART, SHARE = "manifest.json", "part-*.npz", "share.json"


def row_key(kind: str, row: np.ndarray, steps: np.ndarray) -> str:
    """The name of what is measured of one row."""
    text = kind.encode() + row.tobytes() + np.asarray(steps, np.float64).tobytes()
    return hashlib.blake2b(text, digest_size=16).hexdigest()


class Stopped(Exception):
    """A check ends for a reason that is not the function's: other steps, or another precision, would not help."""


class NotKept(Stopped, OSError):
    """What was measured cannot be written."""


class ShareDone(Stopped):
    """This process's share of a check is measured: the rest is for others, and for who puts all together."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} probes measured")
        self.count = count


class Store:
    """Rows kept in a folder, and read from others too.

    Args:
        folder: where rows are written.
        others: further folders, whose rows are known as well.
        shard: (i, n): measure every n-th row from the i-th on, i from 0, and stop with `ShareDone`.
    """

    def __init__(
        self, folder: str | os.PathLike[str], others: Sequence[Any] = (), shard: tuple[int, int] | None = None
    ) -> None:
        self.folder: Path = Path(folder)
        self.others: tuple[Path, ...] = tuple(map(Path, others))
        self.shard: tuple[int, int] | None = shard
        self.rows: dict[str, dict[str, np.ndarray]] = {}

    def within(self, name: str) -> "Store":
        """The store of one of several checks."""
        return Store(self.folder / name, [other / name for other in self.others], self.shard)

    def open(self, manifest: dict[str, str]) -> None:
        """Read what is known of this check.

        Raises:
            ValueError: A folder belongs to another check; it says what differs.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rows = {}
        for folder in (self.folder, *self.others):
            require_same(folder, manifest)
            for path in sorted(folder.glob(PART)):
                self.rows |= read_part(path)
        write_whole(self.folder / MANIFEST, json.dumps({"format": FORMAT, **manifest}, indent=1).encode())

    def get(self, key: str) -> dict[str, np.ndarray] | None:
        return self.rows.get(key)

    def put(self, keys: Sequence[str], found: dict[str, np.ndarray]) -> None:
        """Keep some rows."""
        self.rows |= {key: {name: values[j] for name, values in found.items()} for j, key in enumerate(keys)}
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {"keys": np.array(keys)} | {f"row {name}": found[name] for name in found}
        np.savez(buffer, **arrays)
        path = self.folder / PART.replace("*", keys[0])
        try:
            write_whole(path, buffer.getvalue())
        except OSError as error:
            raise NotKept(NOT_KEPT.format(path=path, error=error)) from error

    def share(self, todo: Sequence[int]) -> list[int]:
        """Which of the rows that are left are to be measured here."""
        if self.shard is None:
            return list(todo)
        first, count = self.shard
        return [i for i in todo if i % count == first]

    def end_of_share(self, count: int) -> None:
        """Stop where only a share was asked for.

        Raises:
            ShareDone: That is so.
        """
        if self.shard is not None:
            told = {"shard": self.shard[0], "of": self.shard[1], "probes": count}
            write_whole(self.folder / SHARE, json.dumps(told).encode())
            raise ShareDone(count)


def require_same(folder: Path, manifest: dict[str, str]) -> None:
    """A folder must be new, or belong to this check."""
    path = folder / MANIFEST
    if not path.exists():
        return
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        other = {name: known.get(name) for name in ("format", *manifest)}
    except (ValueError, AttributeError) as error:
        raise ValueError(UNREADABLE_MANIFEST.format(path=path, error=error)) from None
    here = {"format": FORMAT, **manifest}
    wrong = [f"{name}: {other[name]} there, {here[name]} here" for name in here if other[name] != here[name]]
    if wrong:
        raise ValueError(OTHER_CHECK.format(folder=folder, differing="; ".join(wrong)))


def read_part(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """The rows in one file; none, with a warning, where it is damaged."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            found = {name.removeprefix("row "): file[name] for name in file.files if name != "keys"}
            keys = file["keys"].tolist()
        return {key: {name: values[j] for name, values in found.items()} for j, key in enumerate(keys)}
    except (OSError, ValueError, KeyError, EOFError, IndexError, zipfile.BadZipFile) as error:
        warnings.warn(CORRUPT.format(path=path, error=error), stacklevel=2)
        return {}


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def digest_of(*parts: Any) -> str:
    """A short name of some arrays and words."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        if isinstance(part, str):
            digest.update(re.sub(r"0x[0-9a-f]+", "0x", part).encode())  # addresses differ between processes
        else:
            array = np.asarray(part)
            digest.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
