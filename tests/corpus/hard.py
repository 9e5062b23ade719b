"""Right derivatives that are hard to confirm: odd scales, fast oscillation, near-singular matrices, long chains."""

import functools

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
from jax import lax

from corpus.build import array, complex_dtype, entrywise, normal, positive_definite
from corpus.case import F32, F64, Collection

CASES = Collection()


def hard(name, fun, x, scalar=None, exact=None, **details):
    """One array or a dict of arrays. `scalar` is the function of one component in mpmath."""

    def make(dtype):
        return fun, (jax.tree.map(lambda v: array(v, dtype), x, is_leaf=lambda v: not isinstance(v, dict)),)

    exact = entrywise(scalar) if scalar else exact
    CASES.add(f"hard.{name}", make, "right but hard", exact=exact, **details)


# ---- scales

for _power in (-150, -30, -8, 8, 30, 150):
    _scale = 10.0**_power
    _single = abs(_power) <= 30
    hard(
        f"unit_1e{_power}",
        lambda x, s=_scale: (x / s) ** 3 + jnp.sin(x / s),
        [0.7 * _scale, -1.9 * _scale],
        truth=lambda s=_scale: np.diag([(3 * u**2 + np.cos(u)) / s for u in (0.7, -1.9)]),
        dtypes=(F64, F32) if _single else (F64,),
        note=f"arguments of the size 1e{_power}",
    )
    hard(
        f"value_1e{_power}",
        lambda x, s=_scale: s * jnp.exp(jnp.cos(x)),
        [0.7, -1.9],
        lambda x, s=_scale: mp.mpf(s) * mp.exp(mp.cos(x)),
        dtypes=(F64, F32) if _single else (F64,),
        note=f"values of the size 1e{_power}",
    )
hard(
    "offset_1e8",
    lambda x: 1e8 + jnp.sin(3 * x) * x,
    [0.4, 1.1],
    lambda x: 10**8 + mp.sin(3 * x) * x,
    undecidable=(F32,),
)
hard(
    "signal_1e-8_on_1",
    lambda x: 1 + 1e-8 * jnp.exp(x),
    [0.4, 1.1],
    lambda x: 1 + mp.mpf(1e-8) * mp.exp(x),
    undecidable=(F32,),
)
hard(
    "argument_far_away",
    lambda x: jnp.tanh(x - 1e8),
    [1e8 + 0.25, 1e8 - 0.5],
    lambda x: mp.tanh(x - 10**8),
    dtypes=(F64,),
    undecidable=(F64,),
    note="eight of sixteen digits of the argument are offset",
)


def _mixed(p):
    return jnp.sum(jnp.sin(p["tiny"] * 1e8)) + jnp.sum(jnp.cosh(p["one"])) + jnp.sum(jnp.log(p["huge"] / 1e8) ** 2)


hard("mixed_leaves", _mixed, {"tiny": [1e-8, -2e-8], "one": [0.4, -1.1], "huge": [1.5e8, 4e8]})
hard(
    "mixed_in_one_leaf",
    lambda x: jnp.sum(jnp.sin(x / jnp.array([1e-8, 1.0, 1e8], x.dtype))),
    [0.7e-8, 0.9, 1.3e8],
    exact=lambda x: sum(mp.sin(v / mp.mpf(s)) for v, s in zip(x, (1e-8, 1.0, 1e8), strict=True)),
    undecidable=(F64, F32),
    note="the smallest component is under the rounding of the largest",
)
hard(
    "mixed_coupled",
    lambda p: p["charge"] ** 2 / p["distance"] * 9e9 * jnp.exp(-p["distance"] / p["screening"]),
    {"charge": 1.6e-19, "distance": 3e-10, "screening": 9e-10},
    dtypes=(F64,),
    note="the electrostatic energy of two ions, in units of the SI",
)

# ---- oscillation, layers and cancelling orders

