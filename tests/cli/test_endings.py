"""Commands end with a result, or with one line on stderr and an exit status; never with a traceback."""

from __future__ import annotations

import array
import fcntl
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import termios
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from cells import make_cell
from typer.testing import CliRunner

import fastgru
from fastgru.cli import _ending, _show, build
from fastgru.errors import FastGruError, MissingExtraError, VerificationError
from fastgru.graph import Dense, GraphBuilder, Spec, chain

PACKAGE = Path(fastgru.__file__).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("endings")
    graph = chain([make_cell("lstm", 2, 8), Dense(np.full((1, 8), 0.5))])
    fastgru.Model(graph).save(folder / "m.fgru")
    (folder / "x.csv").write_text("1,2\n3,4\n")
    return folder


def run(folder, line, **environment):
    """The status, stdout and stderr of a command of a shell; `fastgru` is this package."""
    command = f'fastgru() {{ "{sys.executable}" -m fastgru "$@"; }}; {line}'
    env = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), **environment}
    done = subprocess.run(command, shell=True, capture_output=True, timeout=60, cwd=folder, env=env, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def is_one_line(text):
    return text.startswith("error: ") and text.endswith("\n") and text.count("\n") == 1


# Standard streams ------------------------------------------------------------------------------------

COMMANDS = {  # what it takes of the standard streams; stderr is never needed
    "info m.fgru": {">"},
    "verify m.fgru --trace": {">"},
    "run m.fgru -": {"<", ">"},
    "run m.fgru - --stream": {"<", ">"},
    "run m.fgru x.csv -o y.csv": set(),
    "bench m.fgru --steps 5": {">"},
    "quantize m.fgru -o q.fgru": {">"},
    f"convert {PACKAGE / 'data' / 'pulse.pt'} -o c.fgru --like GRU --like Dense": {">"},
    "--version": {">"},
}
CLOSED = [c for n in (1, 2, 3) for c in itertools.combinations(("<", ">", "2>"), n)]


@pytest.mark.parametrize("closed", CLOSED, ids="".join)
def test_closed_streams(folder, closed):
    for command, needed in COMMANDS.items():
        if closed in (("<",), ("2>",), ("<", "2>")) and "<" not in needed:
            continue  # nothing that it uses is closed, which takes long to see for all
        words = " ".join(f"{stream}&-" for stream in closed) + ("" if "<" in closed else " <x.csv")
        status, out, error = run(folder, f"fastgru {command} {words}")
        missing = needed.intersection(closed)
        assert status == (2 if missing else 0), (command, error)
        if missing and "2>" not in closed:
            which = "standard input" if "<" in missing else "standard output"
            assert error == f"error: {which}: Bad file descriptor\n"
        else:
            assert error == ""
        assert bool(out) == (not missing and bool(needed))


@pytest.mark.parametrize("command", ["info m.fgru", "run m.fgru x.csv", "run m.fgru - --stream <x.csv", "--help"])
def test_a_full_device(folder, command):
    status, _, error = run(folder, f"fastgru {command} >/dev/full")
    assert (status, error) == (2, "error: standard output: No space left on device\n")


def test_messages_that_cannot_be_shown_change_no_status(folder):
    assert run(folder, "fastgru info m.fgru 2>/dev/full")[0] == 0
    assert run(folder, "fastgru info gone.fgru 2>/dev/full")[0] == 2


def test_a_reader_that_leaves(folder):
    (folder / "many.csv").write_text("1,2\n" * 20_000)
    status, out, error = run(folder, "(fastgru run m.fgru many.csv --stream; echo $? >&2) | head -n 1")
    assert (status, out.count("\n"), error) == (0, 1, "141\n")


@pytest.mark.parametrize(
    "command", ["info m.fgru", "verify m.fgru --trace", "run m.fgru x.csv", "bench m.fgru --steps 9"]
)
def test_a_reader_that_was_never_there(folder, command):
    status, _, error = run(folder, f"(sleep 0.1; fastgru {command}; echo $? >&2) | true")
    assert (status, error) == (0, "141\n")


def test_warnings_that_are_errors_end_in_a_line(folder):
    (folder / "groups.csv").write_text("g,a,b\nx,1,2\nx,1,2\ny,1,2\n")
    words = "run m.fgru groups.csv --group g --window 2"
    status, out, error = run(folder, f'"{sys.executable}" -W error::UserWarning -m fastgru {words}')
    assert (status, out) == (2, "")
    assert error.startswith("error: 1 group of 2 has fewer rows than --window 2")
    assert is_one_line(error)


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_a_terminal_that_cannot_show_all_text(folder, environment):
    fastgru.Model(chain([Dense(np.eye(2))], names=["größe"])).save(folder / "größe.fgru")
    for command in ("info größe.fgru", "verify größe.fgru --trace", "bench größe.fgru --steps 50"):
        status, out, error = run(folder, f"fastgru {command}", **environment)
        assert (status, error) == (0, "")
        assert out.isascii()
        assert "gr\\xf6\\xdfe" in out or "gr\\udcc3" in out
    status, out, error = run(folder, "fastgru info größer.fgru", **environment)
    assert (status, out) == (2, "")
    assert is_one_line(error)
    assert error.isascii()
    assert run(folder, "fastgru bench m.fgru --steps 50", **environment)[1].count("#") > 10


def test_the_width_that_is_asked_for(folder):
    for columns in ("0", "-1", "wide", ""):
        assert "lstm" in run(folder, "fastgru info m.fgru", COLUMNS=columns)[1]


# Arguments -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nonsense"], "No such option: --nonsense (see 'fastgru --help')"),
        (["frobnicate"], "No such command 'frobnicate' (see 'fastgru --help')"),
        (["run", "m.fgru"], "(see 'fastgru run --help')"),
        (["run", "m.fgru", "x", "y"], "Got unexpected extra argument"),
        (["run", "m.fgru", "x", "--colums", "a"], "No such option: --colums"),
        (["convert", "x.pt"], "Missing option '-o' / '--output' (see 'fastgru convert --help')"),
        (["bench", "m.fgru", "--steps", "0"], "--steps must be a whole number from 1 to 10000000, got '0'"),
        (["bench", "m.fgru", "--batch", "9" * 30], "--batch must be a whole number from 1 to 16777216, got '99999"),
        (["bench", "m.fgru", "--warmup", "x"], "--warmup must be a whole number from 0 to 10000000, got 'x'"),
        (
            ["quantize", "m.fgru", "-o", "q.fgru", "--max-error", "much"],
            "--max-error must be a positive number such as 0.01",
        ),
        (["info", "bell\a.fgru"], "bell\\x07.fgru: No such file or directory"),
        (["info", "two\nlines.fgru"], "two lines.fgru: No such file or directory"),
        (["demo", "--plot", "plot.txt"], "plot must end in one of .png, .svg, .pdf, got 'plot.txt'"),
        (["demo", "--plot", "none/plot.png"], "none: No such file or directory"),
        (["convert", "x.pt", "-o", "none/m.fgru"], "none: No such file or directory"),
        (["convert", "x.pt", "-o", "."], ".: Is a directory"),
        (["convert", "x.onnx", "-o", "m.fgru", "--fix", "a=1", "--fix", "a=2"], "--fix must give each name once"),
        (["run", "m.fgru", "x.csv", "-o", "none/y.csv"], "none: No such file or directory"),
    ],
)
def test_wrong_arguments(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(build(), words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert is_one_line(result.stderr)
    assert message in result.stderr
    assert os.listdir() == []


def test_no_arguments_ask_for_help():
    assert CliRunner().invoke(build(), []).stdout == CliRunner().invoke(build(), ["--help"]).stdout


def test_version():
    result = CliRunner().invoke(build(), ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"fastgru {fastgru.__version__}\n")


# Exceptions ------------------------------------------------------------------------------------------


class MemoryLimitLike(FastGruError, MemoryError):
    """An error of the package that is one of Python's as well."""


ENDS = [
    (MemoryLimitLike("memory of node 'x' must be at most 9 bytes"), 2, "error: memory of node 'x' must be at most 9"),
    (VerificationError("output must\nbe within 1"), 1, "error: output must be within 1"),
    (FastGruError("model must be good"), 2, "error: model must be good"),
    (OSError(5, "Input/output error", "m.fgru"), 2, "error: m.fgru: Input/output error"),
    (OSError(5, "Input/output error"), 2, "error: [Errno 5] Input/output error"),
    (MissingExtraError("a plot must have matplotlib"), 2, "error: a plot must have matplotlib"),
    (ImportError("libtorch.so: cannot open"), 2, "error: libtorch.so: cannot open"),
    (MemoryError("a stream needs 9 bytes"), 2, "error: memory must hold what the command needs, got too little: a"),
    (MemoryError(), 2, "error: memory must hold what the command needs, got too little"),
    (UserWarning("1 group has\nno output"), 2, "error: 1 group has no output"),  # as -W error raises it
    (KeyError("x"), 3, "error: fault of fastgru, please report it: KeyError: 'x' (FASTGRU_TRACEBACK=1 shows where)"),
    (RecursionError("too deep"), 3, "error: fault of fastgru, please report it: RecursionError: too deep"),
    (UnicodeEncodeError("ascii", "€", 0, 1, "no"), 3, "error: fault of fastgru"),
    (EOFError(), 3, "error: fault of fastgru, please report it: EOFError: EOFError"),
    (ValueError("\x1b[31m" + "x" * 9000), 3, "error: fault of fastgru, please report it: ValueError: \\x1b[31mxx"),
    (KeyboardInterrupt(), 130, "interrupted"),
]


@pytest.mark.parametrize(("error", "status", "text"), ENDS, ids=[repr(error)[:25] for error, *_ in ENDS])
def test_every_exception_is_one_line(monkeypatch, error, status, text):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(fastgru, "load", fail)
    monkeypatch.delenv("FASTGRU_TRACEBACK", raising=False)
    result = CliRunner().invoke(build(), ["verify", "m.fgru"])
    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr.startswith(text)
    assert result.stderr.count("\n") == 1
    assert len(result.stderr) < 500


def test_the_place_of_a_fault_is_shown_when_asked_for(monkeypatch):
    monkeypatch.setattr(fastgru, "load", lambda *_: {}["gone"])
    monkeypatch.setenv("FASTGRU_TRACEBACK", "1")
    lines = CliRunner().invoke(build(), ["verify", "m.fgru"]).stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("error: fault of fastgru, please report it: KeyError: 'gone'")


def test_warnings_are_one_line(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = _ending._warn
        warnings.warn("first\nsecond", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: first second\n"


def test_names_are_shown_as_text_and_nothing_else(tmp_path, capsys):
    _show.stdout().print("[bold]bell\a \x1b[31m :smile: [/b]\nnext")
    assert capsys.readouterr().out == "[bold]bell\\x07 \\x1b[31m :smile: [/b]\nnext\n"
    name = "bell\a \x1b[31mred [/b] :smile:"
    fastgru.Model(chain([Dense(np.eye(2))], names=[name])).save(tmp_path / "odd.fgru")
    for words in (["info"], ["verify", "--trace"], ["bench", "--steps", "5"]):
        result = CliRunner().invoke(build(), [words[0], str(tmp_path / "odd.fgru"), *words[1:]])
        assert result.exit_code == 0
        assert "\x1b" not in result.stdout
        assert "\a" not in result.stdout
    shown = CliRunner().invoke(build(), ["info", str(tmp_path / "odd.fgru")]).stdout
    assert "bell\\x07 \\x1b[31mred [/b] :smile:" in shown


@pytest.mark.parametrize("command", ["info", "verify"])
def test_names_make_no_lines_of_their_own(tmp_path, command):
    b = GraphBuilder()
    x = b.input("x\nself-test: ok \x1b[31m", Spec((2,)))
    model = fastgru.Model(b.build(b.add(Dense(np.eye(2)), x)), provenance={"source": "a\nself-test: ok"})
    path = tmp_path / "m\nself-test: ok\x1b[31m.fgru"
    model.save(path)
    result = CliRunner().invoke(build(), [command, str(path)])
    assert result.exit_code == 0
    assert not any(line.startswith("self-test: ok") for line in result.stdout.splitlines())
    assert "\x1b" not in result.stdout


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="a file whose first byte cannot be read")
def test_errors_of_reading_name_the_file():
    for words in (["info", "/proc/self/mem"], ["run", "/proc/self/mem", "-"]):
        result = CliRunner().invoke(build(), words)
        assert (result.exit_code, result.stderr) == (2, "error: /proc/self/mem: Input/output error\n")


# Interruption ----------------------------------------------------------------------------------------


def interrupted(folder, words, after):
    """The status and stderr of a process that gets SIGINT once `after` says that it is at work."""
    env = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    # A shell ignores SIGINT for what it runs in the background: these tests too, perhaps.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import fastgru.cli as c; c.main()"
    command = [sys.executable, "-c", code, *words]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=folder, env=env, **pipes) as process:
        after(process)
        process.send_signal(signal.SIGINT)
        try:
            error = process.communicate(timeout=10)[1].decode()
        finally:
            process.kill()
        return process.returncode, error


def asleep(process, pipe):
    """
    Wait until the process has read all of the pipe and sleeps, at most 10 s.

    A signal that comes between two reads of Python's own reader is answered only when the second one returns.
    """
    deadline = time.monotonic() + 10
    unread = array.array("i", [1])
    while time.monotonic() < deadline:
        time.sleep(0.05)
        fcntl.ioctl(pipe, termios.FIONREAD, unread)
        status = Path(f"/proc/{process.pid}/stat")  # where there is none, it has had 50 ms to fall asleep
        state = status.read_text().rpartition(")")[2].split()[0] if status.exists() else "S"
        if unread[0] == 0 and state == "S":
            return


def first_line(process):
    process.stdin.write(b"1,2\n")
    process.stdin.flush()
    assert process.stdout.readline().count(b",") == 0
    asleep(process, process.stdin)


def test_an_interrupt_ends_a_stream(folder):
    assert interrupted(folder, ["run", "m.fgru", "-", "--stream"], first_line) == (130, "interrupted\n")


def test_an_interrupt_while_waiting_for_a_fifo_leaves_nothing(folder):
    os.mkfifo(folder / "pipe.csv")
    before = sorted(os.listdir(folder))

    def waits(process):
        with open(folder / "pipe.csv", "wb") as pipe:  # the command has opened it
            pipe.write(b"1,2\n")
            pipe.flush()
            asleep(process, pipe)
            process.send_signal(signal.SIGINT)
            process.wait(10)

    status, error = interrupted(folder, ["run", "m.fgru", "pipe.csv", "-o", "never.csv"], waits)
    assert (status, error) == (130, "interrupted\n")
    assert sorted(os.listdir(folder)) == before


def test_an_interrupt_ends_a_long_call_and_leaves_nothing(tmp_path):
    fastgru.Model(chain([make_cell("gru-after", 8, 512)])).save(tmp_path / "m.fgru")
    steps, began = io.BytesIO(), []
    np.save(steps, np.zeros((1_000_000, 8), np.float32))  # half a minute
    os.mkfifo(tmp_path / "x.npy")

    def computes(process):
        (tmp_path / "x.npy").write_bytes(steps.getvalue())  # returns when all of it has been read
        time.sleep(0.5)
        began.append(time.monotonic())

    assert interrupted(tmp_path, ["run", "m.fgru", "x.npy", "-o", "y.npy"], computes) == (130, "interrupted\n")
    assert time.monotonic() - began[0] < 5  # half a second, on a machine that does nothing else
    assert sorted(os.listdir(tmp_path)) == ["m.fgru", "x.npy"]


def test_nothing_slow_is_imported_before_an_interrupt_can_be_answered():
    code = "import sys, json, fastgru.cli; print(json.dumps(sorted(sys.modules)))"
    env = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, check=True).stdout)
    assert not {"numpy", "scipy", "typer", "rich", "fastgru.engine"}.intersection(loaded)


def test_public_names_are_there_when_they_are_used():
    for name in fastgru.__all__:
        assert getattr(fastgru, name) is not None
        assert name in dir(fastgru)
    assert fastgru.graph.Dense is Dense
    with pytest.raises(AttributeError, match="module 'fastgru' has no attribute 'nothing'"):
        _ = fastgru.nothing
