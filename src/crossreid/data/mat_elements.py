"""The elements of a MATLAB file of version 5 to 7, followed and checked before SciPy reads any.

SciPy's reader takes the type and the length of an element as indices and sizes in C: a damaged file can end the process without a
message. So what is to be read is walked over here first: tags, types, dimensions and lengths must fit each other.
Format: MathWorks, "MAT-File Format", level 5.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

HEADER = 128  # bytes, of which the last four are the version and the order of bytes
DEPTH = 20  # cells within cells; SYSU-MM01's lists have two
_SIZES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}  # bytes of a number, by its type in the file
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED, _UTF8 = 1, 5, 6, 14, 15, 16
_OF_TEXT = (1, 2, 4, _UTF8, 17, 18)
_CELL, _TEXT, _NUMBERS, _OPAQUE = 1, 4, range(6, 16), 17
_KINDS = {2: "a structure", 3: "an object", 5: "a sparse matrix", 16: "a function", 17: "an object"}
_START = 4096  # bytes of a compressed variable that hold its name
Order = Literal["<", ">"]


@dataclass(frozen=True)
class Variable:
    """A variable as it lies in the file: its name, and what a file of it alone has behind the header."""

    name: str
    order: Order
    element: memoryview
    compressed: bool

    def content(self) -> bytes:
        """Its element, uncompressed and checked: numbers, text, or cells of such.

        Raises:
            ValueError: it is damaged, or of another kind.
            zlib.error: it is damaged.
        """
        whole = _inflated(self.element, self.order) if self.compressed else bytes(self.element)
        walk = _Walk(memoryview(whole), self.order)
        walk.matrix(0)
        if walk.position < len(whole):
            raise ValueError("a variable is longer than what it holds")
        return whole


def variables(content: bytes) -> Iterator[Variable]:
    """The variables of a file of version 5 to 7, in its order.

    Raises:
        ValueError: it is of no such version, or damaged.
        zlib.error: it is damaged.
    """
    order = order_of(content)
    view, position = memoryview(content), HEADER
    while position < len(view):
        kind, size = _tag(view, position, order)
        end = position + 8 + size
        if kind not in (_MATRIX, _COMPRESSED) or size == 0 or end > len(view):
            raise ValueError(f"no variable at byte {position:,}")
        compressed = kind == _COMPRESSED
        element = view[position + 8 : end] if compressed else view[position:end]
        start = memoryview(zlib.decompressobj().decompress(element, _START)) if compressed else element
        yield Variable(_Walk(start, order).name(), order, element, compressed)
        position = end


def order_of(content: bytes) -> Order:
    """The order of bytes that a file's header gives. Raises `ValueError` where it is not of version 5 to 7."""
    mark = content[124:HEADER]
    if mark == b"\x00\x01IM":
        return "<"
    if mark == b"\x01\x00MI":
        return ">"
    raise ValueError("its header is of no known version")


class _Walk:
    """A position in an element, which goes on as SciPy's does."""

    def __init__(self, content: memoryview, order: Order) -> None:
        self.content, self.order, self.position = content, order, 0

    def name(self) -> str:
        """The name of the variable that begins here."""
        self._begin()
        kind, _ = self._flags()
        if kind != _OPAQUE:
            self._dimensions()
        return self._name()

    def matrix(self, depth: int) -> None:
        """Pass a matrix of numbers, text or cells; raises `ValueError` where it is none, or damaged."""
        end = self._begin()
        if self.position == end:
            return
        if depth > DEPTH:
            raise ValueError(f"cells are nested more than {DEPTH} deep")
        kind, complex_ = self._flags()
        count = math.prod(self._dimensions()) if kind != _OPAQUE else 0
        self._name()
        if kind == _CELL:
            if count > (end - self.position) // 8:
                raise ValueError(f"{count:,} cells in {end - self.position:,} bytes")
            for _ in range(count):
                self.matrix(depth + 1)
        elif kind in _NUMBERS:
            for _ in range(1 + complex_):
                self._numbers(count)
        elif kind == _TEXT:
            coded, content = self._element()
            if coded not in _OF_TEXT or len(content) < count:
                raise ValueError(f"{len(content):,} bytes of type {coded} for {count:,} characters")
        else:
            raise ValueError(f"it holds {_KINDS.get(kind, f'a class {kind}')}, expected numbers, text or cells of such")
        if self.position != end:
            raise ValueError("what a matrix holds is not as long as it says")

    def _begin(self) -> int:
        """Pass the tag of a matrix; returns where it ends."""
        kind, size = _tag(self.content, self.position, self.order)
        self.position += 8
        if kind != _MATRIX:
            raise ValueError(f"type {kind} where a matrix is expected")
        return self.position + size

    def _flags(self) -> tuple[int, bool]:
        """Class, and whether the numbers are complex."""
        kind, content = self._element()
        if kind != _UINT32 or len(content) != 8:
            raise ValueError("the flags of a matrix are damaged")
        flags: int = struct.unpack_from(f"{self.order}I", content)[0]
        return flags & 0xFF, bool(flags >> 11 & 1)

    def _dimensions(self) -> tuple[int, ...]:
        kind, content = self._element()
        if kind not in (_INT32, _UINT32) or len(content) % 4 or not 8 <= len(content) <= 4 * 32:
            raise ValueError("the dimensions of a matrix are damaged")
        dimensions = struct.unpack(f"{self.order}{len(content) // 4}i", content)
        if min(dimensions) < 0:
            raise ValueError(f"dimensions {dimensions}")
        return dimensions

    def _name(self) -> str:
        kind, content = self._element()
        if kind not in (_INT8, _UTF8):
            raise ValueError("the name of a matrix is damaged")
        return bytes(content).decode("ascii")

    def _numbers(self, count: int) -> None:
        kind, content = self._element()
        if kind not in _SIZES or len(content) != count * _SIZES[kind]:
            raise ValueError(f"{len(content):,} bytes of type {kind} for {count:,} numbers")

    def _element(self) -> tuple[int, memoryview]:
        """Pass an element that is no matrix; returns its type and its content. Four bytes or fewer may lie in the tag."""
        kind, size = _tag(self.content, self.position, self.order)
        start, small = self.position + 8, kind >> 16
        if small:
            start, kind, size = self.position + 4, kind & 0xFFFF, small
            if size > 4:
                raise ValueError("an element is damaged")
        content = self.content[start : start + size]
        if len(content) < size:
            raise ValueError("an element goes beyond the end")
        self.position = self.position + 8 if small else start + -(-size // 8) * 8
        return kind, content


def _tag(content: memoryview, position: int, order: Order) -> tuple[int, int]:
    """Type and length of the element at `position`."""
    if position + 8 > len(content):
        raise ValueError("an element goes beyond the end")
    kind, size = struct.unpack_from(f"{order}II", content, position)
    return kind, size


def _inflated(element: memoryview, order: Order) -> bytes:
    """What a compressed element holds: one matrix, of the length that it says and no more."""
    inflater = zlib.decompressobj()
    tag = inflater.decompress(element, 8)
    _, size = _tag(memoryview(tag), 0, order)
    content = tag + inflater.decompress(inflater.unconsumed_tail, max(size, 1))
    if inflater.decompress(inflater.unconsumed_tail, 1) or not inflater.eof or len(content) != 8 + size:
        raise ValueError("a compressed variable is not as long as it says")
    return content
