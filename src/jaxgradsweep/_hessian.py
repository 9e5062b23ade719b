"""Every entry of a Hessian: claimed, measured with an error bar, and what its blocks tell."""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgradsweep._cache import kept
from jaxgradsweep._call import recorded
from jaxgradsweep._claim import Claim, outputs, widen_array
from jaxgradsweep._compile import compiled
from jaxgradsweep._criteria import Criteria
from jaxgradsweep._estimate import GOOD_ENOUGH, cautious
from jaxgradsweep._examination import at_precision, criteria_of
from jaxgradsweep._fit import fit
from jaxgradsweep._instrument import grid_for
from jaxgradsweep._kernel import at_once
from jaxgradsweep._memory import allowance, chunk_of_steps
from jaxgradsweep._probe import BASIS, BASIS_LEAF, scale_of
from jaxgradsweep._progress import Tick, reporter
from jaxgradsweep._report import Report
from jaxgradsweep._request import Settings, as_claim, check_args, check_hessian_size, check_real, settings_from
from jaxgradsweep._request import check_hessian as check_blocks
from jaxgradsweep._stencil import PER_STEP, displaced, tangent
from jaxgradsweep._subject import Subject
from jaxgradsweep._survey import check_second
from jaxgradsweep._sweep import Sweep
from jaxgradsweep._tree import Same, split, widen
from jaxgradsweep._wording import ENTRY, NOT_SYMMETRIC, OFF_ENTRIES, UNKNOWN_ENTRIES, ZERO_BLOCKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MATRICES = 2**31  # bytes that a Hessian, its estimate and its error bars may take by default
ROWS = 2000  # entries that are fitted at once
WORST = 3  # entries that a report spells out
BARS = 3.0  # an entry is off that misses by more than so many error bars, and by more than the tolerance

