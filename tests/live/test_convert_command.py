"""The command line imports TorchScript by examples, and its errors speak of its own options."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

import fastgru
from fastgru.cli import build

torch = pytest.importorskip("torch")
nn = torch.nn

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning"),
]


class Carrying(nn.Module):
    """A GRU with its state as an argument and a result."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, h = self.gru(x, h)
        return y, h


@pytest.fixture
def cli(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.jit.script(Carrying().eval()).save("m.jit")

    def invoke(*words, code=0):
        result = CliRunner().invoke(build(), list(words))
        assert result.exit_code == code, result.output
        return result.stderr.removeprefix("error: ").rstrip("\n") if code else result.stdout

    return invoke


@pytest.mark.parametrize("examples", [["1,7,3", "1,1,4"], ["x=1,7,3", "h=h.npy"]])
def test_a_script_is_imported_by_examples(cli, examples):
    np.save("h.npy", np.zeros((1, 1, 4)))
    words = [word for example in examples for word in ("--example", example)]
    assert "wrote m.fgru" in cli("convert", "m.jit", "-o", "m.fgru", *words)
    x = np.random.default_rng(1).normal(size=(1, 9, 3)).astype(np.float32)
    with torch.no_grad():
        expected = torch.jit.load("m.jit")(torch.from_numpy(x), torch.zeros(1, 1, 4))[0].numpy()
    np.testing.assert_allclose(fastgru.load("m.fgru")(x), expected, atol=1e-6)


def test_states_can_be_left_alone_and_axes_named(cli):
    examples = ["--example", "1,7,3", "--example", "1,1,4"]
    cli("convert", "m.jit", "-o", "m.fgru", *examples, "--state", "none", "--axes", "x=B,T,-", "--axes", "h=-,B,-")
    assert sorted(fastgru.load("m.fgru").graph.inputs) == ["h", "x"]
    cli("convert", "m.jit", "-o", "m.fgru", *examples, "--state", "h=1")
    assert list(fastgru.load("m.fgru").graph.inputs) == ["x"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--example must be given for TorchScript, got none"),
        (["--example", "1,7,3", "--like", "GRU"], "--like must be omitted for TorchScript"),
        (["--example", "1,7,3", "--example", "1,1,4", "--example", "1"], "--example must be at most 2 for x, h, got 3"),
        (["--example", "1,7,3"], "--example must fit forward of"),
        (["--example", "1,7,3", "--example", "1,1,4", "--state", "q=1"], "--state must name inputs (x, h), got 'q'"),
        (["--example", "1,7,3", "--example", "1,1,4", "--axes", "x=B,F,-"], "must be 3 of 'B', 'T' and -, got B,F,-"),
    ],
)
def test_errors_speak_of_the_options_of_the_command(cli, words, message):
    assert message in cli("convert", "m.jit", "-o", "m.fgru", *words, code=2)
