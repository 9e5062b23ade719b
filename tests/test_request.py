"""What is refused at the door, and in which words."""

import re
import traceback
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgradsweep as jgs
from helpers import smooth, smooth_gradient
from jaxgradsweep import Reason, Verdict

X = np.array([0.3, 0.8, 1.2])
CHECKS = [jgs.check_grad, jgs.check_vjp, jgs.check_jvp, jgs.check_hvp]
GRID = 2.0 ** -np.arange(1.0, 31.0)


class Layer(NamedTuple):
    w: np.ndarray
    b: np.ndarray


def layer(params, scale=1.0):
    return scale * (jnp.sum(jnp.sin(params.w)) + jnp.sum(params.b**2))


LAYER = Layer(np.full((2, 3), 0.4), np.array([0.5, 0.6, 0.7]))
LAYER_GRADIENT = Layer(np.cos(LAYER.w), 2 * LAYER.b)


def saying(*parts):
    """A pattern of texts that follow each other with anything between them."""
    return "(?s)" + ".*".join(re.escape(part) for part in parts)


# ---- arguments


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(("args", "name"), [(X, "ndarray"), ([X], "list"), ({"x": X}, "dict"), (1.0, "float")])
def test_args_must_be_a_tuple(check, args, name):
    with pytest.raises(TypeError, match=saying("`args` must be a tuple", f"got {name}", "`(x,)`")):
        check(smooth, args)


def test_fun_must_be_callable():
    with pytest.raises(TypeError, match=saying("`fun` must be callable; got ndarray")):
        jgs.check_grad(X, (X,))


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("argnums", [1, -2, (0, 7)])
def test_argnums_out_of_range_names_the_number_and_how_many_arguments_there_are(check, argnums):
    number = argnums if isinstance(argnums, int) else 7
    with pytest.raises(ValueError, match=saying("`argnums`", f"{number} is out of range", "1 argument")):
        check(smooth, (X,), argnums=argnums)


@pytest.mark.parametrize("argnums", [(0, 0), (0, -2), ()])
def test_argnums_must_name_each_argument_once(argnums):
    with pytest.raises(ValueError, match=saying("`argnums`", "each once", repr(argnums))):
        jgs.check_grad(jnp.dot, (X, X), argnums=argnums)


@pytest.mark.parametrize("argnums", ["0", 0.0, None])
def test_argnums_must_be_integers(argnums):
    with pytest.raises(TypeError, match=saying("`argnums` must be an int or a tuple of ints; got", repr(argnums))):
        jgs.check_grad(smooth, (X,), argnums=argnums)


@pytest.mark.parametrize(
    ("argument", "found"),
    [(np.arange(3), "int64"), ({"n": 3, "name": "relu"}, "int"), (True, "bool"), ("text", "str")],
)
def test_an_argument_without_floating_leaves_has_nothing_to_differentiate(argument, found):
    with pytest.raises(TypeError, match=saying("nothing to differentiate", "args[0]", found, "`argnums`")):
        jgs.check_grad(lambda x: 1.0, (argument,))


@pytest.mark.parametrize("argument", [None, {}, ()], ids=repr)
def test_an_argument_without_leaves_has_nothing_to_differentiate(argument):
    with pytest.raises(TypeError, match="nothing to differentiate"):
        jgs.check_grad(lambda x: 1.0, (argument,))


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, jax.grad], ids=["jit", "vmap", "grad"])
def test_a_traced_call_is_told_that_checks_run_outside(check, transform):
    def user(x):
        check(smooth, ({"w": x},))
        return jnp.sum(x)

    point = X[None] if transform is jax.vmap else X
    with pytest.raises(TypeError, match=saying("['w']", "traced", "cannot run inside `jit`", "outside")):
        transform(user)(point)


def test_a_function_that_closes_over_a_tracer_is_told_so_too():
    @jax.jit
    def user(x):
        return jgs.check_grad(lambda y: jnp.sum(x * y), (X,)).resolution

    with pytest.raises(TypeError, match=saying("traced", "outside")):
        user(X)


# ---- claims that do not look like the point


def test_a_claimed_leaf_of_another_shape_is_named_with_both_shapes():
    wrong = LAYER_GRADIENT._replace(w=LAYER_GRADIENT.w.T)
    with pytest.raises(ValueError, match=saying("shape (3, 2)", ".w", "shape (2, 3)")):
        jgs.check_grad(layer, (LAYER,), grad=wrong)


def test_a_claimed_gradient_that_is_a_callable_is_named_in_the_same_way():
    with pytest.raises(ValueError, match=saying("`grad`", "shape (1, 3)", ".b", "shape (3,)")):
        jgs.check_grad(layer, (LAYER,), grad=lambda params: Layer(jnp.cos(params.w), 2 * params.b[None]))


def test_a_shape_that_would_only_broadcast_is_refused():
    with pytest.raises(ValueError, match=saying("shape ()", "shape (3,)")):
        jgs.check_grad(smooth, (X,), grad=np.float64(1.0))


