"""Constants that JAX keeps in a precision that is over.

An array of NumPy that a function reads becomes a constant in the precision of the moment. JAX finds it again by the
array's identity, whatever the precision then is, for as long as anything holds a trace with it: the cache of a jitted
function does. A function that was used in one precision would fail in the other, in a check or after it.
"""

import gc
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from jaxgradsweep._tree import Same

WIDE = ("float64", "complex128", "int64", "uint64")


def renewed(read: Iterable[Same]) -> bool:
    """Whether JAX keeps something that a function reads in another precision than that of now: its caches are emptied.

    A trace that such a constant ends would keep it alive: it is to be asked before.
    """
    if stale := any(is_stale(each.value) for each in read):
        jax.clear_caches()
        gc.collect()
    return stale


def is_stale(value: Any) -> bool:
    """Whether JAX takes an array of NumPy in another precision than that of now."""
    if not isinstance(value, np.ndarray) or value.dtype.name not in WIDE:
        return False
    return jax.eval_shape(lambda: value).dtype != jax.dtypes.canonicalize_dtype(value.dtype)
