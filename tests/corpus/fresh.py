"""Cases from further fields: orbits, kinetics, optics, phylogenetics, rendering, plasticity, finance, sequences.

Half of the right ones are hard to measure; the wrong ones err by between 5e-9 and 0.6 of the gradient.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
from jax import lax

from corpus.case import F32, F64, UNRESOLVED, WRONG, Collection

CASES = Collection()
case = CASES.case
BOTH = frozenset({WRONG, UNRESOLVED})


def a(values: Any, dtype: str) -> jax.Array:
    """Array of this dtype, rounded from float64."""
    return jnp.asarray(np.asarray(values, np.float64), dtype)


def tree(values: dict[str, Any], dtype: str) -> dict[str, jax.Array]:
    """Dictionary of arrays of this dtype."""
    return {key: a(value, dtype) for key, value in values.items()}


def normal(seed: int, *shape: int) -> np.ndarray:
    """Standard normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape)


def uniform(seed: int, low: float, high: float, *shape: int) -> np.ndarray:
    """Uniform numbers."""
    return np.random.default_rng(seed).uniform(low, high, shape)


def complex_of(dtype: Any) -> str:
    """The complex dtype of this precision."""
    return "complex128" if jnp.dtype(dtype) == jnp.float64 else "complex64"


def with_vjp(primal: Callable, backward: Callable) -> Callable:
    """`primal` with the rule `backward(args, out, cotangent)`."""
    fun = jax.custom_vjp(primal)

    def forward(*args):
        out = primal(*args)
        return out, (args, out)

    fun.defvjp(forward, lambda saved, ct: backward(*saved, ct))
    return fun


def with_jvp(primal: Callable, rule: Callable) -> Callable:
    """`primal` with the rule `rule(primals, tangents) -> tangent`."""
    fun = jax.custom_jvp(primal)
    fun.defjvp(lambda primals, tangents: (fun(*primals), rule(primals, tangents)))
    return fun


def derivative(build: Callable, order: int) -> Any:
    """Derivative of the clean function, the last that `build` returns; with x64 on."""
    _, args, _, clean = build(F64)
    if order == 2:
        return jax.hessian(clean)(*args)
    scalar = jax.tree.leaves(jax.eval_shape(clean, *args))[0].shape == ()
    return (jax.grad if scalar else jax.jacrev)(clean)(*args)


def wrong(name: str, family: str, **details: Any) -> Callable[[Callable], Callable]:
    """Add the decorated `build(dtype) -> (fun, args, claimed, clean)` as a wrong case."""

    def decorate(build: Callable) -> Callable:
        truth = functools.partial(derivative, build, details.get("order", 1))
        CASES.add(name, lambda dtype: build(dtype)[:3], family, **({"kind": "wrong", "truth": truth} | details))
        return build

    return decorate


# ----------------------------------------------------------------------------------------------- right: orbits, geodesy
def kepler(forget: bool) -> Callable:
    """Eccentric anomaly by Newton's method; the rule is that of the root."""

    def solve(m, e):
        step = lambda _, x: x - (x - e * jnp.sin(x) - m) / (1 - e * jnp.cos(x))
        return lax.fori_loop(0, 15, step, m + 0.85 * e * jnp.sign(jnp.sin(m)))

    def rule(primals, tangents):
        e, x = primals[1], fun(*primals)
        slope = tangents[0] if forget else tangents[0] + jnp.sin(x) * tangents[1]
        return slope / (1 - e * jnp.cos(x))

    fun = with_jvp(solve, rule)
    return fun


def orbit_position(anomaly: Callable, p: dict[str, jax.Array]) -> jax.Array:
    x = anomaly(p["M"], p["e"])
    return p["a"] * jnp.stack([jnp.cos(x) - p["e"], jnp.sqrt(1 - p["e"] ** 2) * jnp.sin(x)])


def orbit_exact(p):
    def position(m, e, axis):
        x = mp.findroot(lambda x: x - e * mp.sin(x) - m, float(m) + 0.85 * float(e) * float(mp.sign(mp.sin(m))))
        return axis * (mp.cos(x) - e), axis * mp.sqrt(1 - e * e) * mp.sin(x)

    axis = np.asarray(p["a"]).item()
    both = [position(m, e, axis) for m, e in zip(p["M"], p["e"], strict=True)]
    return np.array(both, object).T


ORBIT = {"M": [1e-3, 0.4, 2.5, 6.0], "e": [0.97, 0.9, 0.3, 0.6], "a": 1.495978707e11}


@case("orbit.kepler_implicit", "orbital mechanics", exact=orbit_exact, twin="orbit.kepler_eccentricity_not_in_anomaly")
def _(dtype):
    return jax.jit(functools.partial(orbit_position, kepler(forget=False))), (tree(ORBIT, dtype),)


def stumpff(z):
    """c2 and c3: a series near 0, closed forms elsewhere."""
    near, far = jnp.abs(z) < 1, jnp.where(jnp.abs(z) < 1, 1.0, z)
    zs = jnp.where(near, z, 0.0)
    series = lambda n: functools.reduce(lambda s, k: s * -zs + 1 / math.factorial(2 * k + n), range(9, -1, -1), 0.0)
    sp, sm = jnp.sqrt(jnp.where(far > 0, far, 1.0)), jnp.sqrt(jnp.where(far > 0, 1.0, -far))
    c2 = jnp.where(far > 0, (1 - jnp.cos(sp)) / sp**2, (jnp.cosh(sm) - 1) / sm**2)
    c3 = jnp.where(far > 0, (sp - jnp.sin(sp)) / sp**3, (jnp.sinh(sm) - sm) / sm**3)
    return jnp.where(near, series(2), c2), jnp.where(near, series(3), c3)


def universal_exact(p):
    def time(chi, alpha, r0):
        z = alpha * chi**2
        s = mp.sqrt(mp.mpc(z))
        c2, c3 = mp.re((1 - mp.cos(s)) / z), mp.re((s - mp.sin(s)) / s**3)
        return mp.mpf("0.25") * chi**2 * c2 + (1 - alpha * r0) * chi**3 * c3 + r0 * chi

    return np.frompyfunc(time, 3, 1)(p["chi"], p["alpha"], p["r0"])


@case(
    "orbit.universal_variable_near_parabolic",
    "orbital mechanics",
    exact=universal_exact,
    note="reciprocal axes of +-1e-8 beside 0.4 in one leaf; Stumpff functions by series near 0, else closed forms",
)
def _(dtype):
    def fun(p):
        c2, c3 = stumpff(p["alpha"] * p["chi"] ** 2)
        return 0.25 * p["chi"] ** 2 * c2 + (1 - p["alpha"] * p["r0"]) * p["chi"] ** 3 * c3 + p["r0"] * p["chi"]

    return fun, (tree({"alpha": [1e-8, -1e-8, 0.4, -0.3], "chi": 2.3, "r0": 1.1}, dtype),)


@case(
    "geodesy.haversine_one_metre", "geodesy", dtypes=(F64,), note="the tip of the distance's cone is 1e-5 degrees away"
)
def _(dtype):
    def fun(p, station):
        lat, lon = station
        dlat, dlon = jnp.deg2rad(p["lat"] - lat), jnp.deg2rad(p["lon"] - lon)
        h = jnp.sin(dlat / 2) ** 2
        h = h + jnp.cos(jnp.deg2rad(p["lat"])) * jnp.cos(jnp.deg2rad(lat)) * jnp.sin(dlon / 2) ** 2
        return 2 * 6371008.8 * jnp.arcsin(jnp.sqrt(h))

    station = (a([52.5, -33.875, 40.25], dtype), a([13.375, 151.25, -74.0], dtype))
    place = {"lat": [52.500007, -33.875004, 41.1], "lon": [13.375006, 151.249991, -73.2]}
    return fun, (tree(place, dtype), station)


