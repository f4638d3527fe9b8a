"""Pictures of equal length: how well one compresses would tell which method made it.

A PNG file is lengthened within its pixels' own stream, by empty blocks that every reader skips: it holds nothing but
pixels afterwards too, and the same ones.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection

HEAD = 8 + 25  # bytes before the first IDAT in a file of IHDR, IDAT and IEND: signature and IHDR
STEP = 4096
EMPTY_BLOCK = b"\x00\x00\x00\xff\xff"  # deflate: stored, not the last, of length 0
EMPTY_CHUNK = struct.pack(">I4sI", 0, b"IDAT", zlib.crc32(b"IDAT"))
#: From here on every number is a sum of both lengths, with at most four chunks.
SURELY = (len(EMPTY_BLOCK) - 1) * len(EMPTY_CHUNK)


def common_size(sizes: Collection[int]) -> int:
    """The length in bytes to which files of these lengths can all be brought; theirs where they are alike."""
    if len(set(sizes)) <= 1:
        return max(sizes, default=0)
    return -(-(max(sizes) + SURELY) // STEP) * STEP


def padded(png: bytes, size: int) -> bytes:
    """The same picture in `size` bytes (of :func:`common_size`); as it is where it has them.

    Raises:
        ValueError: for anything but a PNG file whose pixels follow its header, as this tool writes them.
    """
    missing = size - len(png)
    if not missing:
        return png
    length, kind = struct.unpack(">I4s", png[HEAD : HEAD + 8])
    if kind != b"IDAT" or length < 2:
        raise ValueError("no PNG file of nothing but pixels")
    chunks, blocks = _parts(missing)
    start, end = HEAD + 8, HEAD + 8 + length
    # The first two bytes are zlib's own header.
    body = b"IDAT" + png[start : start + 2] + blocks * EMPTY_BLOCK + png[start + 2 : end]
    first = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:HEAD] + first + chunks * EMPTY_CHUNK + png[end + 4 :]


def _parts(missing: int) -> tuple[int, int]:
    """How many empty chunks and blocks make up so many bytes."""
    left = {n: missing - n * len(EMPTY_CHUNK) for n in range(len(EMPTY_BLOCK))}
    chunks = next(n for n, rest in left.items() if rest % len(EMPTY_BLOCK) == 0)
    return chunks, left[chunks] // len(EMPTY_BLOCK)