hard("sine_1e4", lambda x: jnp.sin(1e4 * x), [0.123, 0.777], lambda x: mp.sin(10**4 * x), undecidable=(F32,))
hard("exp_100", lambda x: jnp.exp(100 * x), [0.05, -0.3, 0.6], lambda x: mp.exp(100 * x))
for _k in (4, 10, 20):
    hard(
        f"alias_2^{_k}",
        lambda x, k=2.0**_k: jnp.sin(2 * jnp.pi * k * x) + x,
        [0.3, 0.71],
        lambda x, k=2**_k: mp.sin(2 * mp.mpf(np.pi) * k * x) + x,
        dtypes=(F64, F32) if _k < 10 else (F64,),
        approximate=1e-8 if _k == 20 else 0.0,
        undecidable=(F32,),
        note="whole periods fit into every greater power of two, where only the x is seen",
    )
hard(
    "boundary_layer",
    lambda x: x - jnp.expm1(x / 1e-3) / jnp.expm1(1 / 1e-2),
    [1e-4, 2e-3],
    lambda x: x - mp.expm1(x / mp.mpf(1e-3)) / mp.expm1(1 / mp.mpf(1e-2)),
    undecidable=(F32,),
)
hard(
    "inner_layer",
    lambda x: jnp.tanh((x - 0.5) / 1e-5) + x**2,
    [0.50001, 0.49998],
    lambda x: mp.tanh((x - mp.mpf(0.5)) / mp.mpf(1e-5)) + x**2,
    dtypes=(F64,),
)
hard(
    "third_derivative_vanishes",
    lambda x: jnp.sum(jnp.sin(x) + (x - 0.5) ** 3 / 6 * jnp.cos(0.5)),
    [0.5, 0.5],
    note="no term in h^2",
)
hard(
    "only_even_terms",
    lambda x: jnp.sum(jnp.cosh(x) + 3 * x),
    [0.0, 0.0],
    note="every order of the central difference is exact",
)
for _degree in range(1, 9):
    hard(
        f"polynomial_{_degree}",
        lambda x, n=_degree: sum((-1) ** i * (i + 1) * x**i for i in range(n + 1)),
        [1.3, -0.4, 2.0],
        lambda x, n=_degree: sum((-1) ** i * (i + 1) * x**i for i in range(n + 1)),
    )
hard(
    "wilkinson_root",
    lambda x: jnp.prod(x - jnp.arange(1.0, 13).astype(x.dtype)),
    7.0,
    lambda x: mp.fprod(x - i for i in range(1, 13)),
    note="at a root of a wild polynomial",
)
hard("power_2.5_near_0", lambda x: x**2.5, [1e-6, 1e-3, 0.5], lambda x: x ** mp.mpf(2.5))
hard(
    "soft_abs_1e-10",
    lambda x: jnp.sum(jnp.sqrt(x**2 + 1e-20)),
    [3e-11, -2e-10],
    dtypes=(F64,),
    note="nearly a kink, at the scale of the input",
)
hard("float32_constants", lambda x: jnp.float32(0.1) * jnp.sin(jnp.float32(1.7) * x), [0.3, 1.2])

# ---- long chains


def _sines(x):
    for i in range(12):
        x = jnp.sin(x + i) * 1.1
    return x


def _sines_exact(x):
    for i in range(12):
        x = mp.sin(x + i) * mp.mpf(1.1)
    return x


def _logistic(rounds, x):
    return lax.scan(lambda v, _: (3.9 * v * (1 - v), None), x, None, rounds)[0]


def _logistic_exact(rounds, x):
    for _ in range(rounds):
        x = mp.mpf(3.9) * x * (1 - x)
    return x


hard("twelve_sines", _sines, [0.2, 1.4], _sines_exact, undecidable=(F32,))
for _rounds in (8, 30):
    hard(
        f"logistic_map_{_rounds}",
        functools.partial(_logistic, _rounds),
        [0.31, 0.62],
        functools.partial(_logistic_exact, _rounds),
        dtypes=(F64, F32) if _rounds < 20 else (F64,),
        approximate=1e-7 if _rounds > 20 else 0.0,
        note="chaos: slopes grow like 1.6^n",
    )


def _lorenz(start):
    def field(s):
        return jnp.stack([10 * (s[1] - s[0]), s[0] * (28 - s[2]) - s[1], s[0] * s[1] - 8 / 3 * s[2]])

    def step(s, _):
        k1 = field(s)
        k2 = field(s + 0.005 * k1)
        k3 = field(s + 0.005 * k2)
        k4 = field(s + 0.01 * k3)
        return s + (k1 + 2 * k2 + 2 * k3 + k4) / 600, None

    return lax.scan(step, start, None, 300)[0]


