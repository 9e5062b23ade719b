"""The test functions of Moré, Garbow and Hillstrom, also with hand-written gradients, right and wrong."""

import jax
import jax.numpy as jnp
import numpy as np

from corpus.case import F32, F64, Collection

CASES = Collection()
FAMILY = "optimisation test function"
SOURCE = "J. J. Moré, B. S. Garbow, K. E. Hillstrom, Testing unconstrained optimization software, ACM TOMS 7(1), 1981"


def _like(x, values):
    return jnp.asarray(np.asarray(values, np.float64), x.dtype)


def _count(x, first, last):
    return _like(x, np.arange(first, last + 1))


# ---- residuals, by the numbers of the paper

_BARD = [0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39]
_GAUSS = [0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521, 0.3989]
_MEYER = [34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872]
_KOWALIK_Y = [0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246]
_KOWALIK_U = [4.0, 2.0, 1.0, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625]
_OSBORNE_1 = np.array(
    [
        "844",
        "908",
        "932",
        "936",
        "925",
        "908",
        "881",
        "850",
        "818",
        "784",
        "751",
        "718",
        "685",
        "658",
        "628",
        "603",
        "580",
        "558",
        "538",
        "522",
        "506",
        "490",
        "478",
        "467",
        "457",
        "448",
        "438",
        "431",
        "424",
        "420",
        "414",
        "411",
        "406",
    ],
    float,
)
_OSBORNE_2 = np.array(
    [
        "1366",
        "1191",
        "1112",
        "1013",
        "991",
        "885",
        "831",
        "847",
        "786",
        "725",
        "746",
        "679",
        "608",
        "655",
        "616",
        "606",
        "602",
        "626",
        "651",
        "724",
        "649",
        "649",
        "694",
        "644",
        "624",
        "661",
        "612",
        "558",
        "533",
        "495",
        "500",
        "423",
        "395",
        "375",
        "372",
        "391",
        "396",
        "405",
        "428",
        "429",
        "523",
        "562",
        "607",
        "653",
        "672",
        "708",
        "633",
        "668",
        "645",
        "632",
        "591",
        "559",
        "597",
        "625",
        "739",
        "710",
        "729",
        "720",
        "636",
        "581",
        "428",
        "292",
        "162",
        "98",
        "54",
    ],
    float,
)


def _rosenbrock(x):
    return jnp.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def _freudenstein_roth(x):
    return jnp.stack(
        [-13 + x[0] + ((5 - x[1]) * x[1] - 2) * x[1], -29 + x[0] + ((x[1] + 1) * x[1] - 14) * x[1]],
    )


def _powell_badly_scaled(x):
    return jnp.stack([1e4 * x[0] * x[1] - 1, jnp.exp(-x[0]) + jnp.exp(-x[1]) - 1.0001])


def _brown_badly_scaled(x):
    return jnp.stack([x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2])


def _beale(x):
    return jnp.stack([y - x[0] * (1 - x[1] ** i) for i, y in ((1, 1.5), (2, 2.25), (3, 2.625))])


def _jennrich_sampson(x):
    i = _count(x, 1, 10)
    return 2 + 2 * i - (jnp.exp(i * x[0]) + jnp.exp(i * x[1]))


def _helical_valley(x):
    turn = jnp.arctan(x[1] / x[0]) / (2 * np.pi) + jnp.where(x[0] < 0, 0.5, 0.0)
    return jnp.stack([10 * (x[2] - 10 * turn), 10 * (jnp.sqrt(x[0] ** 2 + x[1] ** 2) - 1), x[2]])


def _bard(x):
    u = _count(x, 1, 15)
    return _like(x, _BARD) - (x[0] + u / ((16 - u) * x[1] + jnp.minimum(u, 16 - u) * x[2]))


def _gaussian(x):
    t = (8 - _count(x, 1, 15)) / 2
    return x[0] * jnp.exp(-x[1] * (t - x[2]) ** 2 / 2) - _like(x, _GAUSS + _GAUSS[-2::-1])


def _meyer(x):
    return x[0] * jnp.exp(x[1] / (45 + 5 * _count(x, 1, 16) + x[2])) - _like(x, _MEYER)


