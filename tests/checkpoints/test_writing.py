"""Writing files: what is replaced, what is written into, what is refused. Every device here is one of the test's own."""

from __future__ import annotations

import errno
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from npbert.checkpoints import writing
from npbert.errors import InputError, InputTypeError, MissingFileError, NpbertError, WriteError


def make_device(path: Path, minor: int) -> Path:
    """A character device like /dev/null (3) or /dev/full (7), which only root can make."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
    except PermissionError:
        pytest.skip("making a device takes more rights than the tests have")
    return path


def test_a_file_is_replaced_and_keeps_its_rights(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    target.chmod(0o600)
    before = target.stat().st_ino
    writing.write_text(target, "new \u00e9")
    assert target.read_bytes() == "new \u00e9".encode()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.stat().st_ino != before  # another file: whoever has the old one mapped keeps it
    assert os.listdir(tmp_path) == ["file"]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")

    def die_half_way() -> None:
        with writing.replacing(target) as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        die_half_way()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_a_link_and_its_target_is_replaced(tmp_path: Path, exists: bool) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    target, link = elsewhere / "file", tmp_path / "link"
    if exists:
        target.write_text("old")
    link.symlink_to("second link")
    (tmp_path / "second link").symlink_to(target)
    writing.write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == link.read_text() == "new"
    assert not target.is_symlink()
    assert os.listdir(elsewhere) == ["file"]


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    writing.write_text(pipe, "through the pipe")
    reader.join(10)
    assert read == [b"through the pipe"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


@pytest.mark.parametrize("through_link", [False, True])
def test_a_device_is_written_into(tmp_path: Path, through_link: bool) -> None:
    device = path = make_device(tmp_path / "null", 3)
    if through_link:
        path = tmp_path / "link"
        path.symlink_to(device)
    writing.write_text(path, "gone")
    assert stat.S_ISCHR(device.stat().st_mode)


def test_a_full_device_is_an_error_of_ours(tmp_path: Path) -> None:
    device = make_device(tmp_path / "full", 7)
    with pytest.raises(WriteError, match=r"full: cannot be written: No space left"):
        writing.write_text(device, "x" * 100_000)
    assert stat.S_ISCHR(device.stat().st_mode)


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="the system has no names for open files")
@pytest.mark.parametrize("into", ["file", "pipe"])
def test_standard_output_is_written_into(tmp_path: Path, into: str) -> None:
    link = tmp_path / "stdout"
    link.symlink_to("/proc/self/fd/1")  # what /dev/stdout is
    code = f"from npbert.checkpoints.writing import write_text; write_text({str(link)!r}, 'out')"
    if into == "pipe":
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert done.stdout == b"out"
    else:
        output = tmp_path / "output"
        with open(output, "wb") as file:
            subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
            assert os.fstat(file.fileno()).st_ino == output.stat().st_ino  # the very file that the caller opened
        assert output.read_text() == "out"
    assert link.is_symlink()


def test_directories_and_sockets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a directory is there"):
        writing.write_text(tmp_path, "x")
    os.mknod(tmp_path / "socket", stat.S_IFSOCK | 0o600)
    with pytest.raises(InputError, match="socket: takes the name of a file, but a socket is there"):
        writing.write_text(tmp_path / "socket", "x")


def test_nothing_but_regular_files_takes_part_where_several_files_belong_together(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="a pipe is there"), writing.temporary_for(tmp_path / "pipe"):
        pass
    assert os.listdir(tmp_path) == ["pipe"]


def test_names_of_every_length_that_a_file_may_have(tmp_path: Path) -> None:
    for name in ("n" * 255, "\u00e9" * 127):
        writing.write_text(tmp_path / name, "long")
        assert (tmp_path / name).read_text() == "long"
    with pytest.raises(WriteError, match="name too long"):
        writing.write_text(tmp_path / ("n" * 256), "x")


@pytest.mark.parametrize("path", [5, None, b"bytes", "", "a\0b", "half \ud800", True, 1.5])
@pytest.mark.parametrize("write", [lambda path: writing.write_text(path, "x"), writing.make_directory])
def test_what_is_not_a_path(path: Any, write: Callable[[Any], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((InputError, InputTypeError), match="takes a path"):
        write(path)
    assert not os.listdir(tmp_path)


def test_directories_that_are_not_there_or_are_files(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="does not exist"):
        writing.write_text(tmp_path / "missing" / "file", "x")
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "below", tmp_path / "file"):
        with pytest.raises(InputError, match="is, or lies in, a file"):
            writing.make_directory(path)
    with pytest.raises(NpbertError):
        writing.write_text(tmp_path / "file" / "below", "x")


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(NpbertError):
        writing.write_text(tmp_path / "a", "x")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.fixture
def as_nobody(tmp_path: Path) -> Iterator[None]:
    """Root may write everywhere: be somebody else for a while, in a folder that may be looked at and not written."""
    tmp_path.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        for folder in tmp_path.parents[:-2]:  # below /tmp
            folder.chmod(folder.stat().st_mode | 0o011)
        os.seteuid(65534)
    yield
    if is_root:
        os.seteuid(0)
    tmp_path.chmod(0o755)


def test_no_permission(tmp_path: Path, as_nobody: None) -> None:
    with pytest.raises(WriteError, match="file: cannot be written: Permission denied"):
        writing.write_text(tmp_path / "file", "x")
    with pytest.raises(WriteError, match="directory: cannot be written: Permission denied"):
        writing.make_directory(tmp_path / "directory")


def test_a_read_only_file_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    target.chmod(0o400)
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)  # root may write everything
    with pytest.raises(WriteError, match="read-only"):
        writing.write_text(target, "new")
    assert target.read_text() == "old"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EMFILE, errno.EROFS])
def test_what_the_system_refuses_leaves_nothing_behind(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("old")

    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(WriteError, match=os.strerror(number)):
        writing.write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


KILLED = """
import os, signal, sys
from npbert.checkpoints.writing import FilesTogether
with FilesTogether() as files:
    for name in sys.argv[1:]:
        with files.opened(name) as file:
            file.write(b"new")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_save_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    first, second = tmp_path / "model.safetensors", tmp_path / "config.json"
    first.write_text("old")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(first), str(second)], check=False)
    assert killed.returncode == -signal.SIGKILL
    left = sorted(name for name in os.listdir(tmp_path) if name != first.name)
    assert [re.sub("[0-9a-f]{12}", "*", name) for name in left] == [
        ".config.json.npbert-*.tmp",
        ".model.safetensors.npbert-*.tmp",
    ]
    assert first.read_text() == "old"
    writing.write_text(first, "newer")
    assert sorted(os.listdir(tmp_path)) == [left[0], first.name]  # the other file's is left to its own next save
    writing.write_text(second, "{}")
    assert sorted(os.listdir(tmp_path)) == [second.name, first.name]