@pytest.mark.parametrize("tree", [{"w": LAYER.w, "b": LAYER.b}, (LAYER.w, LAYER.b), [LAYER.w], LAYER.w], ids=repr)
def test_a_claim_of_another_structure_is_refused(tree):
    with pytest.raises(ValueError, match=saying("claimed derivative has another structure than `args[argnums]`")):
        jgs.check_grad(layer, (LAYER,), grad=tree)


def test_a_claim_for_one_argument_where_two_were_asked_for_is_refused():
    with pytest.raises(ValueError, match=saying("another structure than `args[argnums]`")):
        jgs.check_grad(jnp.dot, (X, X), argnums=(0, 1), grad=(X,))


def test_a_missing_leaf_of_a_claim_is_named():
    with pytest.raises(ValueError, match=saying("None", ".b", "(3,)")):
        jgs.check_grad(layer, (LAYER,), grad=LAYER_GRADIENT._replace(b=None))


@pytest.mark.parametrize(("dtype", "said"), [(np.int32, "int32"), (bool, "bool")])
def test_a_claim_that_is_not_floating_names_its_dtype(dtype, said):
    with pytest.raises(ValueError, match=saying(f"dtype {said}", ".b", "floating or complex")):
        jgs.check_grad(layer, (LAYER,), grad=LAYER_GRADIENT._replace(b=LAYER.b.astype(dtype)))


def test_a_complex_claim_of_a_real_leaf_names_both_dtypes():
    with pytest.raises(ValueError, match=saying("dtype complex128", ".w", "float64")):
        jgs.check_grad(layer, (LAYER,), grad=LAYER_GRADIENT._replace(w=LAYER_GRADIENT.w + 0j))


def test_a_pullback_of_another_shape_is_named():
    def rule(params):
        out, pull = jax.vjp(layer, params)
        return out, lambda u: (pull(u)[0]._replace(w=jnp.zeros((3, 2))),)

    with pytest.raises(ValueError, match=saying("`vjp`", "shape (3, 2)", ".w", "shape (2, 3)")):
        jgs.check_vjp(layer, (LAYER,), vjp=rule)


def test_a_tangent_of_another_shape_than_the_output_is_named():
    with pytest.raises(ValueError, match=saying("tangent", "shape (2,)", "shape (3,)")):
        jgs.check_jvp(jnp.sin, (X,), jvp=lambda primals, tangents: (jnp.sin(primals[0]), tangents[0][:2]))


def test_a_hessian_product_of_another_shape_is_named():
    with pytest.raises(ValueError, match=saying("`hvp`", "shape (2,)", "shape (3,)")):
        jgs.check_hvp(smooth, (X,), hvp=lambda primals, tangents: tangents[0][:2])


# ---- outputs


@pytest.mark.parametrize("check", [jgs.check_grad, jgs.check_hvp])
def test_a_gradient_of_many_outputs_is_refused_in_the_words_of_jax(check):
    words = saying("Gradient only defined for scalar-output functions. Output had shape: (3,).", "`check_vjp`")
    with pytest.raises(TypeError, match=words):
        check(jnp.sin, (X,))


def test_a_gradient_of_a_tree_of_outputs_is_refused():
    with pytest.raises(TypeError, match=saying("Gradient only defined for scalar-output functions", "`check_vjp`")):
        jgs.check_grad(lambda x: (jnp.sum(x), jnp.sum(x)), (X,))


def test_a_gradient_of_an_integer_is_refused_in_the_words_of_jax():
    with pytest.raises(TypeError, match=saying("grad requires real- or complex-valued outputs", "int")):
        jgs.check_grad(lambda x: jnp.sum(jnp.round(x)).astype(int), (X,))


def test_a_gradient_of_a_complex_output_asks_for_holomorphic():
    with pytest.raises(TypeError, match=saying("grad requires real-valued outputs", "complex", "`holomorphic=True`")):
        jgs.check_grad(lambda x: jnp.sum(jnp.exp(1j * x)), (X,))


@pytest.mark.parametrize("check", [jgs.check_vjp, jgs.check_jvp])
def test_outputs_without_floating_leaves_have_nothing_to_differentiate(check):
    with pytest.raises(TypeError, match=saying("no output", "nothing to differentiate")):
        check(lambda x: {"n": jnp.argmax(x)}, (X,))


# ---- functions that raise, or are not finite


class Broken(Exception):
    pass


def the_line_at_fault(x):
    raise Broken("the user's own words")


@pytest.mark.parametrize("check", CHECKS)
def test_an_exception_of_the_function_keeps_its_type_words_and_traceback(check):
    with pytest.raises(Broken, match="the user's own words") as caught:
        check(the_line_at_fault, (X,))
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "the_line_at_fault"


def test_an_exception_of_the_claim_keeps_its_type_words_and_traceback():
    with pytest.raises(Broken, match="the user's own words") as caught:
        jgs.check_grad(smooth, (X,), grad=the_line_at_fault)
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "the_line_at_fault"