# ---------------------------------------------------------------------------------------- right: kinetics, neurons, air
@case(
    "kinetics.robertson_backward_euler",
    "chemical kinetics",
    undecidable=(F32,),
    note="stiff: rates of 0.04, 3e7 and 1e4; Newton's method inside each of four steps of 0.1 to 100 s",
)
def _(dtype):
    def rate(y, p):
        r1, r2, r3 = p["k1"] * y[0], p["k2"] * y[1] ** 2, p["k3"] * y[1] * y[2]
        return jnp.stack([r3 - r1, r1 - r2 - r3, r2])

    def step(y, h, p):
        def newton(_, z):
            jacobian = jnp.eye(3, dtype=z.dtype) - h * jax.jacfwd(rate)(z, p)
            return z - jnp.linalg.solve(jacobian, z - y - h * rate(z, p))

        return lax.fori_loop(0, 25, newton, y)

    @jax.jit
    def fun(p):
        y = jnp.array([1.0, 0.0, 0.0], p["k1"].dtype)
        return lax.scan(lambda y, h: (step(y, h, p), None), y, jnp.array([0.1, 1.0, 10.0, 100.0], y.dtype))[0]

    return fun, (tree({"k1": 0.04, "k2": 3e7, "k3": 1e4}, dtype),)


@case("neuron.hodgkin_huxley_upstroke", "neuroscience", note="Runge-Kutta through the upstroke of a spike")
def _(dtype):
    def ratio(x):
        zero = x == 0
        return jnp.where(zero, 1 - x / 2, jnp.where(zero, 1.0, x) / jnp.expm1(jnp.where(zero, 1.0, x)))

    def rate(y, p):
        v, m, h, n = y
        current = p["gNa"] * m**3 * h * (v - 50) + p["gK"] * n**4 * (v + 77) + p["gL"] * (v + 54.387)
        dm = ratio(-(v + 40) / 10) * (1 - m) - 4 * jnp.exp(-(v + 65) / 18) * m
        dh = 0.07 * jnp.exp(-(v + 65) / 20) * (1 - h) - h / (1 + jnp.exp(-(v + 35) / 10))
        dn = 0.1 * ratio(-(v + 55) / 10) * (1 - n) - 0.125 * jnp.exp(-(v + 65) / 80) * n
        return jnp.stack([(p["I"] - current) / p["C"], dm, dh, dn])

    @jax.jit
    def fun(p):
        def step(y, _):
            k1 = rate(y, p)
            k2 = rate(y + 0.025 * k1, p)
            k3 = rate(y + 0.025 * k2, p)
            k4 = rate(y + 0.05 * k3, p)
            return y + 0.05 / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

        return lax.scan(step, jnp.array([-65.0, 0.053, 0.596, 0.318], p["I"].dtype), None, length=45)[0]

    return fun, (tree({"I": 12.0, "C": 1.0, "gNa": 120.0, "gK": 36.0, "gL": 0.3}, dtype),)


@case(
    "air.monin_obukhov_near_neutral",
    "meteorology",
    undecidable=(F32,),
    note="the stable and the unstable branch meet in a kink, 1e-3 of the leaf's scale away",
)
def _(dtype):
    def psi(zeta):
        x = (1 - 16 * jnp.where(zeta < 0, zeta, 0.0)) ** 0.25
        unstable = 2 * jnp.log((1 + x) / 2) + jnp.log((1 + x**2) / 2) - 2 * jnp.arctan(x) + math.pi / 2
        return jnp.where(zeta < 0, unstable, -5 * zeta)

    def fun(p):
        return p["ustar"] / 0.4 * (jnp.log(10 / p["z0"]) - psi(10 * p["invL"]))

    return fun, (tree({"ustar": 0.31, "z0": 2e-4, "invL": [1e-5, -1e-5, 0.01, -0.02]}, dtype),)


# ---------------------------------------------------------------------------------------- right: optics, spectra, waves
@case(
    "optics.thin_film_reflectance", "optics", note="metres of 1e-7 beside refractive indices; complex matrices inside"
)
def _(dtype):
    def fun(p):
        c = complex_of(p["d"].dtype)
        index = p["n"] - 1j * p["k"]
        b, y = jnp.ones_like(p["lam"], c), jnp.full_like(p["lam"], 1.52, c)
        for j in (1, 0):
            delta = 2 * math.pi * index[j] * p["d"][j] / p["lam"]
            b, y = (
                jnp.cos(delta) * b + 1j * jnp.sin(delta) / index[j] * y,
                1j * index[j] * jnp.sin(delta) * b + jnp.cos(delta) * y,
            )
        return jnp.abs((b - y) / (b + y)) ** 2

    film = {"lam": [4.5e-7, 5.5e-7, 6.5e-7], "d": [1.1e-7, 6e-8], "n": [1.38, 2.3], "k": [1e-4, 0.02]}
    return fun, (tree(film, dtype),)


@functools.cache
def weideman(n: int) -> tuple[float, np.ndarray]:
    """Coefficients of Weideman's rational series of the Faddeeva function, highest power first."""
    m = 2 * n
    length = math.sqrt(n / math.sqrt(2))
    t = length * np.tan(np.arange(-m + 1, m) * math.pi / m / 2)
    values = np.concatenate([[0.0], np.exp(-(t**2)) * (length**2 + t**2)])
    return length, np.real(np.fft.fft(np.fft.fftshift(values)))[1 : n + 1][::-1] / (2 * m)


def faddeeva(z, n=32):
    length, coefficients = weideman(n)
    u = length - 1j * z
    total = functools.reduce(lambda s, c: s * (length + 1j * z) / u + float(c), coefficients, 0.0)
    return 2 * total / u**2 + 1 / math.sqrt(math.pi) / u


@case("spectra.voigt_line", "spectroscopy", dtypes=(F64,), note="width 0.03 at a wavenumber of 2349")
def _(dtype):
    @jax.jit
    def fun(p, nu):
        z = (nu - p["nu0"] + 1j * p["gamma"]) / (p["sigma"] * math.sqrt(2))
        return p["S"] * jnp.real(faddeeva(z)) / (p["sigma"] * math.sqrt(2 * math.pi))

    line = {"nu0": 2349.143, "gamma": 0.07, "sigma": 0.03, "S": 9.6e-19}
    return fun, (tree(line, dtype), a(2349.143 + np.array([-0.31, -0.04, 0.0, 0.025, 0.2]), dtype))


@case(
    "vlbi.fringe_fit",
    "radio astronomy",
    dtypes=(F64,),
    note="delays of 1e-6 s, of which the fringes repeat every 1e-10 s",
)
def _(dtype):
    f = 8.4e9 + 16e6 * np.arange(8.0)
    seen = np.exp(2j * math.pi * f * (uniform(11, -2e-6, 2e-6, 4, 1)))

    def fun(p, f, re, im):
        phase = 2 * math.pi * f * p["tau"][:, None]
        amp = p["amp"][:, None]
        return jnp.mean((amp * jnp.cos(phase) - re) ** 2 + (amp * jnp.sin(phase) - im) ** 2)

    p = tree({"tau": uniform(12, -2e-6, 2e-6, 4), "amp": [0.9, 1.1, 0.7, 1.3]}, dtype)
    return fun, (p, a(f, dtype), a(seen.real, dtype), a(seen.imag, dtype))


@case("quantum.split_step_wave", "quantum dynamics", note="complex wave in, real expectation out")
def _(dtype):
    x = (np.arange(32) - 16) * 0.4
    k = 2 * math.pi * np.fft.fftfreq(32, 0.4)
    v, t = np.exp(-0.05j * (0.5 * x**2 + 0.1 * x**4)), np.exp(-0.1j * 0.5 * k**2)

    @jax.jit
    def fun(psi):
        kick, drift = jnp.asarray(v, psi.dtype), jnp.asarray(t, psi.dtype)
        step = lambda s, _: (kick * jnp.fft.ifft(drift * jnp.fft.fft(kick * s)), None)
        psi = lax.scan(step, psi, None, length=12)[0]
        weight = jnp.abs(psi) ** 2
        return jnp.sum(weight * jnp.asarray(x, weight.dtype) ** 2) / jnp.sum(weight)

    start = np.exp(-((x - 0.7) ** 2) / 2 + 0.8j * x) + 0.05 * (normal(13, 32) + 1j * normal(14, 32))
    return fun, (jnp.asarray(start, complex_of(dtype)),)


