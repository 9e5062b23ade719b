"""How a check evaluates: compiled once, inside its own precision, without a trace left behind."""

import gc
import threading
import types
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgradsweep as jgs
from helpers import is_numpy_all_through, layers, layers_gradient, layers_point, smooth, smooth_gradient
from jaxgradsweep._kernel import even_batches
from jaxgradsweep._memory import CHUNKS, chunk_of_steps

X = np.array([0.3, 0.8, 1.2])


# ---- one compilation per function and shape


class Counted:
    """A function that counts how often Python runs it, which is how often it is traced.

    With slots, since a check follows the attributes that a function reads, and the count is none of its inputs.
    """

    __slots__ = ("fun", "traces")

    def __init__(self, fun):
        self.fun, self.traces = fun, 0

    def make(self):
        def counted(x):
            self.traces += 1
            return self.fun(x)

        return counted


@pytest.mark.parametrize(
    ("check", "fun"),
    [(jgs.check_grad, smooth), (jgs.check_vjp, jnp.sin), (jgs.check_jvp, jnp.sin), (jgs.check_hvp, smooth)],
    ids=["grad", "vjp", "jvp", "hvp"],
)
def test_a_second_check_at_another_point_of_the_same_shape_traces_nothing(check, fun):
    count = Counted(fun)
    counted = count.make()
    assert check(counted, (X,)).ok
    first = count.traces
    assert check(counted, (X + 0.1,)).ok
    assert first > 0
    assert count.traces == first


def test_other_values_of_a_claim_trace_nothing():
    count = Counted(smooth)
    counted = count.make()
    jgs.check_grad(counted, (X,), grad=smooth_gradient(X))
    first = count.traces
    jgs.check_grad(counted, (X,), grad=1.1 * smooth_gradient(X), locate=False)  # that looks at the program anew
    assert count.traces == first


def test_other_keys_and_tolerances_trace_nothing():
    count = Counted(smooth)
    counted = count.make()
    jgs.check_grad(counted, (X,))
    first = count.traces
    jgs.check_grad(counted, (X,), key=7, rtol=1e-3, directions=5)
    jgs.check_grad(counted, (X,), steps=2.0 ** -np.arange(2.0, 30.0))
    assert count.traces == first


def test_another_shape_is_traced_anew():
    count = Counted(smooth)
    counted = count.make()
    jgs.check_grad(counted, (X,))
    first = count.traces
    assert jgs.check_grad(counted, (np.append(X, 0.5),)).ok
    assert count.traces > first


def test_a_leaf_held_fixed_may_change_without_a_trace():
    count = Counted(lambda pair: smooth(pair["x"]) * pair["n"])
    counted = count.make()
    assert jgs.check_grad(counted, ({"x": X, "n": np.array(2)},)).ok
    first = count.traces
    gradient = {"x": 3 * smooth_gradient(X), "n": None}
    assert jgs.check_grad(counted, ({"x": X, "n": np.array(3)},)).ok
    assert count.traces == first
    assert jgs.check_grad(counted, ({"x": X, "n": np.array(3)},), grad=gradient).ok


# ---- what a function reads from outside may change between checks


def judged_before_and_after(fun, change, *, before=1.0, after=3.0):
    """Verdicts of the gradient of the old function, asked before and after a change, and that of the new one."""
    old, new = before * smooth_gradient(X), after * smooth_gradient(X)
    first = jgs.check_grad(fun, (X,), grad=old).verdict.name
    change()
    return [first, jgs.check_grad(fun, (X,), grad=old).verdict.name, jgs.check_grad(fun, (X,), grad=new).verdict.name]


SEEN = ["CORRECT", "WRONG", "CORRECT"]


def test_a_changed_closure_value_is_seen():
    factor = 1.0

    def fun(x):
        return factor * smooth(x)

    def change():
        nonlocal factor
        factor = 3.0

    assert judged_before_and_after(fun, change) == SEEN


FACTOR = 1.0


def with_global(x):
    return FACTOR * smooth(x)


def through_another(x):
    return with_global(x)


@pytest.mark.parametrize("fun", [with_global, through_another], ids=["read directly", "read by another function"])
def test_a_changed_global_is_seen(fun, monkeypatch):
    monkeypatch.setitem(globals(), "FACTOR", 1.0)
    assert judged_before_and_after(fun, lambda: monkeypatch.setitem(globals(), "FACTOR", 3.0)) == SEEN


def test_a_numpy_array_changed_in_place_is_seen():
    weights = np.ones(1)

    def fun(x):
        return weights[0] * smooth(x)

    assert judged_before_and_after(fun, lambda: weights.__setitem__(0, 3.0)) == SEEN


@pytest.mark.parametrize("held", [{"factor": 1.0}, {"factor": np.ones(())}], ids=["number", "array"])
def test_a_dict_changed_in_place_is_seen(held):
    def fun(x):
        return held["factor"] * smooth(x)

    assert judged_before_and_after(fun, lambda: held.update(factor=3.0)) == SEEN