def _gulf(x):
    t = np.arange(1, 100) / 100
    y = _like(x, 25 + (-50 * np.log(t)) ** (2 / 3))
    return jnp.exp(-(jnp.abs(y - x[1]) ** x[2]) / x[0]) - _like(x, t)


def _box(x):
    t = 0.1 * _count(x, 1, 10)
    return jnp.exp(-t * x[0]) - jnp.exp(-t * x[1]) - x[2] * (jnp.exp(-t) - jnp.exp(-10 * t))


def _powell_singular(x):
    a, b, c, d = x[0::4], x[1::4], x[2::4], x[3::4]
    return jnp.concatenate([a + 10 * b, np.sqrt(5.0).item() * (c - d), (b - 2 * c) ** 2, 10**0.5 * (a - d) ** 2])


def _wood(x):
    a, b, c, d = x
    root = 10**0.5
    return jnp.stack(
        [10 * (b - a**2), 1 - a, 90**0.5 * (d - c**2), 1 - c, root * (b + d - 2), (b - d) / root],
    )


def _kowalik_osborne(x):
    u = _like(x, _KOWALIK_U)
    return _like(x, _KOWALIK_Y) - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3])


def _brown_dennis(x):
    t = _count(x, 1, 20) / 5
    return (x[0] + t * x[1] - jnp.exp(t)) ** 2 + (x[2] + x[3] * jnp.sin(t) - jnp.cos(t)) ** 2


def _osborne_1(x):
    t = 10 * _count(x, 0, 32)
    return _like(x, _OSBORNE_1 / 1000) - (x[0] + x[1] * jnp.exp(-t * x[3]) + x[2] * jnp.exp(-t * x[4]))


def _biggs_exp6(x):
    t = 0.1 * _count(x, 1, 13)
    y = jnp.exp(-t) - 5 * jnp.exp(-10 * t) + 3 * jnp.exp(-4 * t)
    return x[2] * jnp.exp(-t * x[0]) - x[3] * jnp.exp(-t * x[1]) + x[5] * jnp.exp(-t * x[4]) - y


def _osborne_2(x):
    t = _count(x, 0, 64)[:, None] / 10
    bumps = x[1:4] * jnp.exp(-((t - x[8:11]) ** 2) * x[5:8])
    return _like(x, _OSBORNE_2 / 1000) - (x[0] * jnp.exp(-t[:, 0] * x[4]) + bumps.sum(1))


def _watson(x):
    n = x.shape[0]
    t, j = np.arange(1, 30)[:, None] / 29, np.arange(n)
    slope = _like(x, j[1:] * t ** (j[1:] - 1)) @ x[1:]
    return jnp.concatenate([slope - (_like(x, t**j) @ x) ** 2 - 1, x[:1], x[1:2] - x[:1] ** 2 - 1])


def _extended_rosenbrock(x):
    return jnp.concatenate([10 * (x[1::2] - x[::2] ** 2), 1 - x[::2]])


def _penalty_1(x):
    return jnp.append(1e-5**0.5 * (x - 1), jnp.sum(x**2) - 0.25)


def _penalty_2(x):
    n = x.shape[0]
    e, i, root = jnp.exp(x / 10), np.arange(2, n + 1), 1e-5**0.5
    return jnp.concatenate(
        [
            x[:1] - 0.2,
            root * (e[1:] + e[:-1] - _like(x, np.exp(i / 10) + np.exp((i - 1) / 10))),
            root * (e[1:] - np.exp(-0.1).item()),
            jnp.sum(_like(x, np.arange(n, 0, -1)) * x**2, keepdims=True) - 1,
        ]
    )


def _variably_dimensioned(x):
    s = jnp.sum(_count(x, 1, x.shape[0]) * (x - 1), keepdims=True)
    return jnp.concatenate([x - 1, s, s**2])


def _trigonometric(x):
    n = x.shape[0]
    return n - jnp.sum(jnp.cos(x)) + _count(x, 1, n) * (1 - jnp.cos(x)) - jnp.sin(x)