@case(
    "flow.karman_trefftz",
    "conformal maps",
    holomorphic=True,
    note="an aerofoil from a circle; one point is 2e-3 away from the branch point of the trailing edge",
)
def _(dtype):
    def fun(z):
        p, m = (z + 1) ** 1.94, (z - 1) ** 1.94
        return 1.94 * (p + m) / (p - m)

    angle = np.array([0.6, 1.9, 3.3, 4.4])
    circle = -0.08 + 0.1j + 1.1 * np.exp(1j * angle)
    return fun, (jnp.asarray(np.append(circle, 1.002 + 0.0015j), complex_of(dtype)),)


# --------------------------------------------------------------------------------------------- right: special functions
@case(
    "special.lambert_w_near_branch_point",
    "special functions",
    dtypes=(F64,),
    exact=lambda x: np.frompyfunc(lambda v: mp.re(mp.lambertw(v)), 1, 1)(x),
    note="Halley's method with the rule of the root; -1/e + 1e-5, 1e-8 and 1e8 in one leaf",
)
def _(dtype):
    def solve(x):
        near = jnp.sqrt(jnp.maximum(2 * (math.e * x + 1), 0.0))
        w = jnp.where(x < 1, -1 + near - near**2 / 3, jnp.log(jnp.maximum(x, 1.0)) - 0.3)
        w = jnp.where(jnp.abs(x) < 0.1, x, w)

        def halley(_, w):
            f = w - x * jnp.exp(-w)
            return w - f / (w + 1 - (w + 2) * f / (2 * w + 2))

        return lax.fori_loop(0, 20, halley, w)

    fun = with_jvp(solve, lambda primals, tangents: tangents[0] * jnp.exp(-fun(*primals)) / (1 + fun(*primals)))
    return jax.jit(fun), (a([-1 / math.e + 1e-5, -0.2, 1e-8, 1.0, 1e8], dtype),)


@case(
    "special.elliptic_k_by_agm",
    "special functions",
    undecidable=(F32,),
    exact=lambda m: np.frompyfunc(mp.ellipk, 1, 1)(m),
    note="the edge of the domain is 1e-6 away; differentiated through the iteration",
)
def _(dtype):
    def fun(m):
        x, y = jnp.ones_like(m), jnp.sqrt(1 - m)
        for _ in range(7):
            x, y = (x + y) / 2, jnp.sqrt(x * y)
        return math.pi / (x + y)

    return fun, (a([1e-8, 0.5, 0.99, 1 - 1e-6, -7.0], dtype),)


# ------------------------------------------------------------------------------ right: solvers, transport, trees, money
@case("pde.bratu_near_fold", "root finding", dtypes=(F64,), requires=("optimistix",), note="no root above 3.51: NaN")
def _(dtype):
    import optimistix as optx

    def residual(u, p):
        padded = jnp.concatenate([p["bc"][:1], u, p["bc"][1:]])
        return (padded[:-2] - 2 * u + padded[2:]) * 21**2 + p["lam"] * jnp.exp(u)

    @jax.jit
    def fun(p):
        solver = optx.Newton(rtol=1e-11, atol=1e-11)
        found = optx.root_find(residual, solver, jnp.zeros(20, p["lam"].dtype), p, max_steps=30, throw=False)
        return jnp.where(found.result == optx.RESULTS.successful, found.value, jnp.nan)

    return fun, (tree({"lam": 3.3, "bc": [0.0, 0.02]}, dtype),)


@case("transport.sinkhorn_unrolled", "optimal transport")
def _(dtype):
    @jax.jit
    def fun(x, y):
        cost = jnp.sum((x[:, None] - y) ** 2, -1)
        n, m = cost.shape

        def step(potentials, _):
            _, g = potentials
            f = -0.15 * (jax.nn.logsumexp((g - cost) / 0.15, axis=1) + math.log(n))
            g = -0.15 * (jax.nn.logsumexp((f[:, None] - cost) / 0.15, axis=0) + math.log(m))
            return (f, g), None

        (f, g), _ = lax.scan(step, (jnp.zeros_like(x[:, 0]), jnp.zeros_like(y[:, 0])), None, length=40)
        return jnp.sum(jnp.exp((f[:, None] + g - cost) / 0.15) * cost)

    return fun, (a(0.5 * normal(21, 8, 2), dtype), a(0.5 * normal(22, 9, 2), dtype))


@case(
    "phylogeny.pruning_tiny_branches",
    "phylogenetics",
    note="two sisters on branches of 1e-8 differ at a site: slope 5e7 in a leaf of 0.1; none below zero length",
)
def _(dtype):
    bases = np.random.default_rng(23).integers(0, 4, (5, 12))
    bases[1] = bases[0]
    bases[1, 3] = (bases[0, 3] + 2) % 4

    def transition(t, kappa):
        slow, fast = jnp.expm1(-4 * t / (kappa + 2)), jnp.expm1(-2 * t * (kappa + 1) / (kappa + 2))
        same, ts, tv = 1 + slow / 4 + fast / 2, slow / 4 - fast / 2, -slow / 4
        return jnp.stack([jnp.stack([(same, tv, ts, tv)[(i - j) % 4] for j in range(4)]) for i in range(4)])

    @jax.jit
    def fun(p, tips):
        matrix = [transition(t, p["kappa"]) for t in p["t"]]
        up = lambda i, likelihood: likelihood @ matrix[i].T
        ab = up(0, tips[0]) * up(1, tips[1])
        de = up(2, tips[2]) * up(3, tips[3])
        cde = up(4, tips[4]) * up(5, de)
        return jnp.sum(jnp.log(jnp.mean(up(6, ab) * up(7, cde), axis=-1)))

    p = tree({"t": [1e-8, 1e-8, 0.05, 0.3, 0.2, 0.15, 0.1, 0.08], "kappa": 2.7}, dtype)
    return fun, (p, a(np.eye(4)[bases], dtype))


@case("finance.heston_call", "finance", dtypes=(F64,), note="Fourier integral of a complex characteristic function")
def _(dtype):
    node, weight = np.polynomial.legendre.leggauss(64)
    node, weight = 40 * (node + 1), 40 * weight

    @jax.jit
    def fun(p, strike):
        u = jnp.asarray(node) - 0.5j
        xi = p["kappa"] - p["sigma"] * p["rho"] * 1j * u
        d = jnp.sqrt(xi**2 + p["sigma"] ** 2 * (u**2 + 1j * u))
        g, e = (xi - d) / (xi + d), jnp.exp(-d * p["T"])
        c = p["kappa"] * p["theta"] * ((xi - d) * p["T"] - 2 * jnp.log((1 - g * e) / (1 - g)))
        phi = jnp.exp((c + p["v0"] * (xi - d) * (1 - e) / (1 - g * e)) / p["sigma"] ** 2)
        wave = jnp.exp(1j * jnp.asarray(node) * jnp.log(p["S"] / strike)[:, None])
        integral = jnp.sum(jnp.asarray(weight) * jnp.real(wave * phi) / (jnp.asarray(node) ** 2 + 0.25), axis=-1)
        return p["S"] - jnp.sqrt(p["S"] * strike) / math.pi * integral

    p = {"S": 100.0, "kappa": 1.5, "theta": 0.04, "sigma": 0.3, "rho": -0.7, "v0": 0.05, "T": 0.5}
    return fun, (tree(p, dtype), a([85.0, 100.0, 125.0], dtype))


# ------------------------------------------------------------------------------------- right: molecules, solids, bodies
@case("crystal.ewald_energy", "electrostatics", note="direct and reciprocal sums of a point-charge lattice")
def _(dtype):
    k = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), -1).reshape(-1, 3)
    k = 2 * math.pi / 4 * k[np.any(k != 0, axis=1) & (np.sum(k**2, axis=1) < 20)]
    cells = 4.0 * np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    charge = np.array([1.0, -1.0, 1.0, -1.0, 2.0, -2.0])
    pairs = np.triu_indices(6, 1)

    @jax.jit
    def fun(x):
        kk, q = jnp.asarray(k, x.dtype), jnp.asarray(charge, x.dtype)
        phase = x @ kk.T
        k2 = jnp.sum(kk**2, -1)
        form = jnp.sum(q[:, None] * jnp.cos(phase), 0) ** 2 + jnp.sum(q[:, None] * jnp.sin(phase), 0) ** 2
        reciprocal = 2 * math.pi / 64 * jnp.sum(jnp.exp(-k2 / 4) / k2 * form)
        r = jnp.linalg.norm(x[pairs[0]][:, None] - x[pairs[1]][:, None] + jnp.asarray(cells, x.dtype), axis=-1)
        return reciprocal + jnp.sum((q[pairs[0]] * q[pairs[1]])[:, None] * jax.scipy.special.erfc(r) / r)

    sites = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 2], [2, 2, 2], [1, 1, 1], [3, 3, 1.0]])
    return fun, (a(sites + 0.15 * normal(31, 6, 3), dtype),)


