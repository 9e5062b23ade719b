"""Bound state, keys and keywords: what remains is a function of what is differentiated, and nothing outlasts a call."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgradsweep as jgs

KEY = jax.random.key(3)
INPUTS = jax.random.normal(jax.random.key(0), (6, 3))
WEIGHTS = jnp.array([0.3, -0.7, 1.1])
SCALE = jnp.array([2.0, 0.5, 1.5])


def loss(weights, state, key, *, rate=0.0):
    """The loss of a layer with dropout and a running mean, and the new mean."""
    kept = jax.random.bernoulli(key, 1 - rate, INPUTS.shape)
    outputs = jnp.tanh((INPUTS * kept) @ weights) - state["mean"]
    return jnp.sum(outputs**2), {"mean": 0.9 * state["mean"] + 0.1 * jnp.mean(outputs)}


STATE = {"mean": jnp.array(0.2)}


def test_a_pure_function_is_the_function_without_its_auxiliary_output():
    bound = jgs.pure(loss, STATE, KEY, has_aux=True, rate=0.5)
    assert bound(WEIGHTS) == loss(WEIGHTS, STATE, KEY, rate=0.5)[0]


def test_arguments_go_where_argnums_says():
    def order(*args):
        return args

    assert jgs.pure(order, "b", "c")("a") == ("a", "b", "c")
    assert jgs.pure(order, "a", "d", argnums=1)("b", "c") == ("a", "b", "c", "d")
    assert jgs.pure(order, "b", "d", argnums=(0, 2))("a", "c") == ("a", "b", "c", "d")


def test_parameters_state_and_key_are_checked_as_a_function_of_the_parameters():
    report = jgs.check_grad(jgs.pure(loss, STATE, KEY, has_aux=True, rate=0.5), (WEIGHTS,))
    assert report.ok
    assert report.environment["dtype"] == "float64"


def test_a_gradient_with_another_key_than_the_loss_is_wrong():
    gradient = jgs.pure(jax.grad(loss, has_aux=True), STATE, jax.random.key(4), has_aux=True, rate=0.5)
    report = jgs.check_grad(jgs.pure(loss, STATE, KEY, has_aux=True, rate=0.5), (WEIGHTS,), grad=gradient)
    assert report.verdict is jgs.Verdict.WRONG


def mean_square(weights, inputs, targets):
    return jnp.mean((inputs @ weights - targets) ** 2)


def test_a_length_that_only_bound_arrays_have_is_named_as_the_cause():
    data = INPUTS, jnp.ones(6)
    gradient = jgs.pure(lambda *args: 6 * jax.grad(mean_square)(*args), *data)
    report = jgs.check_grad(jgs.pure(mean_square, *data), (WEIGHTS,), grad=gradient)
    assert report.causes[0].name == "constant-factor"
    assert "axis 0 of an argument of shape (6, 3)" in report.causes[0].sentence


# ---- callables that are pytrees: what they hold is an argument of compiled code


def strict(weights, scale):
    """A function that takes no arrays of different precisions."""
    return jnp.sum(jax.lax.mul(jnp.sin(weights), scale))


@jax.tree_util.register_pytree_node_class
class Counting:
    """A module that counts its calls, and computes with what it counts."""

    def __init__(self, scale, calls):
        self.scale, self.calls = scale, calls

    def __call__(self, weights):
        self.calls = self.calls + 1
        return strict(weights, self.scale * self.calls)

    def tree_flatten(self):
        return (self.scale, self.calls), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)


@pytest.mark.parametrize(
    "fun",
    [
        jgs.pure(strict, SCALE),
        functools.partial(strict, scale=SCALE),
        jax.tree_util.Partial(strict, scale=SCALE),
        Counting(SCALE, jnp.array(1.0)),
    ],
    ids=["pure", "functools.partial", "Partial", "module"],
)
def test_arrays_that_a_callable_holds_have_the_precision_of_the_check(fun):
    report = jgs.check_grad(fun, (WEIGHTS,))
    assert report.ok
    assert report.environment["dtype"] == "float64"


def test_arrays_that_a_claim_holds_have_the_precision_of_the_check():
    gradient = jgs.pure(lambda weights, scale: jax.lax.mul(jnp.cos(weights), scale), SCALE)
    report = jgs.check_grad(jgs.pure(strict, SCALE), (WEIGHTS,), grad=gradient)
    assert report.ok
    assert report.environment["dtype"] == "float64"


def test_an_array_of_a_closure_keeps_its_own():
    report = jgs.check_grad(lambda weights: strict(weights, SCALE), (WEIGHTS,))
    assert report.environment["dtype"] == "native"


def test_what_a_module_changes_in_itself_does_not_outlast_a_call():
    module = Counting(SCALE, jnp.array(1.0))
    bound = jgs.pure(module)
    assert bound(WEIGHTS) == bound(WEIGHTS)
    assert jgs.check_grad(module, (WEIGHTS,)).ok
    assert module.calls == 1


def test_a_gradient_in_a_module_is_values_although_a_module_can_be_called():
    module = Counting(SCALE, jnp.array(1.0))
    gradient = jax.grad(lambda module: module(WEIGHTS))(module)
    assert callable(gradient)
    assert jgs.check_grad(lambda module: module(WEIGHTS), (module,), grad=gradient).ok
    wrong = jax.tree.map(lambda g: 1.01 * g, gradient)
    assert jgs.check_grad(lambda module: module(WEIGHTS), (module,), grad=wrong).verdict is jgs.Verdict.WRONG


def test_a_callable_that_is_a_pytree_of_another_kind_is_a_claim():
    slope = jax.tree_util.Partial(lambda weights, scale: jnp.cos(weights) * scale, scale=SCALE)
    assert jgs.check_grad(jgs.pure(strict, SCALE), (WEIGHTS,), grad=slope).ok


TRACES = itertools.count()


def counted(weights, scale):
    next(TRACES)
    return jnp.sum(jnp.cos(weights) * scale)


def test_other_arrays_need_no_second_compilation():
    jgs.check_grad(jgs.pure(counted, SCALE), (WEIGHTS,))
    before = next(TRACES)
    assert jgs.check_grad(jgs.pure(counted, 2 * SCALE), (WEIGHTS,)).ok
    assert next(TRACES) == before + 1


def gradient_of_counted(weights, scale):
    next(TRACES)
    return -jnp.sin(weights) * scale


def counted_and_its_pullback(weights, scale):
    return counted(weights, scale), lambda u: (u * gradient_of_counted(weights, scale),)


def counted_and_its_change(primals, tangents, scale):
    gradient = gradient_of_counted(*primals, scale)
    return counted(*primals, scale), gradient @ tangents[0]


def product_of_counted(primals, tangents, scale):
    next(TRACES)
    return -jnp.cos(primals[0]) * scale * tangents[0]


CHECKS = {
    "grad": (jgs.check_grad, "grad", gradient_of_counted),
    "vjp": (jgs.check_vjp, "vjp", counted_and_its_pullback),
    "jvp": (jgs.check_jvp, "jvp", counted_and_its_change),
    "hvp": (jgs.check_hvp, "hvp", product_of_counted),
}


@pytest.mark.parametrize(
    ("bind", "kind", "dtype"),
    [
        *((jgs.pure, kind, "float64") for kind in CHECKS),
        (jgs.pure, "grad", "native"),
        (functools.partial, "grad", "float64"),
        (jax.tree_util.Partial, "grad", "float64"),
    ],
)
def test_other_arrays_in_a_claim_need_no_second_compilation(bind, kind, dtype):
    """And are those that the claim is asked with, beside those of the function."""
    check, name, rule = CHECKS[kind]

    def bound(function, scale):
        return bind(function, scale) if bind is jgs.pure else bind(function, scale=scale)

    def ask(scale, claimed):
        return check(bound(counted, scale), (WEIGHTS,), **{name: bound(rule, claimed)}, dtype=dtype)

    assert ask(SCALE, SCALE).ok
    before = next(TRACES)
    assert ask(3 * SCALE, 3 * SCALE).ok
    assert next(TRACES) == before + 1
    assert ask(SCALE, 3 * SCALE).verdict is jgs.Verdict.WRONG


def test_another_function_with_the_same_arrays_is_another_function():
    def half(weights, scale):
        return counted(weights, scale) / 2

    gradient = -np.sin(np.asarray(WEIGHTS, float)) * np.asarray(SCALE, float)
    assert jgs.check_grad(jgs.pure(counted, SCALE), (WEIGHTS,), grad=gradient).ok
    assert jgs.check_grad(jgs.pure(half, SCALE), (WEIGHTS,), grad=gradient / 2).ok


def chosen(weights, scale, power):
    return strict(weights, scale) if power > 1.5 else jnp.sum(weights)


def table(weights, places):
    return jnp.sum(jnp.sin(weights)[np.nonzero(places)])


def test_numbers_and_integers_that_are_bound_stay_concrete():
    report = jgs.check_grad(jgs.pure(chosen, SCALE, 2.0), (WEIGHTS,))
    assert report.ok
    assert report.environment["dtype"] == "float64"
    assert jgs.check_grad(jgs.pure(table, np.array([1, 0, 1])), (WEIGHTS,)).ok
    assert jgs.check_grad(jgs.pure(table, np.array([0.5, 0.0, 1.0])), (WEIGHTS,)).ok


# ---- random keys


@pytest.mark.parametrize("key", [KEY, jax.random.PRNGKey(3)], ids=["typed", "old"])
def test_the_report_says_which_keys_are_held_fixed(key):
    sentence = "PRNG keys are held fixed, so that every evaluation draws the same numbers: "
    direct = jgs.check_grad(loss, (WEIGHTS, STATE, {"dropout": key}["dropout"]), has_aux=True)
    bound = jgs.check_grad(jgs.pure(loss, STATE, key, has_aux=True), (WEIGHTS,))
    assert sentence + "args[2]" in direct.notes
    assert sentence + "fun.args[1]" in bound.notes


def test_a_key_among_what_is_differentiated_is_named_once():
    def noisy(params):
        return jnp.sum(jnp.sin(params["x"]) * jax.random.normal(params["key"], (3,)))

    report = jgs.check_grad(noisy, ({"x": WEIGHTS, "key": KEY},))
    assert [note for note in report.notes if "key" in note] == [
        "PRNG keys are held fixed, so that every evaluation draws the same numbers: args[0]['key']"
    ]


# ---- what is not accepted


def test_what_cannot_be_bound_is_told_by_name():
    with pytest.raises(TypeError, match=r"`fun` must be callable; got float"):
        jgs.pure(1.0)
    with pytest.raises(TypeError, match=r"`argnums` must be an int or a tuple of ints; got 'params'"):
        jgs.pure(loss, STATE, KEY, argnums="params")
    with pytest.raises(ValueError, match=r"`argnums` must name positions .*2 of which are bound.*; got 4"):
        jgs.pure(loss, STATE, KEY, argnums=4)
    with pytest.raises(TypeError, match="2 arguments are needed, one for each of `argnums`; got 1"):
        jgs.pure(loss, KEY, argnums=(0, 1))(WEIGHTS)