def test_a_list_changed_in_place_is_seen():
    factors = [0.5, 0.5]

    def fun(x):
        return sum(factors) * smooth(x)

    assert judged_before_and_after(fun, lambda: factors.append(2.0)) == SEEN


class Model:
    def __init__(self, factor):
        self.factor = factor

    def loss(self, x):
        return self.factor * smooth(x)

    def __call__(self, x):
        return self.factor * smooth(x)


@pytest.mark.parametrize("make", [lambda: 1.0, lambda: np.ones(1)], ids=["number", "array"])
@pytest.mark.parametrize("kind", ["method", "callable object", "closure"])
def test_a_changed_attribute_of_an_object_is_seen(kind, make):
    factor = make()
    model = Model(factor)
    fun = {"method": model.loss, "callable object": model, "closure": lambda x: model.loss(x)}[kind]
    scalar = (lambda x: fun(x)[0]) if np.ndim(factor) else fun

    def change():
        if np.ndim(factor):
            model.factor[:] = 3.0
        else:
            model.factor = 3.0

    assert judged_before_and_after(scalar, change) == SEEN


def test_a_changed_namespace_is_seen():
    config = types.SimpleNamespace(factor=1.0)

    def fun(x):
        return config.factor * smooth(x)

    assert judged_before_and_after(fun, lambda: setattr(config, "factor", 3.0)) == SEEN


def test_a_changed_default_is_seen():
    def fun(x, factor=1.0, *, more=1.0):
        return factor * more * smooth(x)

    assert judged_before_and_after(fun, lambda: setattr(fun, "__kwdefaults__", {"more": 3.0})) == SEEN


def test_a_changed_claim_is_seen():
    factor = 1.0
    claim = lambda x: factor * jax.grad(smooth)(x)
    assert jgs.check_grad(smooth, (X,), grad=claim).ok
    factor = 1.001
    assert jgs.check_grad(smooth, (X,), grad=claim).verdict.name == "WRONG"


# ---- memory and batches


@pytest.mark.parametrize("setting", [{"batch_size": 3}, {"batch_size": 11}, {"batch_size": 1000}, {"memory": 2**20}])
def test_batches_and_memory_do_not_change_the_verdict(setting):
    gradient = smooth_gradient(X)
    gradient[2] *= 1 + 1e-7
    plain, other = (jgs.check_grad(smooth, (X,), **more) for more in ({}, setting))
    assert plain.ok
    assert other.ok
    one, two = plain.findings[0], other.findings[0]
    assert abs(one.estimate - two.estimate) <= one.uncertainty + two.uncertainty
    assert jgs.check_grad(smooth, (X,), grad=gradient, **setting).verdict.name == "WRONG"


def test_a_batch_holds_no_more_points_than_asked_for():
    for batch_size in (3, 5, 17, 100):
        assert 2 * chunk_of_steps([X], batch_size, 2**40) + 1 <= batch_size
    assert chunk_of_steps([np.zeros(10**6)], None, 2**24) == 1  # two points of 8 MB and x itself fill 16 MB
    assert chunk_of_steps([X], None, 2**40) == max(CHUNKS)


def test_the_same_check_twice_gives_the_same_numbers():
    one, two = (jgs.check_grad(smooth, (X,), key=3) for _ in range(2))
    np.testing.assert_array_equal(one.sweep.difference, two.sweep.difference)
    assert one.to_dict()["findings"] == two.to_dict()["findings"]


def test_more_directions_than_one_call_holds_are_measured_in_several():
    params, inputs = layers_point()
    report = jgs.check_grad(layers, (params, inputs), directions=20)
    assert report.ok
    assert len(report.sweep.leaf) == 80
    exact = layers_gradient(params, inputs)
    assert jgs.check_grad(layers, (params, inputs), grad=exact, directions=20).ok


# ---- precision, flags and threads


def flags():
    return jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision, jax.config.jax_debug_nans


def test_flags_are_what_they_were_after_a_check():
    before = flags()
    jgs.check_grad(smooth, (X,))
    jgs.check_grad(smooth, (X,), dtype="native")
    assert flags() == before
    assert jnp.ones(()).dtype == jnp.float32


def test_flags_are_what_they_were_after_an_exception():
    before = flags()

    def fails(x):
        assert flags()[0]
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        jgs.check_grad(fails, (X,))
    assert flags() == before


def test_a_check_runs_in_double_precision_and_another_thread_does_not_notice():
    before, seen = flags(), []

    def spies(x):
        other = threading.Thread(target=lambda: seen.append((flags(), jnp.ones(()).dtype)))
        other.start()
        other.join()
        seen.append((flags(), x.dtype))
        return smooth(x)

    assert jgs.check_grad(spies, (X,)).ok
    others, own = seen[::2], seen[1::2]
    assert set(others) == {(before, jnp.dtype("float32"))}
    assert {(x64, precision, dtype) for (x64, precision, _), dtype in own} == {(True, "highest", jnp.dtype("float64"))}


