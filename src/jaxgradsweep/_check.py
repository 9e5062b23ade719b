"""The public checks: each hands its own claim to the same pipeline."""

from collections.abc import Callable
from typing import Any

from jaxgradsweep._call import recorded
from jaxgradsweep._estimate import estimate, unit_claim
from jaxgradsweep._examination import at_precision
from jaxgradsweep._report import Report
from jaxgradsweep._request import as_claim, settings_from
from jaxgradsweep._subject import Subject
from jaxgradsweep._survey import check_second, survey


@recorded
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
    """Check the gradient of a scalar function.

    For random directions v of each leaf, the claimed `<grad f(x), v> = Re sum g v` is held against the derivative of
    `phi(t) = f(x + t v)`, extrapolated from central differences over many steps.

    Args:
        fun: scalar function of pytrees, or one that returns a dict of scalars, the terms of a sum: then every term is
            checked, and their sum. It may be a pytree itself, as a module is: what it holds is held fixed.
        args: its arguments, as a tuple. Leaves that are not floating or complex are held fixed.
        argnums: which of them to differentiate, as in `jax.grad`.
        has_aux: whether `fun` returns `(value, auxiliary)`.
        holomorphic: whether `fun` is holomorphic; then the claim is its complex derivative.
        grad: the claim: None for JAX's own gradient, a callable with `fun`'s arguments, or the values themselves, in
            the structure of `args[argnums]`. For a dict of terms, that of their sum or a dict with one for each.
        **settings: keyword arguments common to all checks:

            * `dtype`: "float64" (default: evaluate in double precision, whatever the arrays and the x64 flag are),
              "native" (as the arrays come), or "both": the formula in float64, the arithmetic as it ships, and how
              well the two agree.
            * `matmul_precision`: of float32 matrix products, as in `jax.default_matmul_precision` ("highest"); None:
              the caller's own, to check what ships.
            * `points`: further points to check at, as a list of args tuples, or how many perturbations of `args`.
            * `rtol`: how large a relative error matters; None (default): the measured detection limit.
            * `directions`: random directions per leaf; None (default): 2, or 8 where `rtol` is set;
              at least 6 where `fun` sorts or rounds, since ties hide from few.
            * `steps`: the grid of relative steps, each half of the one before.
            * `thorough`: True to evaluate at all steps; by default 16 of the 40 decide where they clearly can.
            * `key`: integer seed of the directions (0).
            * `batch_size`: points evaluated at once.
            * `memory`: budget in bytes for them (half of what the device has free).
            * `devices`: over which to spread the probes: devices of one kind, or how many of the local ones; None
              (default): all local ones where the work is worth it. Leaves that are spread over devices stay so.
            * `checkpoint`: a folder that keeps what is measured; the same call goes on from there.
            * `progress`: True for a bar on stderr, or a function that is called with (what, done, total).
            * `consistency`: True to test every identity that needs no steps (see `Report.consistency`); False: those
              that the sweep tells by itself; None (default): those that cost less than the sweep.
            * `locate`: whether to look for the components that make a claim wrong, see `Report.blame`. None (default):
              with at most three times the evaluations of the check; True: with as many as it takes; False: not at all.

    Returns:
        A report: `report.ok`, `report.verdict`, `report.findings`, `print(report)`, `report.plot()`.

    Raises:
        TypeError: arguments of the wrong kind, or an output that has no gradient.
        ValueError: a claim whose structure or shapes differ from the point's; a setting out of range.

    Source:
        The complex convention is that of `jax.grad`; extrapolation after Richardson (1911).

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgradsweep as jgs
        >>> report = jgs.check_grad(lambda x: jnp.sum(jnp.sin(x)), (jnp.array([0.3, 1.2]),))
        >>> report.verdict.name
        'CORRECT'
    """
    known, rule = settings_from(settings), as_claim(grad, args, argnums)
    return survey(
        "grad", fun, args, argnums=argnums, rule=rule, settings=known, has_aux=has_aux, holomorphic=holomorphic
    )


