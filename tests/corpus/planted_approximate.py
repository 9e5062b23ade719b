"""Custom rules that are right in kind, but approximate: cut short, rounded, or of another scheme."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from corpus import planting
from corpus.build import array, normal, positive_definite
from corpus.case import Collection
from corpus.planting import with_backward, with_forward

CASES = Collection()
planted = functools.partial(planting.planted, CASES)


def _jacobi(sweeps, dtype, wrong):
    """An implicit derivative whose linear system is solved by a few sweeps only."""
    a, b = array(positive_definite(168, 5, 2.0), dtype), array(normal(169, 5), dtype)

    def solve(theta):
        x = jnp.zeros(5, dtype)
        for _ in range(12):
            x = x - jnp.linalg.solve(a + jnp.diag(3 * x**2), a @ x + x**3 - theta * b)
        return x

    def back(inputs, x, ct):
        matrix = a + jnp.diag(3 * x**2)
        if wrong:
            y = jnp.zeros(5, dtype)
            for _ in range(sweeps):
                y = y + 0.5 * (ct - matrix @ y)
        else:
            y = jnp.linalg.solve(matrix, ct)
        return (jnp.vdot(y, b),)

    root = with_backward(solve, back)
    return (lambda theta: jnp.sum(jnp.sin(root(theta)))), (array(0.8, dtype),)


planted("implicit_system_2_sweeps", "the implicit system is solved by 2 sweeps", 0.08585)(functools.partial(_jacobi, 2))
planted("implicit_system_8_sweeps", "the implicit system is solved by 8 sweeps", 0.001241, twin=False)(
    functools.partial(_jacobi, 8)
)
planted("implicit_system_16_sweeps", "the implicit system is solved by 16 sweeps", 7.57e-6, twin=False)(
    functools.partial(_jacobi, 16)
)


def _ode(steps, dtype, wrong):
    """A Runge-Kutta solution whose derivative is that of Euler's method with `steps` steps per step."""

    def field(s, p):
        return jnp.stack([s[1], p * (1 - s[0] ** 2) * s[1] - s[0]])

    def solve(p):
        def step(s, _):
            k1 = field(s, p)
            k2 = field(s + 0.025 * k1, p)
            k3 = field(s + 0.025 * k2, p)
            k4 = field(s + 0.05 * k3, p)
            return s + 0.05 / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

        return jax.lax.scan(step, array([1.0, 0.5], dtype), None, 20)[0]

    def euler(p):
        def step(s, _):
            middle = s + 0.025 / steps * field(s, p)
            return s + 0.05 / steps * field(middle, p), None

        return jax.lax.scan(step, array([1.0, 0.5], dtype), None, 20 * steps)[0]

    def back(inputs, out, ct):
        return jax.vjp(euler if wrong else solve, *inputs)[1](ct)

    final = with_backward(solve, back)
    return (lambda p: jnp.sum(final(p) ** 2)), (array(0.7, dtype),)


planted("adjoint_of_another_integrator", "the adjoint solves the equation by the midpoint rule", 0.01567)(
    functools.partial(_ode, 1)
)
planted(
    "adjoint_of_another_integrator_fine",
    "the adjoint solves the equation by a fine midpoint rule",
    1.267e-5,
    twin=False,
)(functools.partial(_ode, 40))


def _one_sided(step, dtype, wrong):
    """A rule with differences in it."""

    def forward(inputs, tangents):
        (x,), (dx,) = inputs, tangents
        exact = jnp.cos(x) * jnp.exp(jnp.sin(x))
        return dx * ((jnp.exp(jnp.sin(x + step)) - jnp.exp(jnp.sin(x))) / step if wrong else exact)

    f = with_forward(lambda x: jnp.exp(jnp.sin(x)), forward)
    return (lambda x: jnp.sum(f(x))), (array(normal(170, 6), dtype),)


planted("one_sided_difference_1e-4", "one-sided differences in the rule", 9.724e-5, modes=("rev", "fwd"))(
    functools.partial(_one_sided, 1e-4)
)
planted("one_sided_difference_1e-7", "one-sided differences in the rule", 9.545e-8, modes=("rev", "fwd"), twin=False)(
    functools.partial(_one_sided, 1e-7)
)


def _rounded(kind, dtype, wrong):
    """What the rule saves for the backward pass is rounded."""

    def back(inputs, out, ct):
        x = inputs[0].astype(kind).astype(dtype) if wrong else inputs[0]
        return (ct * (jnp.cos(x) * jnp.exp(x) + jnp.sin(x) * jnp.exp(x)),)

    f = with_backward(lambda x: jnp.sin(x) * jnp.exp(x), back)
    return (lambda x: jnp.sum(f(x))), (array(normal(171, 8), dtype),)


planted("saved_in_bfloat16", "what is saved for the backward pass is rounded to bfloat16", 8.538e-4)(
    functools.partial(_rounded, "bfloat16")
)
planted("saved_in_float16", "what is saved for the backward pass is rounded to float16", 1.147e-4, twin=False)(
    functools.partial(_rounded, "float16")
)
planted("saved_in_float32", "what is saved for the backward pass is rounded to float32", 1.221e-8, twin=False)(
    functools.partial(_rounded, "float32")
)


def _constant(value, dtype, wrong):
    """The constant 2 / sqrt(pi) of the error function, rounded."""
    exact = 2 / np.pi**0.5

    def forward(inputs, tangents):
        return tangents[0] * (value if wrong else exact) * jnp.exp(-(inputs[0] ** 2))

    erf = with_forward(lambda x: jax.scipy.special.erf(x), forward)
    return (lambda x: jnp.sum(erf(x) * x)), (array(normal(172, 7), dtype),)


planted("erf_constant_4_digits", "a constant with four digits", 1.214e-4, modes=("rev", "fwd"))(
    functools.partial(_constant, 1.128)
)
planted("erf_constant_8_digits", "a constant with eight digits", 1.053e-8, modes=("rev", "fwd"), twin=False)(
    functools.partial(_constant, 1.1283792)
)


@planted("guarded_division_in_backward", "1e-6 added to the denominator in the backward pass only", 7.532e-6)
def _(dtype, wrong):
    def back(inputs, out, ct):
        a, b = inputs
        b = b + 1e-6 if wrong else b
        return ct / b, -ct * a / b**2

    divide = with_backward(lambda a, b: a / b, back)
    return (
        lambda p: jnp.sum(divide(p["a"], jnp.exp(p["b"]))),
        ({"a": array(normal(173, 5), dtype), "b": array(normal(174, 5), dtype)},),
    )


@planted("gradient_clipped_in_the_rule", "the rule clips its cotangent at 3", 0.2947)
def _(dtype, wrong):
    clip = with_backward(lambda x: x, lambda inputs, out, ct: (jnp.clip(ct, -3, 3) if wrong else ct,))
    return (lambda x: jnp.sum(clip(x) ** 2)), (array(normal(175, 50), dtype),)
