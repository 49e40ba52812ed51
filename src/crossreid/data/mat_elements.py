"""The elements of a MATLAB file of version 5 to 7, walked through and checked before SciPy reads any.

SciPy's reader uses the type and the length of an element as indices and sizes in C: a damaged file can kill the process
without a message. So the elements are first walked through here: tags, types, dimensions and lengths must be
consistent. Format: MathWorks, "MAT-File Format", level 5.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

HEADER = 128  # bytes, of which the last four are the version and the byte order
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
    """A variable as stored in the file: its name, and the bytes after the header of a file with only this variable."""

    name: str
    order: Order
    element: memoryview
    compressed: bool

    def content(self) -> bytes:
        """Return its element, uncompressed and checked: numbers, text, or cells of these.

        Raises:
            ValueError: it is damaged, or of another kind.
            zlib.error: it is damaged.
        """
        whole = _inflated(self.element, self.order) if self.compressed else bytes(self.element)
        walk = _Walk(memoryview(whole), self.order)
        walk.matrix(0)
        if walk.position < len(whole):
            raise ValueError("a variable is longer than its content")
        return whole


def variables(content: bytes) -> Iterator[Variable]:
    """Yield the variables of a file of version 5 to 7, in file order.

    Raises:
        ValueError: it has another version, or is damaged.
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
    """Return the byte order in a file's header. Raises `ValueError` if it is not of version 5 to 7."""
    mark = content[124:HEADER]
    if mark == b"\x00\x01IM":
        return "<"
    if mark == b"\x01\x00MI":
        return ">"
    raise ValueError("its header has an unknown version")


class _Walk:
    """A position in an element, which advances as SciPy's does."""

    def __init__(self, content: memoryview, order: Order) -> None:
        self.content, self.order, self.position = content, order, 0

    def name(self) -> str:
        """Return the name of the variable that starts here."""
        self._begin()
        kind, _ = self._flags()
        if kind != _OPAQUE:
            self._dimensions()
        return self._name()

    def matrix(self, depth: int) -> None:
        """Skip a matrix of numbers, text or cells; raises `ValueError` if it is something else, or damaged."""
        end = self._begin()
        if self.position == end:
            return
        if depth > DEPTH:
            raise ValueError(f"cells are nested more than {DEPTH} levels deep")
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
            raise ValueError(
                f"it holds {_KINDS.get(kind, f'a class {kind}')}, expected numbers, text or cells of these"
            )
        if self.position != end:
            raise ValueError("a matrix does not have the length that it states")

    def _begin(self) -> int:
        """Skip the tag of a matrix, and return where the matrix ends."""
        kind, size = _tag(self.content, self.position, self.order)
        self.position += 8
        if kind != _MATRIX:
            raise ValueError(f"type {kind} instead of a matrix")
        return self.position + size

    def _flags(self) -> tuple[int, bool]:
        """Return the class, and whether the numbers are complex."""
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
        """Skip an element other than a matrix; return its type and content. Up to four bytes may be in the tag."""
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
    """Return type and length of the element at `position`."""
    if position + 8 > len(content):
        raise ValueError("an element goes beyond the end")
    kind, size = struct.unpack_from(f"{order}II", content, position)
    return kind, size


def _inflated(element: memoryview, order: Order) -> bytes:
    """Decompress an element: one matrix, of exactly the length that it states."""
    inflater = zlib.decompressobj()
    tag = inflater.decompress(element, 8)
    _, size = _tag(memoryview(tag), 0, order)
    content = tag + inflater.decompress(inflater.unconsumed_tail, max(size, 1))
    if inflater.decompress(inflater.unconsumed_tail, 1) or not inflater.eof or len(content) != 8 + size:
        raise ValueError("a compressed variable does not have the length that it states")
    return content