@jax.jit
def switched(x: jax.Array) -> jax.Array:
    """Lennard-Jones energy, switched off between radii 1.5 and 2.5."""
    i, j = np.triu_indices(x.shape[0], 1)
    r2 = jnp.sum((x[i] - x[j]) ** 2, -1)
    s = jnp.where(r2 < 2.25, 1.0, (6.25 - r2) ** 2 * (2 * r2 - 0.5) / 64)
    return jnp.sum(jnp.where(r2 < 6.25, 4 * (r2**-6 - r2**-3) * s, 0.0))


def switched_forces(x: jax.Array) -> jax.Array:
    """The gradient of `switched`, by hand."""
    d = x[:, None] - x[None]
    r2 = jnp.sum(d**2, -1) + jnp.eye(x.shape[0], dtype=x.dtype)
    inside = (r2 < 6.25) & ~jnp.eye(x.shape[0], dtype=bool)
    s = jnp.where(r2 < 2.25, 1.0, (6.25 - r2) ** 2 * (2 * r2 - 0.5) / 64)
    ds = jnp.where(r2 < 2.25, 0.0, (6.25 - r2) * (6.75 - 3 * r2) / 32)
    slope = 4 * (-6 * r2**-7 + 3 * r2**-4) * s + 4 * (r2**-6 - r2**-3) * ds
    return 2 * jnp.sum(jnp.where(inside, slope, 0.0)[..., None] * d, axis=1)


@case(
    "molecule.switched_forces_at_cutoff",
    "molecular dynamics",
    note="pairs exactly at both switching radii, where the second derivative jumps; forces by hand",
)
def _(dtype):
    x = [[0, 0, 0], [1.5, 0, 0], [0, 2.5, 0], [0, 0, 1.25], [1.5, 1.5, 0.5], [2.5, 1.0, 1.5]]
    return switched, (a(x, dtype),), switched_forces


@case("rotation.rodrigues_at_zero", "robotics", note="rotation vectors of length 0, 1e-9, 1 and nearly pi")
def _(dtype):
    def fun(v):
        t2 = jnp.sum(v**2, -1)[:, None, None]
        small = t2 < 1e-3
        t = jnp.sqrt(jnp.where(small, 1.0, t2))
        s = jnp.where(small, 1 - t2 / 6 * (1 - t2 / 20 * (1 - t2 / 42)), jnp.sin(t) / t)
        c = jnp.where(small, 0.5 - t2 / 24 * (1 - t2 / 30 * (1 - t2 / 56)), (1 - jnp.cos(t)) / t**2)
        x, y, z = jnp.moveaxis(v, -1, 0)
        o = jnp.zeros_like(x)
        skew = jnp.stack([o, -z, y, z, o, -x, -y, x, o], -1).reshape(-1, 3, 3)
        return jnp.eye(3, dtype=v.dtype) + s * skew + c * skew @ skew

    return fun, (a([[0, 0, 0], [1e-9, -2e-9, 1e-9], [0.3, -0.5, 0.7], [1.8, -2.0, 1.6]], dtype),)


@case(
    "solid.neo_hookean_stress",
    "elasticity",
    note="strains of 1e-6 under moduli of 1e11; the stress is itself a derivative and cancels",
)
def _(dtype):
    def energy(f):
        log_j = jnp.log(jnp.linalg.det(f))
        return 4e10 * (jnp.sum(f**2) - 3) - 8e10 * log_j + 6e10 * log_j**2

    return jax.jit(jax.vmap(jax.grad(energy))), (a(np.eye(3) + 1e-6 * normal(32, 2, 3, 3), dtype),)


# ------------------------------------------------------------------------------------------------------ right: learning
@case("sequence.selective_scan", "state-space models", note="a linear recurrence by parallel scan")
def _(dtype):
    @jax.jit
    def fun(p):
        dt = jax.nn.softplus(p["dt"])[..., None]
        decay = jnp.exp(-dt * jnp.exp(p["log_a"]))
        drive = dt * p["b"][:, None] * p["x"][..., None]
        _, h = lax.associative_scan(lambda x, y: (x[0] * y[0], y[0] * x[1] + y[1]), (decay, drive))
        return jnp.sum(h * p["c"][:, None], -1) + p["skip"] * p["x"]

    shapes = {"dt": (16, 4), "log_a": (4, 3), "b": (16, 3), "c": (16, 3), "x": (16, 4), "skip": (4,)}
    return fun, (tree({key: normal(41 + i, *shape) for i, (key, shape) in enumerate(shapes.items())}, dtype),)


@case(
    "attention.online_softmax_in_chunks",
    "attention",
    note="the running maximum has kinks that cancel in the result; tensors of dimension 4",
)
def _(dtype):
    @jax.jit
    def fun(p):
        q, k, v = (p[key].swapaxes(1, 2) for key in "qkv")
        chunks = [x.reshape(1, 2, 4, 3, 5).transpose(2, 0, 1, 3, 4) for x in (k, v)]

        def step(carry, kv):
            top, norm, acc = carry
            s = jnp.einsum("bhqd,bhkd->bhqk", q, kv[0]) / math.sqrt(5)
            new = jnp.maximum(top, jnp.max(s, -1))
            e, keep = jnp.exp(s - new[..., None]), jnp.exp(top - new)
            return (new, keep * norm + jnp.sum(e, -1), keep[..., None] * acc + e @ kv[1]), None

        start = (jnp.full(q.shape[:3], -jnp.inf, q.dtype), jnp.zeros(q.shape[:3], q.dtype), jnp.zeros_like(q))
        (_, norm, acc), _ = lax.scan(step, start, tuple(chunks))
        return acc / norm[..., None]

    return fun, (tree({key: 2 * normal(51 + i, 1, 12, 2, 5) for i, key in enumerate("qkv")}, dtype),)


@case("tensor.network_of_every_rank", "tensor networks", note="leaves of dimension 0 to 4")
def _(dtype):
    def fun(p):
        out = jnp.einsum("i,ij,jkl,klmn->mn", p["v"], p["m"], p["t"], p["k"])
        return jnp.log(jnp.sum(out**2)) * p["s"]

    shapes = {"s": (), "v": (3,), "m": (3, 4), "t": (4, 2, 3), "k": (2, 3, 2, 2)}
    return fun, (tree({key: normal(55 + i, *shape) for i, (key, shape) in enumerate(shapes.items())}, dtype),)


@case("nnx.convolution_group_norm", "flax", requires=("flax",))
def _(dtype):
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self, rngs):
            like = {"dtype": jnp.dtype(dtype), "param_dtype": jnp.dtype(dtype), "rngs": rngs}
            self.conv = nnx.Conv(2, 6, (3, 3), **like)
            self.norm = nnx.GroupNorm(6, num_groups=3, **like)
            self.head = nnx.Linear(6, 2, **like)

        def __call__(self, x):
            return self.head(jnp.mean(nnx.silu(self.norm(self.conv(x))), axis=(1, 2)))

    graph, state = nnx.split(Net(nnx.Rngs(0)))
    fun = jax.jit(lambda state, x: jnp.mean(nnx.merge(graph, state)(x) ** 2))
    return fun, (state, a(normal(61, 3, 6, 6, 2), dtype))