def test_two_threads_check_at_once():
    found = {}

    def check(name, factor):
        found[name] = jgs.check_grad(smooth, (X,), grad=factor * smooth_gradient(X)).verdict.name

    threads = [threading.Thread(target=check, args=pair) for pair in (("right", 1.0), ("wrong", 1.01))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"right": "CORRECT", "wrong": "WRONG"}


def test_native_precision_evaluates_in_the_callers_own():
    seen = set()

    def spies(x):
        seen.add(x.dtype.name)
        return smooth(x)

    assert jgs.check_grad(spies, (X.astype(np.float32),), dtype="native").ok
    assert seen == {"float32"}


def test_a_matmul_runs_at_the_precision_that_the_function_asks_for():
    seen = []

    def spies(x):
        with jax.default_matmul_precision("bfloat16"):
            seen.append(flags()[1])
            return smooth(x)

    jgs.check_grad(spies, (X,))
    assert set(seen) == {"bfloat16"}


# ---- what the user passed stays as it is


def test_nothing_that_the_user_passed_is_changed():
    params, inputs = layers_point()
    params = {name: np.array(leaf) for name, leaf in params.items()}
    params["b1"] = jnp.asarray(params["b1"])
    for leaf in (params["w1"], inputs):
        leaf.setflags(write=False)
    copies = {name: np.array(leaf) for name, leaf in params.items()}
    leaves = dict(params)
    jgs.check_grad(layers, (params, inputs))
    jgs.check_grad(layers, (params, inputs), grad=jax.tree.map(np.zeros_like, copies))
    for name, leaf in params.items():
        assert leaf is leaves[name]
        assert leaf.dtype == copies[name].dtype
        np.testing.assert_array_equal(leaf, copies[name])
    assert not params["b1"].is_deleted()


def test_results_are_numpy():
    for check in (jgs.check_grad, jgs.check_hvp):
        report = check(smooth, (jnp.asarray(X),))
        assert is_numpy_all_through(report)
        assert isinstance(report.resolution, float)
        assert {type(getattr(report.findings[0], name)) for name in ("claimed", "estimate", "error")} == {float}
        assert report.sweep.difference.dtype == np.float64


def test_large_arrays_are_not_kept_alive_by_a_check():
    point = jnp.asarray(X)
    seen = weakref.ref(point)
    jgs.check_grad(smooth, (point,))
    del point
    gc.collect()
    assert seen() is None


# ---- functions that are hard to evaluate


def host_sines(limit=np.inf, vmap_method="expand_dims"):
    """Sum of sines on the host, which raises where an element is above the limit."""

    def host(x):
        if np.any(np.asarray(x) > limit):
            raise ArithmeticError("too far out")
        return np.sin(x)

    @jax.custom_jvp
    def sines(x):
        return jax.pure_callback(host, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method=vmap_method)

    sines.defjvp(lambda primals, tangents: (sines(*primals), jnp.cos(primals[0]) * tangents[0]))
    return lambda x: jnp.sum(sines(x))


def test_a_function_that_raises_at_far_points_is_checked_nearer_by():
    fun = host_sines(limit=1.21)
    report = jgs.check_grad(fun, (X,))
    assert report.ok
    assert report.environment["dtype"] == "float64"
    assert any("raises an error at steps above" in note for note in report.notes)
    assert jgs.check_grad(fun, (X,), grad=1.001 * np.cos(X)).verdict.name == "WRONG"


def test_a_function_that_raises_at_the_point_keeps_its_words():
    with pytest.raises(Exception, match="too far out"):
        jgs.check_grad(host_sines(limit=1.0), (X,))


def test_a_callback_without_a_batching_rule_is_evaluated_one_point_after_the_other():
    fun = host_sines(vmap_method=None)
    report = jgs.check_grad(fun, (X,))
    assert report.ok
    assert any("cannot be vmapped" in note for note in report.notes)
    assert jgs.check_grad(fun, (X,), grad=1.001 * np.cos(X)).verdict.name == "WRONG"


def test_a_function_with_effects_of_its_own_is_left_as_it_is():
    doubled = jax.jit(smooth)
    assert jgs.check_grad(doubled, (X,)).ok


def test_a_function_that_insists_on_float32_is_evaluated_as_the_arrays_come():
    @jax.jit
    def insists(x):
        if x.dtype != jnp.float32:
            raise TypeError("float32 only")
        return smooth(x)

    report = jgs.check_grad(insists, (X.astype(np.float32),))
    assert report.ok
    assert any("as the arrays come" in note and "float32 only" in note for note in report.notes)


@pytest.mark.parametrize("most", [1, 3, 9, 17, 22, 100])
def test_batches_are_even_and_leave_nothing_out(most):
    """A remainder would be traced and compiled once more."""
    which, size = even_batches(22, most)
    np.testing.assert_array_equal(which[:22], np.arange(22))
    assert np.all(which[22:] == 21)
    assert size <= most
    assert len(which) % size == 0
    assert len(which) - 22 < size
