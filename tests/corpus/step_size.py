"""Functions of one variable from the literature on the choice of a difference step, at the test point and on a grid."""

import math

import jax.numpy as jnp
import mpmath as mp
import numpy as np

from corpus.build import array, entrywise
from corpus.case import F32, F64, Collection

CASES = Collection()
FAMILY = "step size benchmark"
BAUDIN = "the benchmark of M. Baudin's package numericalderivative 0.2"
DUMONTET = "J. Dumontet, J. Vignes, RAIRO Analyse numérique 11 (1977) p. 23; " + BAUDIN
OLIVER = "J. Oliver, J. Comp. Appl. Math. 6 (1980) p. 151; " + BAUDIN
GILL = "P. E. Gill, W. Murray, M. A. Saunders, M. H. Wright, SIAM J. Sci. Stat. Comput. 4 (1983) p. 312; " + BAUDIN
SHI = "H.-J. M. Shi, Y. Xie, M. Q. Xuan, J. Nocedal, SIAM J. Sci. Comput. 44 (2022) A2302; " + BAUDIN


def problem(name, fun, exact, point, interval, source, undecidable=(), grid=None):
    """The problem at its test point, and all over the interval on which the benchmark runs it."""
    CASES.add(
        f"step.{name}",
        lambda dtype: (fun, (array(point, dtype),)),
        FAMILY,
        undecidable=undecidable,
        exact=entrywise(exact),
        source=source,
    )
    CASES.add(
        f"step.{name}_grid",
        lambda dtype: (fun, (array(np.linspace(*interval, 10), dtype),)),
        FAMILY,
        exact=entrywise(exact),
        source=source,
        **(grid or {}),
    )


problem("square", lambda x: x**2, lambda x: x**2, 1.0, (-12, 12), BAUDIN)
problem("inverse", lambda x: 1 / x, lambda x: 1 / x, 1.0, (0.01, 12), OLIVER)
problem("exp", jnp.exp, mp.exp, 1.0, (0, 12), DUMONTET)
problem("log", jnp.log, mp.log, 1.0, (0.01, 12), DUMONTET)
problem("sqrt", jnp.sqrt, mp.sqrt, 1.0, (0.01, 12), DUMONTET)
problem("atan", jnp.arctan, mp.atan, 0.5, (-12, 12), DUMONTET)
problem("sin", jnp.sin, mp.sin, 1.0, (-math.pi, math.pi), DUMONTET)
problem(
    "scaled_exp",
    lambda x: jnp.exp(-x / 1e6),
    lambda x: mp.exp(-x / 10**6),
    1.0,
    (0, 12),
    BAUDIN,
    undecidable=(F32,),
    grid={"undecidable": (F32,), "note": "the best step is much greater than the argument"},
)
problem(
    "gill",
    lambda x: jnp.expm1(x) ** 2 + (1 / jnp.sqrt(1 + x**2) - 1) ** 2,
    lambda x: mp.expm1(x) ** 2 + (1 / mp.sqrt(1 + x**2) - 1) ** 2,
    1.0,
    (0, 12),
    GILL,
)
problem(
    "shi_1",
    lambda x: jnp.expm1(x) ** 2,
    lambda x: mp.expm1(x) ** 2,
    -8.0,
    (-12, 12),
    SHI,
    grid={"note": "slopes from 1e-5 to 1e10"},
)
problem(
    "shi_2",
    lambda x: jnp.exp(100 * x),
    lambda x: mp.exp(100 * x),
    0.01,
    (-1, 1),
    SHI,
    grid={"dtypes": (F64,), "note": "values from 1e-44 to 1e43"},
)
problem(
    "shi_3",
    lambda x: x**4 + 3 * x**2 - 10 * x,
    lambda x: x**4 + 3 * x**2 - 10 * x,
    0.99999,
    (-12, 12),
    SHI,
    undecidable=(F32,),
)
problem(
    "shi_4",
    lambda x: 1e4 * x**3 + 0.01 * x**2 + 5 * x,
    lambda x: 10**4 * x**3 + mp.mpf(0.01) * x**2 + 5 * x,
    1e-9,
    (-12, 12),
    SHI,
)
problem("oliver_1", lambda x: jnp.exp(4 * x), lambda x: mp.exp(4 * x), 1.0, (-12, 12), OLIVER)
problem(
    "oliver_2",
    lambda x: jnp.exp(x**2),
    lambda x: mp.exp(x**2),
    1.0,
    (-12, 12),
    OLIVER,
    grid={"dtypes": (F64,), "note": "values up to 1e62"},
)
problem("oliver_3", lambda x: x**2 * jnp.log(x), lambda x: x**2 * mp.log(x), 1.0, (0.01, 12), OLIVER)
