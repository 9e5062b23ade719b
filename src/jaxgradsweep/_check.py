"""The public checks: each hands its own claim to the same pipeline."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxgradsweep._examination import examine
from jaxgradsweep._report import Report
from jaxgradsweep._request import settings_from


def check_grad(
    fun: Callable,
    args: tuple[Any, ...],
    *,
    argnums: int | tuple[int, ...] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    grad: Any = None,
    **settings: Any,
) -> Report:
    """Check the gradient of a scalar function."""
    return examine(
        "grad",
        fun,
        args,
        argnums=argnums,
        rule=grad,
        settings=settings_from(settings),
        has_aux=has_aux,
        holomorphic=holomorphic,
    )


def check_vjp(fun, args, *, argnums=0, has_aux=False, vjp=None, **settings):
    return examine("vjp", fun, args, argnums=argnums, rule=vjp, settings=settings_from(settings), has_aux=has_aux)


def check_jvp(fun, args, *, argnums=0, has_aux=False, jvp=None, **settings):
    return examine("jvp", fun, args, argnums=argnums, rule=jvp, settings=settings_from(settings), has_aux=has_aux)


def check_hvp(fun, args, *, argnums=0, has_aux=False, hvp=None, **settings):
    return examine("hvp", fun, args, argnums=argnums, rule=hvp, settings=settings_from(settings), has_aux=has_aux)
