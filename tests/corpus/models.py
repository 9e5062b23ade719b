"""Models as users write them: neural networks, losses, solvers, distributions, physics, callbacks."""

import functools
import itertools

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import scipy.special
from jax import lax
from jax import nn as jnn

from corpus.build import array, entrywise, normal, uniform
from corpus.case import F32, F64, Collection

CASES = Collection()


def cast(tree, dtype):
    """The floating leaves in this dtype, as one runs a model in another precision."""
    floating = lambda leaf: hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if floating(leaf) else leaf, tree)


# ---- flax linen


def variables(module, x, dtype):
    """The initial variables of a flax module."""
    return cast(module.init(jax.random.key(0), x), dtype)


@CASES.case(
    "linen.mlp_relu", "flax", requires=("flax",), note="ReLU network, 512 hidden pre-activations: some lie near zero"
)
def _(dtype):
    import flax.linen as nn

    m = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(64), nn.relu, nn.Dense(3)])
    x = array(normal(3, 8, 4), dtype)
    p = variables(m, x, dtype)
    return (lambda p, x: jnp.sum(m.apply(p, x) ** 2)), (p, x)


@CASES.case("linen.batchnorm_eval", "flax", requires=("flax",))
def _(dtype):
    import flax.linen as nn

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.BatchNorm(use_running_average=True)(nn.Dense(16)(x))
            return nn.Dense(1)(nn.tanh(x))

    x = array(normal(5, 16, 4), dtype)
    m = Net()
    v = variables(m, x, dtype)
    return (lambda p, s, x: jnp.mean(m.apply({"params": p, "batch_stats": s}, x) ** 2)), (
        v["params"],
        v["batch_stats"],
        x,
    )


@CASES.case("linen.lstm", "flax", requires=("flax",))
def _(dtype):
    import flax.linen as nn

    m = nn.RNN(nn.LSTMCell(8, dtype=jnp.dtype(dtype), param_dtype=jnp.dtype(dtype)))
    x = array(normal(7, 2, 10, 3), dtype)
    p = variables(m, x, dtype)
    return (lambda p, x: jnp.mean(m.apply(p, x)[:, -1] ** 2)), (p, x)


@CASES.case("linen.layernorm_attention_block", "flax", requires=("flax",))
def _(dtype):
    import flax.linen as nn

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = x + nn.MultiHeadDotProductAttention(2)(nn.LayerNorm()(x))
            return x + nn.Dense(16)(nn.gelu(nn.Dense(32)(nn.LayerNorm()(x))))

    x = array(normal(8, 2, 6, 16), dtype)
    m = Block()
    p = variables(m, x, dtype)
    return (lambda p, x: m.apply(p, x)), (p, x)


# ---- equinox


def trainable(m, dtype):
    import equinox as eqx

    return eqx.partition(cast(m, dtype), eqx.is_inexact_array)


@CASES.case("eqx.gru_scan", "equinox", requires=("equinox",))
def _(dtype):
    import equinox as eqx

    p, s = trainable(eqx.nn.GRUCell(2, 8, key=jax.random.key(2)), dtype)

    def f(p, xs):
        cell = eqx.combine(p, s)
        return jnp.sum(lax.scan(lambda h, x: (cell(x, h), None), jnp.zeros(8, xs.dtype), xs)[0] ** 2)

    return f, (p, array(normal(22, 20, 2), dtype))


@functools.cache
def batchnorm_net():
    import equinox as eqx

    class Net(eqx.Module):
        lin: eqx.nn.Linear
        bn: eqx.nn.BatchNorm

        def __init__(self, key):
            self.lin = eqx.nn.Linear(3, 4, key=key)
            self.bn = eqx.nn.BatchNorm(4, "b", mode="batch")

        def __call__(self, x, st):
            y, st = self.bn(self.lin(x), st)
            return jnp.tanh(y), st

    return Net


@CASES.case(
    "eqx.batchnorm_state",
    "equinox",
    requires=("equinox",),
    note="stateful BatchNorm in train mode, vmap with axis_name",
)
def _(dtype):
    import equinox as eqx

    net, state = eqx.nn.make_with_state(batchnorm_net())(jax.random.key(0))
    p, s = trainable(net, dtype)
    leaves, td = jax.tree.flatten(cast(state, dtype))

    def f(p, x):
        state = jax.tree.unflatten(td, leaves)  # an equinox State may be used once
        out, _ = jax.vmap(eqx.combine(p, s), axis_name="b", in_axes=(0, None), out_axes=(0, None))(x, state)
        return jnp.sum(out * jnp.arange(4.0).astype(x.dtype))

    return f, (p, array(normal(23, 12, 3), dtype))