def _stiff(p):
    def step(u, _):
        new = u
        for _ in range(6):
            residual = new - u + 0.05 * (p["rate"] * (new - jnp.cos(new)) + new**3)
            new = new - residual / (1 + 0.05 * (p["rate"] * (1 + jnp.sin(new)) + 3 * new**2))
        return new, None

    return lax.scan(step, p["start"], None, 3)[0]


def _fixed_point(p):
    def iteration(z):
        return jnp.tanh(p["w"] @ z + p["b"])

    z = lax.stop_gradient(lax.fori_loop(0, 200, lambda _, z: iteration(z), jnp.zeros_like(p["b"])))
    jacobian = lax.stop_gradient(jax.jacfwd(iteration)(z))
    return jnp.sum((z + jnp.linalg.solve(jnp.eye(len(z), dtype=z.dtype) - jacobian, iteration(z) - z)) ** 2)


hard("lorenz_3_seconds", _lorenz, [1.0, 1.0, 20.0], undecidable=(F32,), note="slopes of about 1e2 in a chaotic flow")
hard("stiff_implicit_euler", _stiff, {"rate": 500.0, "start": 2.0}, undecidable=(F32,))
hard("implicit_fixed_point", _fixed_point, {"w": normal(500, 6, 6) / 5, "b": normal(501, 6)})

# ---- matrices near the edge


def _gap(gap):
    q, _ = np.linalg.qr(normal(502, 4, 4))
    return (q * np.array([1.0, 1 + gap, 2.0, 3.5])) @ q.T


def _weighted_values(a):
    return jnp.linalg.eigvalsh((a + a.T) / 2) @ jnp.array([1.0, -2.0, 0.5, 1.0], a.dtype)


def _projector(a):
    vectors = jnp.linalg.eigh((a + a.T) / 2)[1]
    return jnp.sum(jnp.sin(vectors[:, 0] ** 2 + jnp.arange(4.0).astype(a.dtype) * vectors[:, 1] ** 2))


def _conditioned(seed, size, condition):
    u, v = (np.linalg.qr(normal(seed + i, size, size))[0] for i in range(2))
    return (u * np.geomspace(1, 1 / condition, size)) @ v.T


hard(
    "determinant_near_0",
    jnp.linalg.det,
    _conditioned(503, 4, 1e7),
    exact=lambda a: mp.det(mp.matrix(a.tolist())),
    dtypes=(F64,),
)
hard(
    "inverse_condition_1e5",
    lambda a: jnp.sum(jnp.linalg.inv(a)),
    _conditioned(505, 4, 1e5),
    exact=lambda a: mp.fsum(mp.inverse(mp.matrix(a.tolist()))),
    dtypes=(F64,),
)
hard(
    "logdet_condition_1e8",
    lambda a: jnp.linalg.slogdet(a)[1],
    _conditioned(507, 5, 1e8),
    exact=lambda a: mp.log(abs(mp.det(mp.matrix(a.tolist())))),
    approximate=1e-8,
    dtypes=(F64,),
)
hard(
    "cholesky_condition_1e6",
    lambda a: jnp.sum(jnp.log(jnp.diag(jnp.linalg.cholesky((a + a.T) / 2)))),
    positive_definite(509, 4, 1e6),
    dtypes=(F64,),
)
hard(
    "solve_condition_1e4",
    lambda a: jnp.sum(jnp.cos(1e-3 * jnp.linalg.solve(a, jnp.ones(4, a.dtype)))),
    _conditioned(511, 4, 1e4),
    dtypes=(F64,),
)
hard(
    "eigenvalues_gap_1e-6",
    _weighted_values,
    _gap(1e-6),
    dtypes=(F64,),
    approximate=1e-8,
    note="the two close values have different weights",
)
hard("eigenvectors_gap_1e-3", _projector, _gap(1e-3), dtypes=(F64,))
hard(
    "singular_values_of_near_rank_1",
    lambda a: jnp.sum(jnp.log(jnp.linalg.svd(a, compute_uv=False))),
    _conditioned(513, 4, 1e4),
    dtypes=(F64,),
)
hard(
    "expm_of_rotation",
    lambda a: jnp.sum(jax.scipy.linalg.expm(30 * (a - a.T))[0]),
    normal(515, 3, 3) / 2,
    undecidable=(F32,),
)

