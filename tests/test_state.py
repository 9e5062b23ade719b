"""Functions and claims that hide randomness or state: what changes between calls is shown, and nothing is judged."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgradsweep as jgs

X = jnp.array([0.3, 0.7, 1.1])


def smooth(x):
    return jnp.sum(jnp.sin(x))


def with_host(add):
    """`smooth`, and what the host adds; the derivative is that of `smooth`."""

    @jax.custom_jvp
    def fun(x):
        shape = jax.ShapeDtypeStruct((), x.dtype)
        return smooth(x) + jax.pure_callback(lambda x: np.asarray(add(x), x.dtype), shape, x, vmap_method="sequential")

    fun.defjvp(lambda primals, tangents: (fun(*primals), jnp.sum(jnp.cos(primals[0]) * tangents[0])))
    return fun


def drawing():
    random = np.random.default_rng(0)
    return with_host(lambda x: 1e-3 * random.normal())


def counting():
    calls = itertools.count()
    return with_host(lambda x: 1e-3 * next(calls))


AVERAGE = {"x": 0.0}


def averaging():
    def add(x):
        AVERAGE["x"] = 0.9 * AVERAGE["x"] + 0.1 * float(np.sum(x))
        return AVERAGE["x"]

    return with_host(add)


def starting_warm():
    """Newton's iteration for the root of s + s^3 = sum(x), from where it ended the last time, and only two turns."""
    last = [0.0]

    def add(x):
        s = last[0]
        for _ in range(2):
            s -= (s + s**3 - float(np.sum(x))) / (1 + 3 * s**2)
        last[0] = s
        return s

    return with_host(add)


def drawing_in_python():
    random = np.random.default_rng(0)
    return lambda x: smooth(x + 0.1 * random.normal(size=3))


class Seeded:
    """Dropout whose key comes from a counter."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return smooth(x * jax.random.bernoulli(jax.random.key(self.calls), 0.5, x.shape))


def evidence_of(report):
    finding = report.findings[0]
    assert (finding.verdict, finding.reason) == (jgs.Verdict.UNRESOLVED, jgs.Reason.NONDETERMINISTIC)
    first, second = finding.evidence["first"], finding.evidence["second"]
    assert first != second
    assert f"was {first:.10g} at one call and {second:.10g} at the next" in finding.advice
    return finding


@pytest.mark.parametrize(
    ("make", "hides"),
    [
        (drawing, "pure_callback"),
        (counting, "pure_callback"),
        (averaging, "pure_callback"),
        (starting_warm, "warm start"),
        (drawing_in_python, "np.random"),
        (Seeded, "a counter"),
    ],
)
def test_a_function_that_changes_between_calls_is_named_with_two_of_its_values(make, hides):
    finding = evidence_of(jgs.check_grad(make(), (X,)))
    assert finding.evidence["what"] == "the function"
    assert hides in finding.advice
    assert "jgs.pure" in finding.advice


def test_of_several_outputs_the_one_that_changes_is_named():
    random = np.random.default_rng(0)

    def fun(x):
        return {"still": jnp.sin(x), "noisy": jnp.cos(x) + random.normal(size=3)}

    finding = evidence_of(jgs.check_vjp(fun, (X,)))
    assert finding.evidence["what"].startswith("output['noisy'][")


def accumulating():
    """The right gradient, added to all that were asked for before."""
    total = np.zeros(3)

    def on_host(x):
        total[:] += np.cos(x)
        return total.astype(x.dtype)

    return lambda x: jax.pure_callback(on_host, jax.ShapeDtypeStruct((3,), x.dtype), x, vmap_method="sequential")


def jittering():
    random = np.random.default_rng(0)
    return lambda x: jnp.cos(x) * (1 + 0.01 * random.normal())


@pytest.mark.parametrize("make", [accumulating, jittering])
def test_a_claim_that_changes_between_calls_is_neither_right_nor_wrong(make):
    finding = evidence_of(jgs.check_grad(smooth, (X,), grad=make()))
    assert finding.evidence["what"] == "the claimed derivative along one direction"


def test_two_values_that_differ_by_a_rounding_are_the_same():
    calls = itertools.count()

    def add(x):
        return np.sum(x) * (1 + 2.0**-52 * (next(calls) % 2))

    @jax.custom_jvp
    def fun(x):
        shape = jax.ShapeDtypeStruct((), x.dtype)
        return jax.pure_callback(lambda x: np.asarray(add(x), x.dtype), shape, x, vmap_method="sequential")

    fun.defjvp(lambda primals, tangents: (fun(*primals), jnp.sum(tangents[0])))
    assert jgs.check_grad(fun, (X,)).ok


class Splitting:
    """Dropout with a key of its own, which it splits."""

    def __init__(self, key):
        self.key = key

    def __call__(self, x):
        self.key, key = jax.random.split(self.key)
        return smooth(x * jax.random.bernoulli(key, 0.5, x.shape))


@pytest.mark.parametrize("key", [jax.random.key(0), jax.random.PRNGKey(0)], ids=["typed", "old"])
def test_a_key_that_a_function_keeps_and_splits_is_told(key):
    with pytest.raises(TypeError, match=r"keeps something from one call to the next .*a random key that it splits"):
        jgs.check_grad(Splitting(key), (X,))


def test_a_check_inside_of_another_program_is_told_so_as_before():
    def outer(y):
        jgs.check_grad(lambda x: smooth(x) * y, (X,))
        return y

    with pytest.raises(TypeError, match="cannot run inside `jit`"):
        jax.jit(outer)(1.0)
