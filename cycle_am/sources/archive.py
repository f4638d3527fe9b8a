"""ZIP archives as sources: their images in a folder of ours, which goes when nobody needs it any more."""

from __future__ import annotations

import shutil
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from cycle_am.errors import UserError
from cycle_am.sources.words import say

MEMBERS = 20_000
BYTES = 8 << 30  # of all members, unpacked
RATIO = 200  # unpacked to packed, of more than SMALL bytes: CT compresses to a half, padding to a hundredth
SMALL = 64 << 20
PIECE = 1 << 20
IMAGES = (".nii.gz", ".nii", ".mha", ".nrrd", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".npy")
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)


class Unpacked:
    """The DICOM files and images of an archive under numbers for names, in `folder`; removed with this object.

    Raises UserError where the archive is damaged, encrypted, holds archives, or more than it should.
    """

    def __init__(self, path: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cycle-am-"))
        self._remove = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        try:
            with zipfile.ZipFile(path) as archive:
                self.files = list(self._extract(archive))
        except UserError:
            self._remove()
            raise
        except DAMAGED as error:
            self._remove()
            kind = "encrypted" if "encrypted" in str(error) else "damaged or no ZIP"
            raise UserError(f"the archive is {kind}; unpack it and give its folder") from error

    def _extract(self, archive: zipfile.ZipFile) -> Iterator[Path]:
        members = [info for info in archive.infolist() if not info.is_dir() and not _is_hidden(info.filename)]
        _check(members, self.folder)
        left, passed_over = BYTES, 0
        for number, member in enumerate(members, 1):
            with archive.open(member) as file:
                head = file.read(132)
                ending = _ending(member.filename, head)
                if ending is None:
                    passed_over += 1
                    continue
                path = self.folder / f"{number:06d}{ending}"
                left -= _copy(head, file, path, left)
            yield path
        if passed_over:
            say(f"{passed_over} files of the archive are no images and left out")


def _is_hidden(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return "__MACOSX" in parts or parts[-1].startswith(".") or parts[-1].upper() == "DICOMDIR"


def _check(members: list[zipfile.ZipInfo], folder: Path) -> None:
    """Raise UserError before anything is written, by what the archive says of itself."""
    size, packed = (
        sum(getattr(member, name) for member in members) for name in ("file_size", "compress_size")
    )
    if len(members) > MEMBERS or size > BYTES:
        raise UserError(
            f"the archive holds {len(members)} files, {size >> 20} MB; at most {MEMBERS} and {BYTES >> 20} MB are "
            "unpacked: unpack it and give its folder"
        )
    if size > SMALL and size > RATIO * packed:
        raise UserError(
            f"the archive grows {size // max(packed, 1)} times when it is unpacked, as no images do; it is refused"
        )
    if size > 0.9 * shutil.disk_usage(folder).free:
        raise UserError(f"the archive needs {size >> 20} MB for its files; make room, or set TMPDIR")
    if any(member.filename.lower().endswith(".zip") for member in members):
        raise UserError("the archive holds another archive; unpack it and give its folder")


def _ending(name: str, head: bytes) -> str | None:
    """What the file is called at its end, None where it is no image."""
    if head[:4] == b"PK\x03\x04":
        raise UserError("the archive holds another archive; unpack it and give its folder")
    if head[128:] == b"DICM" or name.lower().endswith(".dcm"):
        return ".dcm"
    return next((ending for ending in IMAGES if name.lower().endswith(ending)), None)


def _copy(head: bytes, file: IO[bytes], path: Path, left: int) -> int:
    """Write what an archive's member really holds, at most `left` bytes; returns how many those are."""
    count = 0
    with path.open("xb") as target:
        piece = head
        while piece:
            count += len(piece)
            if count > left:
                raise UserError("the archive holds more than it says; it is refused")
            target.write(piece)
            piece = file.read(PIECE)
    return count
