"""Files that are either whole or absent, written beside, flushed to disk, renamed; logs of whole lines.

Imports nothing of the project.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

# The folder that holds the packages and their configs/.
PROJECT = Path(__file__).resolve().parents[2]
_BLOCK_BYTES = 2**16


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write ``data`` to ``path`` so that a crash leaves the old file or the new one, never a part."""
    make_folder(path.parent)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def append_line(path: Path, line: bytes, *, mode: int = 0o600) -> None:
    """Add one line to a log and flush it; writers in other processes cannot interleave.

    A torn end, which a power cut left of a line that nobody was told is written, is cut off first.
    """
    make_folder(path.parent)
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, mode)
    with os.fdopen(descriptor, "r+b") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.truncate(_end_of_lines(stream))
        stream.seek(0, os.SEEK_END)
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())
    if is_new:
        sync_folder(path.parent)


def read_lines(path: Path) -> list[bytes]:
    """The whole lines of a log, without their newlines; a torn end was never acknowledged."""
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def _end_of_lines(stream: BinaryIO) -> int:
    """Where the last whole line ends, read from the end of the file."""
    end = stream.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _BLOCK_BYTES)
        stream.seek(start)
        newline = stream.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file that is there only while it is held; others, in any process, wait.

    Whoever has waited may hold a file that was removed meanwhile, and then tries again.
    """
    make_folder(path.parent, mode=0o700)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                break
        os.close(descriptor)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def make_folder(folder: Path, *, mode: int = 0o777) -> None:
    """Make a folder and those above it that are missing, each flushed to disk; ``mode`` is its own."""
    if folder.exists():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True, mode=mode)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