@recorded
def check_vjp(
    fun: Callable,
    args: tuple[Any, ...],
    *,
    argnums: int | tuple[int, ...] = 0,
    has_aux: bool = False,
    vjp: Callable | None = None,
    **settings: Any,
) -> Report:
    """Check a vector-Jacobian product, for outputs of any shape.

    For random directions v and cotangents u, the claimed `<vjp(u), v>` is held against the derivative of
    `phi(t) = <u, f(x + t v)>`.

    Args:
        fun: function of pytrees with floating or complex outputs.
        args: its arguments, as a tuple.
        argnums: which of them to differentiate.
        has_aux: whether `fun` returns `(outputs, auxiliary)`.
        vjp: the claim: None for `jax.vjp`, or `vjp(*args) -> (out, vjp_fun)` as in `jax.test_util.check_vjp`, where
            `vjp_fun(u)` returns one cotangent per argument.
        **settings: as for `check_grad`.

    Returns:
        A report.

    Raises:
        TypeError: arguments of the wrong kind.
        ValueError: cotangents whose structure or shapes differ from the point's.

    Source:
        Signature of `vjp` after `jax.test_util.check_vjp`.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import jaxgradsweep as jgs
        >>> def softmax_vjp(z):
        ...     y = jax.nn.softmax(z)
        ...     return y, lambda u: (y * u - y * jnp.sum(u),)  # the mistake: the sum is one of y * u
        >>> report = jgs.check_vjp(jax.nn.softmax, (jnp.array([0.1, 0.7]),), vjp=softmax_vjp, locate=False)
        >>> report.verdict.name
        'WRONG'
    """
    known = settings_from(settings)
    return survey("vjp", fun, args, argnums=argnums, rule=_callable("vjp", vjp), settings=known, has_aux=has_aux)


@recorded
def check_jvp(
    fun: Callable,
    args: tuple[Any, ...],
    *,
    argnums: int | tuple[int, ...] = 0,
    has_aux: bool = False,
    jvp: Callable | None = None,
    **settings: Any,
) -> Report:
    """Check a Jacobian-vector product, for outputs of any shape.

    For random directions v and cotangents u, the claimed `<u, jvp(v)>` is held against the derivative of
    `phi(t) = <u, f(x + t v)>`.

    Args:
        fun: function of pytrees with floating or complex outputs.
        args: its arguments, as a tuple.
        argnums: which of them to differentiate.
        has_aux: whether `fun` returns `(outputs, auxiliary)`.
        jvp: the claim: None for `jax.jvp`, or `jvp(primals, tangents) -> (out, tangent_out)`. It gets all arguments,
            and zero tangents (of dtype float0 for integers) for what is held fixed.
        **settings: as for `check_grad`.

    Returns:
        A report.

    Raises:
        TypeError: arguments of the wrong kind.
        ValueError: a tangent whose structure or shapes differ from the output's.

    Source:
        Signature of `jvp` after `jax.jvp`.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgradsweep as jgs
        >>> def tanh_jvp(primals, tangents):
        ...     (x,), (v,) = primals, tangents
        ...     y = jnp.tanh(x)
        ...     return y, (1 - y**2) * v
        >>> jgs.check_jvp(jnp.tanh, (jnp.array([0.3, 1.2]),), jvp=tanh_jvp).ok
        True
    """
    known = settings_from(settings)
    return survey("jvp", fun, args, argnums=argnums, rule=_callable("jvp", jvp), settings=known, has_aux=has_aux)


