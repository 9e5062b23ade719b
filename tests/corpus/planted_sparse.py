"""Derivatives that are wrong in one to three components out of thousands, or in one leaf of many."""

import jax
import jax.numpy as jnp
import numpy as np

from corpus.build import array, normal
from corpus.case import F32, F64, Collection
from corpus.planting import with_backward, with_forward

CASES = Collection()


def sparse(name, cause, error, modes=("rev",), where="", at=(), **details):
    """Add `make(dtype, wrong)`; only the components `at` of the leaf `where` are wrong."""

    def decorate(make):
        def truth():
            fun, args, *claimed = make(F64, False)
            return claimed[0](*args) if claimed else jax.grad(fun)(*args)

        CASES.add(
            f"planted.sparse_{name}",
            lambda dtype: make(dtype, True),
            "planted mistake, few components",
            kind="wrong",
            **{
                "dtypes": (F64, F32) if error > 1e-2 else (F64,),
                "undecidable": (F32,),
                "modes": modes,
                "cause": cause,
                "error": error,
                "truth": truth,
                "only_at": tuple((where, tuple(np.atleast_1d(i).tolist())) for i in at),
                **details,
            },
        )
        return make

    return decorate


def _components(size, at, share, dtype, wrong):
    """A sum of exp(sin x_i) over many components, some slopes too large by a share of a typical slope."""

    def forward(inputs, tangents):
        slope = jnp.cos(inputs[0]) * jnp.exp(jnp.sin(inputs[0]))
        return tangents[0] * (slope.at[jnp.array(at)].add(share) if wrong else slope)

    f = with_forward(lambda x: jnp.exp(jnp.sin(x)), forward)
    return (lambda x: jnp.sum(f(x))), (array(normal(200, size), dtype),)


def _register_components():
    both = ("rev", "fwd")
    rows = (
        ("1_of_1e4_by_100", 10_000, (1234,), 1.0, 0.01076),
        ("3_of_1e4_by_1", 10_000, (17, 5000, 9999), 0.01, 1.864e-4),
        ("2_of_1e5_by_10", 100_000, (0, 77_777), 0.1, 4.821e-4),
        ("1_of_1e5_by_1", 100_000, (99_999,), 0.01, 3.409e-5),
        ("1_of_1e6_by_100", 1_000_000, (271_828,), 1.0, 0.001079),
    )
    for name, size, at, share, error in rows:

        def make(dtype, wrong, size=size, at=at, share=share):
            return _components(size, at, share, dtype, wrong)

        cause = f"slopes too large by {share:g} of a typical one in {len(at)} of {size} components"
        sparse(name, cause, error, both, at=at)(make)
        if size < 1_000_000:
            CASES.add(
                f"planted.sparse_{name}_right",
                lambda dtype, make=make: make(dtype, False),
                "custom rule, right",
                undecidable=(F32,) if size > 10_000 else (),
                twin=f"planted.sparse_{name}",
            )


_register_components()


def _outputs(size, at, share):
    """A vector of outputs of 6 inputs; the derivatives of some outputs are off. And its true Jacobian."""
    a, x = normal(201, size, 6), normal(202, 6) / 3

    def make(dtype):
        matrix = array(a, dtype)

        def forward(inputs, tangents):
            slope = 1 - jnp.tanh(matrix @ inputs[0]) ** 2
            return slope.at[jnp.array(at)].multiply(1 + share) * (matrix @ tangents[0])

        return with_forward(lambda x: jnp.tanh(matrix @ x), forward), (array(x, dtype),)

    return make, lambda: (1 - np.tanh(a @ x) ** 2)[:, None] * a


def _register_outputs():
    rows = (
        ("1_output_of_300_by_30", 300, (123,), 0.3, 0.03295),
        ("2_outputs_of_1e4_by_100", 10_000, (0, 4567), 1.0, 0.01113),
        ("1_output_of_2e4_by_10", 20_000, (19_999,), 0.1, 5.993e-4),
    )
    for name, size, at, share, error in rows:
        make, truth = _outputs(size, at, share)
        CASES.add(
            f"planted.sparse_{name}",
            make,
            "planted mistake, few components",
            kind="wrong",
            dtypes=(F64, F32) if error > 1e-2 else (F64,),
            undecidable=(F32,),
            cause=f"{len(at)} of {size} rows of the Jacobian off by {share:g}",
            error=error,
            truth=truth,
            note=f"outputs {at}",
        )


_register_outputs()


@sparse("one_weight_of_90000", "one weight of a matrix has a gradient of zero", 0.001406, at=((150, 222),))
def _(dtype, wrong):
    x, y = array(normal(203, 4, 300), dtype), array(normal(204, 4, 300), dtype)

    def fun(w):
        return jnp.mean((jnp.tanh(x @ w) - y) ** 2)

    gradient = jax.grad(fun)
    w = array(normal(205, 300, 300) / 17, dtype)
    return fun, (w,), (lambda w: gradient(w).at[150, 222].set(0.0) if wrong else gradient(w))


@sparse("one_row_of_a_table", "one row of an embedding table gets no gradient", 0.03954)
def _(dtype, wrong):
    tokens, target = np.random.default_rng(206).integers(0, 1000, 500), array(normal(207, 500, 16), dtype)
    tokens[7] = 613

    def back(inputs, out, ct):
        grad = jnp.zeros_like(inputs[0]).at[tokens].add(ct)
        return (grad.at[613].set(0) if wrong else grad,)

    look = with_backward(lambda table: table[tokens], back)
    return (lambda table: jnp.sum(jnp.sin(look(table) - target))), (array(normal(208, 1000, 16), dtype),)