@case("sde.milstein_fixed_path", "diffeq", dtypes=(F64,), modes=("rev",), requires=("diffrax", "lineax"))
def _(dtype):
    import diffrax as dx
    import lineax as lx

    path = dx.VirtualBrownianTree(0.0, 1.0, tol=1e-3, shape=(2,), key=jax.random.key(3))
    drift = lambda t, y, p: p["k"] * (p["mu"] - y)
    diffusion = lambda t, y, p: lx.DiagonalLinearOperator(p["s"] * jnp.sqrt(1 + y**2))

    @jax.jit
    def fun(p, y0):
        terms = dx.MultiTerm(dx.ODETerm(drift), dx.ControlTerm(diffusion, path))
        return dx.diffeqsolve(terms, dx.EulerHeun(), 0.0, 1.0, 0.0625, y0, args=p, max_steps=32).ys[-1]

    return fun, (tree({"k": [2.0, 0.7], "mu": [0.3, -1.0], "s": 0.4}, dtype), a([1.0, -0.5], dtype))


@case(
    "audio.mel_bank_single_precision_constants", "audio", note="window and filters are float32 arrays: only constants"
)
def _(dtype):
    centre = np.geomspace(1.5, 28, 9)
    bins = np.arange(33)[:, None]
    bank = np.clip(
        np.minimum((bins - centre[:-2]) / np.diff(centre)[:-1], (centre[2:] - bins) / np.diff(centre)[1:]), 0, 1
    )
    bank, window = bank.astype(np.float32), np.hanning(64).astype(np.float32)

    def fun(x, bank, window):
        power = jnp.abs(jnp.fft.rfft(x * window)) ** 2
        return jnp.log(power @ bank + np.float32(1e-6))

    return fun, (a(normal(62, 64), dtype), jnp.asarray(bank), jnp.asarray(window))


@case(
    "molecule.single_precision_inside",
    "mixed precision",
    dtypes=(F64,),
    undecidable=(F64,),
    approximate=1e-6,
    reasons=frozenset({"QUANTISED", "NOISE", "ROUNDOFF"}),
    note="pair terms in float32, summed in float64",
)
def _(dtype):
    def fun(x):
        y = x.astype(jnp.float32)
        i, j = np.triu_indices(10, 1)
        pair = jnp.exp(-jnp.sum((y[i] - y[j]) ** 2, -1))
        return jnp.sum(pair.astype(jnp.float64))

    return fun, (a(normal(63, 10, 3), dtype),)


# ------------------------------------------------------------------------------------------------------- wrong: by hand
@wrong(
    "orbit.kepler_eccentricity_not_in_anomaly",
    "orbital mechanics",
    error=0.184,
    cause="the rule of the root forgets that the eccentricity moves it",
    twin="orbit.kepler_implicit",
)
def _(dtype):
    fun, clean = (jax.jit(functools.partial(orbit_position, kepler(forget=forget))) for forget in (True, False))
    return fun, (tree(ORBIT, dtype),), None, clean


@wrong(
    "orbit.oblateness_of_another_model",
    "orbital mechanics",
    error=5.018e-09,
    dtypes=(F64,),
    cause="the gradient's oblateness is rounded to six digits: the potential has 1.0826267e-3, the force 1.08263e-3",
)
def _(dtype):
    def potential(x, oblateness=1.0826267e-3):
        r = jnp.linalg.norm(x, axis=-1)
        bulge = oblateness * (6378137.0 / r) ** 2 * (1.5 * (x[:, 2] / r) ** 2 - 0.5)
        return jnp.sum(-3.986004418e14 / r * (1 - bulge))

    def claimed(x):
        r = jnp.linalg.norm(x, axis=-1, keepdims=True)
        s2 = (x[:, 2:] / r) ** 2
        bulge = 1.5 * 1.08263e-3 * (6378137.0 / r) ** 2
        factor = jnp.array([1.0, 1.0, 3.0], x.dtype) - 5 * s2
        return 3.986004418e14 / r**3 * x * (1 + bulge * factor)

    x = [[6.9e6, 1.2e6, 0.8e6], [-1.0e6, 5.0e6, 5.1e6], [2.2e6, -0.4e6, 7.1e6]]
    return potential, (a(x, dtype),), claimed, potential


@wrong(
    "finance.currency_vega_not_discounted",
    "finance",
    error=0.0007765,
    cause="vega without the factor exp(-rf T), here 1.003",
    note="only the leaf of the volatilities is wrong",
)
def _(dtype):
    time, strikes, sizes = 0.25, [1.05, 1.12, 1.2], [3.0, -2.0, 5.0]
    cdf, pdf = jax.scipy.stats.norm.cdf, jax.scipy.stats.norm.pdf

    def terms(p):
        k = jnp.asarray(strikes, p["s"].dtype)
        d1 = (jnp.log(p["s"] / k) + (p["rd"] - p["rf"] + p["vol"] ** 2 / 2) * time) / (p["vol"] * math.sqrt(time))
        return k, d1, d1 - p["vol"] * math.sqrt(time), jnp.asarray(sizes, k.dtype)

    def fun(p):
        k, d1, d2, size = terms(p)
        near, far = p["s"] * jnp.exp(-p["rf"] * time), k * jnp.exp(-p["rd"] * time)
        return jnp.sum(size * (near * cdf(d1) - far * cdf(d2)))

    def claimed(p):
        k, d1, d2, size = terms(p)
        near, far = jnp.exp(-p["rf"] * time), k * jnp.exp(-p["rd"] * time)
        return {
            "s": jnp.sum(size * near * cdf(d1)),
            "vol": size * p["s"] * pdf(d1) * math.sqrt(time),
            "rd": jnp.sum(size * time * far * cdf(d2)),
            "rf": -jnp.sum(size * time * p["s"] * near * cdf(d1)),
        }

    return fun, (tree({"s": 1.1, "vol": [0.09, 0.08, 0.1], "rd": 0.03, "rf": 0.012}, dtype),), claimed, fun


@wrong(
    "molecule.forces_without_minimum_image",
    "molecular dynamics",
    error=0.2654,
    cause="the forces wrap the box in x and y, not in z",
    note="only the few atoms are wrong that touch across that face of the box",
)
def _(dtype):
    i, j = np.triu_indices(60, 1)

    def pair(x, axes):
        d = x[i] - x[j]
        d = d - 9.0 * lax.stop_gradient(jnp.round(d / 9.0)) * jnp.asarray(axes, x.dtype)
        r2 = jnp.sum(d**2, -1)
        return jnp.sum(jnp.where(r2 < 2.25, (1 - r2 / 2.25) ** 3, 0.0))

    fun = lambda x: pair(x, [1.0, 1.0, 1.0])
    return fun, (a(uniform(71, 0, 9, 60, 3), dtype),), jax.grad(lambda x: pair(x, [1.0, 1.0, 0.0])), fun


@wrong(
    "control.advantages_bootstrap_through_terminal",
    "reinforcement learning",
    error=0.05864,
    cause="the gradient's bootstrap ignores the flag of an episode's end",
    only_at=(("", (58,)),),
    note="wrong under a mask only",
)
def _(dtype):
    done = np.zeros(128)
    done[57] = 1.0
    alive = 1 - done
    reward, weight = normal(72, 128), normal(73, 128)

    @jax.jit
    def fun(value):
        r, w, go = (jnp.asarray(x, value.dtype) for x in (reward, weight, alive))
        delta = r + 0.97 * go * value[1:] - value[:-1]
        step = lambda later, now: (now[0] + 0.9 * 0.97 * now[1] * later,) * 2
        _, advantage = lax.scan(step, jnp.zeros((), value.dtype), (delta, go), reverse=True)
        return jnp.vdot(w, advantage)

    def claimed(value):
        w, go = jnp.asarray(weight, value.dtype), jnp.asarray(alive, value.dtype)
        step = lambda before, now: ((now[0] + before) * now[1] * 0.9 * 0.97, now[0] + before)
        _, delta = lax.scan(step, jnp.zeros((), value.dtype), (w, go))
        return jnp.pad(0.97 * delta, (1, 0)) - jnp.pad(delta, (0, 1))

    return fun, (a(normal(74, 129), dtype),), jax.jit(claimed), fun


