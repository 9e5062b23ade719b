"""Functions that read arrays of NumPy in double precision, used in both precisions one after the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgradsweep as jgs
from jaxgradsweep._wording import NOTES

POINT = np.linspace(0.1, 1.0, 8, dtype=np.float32)


def plain(data):
    return lambda x: jnp.mean(jnp.tanh(x - data) ** 2)


def jitted(data):
    return jax.jit(plain(data))


def jitted_inside(data):
    layer = jax.jit(lambda x: x * data)
    return lambda x: jnp.sum(layer(x) ** 2)


def rematerialised(data):
    return jax.checkpoint(plain(data))


def looped(data):
    return lambda x: jax.lax.fori_loop(0, 3, lambda i, sum_: sum_ + jnp.sum(jnp.sin(x * data)), jnp.zeros((), x.dtype))


def branched(data):
    return lambda x: jax.lax.cond(x[0] > 0, lambda x: jnp.sum(x**2 * data), lambda x: jnp.sum(x + data), x)


def with_a_rule(data):
    @jax.custom_vjp
    def loss(x):
        return jnp.sum(jnp.sin(x * data))

    loss.defvjp(lambda x: (loss(x), x), lambda x, g: (g * data * jnp.cos(x * data),))
    return loss


KINDS = [plain, jitted, jitted_inside, rematerialised, looped, branched, with_a_rule]


def made(kind):
    return kind(np.random.default_rng(0).normal(size=8))


def use(fun):
    """Everything that somebody does with a function in single precision."""
    found = [fun(POINT), jax.jit(fun)(POINT), jax.grad(fun)(POINT), jax.jit(jax.grad(fun))(POINT)]
    assert all(each.dtype == jnp.float32 for each in found)


@pytest.fixture(autouse=True)
def single_precision():
    with jax.enable_x64(False):
        yield


@pytest.mark.parametrize("kind", KINDS)
def test_a_function_works_after_it_was_checked_in_double_precision(kind):
    fun = made(kind)
    assert jgs.check_grad(fun, (POINT,)).verdict is jgs.Verdict.CORRECT
    use(fun)
    assert jgs.check_grad(fun, (POINT,), dtype="both").verdict is jgs.Verdict.CORRECT
    use(fun)


@pytest.mark.parametrize("kind", KINDS)
def test_a_function_that_was_used_is_checked_in_double_precision(kind):
    fun = made(kind)
    use(fun)
    report = jgs.check_grad(fun, (POINT,))
    assert report.verdict is jgs.Verdict.CORRECT
    assert report.resolution < 1e-9
    assert report.environment["dtype"] == "float64"
    assert NOTES["stale"] in report.notes
    use(fun)


@pytest.mark.parametrize("kind", [jitted, rematerialised])
def test_a_wrong_claim_leaves_the_function_usable(kind):
    fun = made(kind)
    assert jgs.check_grad(fun, (POINT,), grad=lambda x: 1.1 * jax.grad(fun)(x)).verdict is jgs.Verdict.WRONG
    use(fun)


def test_code_that_no_constant_of_another_precision_concerns_is_kept():
    fun, other = made(plain), jax.jit(lambda x: 2 * x)
    other(POINT)
    traces = []

    @jax.jit
    def counted(x):
        traces.append(x)
        return x

    counted(POINT)
    assert jgs.check_grad(fun, (POINT,)).verdict is jgs.Verdict.CORRECT
    counted(POINT)
    assert len(traces) == 1