@recorded
def check_hvp(
    fun: Callable,
    args: tuple[Any, ...],
    *,
    argnums: int | tuple[int, ...] = 0,
    has_aux: bool = False,
    hvp: Any = None,
    via: str = "gradient",
    **settings: Any,
) -> Report:
    """Check a Hessian-vector product of a scalar function.

    For random v and u, the claimed `<u, H v>` is held against the derivative of `phi(t) = <u, grad f(x + t v)>`. That
    gradient is JAX's own, and is itself checked against the function: the report says whether the product is the
    derivative of a right gradient or of a wrong one. For complex arguments the gradient is that of `jax.grad`, the
    conjugate of the usual one, and `H v` its derivative along v.

    Args:
        fun: scalar function of pytrees.
        args: its arguments, as a tuple.
        argnums: which of them to differentiate.
        has_aux: whether `fun` returns `(value, auxiliary)`.
        hvp: the claim: None for JAX's own (forward over reverse, or the first that works of reverse over reverse,
            reverse over forward and forward over forward), `hvp(primals, tangents)` that returns `H v` in the structure
            of `args[argnums]`, or a whole Hessian as `jax.hessian` gives it.
        via: "gradient" (default); "function": against second differences of the function alone, `C(h) / h^2` with
            `C(h) = f(x + h w) - 2 f(x) + f(x - h w)` along v + u and v - u, so that no gradient need be trusted; or
            "both". A second difference sees a relative error of about 1e-6 where one of the gradient sees 1e-9.
        **settings: as for `check_grad`.

    Returns:
        A report, with the checks of the product and of the gradient as its parts.

    Raises:
        TypeError: arguments of the wrong kind, or an output that has no gradient.
        ValueError: a product whose structure or shapes differ from the point's; complex arguments via the function.

    Source:
        Pearlmutter, Fast exact multiplication by the Hessian (1994).

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgradsweep as jgs
        >>> report = jgs.check_hvp(lambda x: jnp.sum(jnp.sin(x)), (jnp.array([0.3, 1.2]),))
        >>> report.summary
        'the gradient is right, and the product is its derivative'
    """
    known = settings_from(settings)
    rule = as_claim(hvp, args, argnums)
    return check_second(fun, args, known, via, argnums=argnums, rule=rule, has_aux=has_aux)


def estimate_grad(
    fun: Callable, args: tuple[Any, ...], *, argnums: int | tuple[int, ...] = 0, **settings: Any
) -> tuple[Any, Any]:
    """Estimate the gradient of a scalar function from its values alone, with error bars.

    Every component is swept by itself: n components cost about 32 n evaluations, and 80 n more of those that a part of
    the steps does not show to 1e-10 (`thorough=True` leaves that part out).

    Args:
        fun: scalar function of pytrees.
        args: its arguments, as a tuple.
        argnums: which of them to differentiate.
        **settings: as for `check_grad`.

    Returns:
        The gradient and its uncertainty (99 % of the components of a smooth function lie within), as NumPy arrays in
        the structure of `args[argnums]`, with None for leaves that cannot move. NaN with an infinite uncertainty
        where no step was trusted.

    Raises:
        TypeError: arguments of the wrong kind, or an output that has no gradient.

    Source:
        Richardson, The approximate arithmetical solution by finite differences (1911).

    Example:
        >>> import jaxgradsweep as jgs
        >>> value, uncertainty = jgs.estimate_grad(lambda x: x**3, (1.0,))
        >>> bool(abs(value - 3) <= uncertainty < 1e-12)
        True
    """
    known = settings_from(settings)
    if known.points is not None or known.dtype == "both":
        raise ValueError('`estimate_grad` measures at one point and in one precision: leave out `points` and "both"')

    def run(subject: Subject, dtype: str) -> tuple[Any, Any]:
        values, bars = estimate(subject, known)
        return subject.claim.layout.derivative(values), subject.claim.layout.derivative(bars)

    return at_precision("grad", fun, args, argnums, known, {"rule": unit_claim(args, argnums)}, run)


def _callable(name: str, rule: Any) -> Callable | None:
    if rule is not None and not callable(rule):
        raise TypeError(
            f"`{name}` must be callable; got {type(rule).__name__}. Values can be checked with `check_grad`"
        )
    return rule
