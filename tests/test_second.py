"""Second derivatives: products held against the gradient, against the function alone, and the gradient beside them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import corpus
import jaxgradsweep as jgs
from jaxgradsweep import Reason, Verdict

X = np.array([0.3, -0.8, 1.1])
PARAMS = {"w": np.arange(1.0, 7).reshape(2, 3) / 5, "b": np.array([0.4, -0.7, 0.2])}


def quartic(x):
    return jnp.sum(x**4) + x[0] * x[1]


def energy(params):
    return jnp.sum(jnp.tanh(params["w"] @ jnp.sin(params["b"])) ** 2) + jnp.sum(jnp.exp(params["b"]))


def product(primals, tangents):
    return jax.jvp(jax.grad(energy), primals, tangents)[1]


def hessian(fun, at):
    with jax.enable_x64(True):
        return jax.tree.map(np.array, jax.hessian(fun)(jax.tree.map(jnp.asarray, at)))


def parts(report):
    return {part.name: part.report.verdict for part in report.parts}


@pytest.mark.parametrize("via", ["gradient", "function", "both"])
def test_a_right_product_is_right_against_gradient_and_function(via):
    report = jgs.check_hvp(energy, (PARAMS,), hvp=product, via=via)
    assert report.ok, str(report)
    assert report.resolution < (1e-11 if via == "gradient" else 1e-8)
    assert all(verdict is Verdict.CORRECT for verdict in parts(report).values())
    assert len(report.parts) == {"gradient": 2, "function": 0, "both": 3}[via]


@pytest.mark.parametrize(("via", "size"), [("gradient", 1e-8), ("function", 1e-6)])
def test_a_product_that_is_slightly_off_is_wrong(via, size):
    def slightly(primals, tangents):
        return jax.tree.map(lambda leaf: (1 + size) * leaf, product(primals, tangents))

    report = jgs.check_hvp(energy, (PARAMS,), hvp=slightly, via=via)
    assert report.verdict is Verdict.WRONG
    finding = report.findings[0]
    assert finding.error == pytest.approx(size * finding.claimed / finding.evidence["size"], rel=0.02)
    assert "estimate_grad" not in str(report)


def test_the_second_derivative_of_the_function_alone_lies_within_its_error_bar():
    report = jgs.check_hvp(energy, (PARAMS,), via="function", directions=8)
    off = np.abs(report.sweep.claimed - report.fit.derivative)
    assert np.mean(off <= report.fit.uncertainty) >= 0.9
    assert np.max(off / report.sweep.size) < 1e-8
    assert report.sweep.order == 2


@pytest.mark.parametrize("via", ["gradient", "function"])
def test_a_whole_hessian_may_be_claimed(via):
    right = hessian(energy, PARAMS)
    assert jgs.check_hvp(energy, (PARAMS,), hvp=right, via=via).ok
    right["w"]["b"][1, 2, 0] += 1e-4
    report = jgs.check_hvp(energy, (PARAMS,), hvp=right, via=via)
    assert report.verdict is Verdict.WRONG


def test_a_hessian_of_another_structure_or_shape_is_refused():
    claimed = hessian(energy, PARAMS)
    del claimed["w"]["b"]
    with pytest.raises(ValueError, match="same structure again at every leaf"):
        jgs.check_hvp(energy, (PARAMS,), hvp=claimed)
    claimed = hessian(energy, PARAMS)
    claimed["w"]["b"] = claimed["w"]["b"].T
    with pytest.raises(ValueError, match=r"shape \(3, 3, 2\) in the block of \['w'\] and \['b'\]"):
        jgs.check_hvp(energy, (PARAMS,), hvp=claimed)


@jax.custom_vjp
def cube(x):
    return x**3


cube.defvjp(lambda x: (x**3, x), lambda x, u: (u * 3.1 * x**2,))


def test_a_product_that_follows_a_wrong_gradient_is_told_from_a_wrong_product():
    follows = jgs.check_hvp(lambda x: jnp.sum(cube(x)), (X,))
    assert follows.verdict is Verdict.WRONG
    assert parts(follows) == {"product": Verdict.CORRECT, "gradient": Verdict.WRONG}
    assert "mend the gradient first" in str(follows)
    neither = jgs.check_hvp(lambda x: jnp.sum(cube(x)), (X,), hvp=lambda p, t: 6 * p[0] * t[0])
    assert parts(neither) == {"product": Verdict.WRONG, "gradient": Verdict.WRONG}
    alone = jgs.check_hvp(lambda x: jnp.sum(cube(x)), (X,), hvp=lambda p, t: 6 * p[0] * t[0], via="function")
    assert alone.ok


def test_an_undecided_gradient_leaves_the_verdict_to_the_product():
    def far(x):
        return 1e15 + jnp.sum(jnp.sin(x))

    report = jgs.check_hvp(far, (X,), hvp=lambda p, t: -jnp.sin(p[0]) * t[0])
    assert report.verdict is Verdict.CORRECT
    assert parts(report)["gradient"] is Verdict.UNRESOLVED
    assert "the gradient is undecided (ROUNDOFF)" in report.summary


@jax.custom_vjp
def inner(x):
    return jnp.sin(x)


@jax.custom_vjp
def nested(x):
    return jnp.sin(x)


def inner_slope(x, u):
    return (u * jnp.cos(x),)


inner.defvjp(lambda x: (jnp.sin(x), x), inner_slope)
nested.defvjp(lambda x: (jnp.sin(x), x), lambda x, u: (u * inner(x + jnp.pi / 2),))


def until_small(x):
    return jnp.sum(jax.lax.while_loop(lambda s: jnp.all(s[0] < 3), lambda s: (s[0] + 1, jnp.sin(s[1])), (0, x))[1])


@pytest.mark.parametrize(
    ("fun", "mode"),
    [
        (quartic, "forward over reverse"),
        (lambda x: jnp.sum(nested(x)), "reverse over reverse"),
        (until_small, "forward over forward"),
    ],
)
def test_the_report_says_how_the_product_was_taken(fun, mode):
    report = jgs.check_hvp(fun, (X,))
    assert report.ok, str(report)
    assert report.environment["mode"] == mode
    assert mode in str(report)


def test_a_jump_of_the_second_derivative_is_a_kink_of_the_gradient():
    def square(x):
        return jnp.sum(jnp.maximum(x, 0) ** 2)

    for via in ("gradient", "function"):
        at = jgs.check_hvp(square, (np.zeros(1),), via=via)
        assert at.findings[0].reason is Reason.KINK
        assert at.verdict is Verdict.UNRESOLVED
        assert jgs.check_hvp(square, (np.array([0.5]),), via=via).ok


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_scales_and_offsets_do_not_fool_the_function_alone(size, offset):
    def wave(x):
        return offset + jnp.sum(jnp.sin(x / size))

    def curvature(primals, tangents):
        return -jnp.sin(primals[0] / size) / size**2 * tangents[0]

    assert jgs.check_hvp(wave, (size * X,), hvp=curvature, via="function").ok
    wrong = jgs.check_hvp(wave, (size * X,), hvp=lambda p, t: 1.001 * curvature(p, t), via="function")
    assert wrong.verdict is Verdict.WRONG


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(ValueError, match="`via` must be one of 'gradient', 'function', 'both'; got 'values'"):
        jgs.check_hvp(quartic, (X,), via="values")
    with pytest.raises(ValueError, match=r"needs real arguments, and the argument is complex"):
        jgs.check_hvp(lambda z: jnp.sum(jnp.abs(z) ** 2), (X + 1j,), via="function")


def test_a_report_on_second_differences_is_kept_and_drawn():
    report = jgs.check_hvp(energy, (PARAMS,), via="both")
    again = jgs.Report.from_json(report.to_json())
    assert again.parts[1].report.sweep.order == 2
    assert report.parts[1].report.plot().axes


def test_a_piecewise_linear_function_is_no_triumph():
    def network(x):
        return jnp.sum(jax.nn.relu(jnp.outer(jnp.arange(1.0, 5), x) - 0.25))

    report = jgs.check_hvp(network, (X,), directions=8)
    assert report.ok
    assert "H v = 0 along 8 of 8 directions" in report.summary
    assert "says little" in str(report)
    assert "H v = 0" not in str(jgs.check_hvp(quartic, (X,)))


PLANTED = corpus.load(["second_order"])


@pytest.mark.parametrize("name", PLANTED)
def test_a_rule_wrong_in_second_order_only_is_told_from_its_right_twin(name):
    case = PLANTED[name]
    with jax.enable_x64(True):
        fun, args, _ = case.problem("float64")
        report = jgs.check_hvp(fun, args)
    assert parts(report)["gradient"] is Verdict.CORRECT
    assert str(report.verdict) in case.expected("float64")
