"""What wrong components have in common: rows, columns, slices, diagonals, borders, every k-th, or everything."""

from collections.abc import Callable, Iterator

import numpy as np

MOST_NAMED = 6  # components or places along an axis that a sentence names
FEWEST = 2  # wrong components that make a pattern
PERIODS = range(2, 13)  # every so many components
WIDEST_BORDER = 3
LARGEST = 2**24  # components of a leaf whose pattern is looked for
AXES = {2: ("row", "column")}
PLURAL = {"row": "rows", "column": "columns"}

Indices = np.ndarray


def in_words(shape: tuple[int, ...], indices: Indices, wrong: np.ndarray, *, complete: bool) -> str | None:
    """Say which components are wrong.

    Args:
        shape: of the leaf.
        indices: components that were looked at, [n, axes].
        wrong: which of them are wrong, [n].
        complete: whether all wrong components are among them. If not, they are a sample.

    Returns:
        The simplest description that is true of all that were looked at, or None.
    """
    count, total = int(wrong.sum()), int(np.prod(shape, dtype=int))
    if not count:
        return None
    sample = "" if complete else f" (seen on {len(indices)} of {total:,} components)"
    if len(indices) == count and (count == total or not complete):
        return f"every component{sample}" if total > 1 else "the only component"
    if count >= FEWEST and total <= LARGEST:
        known, flags = everywhere(shape, indices, wrong) if complete else (indices, wrong)
        for words, belongs in candidates(shape, indices[wrong]):
            if np.array_equal(belongs(known), flags):
                return f"{words}{sample}"
    if complete and count <= MOST_NAMED:
        return ", ".join(one(index) for index in indices[wrong])
    share = count / len(indices)
    return (
        f"about {share:.0%} of the components, without a pattern that is known here{sample}" if not complete else None
    )


def everywhere(shape: tuple[int, ...], indices: Indices, wrong: np.ndarray) -> tuple[Indices, np.ndarray]:
    """All components of a leaf, and which of them are wrong, if those that were not looked at are right."""
    flags = np.zeros(shape, bool)
    flags[tuple(indices[wrong].T)] = True
    return np.stack([axis.ravel() for axis in np.indices(shape)], axis=1), flags.ravel()


def one(index: Indices) -> str:
    """One component as Python indexes it."""
    return f"[{', '.join(map(str, index.tolist()))}]"


def candidates(shape: tuple[int, ...], wrong: Indices) -> Iterator[tuple[str, Callable[[Indices], np.ndarray]]]:
    """Descriptions that may fit, the simplest first, each with the test of whether a component belongs."""
    yield from boxes(shape, wrong)
    axes = range(len(shape))
    for width in range(1, WIDEST_BORDER + 1):
        wide = [axis for axis in axes if shape[axis] > 2 * width]
        for name, chosen in (("", wide), *filters(shape, width)):
            if len(chosen) >= 1:
                yield (
                    f"the border of width {width}{name}",
                    lambda i, chosen=chosen, width=width: np.any(
                        [(i[:, a] < width) | (i[:, a] >= shape[a] - width) for a in chosen], axis=0
                    ),
                )
    if len(shape) >= 2 and shape[-1] == shape[-2]:
        yield "the diagonal", lambda i: i[:, -1] == i[:, -2]
        yield "all but the diagonal", lambda i: i[:, -1] != i[:, -2]
    if len(shape) >= 2:
        yield "the upper triangle", lambda i: i[:, -1] > i[:, -2]
        yield "the lower triangle", lambda i: i[:, -1] < i[:, -2]
        yield "the upper triangle and the diagonal", lambda i: i[:, -1] >= i[:, -2]
        yield "the lower triangle and the diagonal", lambda i: i[:, -1] <= i[:, -2]
    flat = np.ravel_multi_index(tuple(wrong.T), shape) if shape else np.zeros(len(wrong), int)
    for period in PERIODS:
        rest = np.unique(flat % period)
        if len(rest) == 1:
            place = int(rest[0])
            yield (
                f"every {nth(period)} component in memory order, from {place} on",
                lambda i, p=period, r=place: np.ravel_multi_index(tuple(i.T), shape) % p == r,
            )


def filters(shape: tuple[int, ...], width: int) -> Iterator[tuple[str, list[int]]]:
    """The two axes of filters in images, whichever layout they have: the first two or the last two of four."""
    if len(shape) == 4:
        for pair in ([0, 1], [2, 3]):
            chosen = [axis for axis in pair if shape[axis] > 2 * width]
            if len(chosen) == 2:
                yield " of every filter", chosen


def boxes(shape: tuple[int, ...], wrong: Indices) -> Iterator[tuple[str, Callable[[Indices], np.ndarray]]]:
    """Whole places along some axes: rows, columns, slices and blocks; those that restrict the fewest axes first."""
    places = [np.unique(wrong[:, axis]) for axis in range(len(shape))]
    words = {axis: along(shape, axis, found) for axis, found in enumerate(places) if len(found) < shape[axis]}
    known = {axis: each for axis, each in words.items() if each is not None}

    def belongs(chosen: list[int]) -> Callable[[Indices], np.ndarray]:
        return lambda i: np.all([np.isin(i[:, axis], places[axis]) for axis in chosen], axis=0)

    for axis, each in known.items():
        yield each, belongs([axis])
    if len(known) == len(words) > 1:
        yield f"the block of {', '.join(known.values())}", belongs(list(known))


def along(shape: tuple[int, ...], axis: int, places: np.ndarray) -> str | None:
    """Places along an axis in words; None where they are many and not regular."""
    length, count = shape[axis], len(places)
    name = AXES.get(len(shape), ())[axis] if len(shape) in AXES else ("component" if len(shape) == 1 else "index")
    many = PLURAL.get(name, "indices" if name == "index" else "components")
    tail = f" of axis {axis}" if name == "index" else ""
    if count == 1:
        place = int(places[0])
        last = " (the last)" if place == length - 1 and length > 1 else ""
        return f"{name} {place}{last}{tail}"
    gaps = np.unique(np.diff(places))
    if len(gaps) == 1 and gaps[0] == 1:
        return f"{many} {places[0]} to {places[-1]}{tail}"
    if len(gaps) == 1 and count > 2:
        whole = places[0] < gaps[0] and places[-1] + gaps[0] >= length
        span = f"from {places[0]} on" if whole else f"from {places[0]} to {places[-1]}"
        return f"every {nth(int(gaps[0]))} {name}, {span}{tail}"
    if count <= MOST_NAMED:
        return f"{many} {', '.join(map(str, places))}{tail}"
    if length - count <= MOST_NAMED:
        rest = np.setdiff1d(np.arange(length), places)
        return f"all {many} but {', '.join(map(str, rest))}{tail}"
    return None


def nth(number: int) -> str:
    """An ordinal: 2nd, 3rd, 11th."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
