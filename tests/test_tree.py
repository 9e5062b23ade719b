"""Pytrees as they come: nobody has to split one by hand."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgradsweep as jgs
from jaxgradsweep._tree import HELD, MOVING, STATIC, Same, split, widen
from jaxgradsweep._wording import NOTHING_PROBED

FLOATS = np.array([0.4, 1.1, -0.7])


class Pair(NamedTuple):
    weight: Any
    bias: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Dense:
    weight: Any
    name: str = dataclasses.field(metadata={"static": True}, default="dense")


@jax.tree_util.register_pytree_with_keys_class
class Keyed:
    def __init__(self, inner):
        self.inner = inner

    def tree_flatten_with_keys(self):
        return [(jax.tree_util.GetAttrKey("inner"), self.inner)], None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)


@jax.tree_util.register_pytree_node_class
class Keyless:
    def __init__(self, inner):
        self.inner = inner

    def tree_flatten(self):
        return (self.inner,), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)


@dataclasses.dataclass
class Unregistered:
    value: float


def names_by_jax(argument):
    """What JAX calls the floating and complex leaves."""
    leaves = jax.tree_util.tree_flatten_with_path(argument)[0]
    return [jax.tree_util.keystr(path) for path, leaf in leaves if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)]


# ---- what moves, what is held, and the names


@pytest.mark.parametrize(
    "argument",
    [
        FLOATS,
        {"b": FLOATS, "a": [FLOATS, (FLOATS, FLOATS)]},
        Pair(FLOATS, {"deep": FLOATS}),
        Dense(FLOATS),
        Keyed(FLOATS),
        Keyless([FLOATS, FLOATS]),
        {"x y": FLOATS, "it's": FLOATS},
    ],
    ids=["array", "dicts, lists, tuples", "NamedTuple", "dataclass", "keys", "no keys", "odd names"],
)
def test_leaves_are_named_as_keystr_names_them(argument):
    assert list(split((argument,), (0,), single=True).paths) == names_by_jax(argument)


def test_with_several_arguments_a_name_begins_with_the_argument():
    args = ({"w": FLOATS}, FLOATS, 3)
    assert split(args, (0, 1), single=False).paths == ("[0]['w']", "[1]")
    assert split(args, (1,), single=True).paths == ("",)


@pytest.mark.parametrize(
    ("leaf", "kind"),
    [
        (FLOATS, MOVING),
        (0.5, MOVING),
        (0.5 + 1j, MOVING),
        (np.float32(2), MOVING),
        (np.array(0.5), MOVING),
        (jnp.ones(2, jnp.bfloat16), MOVING),
        (np.ones(2, np.complex64), MOVING),
        (np.arange(3), HELD),
        (np.array([True]), HELD),
        (jnp.arange(3), HELD),
        (np.zeros((0, 3)), HELD),
        (3, STATIC),
        (True, STATIC),
        ("relu", STATIC),
        (jnp.tanh, STATIC),
        (Unregistered(1.0), STATIC),
        (np.array(["a"]), STATIC),
        (np.array([None], object), STATIC),
    ],
    ids=lambda value: getattr(value, "__name__", None) or repr(value),
)
def test_floating_and_complex_leaves_move_and_others_are_held_fixed(leaf, kind):
    assert split(([leaf],), (0,), single=True).layout.kinds == (kind,)


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey], ids=["new", "old"])
def test_random_keys_are_held_fixed(make):
    assert split((make(0),), (0,), single=True).layout.kinds == (HELD,)


def test_floating_leaves_of_other_arguments_are_held_fixed():
    point = split((FLOATS, FLOATS), (1,), single=True)
    assert point.layout.kinds == (HELD, MOVING)


def test_none_is_no_leaf():
    assert split(((None, FLOATS, None),), (0,), single=True).paths == ("[1]",)


def test_what_is_held_fixed_is_told_in_words():
    point = split(({"n": np.arange(3), "name": "relu", "w": FLOATS},), (0,), single=True)
    assert point.fixed == ("['n'] (int64[3])", "['name'] (str)")


@pytest.mark.parametrize(
    "argument",
    [Pair(FLOATS, None), {"a": 1, "b": "text", "c": [FLOATS, jnp.tanh]}, Keyed(Dense(FLOATS)), (), 0.5],
    ids=["NamedTuple", "mixed", "nodes", "nothing", "number"],
)
def test_a_point_is_put_together_as_it_was(argument):
    point = split((argument,), (0,), single=True)
    (joined,) = point.layout.join(point.moving, point.held)
    assert jax.tree.structure(joined) == jax.tree.structure(argument)
    assert all(a is b for a, b in zip(jax.tree.leaves(joined), jax.tree.leaves(argument), strict=True))


def test_layouts_of_equal_structure_are_equal_so_that_compiled_code_is_found_again():
    one, two = (split(({"w": FLOATS + i, "name": "relu", "n": 3},), (0,), single=True).layout for i in (0, 1))
    other = split(({"w": FLOATS, "name": "gelu", "n": 3},), (0,), single=True).layout
    assert (one, hash(one)) == (two, hash(two))
    assert one != other


def test_one_and_true_and_a_float_are_not_the_same_static_value():
    assert Same(1) == Same(1)
    assert Same(1) != Same(True)
    assert Same("a") == Same("".join(["a"]))
    assert Same([1]) != Same([1])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, jnp.bfloat16])
def test_a_leaf_is_widened_without_changing_a_value(dtype):
    leaf = np.array([0.1, 3.3, -1e-3]).astype(dtype)
    wide = widen(leaf)
    assert wide.dtype == np.float64
    np.testing.assert_array_equal(wide, leaf.astype(np.float64))
    assert widen(np.complex64(1 + 2j)).dtype == np.complex128
    assert widen(np.arange(2)).dtype.kind == "i"


# ---- whole checks of mixed trees


def energy(params):
    """Half the sum of sin^2 over all floating leaves of a tree, whatever else it holds."""
    leaves = [x for x in jax.tree.leaves(params) if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.inexact)]
    return sum(jnp.sum(jnp.sin(leaf) ** 2).real for leaf in leaves) / 2


def energy_gradient(leaf):
    return np.sin(leaf) * np.cos(leaf)


def test_a_tree_of_everything_is_checked_leaf_by_leaf():
    params = {
        "arrays": [FLOATS, FLOATS.astype(np.float32)],
        "count": 3,
        "dense": Dense(np.full((2, 2), 0.3)),
        "empty": np.zeros((0, 4)),
        "flag": True,
        "function": jnp.tanh,
        "index": np.arange(4),
        "key": jax.random.key(0),
        "keyed": Keyed(FLOATS),
        "name": "relu",
        "nothing": None,
        "old key": jax.random.PRNGKey(0),
        "pair": Pair(np.array(0.6), FLOATS),
    }
    report = jgs.check_grad(energy, (params,))
    assert report.ok, report
    assert [finding.path for finding in report.findings] == [
        "['arrays'][0]",
        "['arrays'][1]",
        "['dense'].weight",
        "['keyed'].inner",
        "['pair'].weight",
        "['pair'].bias",
    ]
    told = " ".join(report.notes)
    for name in ("['count']", "['flag']", "['function']", "['index']", "['key']", "['name']", "['old key']"):
        assert name in told


def test_only_the_wrong_leaf_of_a_mixed_tree_is_wrong():
    params = Pair({"w": FLOATS, "n": 3}, Dense(FLOATS + 1))
    gradient = Pair({"w": energy_gradient(FLOATS), "n": None}, Dense(1.01 * energy_gradient(FLOATS + 1)))
    report = jgs.check_grad(energy, (params,), grad=gradient)
    assert {f.path: f.verdict.name for f in report.findings} == {".weight['w']": "CORRECT", ".bias.weight": "WRONG"}


@pytest.mark.parametrize("point", [0.5, np.float32(0.5), np.float64(0.5), np.array(0.5), jnp.float32(0.5)], ids=repr)
def test_numbers_and_arrays_without_axes_are_points(point):
    right = jgs.check_grad(cube, (point,), grad=0.75)
    wrong = jgs.check_grad(cube, (point,), grad=0.76)
    assert (right.verdict.name, wrong.verdict.name) == ("CORRECT", "WRONG")
    assert right.findings[0].shape == ()


def cube(x):
    return x**3


def test_a_complex_number_is_a_point():
    assert jgs.check_grad(squared_size, (1.0 + 2.0j,), grad=2 * (1.0 - 2.0j)).ok


def squared_size(z):
    return (z * jnp.conj(z)).real


def test_leaves_of_many_dtypes_are_reported_as_they_came():
    dtypes = {"a": jnp.bfloat16, "b": np.float16, "c": np.float32, "d": np.float64}
    params = {
        name: jnp.asarray([0.5, 0.75], dtype) if name < "d" else np.array([0.5, 0.75]) for name, dtype in dtypes.items()
    }
    report = jgs.check_grad(energy_in_float64, (params,))
    assert report.ok, report
    assert [finding.dtype for finding in report.findings] == ["bfloat16", "float16", "float32", "float64"]
    assert report.resolution < 1e-9  # the values are short, the arithmetic is not


def energy_in_float64(params):
    return sum(jnp.sum(jnp.sin(leaf)) for leaf in params.values())


def test_an_array_that_is_two_leaves_is_two_leaves():
    shared = FLOATS.copy()
    report = jgs.check_grad(product, ({"a": shared, "b": shared},), grad={"a": shared, "b": shared})
    assert report.ok, report
    assert [finding.path for finding in report.findings] == ["['a']", "['b']"]
    wrong = jgs.check_grad(product, ({"a": shared, "b": shared},), grad={"a": 2 * shared, "b": 0 * shared})
    assert [finding.verdict.name for finding in wrong.findings] == ["WRONG", "WRONG"]


def product(params):
    return jnp.sum(params["a"] * params["b"])


@pytest.mark.parametrize("empty", [np.zeros((0, 3)), {"a": np.zeros(0), "b": np.zeros((2, 0), np.float32)}])
def test_a_tree_of_empty_leaves_is_correct_and_says_that_nothing_was_probed(empty):
    report = jgs.check_grad(lambda x: sum(jnp.sum(leaf) for leaf in jax.tree.leaves(x)) + 1.0, (empty,))
    assert report.ok
    assert report.findings == ()
    assert NOTHING_PROBED in str(report)


def test_an_integer_argument_may_be_used_as_a_shape():
    report = jgs.check_grad(padded_norm, (FLOATS, 7))
    assert report.ok, report


def padded_norm(x, length):
    return jnp.sum(jnp.sin(jnp.zeros(length).at[: x.size].set(x)) ** 2)


def test_an_integer_array_may_be_used_as_concrete_numbers():
    report = jgs.check_grad(repeated, (FLOATS, np.array([2, 0, 3])))
    assert report.ok, report


def repeated(x, counts):
    return jnp.sum(jnp.concatenate([jnp.tile(x[i] ** 2, int(n)) for i, n in enumerate(counts)]))


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey], ids=["new", "old"])
def test_a_random_key_that_is_an_argument_gives_the_same_noise_every_time(make):
    report = jgs.check_grad(dropout, (FLOATS, make(3)))
    assert report.ok, report


def dropout(x, key):
    return jnp.sum(jnp.where(jax.random.bernoulli(key, 0.7, x.shape), jnp.sin(x), x**2))
