"""How many code tables a lossless WebP makes its decoder keep.

A file may give each block of its picture prefix codes of its own, up to 65,536 groups of five, and
libwebp keeps tables of all of them: 0.3 MB can need 380 MB and 6 MB a gigabyte. Encoders
write 2,600 groups at the most. How fine the blocks are stands behind the transforms, whose own
small pictures have to be walked to find it. Values of pixels are not needed for that, only how many
bits each takes. Format: RFC 9649, section 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MAX_GROUPS = 65_536

# Symbols of the transforms' pictures that are walked, at some 3 us each. Encoders make them of
# 16x16 blocks or larger: 156,000 pixels of a 40-megapixel picture.
MAX_WALKED = 250_000

# libwebp's tables of one group (vp8l_dec.c, kTableSize): entries without a colour cache, of 4 bytes
# each, and 0.7 kB beside them.
_TABLE_ENTRIES = 2_300 + 656
_ENTRY_BYTES = 4
_GROUP_BYTES = 700

_LENGTH_ORDER = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
# A code of repeated lengths: how often at least, and bits of how much more often.
_REPEATS = {16: (3, 2), 17: (3, 3), 18: (11, 7)}
_LITERALS, _LENGTHS, _DISTANCES = 256, 24, 40

_PREDICTOR, _COLOUR, _GREEN, _INDEXING = range(4)

# Bits of a code, as they come from the stream, give its symbol and length.
_Code = tuple[int, list[tuple[int, int]]]


class _TooLongError(Exception):
    """More than MAX_WALKED symbols before the size of the blocks."""


@dataclass(slots=True)
class _Bits:
    """Reads bits from the low end of each byte; behind the end there are zeros."""

    data: bytes
    at: int = 0
    walked: int = 0

    def peek(self, count: int) -> int:
        start = self.at >> 3
        window = int.from_bytes(self.data[start : start + 8], "little")
        return window >> (self.at & 7) & ((1 << count) - 1)

    def take(self, count: int) -> int:
        value = self.peek(count)
        self.at += count
        return value

    def symbol(self, code: _Code) -> int:
        width, table = code
        value, length = table[self.peek(width)]
        self.at += length
        return value


def table_bytes(stream: bytes, width: int, height: int) -> int:
    """The most that libwebp keeps for the code tables of a stream.

    Args:
        stream: behind its size, that is from the first transform on.
        width, height: pixels of the picture.
    """
    try:
        groups, cache_bits = _groups(_Bits(stream), width, height)
    except (_TooLongError, IndexError):
        # IndexError: a code that is not one; libwebp will not decode it either.
        groups, cache_bits = MAX_GROUPS, 11
    cache = 1 << cache_bits if cache_bits else 0
    return groups * (_ENTRY_BYTES * (_TABLE_ENTRIES + cache) + _GROUP_BYTES)


def _groups(bits: _Bits, width: int, height: int) -> tuple[int, int]:
    """At most so many groups of codes, and the bits of the colour cache."""
    seen = set[int]()
    while bits.take(1):
        transform = bits.take(2)
        if transform in seen:
            raise IndexError("a transform comes twice")
        seen.add(transform)
        if transform in (_PREDICTOR, _COLOUR):
            side = 1 << bits.take(3) + 2
            _walk(bits, math.ceil(width / side) * math.ceil(height / side))
        elif transform == _INDEXING:
            colours = bits.take(8) + 1
            _walk(bits, colours)
            packed = next(
                2**n for n, most in ((3, 2), (2, 4), (1, 16), (0, 256)) if colours <= most
            )
            width = math.ceil(width / packed)
    cache_bits = _cache_bits(bits)
    if not bits.take(1):
        return 1, cache_bits
    side = 1 << bits.take(3) + 2
    return min(MAX_GROUPS, math.ceil(width / side) * math.ceil(height / side)), cache_bits


def _cache_bits(bits: _Bits) -> int:
    count = bits.take(4) if bits.take(1) else 0
    if count > 11:
        raise IndexError("a colour cache of more than 11 bits")
    return count


def _walk(bits: _Bits, pixels: int) -> None:
    """Go behind a picture of one group of codes."""
    cache_bits = _cache_bits(bits)
    cached = 1 << cache_bits if cache_bits else 0
    alphabets = (_LITERALS + _LENGTHS + cached, _LITERALS, _LITERALS, _LITERALS, _DISTANCES)
    green, red, blue, alpha, distance = (_code(bits, size) for size in alphabets)
    if green[0] == red[0] == blue[0] == alpha[0] == 0 and green[1][0][0] < _LITERALS:
        return  # all pixels are the same and take no bits
    while pixels > 0:
        bits.walked += 1
        if bits.walked > MAX_WALKED:
            raise _TooLongError
        symbol = bits.symbol(green)
        if symbol < _LITERALS:
            for code in (red, blue, alpha):
                bits.symbol(code)
            pixels -= 1
        elif symbol < _LITERALS + _LENGTHS:
            pixels -= _prefixed(bits, symbol - _LITERALS)
            _prefixed(bits, bits.symbol(distance))
        else:
            pixels -= 1


def _prefixed(bits: _Bits, symbol: int) -> int:
    """A length or a distance, whose lower bits follow its symbol."""
    if symbol < 4:
        return symbol + 1
    extra = symbol - 2 >> 1
    return (2 + (symbol & 1) << extra) + bits.take(extra) + 1


def _code(bits: _Bits, alphabet: int) -> _Code:
    lengths = [0] * alphabet
    if bits.take(1):
        two, wide = bits.take(1), bits.take(1)
        lengths[bits.take(8 if wide else 1)] = 1
        if two:
            lengths[bits.take(8)] = 1
        return _table(lengths)
    of_lengths = [0] * len(_LENGTH_ORDER)
    for place in range(bits.take(4) + 4):
        of_lengths[_LENGTH_ORDER[place]] = bits.take(3)
    code = _table(of_lengths)
    most = 2 + bits.take(2 + 2 * bits.take(3)) if bits.take(1) else alphabet
    symbol, before = 0, 8
    while symbol < alphabet and most > 0:
        most -= 1
        length = bits.symbol(code)
        if length < 16:
            lengths[symbol] = length
            before = length or before
            symbol += 1
            continue
        least, extra = _REPEATS[length]
        count = least + bits.take(extra)
        if symbol + count > alphabet:
            raise IndexError("more lengths than symbols")
        if length == 16:
            lengths[symbol : symbol + count] = [before] * count
        symbol += count
    return _table(lengths)


def _table(lengths: list[int]) -> _Code:
    """All values that the next bits can have; a code of one symbol takes no bits.

    Raises:
        IndexError: no prefix code has these lengths.
    """
    used = [symbol for symbol, length in enumerate(lengths) if length]
    if len(used) == 1:
        return 0, [(used[0], 0)]
    width = max(lengths)
    if sum(1 << width - lengths[symbol] for symbol in used) != 1 << width:
        raise IndexError("the code is not complete")
    table = [(0, 0)] * (1 << width)
    value, before = 0, 0
    for symbol in sorted(used, key=lambda item: (lengths[item], item)):
        length = lengths[symbol]
        value <<= length - before
        before = length
        reverse = int(f"{value:0{length}b}"[::-1], 2)
        table[reverse :: 1 << length] = [(symbol, length)] * (1 << width - length)
        value += 1
    return width, table
