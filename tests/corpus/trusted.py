"""How cases with a trusted derivative are made: in float64, with a rule that is right or has a mistake planted."""

import jax
import jax.numpy as jnp

from corpus.build import normal

TWIN = "twin"  # the source of a right twin
FOLKLORE = "folklore: "  # a well-known slip, no single thread; "cf." names a neighbouring thread, not its origin
LIVE = "no planted rule: a defect of jax 0.10.2 itself"  # begins the note of such a case


class Known:
    """A trusted derivative by its values, which are computed when they are asked for."""

    def __init__(self, values):
        self.values = values


def trusted(cases, name, problem, **details):
    """Add a case in float64 to `cases`.

    `problem()` returns `fun`, `args`, `claimed` and what is trusted: a clean twin of `fun`, whose derivative JAX gets
    right, or a `Known`.
    """

    def truth():
        _, args, _, trust = problem()
        if isinstance(trust, Known):
            return trust.values()
        if details.get("order") == 2:
            return jax.jacfwd(jax.jacrev(trust))(*args)
        out = jax.tree.leaves(jax.eval_shape(trust, *args))
        return (jax.grad if [leaf.shape for leaf in out] == [()] else jax.jacrev)(trust)(*args)

    cases.add(name, lambda dtype: problem()[:3], truth=truth, dtypes=("float64",), **details)


def with_vjp(primal, backward):
    """`primal` with a rule: `backward(args, out, cotangent)` returns one cotangent for each argument."""
    function = jax.custom_vjp(primal)
    function.defvjp(lambda *args: (primal(*args), (args, primal(*args))), lambda saved, ct: backward(*saved, ct))
    return function


def with_jvp(primal, rule):
    """`primal` with a rule: `rule(args, tangents)` returns the value and its tangent."""
    function = jax.custom_jvp(lambda *args: primal(*args))
    function.defjvp(rule)
    return function


def without_slope(primal):
    """`primal`, a scalar, as if it were constant."""
    function = jax.custom_jvp(primal)
    function.defjvp(lambda args, tangents: (function(*args), jnp.zeros(())))
    return function


def weighted(primal, derivative, x, weights, *, drop_cotangent=False):
    """A problem: a weighted sum of an elementwise function whose rule is `derivative`."""
    scale = (lambda ct: 1.0) if drop_cotangent else (lambda ct: ct)
    function = with_vjp(primal, lambda args, out, ct: (scale(ct) * derivative(args[0]),))
    return lambda x: jnp.sum(weights * function(x)), (x,), None, lambda x: jnp.sum(weights * primal(x))


def normal64(seed, *shape, scale=1.0):
    """Normal random numbers as a JAX array of float64."""
    return jnp.asarray(normal(seed, *shape) * scale)


def positive_definite64(seed, size):
    """A symmetric matrix with eigenvalues of at least `size`."""
    a = normal64(seed, size, size)
    return a @ a.T + size * jnp.eye(size)


def exact_slope(function, x):
    """`function(mpmath, mpf)` differentiated at the float x, to many digits."""
    import mpmath as mp

    with mp.workdps(60):
        return float(mp.diff(lambda t: function(mp, t), mp.mpf(float(x))))
