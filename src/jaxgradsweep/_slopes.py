"""Gradients with the derivative of one operation wrong, as people get it wrong."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgradsweep._cache import kept
from jaxgradsweep._claim import Claim
from jaxgradsweep._compile import compiled
from jaxgradsweep._interpreter import Place, inputs_of, line_of, program_of, run_with, steps_of
from jaxgradsweep._pattern import nth
from jaxgradsweep._reference import Leaves, attempted, gradient_of
from jaxgradsweep._subject import Subject, structs_of
from jaxgradsweep._tree import is_inexact

MOST_PLACES = 4  # so many places of one operation are tried one by one

sigmoid = jax.nn.sigmoid
Rule = Callable[..., Any]  # the change of the result: from the operands, the result and the operands' changes


def slope(of: Callable) -> Rule:
    """The rule for a function of one number, from its slope at argument z and value a."""
    return lambda given, a, change, **params: of(given[0], a).astype(a.dtype) * change[0]


def turned(given: Any, a: Any, change: Any, **params: Any) -> Any:
    return jax.lax.cumsum(change[0], axis=params["axis"], reverse=not params["reverse"])


def chosen_of(given: Any, a: Any, change: Any, **params: Any) -> Any:
    return jax.lax.select_n(given[0], *change[:0:-1])


def larger(given: Any, a: Any, change: Any, **params: Any) -> Any:
    return jnp.where(given[0] == a, 0.0, 1.0).astype(a.dtype) * change[0] + (
        jnp.where(given[0] == a, 1.0, 0.0).astype(a.dtype) * change[1]
    )


# What people write instead of the derivative of an operation: in words, and as a rule.
MISTAKES: dict[str, tuple[tuple[str, Rule], ...]] = {
    "tanh": (
        ("1 - z**2 at its argument z, where 1 - a**2 at its value a is right", slope(lambda z, a: 1 - z**2)),
        ("1 - tanh(a)**2 at its value a", slope(lambda z, a: 1 - jnp.tanh(a) ** 2)),
        ("1 - a, without the square", slope(lambda z, a: 1 - a)),
        ("1 + a**2", slope(lambda z, a: 1 + a**2)),
    ),
    "logistic": (
        ("z (1 - z) at its argument z; a (1 - a) is right", slope(lambda z, a: z * (1 - z))),
        ("its slope at its value a", slope(lambda z, a: sigmoid(a) * (1 - sigmoid(a)))),
        ("a, without the factor 1 - a", slope(lambda z, a: a)),
        ("a (1 + a)", slope(lambda z, a: a * (1 + a))),
    ),
    "sin": (("its argument's sine", slope(lambda z, a: a)),),
    "cos": (("its argument's cosine", slope(lambda z, a: a)),),
    "exp": (("the exponential of its value", slope(lambda z, a: jnp.exp(a))), ("its argument", slope(lambda z, a: z))),
    "log": (("one over its value", slope(lambda z, a: 1 / a)), ("its value", slope(lambda z, a: a))),
    "log1p": (("1/z, where 1/(1 + z) is right", slope(lambda z, a: 1 / z)),),
    "sqrt": (("its argument's root", slope(lambda z, a: a)),),
    "rsqrt": (("-1/2 its value, where its cube is right", slope(lambda z, a: -a / 2)),),
    "erf": (("exp(-z**2), without 2/sqrt(pi)", slope(lambda z, a: jnp.exp(-(z**2)))),),
    "abs": (),
    "square": (("its argument, without the 2", slope(lambda z, a: z)),),
    "integer_pow": (
        (
            "that of a power whose exponent is not one less",
            lambda given, a, change, **params: params["y"] * a * change[0],
        ),
        (
            "that of a power without the exponent as a factor",
            lambda given, a, change, **params: given[0] ** (params["y"] - 1) * change[0],
        ),
    ),
    "div": (
        (
            "that of a quotient whose divisor is not squared",
            lambda given, a, change, **params: change[0] / given[1] - a * change[1],
        ),
    ),
    "max": (("that of the branch that was not chosen: the mask is inverted", larger),),
    "select_n": (
        ("that of the branch that was not chosen: the mask is inverted", chosen_of),
        (
            "that of both branches at once: the mask is forgotten",
            lambda given, a, change, **params: functools.reduce(jnp.add, change[1:]),
        ),
    ),
    "cumsum": (("itself, where the sum from the other end is right", turned),),
}
ONE = ("1: it is left out", slope(lambda z, a: jnp.ones_like(z)))
PLAIN = {"logistic": "sigmoid", "select_n": "`where`", "max": "`maximum`", "integer_pow": "power", "div": "division"}
OF_ONE_NUMBER = {"tanh", "logistic", "sin", "cos", "exp", "log", "log1p", "sqrt", "rsqrt", "erf", "abs", "square"}


def mistakes_of(name: str) -> list[tuple[str, Rule]]:
    """What may be wrong about the derivative of an operation."""
    return [*MISTAKES[name], *([ONE] if name in OF_ONE_NUMBER else [])]


def blended(step: Any) -> Callable:
    """An operation whose derivative is one of several: which one is its first argument, 0 for the right one."""
    name, params = step.primitive.name, step.params

    def value(*given: Any) -> Any:
        return step.primitive.bind(*given, **params)

    @jax.custom_jvp
    def fun(choice: Any, *given: Any) -> Any:
        return value(*given)

    @fun.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        choice, *given = primals
        a = value(*given)
        moves = [i for i, x in enumerate(given) if jnp.issubdtype(jnp.result_type(x), jnp.inexact)]

        def right(*change: Any) -> Any:
            def of_moving(*moving: Any) -> Any:
                everything = dict(enumerate(given)) | dict(zip(moves, moving, strict=True))
                return value(*everything.values())

            return jax.jvp(of_moving, [given[i] for i in moves], list(change))[1]

        def wrong(rule: Rule) -> Callable:
            def of(*change: Any) -> Any:
                everything = dict.fromkeys(range(len(given))) | dict(zip(moves, change, strict=True))
                return rule(given, a, list(everything.values()), **params)

            return of

        branches = [right, *(wrong(rule) for _, rule in mistakes_of(name))]
        return a, jax.lax.switch(choice, branches, *(tangents[1 + i] for i in moves))

    return fun


def mistaken(subject: Subject) -> Iterator[tuple[str, str, Leaves]]:
    """Gradients with one operation's derivative wrong: which, what is wrong, and the leaves. One program for all."""
    try:
        places, lines = places_in(subject.claim.plain, structs_of(subject.point))
    except Exception:
        return
    if not places:
        return
    numbers = [place for found in places.values() for place in found]
    run = _blended_program(subject.claim.plain, tuple(numbers))
    for name, found in places.items():
        groups = [found, *([place] for place in found if 1 < len(found) <= MOST_PLACES)]
        for number, (words, _) in enumerate(mistakes_of(name)):
            for group in groups:
                choices = np.zeros(len(numbers), np.int32)
                choices[[numbers.index(place) for place in group]] = number + 1
                which = PLAIN.get(name) or name
                which = which if len(group) == len(found) else f"the {nth(found.index(group[0]) + 1)} {which}"
                which += f" ({lines[group[0]]})" if len(group) == 1 and lines[group[0]] else ""
                for leaves in attempted(functools.partial(_with_choices, run, choices), subject):
                    yield which, words, leaves


