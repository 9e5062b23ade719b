"""What one check leaves for the next: compiled code, kept as long as the functions live that it belongs to.

A program is found again by the identity of the user's functions. Keys and programs refer to these weakly, so that a
function that nobody else holds goes with all that was compiled for it; a bound on their number takes the rest.
"""

import collections
import dataclasses
import functools
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import jax

from jaxgradsweep._tree import Layout, Same

# A function of arrays that many programs hold: traced once for each shape, and put among the operations of its callers.
traced_once = functools.partial(jax.jit, inline=True)
MOST = 64  # of one kind: the least recently used goes


class Weak(Same):
    """A value that is not kept alive, compared as `Same` compares; one that cannot be referred to weakly is held."""

    def __init__(self, value: Any) -> None:
        try:
            reference, held = (weakref.WeakMethod(value) if is_method(value) else weakref.ref(value)), None
        except TypeError:  # a number, a string, a container
            reference, held = None, value
        vars(self).update(reference=reference, held=held, hash=hash(Same(value)))

    @property
    def value(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The value; None where it is gone."""
        reference = vars(self)["reference"]
        return vars(self)["held"] if reference is None else reference()

    @property
    def gone(self) -> bool:
        """Whether the value does not exist any more."""
        return vars(self)["reference"] is not None and self.value is None

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Weak) or hash(self) != hash(other):
            return False
        return not self.gone and not other.gone and Same(self.value) == Same(other.value)

    def __hash__(self) -> int:
        return vars(self)["hash"]

    def when_gone(self, then: Callable[[], None]) -> Any:
        """Call something when the value is gone, as long as what is returned is kept."""
        value = self.value
        try:
            return weakref.ref(value.__self__ if is_method(value) else value, lambda _: then())
        except TypeError:
            return None


def is_method(value: Any) -> bool:
    """Whether a value is a bound method: a new object at each access."""
    return hasattr(value, "__func__") and hasattr(value, "__self__")


def weakened(key: Any) -> Any:
    """A key that keeps no function and no array alive."""
    if isinstance(key, Weak):
        return key
    if isinstance(key, Same):
        return Weak(key.value)
    if isinstance(key, tuple):
        return tuple(weakened(part) for part in key)
    if isinstance(key, Layout):
        return dataclasses.replace(key, statics=weakened(key.statics))
    return getattr(key, "weak", key)


def roots_of(key: Any) -> list[Weak]:
    """The functions whose end is the end of what is kept under a key."""
    if isinstance(key, Weak):
        return [key]
    if isinstance(key, tuple):
        return [root for part in key for root in roots_of(part)]
    return list(getattr(key, "roots", ()))


class Key:
    """A weakened key that knows its hash, so that it can be removed when all else is gone."""

    def __init__(self, parts: tuple[Any, ...]) -> None:
        self.parts, self.hash = parts, hash(parts)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Key) and self.hash == other.hash and self.parts == other.parts)

    def __hash__(self) -> int:
        return self.hash


def kept(build: Callable[..., Any]) -> Callable[..., Any]:
    """`build`, called once for each key; it gets the weakened key, and its result must hold no more than that."""
    entries: collections.OrderedDict[Key, tuple[Any, list[Any]]] = collections.OrderedDict()
    lock = threading.RLock()  # a collection of garbage may call `forget` at any time, in any thread

    def forget(key: Key) -> None:
        if sys is None or sys.is_finalizing():  # nothing is to be compared any more
            return
        with lock:
            entries.pop(key, None)

    @functools.wraps(build)
    def find(*parts: Any) -> Any:
        key = Key(weakened(parts))
        with lock:
            if key in entries:
                entries.move_to_end(key)
                return entries[key][0]
        value = build(*key.parts)
        with lock:
            entries[key] = value, [root.when_gone(functools.partial(forget, key)) for root in roots_of(key.parts)]
            while len(entries) > MOST:
                entries.popitem(last=False)
        return value

    find.entries = entries  # type: ignore[attr-defined]
    return find


def fields_weakened(record: Any) -> Any:
    """A frozen dataclass with every field weakened."""
    fields = {field.name: weakened(getattr(record, field.name)) for field in dataclasses.fields(record)}
    return dataclasses.replace(record, **fields)
