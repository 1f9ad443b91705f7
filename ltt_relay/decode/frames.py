# SPDX-License-Identifier: GPL-2.0-or-later
"""From raw columns to pandas frames and Arrow tables that share their memory."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from ltt_relay.decode.batch import Output
from ltt_relay.decode.names import Names
from ltt_relay.decode.plan import Column
from ltt_relay.formats.layout import Scalar

__all__ = ("UTC_TIME", "arrow_table", "dtype_text", "event_frame")

UTC_TIME: Final = pd.DatetimeTZDtype("ns", "UTC")
_TEXT: Final = pd.StringDtype("pyarrow", na_value=np.nan)


def _time(array: np.ndarray, offset: int, utc: bool) -> Any:
    if not utc:
        return array
    array += offset
    index: Any = pd.DatetimeIndex(array.view("M8[ns]"), copy=False)
    return index.tz_localize("UTC").array


def categorical(codes: np.ndarray, names: list[str]) -> pd.Categorical:
    """Return codes as a categorical that shares them; -1 is missing."""
    dtype: Any = pd.CategoricalDtype(names)
    made: pd.Categorical = pd.Categorical.from_codes(codes, dtype=dtype, validate=False)
    return made


def text_array(chunks: pa.ChunkedArray) -> Any:
    """Return Arrow text as pandas' str array, without a copy."""
    dtype: Any = _TEXT
    return dtype.__from_arrow__(chunks)


def _enum(values: np.ndarray, scalar: Scalar) -> pd.Categorical:
    """Codes of an enum; a value without a name is missing."""
    named = scalar.names or {}
    keys = np.array(sorted(named), np.int64)
    wide = values.astype(np.int64)
    places = np.searchsorted(keys, wide).clip(0, max(keys.size - 1, 0))
    codes = np.where(keys[places] == wide, places, -1).astype(np.int8 if keys.size < 128 else np.int16)
    return categorical(codes, [named[int(key)] for key in keys])


def _chunked(chunks: list[pa.Array], kind: pa.DataType) -> pa.ChunkedArray:
    return pa.chunked_array(chunks, kind)


def _payload(output: Output, column: Column, names: Names) -> Any:
    if column.kind in {"int", "flags"}:
        return output.arrays[column.name]
    if column.kind == "enum":
        assert isinstance(column.member.kind, Scalar)
        return _enum(output.arrays[column.name], column.member.kind)
    if column.kind == "name":
        return categorical(output.arrays[column.name], names.tables[column.table].names)
    chunks = output.chunks.get(column.name, [])
    if column.kind == "text":
        return text_array(_chunked(chunks, pa.large_string()))
    kind = pa.large_binary() if column.kind == "bytes" else pa.list_(_item(column))
    return pd.arrays.ArrowExtensionArray(_chunked(chunks, kind))


def _item(column: Column) -> pa.DataType:
    item = getattr(column.member.kind, "item", None)
    return pa.int64() if item is not None and item.signed else pa.uint64()


def event_frame(
    output: Output, columns: tuple[Column, ...], base: tuple[str, ...], names: Names, offset: int, utc: bool
) -> pd.DataFrame:
    """Return the frame of one event; it owns the arrays of `output`."""
    data: dict[str, Any] = {}
    for name in base:
        array = output.arrays[name]
        if name == "timestamp":
            data[name] = _time(array, offset, utc)
        elif name == "tid":
            data[name] = pd.arrays.IntegerArray(array, array < 0)
        elif name == "comm":
            data[name] = categorical(array, names.tables[0].names)
        else:
            data[name] = array
    for column in columns:
        data[column.name] = _payload(output, column, names)
    return pd.DataFrame(data, copy=False)


def arrow_table(
    output: Output, columns: tuple[Column, ...], base: tuple[str, ...], names: Names, offset: int, utc: bool
) -> pa.Table:
    """Return the same as an Arrow table."""
    data: dict[str, Any] = {}
    for name in base:
        array = output.arrays[name]
        if name == "timestamp":
            data[name] = pa.array(array + offset, pa.timestamp("ns", "UTC")) if utc else pa.array(array)
        elif name == "tid":
            data[name] = pa.array(array, mask=array < 0)
        elif name == "comm":
            data[name] = _dictionary(array, names.tables[0].names)
        else:
            data[name] = pa.array(array)
    for column in columns:
        if column.kind in {"int", "flags"}:
            data[column.name] = pa.array(output.arrays[column.name])
        elif column.kind == "name":
            data[column.name] = _dictionary(output.arrays[column.name], names.tables[column.table].names)
        elif column.kind == "enum":
            categorical = _payload(output, column, names)
            data[column.name] = _dictionary(categorical.codes, list(categorical.categories))
        elif column.kind == "text":
            data[column.name] = _chunked(output.chunks.get(column.name, []), pa.large_string())
        elif column.kind == "bytes":
            data[column.name] = _chunked(output.chunks.get(column.name, []), pa.large_binary())
        else:
            data[column.name] = _chunked(output.chunks.get(column.name, []), pa.list_(_item(column)))
    return pa.table(data)


def _dictionary(codes: np.ndarray, names: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(names, pa.string()))


def dtype_text(column: Column) -> str:
    """Return the pandas dtype that a payload column has."""
    match column.kind:
        case "int" | "flags":
            return str(column.dtype)
        case "enum" | "name":
            return "category"
        case "text":
            return "str"
        case "bytes":
            return "large_binary[pyarrow]"
        case _:
            return f"list<item: {_item(column)}>[pyarrow]"
