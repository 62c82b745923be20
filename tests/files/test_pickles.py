"""Pickles of models: of one that came from a file its path, of others all of them."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest

import fastgru
from fastgru import FileFormatError, Model
from fastgru.layers import GRU

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 7, 40)).astype(np.float32)


def weights() -> tuple[np.ndarray, ...]:
    return RNG.normal(size=(192, 40)), RNG.normal(size=(192, 64))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Model([GRU.from_torch(*weights())]).save(tmp_path / "model.fgru")
    return tmp_path / "model.fgru"


def score(model: Model) -> bytes:
    return model(X).tobytes()


def test_a_model_from_a_file_pickles_to_a_kilobyte(path):
    model = fastgru.load(path)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps(model, protocol)
        assert len(data) <= 1024
        assert score(pickle.loads(data)) == score(model)


def test_embedded_it_needs_no_file(path):
    model = fastgru.load(path, embed=True)
    data = pickle.dumps(model)
    assert len(data) > 4 * (192 * 40 + 192 * 64)
    path.unlink()
    assert score(pickle.loads(data)) == score(model)


def test_a_relative_path_holds_in_another_folder(path, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(path.parent)
    data = pickle.dumps(fastgru.load("model.fgru"))
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert score(pickle.loads(data)) == score(fastgru.load(path))


def test_a_path_up_from_a_linked_folder_stays_that_path(path, tmp_path_factory):
    folder = path.parent / "weights"
    folder.mkdir()
    link = tmp_path_factory.mktemp("elsewhere") / "link"
    link.symlink_to(folder)
    model = fastgru.load(link / ".." / "model.fgru")
    assert score(pickle.loads(pickle.dumps(model))) == score(model)


def test_a_choice_of_instruction_set_stays(path):
    model = fastgru.load(path, isa="portable")
    assert pickle.loads(pickle.dumps(model)).isa == "portable"


def test_streams_pickle_with_their_state(path):
    stream = fastgru.load(path).stream()
    stream.process(X[0, :3])
    data = pickle.dumps(stream)
    assert len(data) < 2048
    np.testing.assert_array_equal(pickle.loads(data).process(X[0, 3:]), stream.process(X[0, 3:]))


def test_what_is_made_of_it_pickles_whole(path):
    smaller = fastgru.load(path).quantize("int8")
    data = pickle.dumps(smaller)
    path.unlink()
    assert score(pickle.loads(data)) == score(smaller)


def test_a_file_that_is_gone_is_named_with_what_to_do(path):
    data = pickle.dumps(fastgru.load(path))
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"must be where it was loaded from: .*embed=True") as error:
        pickle.loads(data)
    assert error.value.filename == str(path)


def test_a_file_that_was_changed_is_refused(path):
    data = pickle.dumps(fastgru.load(path))
    Model([GRU.from_torch(*weights())]).save(path)
    with pytest.raises(FileFormatError, match=r"model.fgru: .* must be the one that it was loaded from, .*embed=True"):
        pickle.loads(data)


def test_copies_are_the_model_itself(path):
    model = fastgru.load(path)
    assert copy.copy(model) is copy.deepcopy(model) is model


def test_a_process_loads_what_it_unpickles_once(path):
    data = pickle.dumps(fastgru.load(path))
    first = pickle.loads(data)
    path.unlink()
    assert pickle.loads(data) is first


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_processes_give_the_same_bits(path, method):
    model = fastgru.load(path)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(score, [model] * 4) == [score(model)] * 4