def test_what_another_save_is_still_writing_stays(tmp_path: Path) -> None:
    target = tmp_path / "file"
    with writing.FilesTogether() as files:
        with files.opened(target) as file:
            file.write(b"first")
        with files.opened(target) as file:
            file.write(b"second")
            writing.write_text(target, "third")  # while the first is written but not in place, and the second half written
        assert target.read_text() == "third"
        files.put_in_place()
    assert target.read_text() == "second"
    assert os.listdir(tmp_path) == ["file"]


def test_files_are_written_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is removed there: nobody knows whose it is."""
    (tmp_path / ".file.npbert-0.tmp").touch()

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(writing.fcntl, "flock", refuse)
    writing.write_text(tmp_path / "file", "x")
    monkeypatch.setattr(writing, "fcntl", None)
    writing.write_text(tmp_path / "file", "y")
    assert (tmp_path / "file").read_text() == "y"
    assert sorted(os.listdir(tmp_path)) == [".file.npbert-0.tmp", "file"]


def test_only_files_are_taken_for_left_ones(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".file.npbert-0.tmp")
    (tmp_path / ".file.npbert-1.tmp").symlink_to("elsewhere")
    (tmp_path / "elsewhere").touch()
    (tmp_path / ".file.npbert-2.tmp").mkdir()
    (tmp_path / ".[fil]e.npbert-3.tmp").touch()
    writing.write_text(tmp_path / "file", "x")
    writing.write_text(tmp_path / "[fil]e", "x")
    assert not (tmp_path / ".[fil]e.npbert-3.tmp").exists()
    assert {"elsewhere", ".file.npbert-0.tmp", ".file.npbert-1.tmp", ".file.npbert-2.tmp"} <= set(os.listdir(tmp_path))
