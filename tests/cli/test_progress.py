"""Progress shows on a terminal alone, after a while, and is gone at the end."""

from __future__ import annotations

import io
import sys
import threading
import time

import numpy as np
from typer.testing import CliRunner

import fastgru
from fastgru.cli import _progress, bench, build
from fastgru.layers import Dense


class Terminal(io.StringIO):
    """What a terminal was sent."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch):
    """Make stderr a terminal; called in the test itself, for pytest puts its own stderr there after fixtures."""
    monkeypatch.setenv("TERM", "xterm")
    made = Terminal()
    monkeypatch.setattr(sys, "stderr", made)
    return made


def wait_for(condition):
    for _ in range(2000):
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_a_line_shows_after_a_while_and_is_gone_at_the_end(monkeypatch):
    shown_on = terminal(monkeypatch)
    monkeypatch.setattr(_progress, "PATIENCE", 0.01)
    with _progress.Shown("reading [b]\nx.csv", 10) as shown:
        assert wait_for(lambda: "reading [b]\\nx.csv" in shown_on.getvalue())
        shown.update("running")
        shown.advance(5)
        assert wait_for(lambda: "running" in shown_on.getvalue() and "50%" in shown_on.getvalue())
    assert shown_on.getvalue().endswith("\x1b[2K")  # erases the line
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


def test_nothing_shows_of_what_is_soon_done_or_not_on_a_terminal(monkeypatch):
    shown_on = terminal(monkeypatch)
    with _progress.Shown("reading", 1) as shown:
        shown.advance(1)
    assert shown_on.getvalue() == ""
    monkeypatch.setattr(_progress, "PATIENCE", 0.0)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with _progress.Shown("reading", 1) as shown:
        time.sleep(0.05)
        shown.update("running")
        assert not shown.advance(1)
    assert sys.stderr.getvalue() == ""


def test_without_a_thread_the_line_is_drawn_by_advance_alone(monkeypatch):
    shown_on = terminal(monkeypatch)
    monkeypatch.setattr(_progress, "PATIENCE", 0.0)
    before = threading.active_count()
    with _progress.Shown("timing", 4, thread=False) as shown:
        assert threading.active_count() == before
        assert shown_on.getvalue() == ""
        assert shown.advance(1)
        assert "25%" in shown_on.getvalue()
        assert not shown.advance(1)  # too soon
        assert "50%" not in shown_on.getvalue()


def test_a_bench_that_shows_progress_times_as_many_calls(monkeypatch):
    shown_on = terminal(monkeypatch)
    monkeypatch.setattr(_progress, "PATIENCE", 0.0)
    timing = bench.measure(fastgru.Model([Dense(np.ones((2, 3)))]), batch=1, calls=2500, warmup=1001)
    assert len(timing.ns) == 2500
    assert (timing.ns > 0).all()
    assert "timing" in shown_on.getvalue()


def test_what_is_piped_holds_results_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_progress, "PATIENCE", 0.0)
    fastgru.Model([Dense(np.ones((1, 2)))]).save("m.fgru")
    result = CliRunner().invoke(build(), ["run", "m.fgru", "-", "--window", "1"], input="1,2\n3,4\n")
    assert (result.stdout, result.stderr) == ("3.0\n7.0\n", "")
