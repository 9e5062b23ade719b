"""What a check is of, in words: what two checks must share to use the same measurements."""

from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgradsweep._claim import linearise
from jaxgradsweep._program import constants
from jaxgradsweep._request import Settings
from jaxgradsweep._store import digest_of
from jaxgradsweep._subject import Subject, structs_of


def version_of(package: str) -> str:
    """The version of a package, also of this one where it runs from a folder that is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def manifest_of(subject: Subject, settings: Settings) -> dict[str, str]:
    """The check, the function and its claim, their arguments, and the settings that say what is measured."""
    claim, point = subject.claim, subject.point
    name = getattr(claim.fun.whole.value, "__qualname__", type(claim.fun.whole.value).__name__)
    steps = "from the precision" if settings.steps is None else digest_of(np.asarray(settings.steps, float))
    given = (*point.moving, *point.held, *subject.values)
    leaves = zip(point.paths, point.shapes, subject.dtypes, strict=True)
    return {
        "jaxgradsweep": version_of("jaxgradsweep"),
        "jax": version_of("jax"),
        "check": claim.kind,
        "function": f"{name} ({digest_of(*programs(subject))})",
        "leaves": ", ".join(f"{path or 'argument'} {dtype}{list(shape)}" for path, shape, dtype in leaves),
        "values": digest_of(*map(numbers, given)),
        "dtype": settings.dtype,
        "matmul precision": str(claim.matmul),
        "key": str(settings.key),
        "directions": str(settings.count),
        "steps": steps,
        "backend": jax.default_backend(),
    }


def programs(subject: Subject) -> list[Any]:
    """What the function and its claim compute, as text, and the numbers that they hold."""
    claim = subject.claim

    def both(moving: Any, held: Any, values: Any) -> Any:
        out, pairing = linearise(claim, list(moving), held, values)
        return out, pairing(list(moving), [jnp.ones_like(y) for y in (moving if claim.kind == "curvature" else out)])[
            :2
        ]

    program = jax.make_jaxpr(both)(*structs_of(subject.point), subject.values)
    return [str(program), *map(numbers, constants(program))]


def numbers(leaf: Any) -> np.ndarray:
    """A leaf as plain numbers; of one that lies on several machines, what is here."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        return np.asarray(jax.random.key_data(leaf))
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return np.concatenate([np.ravel(np.asarray(shard.data)) for shard in leaf.addressable_shards])
    return np.asarray(leaf)
