# SPDX-License-Identifier: GPL-2.0-or-later
# Numba gives integers one type of 64 bits, where mypy tells int and NumPy's apart.
# mypy: disable-error-code="assignment,arg-type,return-value"
"""Integers anywhere in a buffer, in either byte order, each by one load of the machine's.

NumPy arrays have no unaligned loads, and a loop over bytes is one only if the compiler sees through it, so these are
written in LLVM's terms. With NUMBA_BOUNDSCHECK=1 they index byte by byte instead, so that the check sees them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import llvmlite.ir
import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from ltt_relay.decode.compiled import inner

__all__ = (
    "SLACK", "at", "integer", "load16", "load32", "load64", "on_stack", "put", "store16", "store32", "store64",
    "swap16", "swap32", "swap64", "trailing_zeros",
)  # fmt: skip


#: Bytes behind the last packet of a buffer: kernels read and copy 8 bytes at a time, and may look beyond a payload.
SLACK: Final = 64


def _loader(bits: int, swapped: bool) -> Callable[[np.ndarray, int], Any]:
    """Return a function of (uint8 array, place) that Numba can call: an unsigned integer of so many bits."""
    if numba.config.BOUNDSCHECK:
        size = bits // 8

        def by_bytes(array: np.ndarray, at: int) -> np.uint64:
            value = np.uint64(0)
            for i in range(size):
                byte = np.uint64(array[at + i])
                value |= byte << np.uint64(8 * (size - 1 - i if swapped else i))
            return value

        return numba.njit(nogil=True)(by_bytes)  # type: ignore[no-any-return]

    def load(typing: Any, array: Any, at: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            place = builder.gep(data, [arguments[1]])
            kind = llvmlite.ir.IntType(bits)
            value = builder.load(builder.bitcast(place, kind.as_pointer()), align=1)
            return builder.bswap(value) if swapped else value

        return types.Integer.from_bitwidth(bits, signed=False)(array, types.int64), code

    return intrinsic(load)  # type: ignore[no-any-return]


load16, load32, load64 = (_loader(bits, swapped=False) for bits in (16, 32, 64))
swap16, swap32, swap64 = (_loader(bits, swapped=True) for bits in (16, 32, 64))


def _storer(bits: int) -> Callable[[np.ndarray, int, Any], None]:
    """Return a function of (uint8 array, place, value) that Numba can call: store an integer of so many bits."""
    if numba.config.BOUNDSCHECK:
        size = bits // 8

        def by_bytes(array: np.ndarray, at: int, value: np.uint64) -> None:
            for i in range(size):
                array[at + i] = np.uint8((np.uint64(value) >> np.uint64(8 * i)) & np.uint64(0xFF))

        return numba.njit(nogil=True)(by_bytes)  # type: ignore[no-any-return]

    def store(typing: Any, array: Any, at: Any, value: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            place = builder.gep(data, [arguments[1]])
            builder.store(arguments[2], builder.bitcast(place, llvmlite.ir.IntType(bits).as_pointer()), align=1)
            return context.get_dummy_value()

        return types.void(array, types.int64, types.Integer.from_bitwidth(bits, signed=False)), code

    return intrinsic(store)  # type: ignore[no-any-return]


store16, store32, store64 = (_storer(bits) for bits in (16, 32, 64))


@intrinsic  # type: ignore[untyped-decorator]
def _at(typing: Any, array: Any, i: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.load(builder.gep(data, [arguments[1]]))

    return array.dtype(array, types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def _put(typing: Any, array: Any, i: Any, value: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        builder.store(arguments[2], builder.gep(data, [arguments[1]]))
        return context.get_dummy_value()

    return types.void(array, types.int64, array.dtype), code


@intrinsic  # type: ignore[untyped-decorator]
def trailing_zeros(typing: Any, value: Any) -> Any:
    """Return how many bits below the lowest that is set are not, of an integer of 64 bits that is not 0."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], llvmlite.ir.Constant(llvmlite.ir.IntType(1), 1))

    return types.uint64(types.uint64), code


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def on_stack(typing: Any, size: Any) -> Any:
    """Return an array of `size` (a constant) int64, filled with anything, that is there until the caller returns."""
    if not isinstance(size, types.IntegerLiteral):
        return None
    kind = types.Array(types.int64, 1, "C")

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = llvmlite.ir.IntType(64)
        data = cgutils.alloca_once(builder, word, size=size.literal_value)
        array = context.make_array(kind)(context, builder)
        populate_array(
            array, data=data, shape=[word(size.literal_value)], strides=[word(8)], itemsize=word(8), meminfo=None
        )  # fmt: skip
        return array._getvalue()

    return kind(size), code


def _checked_at(array: np.ndarray, i: int) -> Any:
    return array[i]


def _checked_put(array: np.ndarray, i: int, value: Any) -> None:
    array[i] = value


#: array[i] and array[i] = value for an array of integers and i >= 0: without NumPy's look at negative places.
at: Any = numba.njit(nogil=True)(_checked_at) if numba.config.BOUNDSCHECK else _at
put: Any = numba.njit(nogil=True)(_checked_put) if numba.config.BOUNDSCHECK else _put


@inner
def integer(buf8: np.ndarray, at: int, size: int, signed: bool, big: bool) -> int:
    """Return the integer of 1, 2, 4 or 8 bytes at `at`; one of 8 without a sign may come out negative."""
    if size == 1:
        value = np.int64(buf8[at])
    elif size == 2:
        value = np.int64(swap16(buf8, at) if big else load16(buf8, at))
    elif size == 4:
        value = np.int64(swap32(buf8, at) if big else load32(buf8, at))
    else:
        value = np.int64(swap64(buf8, at) if big else load64(buf8, at))
    if signed and size < 8:
        shift = 64 - 8 * size
        value = (value << shift) >> shift
    return value
