"""Loops, branches, solvers with implicit derivatives, custom rules and transformations of functions."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
from jax import lax

from corpus.build import array, entrywise, normal, positive_definite
from corpus.case import F32, F64, Collection

CASES = Collection()


@CASES.case("cf.while_fwd", "control-flow", modes=("fwd",), note="trip count depends on a constant; forward mode only")
def _(dtype):
    def f(x, n):
        return lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, jnp.sin(c[1]) + 0.1 * c[1]), (0, x))[1]

    return f, (array([0.4, 1.2], dtype), 7)


@CASES.case(
    "cf.while_newton_fwd",
    "control-flow",
    modes=("fwd",),
    note="square root by Newton to a tolerance; the trip count depends on x",
)
def _(dtype):
    tol = 1e-14 if dtype == F64 else 1e-6

    def f(a):
        def body(c):
            y, _ = c
            z = 0.5 * (y + a / y)
            return z, jnp.abs(z - y)

        z, _ = lax.while_loop(lambda c: jnp.any(c[1] > tol * jnp.abs(c[0])), body, (a, jnp.ones_like(a)))
        return 0.5 * (z + a / z)

    return f, (array(7.3, dtype),)


@CASES.case("cf.fori_static", "control-flow")
def _(dtype):
    f = lambda x: lax.fori_loop(0, 6, lambda i, c: c * jnp.cos(c + i), x)
    return f, (array([0.4, 1.2], dtype),)


@CASES.case("cf.cond", "control-flow")
def _(dtype):
    f = lambda x: lax.cond(x[0] > 0, lambda y: jnp.sin(y), lambda y: y**3, x)
    return f, (array([0.4, 1.2], dtype),)


@CASES.case(
    "cf.cond_near_branch",
    "control-flow",
    note="the branch is 1e-5 away and the two sides differ (a jump)",
    undecidable=(F32,),
)
def _(dtype):
    f = lambda x: lax.cond(x > 1.0, lambda y: jnp.sin(y), lambda y: y**3, x)
    return f, (array(1.00001, dtype),)


@CASES.case("cf.switch", "control-flow")
def _(dtype):
    f = lambda x, i: lax.switch(i, [jnp.sin, jnp.exp, jnp.tanh], x)
    return f, (array([0.4, 1.2], dtype), 1)


@CASES.case(
    "cf.custom_root",
    "control-flow",
    note="x**3 + x = a by Newton; implicit derivative",
    exact=entrywise(lambda a: mp.findroot(lambda x: x**3 + x - a, float(a) / 2)),
)
def _(dtype):
    def f(a):
        g = lambda x: x**3 + x - a

        def solve(h, x0):
            def step(_, x):
                v, d = jax.jvp(h, (x,), (jnp.ones_like(x),))
                return x - v / d

            return lax.fori_loop(0, 30, step, x0)

        return lax.custom_root(g, jnp.ones_like(a), solve, lambda h, y: y / h(jnp.ones_like(y)))

    return f, (array([0.7, 3.0], dtype),)


@CASES.case("cf.custom_linear_solve", "control-flow")
def _(dtype):
    def f(t):
        a = t[0] @ t[0].T + 3 * jnp.eye(4, dtype=t[0].dtype)
        mv = lambda x: a @ x
        return lax.custom_linear_solve(mv, t[1], lambda m, b: jnp.linalg.solve(a, b), symmetric=True)

    return f, ((array(normal(86, 4, 4), dtype), array(normal(87, 4), dtype)),)


@CASES.case(
    "cf.cg",
    "control-flow",
    note="conjugate gradients to the default tolerance 1e-5: value noise",
    undecidable=(F64, F32),
)
def _(dtype):
    m = positive_definite(88, 6, 50.0)

    def f(t, m):
        return jax.scipy.sparse.linalg.cg(lambda x: m @ x + t["s"] * x, t["b"])[0]

    return f, ({"s": array(0.3, dtype), "b": array(normal(89, 6), dtype)}, array(m, dtype))


@CASES.case("cf.gmres", "control-flow")
def _(dtype):
    def f(b, m):
        return jax.scipy.sparse.linalg.gmres(m, b, tol=1e-12)[0]

    return f, (array(normal(90, 5), dtype), array(normal(91, 5, 5) + 4 * np.eye(5), dtype))


@CASES.case("cf.bicgstab", "control-flow", dtypes=(F64,))
def _(dtype):
    return (lambda b, m: jax.scipy.sparse.linalg.bicgstab(m, b, tol=1e-12)[0]), (
        array(normal(90, 5), dtype),
        array(normal(91, 5, 5) + 4 * np.eye(5), dtype),
    )


@CASES.case("cf.map_vmap", "control-flow")
def _(dtype):
    return (lambda x: lax.map(lambda y: jnp.sin(y) @ y, x)), (array(normal(92, 5, 3), dtype),)


@CASES.case("cf.remat", "control-flow")
def _(dtype):
    return jax.checkpoint(lambda x: jnp.sin(jnp.sin(jnp.sin(x))).sum()), (array(normal(93, 5), dtype),)


@CASES.case("cf.maml_inner_sgd", "control-flow")
def _(dtype):
    def f(p, x, y):
        loss = lambda q: jnp.mean((jnp.tanh(x @ q["w"]) @ q["v"] - y) ** 2)
        q = p
        for _ in range(3):
            q = jax.tree.map(lambda a, g: a - 0.1 * g, q, jax.grad(loss)(q))
        return loss(q)

    return f, (
        {"w": array(normal(98, 3, 4), dtype), "v": array(normal(99, 4), dtype)},
        array(normal(100, 8, 3), dtype),
        array(normal(101, 8), dtype),
    )


@CASES.case("cf.custom_vjp_right", "control-flow", modes=("rev",), note="custom_vjp: forward mode not supported by JAX")
def _(dtype):
    @jax.custom_vjp
    def f(x, y):
        return jnp.sin(x) * y

    f.defvjp(lambda x, y: (f(x, y), (x, y)), lambda r, g: (g * jnp.cos(r[0]) * r[1], g * jnp.sin(r[0])))
    return (lambda t: f(*t)), ((array([0.3, -4.0], dtype), array([2.0, 0.1], dtype)),)


@CASES.case("cf.jit_vmap_mix", "control-flow")
def _(dtype):
    return jax.jit(lambda x: jax.vmap(lambda r: jnp.linalg.norm(r) * jnp.cos(r[0]))(x)), (
        array(normal(102, 4, 3), dtype),
    )