@kept
def places_in(claim: Claim, structs: Any) -> tuple[dict[str, list[Place]], dict[Place, str | None]]:
    """Where operations are whose derivatives people get wrong, by name, and their lines of code."""
    places: dict[str, list[Place]] = {}
    lines: dict[Place, str | None] = {}
    for place, step, active in steps_of(program_of(claim, *structs).jaxpr, inputs_of(*structs)):
        kinds = {v.aval.dtype for v in (*step.invars, *step.outvars) if is_inexact(v.aval)}
        if step.primitive.name in MISTAKES and any(active) and len(kinds) == 1:
            places.setdefault(step.primitive.name, []).append(place)
            lines[place] = line_of(step)
    return places, lines


@kept
def _blended_program(claim: Claim, places: tuple[Place, ...]) -> Callable[..., Any]:
    """The gradient as a function of which mistake is made at each place; 0 is none."""
    numbers = {place: i for i, place in enumerate(places)}

    def gradient(moving: Any, held: Any, choices: Any) -> Any:
        def rule(step: Any, place: Place, values: Any) -> Any:
            return [blended(step)(choices[numbers[place]], *values)] if place in numbers else None

        return gradient_of(claim, functools.partial(run_with, rule))(moving, held)

    return compiled(claim, gradient)


def _with_choices(run: Callable, choices: np.ndarray, moving: Any, held: Any) -> Any:
    return run(list(moving), held, choices)