@CASES.case("eqx.transformer_dropout", "equinox", requires=("equinox",))
def _(dtype):
    import equinox as eqx

    k = jax.random.split(jax.random.key(4), 3)
    m = {
        "att": eqx.nn.MultiheadAttention(2, 8, dropout_p=0.2, key=k[0]),
        "ln": eqx.nn.LayerNorm(8),
        "ff": eqx.nn.MLP(8, 8, 16, 1, activation=jnn.gelu, key=k[1]),
    }
    p, s = trainable(m, dtype)

    def f(p, x, key):
        m = eqx.combine(p, s)
        h = jax.vmap(m["ln"])(x)
        x = x + m["att"](h, h, h, key=key)
        return jnp.mean(jax.vmap(m["ff"])(x) ** 2)

    return f, (p, array(normal(24, 6, 8), dtype), jax.random.key(5))


@CASES.case(
    "eqx.spectral_norm",
    "equinox",
    kind="wrong",
    requires=("equinox",),
    approximate=1e-2,
    note="power-iteration vectors are not differentiated (one step, not converged): 2e-3 off, by design",
)
def _(dtype):
    import equinox as eqx

    with jax.enable_x64(True):  # the same weights in every precision: those that float32 draws are nearly converged
        lin, st = eqx.nn.make_with_state(eqx.nn.SpectralNorm)(
            eqx.nn.Linear(4, 3, key=jax.random.key(6)), "weight", key=jax.random.key(7)
        )
        p, s = trainable(lin, dtype)
        leaves, td = jax.tree.flatten(cast(st, dtype))

    def f(p, x):
        st = jax.tree.unflatten(td, leaves)  # an equinox State may be used once
        return jnp.sum(jax.vmap(lambda v: eqx.combine(p, s)(v, st)[0])(x) ** 2)

    return f, (p, array(normal(25, 5, 4), dtype))


# ---- losses


@CASES.case("optax.ctc", "optax", requires=("optax",))
def _(dtype):
    import optax

    return (lambda lg, pad, lab, lpad: optax.ctc_loss(lg, pad, lab, lpad).mean()), (
        array(normal(32, 2, 10, 5), dtype),
        jnp.zeros((2, 10)).astype(dtype),
        jnp.array([[1, 2, 2], [3, 4, 0]]),
        jnp.array([[0.0, 0, 0], [0, 0, 1]]).astype(dtype),
    )


@CASES.case(
    "optax.unrolled_adam",
    "optax",
    requires=("optax",),
    note="gradient of the final loss with respect to the learning rate and start, through 10 Adam steps",
)
def _(dtype):
    import optax

    def f(h, x, y):
        loss = lambda w: jnp.mean((jnp.tanh(x @ w) - y) ** 2)
        opt = optax.adam(jnp.exp(h["log_lr"]))

        def step(c, _):
            w, s = c
            u, s = opt.update(jax.grad(loss)(w), s)
            return (optax.apply_updates(w, u), s), None

        (w, _), _ = lax.scan(step, (h["w0"], opt.init(h["w0"])), None, length=10)
        return loss(w)

    return f, (
        {"log_lr": array(-3.0, dtype), "w0": array(normal(33, 4), dtype)},
        array(normal(34, 10, 4), dtype),
        array(normal(35, 10), dtype),
    )


@CASES.case("optax.safe_norm_clip", "optax", requires=("optax",))
def _(dtype):
    import optax

    return (lambda x: x * jnp.minimum(1.0, 2.0 / optax.safe_norm(x, 1e-6))), (array(normal(36, 6), dtype),)


