# SPDX-License-Identifier: GPL-2.0-or-later
"""From raw columns to pandas frames and Arrow tables that share their memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from ltt_relay.decode.batch import Output, Selection
from ltt_relay.decode.names import Names
from ltt_relay.decode.plan import Column
from ltt_relay.decode.variable import VARIABLE, arrow_type

__all__ = ("UTC_TIME", "arrow_table", "dtype_text", "event_frame", "table")

UTC_TIME: Final = pd.DatetimeTZDtype("ns", "UTC")
_TEXT: Final = pd.StringDtype("pyarrow", na_value=np.nan)


def time_array(array: np.ndarray, utc: bool) -> Any:
    """Return times that share the array's memory."""
    return pd.DatetimeIndex(array, dtype=UTC_TIME, copy=False).array if utc else array


def categorical(codes: np.ndarray, dtype: pd.CategoricalDtype) -> pd.Categorical:
    """Return codes as a categorical that shares them; -1 is missing."""
    made: pd.Categorical = pd.Categorical.from_codes(codes, dtype=dtype, validate=False)
    return made


def text_array(chunks: pa.ChunkedArray) -> Any:
    """Return Arrow text as pandas' str array, without a copy."""
    dtype: Any = _TEXT
    return dtype.__from_arrow__(chunks)


def _payload(output: Output, column: Column, names: Names) -> Any:
    if column.kind in VARIABLE:
        found = output.variable[column.name]
        return text_array(found) if column.kind == "text" else pd.arrays.ArrowExtensionArray(found)
    array = output.arrays[column.name]
    if column.kind == "enum":
        return categorical(array, column.categories)
    if column.kind == "name":
        return categorical(array, names.tables[column.table].categories)
    return pd.arrays.IntegerArray(array, output.masks[column.name]) if column.optional else array


def event_frame(output: Output, selection: Selection, names: Names, utc: bool) -> pd.DataFrame:
    """Return the frame of one event; it owns the arrays of `output`."""
    data: dict[str, Any] = {}
    kind = output.plan.kind
    for name in selection.base[kind]:
        array = output.arrays[name]
        if name == "timestamp":
            data[name] = time_array(array, utc)
        elif name == "tid":
            data[name] = pd.arrays.IntegerArray(array, output.masks[name])
        elif name == "comm":
            data[name] = categorical(array, names.tables[0].categories)
        else:
            data[name] = array
    for column in selection.columns[kind]:
        data[column.name] = _payload(output, column, names)
    return pd.DataFrame(data, index=None if data else pd.RangeIndex(output.rows), copy=False)


def arrow_table(output: Output, selection: Selection, names: Names, utc: bool) -> pa.Table:
    """Return the same as an Arrow table."""
    data: dict[str, Any] = {}
    kind = output.plan.kind
    for name in selection.base[kind]:
        array = output.arrays[name]
        if name == "timestamp":
            data[name] = pa.array(array, pa.timestamp("ns", "UTC") if utc else pa.int64())
        elif name == "comm":
            data[name] = _dictionary(array, names.tables[0].names)
        else:
            data[name] = pa.array(array, mask=output.masks.get(name))
    for column in selection.columns[kind]:
        if column.kind in VARIABLE:
            data[column.name] = output.variable[column.name]
            continue
        array = output.arrays[column.name]
        if column.kind == "enum":
            data[column.name] = _dictionary(array, [name for _, name in column.enum])
        elif column.kind == "name":
            data[column.name] = _dictionary(array, names.tables[column.table].names)
        else:
            data[column.name] = pa.array(array, mask=output.masks.get(column.name))
    return pa.table(data)


def _dictionary(codes: np.ndarray, names: list[str]) -> pa.DictionaryArray:
    missing = codes < 0
    return pa.DictionaryArray.from_arrays(
        pa.array(codes, mask=missing if missing.any() else None), pa.array(names, pa.string())
    )  # fmt: skip


def table(rows: Sequence[Sequence[Any]], dtypes: Mapping[str, str]) -> pd.DataFrame:
    """Return rows as a frame that has the same dtypes if there are none."""
    return pd.DataFrame(rows, columns=list(dtypes)).astype(dict(dtypes))


def dtype_text(column: Column) -> str:
    """Return the pandas dtype that a payload column has."""
    match column.kind:
        case "int" | "flags":
            name = str(column.dtype)
            return name.replace("int", "Int").replace("u", "U") if column.optional else name
        case "enum" | "name":
            return "category"
        case "text":
            return "str"
        case "bytes":
            return "large_binary[pyarrow]"
        case _:
            return f"{arrow_type(column)}[pyarrow]"
