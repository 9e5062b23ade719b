"""What cases are built from: points of a given dtype, and exact functions."""

import jax.numpy as jnp
import jax.scipy.special
import numpy as np


def array(values, dtype):
    """A JAX array of this dtype."""
    return jnp.asarray(np.asarray(values, np.float64), dtype)


def normal(seed, *shape):
    """Normal random numbers."""
    return np.random.default_rng(seed).standard_normal(shape)


def uniform(seed, low, high, *shape):
    """Uniform random numbers."""
    return np.random.default_rng(seed).uniform(low, high, shape)


def positive_definite(seed, size, condition=10.0):
    """A symmetric matrix with eigenvalues from 1 to `condition`."""
    q, _ = np.linalg.qr(normal(seed, size, size))
    return (q * np.geomspace(1, condition, size)) @ q.T


def complex_dtype(dtype):
    """The complex dtype with parts of this dtype."""
    return {"float64": "complex128", "float32": "complex64"}[dtype]


def entrywise(scalar, count=1):
    """A function of mpf as one of arrays of mpf, for `Case.exact`: of one array, or of a tuple of `count` arrays."""
    function = np.frompyfunc(scalar, count, 1)
    return (lambda x, *rest: function(x)) if count == 1 else (lambda parts, *rest: function(*parts))


def newer(name):
    """A function of jax.scipy.special that older releases of JAX lack: it is looked up when it is called."""
    return lambda *args: getattr(jax.scipy.special, name)(*args)