@CASES.case(
    "optax.soft_dtw",
    "optax",
    requires=("optax",),
    note="soft dynamic time warping as a plain double loop",
)
def _(dtype):
    def f(x, y):
        d = (x[:, None] - y[None]) ** 2
        n, m = d.shape
        big = jnp.asarray(1e6, x.dtype)
        prev = [jnp.zeros((), x.dtype)] + [big] * m
        for i in range(n):
            row = [big]
            for j in range(m):
                row.append(d[i, j] - 0.1 * jnn.logsumexp(-jnp.stack([prev[j], prev[j + 1], row[j]]) / 0.1))
            prev = row
        return prev[-1]

    return f, (array(normal(37, 5), dtype), array(normal(38, 6), dtype))


# ---- ODE, roots


def lotka_volterra(t, y, p):
    return jnp.stack([p["a"] * y[0] - p["b"] * y[0] * y[1], -p["c"] * y[1] + p["d"] * y[0] * y[1]])


def lotka_volterra_at_4(adjoint, dtype, rtol, fixed=False):
    import diffrax as dx

    def f(p, y0):
        ctl = dx.ConstantStepSize() if fixed else dx.PIDController(rtol=rtol, atol=rtol * 1e-2)
        sol = dx.diffeqsolve(
            dx.ODETerm(lotka_volterra),
            dx.Tsit5(),
            0.0,
            4.0,
            0.02,
            y0,
            args=p,
            stepsize_controller=ctl,
            adjoint=adjoint,
            max_steps=16**3,
        )
        return sol.ys[-1]

    p = {k: array(v, dtype) for k, v in zip("abcd", (1.1, 0.4, 0.4, 0.1), strict=True)}
    return f, (p, array([2.0, 1.0], dtype))


@CASES.case("diffrax.fixed_step_checkpoint", "diffeq", requires=("diffrax",), modes=("rev",))
def _(dtype):
    import diffrax as dx

    return lotka_volterra_at_4(dx.RecursiveCheckpointAdjoint(), dtype, 0, fixed=True)


@CASES.case(
    "diffrax.adaptive_checkpoint_loose",
    "diffeq",
    kind="wrong",
    requires=("diffrax",),
    modes=("rev",),
    approximate=5e-2,
    undecidable=(F64, F32),
    note="adaptive steps, rtol 1e-3: the step-size control is not differentiated, by design; 2.5% off",
)
def _(dtype):
    import diffrax as dx

    return lotka_volterra_at_4(dx.RecursiveCheckpointAdjoint(), dtype, 1e-3)


@CASES.case(
    "diffrax.forward_mode", "diffeq", requires=("diffrax",), modes=("fwd",), note="ForwardMode adjoint: no reverse mode"
)
def _(dtype):
    import diffrax as dx

    return lotka_volterra_at_4(dx.ForwardMode(), dtype, 0, fixed=True)


@CASES.case("diffrax.direct_adjoint", "diffeq", requires=("diffrax",), dtypes=(F64,))
def _(dtype):
    import diffrax as dx

    def f(p, y0):
        sol = dx.diffeqsolve(
            dx.ODETerm(lotka_volterra), dx.Heun(), 0.0, 2.0, 0.1, y0, args=p, adjoint=dx.DirectAdjoint(), max_steps=32
        )
        return sol.ys[-1]

    return f, lotka_volterra_at_4(None, dtype, 0)[1]


@CASES.case(
    "diffrax.backsolve_tight",
    "diffeq",
    requires=("diffrax",),
    modes=("rev",),
    dtypes=(F64,),
    approximate=1e-6,
    note="BacksolveAdjoint is approximate: continuous adjoint, error of the order of rtol (1e-9 here)",
)
def _(dtype):
    import diffrax as dx

    return lotka_volterra_at_4(dx.BacksolveAdjoint(), dtype, 1e-9)


@CASES.case(
    "diffrax.backsolve_loose",
    "diffeq",
    kind="wrong",
    requires=("diffrax",),
    modes=("rev",),
    dtypes=(F64,),
    approximate=5e-2,
    undecidable=(F64,),
    note="BacksolveAdjoint at rtol 1e-3: 2.3% off the derivative of the program, by design",
)
def _(dtype):
    import diffrax as dx

    return lotka_volterra_at_4(dx.BacksolveAdjoint(), dtype, 1e-3)


# ---- probabilistic models