def _brown_almost_linear(x):
    n = x.shape[0]
    return jnp.append(x[:-1] + jnp.sum(x) - (n + 1), jnp.prod(x) - 1)


def _discrete_boundary_value(x):
    n = x.shape[0]
    h, padded = 1 / (n + 1), jnp.pad(x, 1)
    return 2 * x - padded[:-2] - padded[2:] + h**2 * (x + h * _count(x, 1, n) + 1) ** 3 / 2


def _discrete_integral(x):
    n = x.shape[0]
    h = 1 / (n + 1)
    t = h * np.arange(1, n + 1)
    kernel = np.where(t <= t[:, None], (1 - t[:, None]) * t, t[:, None] * (1 - t))
    return x + h / 2 * (_like(x, kernel) @ (x + _like(x, t) + 1) ** 3)


def _broyden_tridiagonal(x):
    padded = jnp.pad(x, 1)
    return (3 - 2 * x) * x - padded[:-2] - 2 * padded[2:] + 1


def _broyden_banded(x):
    i = np.arange(x.shape[0])
    apart = i - i[:, None]
    return x * (2 + 5 * x**2) + 1 - _like(x, (apart >= -5) & (apart <= 1) & (apart != 0)) @ (x * (1 + x))


def _linear(x, m=20):
    s = 2 / m * jnp.sum(x)
    return jnp.pad(x, (0, m - x.shape[0])) - s - 1


def _linear_rank_1(x, m=20):
    return _count(x, 1, m) * jnp.sum(_count(x, 1, x.shape[0]) * x) - 1


def _linear_rank_1_zero_columns(x, m=20):
    n = x.shape[0]
    rows = np.arange(m) * (np.arange(m) < m - 1)
    return _like(x, rows) * jnp.sum(_count(x, 2, n - 1) * x[1:-1]) - 1


def _chebyquad(x):
    n = x.shape[0]
    before, now, rows = jnp.ones_like(x), 2 * x - 1, []
    for i in range(1, n + 1):
        rows.append(jnp.mean(now) + (0 if i % 2 else 1 / (i * i - 1)))
        before, now = now, 2 * (2 * x - 1) * now - before
    return jnp.stack(rows)


def _right(name, residuals, start, times=1, **details):
    def make(dtype):
        return (lambda x: jnp.sum(residuals(x) ** 2)), (jnp.asarray(times * np.asarray(start, np.float64), dtype),)

    CASES.add(f"mgh.{name}", make, FAMILY, source=SOURCE, **details)


_TEN = {"times": 10, "note": "ten times the standard start, the second one of the paper"}
_right("rosenbrock", _rosenbrock, [-1.2, 1], **_TEN)
_right("freudenstein_roth", _freudenstein_roth, [0.5, -2])
_right("powell_badly_scaled", _powell_badly_scaled, [0, 1])
_right(
    "brown_badly_scaled",
    _brown_badly_scaled,
    [1, 1],
    undecidable=(F32,),
    note="the value of 1e12 leaves float32 one or two digits of the difference",
)
_right("beale", _beale, [1, 1], **_TEN)
_right("jennrich_sampson", _jennrich_sampson, [0.3, 0.4])
_right("helical_valley", _helical_valley, [-1, 0, 0])
_right("bard", _bard, [1, 1, 1])
_right("gaussian", _gaussian, [0.4, 1, 0])
_right("meyer", _meyer, [0.02, 4000, 250])
_right("gulf", _gulf, [5, 2.5, 0.15], note="with |y - x2|, whose minimum is the published (50, 25, 1.5)")
_right("box_3d", _box, [0, 10, 20])
_right("powell_singular", _powell_singular, [3, -1, 0, 1])
_right("wood", _wood, [-3, -1, -3, -1])
_right("kowalik_osborne", _kowalik_osborne, [0.25, 0.39, 0.415, 0.39], **_TEN)
_right("brown_dennis", _brown_dennis, [25, 5, -5, -1], **_TEN)
_right("osborne_1", _osborne_1, [0.5, 1.5, -1, 0.01, 0.02])
_right("biggs_exp6", _biggs_exp6, [1, 2, 1, 1, 1, 1], **_TEN)
_right("osborne_2", _osborne_2, [1.3, 0.65, 0.65, 0.7, 0.6, 3, 5, 7, 2, 4.5, 5.5])
_right("watson", _watson, np.zeros(9))
_right("extended_rosenbrock", _extended_rosenbrock, np.tile([-1.2, 1], 8))
_right("extended_powell_singular", _powell_singular, np.tile([3, -1, 0, 1], 5))
_right("penalty_1", _penalty_1, np.arange(1, 5))
_right("penalty_2", _penalty_2, np.full(4, 0.5))
_right("variably_dimensioned", _variably_dimensioned, 1 - np.arange(1, 9) / 8)
_right("trigonometric", _trigonometric, np.full(12, 1 / 12))
_right("brown_almost_linear", _brown_almost_linear, np.full(10, 0.5))
_right("discrete_boundary_value", _discrete_boundary_value, (lambda t: t * (t - 1))(np.arange(1, 21) / 21))
_right("discrete_integral", _discrete_integral, (lambda t: t * (t - 1))(np.arange(1, 11) / 11))
_right("broyden_tridiagonal", _broyden_tridiagonal, np.full(30, -1))
_right("broyden_banded", _broyden_banded, np.full(25, -1))
_right("linear_full_rank", _linear, np.ones(10))
_right("linear_rank_1", _linear_rank_1, np.ones(10))
_right("linear_rank_1_zero_columns", _linear_rank_1_zero_columns, np.ones(10))
_right("chebyquad", _chebyquad, np.arange(1, 9) / 9)


