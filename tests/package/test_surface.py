"""What a user sees of the package by completion: public names alone."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

import fastgru
from fastgru.layers import GRU

MODEL = fastgru.Model([GRU(np.ones((24, 3)), np.ones((24, 8)))])


def seen(of: object) -> set[str]:
    return {name for name in dir(of) if not name.startswith("_")}


def test_the_package_shows_its_public_names_and_modules():
    modules = seen(fastgru) - set(fastgru.__all__)
    assert modules == {
        "backends", "checks", "decode", "errors", "forecasting", "generation", "graph", "inspect", "layers",
        "quantization", "report",
    }  # fmt: skip
    assert set(fastgru.__all__) <= seen(fastgru)
    assert all(getattr(fastgru, name) is not None for name in fastgru.__all__)


@pytest.mark.parametrize("room", ["backends", "checks", "report"])
def test_rooms_show_their_modules(room):
    package = getattr(fastgru, room)
    assert seen(package) == set(dir(package))
    for name in dir(package):
        if name == "onnx":  # which needs the framework: tests/live has it
            assert importlib.util.find_spec(f"fastgru.{room}.{name}")
        else:
            assert getattr(package, name).__name__ == f"fastgru.{room}.{name}"
    with pytest.raises(AttributeError, match="has no attribute 'cellar'"):
        package.cellar  # noqa: B018


@pytest.mark.parametrize(
    "name",
    ["checks.comparison", "checks.tracing", "decode", "graph", "layers", "model", "quantization", "report.drawing"],
)
def test_modules_show_what_they_export(name):
    module = importlib.import_module(f"fastgru.{name}")
    assert seen(module) == set(module.__all__)


def test_modules_are_found_under_their_former_names():
    from fastgru import comparison, fileformat

    assert comparison is fastgru.checks.comparison
    assert fileformat.__name__ == "fastgru.files.fgru"
    assert "fileformat" not in dir(fastgru)


def test_errors_shows_errors_alone():
    names = seen(fastgru.errors)
    assert names
    assert all(issubclass(getattr(fastgru.errors, name), Exception) for name in names)


def test_a_stream_shows_what_a_caller_needs():
    assert seen(fastgru.Stream) == {
        "batch", "copy", "edit", "flush", "latency", "model", "process", "reorder", "reset", "state", "step", "take",
        "threads", "trace",
    }  # fmt: skip


@pytest.mark.parametrize(("arguments", "named"), [((), {}), ((MODEL,), {}), ((3,), {}), ((), {"batch": 2})])
def test_streams_are_made_by_models(arguments, named):
    with pytest.raises(TypeError, match=r"^a stream is made by model\.stream\(\), or model\.stream\(batch=n\)"):
        fastgru.Stream(*arguments, **named)


def test_the_size_of_a_stream_counts_its_buffers():
    one, many = MODEL.stream(), MODEL.stream(batch=100)
    assert many.__sizeof__() > one.__sizeof__() + 99 * 8 * 4