@CASES.case("numpyro.lkj_cholesky_mvn", "probabilistic", requires=("numpyro",))
def _(dtype):
    import numpyro.distributions as dist
    from numpyro.distributions.transforms import CorrCholeskyTransform

    y = array(normal(55, 20, 3), dtype)

    def f(p):
        t = CorrCholeskyTransform()
        L = t(p["z"])
        lp = dist.LKJCholesky(3, 2.0).log_prob(L) + t.log_abs_det_jacobian(p["z"], L)
        return lp + jnp.sum(dist.MultivariateNormal(p["m"], scale_tril=jnp.exp(p["ls"])[:, None] * L).log_prob(y))

    return f, (
        {"z": array(normal(56, 3), dtype), "m": array(normal(57, 3), dtype), "ls": array([0.1, -0.2, 0.3], dtype)},
    )


@CASES.case("gp.marginal_likelihood", "probabilistic")
def _(dtype):
    x = uniform(60, 0, 5, 30)

    def f(p, x, y):
        d2 = (x[:, None] - x[None]) ** 2
        k = jnp.exp(2 * p["ls"]) * jnp.exp(-0.5 * d2 / jnp.exp(2 * p["ll"])) + jnp.exp(2 * p["ln"]) * jnp.eye(
            len(x), dtype=x.dtype
        )
        L = jnp.linalg.cholesky(k)
        a = jax.scipy.linalg.solve_triangular(L, y, lower=True)
        return 0.5 * a @ a + jnp.sum(jnp.log(jnp.diag(L)))

    return f, (
        {"ls": array(0.2, dtype), "ll": array(-0.1, dtype), "ln": array(-1.5, dtype)},
        array(x, dtype),
        array(np.sin(x) + 0.1 * normal(61, 30), dtype),
    )


@CASES.case("crf.partition_minus_score", "probabilistic")
def _(dtype):
    tags = jnp.array([0, 2, 1, 1, 0])

    def f(p, tags):
        sc = jnp.sum(p["u"][jnp.arange(5), tags]) + jnp.sum(p["t"][tags[:-1], tags[1:]])
        z = functools.reduce(lambda a, u: jnn.logsumexp(a[:, None] + p["t"], 0) + u, p["u"][1:], p["u"][0])
        return jnn.logsumexp(z) - sc

    return f, ({"u": array(normal(68, 5, 3), dtype), "t": array(normal(69, 3, 3), dtype)}, tags)


@CASES.case("flow.realnvp_logp", "probabilistic")
def _(dtype):
    def f(p, x):
        ld = jnp.zeros(x.shape[0], x.dtype)
        for k, w in enumerate(p):
            a, b = (x[:, :2], x[:, 2:]) if k % 2 == 0 else (x[:, 2:], x[:, :2])
            h = jnp.tanh(a @ w["w"])
            s, t = jnp.tanh(h @ w["s"]), h @ w["t"]
            b = b * jnp.exp(s) + t
            ld = ld + jnp.sum(s, -1)
            x = jnp.concatenate([a, b] if k % 2 == 0 else [b, a], -1)
        return jnp.mean(ld - 0.5 * jnp.sum(x**2, -1))

    p = [
        {
            "w": array(normal(80 + i, 2, 8), dtype),
            "s": array(0.3 * normal(90 + i, 8, 2), dtype),
            "t": array(0.3 * normal(95 + i, 8, 2), dtype),
        }
        for i in range(4)
    ]
    return f, (p, array(normal(99, 10, 4), dtype))


# ---- physics


def double_pendulum(y):
    a, b, wa, wb = y
    d = a - b
    den = 3 - jnp.cos(2 * d)
    da = (-3 * 9.81 * jnp.sin(a) - 9.81 * jnp.sin(a - 2 * b) - 2 * jnp.sin(d) * (wb**2 + wa**2 * jnp.cos(d))) / den
    db = (2 * jnp.sin(d) * (2 * wa**2 + 2 * 9.81 * jnp.cos(a) + wb**2 * jnp.cos(d))) / den
    return jnp.stack([wa, wb, da, db])


def runge_kutta(y, h, g):
    k1 = g(y)
    k2 = g(y + h / 2 * k1)
    k3 = g(y + h / 2 * k2)
    k4 = g(y + h * k3)
    return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


@CASES.case("physics.double_pendulum_short", "physics")
def _(dtype):
    return (lambda y: lax.scan(lambda c, _: (runge_kutta(c, 0.01, double_pendulum), None), y, None, length=100)[0]), (
        array([1.2, -0.4, 0.0, 0.0], dtype),
    )


