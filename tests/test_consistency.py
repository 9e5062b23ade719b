"""Identities that need no steps: each told apart from rounding, and a broken one named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgradsweep as jgs
from jaxgradsweep import _consistency
from jaxgradsweep._wording import Law, Reason, Verdict

X = jnp.array([0.3, 1.2, -0.7, 2.0])
MATRIX = np.random.default_rng(0).normal(size=(4, 3))


def smooth(x):
    return jnp.sum(jnp.sin(x) * jnp.exp(x / 3)) + jnp.prod(x)


def several(x):
    return jnp.sin(x) @ MATRIX


def laws(report):
    return {each.law: each for each in report.consistency}


def broken(report):
    return {each.law for each in report.consistency if not each.holds}


def unsymmetric(asymmetry, fun=smooth):
    """A product that is right but for a cyclic shift of v, times this."""

    def hvp(primals, tangents):
        exact = jax.jvp(jax.grad(fun), primals, tangents)[1]
        return exact + asymmetry * jnp.roll(tangents[0], 1)

    return hvp


# ---- symmetry


@pytest.mark.parametrize("asymmetry", [1e-3, 1e-10, 1e-13])
def test_an_unsymmetric_product_is_told_from_rounding(asymmetry):
    report = jgs.check_hvp(smooth, (X,), hvp=unsymmetric(asymmetry))
    assert broken(report) == {Law.SYMMETRY}
    assert 0.1 * asymmetry < laws(report)[Law.SYMMETRY].residual < 10 * asymmetry
    assert "symmetry is broken" in str(report).splitlines()[0] + str(report).splitlines()[1]


def test_a_symmetric_product_is_symmetric_to_rounding():
    report = jgs.check_hvp(smooth, (X,))
    assert not broken(report)
    assert {Law.SYMMETRY, Law.LINEARITY, Law.BATCH} <= set(laws(report))
    assert laws(report)[Law.SYMMETRY].residual < 1e-14


def cancelling(x):
    """Right, but its second derivatives lose ten digits by cancellation."""
    return jnp.sum((jnp.exp(x) + 1e10) - 1e10) + jnp.sum(jnp.sin(x[0] * x[1] + 1e8))


def narrow(x):
    """Computes in float32 inside."""
    return jnp.sum(jnp.sin(x.astype(jnp.float32) * jnp.roll(x, 1).astype(jnp.float32)).astype(x.dtype))


@pytest.mark.parametrize("fun", [cancelling, narrow, lambda x: jnp.linalg.det(jnp.outer(x, x) + 1e-7 * jnp.eye(4))])
def test_rounding_that_is_larger_than_usual_breaks_no_identity(fun):
    assert not broken(jgs.check_hvp(fun, (X,)))
    assert not broken(jgs.check_vjp(lambda x: jax.grad(fun)(x), (X,)))


def test_a_hessian_given_as_numbers_is_unsymmetric_only_beyond_the_tolerance():
    hessian = np.asarray(jax.hessian(smooth)(np.asarray(X)), np.float64)
    tilt = np.triu(np.ones((4, 4)), 1)
    assert broken(jgs.check_hvp(smooth, (X,), hvp=hessian + 1e-3 * tilt)) == {Law.SYMMETRY}
    with jax.enable_x64(True):
        point = (np.asarray(X, np.float64),)
        exact = np.asarray(jax.hessian(smooth)(*point))
    assert not broken(jgs.check_hvp(smooth, point, hvp=exact + 1e-12 * tilt))


# ---- linearity and the adjoint


def test_a_backward_pass_that_clips_is_not_linear():
    report = jgs.check_vjp(several, (X,), vjp=clipping)
    assert Law.LINEARITY in broken(report)
    assert report.verdict is Verdict.WRONG
    assert {finding.reason for finding in report.findings} == {Reason.NOT_LINEAR}


def clipping(x):
    out, pull = jax.vjp(several, x)
    return out, lambda u: pull(jnp.clip(u, -1.2, 1.2))


def test_a_tangent_rule_with_an_absolute_value_is_not_linear():
    def jvp(primals, tangents):
        return jax.jvp(several, primals, (jnp.abs(tangents[0]),))

    report = jgs.check_jvp(several, (X,), jvp=jvp)
    assert Law.LINEARITY in broken(report)
    assert report.verdict is Verdict.WRONG


def test_a_kink_stays_a_kink_though_its_one_sided_slopes_are_not_linear():
    def jvp(primals, tangents):
        return jnp.abs(primals[0]), jnp.where(primals[0] == 0, jnp.abs(tangents[0]), tangents[0] * jnp.sign(primals[0]))

    report = jgs.check_jvp(jnp.abs, (jnp.zeros(3),), jvp=jvp)
    assert {finding.reason for finding in report.findings} == {Reason.KINK}


@pytest.mark.parametrize("check", [jgs.check_vjp, jgs.check_jvp])
def test_forward_and_reverse_mode_are_transposes(check):
    report = check(several, (X,))
    assert not broken(report)
    assert laws(report)[Law.ADJOINT].residual < 1e-14


@pytest.mark.parametrize("relative", [1e-2, 1e-13])
def test_a_backward_pass_that_differs_from_forward_mode_breaks_the_adjoint(relative):
    def vjp(x):
        out, pull = jax.vjp(several, x)
        return out, lambda u: ((1 + relative) * pull(u)[0],)

    report = jgs.check_vjp(several, (X,), vjp=vjp)
    assert broken(report) == {Law.ADJOINT}
    assert 0.1 * relative < laws(report)[Law.ADJOINT].residual < 10 * relative


@jax.custom_vjp
def reverse_only(x):
    return jnp.sin(x)


reverse_only.defvjp(lambda x: (jnp.sin(x), x), lambda x, u: (u * jnp.cos(x),))


def test_a_function_of_one_mode_is_tested_without_the_adjoint_and_the_report_says_so():
    report = jgs.check_vjp(reverse_only, (X,))
    assert report.ok
    assert Law.ADJOINT not in laws(report)
    assert any("one of them only" in note for note in report.notes)


@pytest.mark.parametrize(("forward", "tried"), [(True, True), (False, False)])
def test_forward_mode_is_tried_only_where_no_rule_refuses_it(forward, tried, monkeypatch):
    asked, program = [], _consistency._program
    monkeypatch.setattr(_consistency, "_program", lambda claim, laws: asked.append(laws) or program(claim, laws))
    rule = jax.custom_vjp(jnp.sin)
    rule.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))
    report = jgs.check_vjp(jnp.sin if forward else (lambda x: jax.vmap(rule)(x) * 2), (X,))
    assert [Law.ADJOINT in each for each in asked] == [tried]
    assert (Law.ADJOINT in laws(report)) is tried


# ---- the value that comes with a derivative


def with_forward_pass(factor, power=1.0):
    @jax.custom_vjp
    def fun(x):
        return jnp.sum(jnp.sin(x))

    fun.defvjp(lambda x: (factor * jnp.sum(jnp.sin(x)), x), lambda x, u: (u * power * jnp.cos(x),))
    return fun


def test_a_forward_pass_that_changes_the_function_is_wrong():
    report = jgs.check_grad(with_forward_pass(1.01), (X,))
    assert report.verdict is Verdict.WRONG
    assert {finding.reason for finding in report.findings} == {Reason.VALUE}
    assert broken(report) == {Law.VALUE}
    assert "forward pass" in report.findings[0].advice


def test_a_forward_pass_that_changes_the_function_less_than_the_tolerance_is_told_and_right():
    report = jgs.check_grad(with_forward_pass(1 + 1e-12), (X,))
    assert report.ok
    assert broken(report) == {Law.VALUE}
    assert "value is broken" in str(report)


def test_a_wrong_derivative_stays_a_mismatch_whatever_the_forward_pass_does():
    report = jgs.check_grad(with_forward_pass(1.01, power=2), (X,))
    assert {finding.reason for finding in report.findings} == {Reason.MISMATCH}


@pytest.mark.parametrize("check", [jgs.check_vjp, jgs.check_jvp])
def test_the_value_that_a_given_rule_returns_is_tested(check):
    def vjp(x):
        out, pull = jax.vjp(several, x)
        return out + 1e-3, pull

    def jvp(primals, tangents):
        out, tangent = jax.jvp(several, primals, tangents)
        return out + 1e-3, tangent

    name = check.__name__.removeprefix("check_")
    report = check(several, (X,), **{name: {"vjp": vjp, "jvp": jvp}[name]})
    assert report.verdict is Verdict.WRONG
    assert Law.VALUE in broken(report)


def test_a_value_that_is_not_finite_is_told_though_it_cannot_be_tested_again():
    def vjp(x):
        out, pull = jax.vjp(several, x)
        return out * jnp.nan, pull

    report = jgs.check_vjp(several, (X,), vjp=vjp)
    assert report.verdict is Verdict.WRONG
    assert Law.VALUE in broken(report)


# ---- batches and compiled code


@jax.custom_batching.custom_vmap
def mixes_its_batch(x):
    return jnp.sum(jnp.sin(x))


@mixes_its_batch.def_vmap
def _mean_of_the_batch(size, batched, x):
    return jnp.broadcast_to(jnp.mean(jnp.sum(jnp.sin(x), -1)), (size,)), True


def test_a_function_that_mixes_its_batch_is_evaluated_point_by_point():
    right = jgs.check_grad(mixes_its_batch, (X,), grad=jnp.cos)
    assert right.ok
    assert broken(right) == {Law.BATCH}
    assert any("in a batch" in note for note in right.notes)
    assert jgs.check_grad(mixes_its_batch, (X,), grad=lambda x: 1.001 * jnp.cos(x)).verdict is Verdict.WRONG


def on_the_host(vmap_method):
    def host(x):
        return np.sin(np.asarray(x)).sum(axis=-1) if vmap_method == "expand_dims" else np.sin(np.asarray(x)).sum()

    @jax.custom_jvp
    def fun(x):
        return jax.pure_callback(host, jax.ShapeDtypeStruct(x.shape[:-1], x.dtype), x, vmap_method=vmap_method)

    fun.defjvp(lambda primals, tangents: (fun(*primals), jnp.sum(jnp.cos(primals[0]) * tangents[0])))
    return fun


@pytest.mark.parametrize("vmap_method", ["sequential", "expand_dims"])
def test_a_function_on_the_host_is_tested_in_double_precision(vmap_method):
    report = jgs.check_grad(on_the_host(vmap_method), (X,))
    assert report.ok
    assert report.environment["dtype"] == "float64"
    assert set(laws(report)) == {Law.VALUE, Law.BATCH}
    assert not broken(report)


class LooksAtTracers:
    """Another function where it is traced than where it runs."""

    def __call__(self, x):
        traced = isinstance(jax.lax.add(x[0], 0.0), jax.core.Tracer)
        return jnp.sum(jnp.sin(x)) * (1.0 if traced else 1.5)


def test_compiled_code_is_held_against_uncompiled_code_on_request():
    assert Law.COMPILATION not in laws(jgs.check_grad(smooth, (X,)))
    assert not broken(jgs.check_grad(smooth, (X,), consistency=True))
    assert Law.COMPILATION in broken(jgs.check_grad(LooksAtTracers(), (X,), grad=jnp.cos, consistency=True))


# ---- the rest


def test_only_what_the_sweep_tells_is_tested_where_no_more_is_wanted():
    assert set(laws(jgs.check_hvp(smooth, (X,), consistency=False))) == {Law.VALUE, Law.BATCH}
    with pytest.raises(ValueError, match="`consistency` must be"):
        jgs.check_hvp(smooth, (X,), consistency="all")


def test_identities_survive_json():
    report = jgs.check_hvp(smooth, (X,), hvp=unsymmetric(1e-3))
    again = jgs.Report.from_json(report.to_json())
    assert again.consistency == report.consistency
    assert str(again) == str(report)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_identities_hold_in_short_precisions(dtype):
    report = jgs.check_vjp(several_native, (X.astype(dtype),), dtype="native", consistency=True)
    assert not broken(report)
    assert {Law.ADJOINT, Law.LINEARITY} <= set(laws(report))


def test_symmetry_is_tested_where_it_costs_less_than_the_sweep():
    assert Law.SYMMETRY in laws(jgs.check_hvp(smooth, (X,), dtype="native"))
    few = jgs.check_vjp(several, (X,), steps=2.0 ** -np.arange(3, 19), directions=1)
    assert Law.LINEARITY not in laws(few)


def several_native(x):
    return jnp.sin(x) @ jnp.asarray(MATRIX, x.dtype)


def test_complex_functions_obey_them_too():
    z = np.array([0.3 + 0.2j, -1.1 + 0.5j])
    assert not broken(jgs.check_vjp(lambda z: jnp.sin(z) * z, (z,)))
    assert not broken(jgs.check_jvp(lambda z: jnp.abs(z) ** 2 + jnp.conj(z), (z,)))
    assert not broken(jgs.check_hvp(lambda z: jnp.sum(jnp.abs(jnp.sin(z)) ** 2), (z,)))