# ---- signals


def _filter(x):
    spectrum = jnp.fft.rfft(x)
    gain = jnp.exp(-((jnp.arange(spectrum.size) / 9.0) ** 2)).astype(x.dtype)
    return jnp.sum(jnp.log1p(jnp.fft.irfft(spectrum * gain, x.size) ** 2))


def _phase(x):
    spectrum = jnp.fft.rfft(x)[1:]
    return jnp.sum(jnp.sin(jnp.angle(spectrum) * 3))


hard("fft_low_pass", _filter, normal(520, 64))
hard("fft_phases", _phase, normal(521, 16) + 1, note="angles turn fast where a coefficient is small")
hard("autocorrelation", lambda x: jnp.sum(jnp.tanh(jnp.fft.ifft(jnp.abs(jnp.fft.fft(x)) ** 2).real)), normal(522, 32))

# ---- complex arguments


def _complex(name, fun, z, **details):
    CASES.add(f"hard.{name}", lambda dtype: (fun, (jnp.asarray(z, complex_dtype(dtype)),)), "right but hard", **details)


_Z = normal(530, 4) + 1j * normal(531, 4)
_complex("complex_moebius", lambda z: (z - 2j) / (z + 3), _Z, holomorphic=True)
_complex("complex_gamma_like", lambda z: jnp.exp((z - 0.5) * jnp.log(z + 4) - z), _Z, holomorphic=True)
_complex("complex_modulus_1e-6", lambda z: jnp.sum(jnp.abs(z) ** 3), _Z * 1e-6)
_complex("complex_power_spectrum", lambda z: jnp.sum(jnp.log(jnp.abs(jnp.fft.fft(z)) ** 2)), _Z)
_complex("complex_quadratic_form", lambda z: jnp.real(jnp.vdot(z, jnp.array([[2, 1j], [-1j, 3]], z.dtype) @ z)), _Z[:2])

# ---- trees with what is no number


@CASES.case("hard.tree_with_ints_bools_none", "right but hard", note="JAX gives float0 for the integers and the mask")
def _(dtype):
    def fun(p):
        w = jnp.where(p["mask"], p["w"], 0)
        return jnp.sum(w[p["rows"]] ** p["degree"]) * jnp.exp(p["nested"][1])

    tree = {
        "w": array([0.4, -1.2, 0.9, 2.0], dtype),
        "rows": jnp.array([0, 2, 2, 1]),
        "mask": jnp.array([True, False, True, True]),
        "degree": 3,
        "none": None,
        "nested": (True, array(0.3, dtype), ()),
    }
    return fun, (tree,)


@CASES.case("hard.tree_with_a_key", "right but hard", note="a new-style key beside the parameters")
def _(dtype):
    def fun(p):
        keep = jax.random.bernoulli(p["key"], 0.7, p["w"].shape)
        return jnp.sum(jnp.where(keep, jnp.sin(p["w"]), 0) / 0.7)

    return fun, ({"w": array(normal(540, 12), dtype), "key": jax.random.key(3)},)


@CASES.case("hard.tree_with_empty_leaves", "right but hard")
def _(dtype):
    tree = {"empty": jnp.zeros((0, 3), dtype), "w": array([0.3, 0.8], dtype), "nothing": {}}
    return (lambda p: jnp.sum(p["empty"]) + jnp.prod(p["w"]) ** 2), (tree,)


@CASES.case("hard.constants_after_the_first_argument", "right but hard")
def _(dtype):
    data, index = array(normal(541, 9), dtype), jnp.arange(9) % 3
    return (lambda p, x, i, scale: scale * jnp.sum(jnp.tanh(p[i] * x))), (
        array([0.5, -1.0, 2.0], dtype),
        data,
        index,
        2.5,
    )