@wrong(
    "robust.tied_scenarios_counted_twice",
    "robust optimisation",
    cause="both of two tied maxima hand on the whole cotangent",
    note="a kink, but the claim lies outside the one-sided slopes",
    truth=None,
)
def _(dtype):
    rows = np.array([[3.0, 1.0], [1.0, 2.0], [0.0, 1.0]])

    def worst(w):
        return jnp.max(jnp.asarray(rows, w.dtype) @ w)

    def claimed(w):
        loss = jnp.asarray(rows, w.dtype) @ w
        return jnp.asarray(rows, w.dtype).T @ (loss >= jnp.max(loss)).astype(w.dtype)

    return worst, (a([1.0, 2.0], dtype),), claimed, worst


@wrong(
    "array.beamformer_wirtinger_half",
    "signal processing",
    error=0.5,
    cause="the Wirtinger derivative, half of the convention df/dx - i df/dy",
)
def _(dtype):
    steer = np.exp(1j * math.pi * np.arange(8) * 0.3)
    noise = normal(75, 8, 8) + 1j * normal(76, 8, 8)
    cov = noise @ noise.conj().T / 8 + np.eye(8)

    def fun(w):
        c, s = jnp.asarray(cov, w.dtype), jnp.asarray(steer, w.dtype)
        return jnp.real(jnp.vdot(w, c @ w)) + jnp.abs(jnp.vdot(w, s) - 1) ** 2

    def claimed(w):
        c, s = jnp.asarray(cov, w.dtype), jnp.asarray(steer, w.dtype)
        return jnp.conj(c @ w + s * (jnp.vdot(s, w) - 1))

    return fun, (jnp.asarray(normal(77, 8) + 1j * normal(78, 8), complex_of(dtype)),), claimed, fun


# -------------------------------------------------------------------------------------------------- wrong: custom rules
@wrong(
    "render.transmittance_of_the_wrong_sample",
    "volume rendering",
    error=0.1441,
    modes=("rev",),
    cause="the density's own term takes the transmittance before the sample in place of that behind it",
    note="only the densities are wrong",
)
def _(dtype):
    gap = 0.2

    def parts(sigma):
        behind = jnp.exp(-gap * jnp.cumsum(sigma))
        before = jnp.concatenate([jnp.ones_like(sigma[:1]), behind[:-1]])
        return before, behind, before - behind

    def primal(sigma, colour):
        return parts(sigma)[2] @ colour

    def backward(args, out, ct):
        before, _, weight = parts(args[0])
        shade = args[1] @ ct
        rest = jnp.sum(weight * shade) - jnp.cumsum(weight * shade)
        return gap * (before * shade - rest), weight[:, None] * ct

    with_rule = with_vjp(primal, backward)
    make = lambda f: lambda p: jnp.sum((f(jax.nn.softplus(p["sigma"]), p["colour"]) - 0.3) ** 2)
    p = tree({"sigma": normal(81, 24), "colour": uniform(82, 0, 1, 24, 3)}, dtype)
    return make(with_rule), (p,), None, make(primal)


@wrong(
    "image.grid_sample_align_corners",
    "computer vision",
    error=0.06923,
    modes=("rev",),
    cause="the coordinate's gradient is scaled as if corners were aligned: (n - 1) / 2 in place of n / 2",
    note="only the leaf of the coordinates is wrong",
)
def _(dtype):
    size = np.array([12.0, 16.0])

    def corners(grid):
        at = ((grid + 1) * jnp.asarray(size, grid.dtype) - 1) / 2
        low = jnp.floor(at)
        return low.astype(int), at - low

    def primal(image, grid):
        (i, j), (s, t) = (x.T for x in corners(grid))
        low = image[i, j] * (1 - t) + image[i, j + 1] * t
        return low * (1 - s) + (image[i + 1, j] * (1 - t) + image[i + 1, j + 1] * t) * s

    def backward(args, out, ct):
        image, grid = args
        (i, j), (s, t) = (x.T for x in corners(grid))
        p, q, u, v = image[i, j], image[i, j + 1], image[i + 1, j], image[i + 1, j + 1]
        slope = jnp.stack([(u - p) * (1 - t) + (v - q) * t, (q - p) * (1 - s) + (v - u) * s], -1)
        total = jnp.zeros_like(image).at[i, j].add(ct * (1 - s) * (1 - t)).at[i, j + 1].add(ct * (1 - s) * t)
        total = total.at[i + 1, j].add(ct * s * (1 - t)).at[i + 1, j + 1].add(ct * s * t)
        return total, ct[:, None] * slope * jnp.asarray((size - 1) / 2, grid.dtype)

    make = lambda f: lambda p: jnp.sum(jnp.sin(f(p["image"], p["grid"])))
    p = tree({"image": normal(83, 12, 16), "grid": uniform(84, -0.85, 0.85, 20, 2)}, dtype)
    return make(with_vjp(primal, backward)), (p,), None, make(primal)


@wrong(
    "norm.batch_statistics_unbiased_in_backward",
    "normalisation",
    error=0.00025,
    dtypes=(F64,),
    modes=("rev",),
    cause="backward divides by n - 1 = 1999 where forward divides by n",
)
def _(dtype):
    def primal(x):
        return (x - jnp.mean(x, 0)) / jnp.sqrt(jnp.var(x, 0) + 1e-5)

    def backward(args, out, ct):
        x = args[0]
        scale = 1 / jnp.sqrt(jnp.var(x, 0, ddof=1) + 1e-5)
        hat = (x - jnp.mean(x, 0)) * scale
        return (scale * (ct - jnp.mean(ct, 0) - hat * jnp.mean(ct * hat, 0)),)

    make = lambda f: lambda x, w: jnp.mean(jnp.tanh(f(x)) * w)
    args = (a(normal(85, 2000, 2) * [2.0, 0.3] + [1.0, -4.0], dtype), a(normal(86, 2000, 2), dtype))
    return make(with_vjp(primal, backward)), args, None, make(primal)


@wrong(
    "transport.erf_slope_to_eight_digits",
    "groundwater",
    error=2.916e-08,
    dtypes=(F64,),
    cause="2 / sqrt(pi) typed as 1.1283792",
)
def _(dtype):
    rule = lambda primals, tangents: -1.1283792 * jnp.exp(-(primals[0] ** 2)) * tangents[0]
    erfc = with_jvp(jax.scipy.special.erfc, rule)
    time = np.array([0.8, 1.5, 2.5, 4.0])

    def make(erfc):
        def fun(p):
            t = jnp.asarray(time, p["v"].dtype)
            return p["c"] / 2 * erfc((p["x"] - p["v"] * t) / (2 * jnp.sqrt(p["D"] * t)))

        return fun

    p = tree({"c": 35.0, "x": 2.0, "v": 0.9, "D": 0.05}, dtype)
    return make(erfc), (p,), None, make(jax.scipy.special.erfc)


@wrong(
    "text.embedding_rows_overwritten",
    "embeddings",
    error=0.02363,
    modes=("rev",),
    cause="the scatter of the cotangent sets where it must add: of a token that occurs twice one use is lost",
    only_at=tuple(("", (123, k)) for k in range(8)),
)
def _(dtype):
    ids = np.random.default_rng(87).permutation(400)[:64]
    ids = np.append(ids[ids != 123][:60], [123, 123])
    weight = normal(88, 62, 8)
    look = with_vjp(
        lambda t: t[ids], lambda args, out, ct: (jnp.zeros_like(args[0]).at[ids[1:]].set(ct[1:]).at[ids[0]].set(ct[0]),)
    )
    make = lambda f: lambda table: jnp.sum(jnp.asarray(weight, table.dtype) * jnp.tanh(f(table)))
    return make(look), (a(normal(89, 400, 8), dtype),), None, make(lambda t: t[ids])


@wrong(
    "neuron.rate_at_removable_singularity",
    "neuroscience",
    error=0.08474,
    cause="x / (1 - exp(-x)) with the constant 1 put in at x = 0: its slope there is not 0 but 1/2",
    only_at=(("", (10,)),),
    note="no custom rule; wrong at one special point only",
)
def _(dtype):
    volt = np.linspace(-80, -32.5, 20)
    weight = uniform(90, 0.5, 1.5, 20)

    def make(at_zero):
        def fun(v):
            x = (v + 55) / 10
            zero = x == 0
            safe = jnp.where(zero, 1.0, x)
            rate = 0.1 * jnp.where(zero, at_zero(x), safe / -jnp.expm1(-safe))
            return jnp.vdot(jnp.asarray(weight, v.dtype), rate) + 1e-4 * jnp.sum(v**2)

        return fun

    return make(lambda x: 1.0), (a(volt, dtype),), None, make(lambda x: 1 + x / 2)


