"""Whole Hessians, entry by entry, and Gauss-Newton products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgradsweep as jgs
from jaxgradsweep import HessianReport, Law, Verdict

POINT = {"b": np.array([0.4, -0.7, 0.2]), "c": np.array(2.0), "w": np.arange(1.0, 7).reshape(2, 3) / 5}


def energy(p):
    return jnp.sum(jnp.tanh(p["w"] @ jnp.sin(p["b"])) ** 2) + jnp.sum(jnp.exp(p["b"])) + p["c"] ** 3


def tampered(p):
    """One entry of one block is wrong, and its mirror image is not."""
    found = jax.hessian(energy)(p)
    found["w"]["b"] = found["w"]["b"].at[0, 1, 2].add(0.01)
    return found


@pytest.fixture(scope="module")
def right():
    return jgs.check_hessian(energy, (POINT,))


@pytest.fixture(scope="module")
def wrong():
    return jgs.check_hessian(energy, (POINT,), hessian=tampered)


# ---- right and wrong


def test_every_entry_of_a_right_hessian_lies_within_its_error_bar(right):
    assert right.ok
    assert right.claimed.shape == (10, 10)
    assert right.offsets == (0, 3, 4, 10)
    with jax.enable_x64(True):
        leaves, treedef = jax.tree.flatten(jax.tree.map(jnp.asarray, POINT))
        flat = jnp.concatenate([leaf.ravel() for leaf in leaves])
        splits = np.cumsum([leaf.size for leaf in leaves])[:-1]

        def on_one_array(x):
            parts = [part.reshape(leaf.shape) for part, leaf in zip(jnp.split(x, splits), leaves, strict=True)]
            return energy(treedef.unflatten(parts))

        exact = np.asarray(jax.hessian(on_one_array)(flat))
    assert np.abs(right.claimed - exact).max() < 1e-14
    assert (np.abs(right.estimate - exact) <= right.uncertainty).mean() >= 0.97
    assert right.relative_error.max() < 1e-11


def test_blocks_that_are_zero_are_named(right):
    assert right.structure == ("zero blocks: ['b'] x ['c'], ['c'] x ['b'], ['c'] x ['w'], ['w'] x ['c']",)
    assert "zero blocks" in str(right)


def test_one_wrong_entry_is_found_and_its_mirror_image_is_not_accused(wrong):
    assert wrong.verdict is Verdict.WRONG
    told = "\n".join(wrong.structure)
    assert "1 of 18 entries of block ['w'] x ['b'] differ" in told
    assert "not symmetric in block ['b'] x ['w']" in told
    assert "['w'] component 1 and ['b'] component 2" in told
    assert np.argwhere(wrong.relative_error > 1e-6).tolist() == [[5, 2]]
    assert Law.SYMMETRY in {law.law for law in wrong.consistency if not law.holds}


def test_a_hessian_given_as_numbers_is_checked_as_they_are():
    with jax.enable_x64(True):
        exact = jax.tree.map(np.array, jax.hessian(energy)(jax.tree.map(jnp.asarray, POINT)))
    assert jgs.check_hessian(energy, (POINT,), hessian=exact).ok
    exact["c"]["c"] *= 2
    report = jgs.check_hessian(energy, (POINT,), hessian=exact)
    assert report.verdict is Verdict.WRONG
    assert any("1 of 1 entries of block ['c'] x ['c']" in sentence for sentence in report.structure)


def test_a_missing_block_is_off_and_no_zero_block():
    def without(p):
        found = jax.hessian(energy)(p)
        found["w"]["w"] = jnp.zeros_like(found["w"]["w"])
        return found

    report = jgs.check_hessian(energy, (POINT,), hessian=without)
    assert report.verdict is Verdict.WRONG
    assert "['w'] x ['w']" not in report.structure[-1]


def test_several_arguments_and_integers_among_them():
    def fun(x, n, y):
        return jnp.sum(x**n) * y

    report = jgs.check_hessian(fun, (jnp.array([1.0, 2.0]), 3, jnp.array(0.5)), argnums=(2, 0))
    assert report.ok
    assert report.claimed.tolist() == [[3, 0, 3], [0, 6, 12], [3, 12, 0]]


# ---- shown and kept


def test_the_matrix_is_drawn_with_lines_between_leaves(wrong):
    figure = wrong.plot()
    panel = figure.axes[0]
    image = panel.images[0].get_array()
    assert image.shape == (10, 10)
    assert np.unravel_index(np.argmax(image), image.shape) == (5, 2)
    lines = sorted(line.get_ydata()[0] for line in panel.lines if line.get_xdata()[0] == 0)
    assert lines == [3, 4]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["['b']", "['c']", "['w']"]
    assert wrong.plot(panel) is panel
    assert "<svg" in wrong._repr_html_()


def test_a_report_survives_json(wrong):
    again = HessianReport.from_json(wrong.to_json())
    assert str(again) == str(wrong)
    assert np.array_equal(again.estimate, wrong.estimate)
    assert jgs.Report.from_json(wrong.to_json()).verdict is Verdict.WRONG


# ---- bad input


def test_a_hessian_too_large_says_how_large_and_what_to_use_instead():
    with pytest.raises(ValueError, match=r"9,600,000,000 bytes.*check_hvp"):
        jgs.check_hessian(lambda x: jnp.sum(x**2), (np.zeros(20_000),))


def test_complex_arguments_are_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"`check_hessian` needs real arguments.*check_hvp"):
        jgs.check_hessian(lambda z: jnp.sum(jnp.abs(z) ** 2), (np.ones(2) * 1j,))


@pytest.mark.parametrize("settings", [{"points": 2}, {"dtype": "both"}])
def test_settings_that_mean_several_hessians_are_refused(settings):
    with pytest.raises(ValueError, match="one point and in one precision"):
        jgs.check_hessian(energy, (POINT,), **settings)


def test_a_hessian_of_another_structure_is_refused():
    with pytest.raises(ValueError, match="structure"):
        jgs.check_hessian(energy, (POINT,), hessian={"b": np.zeros((3, 3))})


# ---- Gauss-Newton

RANDOM = np.random.default_rng(0)
PARAMS = {"w": RANDOM.normal(size=(3, 4)), "b": RANDOM.normal(size=4)}
INPUTS, LABELS = RANDOM.normal(size=(5, 3)), RANDOM.integers(0, 4, 5)


def network(params, inputs):
    return jnp.tanh(inputs @ params["w"] + params["b"])


def cross_entropy(z):
    return -jnp.mean(jax.nn.log_softmax(z)[jnp.arange(5), LABELS])


def fisher(primals, tangents, batch=5):
    """The Fisher product of a softmax cross-entropy, by hand at the outputs."""
    params, inputs = primals
    z, dz = jax.jvp(lambda p: network(p, inputs), (params,), (tangents[0],))
    p = jax.nn.softmax(z)
    return jax.vjp(lambda p: network(p, inputs), params)[1]((p * dz - p * jnp.sum(p * dz, -1, keepdims=True)) / batch)[
        0
    ]


def full_hessian(primals, tangents):
    return jax.jvp(jax.grad(lambda p: cross_entropy(network(p, INPUTS))), (primals[0],), (tangents[0],))[1]


@pytest.mark.parametrize(
    ("product", "verdict"),
    [
        (None, Verdict.CORRECT),
        (fisher, Verdict.CORRECT),
        (lambda a, b: fisher(a, b, batch=1), Verdict.WRONG),
        (full_hessian, Verdict.WRONG),
    ],
    ids=["JAX's own", "Fisher", "without the mean over the batch", "the full Hessian"],
)
def test_a_gauss_newton_product_is_the_hessian_of_the_linearised_model(product, verdict):
    report = jgs.check_gauss_newton(network, cross_entropy, (PARAMS, INPUTS), product=product)
    assert report.verdict is verdict, str(report)
    assert [part.name for part in report.parts] == ["product", "model's Jacobian"]
    assert "the model's Jacobian is right" in report.summary


@jax.custom_vjp
def reverse_only(x):
    return jnp.tanh(x)


reverse_only.defvjp(lambda x: (jnp.tanh(x), x), lambda x, u: (u * (1 - jnp.tanh(x) ** 2),))


@jax.custom_vjp
def wrong_backward(x):
    return jnp.tanh(x)


wrong_backward.defvjp(lambda x: (jnp.tanh(x), x), lambda x, u: (u * (1 - jnp.tanh(x)),))


def test_a_model_with_a_backward_rule_alone_is_checked_through_reverse_mode():
    assert jgs.check_gauss_newton(lambda x: reverse_only(x) * x, lambda z: jnp.sum(z**4), (np.ones(3) / 3,)).ok


def test_a_wrong_model_is_blamed_before_the_product():
    report = jgs.check_gauss_newton(wrong_backward, lambda z: jnp.sum(z**4), (np.ones(3) / 3,))
    assert report.verdict is Verdict.WRONG
    assert "the model's own Jacobian is wrong" in report.summary


def test_integers_and_pytrees_among_arguments_and_outputs():
    def model(n, params):
        return {"z": params[0] ** n * params[1], "count": n}

    report = jgs.check_gauss_newton(model, lambda out: jnp.sum(jnp.cosh(out["z"])), (3, [1.5, 0.5]), argnums=-1)
    assert report.ok, str(report)


def test_what_is_no_function_is_named():
    with pytest.raises(TypeError, match="`loss` must be callable"):
        jgs.check_gauss_newton(network, 3.0, (PARAMS, INPUTS))
    with pytest.raises(ValueError, match="leave out `points`"):
        jgs.check_gauss_newton(network, cross_entropy, (PARAMS, INPUTS), points=2)
