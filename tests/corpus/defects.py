"""Derivatives that JAX 0.10.2 itself gets wrong, found by comparison with mpmath: none of the points is a kink."""

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
import mpmath as mp

from corpus.build import array, entrywise, newer
from corpus.case import F32, F64, Collection

CASES = Collection()


def defect(name, fun, exact, *points, note, **details):
    """A function of one array, or of several, differentiated with respect to all of them."""

    def make(dtype):
        arrays = tuple(array(values, dtype) for values in points)
        return (fun, arrays) if len(arrays) == 1 else ((lambda parts: fun(*parts)), (arrays,))

    exact = exact and entrywise(exact, len(points))
    CASES.add(f"bad.{name}", make, "jax-defect", kind="wrong", exact=exact, note=note, **details)


defect(
    "spence_rev_nan",
    jsp.spence,
    lambda x: mp.polylog(2, 1 - x),
    [1.001, 1.7, 2.0],
    note="reverse mode NaN on (1, 2]; forward mode is right",
    modes=("rev",),
)
defect("hypot_1e200", jnp.hypot, mp.hypot, [1e200], [1e200], note="JAX 1.06, true 0.707", dtypes=(F64,))
defect("hypot_1e-200", jnp.hypot, mp.hypot, [1e-200], [0.0], note="JAX NaN, true (1, 0)", dtypes=(F64,))
defect(
    "erfcx_tail_f32",
    newer("erfcx"),
    lambda x: mp.exp(x * x) * mp.erfc(x),
    [1e4],
    note="float32: JAX -1.2e-7, true -5.6e-9 (2 x erfcx - 2/sqrt(pi) cancels)",
    dtypes=(F32,),
)
defect(
    "zeta_fwd_nan",
    lambda q: jsp.zeta(jnp.asarray(2.0, q.dtype), q),
    lambda q: mp.zeta(2, q),
    [-1.3],
    note="forward mode NaN; reverse mode is right",
    modes=("fwd", "rev"),
    dtypes=(F64,),
)
defect(
    "expn_0",
    lambda x: jsp.expn(0, x),
    lambda x: mp.exp(-x) / x,
    [0.7],
    note="JAX NaN, true -(x+1) exp(-x) / x^2",
    dtypes=(F64,),
)
defect(
    "hyp2f1_near_1",
    lambda x: jsp.hyp2f1(jnp.asarray(0.5, x.dtype), jnp.asarray(0.5, x.dtype), jnp.asarray(1.5, x.dtype), x),
    lambda x: mp.hyp2f1(0.5, 0.5, 1.5, x),
    [0.99],
    note="series cut short: JAX 4.178, true 4.304; also 3.5e-4 off the derivative of the value that JAX computes",
    dtypes=(F64,),
)


# ---- samplers: the implicit derivative (of the inverse CDF) is not the derivative of the sampler at a fixed key


def sampler(name, fun, x):
    note = (
        "implicit reparametrisation by design: right in distribution, off by a few per cent for the value at this key"
    )
    defect(f"random_{name}", fun, None, x, note=note, dtypes=(F64,))


sampler("gamma", lambda a: jax.random.gamma(jax.random.key(0), a), [0.5, 2.5])
sampler("beta", lambda ab: jax.random.beta(jax.random.key(0), ab[0], ab[1]), [2.0, 1.5])
sampler("dirichlet", lambda a: jax.random.dirichlet(jax.random.key(0), a), [2.0, 1.0, 2.0])
sampler("t", lambda df: jax.random.t(jax.random.key(0), df[0]), [4.0])