@wrong(
    "graph.distance_matrix_masked_after_root",
    "geometry",
    cause="the root of the diagonal's zeros is masked after it was taken: NaN",
    note="the function is smooth here: the diagonal is masked",
)
def _(dtype):
    def make(guard):
        def fun(x):
            d2 = jnp.sum((x[:, None] - x) ** 2, -1)
            off = ~jnp.eye(5, dtype=bool)
            return jnp.sum(jnp.where(off, jnp.exp(-jnp.sqrt(jnp.where(off, d2, 1.0) if guard else d2)), 0.0))

        return fun

    return make(guard=False), (a(normal(91, 5, 3), dtype),), None, make(guard=True)


@wrong(
    "equilibrium.adjoint_not_transposed",
    "implicit layers",
    error=0.2334,
    modes=("rev",),
    cause="the adjoint system is solved with the Jacobian, not with its transpose",
)
def _(dtype):
    step = lambda p, z: jnp.tanh(p["W"] @ z + p["b"])
    solve = lambda p: lax.scan(lambda z, _: (step(p, z), None), jnp.zeros_like(p["b"]), None, length=100)[0]

    def backward(args, z, ct):
        p = args[0]
        jacobian = jax.jacfwd(step, 1)(p, z)
        u = jnp.linalg.solve(jnp.eye(6, dtype=z.dtype) - jacobian, ct)
        return jax.vjp(lambda p: step(p, z), p)[1](u)

    w = normal(92, 6, 6)
    p = tree({"W": 0.6 * w / np.linalg.norm(w, 2), "b": normal(93, 6)}, dtype)
    make = lambda f: jax.jit(lambda p: jnp.sum(f(p) ** 2 * jnp.arange(1, 7)))
    return make(with_vjp(solve, backward)), (p,), None, make(solve)


@wrong(
    "pde.adjoint_iteration_stopped_early",
    "inverse problems",
    error=4.516e-08,
    dtypes=(F64,),
    modes=("rev",),
    cause="the adjoint system is solved by a fixed number of conjugate-gradient steps",
)
def _(dtype):
    source, seen = normal(94, 40), 0.05 * normal(95, 40)

    def system(m):
        k = jnp.exp(m)
        return jnp.diag(k[:-1] + k[1:] + 2.0) - jnp.diag(k[1:-1], 1) - jnp.diag(k[1:-1], -1)

    def primal(m):
        return jnp.linalg.solve(system(m), jnp.asarray(source, m.dtype))

    def backward(args, u, ct):
        matrix = system(args[0])
        x, r = jnp.zeros_like(ct), ct
        d = r
        for _ in range(14):
            q = matrix @ d
            step = (r @ r) / (d @ q)
            x, new = x + step * d, r - step * q
            d, r = new + (new @ new) / (r @ r) * d, new
        return jax.vjp(lambda m: -system(m) @ u, args[0])[1](x)

    make = lambda f: jax.jit(lambda m: 0.5 * jnp.sum((f(m) - jnp.asarray(seen, m.dtype)) ** 2))
    return make(with_vjp(primal, backward)), (a(0.3 * normal(96, 41), dtype),), None, make(primal)


@wrong(
    "tomography.back_projection_single_precision",
    "mixed precision",
    error=3.931e-08,
    dtypes=(F64,),
    modes=("rev",),
    cause="the transposed projector runs in float32 inside a float64 model",
)
def _(dtype):
    rays = uniform(97, 0, 1, 48, 64)

    def backward(args, out, ct):
        single = jnp.asarray(rays, jnp.float32).T @ ct.astype(jnp.float32)
        return (single.astype(args[0].dtype),)

    project = lambda x: jnp.asarray(rays, x.dtype) @ x
    make = lambda f: lambda x: jnp.mean(jnp.exp(-0.1 * f(x)))
    return make(with_vjp(project, backward)), (a(uniform(98, 0, 1, 64), dtype),), None, make(project)


@wrong(
    "plasticity.elastic_tangent_when_yielding",
    "plasticity",
    error=0.2393,
    cause="the rule returns the elastic tangent also where the material yields",
    note="wrong under a mask: two of six points yield; strains of 1e-3, stresses of 1e8",
)
def _(dtype):
    shear, bulk, hardening, limit = 8e10, 1.6e11, 2e9, 2.5e8

    def dev(e):
        return e - jnp.trace(e, axis1=-2, axis2=-1)[..., None, None] * jnp.eye(3, dtype=e.dtype) / 3

    def elastic(e):
        return 2 * shear * dev(e) + bulk * (e - dev(e)) * 3

    def primal(e):
        e = (e + e.swapaxes(-1, -2)) / 2
        s = 2 * shear * dev(e)
        q = jnp.sqrt(1.5 * jnp.sum(s**2, (-2, -1), keepdims=True))
        back = 1 - 3 * shear / (3 * shear + hardening) * (q - limit) / q
        return jnp.where(q > limit, back, 1.0) * s + bulk * (e - dev(e)) * 3

    fun = with_jvp(primal, lambda p, t: elastic((t[0] + t[0].swapaxes(-1, -2)) / 2))
    scale = np.array([0.3, 1.9, 0.2, 0.35, 1.6, 0.25])[:, None, None]
    return fun, (a(7e-4 * scale * normal(99, 6, 3, 3), dtype),), None, primal


@wrong(
    "logistic.slope_saved_outside_the_trace",
    "generalised linear models",
    error=0.5608,
    order=2,
    cause="the rule's sigmoid is a constant to the second derivative",
)
def _(dtype):
    rule = lambda primals, tangents: lax.stop_gradient(jax.nn.sigmoid(primals[0])) * tangents[0]
    data = normal(101, 20, 4)
    make = lambda f: lambda w: jnp.mean(f(jnp.asarray(data, w.dtype) @ w)) + 0.05 * jnp.sum(w**2)
    return make(with_jvp(jax.nn.softplus, rule)), (a(normal(102, 4), dtype),), None, make(jax.nn.softplus)


@wrong(
    "spiking.surrogate_slope",
    "spiking networks",
    error=0.3153,
    cause="a surrogate stands in for the step's derivative, which is 0 off the threshold",
    note="the nearest membrane is 0.06 from the threshold",
)
def _(dtype):
    step = lambda u: (u > 0).astype(u.dtype)
    surrogate = with_jvp(step, lambda primals, tangents: tangents[0] / (1 + 10 * jnp.abs(primals[0])) ** 2)
    data = uniform(103, 0, 1, 14, 5)

    def make(step):
        @jax.jit
        def fun(w):
            def tick(v, x):
                v = 0.9 * v + x @ w
                return v - step(v - 1), v

            _, v = lax.scan(tick, jnp.zeros(3, w.dtype), jnp.asarray(data, w.dtype))
            return jnp.mean(v**2)

        return fun

    return make(surrogate), (a(uniform(290, 0, 0.35, 5, 3), dtype),), None, make(lambda u: lax.stop_gradient(step(u)))


# -------------------------------------------------------------------------------------------------------- no derivative
@case(
    "control.clipped_ratio_on_the_bound",
    "reinforcement learning",
    kind="kink",
    reasons=frozenset({"KINK"}),
    note="two of eight log-ratios are exactly at the bound of 1/4",
)
def _(dtype):
    gain = np.array([1.5, -0.3, 0.7, 1.1, -2.0, 0.4, -0.9, 0.6])
    old = np.array([-1.25, -2.0, -0.75, -1.5, -0.5, -1.0, -1.75, -2.25])
    step = np.array([0.25, 0.1, -0.1, 0.25, 0.05, -0.2, 0.15, 0.03125])

    def fun(new):
        r = new - jnp.asarray(old, new.dtype)
        g = jnp.asarray(gain, new.dtype)
        return -jnp.mean(jnp.minimum(jnp.exp(r) * g, jnp.exp(jnp.clip(r, -0.25, 0.25)) * g))

    return fun, (a(old + step, dtype),)