@CASES.case(
    "physics.bs_implied_vol",
    "physics",
    modes=("fwd", "rev"),
    note="Black-Scholes price: all greeks at once, deep in and out of the money",
)
def _(dtype):
    def f(p):
        d1 = (jnp.log(p["s"] / p["k"]) + (p["r"] + 0.5 * p["v"] ** 2) * p["t"]) / (p["v"] * jnp.sqrt(p["t"]))
        N = jax.scipy.stats.norm.cdf
        return p["s"] * N(d1) - p["k"] * jnp.exp(-p["r"] * p["t"]) * N(d1 - p["v"] * jnp.sqrt(p["t"]))

    return f, (
        {
            "s": array([100.0, 100.0, 100.0], dtype),
            "k": array([100.0, 160.0, 60.0], dtype),
            "r": array(0.03, dtype),
            "v": array(0.2, dtype),
            "t": array(0.5, dtype),
        },
    )


# ---- black boxes


def on_host(fn, x):
    return jax.pure_callback(fn, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="expand_dims")


@CASES.case(
    "callback.scipy_jv",
    "black-box",
    modes=("rev",),
    dtypes=(F64,),
    note="scipy.special.jv of real order 1.5, derivative by the recurrence (also a callback)",
)
def _(dtype):
    @jax.custom_vjp
    def g(x):
        return on_host(lambda v: scipy.special.jv(1.5, np.asarray(v)).astype(v.dtype), x)

    def bwd(x, ct):
        return (ct * on_host(lambda v: scipy.special.jvp(1.5, np.asarray(v)).astype(v.dtype), x),)

    g.defvjp(lambda x: (g(x), x), bwd)
    return g, (array([0.3, 1.2, 7.0], dtype),)


@CASES.case(
    "callback.noisy_measurement",
    "black-box",
    exact=entrywise(mp.sin),
    modes=("rev",),
    dtypes=(F64,),
    undecidable=(F64,),
    note="deterministic pseudo-noise of 1e-6 on the value; the derivative is that of the smooth part",
)
def _(dtype):
    @jax.custom_vjp
    def g(x):
        def host(v):
            v = np.asarray(v)
            return (np.sin(v) + 1e-6 * (np.modf(np.abs(v) * 1e9 * 12.9898)[0] - 0.5)).astype(v.dtype)

        return on_host(host, x)

    g.defvjp(lambda x: (g(x), x), lambda x, ct: (ct * jnp.cos(x),))
    return g, (array([0.3, 1.2, -0.7], dtype),)


# ---- precision and size


@CASES.case(
    "stop_gradient_target",
    "precision-size",
    kind="wrong",
    note="TD(0) loss with a stopped target: the semi-gradient is by design not the derivative of the value",
)
def _(dtype):
    return (lambda w, s, s2: jnp.mean((s @ w - 0.5 - 0.9 * lax.stop_gradient(s2 @ w)) ** 2)), (
        array(normal(142, 4), dtype),
        array(normal(143, 9, 4), dtype),
        array(normal(144, 9, 4), dtype),
    )


@CASES.case(
    "gumbel_softmax_st",
    "precision-size",
    kind="wrong",
    note="straight-through Gumbel softmax: hard forward, soft backward, by design",
)
def _(dtype):
    def f(lg, key, v):
        y = jnn.softmax((lg + jax.random.gumbel(key, lg.shape, lg.dtype)) / 0.5)
        h = jnn.one_hot(jnp.argmax(y), 4, dtype=lg.dtype)
        return jnp.sum(v * (y + lax.stop_gradient(h - y)))

    return f, (array(normal(145, 4), dtype), jax.random.key(1), array(normal(146, 4), dtype))


@CASES.case("size.mlp_1.3e6_params", "precision-size", note="1 315 850 parameters")
def _(dtype):
    sizes = (784, 1024, 500, 10)
    r = np.random.default_rng(0)
    p = [
        {"w": array(r.standard_normal((a, b)) / a**0.5, dtype), "b": jnp.zeros((b,), dtype)}
        for a, b in itertools.pairwise(sizes)
    ]

    def f(p, x, y):
        for i, layer in enumerate(p):
            x = x @ layer["w"] + layer["b"]
            x = jnp.tanh(x) if i < 2 else x
        return -jnp.mean(jnn.log_softmax(x)[jnp.arange(x.shape[0]), y])

    return f, (p, array(r.standard_normal((16, 784)), dtype), jnp.asarray(r.integers(0, 10, 16)))


