"""The one place that writes files.

A crash at any moment leaves the old file or the new one, never a mixture and never half of one. Only regular files are
replaced, links are followed to what they point to, and pipes and devices are written into: `-o /dev/null` must not put a
regular file where the device was.

What is being written has a temporary name and a lock. A process that is killed leaves the file, but not the lock, behind: the
next one that writes the same file knows it by that, and removes it.
"""

from __future__ import annotations

import contextlib
import glob
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from npbert import checks
from npbert.errors import InputError, MissingFileError, WriteError
from npbert.types import StrPath

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there, and nothing removed
    fcntl = None  # type: ignore[assignment]


class Temporary(NamedTuple):
    """A file under a temporary name, held until it gets its own."""

    path: Path
    lock: int | None  # a descriptor; None where the system has no locks


@contextlib.contextmanager
def replacing(path: StrPath) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` when the block ends well. If the block raises, nothing has changed.

    A pipe, a character device or an open file (`/dev/stdout`) is opened itself: what the block writes goes straight into it.
    Nobody can go back in those, so write from beginning to end.
    """
    path = checks.path("path", path)
    with system_errors(path):
        if takes_bytes_as_they_come(path):
            with open(path, "wb") as stream:
                yield stream
            return
        with temporary_for(path) as (file, temporary):
            yield file
        put_in_place(temporary, path)


def write_bytes(path: StrPath, content: bytes) -> None:
    """Write a whole file."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: StrPath, text: str) -> None:
    """Write a whole text file, in UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def make_directory(path: StrPath) -> Path:
    """The directory at `path`, made with those above it if need be."""
    directory = Path(checks.path("directory", path))
    with system_errors(path):
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise InputError(f"directory {path} is, or lies in, a file") from None
    return directory


def text_at(path: Path) -> str | None:
    """The text of a file; None where there is none that can be read."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


class FilesTogether:
    """Files that belong together: each is written aside, and `put_in_place` gives them their names in the order of writing.

        with FilesTogether() as files:
            with files.opened(path) as file: ...
            files.put_in_place()

    If the block raises, what is still aside is removed.
    """

    def __init__(self) -> None:
        self._aside: list[tuple[Temporary, StrPath]] = []  # what is written, and the name that it is to have

    @contextlib.contextmanager
    def opened(self, path: StrPath) -> Iterator[IO[bytes]]:
        """Open the file that is to be at `path`."""
        with temporary_for(path) as (file, temporary):
            yield file
        self._aside.append((temporary, path))

    def put_in_place(self) -> None:
        """Replace the files, one after the other."""
        while self._aside:
            put_in_place(*self._aside.pop(0))

    def __enter__(self) -> FilesTogether:
        return self

    def __exit__(self, *_: object) -> None:
        for temporary, _path in self._aside:
            discard(temporary)


# ------------------------------------------------------------------------------------------------------------- underneath


@contextlib.contextmanager
def temporary_for(path: StrPath) -> Iterator[tuple[IO[bytes], Temporary]]:
    """Open a temporary file for `put_in_place` to move to `path`. When the block ends well, its bytes are on the disk.

    It lies beside the file that it will replace, because a rename happens in one step only within one file system. Its name
    says whose it is, begins with a dot and ends in `.tmp`, so that no reader takes it for a checkpoint. If the block raises, it
    is removed.
    """
    path = checks.path("path", path)
    with system_errors(path):
        target = regular_file(path)
        if not target.parent.is_dir():
            raise MissingFileError(f"{path}: the directory {target.parent} does not exist")
        start = f".{target.name[:40]}.npbert-"  # a name has 255 bytes at most
        remove_abandoned(target.parent, start)
        name = target.parent / f"{start}{os.urandom(6).hex()}.tmp"
        # Opened by hand rather than through tempfile, whose files nobody but their owner may read.
        with open(name, "xb") as file:
            temporary = Temporary(name, _locked(file.fileno()))
            try:
                if target.exists():
                    os.chmod(name, stat.S_IMODE(target.stat().st_mode))  # what was private stays private
                yield file, temporary
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                discard(temporary)
                raise


def put_in_place(temporary: Temporary, path: StrPath) -> None:
    """Give a temporary file the name `path`, in one step."""
    try:
        with system_errors(path):
            target = regular_file(path)
            os.replace(temporary.path, target)
            sync_directory(target.parent)
    finally:
        discard(temporary)


def discard(temporary: Temporary) -> None:
    """Let go of a temporary file, and remove it if it still has its temporary name."""
    if temporary.lock is not None:
        os.close(temporary.lock)
    temporary.path.unlink(missing_ok=True)


def remove_abandoned(directory: Path, start: str) -> None:
    """Remove the temporary files in a directory whose names begin like this, and whose process is gone."""
    for path in directory.glob(f"{glob.escape(start)}*.tmp") if fcntl is not None else ():
        if path.is_symlink() or not path.is_file():
            continue
        with contextlib.suppress(OSError):  # locked, or removed by somebody else
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(descriptor)


def _locked(descriptor: int) -> int | None:
    """A second descriptor of the same open file, which keeps it locked when the first one is closed."""
    if fcntl is not None:
        with contextlib.suppress(OSError):  # some file systems have no locks, and a process may have too many files open
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.dup(descriptor)
    return None


def regular_file(path: StrPath) -> Path:
    """The regular file that `path` means, or the one to be made there. Anything else, and a file that is read-only, is an
    error: replacing a file takes no permission to write it, so this has to be asked for."""
    target = Path(os.path.realpath(path))
    with system_errors(path):
        try:
            mode = os.stat(target).st_mode
        except FileNotFoundError:
            return target
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: takes the name of a file, but {kind_of(mode)} is there")
    if not os.access(target, os.W_OK):
        raise WriteError(f"{path}: cannot be written: the file is read-only")
    return target


def takes_bytes_as_they_come(path: StrPath) -> bool:
    """Whether `path` is a pipe, a character device, or another name of a file that is open already (`/dev/stdout`)."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or (stat.S_ISREG(mode) and _names_an_open_file(path))


def _names_an_open_file(path: StrPath) -> bool:
    """Whether `path` leads to a link such as /proc/self/fd/1, which the system keeps for every open file."""
    for _ in range(40):
        parent = os.path.realpath(os.path.dirname(path) or ".")
        if not os.path.islink(path):
            return False
        if parent.startswith("/proc/"):
            return True
        path = os.path.join(parent, os.readlink(path))
    return False


def kind_of(mode: int) -> str:
    """What a file is by its mode, in words."""
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFREG: "a file"}
    return kinds.get(stat.S_IFMT(mode), "a device")


@contextlib.contextmanager
def system_errors(path: StrPath) -> Iterator[None]:
    """What the system refuses (no permission, no room, a name too long) becomes a WriteError that begins with the path."""
    try:
        yield
    except WriteError:
        raise
    except FileNotFoundError as error:
        if isinstance(error, MissingFileError):
            raise
        raise MissingFileError(f"{path}: {error.strerror}") from error
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror or error}") from error


def sync_directory(directory: Path) -> None:
    """Make renames and removals in `directory` survive a loss of power, where the system lets a directory be synced."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
