"""`check_grads` in the place of `jax.test_util.check_grads`: calls as JAX's own tests and its users make them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxgradsweep as jgs
from jaxgradsweep import check_grads

RNG = np.random.default_rng(0)


def rand(*shape, dtype=np.float32):
    return RNG.normal(size=shape).astype(dtype)


def positive_definite(n):
    a = rand(n, n)
    return a @ a.T + n * np.eye(n, dtype=np.float32)


@jax.custom_jvp
def right_rule(x):
    return jnp.sin(x)


@right_rule.defjvp
def _(primals, tangents):
    return right_rule(*primals), jnp.cos(primals[0]) * tangents[0]


@jax.custom_vjp
def clipped_gradient(x):
    return x * 2.0


clipped_gradient.defvjp(lambda x: (x * 2.0, None), lambda _, u: (u * 2.0,))

# (function, arguments, order, keyword arguments)
CALLS = {
    "sin": (jnp.sin, (rand(3),), 1, {}),
    "scalar": (lambda x: x**3, (2.0,), 2, {}),
    "python scalars": (lambda x, y: x * y, (2.0, 3.0), 2, {}),
    "tanh, both modes named": (jnp.tanh, (rand(2, 3),), 2, {"modes": ["fwd", "rev"]}),
    "reverse only": (lambda x: jnp.exp(x).sum(), (rand(4),), 1, {"modes": ["rev"]}),
    "forward only": (lambda x: jnp.exp(x), (rand(4),), 1, {"modes": ["fwd"]}),
    "a mode as a string": (jnp.cos, (rand(2),), 1, {"modes": "rev"}),
    "linearised": (jnp.sinh, (rand(2),), 1, {"modes": ["lin"]}),
    "tolerances": (jnp.arctan, (rand(3),), 1, {"atol": 1e-2, "rtol": 1e-2}),
    "a step": (lambda x: x**2, (rand(3),), 1, {"eps": 1e-3}),
    "all of them": (jnp.log1p, (np.abs(rand(3)),), 2, {"modes": ("rev",), "atol": 1e-2, "rtol": 1e-2, "eps": 1e-2}),
    "linear": (lambda x: 3 * x + 1, (rand(3),), 2, {}),
    "linear map": (lambda a, x: a @ x, (rand(3, 4), rand(4)), 1, {}),
    "bilinear, order 2": (lambda a, b: a @ b, (rand(2, 3), rand(3, 2)), 2, {"modes": ["rev"]}),
    "constant": (lambda x: jnp.zeros(3), (rand(3),), 1, {}),
    "sum": (lambda x: x.sum(axis=0), (rand(3, 2),), 1, {}),
    "transpose": (lambda x: x.T, (rand(3, 2),), 1, {}),
    "concatenate": (lambda x, y: jnp.concatenate([x, y]), (rand(2), rand(3)), 1, {}),
    "gather": (lambda x: x[np.array([0, 2, 2])], (rand(4),), 1, {}),
    "scatter": (lambda x, y: x.at[np.array([0, 2])].add(y), (rand(4), rand(2)), 1, {}),
    "dynamic slice": (lambda x: lax.dynamic_slice(x, (1,), (2,)), (rand(4),), 1, {}),
    "where": (lambda x: jnp.where(x > 0, jnp.sin(x), x), (rand(5),), 1, {}),
    "max": (jnp.max, (rand(5),), 1, {}),
    "sort": (jnp.sort, (rand(5),), 1, {}),
    "cumsum": (jnp.cumsum, (rand(5),), 1, {}),
    "logsumexp": (jax.nn.logsumexp, (rand(5),), 2, {"modes": ["rev"]}),
    "softmax": (jax.nn.softmax, (rand(5),), 1, {}),
    "convolution": (
        lambda x, w: lax.conv(x, w, (1, 1), "SAME"),
        (rand(1, 1, 4, 4), rand(1, 1, 3, 3)),
        1,
        {"rtol": 1e-2},
    ),
    "cholesky": (lambda a: jnp.linalg.cholesky(a + a.T), (positive_definite(3),), 1, {"modes": ["rev"], "eps": 1e-2}),
    "solve": (jnp.linalg.solve, (positive_definite(3), rand(3)), 1, {"modes": ["rev"]}),
    "scan": (lambda x: lax.scan(lambda c, t: (jnp.sin(c) * t, c), x, jnp.arange(3.0))[0], (0.4,), 2, {}),
    "cond": (lambda x: lax.cond(x > 0, jnp.sin, jnp.cos, x), (0.7,), 2, {"modes": ["fwd"]}),
    "dict": (lambda p: jnp.sum(p["w"] ** 2) * p["b"], ({"w": rand(3), "b": np.float32(0.5)},), 2, {"modes": ["rev"]}),
    "nested tree": (lambda p: [p[0][0] ** 2, {"z": p[1] * 3}], (([rand(2)], rand(1)),), 1, {}),
    "an integer argument": (lambda x, n: x**n, (rand(3), 3), 2, {"modes": ["rev"]}),
    "integer arrays": (lambda x, i: x[i], (rand(4), np.array([3, 1])), 1, {}),
    "a key": (lambda x, key: x * jax.random.normal(key, x.shape), (rand(3), jax.random.key(0)), 1, {}),
    "complex": (lambda z: z**2 + jnp.conj(z), (rand(3) + 1j * rand(3),), 1, {}),
    "complex to real": (lambda z: jnp.abs(z) ** 2, (rand(2) + 1j * rand(2),), 2, {"modes": ["rev"]}),
    "fft": (jnp.fft.fft, (rand(4),), 1, {}),
    "custom jvp": (right_rule, (rand(3),), 2, {}),
    "custom vjp": (clipped_gradient, (rand(3),), 1, {"modes": ["rev"]}),
    "order 3": (lambda x: jnp.sin(x) * x, (0.5,), 3, {"modes": ["rev"]}),
    "order 3, forward": (lambda x: jnp.exp(x) * x, (0.5,), 3, {"modes": ["fwd"]}),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_as_they_are_written_for_jax_pass(name):
    fun, args, order, settings = CALLS[name]
    assert check_grads(fun, args, order, **settings) is None


@jax.custom_jvp
def wrong_at_once(x):
    return jnp.sin(x)


@wrong_at_once.defjvp
def _(primals, tangents):
    return wrong_at_once(*primals), 1.001 * jnp.cos(primals[0]) * tangents[0]


@jax.custom_jvp
def slope(x):
    return jnp.cos(x)


@slope.defjvp
def _(primals, tangents):
    return slope(*primals), jnp.sin(primals[0]) * tangents[0]  # the sign


@jax.custom_jvp
def wrong_in_second_order(x):
    return jnp.sin(x)


@wrong_in_second_order.defjvp
def _(primals, tangents):
    return wrong_in_second_order(*primals), slope(primals[0]) * tangents[0]


@pytest.mark.parametrize("modes", [("fwd", "rev"), ("rev",), ("fwd",)])
def test_a_wrong_rule_raises_with_the_report(modes):
    with pytest.raises(AssertionError) as caught:
        check_grads(wrong_at_once, (rand(3),), 1, modes)
    assert isinstance(caught.value, jgs.DerivativeWrong)
    assert caught.value.report.findings[0].evidence["ratio"] == pytest.approx(1.001, rel=1e-9)
    assert any(name in "".join(caught.value.__notes__) for name in ("JVP", "VJP"))


@pytest.mark.parametrize("modes", [("fwd", "rev"), ("rev",)])
def test_a_rule_wrong_in_second_order_only_is_found_in_second_order_only(modes):
    check_grads(wrong_in_second_order, (rand(3),), 1, modes)
    with pytest.raises(jgs.DerivativeWrong) as caught:
        check_grads(wrong_in_second_order, (rand(3),), 2, modes)
    assert " of " in "".join(caught.value.__notes__)


def test_tolerances_accept_what_they_cover_and_no_more():
    check_grads(wrong_at_once, (np.array([0.3, 0.7]),), 1, rtol=2e-3)
    with pytest.raises(AssertionError):
        check_grads(wrong_at_once, (np.array([0.3, 0.7]),), 1, rtol=5e-4)


def test_a_given_step_is_ignored_with_an_explanation():
    with pytest.raises(AssertionError) as caught:
        check_grads(wrong_at_once, (0.3,), 1, eps=1e-3)
    assert "`eps` was ignored" in "".join(caught.value.__notes__)


def test_a_kink_at_the_point_raises_too():
    with pytest.raises(jgs.DerivativeUnresolved):
        check_grads(jnp.abs, (np.zeros(1),), 1)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"order": 0}, ValueError, "`order` must be a whole number from 1 on; got 0"),
        ({"order": 1.5}, ValueError, "got 1.5"),
        ({"modes": ["forward"]}, ValueError, "`modes` may hold 'fwd', 'rev', 'lin'; got 'forward'"),
        ({"f": 3}, TypeError, "`f` must be callable; got int"),
        ({"args": (3,)}, TypeError, "nothing to differentiate"),
    ],
)
def test_bad_input_is_named(changed, error, message):
    call = {"f": jnp.sin, "args": (0.3,), "order": 1} | changed
    with pytest.raises(error, match=message):
        check_grads(**call)


@jax.custom_vjp
def wrong_at_first(x):
    return jnp.sin(x)


wrong_at_first.defvjp(lambda x: (jnp.sin(x), x), lambda x, u: (2 * u * jnp.cos(x),))


@jax.custom_vjp
def wrong_value(x):
    return jnp.sin(x)


wrong_value.defvjp(lambda x: (1.5 * jnp.sin(x), x), lambda x, u: (u * jnp.cos(x),))


@pytest.mark.parametrize("fun", [wrong_at_first, wrong_value])
@pytest.mark.parametrize("order", [1, 2])
def test_a_first_derivative_or_a_value_that_is_wrong_is_found_in_reverse_mode_alone(fun, order):
    with pytest.raises(jgs.DerivativeWrong):
        jgs.check_grads(fun, (jnp.array([0.3, 1.2]),), order, modes=["rev"])
