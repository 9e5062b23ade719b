"""Log densities and the test functions of numerical optimisation."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import stats

from corpus.build import array, normal
from corpus.case import F32, Collection

CASES = Collection()


# ---- statistics


def density(name, fun, tree, **details):
    make = lambda dtype: (fun, (jax.tree.map(lambda v: array(v, dtype), tree, is_leaf=lambda v: isinstance(v, list)),))
    CASES.add(f"stats.{name}", make, "stats", **details)


density(
    "norm.logpdf",
    lambda t: stats.norm.logpdf(t["x"], t["m"], t["s"]),
    {"x": [0.3, 40.0], "m": [0.0, 0.1], "s": [1.0, 0.5]},
)
density("norm.logcdf_tail", lambda x: stats.norm.logcdf(x), [-30.0, -5.0, 3.0])
density(
    "cauchy.logpdf",
    lambda t: stats.cauchy.logpdf(t["x"], t["m"], t["s"]),
    {"x": [0.3, 1e4], "m": [2.0, 50.0], "s": [1.0, 0.1]},
)
density("vonmises.logpdf", lambda t: stats.vonmises.logpdf(t["x"], t["k"]), {"x": [0.3, -2.0], "k": [2.0, 50.0]})
density(
    "nbinom.logpmf.p",
    lambda t: stats.nbinom.logpmf(jnp.array([3, 1]), t["n"], t["p"]),
    {"n": [4.5, 2.0], "p": [0.3, 0.9]},
)
density("gaussian_kde", lambda d: stats.gaussian_kde(d)(jnp.array([0.0, 1.0], d.dtype)), normal(203, 8).tolist())
density("gennorm.logpdf", lambda t: stats.gennorm.logpdf(t["x"], t["p"]), {"x": [0.3, 2.0], "p": [1.5, 4.0]})


# ---- optimisation test functions


def objective(name, fun, x, **details):
    CASES.add(f"opt.{name}", lambda dtype: (fun, (array(x, dtype),)), "optim-test", **details)


def stacked(residuals):
    """The residuals as one array."""

    def fun(x):
        found = residuals(x)
        return jnp.stack(found) if isinstance(found, list) else found

    return fun


def squares(residuals):
    """The sum of the squared residuals."""
    return lambda x: jnp.sum(stacked(residuals)(x) ** 2)


def rosenbrock_residuals(x):
    return [10 * (x[1] - x[0] ** 2), 1 - x[0]]


def powell_singular_residuals(x):
    return [x[0] + 10 * x[1], 5**0.5 * (x[2] - x[3]), (x[1] - 2 * x[2]) ** 2, 10**0.5 * (x[0] - x[3]) ** 2]


def beale_residuals(x):
    return [y - x[0] * (1 - x[1] ** (i + 1)) for i, y in enumerate((1.5, 2.25, 2.625))]


BARD = np.array([0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39])


def bard_residuals(x):
    u = jnp.arange(1.0, 16.0).astype(x.dtype)
    v = 16 - u
    return jnp.asarray(BARD, x.dtype) - (x[0] + u / (v * x[1] + jnp.minimum(u, v) * x[2]))


KOWALIK_Y = np.array([0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246])
KOWALIK_U = np.array([4.0, 2.0, 1.0, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625])


def kowalik_residuals(x):
    u = jnp.asarray(KOWALIK_U, x.dtype)
    return jnp.asarray(KOWALIK_Y, x.dtype) - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3])


MEYER = np.array(
    [34780.0, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872]
)


def meyer_residuals(x):
    t = 45 + 5 * jnp.arange(1.0, 17.0).astype(x.dtype)
    return x[0] * jnp.exp(x[1] / (t + x[2])) - jnp.asarray(MEYER, x.dtype)


def brown_dennis_residuals(x):
    t = jnp.arange(1.0, 21.0).astype(x.dtype) / 5
    return (x[0] + t * x[1] - jnp.exp(t)) ** 2 + (x[2] + x[3] * jnp.sin(t) - jnp.cos(t)) ** 2


def biggs6_residuals(x):
    t = 0.1 * jnp.arange(1.0, 14.0).astype(x.dtype)
    y = jnp.exp(-t) - 5 * jnp.exp(-10 * t) + 3 * jnp.exp(-4 * t)
    return x[2] * jnp.exp(-t * x[0]) - x[3] * jnp.exp(-t * x[1]) + x[5] * jnp.exp(-t * x[4]) - y


def variably_dimensioned_residuals(x):
    j = jnp.arange(1.0, x.shape[0] + 1).astype(x.dtype)
    s = jnp.sum(j * (x - 1))
    return jnp.concatenate([x - 1, s[None], (s**2)[None]])


def trigonometric_residuals(x):
    n = x.shape[0]
    i = jnp.arange(1.0, n + 1).astype(x.dtype)
    return n - jnp.sum(jnp.cos(x)) + i * (1 - jnp.cos(x)) - jnp.sin(x)


def discrete_boundary_residuals(x):
    n = x.shape[0]
    h = 1.0 / (n + 1)
    t = h * jnp.arange(1.0, n + 1).astype(x.dtype)
    xp = jnp.pad(x, 1)
    return 2 * x - xp[:-2] - xp[2:] + h**2 * (x + t + 1) ** 3 / 2


def broyden_banded_residuals(x):
    n = x.shape[0]
    i = np.arange(n)
    m = ((i[None] >= i[:, None] - 5) & (i[None] <= i[:, None] + 1) & (i[None] != i[:, None])).astype(float)
    return x * (2 + 5 * x**2) + 1 - jnp.asarray(m, x.dtype) @ (x * (1 + x))


def penalty1(x):
    return 1e-5 * jnp.sum((x - 1) ** 2) + (jnp.sum(x**2) - 0.25) ** 2


def penalty2_residuals(x):
    n = x.shape[0]
    i = jnp.arange(2.0, n + 1).astype(x.dtype)
    y = jnp.exp(i / 10) + jnp.exp((i - 1) / 10)
    a = 1e-5**0.5
    return jnp.concatenate(
        [
            (x[:1] - 0.2),
            a * (jnp.exp(x[1:] / 10) + jnp.exp(x[:-1] / 10) - y),
            a * (jnp.exp(x[1:] / 10) - math.exp(-0.1)),
            (jnp.sum(jnp.arange(n, 0, -1).astype(x.dtype) * x**2) - 1)[None],
        ]
    )


objective("rosenbrock", squares(rosenbrock_residuals), [-1.2, 1.0])
objective("rosenbrock_residuals", stacked(rosenbrock_residuals), [-1.2, 1.0])
objective(
    "rosenbrock_ext_100",
    lambda x: jnp.sum(100 * (x[1::2] - x[::2] ** 2) ** 2 + (1 - x[::2]) ** 2),
    np.tile([-1.2, 1.0], 50),
)
objective(
    "powell_singular_at_min",
    squares(powell_singular_residuals),
    [0.0, 0.0, 0.0, 0.0],
    note="singular Hessian, gradient zero",
)
objective("beale", squares(beale_residuals), [1.0, 1.0])
objective("beale_at_min", squares(beale_residuals), [3.0, 0.5])
objective("bard_residuals", bard_residuals, [1.0, 1.0, 1.0])
objective("kowalik_osborne", squares(kowalik_residuals), [0.25, 0.39, 0.415, 0.39])
objective("meyer_residuals", meyer_residuals, [0.02, 4000.0, 250.0])
objective("brown_dennis", squares(brown_dennis_residuals), [25.0, 5.0, -5.0, -1.0], note="values of 1e7")
objective("biggs_exp6", squares(biggs6_residuals), [1.0, 2.0, 1.0, 1.0, 1.0, 1.0])
objective("variably_dimensioned", squares(variably_dimensioned_residuals), 1 - np.arange(1, 11) / 10.0)
objective("trigonometric", squares(trigonometric_residuals), np.full(10, 0.1))
objective("discrete_boundary", squares(discrete_boundary_residuals), (lambda t: t * (t - 1))(np.arange(1, 11) / 11.0))
objective("broyden_banded", squares(broyden_banded_residuals), -np.ones(10))
objective("penalty1", penalty1, np.arange(1.0, 11.0))
objective("penalty2", squares(penalty2_residuals), np.full(10, 0.5))
objective("himmelblau", lambda x: (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2, [0.0, 0.0])
objective("rastrigin", lambda x: jnp.sum(x**2 - 10 * jnp.cos(2 * jnp.pi * x) + 10), normal(210, 8))
objective(
    "ackley",
    lambda x: -20 * jnp.exp(-0.2 * jnp.sqrt(jnp.mean(x**2))) - jnp.exp(jnp.mean(jnp.cos(2 * jnp.pi * x))) + 20 + jnp.e,
    normal(211, 5),
)
objective(
    "griewank",
    lambda x: jnp.sum(x**2) / 4000 - jnp.prod(jnp.cos(x / jnp.sqrt(jnp.arange(1.0, 7.0).astype(x.dtype)))) + 1,
    100 * normal(212, 6),
)
objective(
    "goldstein_price",
    lambda x: (
        (1 + (x[0] + x[1] + 1) ** 2 * (19 - 14 * x[0] + 3 * x[0] ** 2 - 14 * x[1] + 6 * x[0] * x[1] + 3 * x[1] ** 2))
        * (
            30
            + (2 * x[0] - 3 * x[1]) ** 2
            * (18 - 32 * x[0] + 12 * x[0] ** 2 + 48 * x[1] - 36 * x[0] * x[1] + 27 * x[1] ** 2)
        )
    ),
    [0.4, -0.6],
)
objective(
    "easom",
    lambda x: -jnp.cos(x[0]) * jnp.cos(x[1]) * jnp.exp(-((x[0] - jnp.pi) ** 2) - (x[1] - jnp.pi) ** 2),
    [-5.0, 9.0],
    note="far plateau: values of 1e-44",
    undecidable=(F32,),
)
objective(
    "branin",
    lambda x: (
        (x[1] - 5.1 / (4 * jnp.pi**2) * x[0] ** 2 + 5 / jnp.pi * x[0] - 6) ** 2
        + 10 * (1 - 1 / (8 * jnp.pi)) * jnp.cos(x[0])
        + 10
    ),
    [2.5, 7.5],
)
objective(
    "lennard_jones",
    lambda x: (lambda r6: jnp.sum(4 * (r6**-2 - r6**-1)))(
        jnp.sum((x[jnp.triu_indices(5, 1)[0]] - x[jnp.triu_indices(5, 1)[1]]) ** 2, -1) ** 3
    ),
    normal(213, 5, 3) * 1.5,
    note="steep 1/r^12 wall",
)
objective(
    "styblinski_tang",
    lambda x: 0.5 * jnp.sum(x**4 - 16 * x**2 + 5 * x),
    np.full(6, -2.903534027771177),
    note="at the minimum to 1e-15: gradient near zero",
)