# ---- plain-JAX models


@CASES.case("model.gcn", "plain-model")
def _(dtype):
    s = jnp.array([0, 1, 2, 3, 4, 0, 2, 5])
    r = jnp.array([1, 2, 3, 4, 0, 3, 5, 1])

    def f(p, x):
        for w in p:
            m = jax.ops.segment_sum((x @ w)[s], r, num_segments=6)
            x = jnp.tanh(x @ w + m / 2)
        return x.sum(0)

    return f, ([array(normal(170, 4, 4), dtype), array(normal(171, 4, 4), dtype)], array(normal(172, 6, 4), dtype))


@CASES.case(
    "model.pinn_loss", "plain-model", note="PDE residual: second derivatives with respect to the input inside the loss"
)
def _(dtype):
    def net(p, x):
        return jnp.tanh(jnp.tanh(x * p["a"] + p["b"]) @ p["w"]) @ p["v"]

    def f(p, xs):
        u2 = jax.vmap(jax.grad(jax.grad(net, argnums=1), argnums=1), (None, 0))(p, xs)
        return jnp.mean((u2 + jnp.sin(xs)) ** 2) + net(p, jnp.zeros((), xs.dtype)) ** 2

    return f, (
        {
            "a": array(normal(177, 8), dtype),
            "b": array(normal(178, 8), dtype),
            "w": array(normal(179, 8, 8) / 2, dtype),
            "v": array(normal(180, 8), dtype),
        },
        array(np.linspace(0, 3, 20), dtype),
    )


@CASES.case("model.contrastive_infonce", "plain-model", note="temperature 0.01: saturated softmax")
def _(dtype):
    def f(p, x, y):
        a, b = x @ p["w"], y @ p["w"]
        a, b = a / jnp.linalg.norm(a, axis=-1, keepdims=True), b / jnp.linalg.norm(b, axis=-1, keepdims=True)
        return -jnp.mean(jnp.diag(jnn.log_softmax(a @ b.T / 0.01)))

    return f, (
        {"w": array(normal(181, 8, 6), dtype)},
        array(normal(182, 10, 8), dtype),
        array(normal(182, 10, 8) + 0.3 * normal(183, 10, 8), dtype),
    )


@CASES.case("model.sinkhorn_ot", "plain-model")
def _(dtype):
    def f(x, y):
        c = jnp.sum((x[:, None] - y[None]) ** 2, -1)

        def it(fg, _):
            u, v = fg
            u = -0.1 * jnn.logsumexp((v[None] - c) / 0.1, axis=1)
            v = -0.1 * jnn.logsumexp((u[:, None] - c) / 0.1, axis=0)
            return (u, v), None

        (u, v), _ = lax.scan(it, (jnp.zeros(6, x.dtype), jnp.zeros(7, x.dtype)), None, length=50)
        return jnp.sum(jnp.exp((u[:, None] + v[None] - c) / 0.1) * c)

    return f, (array(uniform(184, 0, 1, 6, 2), dtype), array(uniform(185, 0, 1, 7, 2), dtype))


@CASES.case("model.cox_partial_likelihood", "plain-model")
def _(dtype):
    t = np.argsort(uniform(186, 0, 1, 30))[::-1]

    def f(b, x, ev):
        eta = x @ b
        return -jnp.sum(ev * (eta - lax.cumlogsumexp(eta)))

    return f, (array(normal(187, 4), dtype), array(normal(188, 30, 4)[t], dtype), array(normal(189, 30) > 0, dtype))


@CASES.case("model.matrix_factorization_masked", "plain-model")
def _(dtype):
    def f(p, x, m):
        return jnp.sum(jnp.where(m, (p["u"] @ p["v"].T - x) ** 2, 0.0)) + 0.01 * (
            jnp.sum(p["u"] ** 2) + jnp.sum(p["v"] ** 2)
        )

    return f, (
        {"u": array(normal(190, 8, 3), dtype), "v": array(normal(191, 9, 3), dtype)},
        array(normal(192, 8, 9), dtype),
        jnp.asarray(normal(193, 8, 9) > 0),
    )