# ---- hand-written Jacobians; `slip` makes the mistake


def _rosenbrock_jacobian(x, slip):
    return jnp.array([[(-10 if slip else -20) * x[0], 10], [-1, 0]])


def _freudenstein_roth_jacobian(x, slip):
    return jnp.array(
        [[1, (10 - 3 * x[1]) * x[1] - 2], [1, (3 * x[1] + (1.9 if slip else 2)) * x[1] - 14]],
    )


def _helical_valley_jacobian(x, slip):
    pi, square = (3.14159 if slip else np.pi), x[0] ** 2 + x[1] ** 2
    turn = jnp.stack([-x[1], x[0]]) / (2 * pi * square)
    return jnp.array([[*(-100 * turn), 10], [10 * x[0] / square**0.5, 10 * x[1] / square**0.5, 0], [0, 0, 1]])


def _wood_jacobian(x, slip):
    a, _, c, _ = x
    root, other = 10**0.5, (9.4869 if slip else 90**0.5)
    return jnp.array(
        [
            [-20 * a, 10, 0, 0],
            [-1, 0, 0, 0],
            [0, 0, -2 * other * c, other],
            [0, 0, -1, 0],
            [0, root, 0, root],
            [0, 1 / root, 0, -1 / root],
        ]
    )


def _kowalik_jacobian(x, slip):
    u = _like(x, _KOWALIK_U)
    above, below = u**2 + u * x[1], u**2 + u * x[2] + x[3]
    last = x[0] * above / below**2
    if slip:
        last = last.at[-1].multiply(-1)
    return jnp.stack([-above / below, -x[0] * u / below, u * x[0] * above / below**2, last], 1)


def _brown_dennis_jacobian(x, slip):
    t = _count(x, 1, 20) / 5
    one, two = 2 * (x[0] + t * x[1] - jnp.exp(t)), 2 * (x[2] + x[3] * jnp.sin(t) - jnp.cos(t))
    rows = jnp.stack([one, t * one, two, jnp.sin(t) * two], 1)
    return rows.at[0, 3].set(two[0] * t[0]) if slip else rows


def _biggs_jacobian(x, slip):
    t = 0.1 * _count(x, 1, 13)
    one, two, three = jnp.exp(-t * x[0]), jnp.exp(-t * x[1]), jnp.exp(-t * x[4])
    rows = jnp.stack([-t * x[2] * one, t * x[3] * two, one, -two, -t * x[5] * three, three], 1)
    return rows.at[-1, 1].set(rows[-1, 0]) if slip else rows