def test_a_shape_error_inside_the_function_is_the_users_own():
    with pytest.raises(TypeError, match="incompatible shapes"):
        jgs.check_grad(lambda x: jnp.sum(x + jnp.ones(2)), (X,))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_claim_that_is_not_finite_where_the_function_is_smooth_is_wrong(bad):
    gradient = smooth_gradient(X)
    gradient[1] = bad
    finding = jgs.check_grad(smooth, (X,), grad=gradient).findings[0]
    assert (finding.verdict, finding.reason) == (Verdict.WRONG, Reason.NAN_CLAIM)


def test_a_claim_of_nan_by_a_callable_is_wrong_too():
    finding = jgs.check_grad(smooth, (X,), grad=lambda x: jnp.full_like(x, jnp.nan)).findings[0]
    assert (finding.verdict, finding.reason) == (Verdict.WRONG, Reason.NAN_CLAIM)


@pytest.mark.parametrize("check", CHECKS)
def test_a_function_that_is_not_finite_at_the_point_is_unresolved(check):
    finding = check(logs, (np.array([1.0, -1.0]),)).findings[0]
    assert (finding.verdict, finding.reason) == (Verdict.UNRESOLVED, Reason.NOT_FINITE)
    assert "finite" in finding.advice


def logs(x):
    return jnp.sum(jnp.log(x))


def test_a_point_that_is_nan_is_unresolved():
    finding = jgs.check_grad(smooth, (np.array([0.3, np.nan, 1.2]),)).findings[0]
    assert (finding.verdict, finding.reason) == (Verdict.UNRESOLVED, Reason.NOT_FINITE)


# ---- settings


def test_an_unknown_setting_is_named_and_the_known_ones_are_listed():
    with pytest.raises(TypeError, match=saying("unknown setting `tolerance`", "`dtype`", "`rtol`", "`directions`")):
        jgs.check_grad(smooth, (X,), tolerance=1e-3)


@pytest.mark.parametrize("dtype", ["float32", np.float64, None])
def test_a_dtype_is_one_of_three_words(dtype):
    with pytest.raises(ValueError, match=saying('`dtype` must be "float64", "native" or "both"; got', repr(dtype))):
        jgs.check_grad(smooth, (X,), dtype=dtype)


@pytest.mark.parametrize("rtol", [0, -1e-3, 1, 2.0, np.nan, "1e-3", np.inf])
def test_rtol_is_a_relative_error(rtol):
    with pytest.raises(ValueError, match=saying("`rtol` must be a relative error between 0 and 1", repr(rtol))):
        jgs.check_grad(smooth, (X,), rtol=rtol)


@pytest.mark.parametrize("rtol", [1e-3, np.float64(1e-3), np.float32(1e-3)], ids=repr)
def test_rtol_may_be_any_kind_of_number(rtol):
    assert jgs.check_grad(smooth, (X,), rtol=rtol).ok


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [("directions", 0, 1), ("directions", 2.5, 1), ("directions", True, 1), ("batch_size", 0, 3), ("memory", 0, 1)],
)
def test_counts_are_integers_of_a_least_size(name, value, least):
    with pytest.raises(ValueError, match=saying(f"`{name}` must be an integer of at least {least}; got {value!r}")):
        jgs.check_grad(smooth, (X,), **{name: value})


@pytest.mark.parametrize("key", [0.5, "seed", jax.random.PRNGKey(0)], ids=["float", "text", "key"])
def test_a_key_is_an_integer(key):
    with pytest.raises(TypeError, match="`key` must be an integer seed"):
        jgs.check_grad(smooth, (X,), key=key)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([], "at least 16 steps"),
        (GRID[:5], "at least 16 steps in one row; got shape (5,)"),
        (GRID.reshape(5, 6), "in one row; got shape (5, 6)"),
        (2.0 ** -np.arange(100.0), "at most 80 steps; got 100"),
        (np.append(GRID, 0.0), "must be positive and finite; got 0"),
        (np.append(-0.5, GRID), "must be positive and finite; got -0.5"),
        (np.append(GRID, np.nan), "must be positive and finite; got nan"),
        (np.append(np.inf, GRID), "must be positive and finite; got inf"),
        (np.random.default_rng(0).permutation(GRID), "must be sorted"),
        (np.repeat(GRID, 2), "must be sorted"),
        (np.geomspace(1, 1e-9, 30), "must halve"),
    ],
    ids=["none", "five", "a table", "a hundred", "zero", "negative", "nan", "infinite", "unsorted", "double", "tenths"],
)
def test_bad_steps_are_refused(steps, words):
    with pytest.raises(ValueError, match=saying("`steps`", words)):
        jgs.check_grad(smooth, (X,), steps=steps)


@pytest.mark.parametrize("steps", [GRID, GRID[::-1], list(GRID), tuple(GRID)], ids=["down", "up", "list", "tuple"])
def test_good_steps_are_used_from_large_to_small(steps):
    report = jgs.check_grad(smooth, (X,), steps=steps)
    assert report.ok
    np.testing.assert_array_equal(report.sweep.steps, GRID)


def test_bad_settings_are_refused_before_the_function_is_called():
    with pytest.raises(ValueError, match="rtol"):
        jgs.check_grad(the_line_at_fault, (X,), rtol=-1)
    with pytest.raises(ValueError, match="steps"):
        jgs.check_grad(the_line_at_fault, (X,), steps=[1.0])
