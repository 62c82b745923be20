"""Programs of torch.export and their files: what PyTorch computes, for any rows and steps; no code of files is run."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import fastgru  # noqa: E402
from fastgru import ConvertError  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch's, of weights that recurrent layers hold flat


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(8, 8, batch_first=True)
        self.fc = nn.Linear(8, 2)

    def forward(self, x: Any) -> Any:
        return self.fc(self.rnn(x)[0])


class Tagger(nn.Module):
    """Time first within, two directions, convolutions in front, reshapes by sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(3, 8, 3, padding=1), nn.BatchNorm1d(8)
        self.rnn = nn.LSTM(8, 6, 2, bidirectional=True)
        self.fc = nn.Linear(12, 5)

    def forward(self, x: Any) -> Any:
        y = torch.relu(self.norm(self.conv(x.transpose(1, 2)))).permute(2, 0, 1)
        y = self.rnn(y)[0].transpose(0, 1)
        return self.fc(y.reshape(-1, 12)).view(x.shape[0], x.shape[1], 5)


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.rnn, self.fc = nn.Embedding(11, 6), nn.RNN(6, 7, batch_first=True), nn.Linear(7, 11)

    def forward(self, ids: Any) -> Any:
        return torch.log_softmax(self.fc(self.rnn(self.table(ids))[0]), -1)


class Last(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Any) -> Any:
        return self.fc(self.rnn(x)[1][-1])


CASES = {
    "small": (Small, (2, 20, 8)), "tagger": (Tagger, (3, 17, 3)), "words": (Words, (2, 13)), "last": (Last, (3, 9, 4)),
    "one row": (Small, (1, 20, 8)),
}  # fmt: skip


def example(shape: tuple[int, ...]) -> Any:
    return torch.randint(0, 11, shape) if len(shape) == 2 else torch.randn(shape)


@pytest.mark.parametrize("case", CASES)
def test_programs_compute_what_their_modules_do(case: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    cls, shape = CASES[case]
    net, x = cls().eval(), example(shape)
    program = torch.export.export(net, (x,))
    torch.export.save(program, tmp_path / "net.pt2")
    longer = example((4, 31, *shape[2:]))
    for source in (program, tmp_path / "net.pt2"):
        model = fastgru.convert(source)
        assert "unchecked" not in model.provenance
        for given in (x, longer):
            with torch.no_grad():
                expected = net(given).numpy()
            assert np.abs(model(given.numpy()) - expected).max() < 5e-6


def test_programs_of_open_sizes() -> None:
    torch.manual_seed(0)
    net, x = Small().eval(), torch.randn(2, 20, 8)
    program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("rows")},))
    model = fastgru.convert(program)
    with torch.no_grad():
        expected = net(x[:, :7]).numpy()
    assert np.abs(model(x[:, :7].numpy()) - expected).max() < 2e-6
    model.stream().step(x.numpy()[0, 0])


# Files that are none ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("programs") / "net.pt2"
    torch.export.save(torch.export.export(Small().eval(), (torch.randn(2, 20, 8),)), path)
    return path


def rewritten(file: Path, path: Path, change: Any, entry: str = "models/model.json") -> Path:
    """The file with the JSON, or the bytes, of one entry changed."""
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(path, "w") as made:
        for info in archive.infolist():
            content = archive.read(info)
            if info.filename.endswith(entry):
                if entry.endswith(".json"):
                    loaded = json.loads(content)
                    change(loaded)
                    content = json.dumps(loaded).encode()
                else:
                    content = change(content)
            made.writestr(info.filename, content)
    return path


def operator(content: Any, target: str) -> None:
    content["graph_module"]["graph"]["nodes"][0]["target"] = target


def formula(content: Any, text: str) -> None:
    content["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][0] = {"as_expr": {"expr_str": text, "hint": None}}


@pytest.mark.parametrize(
    "target",
    ["torch.os.system", "torch.load", "torch.ops.aten.from_file.default", "torch.ops.aten.__class__.mro",
     "_operator.call", "math.factorial", "#os:system"],
)  # fmt: skip
def test_operators_of_other_modules_are_refused(target: str, file: Path, tmp_path: Path) -> None:
    path = rewritten(file, tmp_path / "hostile.pt2", lambda content: operator(content, target))
    with pytest.raises(ConvertError, match=r"operator of .*hostile.pt2' must be one of torch.ops.aten, got"):
        fastgru.convert(path)


@pytest.mark.parametrize("text", ["__import__('os').system('touch hacked')", "eval(chr(49))", "s0.__class__", "[1]"])
def test_formulas_that_are_code_are_refused(
    text: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = rewritten(file, tmp_path / "hostile.pt2", lambda content: formula(content, text))
    with pytest.raises(ConvertError, match=r"size in .*hostile.pt2' must be a formula of symbols, got"):
        fastgru.convert(path)
    assert not (tmp_path / "hacked").exists()


def test_pickles_and_code_of_files_are_not_run(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import os

    class Evil:
        def __reduce__(self) -> Any:
            return os.system, ("touch hacked",)

    monkeypatch.chdir(tmp_path)
    stream = io.BytesIO()
    torch.save(((Evil(),), {}), stream)
    path = rewritten(file, tmp_path / "pickled.pt2", lambda _: stream.getvalue(), "data/sample_inputs/model.pt")
    with pytest.raises(ConvertError, match=r"must hold tensors and plain values, got posix.system"):
        fastgru.convert(path)

    def pickled(content: Any) -> None:
        next(iter(content["config"].values()))["use_pickle"] = True

    entry = "data/weights/model_weights_config.json"
    with pytest.raises(ConvertError, match="must be plain tensors, got some that are pickled"):
        fastgru.convert(rewritten(file, tmp_path / "weights.pt2", pickled, entry))

    def guarded(content: Any) -> None:
        content["guards_code"] = ["__import__('os').system('touch hacked') == 0"]

    fastgru.convert(rewritten(file, tmp_path / "guards.pt2", guarded))
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("size", [0, 10, 3000, -200])
def test_truncated_files_are_refused(size: int, file: Path, tmp_path: Path) -> None:
    (tmp_path / "short.pt2").write_bytes(file.read_bytes()[:size])
    with pytest.raises(ConvertError, match=r"exported program '.*short.pt2' must"):
        fastgru.convert(tmp_path / "short.pt2")


def test_files_of_other_versions_and_compiled_ones_are_told(file: Path, tmp_path: Path) -> None:
    def newer(content: Any) -> None:
        content["schema_version"]["major"] = 999

    with pytest.raises(
        ConvertError, match=r"must be one that PyTorch .* reads, got .*: export it again with that version"
    ):
        fastgru.convert(rewritten(file, tmp_path / "newer.pt2", newer))
    with zipfile.ZipFile(tmp_path / "older.pt2", "w") as made:
        made.writestr("serialized_exported_program.json", "{}")
    with pytest.raises(ConvertError, match=r"must hold a program under models/, got one of a PyTorch before 2.8"):
        fastgru.convert(tmp_path / "older.pt2")
    with zipfile.ZipFile(tmp_path / "compiled.pt2", "w") as made:
        made.writestr("net/data/aotinductor/model/a.so", b"")
    with pytest.raises(ConvertError, match="got code that AOTInductor compiled: save the program"):
        fastgru.convert(tmp_path / "compiled.pt2")
    torch.save(Small().state_dict(), tmp_path / "weights.pt2")
    with pytest.raises(ConvertError, match=r"must hold a program under models/, got entries"):
        fastgru.convert(tmp_path / "weights.pt2")
