"""Writers: whole or not at all, and what is not a regular file stays what it is."""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import fastgru
from fastgru.files import writing
from fastgru.files.writing import check_target, replace_file
from fastgru.graph import Dense, chain
from fastgru.recipes import _audio
from fastgru.report import drawing

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a POSIX file system")
MODEL = fastgru.Model(chain([Dense(np.eye(2))]))
NOBODY = 65534

# Every way in which the package writes a file, each with the suffix that it needs.
WRITERS = {
    "model": (".fgru", MODEL.save),
    "drawing": (".dot", lambda path: drawing.draw(MODEL.graph, path)),
    "recording": (".wav", lambda path: _audio.write(Path(path), np.zeros((1, 4), np.float32))),
    "bytes": ("", lambda path: replace_file(path, b"new")),
}
writers = pytest.mark.parametrize("writer", WRITERS)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def as_nobody(code: str) -> str:
    """Return what a process without privileges prints; root may do everything."""
    code = (
        f"import os\nfrom fastgru.files.writing import replace_file\nif os.getuid() == 0: os.setuid({NOBODY})\n{code}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def node(name: str, minor: int) -> None:
    try:
        os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
    except PermissionError:
        pytest.skip("needs the right to make device nodes")


@writers
def test_a_device_is_written_to(writer):
    suffix, write = WRITERS[writer]
    node(f"null{suffix}", 3)
    write(f"null{suffix}")
    assert stat.S_ISCHR(os.stat(f"null{suffix}").st_mode)
    node(f"full{suffix}", 7)
    with pytest.raises(OSError, match=f"No space left on device: 'full{suffix}'"):
        write(f"full{suffix}")
    assert sorted(os.listdir()) == [f"full{suffix}", f"null{suffix}"]


@writers
def test_a_fifo_gets_the_bytes_that_a_file_would(writer):
    suffix, write = WRITERS[writer]
    write(f"file{suffix}")
    os.mkfifo(f"pipe{suffix}")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(Path(f"pipe{suffix}").read_bytes()))
    reader.start()
    write(f"pipe{suffix}")
    reader.join()
    assert got == [Path(f"file{suffix}").read_bytes()]
    assert stat.S_ISFIFO(os.stat(f"pipe{suffix}").st_mode)


def test_a_fifo_takes_more_than_a_pipe_holds():
    os.mkfifo("pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(Path("pipe").read_bytes()))
    reader.start()
    replace_file("pipe", bytes(range(256)) * 4096)
    reader.join()
    assert got == [bytes(range(256)) * 4096]


def test_a_fifo_without_a_reader_is_an_error(monkeypatch):
    monkeypatch.setattr(writing, "PATIENCE", 0.1)
    os.mkfifo("pipe")
    with pytest.raises(OSError, match=r"nothing reads from the FIFO, waited 0\.1 s: 'pipe'"):
        replace_file("pipe", b"x")
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)


def test_a_wait_for_a_reader_can_be_interrupted():
    os.mkfifo("pipe")
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from fastgru.files.writing import replace_file\nprint('now', flush=True)\nreplace_file('pipe', b'x')"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in process.communicate(timeout=3)[1]


def test_a_socket_is_left_alone():
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(OSError, match="a socket cannot be written to as a file: 'socket'"):
            replace_file("socket", b"x")
    assert stat.S_ISSOCK(os.stat("socket").st_mode)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
@pytest.mark.parametrize("redirect", [">", ">>", "| cat >"])
def test_an_open_descriptor_is_written_to(name, redirect):
    os.symlink("/dev/stdout", "link")
    Path("old").write_text("old\n")
    code = f"from fastgru.files.writing import *; replace_file('{name}', b'new')"
    os.link("old", "same")
    subprocess.run(f'{sys.executable} -c "{code}" {redirect} old', shell=True, check=True)
    assert Path("old").read_text() == ("old\nnew" if redirect == ">>" else "new")
    assert os.path.samefile("old", "same")


@writers
@pytest.mark.parametrize("bits", [0o600, 0o640, 0o777, 0o444])
def test_an_existing_files_mode_is_kept(writer, bits):
    suffix, write = WRITERS[writer]
    Path(f"old{suffix}").touch()
    os.chmod(f"old{suffix}", bits)
    if not os.access(f"old{suffix}", os.W_OK):
        pytest.skip("needs the right to write to a file without it")
    write(f"old{suffix}")
    assert os.stat(f"old{suffix}").st_size > 0
    assert mode(f"old{suffix}") == bits


