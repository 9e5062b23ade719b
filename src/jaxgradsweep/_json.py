"""Records as JSON and back without loss: values say how they are written, annotations how they are read."""

import contextlib
import dataclasses
import enum
import json
import math
import types
import typing
from collections.abc import Sequence
from typing import Any

import numpy as np

_NOT_FINITE = ("nan", "inf", "-inf")


def write(tree: dict[str, Any]) -> str:
    """Write an encoded record as strict JSON, which has no literal for a number that is not finite."""
    return json.dumps(tree, allow_nan=False)


def read(text: str | bytes, format: str, version: int) -> dict[str, Any]:
    """Read JSON and make sure that it is of this format and version.

    Raises:
        ValueError: It is not; the message says what it is instead.
    """
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the text is not valid JSON; was it cut short? ({error})") from error
    if not isinstance(tree, dict) or tree.get("format") != format:
        raise ValueError(f"the JSON is not a report of jaxgradsweep: it has no `format` that says {format!r}")
    if tree.get("version") != version:
        raise ValueError(f"the report has version {tree.get('version')!r}; this jaxgradsweep reads version {version}")
    return tree


def encode(value: Any) -> Any:
    """Turn records, enums, arrays and numbers into what JSON can hold.

    A number that is not finite becomes "nan", "inf" or "-inf". A text that reads like one of these, or that starts with
    an apostrophe, gets an apostrophe in front, so that the two cannot be mistaken for each other.
    """
    match value:
        case None | bool():
            return value
        case enum.Enum():
            return value.name
        case str():
            return f"'{value}" if value.startswith("'") or value in _NOT_FINITE else value
        case int() | np.integer():
            return int(value)
        case float() | np.floating():
            return float(value) if math.isfinite(value) else str(float(value))
        case np.ndarray():
            flat = value.ravel().view(value.real.dtype) if np.iscomplexobj(value) else value.ravel()
            return {"dtype": value.dtype.name, "shape": list(value.shape), "values": encode(flat.tolist())}
        case tuple() | list():
            return [encode(each) for each in value]
        case dict():
            return {key: encode(each) for key, each in value.items()}
        case _ if dataclasses.is_dataclass(value):
            return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise TypeError(f"a report cannot keep a {type(value).__name__} as JSON")


def decode(hint: Any, value: Any, where: str = "") -> Any:
    """Turn what `encode` made back into the type that `hint` names. `where` is the place in the JSON, for messages.

    Raises:
        ValueError: The value is of another kind, or a part of it is missing.
    """
    parts = typing.get_args(hint)
    origin = typing.get_origin(hint) or hint
    if origin in (typing.Union, types.UnionType):
        return _decode_union(parts, value, where)
    if getattr(hint, "array_type", hint) is np.ndarray:
        return _decode_array(value, where)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _decode_record(hint, value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(decode(parts[0] if parts else Any, each, f"{where}[{i}]") for i, each in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: decode(parts[1], each, f"{where}[{key!r}]") for key, each in value.items()}
    return _decode_scalar(hint, value, where)


def _decode_scalar(hint: Any, value: Any, where: str) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    text = isinstance(value, str)
    if hint is Any or (hint is type(None) and value is None) or (hint is bool and isinstance(value, bool)):
        return value
    if hint is int and number and isinstance(value, int):
        return value
    if hint is float and (number or (text and value in _NOT_FINITE)):
        return float(value)
    if hint is str and text and value not in _NOT_FINITE:
        return value.removeprefix("'")
    if isinstance(hint, enum.EnumType) and text and value in hint.__members__:
        return hint[value]
    shown = repr(value) if len(repr(value)) < 40 else f"a {type(value).__name__}"
    raise _damaged(where, f"is {shown} and not a {getattr(hint, '__name__', hint)}")


def _decode_union(options: Sequence[Any], value: Any, where: str) -> Any:
    *others, last = options
    for option in others:
        with contextlib.suppress(ValueError):
            return decode(option, value, where)
    return decode(last, value, where)


def _decode_array(value: Any, where: str) -> np.ndarray:
    try:
        values = [float(each) if isinstance(each, str) else each for each in value["values"]]
        dtype = np.dtype(value["dtype"])
        kept = np.finfo(dtype).dtype if dtype.kind == "c" else dtype  # a complex number is kept as two
        flat = np.array(values, dtype=kept)
        return (flat.view(dtype) if dtype.kind == "c" else flat).reshape(value["shape"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _damaged(where, f"is not an array ({type(error).__name__}: {error})") from error


def _decode_record(record: type, value: Any, where: str) -> Any:
    hints = typing.get_type_hints(record)
    if not isinstance(value, dict):
        raise _damaged(where, f"is a {type(value).__name__} and not a {record.__name__}")
    known = dataclasses.fields(record)
    added = {field.name for field in known if field.default is not dataclasses.MISSING}  # later than the oldest report
    fields = [field.name for field in known if field.name in value or field.name not in added]
    if missing := [name for name in fields if name not in value]:
        raise _damaged(_inside(where, missing[0]), "is missing")
    return record(**{name: decode(hints[name], value[name], _inside(where, name)) for name in fields})


def _inside(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _damaged(where: str, what: str) -> ValueError:
    return ValueError(f"the report is damaged: `{where}` {what}")