def _penalty_1_jacobian(x, slip):
    near = 0 if slip else 1e-5**0.5 * jnp.eye(x.shape[0], dtype=x.dtype)
    return jnp.concatenate([near + jnp.zeros((x.shape[0],) * 2, x.dtype), 2 * x[None]])


def _penalty_2_jacobian(x, slip):
    n = x.shape[0]
    slope, root = jnp.exp(x / 10) / 10, 1e-5**0.5
    diagonal = jnp.diag(slope)
    return jnp.concatenate(
        [
            jnp.eye(1, n, dtype=x.dtype),
            root * (diagonal[1:] + diagonal[:-1]),
            root * (diagonal[1:].at[0].multiply(0.0) if slip else diagonal[1:]),
            2 * _like(x, np.arange(n, 0, -1))[None] * x[None],
        ]
    )


def _variably_dimensioned_jacobian(x, slip):
    n = x.shape[0]
    j = _count(x, 1, n)
    near = jnp.eye(n, dtype=x.dtype)
    if slip:
        near = near.at[n - 1, n - 1].set(0)
    return jnp.concatenate([near, j[None], 2 * jnp.sum(j * (x - 1)) * j[None]])


def _by_hand(name, residuals, jacobian, start, cause, error):
    twins = f"mgh.{name}_by_hand", f"mgh.{name}_slip"

    def make(dtype, slip):
        def fun(x):
            return jnp.sum(residuals(x) ** 2)

        def gradient(x):
            return 2 * residuals(x) @ jacobian(x, slip).astype(x.dtype)

        return fun, (jnp.asarray(np.asarray(start, np.float64), dtype),), gradient

    def truth():
        fun, args, _ = make(F64, False)
        return jax.grad(fun)(*args)

    CASES.add(twins[0], lambda dtype: make(dtype, False), FAMILY, source=SOURCE, twin=twins[1])
    CASES.add(
        twins[1],
        lambda dtype: make(dtype, True),
        FAMILY,
        kind="wrong",
        dtypes=(F64, F32) if error > 1e-3 else (F64,),
        error=error,
        cause=cause,
        truth=truth,
        source=SOURCE,
        twin=twins[0],
    )


_by_hand("rosenbrock", _rosenbrock, _rosenbrock_jacobian, [-1.2, 1], "factor 2 of a square lost", 0.4535)
_by_hand(
    "freudenstein_roth",
    _freudenstein_roth,
    _freudenstein_roth_jacobian,
    [0.5, -2],
    "1.9 for 2 in the second residual",
    1.415e-3,
)
_by_hand(
    "kowalik_osborne",
    _kowalik_osborne,
    _kowalik_jacobian,
    [0.25, 0.39, 0.415, 0.39],
    "sign of the last residual's derivative by x4",
    9.267e-3,
)
_by_hand(
    "biggs_exp6",
    _biggs_exp6,
    _biggs_jacobian,
    [1, 2, 1, 1, 1, 1],
    "the last residual's derivative by x2 is that by x1",
    0.06416,
)
_by_hand(
    "brown_dennis",
    _brown_dennis,
    _brown_dennis_jacobian,
    [25, 5, -5, -1],
    "t for sin(t) in the first residual's derivative by x4",
    1.002e-5,
)
_by_hand("wood", _wood, _wood_jacobian, [-3, -1, -3, -1], "the root of 90 rounded to 9.4869", 4.717e-6)
_by_hand("helical_valley", _helical_valley, _helical_valley_jacobian, [-1, 0, 0], "3.14159 for pi", 7.152e-7)
_by_hand(
    "variably_dimensioned",
    _variably_dimensioned,
    _variably_dimensioned_jacobian,
    1 - np.arange(1, 9) / 8,
    "the derivative of the last linear residual left out",
    2.110e-6,
)
_by_hand("penalty_1", _penalty_1, _penalty_1_jacobian, np.arange(1, 5), "the small linear residuals left out", 1.148e-7)
_by_hand(
    "penalty_2",
    _penalty_2,
    _penalty_2_jacobian,
    np.full(4, 0.5),
    "the derivative of one of the small residuals left out",
    1.825e-8,
)