def test_a_new_file_has_the_mode_that_the_umask_leaves():
    for umask in (0o077, 0o022):
        before = os.umask(umask)
        try:
            replace_file(f"new{umask}", b"")
        finally:
            os.umask(before)
        assert mode(f"new{umask}") == 0o666 & ~umask


def test_an_owner_is_kept_where_that_is_possible(folder):
    if os.getuid():
        pytest.skip("needs the right to give files away")
    Path("theirs").touch()
    os.chown("theirs", NOBODY, NOBODY)
    replace_file("theirs", b"new")
    found = os.stat("theirs")
    assert (found.st_uid, found.st_gid) == (NOBODY, NOBODY)
    Path("ours").touch()
    os.chmod("ours", 0o4666)
    os.chmod(folder, 0o777)
    os.chmod(folder.parent, 0o755)
    os.chmod(folder.parent.parent, 0o755)
    assert as_nobody("replace_file('ours', b'new')") == ""
    assert Path("ours").read_bytes() == b"new"
    assert (os.stat("ours").st_uid, mode("ours")) == (NOBODY, 0o666), "a set-uid bit must not go to another owner"


def test_a_symbolic_link_keeps_pointing():
    os.mkdir("there")
    for target in ("there/old", "there/new"):
        os.symlink(target, Path(target).name)
    Path("there/old").touch()
    for name in ("old", "new"):
        replace_file(name, b"x")
        assert os.path.islink(name)
        assert Path("there", name).read_bytes() == b"x"


MISFITS = [
    ("folder", errno.EISDIR, "folder"),
    ("none/x", errno.ENOENT, "none"),
    ("a/b/x", errno.ENOENT, "a/b"),
    ("file/x", errno.ENOTDIR, "file/x"),
    ("new/", errno.EISDIR, "new/"),
    ("", errno.ENOENT, ""),
    ("loop", errno.ELOOP, "loop"),
    ("x" * 300, errno.ENAMETOOLONG, "x" * 300),
]


@pytest.mark.parametrize("writer", ["model", "bytes"])
@pytest.mark.parametrize(("path", "number", "named"), MISFITS, ids=[path[:8] for path, *_ in MISFITS])
def test_errors_name_the_path_given_or_its_folder(writer, path, number, named):
    os.mkdir("folder")
    Path("file").touch()
    os.symlink("loop", "loop")
    before = sorted(os.listdir())
    with pytest.raises(OSError, match=r".") as caught:
        WRITERS[writer][1](path)
    assert (caught.value.errno, caught.value.filename) == (number, named)
    assert sorted(os.listdir()) == before


def test_a_drawing_names_a_missing_folder():
    with pytest.raises(FileNotFoundError) as caught:
        drawing.draw(MODEL.graph, "none/x.dot")
    assert caught.value.filename == "none"


def test_what_may_not_be_written_is_refused(folder):
    os.mkdir("locked")
    Path("locked/file").touch()
    Path("read-only").touch()
    os.chmod("read-only", 0o444)
    os.chmod("locked/file", 0o666)
    os.chmod("locked", 0o555)
    for place in (folder, folder.parent, folder.parent.parent):
        os.chmod(place, 0o755)
    code = "for n in ('locked/file', 'locked/new', 'read-only'):\n try: replace_file(n, b'x')\n"
    code += " except OSError as e: print(e.filename, e.strerror, sep=': ')"
    assert as_nobody(code).splitlines() == [
        "locked: Permission denied: the new file is first written beside the one it replaces",
        "locked: Permission denied",
        "read-only: Permission denied",
    ]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("disk is gone"), MemoryError])
@pytest.mark.parametrize("where", ["open", "fdopen", "fsync", "replace", "chmod"])
def test_an_interrupted_write_leaves_nothing(monkeypatch, where, error):
    Path("old").write_bytes(b"old")
    call = getattr(os, where)

    def fail(*args, **options):
        if where == "open":
            os.close(call(*args, **options))  # the file is there, and then the interrupt comes
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(writing.os, where, fail)
        with pytest.raises(error if isinstance(error, type) else OSError):
            replace_file("old", b"new")
    assert os.listdir() == ["old"]
    assert Path("old").read_bytes() == b"old"


def test_a_file_that_grows_too_large_leaves_nothing():
    Path("old").write_bytes(b"old")
    code = "import resource, signal\nfrom fastgru.files.writing import replace_file\n"
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\nreplace_file('old', bytes(5000))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "OSError: [Errno 27] File too large: 'old'"
    assert os.listdir() == ["old"]
    assert Path("old").read_bytes() == b"old"


def test_a_target_can_be_checked_before_long_work():
    assert check_target("new") is None
    assert os.listdir() == []
    with pytest.raises(FileNotFoundError):
        check_target("none/new")