Matrix = Float[np.ndarray, "n n"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class HessianReport(Report):
    """What a check of every entry of a Hessian found.

    Attributes:
        claimed: the claimed Hessian, all leaves flattened in order, [n, n].
        estimate: the same from differences of the gradient, extrapolated; NaN where no step was trusted.
        uncertainty: its error bars.
        leaves: names of the leaves.
        offsets: where each leaf begins, and n.
        structure: what the blocks tell: zero blocks, broken symmetry, entries that are off.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgradsweep as jgs
        >>> def hessian(x):
        ...     return jnp.array([[2 * x[1], 2 * x[0]], [0.0, 0.0]])  # the mistake: the mirror image of 2 x[0] is 0
        >>> fun, args = lambda x: x[0] ** 2 * x[1], (jnp.array([1.0, 3.0]),)
        >>> report = jgs.check_hessian(fun, args, hessian=hessian, locate=False)
        >>> print(report.structure[0])
        1 of 4 entries of block (argument) x (argument) differ from what was measured
    """

    claimed: Matrix
    estimate: Matrix
    uncertainty: Matrix
    leaves: tuple[str, ...]
    offsets: tuple[int, ...]
    structure: tuple[str, ...]

    @property
    def relative_error(self) -> Matrix:
        """`|claimed - estimate|` of each entry, relative to the RMS entry of its block."""
        return relative_errors(self.claimed, self.estimate, self.offsets)

    def plot(self, ax: "Axes | None" = None) -> "Figure | Axes":
        """Draw log10 of the relative error of every entry as a matrix, with lines between the leaves.

        Args:
            ax: Axes to draw into; by default those of a new figure.

        Returns:
            The new figure, or the axes that were given.
        """
        from jaxgradsweep import heatmap

        return heatmap.plot_hessian(self, ax)


@recorded
def check_hessian(
    fun: Callable,
    args: tuple[Any, ...],
    *,
    argnums: int | tuple[int, ...] = 0,
    has_aux: bool = False,
    hessian: Any = None,
    **settings: Any,
) -> HessianReport:
    """Check every entry of the Hessian of a scalar function, for small problems.

    The verdict is that of `check_hvp` on the claimed Hessian. Beside it, entry (i, j) is held against the derivative of
    component i of the gradient along component j, extrapolated from central differences over many steps: n components
    cost about 80 n gradients.

    Args:
        fun: scalar function of pytrees of real numbers.
        args: its arguments, as a tuple.
        argnums: which of them to differentiate.
        has_aux: whether `fun` returns `(value, auxiliary)`.
        hessian: the claim: None for JAX's own, a callable with `fun`'s arguments, or the values; both in the structure
            that `jax.hessian` gives.
        **settings: as for `check_grad`, but for `points` and `dtype="both"`. `memory` bounds the three n x n matrices;
            `devices` and `checkpoint` serve the product, and the entries are measured on one device.

    Returns:
        A report with `claimed`, `estimate` and `uncertainty` as matrices, what their blocks tell in `structure`, and
        `plot()`, which draws the error of every entry.

    Raises:
        TypeError: arguments of the wrong kind, or an output that has no gradient.
        ValueError: a Hessian too large for `memory`, or of another structure than the arguments; complex arguments.

    Source:
        Structure after `jax.hessian`; extrapolation after Richardson (1911).

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgradsweep as jgs
        >>> report = jgs.check_hessian(lambda x: x[0] ** 2 * x[1], (jnp.array([1.0, 3.0]),))
        >>> report.ok, report.claimed.tolist()
        (True, [[6.0, 2.0], [2.0, 0.0]])
    """
    known = settings_from(settings)
    if known.points is not None or known.dtype == "both":
        raise ValueError('`check_hessian` looks at one point and in one precision: leave out `points` and "both"')
    numbers, single = check_args(args, argnums)
    hessian = as_claim(hessian, args, argnums)
    point = split(args, numbers, single=single)
    check_real(point, "`check_hessian`", "`check_hvp`")
    check_hessian_size(point, MATRICES if known.memory is None else known.memory)
    product = product_of(Same(hessian), numbers, single) if callable(hessian) else hessian
    report = check_second(fun, args, known, "gradient", argnums=argnums, rule=product, has_aux=has_aux)

    def run(subject: Subject, dtype: str) -> HessianReport:
        with reporter(known.progress) as tick:
            return with_entries(report, subject, claimed_matrix(subject, hessian), known, tick)

    shape = {"rule": None if callable(hessian) else hessian, "has_aux": has_aux}
    return at_precision("hvp", fun, args, argnums, known, shape, run)


def with_entries(report: Report, subject: Subject, claimed: Matrix, settings: Settings, tick: Tick) -> HessianReport:
    """A report on the product, with every entry of the matrix beside it."""
    criteria = criteria_of(subject, settings)
    estimate, uncertainty, evaluations = measured_matrix(subject, settings, criteria, tick)
    names = tuple(path or "(argument)" for path in subject.point.paths)
    offsets = tuple(int(i) for i in np.cumsum([0, *map(np.size, subject.point.moving)]))
    told = structure(claimed, estimate, uncertainty, names, offsets, criteria.tolerance)
    fields = {field.name: getattr(report, field.name) for field in dataclasses.fields(Report)}
    fields["evaluations"] += evaluations
    return HessianReport(
        **fields,
        claimed=claimed,
        estimate=estimate,
        uncertainty=uncertainty,
        leaves=names,
        offsets=offsets,
        structure=told,
    )


# ---- the claim


@kept
def product_of(hessian: Same, numbers: tuple[int, ...], single: bool) -> Callable:
    """The Hessian-vector product of a callable that returns whole Hessians."""

    def product(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Any:
        picked = tangents[numbers[0]] if single else tuple(tangents[i] for i in numbers)
        leaves, treedef = jax.tree.flatten(picked)
        rows = [treedef.flatten_up_to(row) for row in treedef.flatten_up_to(hessian.value(*primals))]
        moving = [i for i, leaf in enumerate(leaves) if leaf.dtype != jax.dtypes.float0]
        times = [
            sum(jnp.tensordot(rows[i][j], leaves[j], axes=jnp.ndim(leaves[j])) for j in moving) if i in moving else None
            for i in range(len(leaves))
        ]
        return treedef.unflatten(times)

    return product


def claimed_matrix(subject: Subject, hessian: Any) -> Matrix:
    """The claimed Hessian as one matrix."""
    point, claim = subject.point, subject.claim
    if callable(hessian):
        blocks = check_blocks(hessian(*claim.layout.join(point.moving, point.held)), point)
    elif hessian is not None:
        blocks = list(subject.values)
    else:
        outer = jax.jacrev if claim.mode.startswith("reverse") else jax.jacfwd
        whole = jax.jit(outer(lambda moving, held: outputs(claim, moving, held)))
        moving = [jnp.asarray(leaf) for leaf in point.moving]
        blocks = [np.asarray(block) for row in whole(moving, point.held) for block in row]
    sizes = [int(np.size(leaf)) for leaf in point.moving]
    count = len(sizes)
    rows = [
        [np.asarray(widen(blocks[count * i + j]), np.float64).reshape(sizes[i], sizes[j]) for j in range(count)]
        for i in range(count)
    ]
    return np.block(rows)


# ---- the measurement


def measured_matrix(subject: Subject, settings: Settings, criteria: Criteria, tick: Tick) -> tuple[Matrix, Matrix, int]:
    """Every entry from differences of the gradient along one component after the other; error bars; evaluations."""
    steps = grid_for(subject, settings)
    allowed = allowance(settings.memory, jax.local_devices()[0])
    chunk = chunk_of_steps(subject.point.moving, settings.batch_size, allowed)
    columns = [(leaf, i) for leaf, array in enumerate(subject.point.moving) for i in range(np.size(array))]
    value, bar = measured_columns(subject, columns, BASIS, steps, chunk, criteria, tick)
    size = np.max(np.abs(np.nan_to_num(value)), axis=0, initial=0)
    poor = np.flatnonzero((~(bar <= GOOD_ENOUGH * size) & (bar > 0)).any(axis=0))
    if len(poor):
        chosen = [columns[j] for j in poor]
        other, other_bar = measured_columns(subject, chosen, BASIS_LEAF, steps, chunk, criteria, tick)
        better = ~(bar[:, poor] <= other_bar)
        value[:, poor] = np.where(better, other, value[:, poor])
        bar[:, poor] = np.where(better, other_bar, bar[:, poor])
    width = -(-len(steps) // chunk) * (2 * chunk + 1)
    return value, bar, width * (len(columns) + len(poor))


def measured_columns(
    subject: Subject,
    columns: list[tuple[int, int]],
    scale: int,
    steps: np.ndarray,
    chunk: int,
    criteria: Criteria,
    tick: Tick,
) -> tuple[np.ndarray, np.ndarray]:
    """Some columns of the Hessian, and their error bars."""
    run = _column_program(subject.claim, chunk)
    n = sum(int(np.size(leaf)) for leaf in subject.point.moving)
    padded = np.concatenate([steps, np.repeat(steps[-1:], -len(steps) % chunk)])
    at_a_time = max(1, ROWS // n)
    values, bars = [], []
    for start in range(0, len(columns), at_a_time):
        tick("columns", start, len(columns))
        told = [
            run(subject.point.moving, subject.point.held, np.int32(leaf), np.int32(i), np.int32(scale), padded)
            for leaf, i in columns[start : start + at_a_time]
        ]
        lengths = np.repeat([float(length) for length, _ in told], n)
        rows = {
            name: np.concatenate([np.asarray(each[name], np.float64).T[:, : len(steps)] for _, each in told])
            for name in PER_STEP
        }
        found = fit(as_sweep(subject, rows, steps))
        values.append((found.derivative / lengths).reshape(-1, n))
        bars.append((cautious(found, criteria) / lengths).reshape(-1, n))
    tick("columns", len(columns), len(columns))
    return np.concatenate(values).T.copy(), np.concatenate(bars).T.copy()


def as_sweep(subject: Subject, rows: dict[str, Any], steps: np.ndarray) -> Sweep:
    """The differences of many outputs as one sweep, whose rows are the outputs."""
    count = len(rows["difference"])
    return Sweep(
        paths=subject.point.paths,
        leaf=np.zeros(count, np.int64),
        scale=("basis",) * count,
        steps=steps,
        claimed=np.zeros(count),
        size=np.zeros(count),
        finite=np.ones(count, bool),
        eps=subject.eps,
        rounds=subject.traits.rounds,
        shorter=subject.traits.shorter,
        inner=subject.inner,
        resting=subject.resting,
        **rows,
    )


@kept
def _column_program(claim: Claim, chunk: int) -> Callable[..., Any]:
    return compiled(claim, functools.partial(_column, claim, chunk))


def _column(
    claim: Claim, chunk: int, moving: Any, held: Any, leaf: Any, index: Any, scale: Any, steps: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The length of one component's step, and differences of all outputs along it, [steps, outputs]."""
    moving = [jnp.asarray(x) for x in moving]
    v = tangent(moving, [scale_of(x) for x in moving], leaf, scale, index, jnp.zeros(4, jnp.uint32))

    def flat(t: jax.Array) -> tuple[jax.Array, jax.Array]:
        y = outputs(claim, displaced(moving, v, t), held)
        wide = [widen_array(a, steps.dtype).ravel() for a in y]
        pairs = zip(y, wide, strict=True)
        return jnp.concatenate(wide), jnp.concatenate([jnp.finfo(a.dtype).eps * jnp.abs(w) for a, w in pairs])

    def one_chunk(h: jax.Array) -> dict[str, jax.Array]:
        y, rounding = at_once(claim)(flat, jnp.concatenate([jnp.zeros(1, h.dtype), h, -h]))
        forward, backward = y[1 : chunk + 1] - y[0], y[0] - y[chunk + 1 :]
        largest = jnp.maximum(jnp.maximum(rounding[1 : chunk + 1], rounding[chunk + 1 :]), rounding[0])
        return {
            "difference": y[1 : chunk + 1] - y[chunk + 1 :],
            "forward": forward,
            "backward": backward,
            "bend": jnp.abs(forward - backward),
            "roundoff": largest / np.sqrt(12),
        }

    told = jax.lax.map(one_chunk, steps.reshape(-1, chunk))
    length = jnp.sum(jnp.stack([jnp.sum(widen_array(x, steps.dtype)) for x in v]))
    return length, jax.tree.map(lambda a: a.reshape(-1, a.shape[-1]), told)


# ---- what it tells


def blocks_of(offsets: tuple[int, ...]) -> list[tuple[int, int, tuple[slice, slice]]]:
    """Every pair of leaves, and where its block lies."""
    spans = [slice(a, b) for a, b in itertools.pairwise(offsets)]
    return [(i, j, (rows, columns)) for i, rows in enumerate(spans) for j, columns in enumerate(spans)]


def block_sizes(claimed: Matrix, estimate: Matrix, offsets: tuple[int, ...]) -> Matrix:
    """The RMS entry of the block of each entry, the larger of claimed and estimated."""
    sizes = np.zeros_like(claimed)
    for _, _, place in blocks_of(offsets):
        both = [np.nan_to_num(matrix[place], posinf=0, neginf=0) for matrix in (claimed, estimate)]
        unit = np.max(np.abs(both), initial=0) or 1.0
        sizes[place] = unit * max(np.sqrt(np.mean((block / unit) ** 2)) for block in both)
    return sizes


def relative_errors(claimed: Matrix, estimate: Matrix, offsets: tuple[int, ...]) -> Matrix:
    """|claimed - estimate|, relative to the RMS entry of each block; 0 where both blocks are zero."""
    sizes = block_sizes(claimed, estimate, offsets)
    with np.errstate(all="ignore"):
        return np.where(claimed == estimate, 0.0, np.abs(claimed - estimate) / np.where(sizes > 0, sizes, 1))


def structure(
    claimed: Matrix,
    estimate: Matrix,
    uncertainty: Matrix,
    names: tuple[str, ...],
    offsets: tuple[int, ...],
    tolerance: float,
) -> tuple[str, ...]:
    """What the blocks of a Hessian tell, in sentences: entries that are off, broken symmetry, zero blocks."""
    sizes = block_sizes(claimed, estimate, offsets)
    with np.errstate(all="ignore"):
        missing = np.abs(claimed - estimate)
        off = np.isfinite(estimate) & ~(missing <= BARS * uncertainty + tolerance * sizes)
        tilt = np.abs(claimed - claimed.T)
    said, zero = [], []
    for i, j, place in blocks_of(offsets):
        name = f"{names[i]} x {names[j]}"
        if off[place].any():
            said.append(OFF_ENTRIES.format(count=int(off[place].sum()), total=off[place].size, block=name))
        if j >= i and (tilt[place] > tolerance * np.maximum(sizes, sizes.T)[place]).any():
            said.append(NOT_SYMMETRIC.format(block=name, most=float(np.nanmax(tilt[place]))))
        if not claimed[place].any() and (np.abs(estimate[place]) <= BARS * uncertainty[place]).all():
            zero.append(name)
        if unknown := int((~np.isfinite(estimate[place])).sum()):
            said.append(UNKNOWN_ENTRIES.format(count=unknown, total=off[place].size, block=name))
    errors = np.where(off, relative_errors(claimed, estimate, offsets), -1)
    for flat in np.argsort(-errors, axis=None, kind="stable")[:WORST]:
        row, column = divmod(int(flat), len(claimed))
        if off[row, column]:
            said.append(entry(claimed, estimate, uncertainty, names, offsets, row, column))
    return (*said, *([ZERO_BLOCKS.format(blocks=", ".join(zero))] if zero else ()))


def entry(
    claimed: Matrix,
    estimate: Matrix,
    uncertainty: Matrix,
    names: tuple[str, ...],
    offsets: tuple[int, ...],
    row: int,
    column: int,
) -> str:
    """One entry in words."""
    places = []
    for index in (row, column):
        leaf = int(np.searchsorted(offsets, index, side="right")) - 1
        places.append(f"{names[leaf]} component {index - offsets[leaf]}")
    return ENTRY.format(
        row=places[0],
        column=places[1],
        claimed=claimed[row, column],
        estimate=estimate[row, column],
        bar=uncertainty[row, column],
    )