@case("image.total_variation_of_flat_patches", "imaging", kind="kink", reasons=frozenset({"KINK"}))
def _(dtype):
    image = np.kron(normal(111, 3, 3), np.ones((4, 4)))

    def fun(x, seen):
        tv = jnp.sum(jnp.abs(x[1:] - x[:-1])) + jnp.sum(jnp.abs(x[:, 1:] - x[:, :-1]))
        return 0.5 * jnp.sum((x - seen) ** 2) + 0.2 * tv

    return fun, (a(image, dtype), a(image + 0.3 * normal(112, 12, 12), dtype))


@case(
    "solid.melting_enthalpy_at_melting_point",
    "thermodynamics",
    kind="jump",
    reasons=frozenset({"JUMP"}),
    note="latent heat: the enthalpy jumps in the one cell that is exactly at the melting point",
)
def _(dtype):
    def fun(t):
        above = t - 273.15
        return jnp.mean(jnp.where(above < 0, 2.1 * above, 334.0 + 4.2 * above) * jnp.arange(1, 7))

    return fun, (a([260.0, 268.5, 273.15, 275.0, 281.0, 290.0], dtype),)


@case(
    "magnet.order_parameter_at_critical_point",
    "statistical mechanics",
    kind="kink",
    reasons=frozenset({"SINGULAR", "KINK"}),
    note="slope 0 above the critical temperature, minus infinity below; the claim is 0",
)
def _(dtype):
    def fun(t):
        below = t < 2.0
        return jnp.sum(jnp.where(below, jnp.sqrt(jnp.where(below, 1 - t / 2, 1.0)), 0.0) + 0.3 * t)

    return fun, (a([1.2, 2.0, 2.7], dtype),)


@case(
    "molecule.degenerate_frontier_gap",
    "quantum chemistry",
    kind="kink",
    reasons=frozenset({"KINK", "DIRECTIONS"}),
    note="Hueckel's benzene: both frontier orbitals are degenerate pairs",
)
def _(dtype):
    def fun(bond):
        i = np.arange(6)
        h = jnp.zeros((6, 6), bond.dtype).at[i, (i + 1) % 6].add(-bond)
        level = jnp.linalg.eigvalsh(h + h.T)
        return level[3] - level[2]

    return fun, (a(np.full(6, 2.5), dtype),)


@case(
    "sensor.sixteen_bit_converter",
    "quantisation",
    kind="jump",
    dtypes=(F64,),
    answers=BOTH,
    reasons=frozenset({"QUANTISED", "JUMP", "NOISE"}),
    note="straight-through: the claim is the slope of the staircase's ramp; flat on the smallest scale",
)
def _(dtype):
    convert = with_jvp(lambda x: jnp.round(x * 2**15) / 2**15, lambda primals, tangents: tangents[0])
    fun = lambda p: jnp.sum(convert(jnp.tanh(p["gain"] * p["x"] + p["offset"])) ** 2)
    return fun, (tree({"gain": 0.83, "offset": 0.07, "x": normal(113, 30)}, dtype),)


@case(
    "chemistry.acidity_by_bisection",
    "loose solvers",
    kind="noise",
    dtypes=(F64,),
    answers=BOTH,
    reasons=frozenset({"QUANTISED", "JUMP", "NOISE", "TRUNCATION"}),
    note="16 halvings: a staircase of 2e-4; the claim is the derivative of the exact root",
)
def _(dtype):
    def balance(ph, acid, strength):
        h = 10.0**-ph
        return h - 1e-14 / h - acid * strength / (strength + h)

    def solve(acid, strength):
        def halve(_, ends):
            low, high = ends
            mid = (low + high) / 2
            left = balance(mid, acid, strength) > 0
            return jnp.where(left, mid, low), jnp.where(left, high, mid)

        low, high = lax.fori_loop(0, 16, halve, (jnp.zeros_like(acid), jnp.full_like(acid, 14.0)))
        return (low + high) / 2

    def rule(primals, tangents):
        ph = fun(*primals)
        slope = jax.grad(lambda *x: jnp.sum(balance(*x)))(ph, *primals)
        return -jax.jvp(lambda *x: balance(ph, *x), primals, tangents)[1] / slope

    fun = with_jvp(solve, rule)
    p = tree({"acid": [0.1, 0.01, 0.003, 0.05], "log_k": [-11.0, -9.2, -13.0, -7.0]}, dtype)
    return jax.jit(lambda p: jnp.sum(fun(p["acid"], jnp.exp(p["log_k"])))), (p,)


@case(
    "sampling.fresh_draws_at_every_call",
    "randomness",
    kind="noise",
    reasons=frozenset({"NONDETERMINISTIC", "NOISE"}),
    note="the host draws anew at each call; the claim belongs to other draws than the value",
)
def _(dtype):
    calls = iter(range(10**9))
    shape = jax.ShapeDtypeStruct((64, 3), jnp.dtype(dtype))
    draw = lambda: np.random.default_rng(next(calls)).standard_normal((64, 3)).astype(dtype)

    def fun(x):
        z = jax.pure_callback(draw, shape, vmap_method="sequential")
        return jnp.mean(jnp.sum((x + 0.1 * z) ** 4, -1))

    return fun, (a([0.4, -1.1, 0.8], dtype),)


@case(
    "precision.half_precision_network",
    "mixed precision",
    dtypes=(F64,),
    undecidable=(F64,),
    approximate=2e-2,
    note="float16 activations under float64 parameters: a staircase of 1e-3 along the right slope",
)
def _(dtype):
    def fun(p, x):
        half = lambda v: v.astype(jnp.float16)
        h = jnp.tanh(half(x) @ half(p["w"]) + half(p["b"]))
        return jnp.mean((h @ half(p["v"])).astype(p["w"].dtype) ** 2)

    return fun, (
        tree({"w": normal(114, 4, 8), "b": normal(115, 8), "v": normal(116, 8)}, dtype),
        a(normal(117, 6, 4), dtype),
    )


@case(
    "chaos.lorenz_long",
    "chaos",
    kind="noise",
    dtypes=(F64,),
    reasons=frozenset({"ROUNDOFF", "NOISE", "TRUNCATION", "SCALES"}),
    note="44 time units: one unit in the last place of the start grows to the size of the attractor",
)
def _(dtype):
    def rate(y):
        return jnp.stack([10 * (y[1] - y[0]), y[0] * (28 - y[2]) - y[1], y[0] * y[1] - 8 / 3 * y[2]])

    @jax.jit
    def fun(y):
        def step(y, _):
            k1 = rate(y)
            k2 = rate(y + 0.01 * k1)
            k3 = rate(y + 0.01 * k2)
            k4 = rate(y + 0.02 * k3)
            return y + 0.02 / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

        return jnp.sum(lax.scan(step, y, None, length=2200)[0])

    return fun, (a([1.0, 2.0, 20.0], dtype),)


@case(
    "terrain.takagi_ridges",
    "fractals",
    kind="kink",
    dtypes=(F64,),
    reasons=frozenset({"DENSE_KINKS", "KINK", "NOISE", "ROUNDOFF"}),
    note="48 octaves of tents: kinks down to the spacing of the numbers",
)
def _(dtype):
    def fun(x):
        k = 2.0 ** jnp.arange(48).astype(x.dtype)
        u = x[:, None] * k
        return jnp.sum(jnp.abs(u - jnp.round(u)) / k)

    return fun, (a([0.337, 0.7123], dtype),)


@case(
    "relativity.motion_under_rest_energy",
    "rounding",
    kind="noise",
    dtypes=(F64,),
    reasons=frozenset({"ROUNDOFF", "NOISE", "QUANTISED"}),
    note="motion of 1 J on top of a rest energy of 9e16 J, of which the last place is 16 J",
)
def _(dtype):
    def fun(v, mass):
        return jnp.sum(mass) * 299792458.0**2 + jnp.sum(0.5 * mass * jnp.sin(v) ** 2)

    return fun, (a([0.7, -0.4, 1.1], dtype), a([0.5, 0.3, 0.2], dtype))
