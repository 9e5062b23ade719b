"""What is kept between two checks, and that it goes with the functions that it belongs to."""

import functools
import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgradsweep as jgs
from jaxgradsweep import _kernel, _reference, _slopes
from jaxgradsweep._cache import MOST, Weak, kept
from jaxgradsweep._tree import Same

X = np.linspace(0.3, 1.2, 7)


class Model:
    def __init__(self, weights):
        self.weights = weights

    def loss(self, x):
        return jnp.sum(jnp.sin(self.weights * x))


def plain(weights):
    return lambda x: jnp.sum(jnp.sin(weights * x))


WAYS = {
    "a function": plain,
    "a jitted function": lambda weights: jax.jit(plain(weights)),
    "a partial function": lambda weights: functools.partial(lambda w, x: jnp.sum(jnp.sin(w * x)), weights),
    "a bound method": lambda weights: Model(weights).loss,
}


def check_and_forget(make, **claim):
    """Check a function that nobody else holds; a weak reference to the numbers that it holds."""
    weights = np.arange(1.0, 8.0)
    jgs.check_grad(make(weights), (X,), **claim)
    return weakref.ref(weights)


@pytest.mark.parametrize("name", WAYS)
def test_a_function_that_nobody_holds_goes_with_what_was_compiled_for_it(name):
    known = len(_kernel.sweep_program.entries)
    gone = check_and_forget(WAYS[name])
    gc.collect()
    assert gone() is None
    assert len(_kernel.sweep_program.entries) <= known


def test_a_wrong_claim_and_all_that_looked_for_its_cause_go_too():
    gone = check_and_forget(plain, grad=lambda x: 2 * x)
    gc.collect()
    assert gone() is None


def test_what_is_kept_is_bounded():
    built = kept(lambda key: object())
    for number in range(3 * MOST):
        built(number)
    assert len(built.entries) == MOST


def test_the_same_key_is_built_once_and_found_by_the_identity_of_functions():
    calls = []
    built = kept(lambda fun, number: calls.append(number) or fun)
    one, other = plain(X), plain(X)
    for fun in (one, one, other):
        built(Same(fun), 1)
    assert len(calls) == 2


def test_a_weak_value_that_is_gone_equals_nothing_but_itself():
    fun = plain(X)
    weak, again = Weak(fun), Weak(fun)
    assert weak == again
    assert hash(weak) == hash(again)
    del fun
    gc.collect()
    assert weak.value is None
    assert weak != again
    assert weak == weak


@pytest.mark.parametrize("value", [3, "text", (1, 2), None, len])
def test_a_value_that_cannot_be_referred_to_weakly_is_held(value):
    assert Weak(value).value is value
    assert Weak(value) == Weak(value)


def test_what_concerns_the_function_alone_is_compiled_once_for_all_claims_about_it():
    fun = plain(3.0)
    for rule in (lambda x: jax.grad(fun)(x) + 0.1 * x**2, lambda x: jax.grad(fun)(x) - jnp.exp(x)):
        assert jgs.check_grad(fun, (X,), grad=rule).verdict is jgs.Verdict.WRONG
    for programs in (_reference.own_gradient, _slopes._blended_program):
        about_it = [key for key in programs.entries if key.parts[0].fun.whole == Weak(fun)]
        assert len(about_it) == 1, about_it


def test_a_list_that_changes_between_two_checks_is_seen():
    factors = [1.0]

    def fun(x):
        return factors[0] * jnp.sum(x**2)

    assert jgs.check_grad(fun, (X,), grad=lambda x: 2 * x).ok
    factors[0] = 3.0
    assert jgs.check_grad(fun, (X,), grad=lambda x: 2 * x).verdict.name == "WRONG"