@sparse("missing_bond", "one bond of a chain of 5000 gives no force", 0.007199, at=(2500, 2501))
def _(dtype, wrong):
    def back(inputs, out, ct):
        stretch = 2 * ct * jnp.sinh(2 * (jnp.diff(inputs[0]) - 1))
        stretch = stretch.at[2500].set(0) if wrong else stretch
        return (jnp.pad(stretch, (1, 0)) - jnp.pad(stretch, (0, 1)),)

    energy = with_backward(lambda x: jnp.sum(jnp.cosh(2 * (jnp.diff(x) - 1))), back)
    return (lambda x: energy(x)), (array(np.arange(5000) + 0.3 * normal(209, 5000), dtype),)


@sparse("periodic_wrap_lost", "the stencil does not wrap round in the backward pass", 0.001493, at=(0, 99_999))
def _(dtype, wrong):
    def back(inputs, out, ct):
        left, right = jnp.roll(ct, -1), jnp.roll(ct, 1)
        if wrong:
            left, right = left.at[-1].set(0), right.at[0].set(0)
        return (left + right - 2 * ct,)

    laplacian = with_backward(lambda u: jnp.roll(u, 1) + jnp.roll(u, -1) - 2 * u, back)
    return (lambda u: jnp.mean(jnp.sin(u) * laplacian(u))), (array(normal(210, 100_000), dtype),)


@sparse("corners_of_an_image", "the corners of a blurred image use the kernel of the edges", 0.003483)
def _(dtype, wrong):
    corners = np.ix_([0, 127], [0, 127])

    def blur(u):
        padded = jnp.pad(u, 1)
        return (
            4 * padded[1:-1, 1:-1] + padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
        ) / 8

    def back(inputs, out, ct):
        grad = blur(ct)
        return (grad.at[corners].multiply(4 / 3) if wrong else grad,)

    apply = with_backward(blur, back)
    return (lambda u: jnp.sum(jnp.cosh(apply(u)))), (array(normal(211, 128, 128), dtype),)


@sparse("sort_swapped_pair", "two neighbours in a sorted array change places in the backward pass", 0.01682)
def _(dtype, wrong):
    weights = array(np.cos(np.arange(4000)), dtype)

    def back(inputs, out, ct):
        order = jnp.argsort(inputs[0])
        if wrong:
            order = order.at[jnp.array([2000, 2001])].set(order[jnp.array([2001, 2000])])
        return (jnp.zeros_like(ct).at[order].set(ct),)

    ordered = with_backward(lambda x: jnp.sort(x), back)
    x = np.random.default_rng(212).permutation(4000) / 400 + 0.0005 * np.random.default_rng(213).uniform(-1, 1, 4000)
    return (lambda x: jnp.sum(weights * ordered(x) ** 2)), (array(x, dtype),)


@sparse("last_step_of_a_scan", "the input of the last step of a long recurrence gets no gradient", 0.001601, at=(1999,))
def _(dtype, wrong):
    def fun(xs):
        return jnp.sum(jax.lax.scan(lambda h, x: (0.9 * h + jnp.sin(x),) * 2, jnp.zeros((), dtype), xs)[1] ** 2)

    gradient = jax.grad(fun)
    return fun, (array(normal(214, 2000), dtype),), (lambda xs: gradient(xs).at[-1].set(0) if wrong else gradient(xs))


@sparse("one_layer_of_thirty", "the bias of one layer out of thirty is off by 20 %", 0.007608)
def _(dtype, wrong):
    x = array(normal(215, 8), dtype)

    def fun(layers):
        h = x
        for layer in layers:
            h = h + 0.3 * jnp.tanh(layer["w"] @ h + layer["b"])
        return jnp.sum(h**2)

    def gradient(layers):
        grads = jax.grad(fun)(layers)
        if wrong:
            grads[17]["b"] = 1.2 * grads[17]["b"]
        return grads

    layers = [
        {"w": array(normal(216 + i, 8, 8) / 3, dtype), "b": array(normal(260 + i, 8) / 5, dtype)} for i in range(30)
    ]
    return fun, (layers,), gradient


@sparse(
    "scalar_beside_a_large_matrix",
    "the temperature's gradient is off by 1 %, where the weights have nearly all of the derivative",
    5.388e-5,
    where="['temperature']",
    at=((),),
)
def _(dtype, wrong):
    x, y = array(normal(300, 50, 40), dtype), array(normal(301, 50, 40), dtype)

    def fun(p):
        return jnp.sum((jnp.tanh(x @ p["w"]) * (1 + 1e-3 * jnp.exp(p["temperature"])) - y) ** 2)

    def gradient(p):
        grads = jax.grad(fun)(p)
        return {**grads, "temperature": (1.01 if wrong else 1.0) * grads["temperature"]}

    return fun, ({"w": array(normal(302, 40, 40) / 6, dtype), "temperature": array(0.4, dtype)},), gradient


@sparse("stiffness_entry_pair", "two entries of a stiffness matrix count once for twice", 0.005867)
def _(dtype, wrong):
    u = array(normal(303, 60), dtype)

    def fun(k):
        return jnp.log(u @ ((k + k.T) / 2) @ ((k + k.T) / 2) @ u)

    def gradient(k):
        grad = jax.grad(fun)(k)
        return grad.at[3, 41].multiply(0.5) if wrong else grad

    return fun, (array(normal(304, 60, 60), dtype),), gradient
