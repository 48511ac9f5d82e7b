"""File contents on the volume, each stored once under its SHA-256."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

_SHA256 = re.compile(r"[0-9a-f]{64}")
# A multiple of 3, so that pieces of base64 can be joined.
PIECE_BYTES = 3 * 64 * 1024


class FileStore:
    """Contents below `files/`, unfinished ones in `tmp/`; what is not referenced may be removed at any time."""

    def __init__(self, folder: Path) -> None:
        """Make the folders and throw away what an earlier process did not finish.

        Args:
            folder: of the volume; nobody else writes there.
        """
        self._files, self._tmp = folder / "files", folder / "tmp"
        for path in (self._files, self._tmp):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync_folder(folder)
        for path in self._tmp.iterdir():
            path.unlink()

    def spool(self) -> IO[bytes]:
        """Open a file without a name for an upload that is not complete."""
        return tempfile.TemporaryFile(dir=self._tmp)

    def put(self, sha256: str, content: bytes | bytearray) -> None:
        """Store a content; when this returns it survives a power cut.

        Args:
            sha256: of the content, hexadecimal.
            content: what is stored.

        Raises:
            OSError: the volume is full or broken.
        """
        path = self._path(sha256)
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(self._files)
        if not (path.is_file() and path.stat().st_size == len(content)):
            handle, name = tempfile.mkstemp(dir=self._tmp)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                Path(name).rename(path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        # Also if it was there: an earlier attempt may have failed between rename and this.
        _sync_folder(path.parent)

    def pieces(self, sha256: str) -> Iterator[bytes]:
        """Read a content in pieces of PIECE_BYTES.

        Raises:
            OSError: it is not there, or (after the last piece) it is not what was stored.
        """
        digest = hashlib.sha256()
        with self._path(sha256).open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                digest.update(piece)
                yield piece
        if digest.hexdigest() != sha256:
            raise OSError(f"the content of {sha256} is damaged")

    def remove(self, sha256s: Iterable[str]) -> None:
        """Remove contents that nothing refers to."""
        for sha256 in sha256s:
            self._path(sha256).unlink(missing_ok=True)

    def all(self) -> set[str]:
        """List the contents that are there."""
        return {path.name for path in self._files.glob("??/*") if _SHA256.fullmatch(path.name)}

    def _path(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise ValueError("not a SHA-256")
        return self._files / sha256[:2] / sha256


def _sync_folder(folder: Path) -> None:
    """Make names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
