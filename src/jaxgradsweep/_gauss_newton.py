"""Gauss-Newton and Fisher products: the Hessian of a loss of the linearised model."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgradsweep._cache import kept
from jaxgradsweep._call import recorded
from jaxgradsweep._report import Part, Report
from jaxgradsweep._request import check_args, settings_from
from jaxgradsweep._survey import check_second, join, survey, worst_of
from jaxgradsweep._tree import Same, is_inexact
from jaxgradsweep._wording import Verdict, gauss_newton_summary


@recorded
def check_gauss_newton(
    model: Callable,
    loss: Callable,
    args: tuple[Any, ...],
    *,
    argnums: int | tuple[int, ...] = 0,
    product: Callable | None = None,
    **settings: Any,
) -> Report:
    """Check a Gauss-Newton product `J^T H_out J v`, with J the model's Jacobian and H_out the loss's Hessian.

    It is the Hessian-vector product of `x -> loss(z0 + J(x0) (x - x0))`, the loss of the model linearised at `args`,
    and is checked as such: its gradient against that loss, and the product against differences of the gradient. The
    model's Jacobian is checked too. For a negative log likelihood whose parameters are the model's outputs (softmax
    cross-entropy, squared error) the Gauss-Newton matrix is the Fisher information matrix.

    Args:
        model: function of pytrees with outputs z of any structure.
        loss: scalar function of z alone.
        args: arguments of the model, as a tuple.
        argnums: which of them the product is with respect to.
        product: the claim: None for JAX's own, or `product(primals, tangents)`, which gets all arguments of the model,
            and zero tangents for what is held fixed, and returns the product in the structure of `args[argnums]`.
        **settings: as for `check_grad`, but for `points`.

    Returns:
        A report, with the checks of the product and of the model's Jacobian as its parts.

    Raises:
        TypeError: arguments of the wrong kind, or a loss that is not a number.
        ValueError: a product whose structure or shapes differ from the arguments'.

    Source:
        Schraudolph, Fast curvature matrix-vector products for second-order gradient descent (2002).

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgradsweep as jgs
        >>> report = jgs.check_gauss_newton(jnp.tanh, lambda z: jnp.sum(z**2), (jnp.array([0.3, 1.2]),))
        >>> report.verdict.name
        'CORRECT'
    """
    known = settings_from(settings)
    if known.points is not None:
        raise ValueError("`check_gauss_newton` linearises the model at one point: leave out `points`")
    for name, given in (("model", model), ("loss", loss), ("product", product)):
        if not callable(given) and (given is not None or name != "product"):
            raise TypeError(f"`{name}` must be callable; got {type(given).__name__}")
    numbers, single = check_args(args, argnums)
    jacobian = survey("jvp", model, args, settings=known, argnums=argnums, rule=None)
    forward = jacobian.environment.get("mode") != "reverse"
    pieces = (Same(model), Same(loss), numbers, forward)
    rule = own_product(*pieces, single) if product is None else once(Same(product))
    twice = numbers[0] if single else numbers
    fun = linearised_loss(*pieces)
    of_product = check_second(fun, (*args, *args), known, "gradient", argnums=twice, rule=rule, has_aux=False)
    parts = [Part(name="product", report=of_product), Part(name="model's Jacobian", report=jacobian)]
    judged = parts if jacobian.verdict is Verdict.WRONG else parts[:1]
    return join(parts, gauss_newton_summary(of_product.verdict, jacobian.verdict), decides=worst_of(judged))


@kept
def linearised_loss(model: Same, loss: Same, numbers: tuple[int, ...], forward: bool) -> Callable:
    """The loss of the model linearised at the second half of the arguments, as a function of the first half."""

    def fun(*both: Any) -> Any:
        here, there = halves(both)
        moved = [jax.tree.leaves(picked(args, numbers)) for args in (here, there)]
        change = [a - b if is_inexact(b) else still(b) for a, b in zip(*moved, strict=True)]
        value, push, _ = linear_map(model, there, numbers, forward)
        return loss.value(moved_by(value, push(change)))

    return fun


@kept
def own_product(model: Same, loss: Same, numbers: tuple[int, ...], forward: bool, single: bool) -> Callable:
    """`J^T H_out J v` by JAX: J, then forward over reverse at the model's outputs, then J^T."""

    def product(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Any:
        value, push, pull = linear_map(model, halves(primals)[1], numbers, forward)
        outputs = [z for z in jax.tree.leaves(value) if is_inexact(z)]
        gradient = jax.grad(lambda z: loss.value(moved_by(value, [a - b for a, b in zip(z, outputs, strict=True)])))
        given = push(jax.tree.leaves(picked(halves(tangents)[0], numbers)))
        found = pull(jax.jvp(gradient, (outputs,), (given,))[1])
        return found[0] if single else found

    return product


@kept
def once(product: Same) -> Callable:
    """A product of the user's, which gets the arguments once."""
    return lambda primals, tangents: product.value(halves(primals)[0], halves(tangents)[0])


def linear_map(model: Same, at: tuple[Any, ...], numbers: tuple[int, ...], forward: bool) -> tuple[Any, Any, Any]:
    """The model's outputs, J as a function of tangent leaves, and its transpose as one of output cotangents.

    J is taken in forward mode, or as the transpose of reverse mode where a custom rule allows no other.
    """
    moving = picked(at, numbers)

    def inexact(*moving: Any) -> list[Any]:
        return [z for z in jax.tree.leaves(model.value(*replaced(at, numbers, moving))) if is_inexact(z)]

    out, pull = jax.vjp(inexact, *moving)

    def push(change: Sequence[Any]) -> list[Any]:
        tangents = jax.tree.unflatten(jax.tree.structure(moving), list(change))
        if forward:
            return jax.jvp(inexact, moving, tangents)[1]
        return jax.vjp(pull, [jnp.zeros_like(z) for z in out])[1](tangents)[0]

    return model.value(*at), push, pull


def moved_by(value: Any, change: Sequence[Any]) -> Any:
    """Outputs of the model with something added to those that can move."""
    more = iter(change)
    return jax.tree.map(lambda z: z + next(more) if is_inexact(z) else z, value)


def halves(both: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    count = len(both) // 2
    return both[:count], both[count:]


def picked(args: tuple[Any, ...], numbers: tuple[int, ...]) -> tuple[Any, ...]:
    return tuple(args[i] for i in numbers)


def replaced(args: tuple[Any, ...], numbers: tuple[int, ...], moving: Sequence[Any]) -> list[Any]:
    """All arguments, with others in some places."""
    found = list(args)
    for number, value in zip(numbers, moving, strict=True):
        found[number] = value
    return found


def still(leaf: Any) -> Any:
    """The tangent of a leaf that cannot move."""
    return np.zeros(np.shape(leaf), jax.dtypes.float0)
