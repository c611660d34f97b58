"""Writing whole files: a crash at any moment leaves the old file or the new one, never a mixture and never half of one."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from npbert.errors import MissingFileError
from npbert.types import StrPath


@contextlib.contextmanager
def temporary_for(path: StrPath) -> Iterator[tuple[IO[bytes], Path]]:
    """Open a temporary file that is to be renamed to `path`. When the block ends well, its bytes are on the disk.

    It lies in the directory of `path`, because a rename happens in one step only within one file system. Its name begins with a
    dot and ends in `.tmp`, so that no reader takes it for a checkpoint. If the block raises, the file is removed.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise MissingFileError(f"{path}: the directory {target.parent} does not exist")
    temporary = target.parent / f".{target.name}.{os.urandom(6).hex()}.tmp"
    try:
        # Opened by hand rather than through tempfile, whose files nobody but their owner may read.
        with open(temporary, "xb") as file:
            yield file, temporary
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replacing(path: StrPath) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` when the block ends well. If the block raises, nothing has changed."""
    with temporary_for(path) as (file, temporary):
        yield file
    try:
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(Path(path).parent)


def write_text(path: StrPath, text: str) -> None:
    """Write a whole text file, in UTF-8."""
    with replacing(path) as file:
        file.write(text.encode("utf-8"))


def sync_directory(directory: Path) -> None:
    """Make renames and removals in `directory` survive a loss of power, where the system lets a directory be synced."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
