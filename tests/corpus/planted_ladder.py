"""Derivatives of smooth models that are off by a known factor somewhere inside: a ladder of sizes down to 3e-9."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from corpus.build import array, normal, positive_definite
from corpus.case import F32, F64, Collection

CASES = Collection()
FAMILY = "planted mistake, known size"


# ---- how a right function gets a wrong derivative


def faithful(fun):
    """The function as it is."""
    return fun


def forward_off(size, fun):
    """The tangent is too large by this share."""
    planted = jax.custom_jvp(fun)

    @planted.defjvp
    def rule(primals, tangents):
        out, tangent = jax.jvp(fun, primals, tangents)
        return out, tangent * (1 + size)

    return planted


def backward_off(size, fun):
    """The cotangent of the first argument is too large by this share; those of the others are right."""
    planted = jax.custom_vjp(fun)

    def backward(pull, cotangent):
        first, *others = pull(cotangent)
        return first * (1 + size), *others

    planted.defvjp(functools.partial(jax.vjp, fun), backward)
    return planted


def elsewhere(size, fun):
    """The derivative is that at a point which is off by this share."""
    planted = jax.custom_jvp(fun)

    @planted.defjvp
    def rule(primals, tangents):
        return fun(*primals), jax.jvp(fun, tuple(x * (1 + size) for x in primals), tangents)[1]

    return planted


def same(x):
    """The identity: planting in it spoils the derivative of one leaf."""
    return x


# ---- models: `plant` makes the mistake, or none


def mlp(dtype, plant):
    act, x, y = plant(jnp.tanh), array(normal(1, 20, 6), dtype), array(normal(2, 20), dtype)
    params = {
        "w1": array(normal(3, 6, 8) / 2, dtype),
        "b1": array(normal(4, 8) / 4, dtype),
        "w2": array(normal(5, 8) / 2, dtype),
        "b2": array(0.1, dtype),
    }
    return (lambda p: jnp.mean((act(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"] - y) ** 2)), (params,)


def mlp_one_bias(dtype, plant):
    leaf, (fun, args) = plant(same), mlp(dtype, faithful)
    return (lambda p: fun({**p, "b1": leaf(p["b1"])})), args


def logistic_regression(dtype, plant):
    soft, x = plant(jax.nn.softplus), array(normal(6, 40, 5), dtype)
    y = array(np.sign(normal(7, 40)), dtype)
    return (lambda w: jnp.sum(soft(-y * (x @ w))) + 0.05 * jnp.vdot(w, w)), (array(normal(8, 5), dtype),)


def poisson_regression(dtype, plant):
    link, x = plant(jnp.exp), array(normal(9, 30, 4) / 2, dtype)
    counts = array(np.random.default_rng(10).poisson(3.0, 30), dtype)

    def fun(p):
        eta = x @ p["slope"] + p["offset"]
        return jnp.sum(link(eta) - counts * eta)

    return fun, ({"slope": array(normal(11, 4) / 2, dtype), "offset": array(1.1, dtype)},)


def mixture(dtype, plant):
    inner, x = plant(lambda z: jax.nn.logsumexp(z, axis=1)), array(normal(12, 50) * 2, dtype)

    def fun(p):
        logits = (
            jax.nn.log_softmax(p["weight"]) - jnp.log(p["scale"]) - ((x[:, None] - p["mean"]) / p["scale"]) ** 2 / 2
        )
        return -jnp.sum(inner(logits))

    params = {"weight": [0.2, -0.3, 0.1], "mean": [-2.0, 0.1, 1.7], "scale": [0.8, 0.5, 1.2]}
    return fun, ({k: array(v, dtype) for k, v in params.items()},)


def morse_cluster(dtype, plant):
    bond = plant(lambda r: (1 - jnp.exp(-(r - 1))) ** 2)
    i, j = np.triu_indices(6, 1)

    def fun(x):
        return jnp.sum(bond(jnp.sqrt(jnp.sum((x[i] - x[j]) ** 2, 1))))

    return fun, (array(normal(13, 6, 3) * 1.3, dtype),)


def attention(dtype, plant):
    weights, x = plant(lambda s: jax.nn.softmax(s, axis=-1)), array(normal(14, 7, 6), dtype)
    target = array(normal(15, 7, 6), dtype)

    def fun(p):
        q, k, v = (x @ p[name] for name in "qkv")
        return jnp.mean((weights(q @ k.T / 6**0.5) @ v @ p["o"] - target) ** 2)

    return fun, ({name: array(normal(16 + i, 6, 6) / 2, dtype) for i, name in enumerate("qkvo")},)


def layer_norm(dtype, plant):
    root, x = plant(lambda v: 1 / jnp.sqrt(v + 1e-5)), array(normal(21, 5, 9) * 2 + 1, dtype)
    target = array(normal(22, 5, 9), dtype)

    def fun(p):
        y = x @ p["w"]
        centred = y - y.mean(-1, keepdims=True)
        y = centred * root(jnp.mean(centred**2, -1, keepdims=True)) * p["gain"] + p["shift"]
        return jnp.sum((jax.nn.gelu(y) - target) ** 2)

    params = {"w": normal(23, 9, 9) / 3, "gain": 1 + normal(24, 9) / 9, "shift": normal(25, 9) / 9}
    return fun, ({k: array(v, dtype) for k, v in params.items()},)


def convolution(dtype, plant):
    image, target = array(normal(26, 1, 2, 8, 8), dtype), array(normal(27, 1, 3, 6, 6), dtype)
    conv = plant(lambda kernel: jax.lax.conv(image, kernel, (1, 1), "VALID"))
    return (lambda kernel: jnp.mean((jnp.tanh(conv(kernel)) - target) ** 2)), (
        array(normal(28, 3, 2, 3, 3) / 3, dtype),
    )


def gru(dtype, plant):
    gate, xs, target = plant(jax.nn.sigmoid), array(normal(29, 9, 3), dtype), array(normal(30, 4), dtype)

    def fun(p):
        def step(h, x):
            z, r = jnp.split(gate(x @ p["in"] + h @ p["rec"]), 2)
            new = jnp.tanh(x @ p["in_new"] + (r * h) @ p["rec_new"])
            return (1 - z) * h + z * new, None

        return jnp.sum((jax.lax.scan(step, jnp.zeros(4, dtype), xs)[0] - target) ** 2)

    shapes = {"in": (3, 8), "rec": (4, 8), "in_new": (3, 4), "rec_new": (4, 4)}
    return fun, ({k: array(normal(31 + i, *s) / 2, dtype) for i, (k, s) in enumerate(shapes.items())},)


def gaussian_process(dtype, plant):
    logdet, x = plant(lambda k: jnp.linalg.slogdet(k)[1]), array(np.linspace(0, 3, 12), dtype)
    y = array(np.sin(np.linspace(0, 3, 12)) + 0.1 * normal(35, 12), dtype)

    def fun(p):
        k = jnp.exp(2 * p["amplitude"] - (x[:, None] - x) ** 2 * jnp.exp(-2 * p["length"]) / 2)
        k = k + jnp.exp(2 * p["noise"]) * jnp.eye(12, dtype=dtype)
        return (y @ jnp.linalg.solve(k, y) + logdet(k)) / 2

    return fun, ({k: array(v, dtype) for k, v in {"amplitude": 0.1, "length": -0.3, "noise": -1.2}.items()},)


def matrix_exponential(dtype, plant):
    flow, start = plant(jax.scipy.linalg.expm), array(normal(36, 5), dtype)
    return (lambda a: jnp.sum(jnp.cos(flow(a) @ start))), (array(normal(37, 5, 5) / 2, dtype),)


def spline(dtype, plant):
    blend = plant(
        lambda t: jnp.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
    )
    where, y = np.random.default_rng(38).uniform(0.1, 5.9, 25), array(normal(39, 25), dtype)
    cell = np.floor(where).astype(int)

    def fun(p):
        t = array(where - cell, dtype) * p["stretch"]
        return jnp.sum((jnp.sum(blend(t) * p["knots"][cell + np.arange(4)[:, None]], 0) - y) ** 2)

    return fun, ({"knots": array(normal(40, 9), dtype), "stretch": array(0.9, dtype)},)


def pendulum(dtype, plant):
    force = plant(lambda q, k: -k * jnp.sin(q))

    def field(state, p):
        return jnp.stack([state[1], force(state[0], p["stiffness"]) - p["friction"] * state[1]])

    def fun(p):
        def step(s, _):
            k1 = field(s, p)
            k2 = field(s + 0.05 * k1, p)
            k3 = field(s + 0.05 * k2, p)
            k4 = field(s + 0.1 * k3, p)
            return s + (k1 + 2 * k2 + 2 * k3 + k4) / 60, None

        return jnp.sum(jax.lax.scan(step, p["start"], None, 30)[0] ** 2)

    return fun, ({"stiffness": array(2.3, dtype), "friction": array(0.15, dtype), "start": array([1.2, -0.4], dtype)},)


def heat_equation(dtype, plant):
    conductivity = plant(lambda u: 1 + u**2 / 4)

    def fun(u):
        def step(u, _):
            k = conductivity(u)
            flux = (k[1:] + k[:-1]) / 2 * jnp.diff(u)
            return u.at[1:-1].add(0.2 * jnp.diff(flux)), None

        return jnp.sum(jnp.exp(jax.lax.scan(step, u, None, 15)[0]))

    return fun, (array(np.sin(np.linspace(0, 3, 20)) + 0.1 * normal(41, 20), dtype),)


def free_energy(dtype, plant):
    entropy, coupling = plant(lambda m: jax.scipy.special.xlogy(m, m)), array(normal(42, 8, 8) / 4, dtype)

    def fun(field):
        m = jax.nn.sigmoid(field)
        return m @ coupling @ m + jnp.sum(entropy(m) + entropy(1 - m))

    return fun, (array(normal(43, 8), dtype),)


def kalman_filter(dtype, plant):
    innovation, ys = plant(lambda e, s: e**2 / s + jnp.log(s)), array(np.cumsum(normal(44, 25)), dtype)

    def fun(p):
        def step(carry, y):
            mean, var = carry
            var = var + jnp.exp(p["process"])
            s = var + jnp.exp(p["noise"])
            gain = var / s
            cost = innovation(y - p["drift"] * mean, s)
            return (p["drift"] * mean + gain * (y - p["drift"] * mean), (1 - gain) * var), cost

        start = jnp.zeros((), dtype), jnp.ones((), dtype)
        return jnp.sum(jax.lax.scan(step, start, ys)[1]) / 2

    return fun, ({k: array(v, dtype) for k, v in {"process": -0.5, "noise": -0.2, "drift": 0.95}.items()},)


def tikhonov(dtype, plant):
    solve, rhs = plant(jnp.linalg.solve), array(normal(45, 6), dtype)
    base = array(positive_definite(46, 6), dtype)

    def fun(p):
        x = solve(base + jnp.exp(p["log_weight"]) * jnp.eye(6, dtype=dtype), rhs * p["gain"])
        return jnp.sum(jnp.log1p(x**2))

    return fun, ({"log_weight": array(-1.0, dtype), "gain": array(1 + normal(47, 6) / 5, dtype)},)


def two_leaves(share, dtype, plant):
    """A leaf `small`, where the mistake is, with this share of the whole derivative."""
    leaf = plant(same)

    def fun(p):
        return jnp.sum(jnp.sin(p["large"]) * jnp.exp(p["large"] / 2)) + share * jnp.sum(jnp.tanh(leaf(p["small"])) ** 2)

    return fun, ({"large": array(normal(48, 6), dtype), "small": array(0.3 + normal(49, 5) / 2, dtype)},)


# ---- the ladder

OFF = {"forward": forward_off, "backward": backward_off, "elsewhere": elsewhere}
CAUSE = {
    "forward": "tangent of an inner function too large",
    "backward": "cotangent of an inner function too large",
    "elsewhere": "derivative of an inner function taken at another point",
}
# model, how, size of the mistake, its error over the whole gradient
LADDER = (
    (mlp, "forward", 1e-1, 0.06002),
    (mlp, "forward", 1e-4, 6.002e-5),
    (mlp, "forward", 1e-7, 6.002e-8),
    (mlp_one_bias, "backward", 1e-2, 0.001281),
    (mlp_one_bias, "backward", 1e-5, 1.281e-6),
    (mlp_one_bias, "backward", 5e-8, 6.406e-9),
    (logistic_regression, "elsewhere", 1e-3, 1.339e-4),
    (logistic_regression, "elsewhere", 1e-6, 1.341e-7),
    (logistic_regression, "elsewhere", 4e-8, 5.362e-9),
    (poisson_regression, "forward", 1e-4, 2.961e-4),
    (poisson_regression, "forward", 1e-7, 2.961e-7),
    (poisson_regression, "forward", 1e-1, 0.2961),
    (mixture, "backward", 1e-5, 1e-5),
    (mixture, "backward", 5e-8, 5e-8),
    (mixture, "backward", 1e-2, 0.01),
    (morse_cluster, "elsewhere", 1e-6, 2.325e-6),
    (morse_cluster, "elsewhere", 9e-9, 2.093e-8),
    (morse_cluster, "elsewhere", 1e-3, 0.002322),
    (attention, "forward", 1e-7, 5.255e-8),
    (attention, "forward", 1e-1, 0.05255),
    (attention, "forward", 1e-4, 5.255e-5),
    (layer_norm, "backward", 5e-8, 2.487e-8),
    (layer_norm, "backward", 1e-2, 0.004974),
    (layer_norm, "backward", 1e-5, 4.974e-6),
    (convolution, "forward", 9e-9, 9e-9),
    (convolution, "forward", 1e-3, 0.001),
    (convolution, "forward", 1e-6, 1e-6),
    (gru, "forward", 1e-1, 0.05121),
    (gru, "forward", 1e-4, 5.117e-5),
    (gru, "forward", 1e-7, 5.117e-8),
    (gaussian_process, "backward", 1e-2, 0.01159),
    (gaussian_process, "backward", 1e-5, 1.159e-5),
    (gaussian_process, "backward", 5e-8, 5.795e-8),
    (matrix_exponential, "elsewhere", 1e-3, 2.423e-4),
    (matrix_exponential, "elsewhere", 1e-6, 2.423e-7),
    (matrix_exponential, "elsewhere", 2e-8, 4.845e-9),
    (spline, "forward", 1e-4, 5.25e-5),
    (spline, "forward", 1e-7, 5.25e-8),
    (spline, "forward", 1e-1, 0.0525),
    (pendulum, "backward", 1e-5, 1.148e-5),
    (pendulum, "backward", 5e-8, 5.742e-8),
    (pendulum, "backward", 1e-2, 0.01146),
    (heat_equation, "elsewhere", 1e-4, 1.005e-6),
    (heat_equation, "elsewhere", 1e-6, 1.005e-8),
    (heat_equation, "elsewhere", 1e-1, 0.001005),
    (free_energy, "forward", 1e-7, 9.048e-8),
    (free_energy, "forward", 1e-1, 0.09048),
    (free_energy, "forward", 1e-4, 9.048e-5),
    (kalman_filter, "backward", 5e-8, 4.905e-8),
    (kalman_filter, "backward", 1e-2, 0.009809),
    (kalman_filter, "backward", 1e-5, 9.809e-6),
    (tikhonov, "elsewhere", 9e-9, 9e-9),
    (tikhonov, "elsewhere", 1e-3, 9.99e-4),
    (tikhonov, "elsewhere", 1e-6, 1e-6),
)


def add(name, model, plant, modes=("rev", "fwd"), leaf=None, **details):
    """A wrong case. `leaf` is the relative error within the leaf that is wrong, where that is not the whole."""

    def truth():
        fun, args = model(F64, faithful)
        return jax.grad(fun)(*args)

    dtypes = (F64, F32) if (leaf or details["error"]) > 2e-3 else (F64,)
    CASES.add(
        f"planted.{name}",
        lambda dtype: model(dtype, plant),
        FAMILY,
        kind="wrong",
        **{"dtypes": dtypes, "modes": modes, "truth": truth, **details},
    )


for model, how, size, error in LADDER:
    right = f"planted.{model.__name__}_{how}_right"
    if not any(case.name == right for case in CASES):
        CASES.add(
            right,
            functools.partial(lambda model, how, dtype: model(dtype, functools.partial(OFF[how], 0.0)), model, how),
            "custom rule, right",
            modes=("rev",) if how == "backward" else ("rev", "fwd"),
            twin=f"planted.{model.__name__}_{how}_{size:.0e}",
        )
    add(
        f"{model.__name__}_{how}_{size:.0e}",
        model,
        functools.partial(OFF[how], size),
        modes=("rev",) if how == "backward" else ("rev", "fwd"),
        error=error,
        cause=CAUSE[how],
        twin=right,
    )

for share, size, error in (
    (1e-8, 0.5, 2.886e-9),
    (1e-8, 0.03, 1.732e-10),
    (1e-6, 1e-3, 5.772e-10),
    (1e-4, 1e-5, 5.772e-10),
):
    add(
        f"leaf_share_{share:.0e}_off_{size:.0e}",
        functools.partial(two_leaves, share),
        functools.partial(forward_off, size),
        error=error,
        dtypes=(F64,),
        cause="the tangent of one leaf too large, where that leaf has a tiny share of the derivative",
        note=f"within its leaf the error is {size:.0e}",
    )
