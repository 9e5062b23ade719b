"""What is claimed: complex numbers, rules of the user's own, argument numbers, auxiliary outputs, both modes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgradsweep as jgs
from helpers import smooth, smooth_gradient

X = np.array([0.3, 0.8, 1.2])
Y = np.array([1.5, -0.4, 0.7])
Z = np.array([0.4 + 1.1j, -0.8 + 0.3j])


def right_and_wrong(right, wrong):
    return (right.verdict.name, wrong.verdict.name) == ("CORRECT", "WRONG")


# ---- complex numbers: <g, v> = Re sum g v, without conjugation


def power(z):
    """Sum of |z|^2: it changes by 2 Re(conj(z) dz), so that g = 2 conj(z)."""
    return jnp.sum(jnp.abs(z) ** 2)


def test_a_gradient_of_complex_numbers_is_not_conjugated():
    assert right_and_wrong(
        jgs.check_grad(power, (Z,), grad=2 * np.conj(Z)),
        jgs.check_grad(power, (Z,), grad=2 * Z),
    )


def test_jax_has_the_same_convention():
    assert jgs.check_grad(power, (Z,)).ok


def cubes(z):
    return jnp.sum(z**3)


def test_a_holomorphic_gradient_is_the_complex_derivative():
    assert right_and_wrong(
        jgs.check_grad(cubes, (Z,), holomorphic=True, grad=3 * Z**2),
        jgs.check_grad(cubes, (Z,), holomorphic=True, grad=3 * np.conj(Z) ** 2),
    )
    assert jgs.check_grad(cubes, (Z,), holomorphic=True).ok


def test_a_holomorphic_gradient_wrong_in_its_phase_alone_is_wrong():
    assert jgs.check_grad(cubes, (Z,), holomorphic=True, grad=3 * Z**2 * np.exp(1e-3j)).verdict.name == "WRONG"


def test_the_gradient_of_a_function_that_is_not_holomorphic_is_wrong_if_called_holomorphic():
    assert jgs.check_grad(conjugated, (Z,), holomorphic=True).verdict.name == "WRONG"


def conjugated(z):
    return jnp.sum(jnp.conj(z) ** 2)


def twist(z):
    return jnp.exp(z) * jnp.conj(z)


def test_vjp_and_jvp_of_a_complex_function_that_is_not_holomorphic_are_right():
    assert jgs.check_vjp(twist, (Z,)).ok
    assert jgs.check_jvp(twist, (Z,)).ok


def conjugated_pullback(z):
    out, pull = jax.vjp(twist, z)
    return out, lambda u: tuple(jnp.conj(g) for g in pull(jnp.conj(u)))


def conjugated_push(primals, tangents):
    out, tangent = jax.jvp(twist, primals, tangents)
    return out, jnp.conj(tangent)


def test_a_rule_that_conjugates_is_wrong():
    assert jgs.check_vjp(twist, (Z,), vjp=conjugated_pullback).verdict.name == "WRONG"
    assert jgs.check_jvp(twist, (Z,), jvp=conjugated_push).verdict.name == "WRONG"


def turn(x):
    """Real in, complex out."""
    return jnp.exp(1j * x)


def turn_rule(sign):
    def rule(x):  # <u, i exp(ix) v> = Re sum u i exp(ix) v
        return turn(x), lambda u: (jnp.real(u * sign * 1j * jnp.exp(1j * x)),)

    return rule


def test_a_complex_output_of_a_real_argument_pairs_its_real_part():
    assert jgs.check_jvp(turn, (X,)).ok
    assert right_and_wrong(jgs.check_vjp(turn, (X,), vjp=turn_rule(1)), jgs.check_vjp(turn, (X,), vjp=turn_rule(-1)))


def test_the_hessian_product_of_a_function_of_complex_numbers_is_right():
    assert jgs.check_hvp(quartic, (Z,)).ok


def quartic(z):
    return jnp.sum(jnp.abs(z) ** 4)


# ---- rules of the user's own


def weighed(x, y, n):
    """Two outputs of two arrays and an integer."""
    return {"a": x**n * y, "b": jnp.sin(y), "n": n + 1}


def weighed_jvp(factor=1.0, seen=None):
    def rule(primals, tangents):
        (x, y, n), (dx, dy, dn) = primals, tangents
        if seen is not None:
            seen.append((jnp.shape(dn), dn.dtype))
        tangent_a = factor * n * x ** (n - 1) * y * dx + x**n * dy
        return weighed(x, y, n), {"a": tangent_a, "b": jnp.cos(y) * dy, "n": np.zeros((), jax.dtypes.float0)}

    return rule


def weighed_vjp(factor=1.0, for_integer=None):
    def rule(x, y, n):
        def pull(u):
            return factor * n * x ** (n - 1) * y * u["a"], x**n * u["a"] + jnp.cos(y) * u["b"], for_integer

        return weighed(x, y, n), pull

    return rule


N = np.array(3)


@pytest.mark.parametrize("argnums", [0, (1, 0)])
def test_a_jvp_of_several_arguments_is_judged(argnums):
    args = (X, Y, N)
    assert right_and_wrong(
        jgs.check_jvp(weighed, args, argnums=argnums, jvp=weighed_jvp()),
        jgs.check_jvp(weighed, args, argnums=argnums, jvp=weighed_jvp(1.001)),
    )


def test_an_integer_argument_has_a_tangent_of_float0():
    seen = []
    assert jgs.check_jvp(weighed, (X, Y, N), argnums=(0, 1), jvp=weighed_jvp(seen=seen)).ok
    assert set(seen) == {((), jax.dtypes.float0)}


def test_arguments_that_are_not_moved_have_a_tangent_of_zero():
    assert jgs.check_jvp(weighed, (X, Y, N), argnums=1, jvp=weighed_jvp(7.0)).ok  # the factor belongs to x


@pytest.mark.parametrize("argnums", [-3, (0, 1)])
def test_a_vjp_of_several_arguments_is_judged(argnums):
    args = (X, Y, N)
    assert right_and_wrong(
        jgs.check_vjp(weighed, args, argnums=argnums, vjp=weighed_vjp()),
        jgs.check_vjp(weighed, args, argnums=argnums, vjp=weighed_vjp(1.001)),
    )


def test_a_vjp_is_wrong_in_the_argument_at_fault_only():
    report = jgs.check_vjp(weighed, (X, Y, N), argnums=(0, 1), vjp=weighed_vjp(1.001))
    assert {f.path: f.verdict.name for f in report.findings} == {"[0]": "WRONG", "[1]": "CORRECT"}


def test_a_vjp_may_give_float0_for_an_integer_argument():
    zero = np.zeros((), jax.dtypes.float0)
    assert jgs.check_vjp(weighed, (X, Y, N), argnums=(0, 1), vjp=weighed_vjp(for_integer=zero)).ok


def sine_rule(x):
    return jnp.sin(x), lambda u: (jnp.cos(x) * u,)


def sine_rule_that_ignores_its_cotangent(x):
    return jnp.sin(x), lambda u: (jnp.cos(x),)


def sine_rule_that_clips_its_cotangent(x):
    return jnp.sin(x), lambda u: (jnp.cos(x) * jnp.clip(u, -1, 1),)


def sine_rule_without_a_tuple(x):
    return jnp.sin(x), lambda u: jnp.cos(x) * u


def test_a_vjp_that_does_not_use_its_cotangent_rightly_is_wrong():
    assert jgs.check_vjp(jnp.sin, (X,), vjp=sine_rule).ok
    assert jgs.check_vjp(jnp.sin, (X,), vjp=sine_rule_that_ignores_its_cotangent).verdict.name == "WRONG"
    assert jgs.check_vjp(jnp.sin, (X,), vjp=sine_rule_that_clips_its_cotangent).verdict.name == "WRONG"


def test_a_pullback_of_one_argument_may_return_it_bare():
    assert jgs.check_vjp(jnp.sin, (X,), vjp=sine_rule_without_a_tuple).ok


def test_a_vjp_whose_output_is_another_than_the_functions_is_not_correct():
    assert not jgs.check_vjp(jnp.sin, (X,), vjp=lambda x: (jnp.cos(x), lambda u: (-jnp.sin(x) * u,))).ok


def test_a_gradient_of_a_pair_of_arguments_comes_in_the_order_of_argnums():
    assert right_and_wrong(
        jgs.check_grad(scaled, (X, Y, N), argnums=(1, 0), grad=lambda x, y, n: (jnp.sin(x), y * jnp.cos(x))),
        jgs.check_grad(scaled, (X, Y, N), argnums=(1, 0), grad=lambda x, y, n: (y * jnp.cos(x), jnp.sin(x))),
    )


@pytest.mark.parametrize("argnums", [1, -2])
def test_a_single_argument_number_may_be_negative(argnums):
    assert right_and_wrong(
        jgs.check_grad(scaled, (X, Y, N), argnums=argnums, grad=np.sin(X)),
        jgs.check_grad(scaled, (X, Y, N), argnums=argnums, grad=np.cos(X)),
    )


def test_a_tuple_of_one_argument_number_wants_a_tuple_of_one():
    assert jgs.check_grad(scaled, (X, Y, N), argnums=(1,), grad=(np.sin(X),)).ok


def scaled(x, y, n):
    return jnp.sum(y * jnp.sin(x)) + n


def test_a_hessian_product_of_the_users_own_is_judged():
    assert right_and_wrong(
        jgs.check_hvp(fourth, (X, N), hvp=lambda primals, tangents: 12 * primals[0] ** 2 * tangents[0]),
        jgs.check_hvp(fourth, (X, N), hvp=lambda primals, tangents: 12 * primals[0] ** 3 * tangents[0]),
    )


def fourth(x, n):
    return jnp.sum(x**4) + n


def test_a_hessian_product_that_is_transposed_is_wrong():
    a = np.array([[1.0, 2.0], [0.5, 3.0]])
    x = np.array([0.6, 1.3])
    assert right_and_wrong(
        jgs.check_hvp(bilinear, (x, a), hvp=lambda p, t: (p[1] + p[1].T) @ t[0]),
        jgs.check_hvp(bilinear, (x, a), hvp=lambda p, t: 2 * p[1] @ t[0]),
    )


def bilinear(x, a):
    return x @ a @ x


# ---- auxiliary outputs


def with_aux(x):
    return smooth(x), {"anything": "goes", "n": 3}


def arrays_with_aux(x):
    return jnp.sin(x), jnp.argmax(x)


def test_an_auxiliary_output_is_left_aside():
    assert jgs.check_grad(with_aux, (X,), has_aux=True).ok
    assert jgs.check_hvp(with_aux, (X,), has_aux=True).ok
    assert jgs.check_vjp(arrays_with_aux, (X,), has_aux=True).ok
    assert jgs.check_jvp(arrays_with_aux, (X,), has_aux=True).ok


def test_with_an_auxiliary_output_a_wrong_gradient_is_still_wrong():
    assert right_and_wrong(
        jgs.check_grad(with_aux, (X,), has_aux=True, grad=smooth_gradient(X)),
        jgs.check_grad(with_aux, (X,), has_aux=True, grad=1.01 * smooth_gradient(X)),
    )


# ---- custom rules, forward and reverse


def make_custom_vjp(factor):
    @jax.custom_vjp
    def square(x):
        return x**2

    square.defvjp(lambda x: (x**2, x), lambda x, u: (factor * 2 * x * u,))
    return square


right_square, wrong_square = make_custom_vjp(1.0), make_custom_vjp(1.001)


def sum_of(fun):
    return lambda x: jnp.sum(jnp.sin(fun(x)))


sum_of_right, sum_of_wrong = sum_of(right_square), sum_of(wrong_square)


def test_a_custom_vjp_is_judged_by_its_gradient_and_by_its_vjp():
    assert right_and_wrong(jgs.check_grad(sum_of_right, (X,)), jgs.check_grad(sum_of_wrong, (X,)))
    assert right_and_wrong(jgs.check_vjp(right_square, (X,)), jgs.check_vjp(wrong_square, (X,)))


def test_where_forward_mode_refuses_reverse_is_used_and_said():
    right, wrong = jgs.check_jvp(right_square, (X,)), jgs.check_jvp(wrong_square, (X,))
    assert right_and_wrong(right, wrong)
    assert any("forward mode is not available" in note and "reverse mode was used" in note for note in right.notes)


def iterated(x):
    """(x / 2 + 1 / x) three times, in a loop that reverse mode cannot go through."""
    step = lambda state: (state[0] + 1, state[1] / 2 + 1 / state[1])
    return jnp.sum(jax.lax.while_loop(lambda state: state[0] < 3, step, (0, x))[1])


def test_where_reverse_mode_refuses_forward_is_used_and_said():
    report = jgs.check_grad(iterated, (X + 1,))
    assert report.ok
    assert any("reverse mode is not available" in note and "forward mode was used" in note for note in report.notes)


def test_where_both_modes_work_nothing_is_said_of_modes():
    assert not any("mode" in note for note in jgs.check_grad(smooth, (X,)).notes)


def test_a_hessian_product_through_a_custom_vjp_is_the_one_of_calculus():
    def product(primals, tangents):  # f = sum sin(x^2): H = 2 cos(x^2) - 4 x^2 sin(x^2)
        x, v = primals[0], tangents[0]
        return (2 * jnp.cos(x**2) - 4 * x**2 * jnp.sin(x**2)) * v

    assert jgs.check_hvp(sum_of_right, (X,)).ok
    assert jgs.check_hvp(sum_of_right, (X,), hvp=product).ok


@jax.custom_jvp
def softplus(x):
    return jnp.log1p(jnp.exp(x))


@softplus.defjvp
def softplus_jvp(primals, tangents):
    (x,), (v,) = primals, tangents
    return softplus(x), v * jnp.exp(x) / (1 + 2 * jnp.exp(x))  # the 2 is the mistake


def test_a_wrong_custom_jvp_is_wrong_in_every_check():
    assert jgs.check_jvp(softplus, (X,)).verdict.name == "WRONG"
    assert jgs.check_vjp(softplus, (X,)).verdict.name == "WRONG"
    assert jgs.check_grad(lambda x: jnp.sum(softplus(x)), (X,)).verdict.name == "WRONG"


def test_a_stopped_gradient_means_what_it_says():
    assert jgs.check_grad(lambda x: jnp.sum(x * jax.lax.stop_gradient(x)), (X,)).verdict.name == "WRONG"


def opaque_sines(x):
    return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="expand_dims").sum()


def test_a_function_without_any_derivative_keeps_the_words_of_jax():
    with pytest.raises(ValueError, match=r"[Pp]ure callbacks do not support"):
        jgs.check_grad(opaque_sines, (X,))


def test_a_function_without_any_derivative_can_be_checked_against_values():
    assert right_and_wrong(
        jgs.check_grad(opaque_sines, (X,), grad=np.cos(X)), jgs.check_grad(opaque_sines, (X,), grad=np.sin(X))
    )


def test_a_gradient_in_numpy_is_asked_once_and_said_to_be():
    report = jgs.check_grad(smooth, (X,), grad=smooth_gradient)
    assert report.ok
    assert any("cannot be traced" in note for note in report.notes)
    assert jgs.check_grad(smooth, (X,), grad=lambda x: 1.001 * smooth_gradient(x)).verdict.name == "WRONG"


def test_arguments_that_were_not_asked_about_are_named():
    def scaled(x, gain):
        return x * gain

    point = (np.array([0.3, 0.7]), np.array([2.0, 3.0]))
    one, both = (jgs.check_vjp(scaled, point, argnums=argnums) for argnums in (0, (0, 1)))
    assert any("`argnums=(0, 1)` checks the derivatives with respect to the others too" in note for note in one.notes)
    assert not any("argnums" in note for note in both.notes)
