"""Compiled plans: the bits of the model, mapped and not packed, refused by name where they are not of this machine."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import os
import pickle
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cells import ISAS
from plan_mutants import traced
from test_instructions import graphs
from typer.testing import CliRunner

import fastgru
from fastgru import CompiledModel, ConvertError, FileFormatError, IsaError, Model, VerificationError, engine
from fastgru.checks.selftest import make
from fastgru.cli import build
from fastgru.files import compiled
from fastgru.files.origin import reopened
from fastgru.isa import LANES, select_isa
from fastgru.layers import GRU, LSTM, Dense
from fastgru.lowering.encoding import Program, decode, encode

RNG = np.random.default_rng(5)


def w(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32) / 4


def layers() -> Model:
    return Model(
        [GRU.from_torch(w(36, 5), w(36, 12), w(36), w(36)), LSTM.from_torch(w(28, 12), w(28, 7)), Dense(w(4, 7), w(4))],
        provenance={"source": "these tests"},
    )


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "model.plan"
    layers().compile(path)
    return path


def taken_apart(path: Path) -> tuple[dict[str, Any], Any, bytes]:
    """The header, the words and the sections of a plan."""
    data = path.read_bytes()
    _, _, count, length, _ = compiled.PREFIX.unpack(data[: compiled.PREFIX.size])
    header = json.loads(data[compiled.ALIGN + count :][:length])
    words = np.frombuffer(data[compiled.ALIGN :][:count], np.int64).copy()
    return header, words, data[min(row[0] for row in header["sections"].values()) :]


def put_together(path: Path, header: Any, words: Any, sections: bytes) -> Path:
    """Write a plan of these parts, whose checksum is right."""
    text, begin = json.dumps(header, separators=(",", ":")).encode(), compiled.PAGE
    head = compiled.PREFIX.pack(
        compiled.MAGIC, compiled.VERSION, words.nbytes, len(text), zlib.crc32(words.tobytes() + text)
    )
    whole = head.ljust(compiled.ALIGN, b"\0") + words.tobytes() + text
    assert len(whole) <= begin
    path.write_bytes(whole.ljust(begin, b"\0") + sections)
    return path


def changed(path: Path, change: Any) -> Path:
    """The plan with another header."""
    header, words, sections = taken_apart(path)
    change(header)
    return put_together(path, header, words, sections)


def lowered_anew(path: Path, change: Any) -> Path:
    """The plan with other instructions, of the arrays that it had."""
    header, words, sections = taken_apart(path)
    made = decode(Program(words, header["texts"], None, header["blockers"]))
    program = encode(change(made))
    return put_together(path, header | {"texts": program.texts}, program.words, sections)


def same(a: Any, b: Any) -> None:
    for x, y in zip(a if isinstance(a, tuple) else (a,), b if isinstance(b, tuple) else (b,), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


# The same bits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16", "int8", "int8_affine"])
def test_every_precision_has_the_bits_of_the_model(precision, isa, tmp_path):
    model = layers() if precision == "float32" else layers().quantize(precision)
    model = Model(model.graph, isa=isa)
    model.compile(tmp_path / "a.plan", ",".join(ISAS))
    found = fastgru.load(tmp_path / "a.plan", isa=isa, verify=True)
    assert isinstance(found, CompiledModel)
    x = w(3, 9, 5)
    same(found(x), model(x))
    same(found(x, lengths=[9, 2, 5]), model(x, lengths=[9, 2, 5]))
    same(found.predict(x, batch_size=2), model.predict(x, batch_size=2))
    a, b = found.stream(), model.stream()
    same(a.step(x[0, 0]), b.step(x[0, 0]))
    assert a.state.keys() == b.state.keys()


def pruned(precision: str) -> Model:
    keep = np.zeros((96, 256), np.float32)
    keep[:8, ::16] = 1
    model = Model([Dense(w(96, 256) * keep, w(96)), GRU.from_torch(w(96, 96), w(96, 32))])
    return model if precision == "float32" else model.quantize(precision)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_pruned_weights_stay_sparse(precision, tmp_path):
    model = pruned(precision)
    model.compile(tmp_path / "a.plan")
    found = fastgru.load(tmp_path / "a.plan", verify=True)
    assert any(fact >= 0 for fact in found._contents.sections[found.isa].facts)
    x = w(2, 5, 256)
    same(found(x), model(x))


def test_every_instruction_is_kept(tmp_path):
    for i, graph in enumerate(graphs()):
        model = Model(graph)
        try:
            test = make(graph, None, {}, dtype="float32").input
        except ConvertError:  # no number of steps fits this graph
            continue
        model.compile(path := tmp_path / f"{i}.plan")
        found = fastgru.load(path, verify=True)
        x = tuple(test.values()) if isinstance(test, dict) else test
        same(found(x), model(x))
        assert found.inputs == model.inputs
        assert found.outputs == model.outputs
        if not model._plan.blockers:
            assert found.stream().state.keys() == model.stream().state.keys()


@pytest.mark.parametrize("isa", ISAS)
def test_plans_that_show_gates_are_kept(isa):
    x = w(9, 3)
    for lowered in traced():
        program = encode(lowered)
        made = engine.Plan(program, isa=isa, dtype="float32")
        packed, facts = made.packed()
        weights = np.frombuffer(compiled._joined(packed), np.uint8)
        room = np.empty(len(weights) + compiled.ALIGN, np.uint8)
        held = room[-room.ctypes.data % compiled.ALIGN :][: len(weights)]
        held[:] = weights
        found = engine.Plan(
            program._replace(arrays=None), isa=isa, dtype="float32", stored=(held, facts), check=True
        )  # fmt: skip
        own, other = (engine.make_stream(each).process(x) for each in (found, made))
        assert own[1].shape == (9, lowered.values[lowered.outputs[1]].size)
        same(own, other)


def test_weights_of_other_machines_are_packed_as_there(tmp_path):
    layers().compile(tmp_path / "a.plan", "avx512,avx2,neon,portable")
    sections = compiled.read(tmp_path / "a.plan").sections
    assert list(sections) == list(LANES)
    assert sections["neon"].crc32 == sections["portable"].crc32  # vectors of four numbers, both
    assert sections["avx2"].bytes != sections["avx512"].bytes


def test_arrays_shared_by_nodes_are_stored_once(tmp_path):
    dense = Dense(w(64, 64))
    Model([dense]).compile(tmp_path / "one.plan")
    Model([dense, dense]).compile(tmp_path / "two.plan")
    one, two = (compiled.read(tmp_path / f"{name}.plan") for name in ("one", "two"))
    assert [s.bytes for s in one.sections.values()] == [s.bytes for s in two.sections.values()]


# What users hold ----------------------------------------------------------------------------------


def test_a_plan_is_a_model_that_cannot_change(plan):
    found = fastgru.load(plan)
    assert repr(found) == f"<fastgru.CompiledModel x -> dense isa={found.isa} of {select_isa(None)}>"
    assert found.provenance == {"source": "these tests"}
    assert (found.dtype, found.gemm) == ("float32", "packed")
    assert copy.copy(found) is copy.deepcopy(found) is found
    for name in ("graph", "quantize", "save", "summary", "with_scaler", "self_test", "compile"):
        with pytest.raises(AttributeError, match=r"load the \.fgru file that it was compiled from"):
            getattr(found, name)
    with pytest.raises(AttributeError, match="no attribute 'grph'"):
        found.grph  # noqa: B018


def test_pickles_name_the_file(plan):
    found = fastgru.load(plan)
    data = pickle.dumps(found)
    assert len(data) < 300 + len(str(plan))
    same(pickle.loads(data)(x := w(4, 5)), found(x))
    whole = pickle.dumps(fastgru.load(plan, embed=True))
    layers().compile(plan)  # other weights
    reopened.cache_clear()  # as in another process
    with pytest.raises(FileFormatError, match="the one that it was loaded from"):
        pickle.loads(data)
    plan.unlink()
    with pytest.raises(FileNotFoundError, match="where it was loaded from"):
        pickle.loads(data)
    same(pickle.loads(pickle.dumps(pickle.loads(whole)))(x), found(x))


def test_a_process_that_maps_a_plan_gives_the_same_bits(plan):
    code = """
import sys, zlib, numpy as np, fastgru
print(zlib.crc32(fastgru.load(sys.argv[1])(np.ones((7, 5))).tobytes()))
"""
    found = subprocess.run([sys.executable, "-c", code, plan], capture_output=True, text=True, check=True)
    assert int(found.stdout) == zlib.crc32(fastgru.load(plan)(np.ones((7, 5))).tobytes())


def test_models_through_blas_are_not_compiled(tmp_path):
    pytest.importorskip("scipy")
    with pytest.raises(
        ValueError, match="model to compile must have dtype 'float32' and gemm 'packed', got dtype 'float64'"
    ):
        Model([Dense(w(2, 3))], dtype="float64").compile(tmp_path / "a.plan")
    with pytest.raises(IsaError, match="isa must be some of avx512, avx2, neon, portable, got 'sse'"):
        Model([Dense(w(2, 3))]).compile(tmp_path / "a.plan", "sse")
    assert not list(tmp_path.iterdir())


# Refused ------------------------------------------------------------------------------------------


def test_a_plan_of_another_machine_is_refused_by_name(tmp_path):
    other = "neon" if "neon" not in ISAS else "avx2"
    layers().compile(tmp_path / "a.plan", other)
    with pytest.raises(
        IsaError, match=f"plan must be for an instruction set of this machine .*, got {other}: compile it"
    ):
        fastgru.load(tmp_path / "a.plan")
    layers().compile(tmp_path / "a.plan", ISAS[0])
    if len(ISAS) > 1:
        with pytest.raises(IsaError, match=f"isa of this plan must be one of {ISAS[0]}, got '{ISAS[1]}'"):
            fastgru.load(tmp_path / "a.plan", isa=ISAS[1])


def set_item(name: str, value: Any) -> Any:
    return lambda header: header.update({name: value})


def dense(**fields: Any) -> Any:
    def change(made: Any) -> Any:
        instructions = [*made.instructions[:2], dataclasses.replace(made.instructions[2], **fields)]
        return made._replace(instructions=instructions)

    return change


def section(place: int, value: Any) -> Any:
    return lambda header: next(iter(header["sections"].values())).__setitem__(place, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_item("dialect", 7), r"plan must be of this fastgru \(0.1.0\), got one made by .*: compile it again"),
        (set_item("byteorder", "big"), "byte order of the plan must be that of this machine, little, got 'big'"),
        (section(0, 4097), "section .* must lie in the file"),
        (section(1, 64), "packed weights must have at least"),
        (section(3, []), "packed matrices must be as many"),
        (lambda h: h["sections"].pop("test"), "plan must have sections of weights and of a test"),
        (lambda h: h["signature"]["inputs"][0].__setitem__(0, "y"), "inputs of the signature must be those of"),
        (lambda h: h["test"]["inputs"][0].__setitem__(1, [99, 99, 99]), "input of the test must lie in its section"),
        (lambda h: h.pop("texts"), "header must have the entries"),
        (lambda h: h["texts"].append(1), "texts must be text"),
        (set_item("texts", []), "must be the number of a text, got"),
        (set_item("blockers", {"dense": 1}), "blockers must be text"),
    ],
)
def test_changed_headers(plan, change, message):
    with pytest.raises(FileFormatError, match=f"^{plan}: .*{message}"):
        fastgru.load(changed(plan, change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dense(output=7), r"instruction 2 \(dense of node 'dense'\): buffers must be 0 to 3, got 7"),
        (dense(size=5), r"instruction 2 \(dense of node 'dense'\): w must have shape \(5, 7\), got \(4, 7\)"),
        (dense(clock=2), r"instruction 2 .*: clock must be one that is counted before, got 2"),
        (lambda m: m._replace(clocks=0), "clocks must be at least 1 and bases 1 to clocks, got 0 and 1"),
        (lambda m: m._replace(outputs=[0]), "inputs and outputs must be some buffers, each once"),
        (lambda m: m._replace(macs=-1), "count must be one that there is room for, got -1"),
    ],
)
def test_changed_instructions(plan, change, message):
    with pytest.raises(FileFormatError, match=rf"(?s)^{plan}: .*{message}"):
        fastgru.load(lowered_anew(plan, change))


def test_every_word_is_checked(plan):
    """A word that is another is refused, or is a number that a plan may have; none is a place outside of memory."""
    header, words, sections = taken_apart(plan)
    refused = 0
    for i in range(len(words)):
        for value in (-1, 2**31, 2**40, 2**62, -(2**63)):
            other = words.copy()
            other[i] = value
            put_together(plan, header, other, sections)
            with contextlib.suppress(FileFormatError):
                fastgru.load(plan)
                continue
            refused += 1
    assert refused > 4 * len(words)
    for count in range(len(words)):
        with pytest.raises(FileFormatError, match="must"):
            fastgru.load(put_together(plan, header, words[:count], sections))
    with pytest.raises(FileFormatError, match=f"plan must have {len(words)} words, got {len(words) + 1}"):
        fastgru.load(put_together(plan, header, np.append(words, 0), sections))


def test_changed_bytes(plan):
    data = plan.read_bytes()
    for end in (0, 7, 19, 21, 500, len(data) - 4096):
        plan.write_bytes(data[:end])
        with pytest.raises(FileFormatError):
            compiled.read(plan)
    plan.write_bytes(data[:80] + b"!" + data[81:])
    with pytest.raises(FileFormatError, match=r"checksum of the header must be .*: the contents were changed"):
        fastgru.load(plan)
    for version in (1, 9):
        plan.write_bytes(data[:8] + struct.pack("<I", version) + data[12:])
        with pytest.raises(FileFormatError, match=f"plan must be of version 2, got {version}: compile it again"):
            fastgru.load(plan)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is told by /proc, of Linux")
def test_refusing_plans_keeps_no_memory(plan):
    header, words, sections = taken_apart(plan)
    sizes = []
    for n in range(2000):
        other = words.copy()
        other[n % len(words)] = -(2**63)
        with contextlib.suppress(FileFormatError):
            fastgru.load(put_together(plan, header, other, sections))
        if n in (400, 1999):
            sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    assert sizes[1] - sizes[0] < 4 << 20


def test_changed_weights_are_found_on_demand(plan):
    section = next(iter(compiled.read(plan).sections.values()))
    data = bytearray(plan.read_bytes())
    data[section.at + 3] ^= 1
    plan.write_bytes(data)
    fastgru.load(plan)
    with pytest.raises(FileFormatError, match=r"checksum of the weights must be .*: the contents were changed"):
        fastgru.load(plan, verify=True)


def test_other_outputs_than_then_are_found(plan):
    def change(header: Any) -> None:
        for row in header["test"]["outputs"].values():
            row[0] ^= 1

    with pytest.raises(VerificationError, match="output 'dense' must have the bits that it had"):
        fastgru.load(changed(plan, change), verify=True)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_places_in_sparse_matrices_are_checked(precision, tmp_path):
    pruned(precision).compile(path := tmp_path / "a.plan")
    section = next(iter(compiled.read(path).sections.values()))
    kept = next(fact for fact in section.facts if fact >= 0)
    data = path.read_bytes()
    size = kept * 32 * (4 if precision == "float32" else 1)
    starts = section.at + -(-size // 64) * 64
    for at in (starts, starts + 4, starts + -(-(96 // 8 + 1) * 4 // 64) * 64):
        path.write_bytes(data[:at] + struct.pack("<i", 1 << 30) + data[at + 4 :])
        with pytest.raises(FileFormatError, match="sparse matrix must have blocks that lie inside it"):
            fastgru.load(path)


# The command line ---------------------------------------------------------------------------------


@pytest.fixture
def cli(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layers().save("model.fgru")
    return lambda *words: CliRunner().invoke(build(), words)


def test_compile_and_run(cli, tmp_path):
    found = cli("compile", "model.fgru", "-o", "model.plan", "--isa", "avx2,neon," + ISAS[0])
    assert found.exit_code == 0, found.output
    assert f"model.plan: {os.path.getsize('model.plan'):,} bytes, for avx2,neon,{ISAS[0]}" in found.output
    np.savetxt("in.csv", w(6, 5), delimiter=",")
    for name in ("model.fgru", "model.plan"):
        assert cli("run", name, "in.csv", "-o", f"{name}.csv").exit_code == 0
    assert Path("model.fgru.csv").read_text() == Path("model.plan.csv").read_text()
    assert "the outputs have the bits of then" in cli("verify", "model.plan").output
    shown = cli("info", "model.plan", "--plan").output
    assert "recurrent" in shown
    assert "weights for neon" in shown
    listed = json.loads(cli("info", "model.plan", "--plan", "--json").output)["plan"]
    assert [row["instruction"] for row in listed] == ["recurrent", "recurrent", "dense"]
    assert all(row["weights"] > 0 for row in listed)
    assert json.loads(cli("info", "model.plan", "--json").output)["isas"].keys() == {"avx2", "neon", ISAS[0]}


@pytest.mark.parametrize("words", [("quantize", "-o", "b.fgru"), ("bench",), ("compile", "-o", "b.plan")])
def test_commands_that_need_the_graph_say_so(cli, words):
    assert cli("compile", "model.fgru", "-o", "model.plan").exit_code == 0
    found = cli(words[0], "model.plan", *words[1:])
    assert found.exit_code == 2
    assert f"fastgru {words[0]} must be given a .fgru file, got a compiled plan" in " ".join(found.output.split())


def test_outputs_are_named_as_plans(cli):
    found = cli("compile", "model.fgru", "-o", "model.bin")
    assert found.exit_code == 2
    assert "--output must end in .plan, got 'model.bin': write 'model.plan'" in " ".join(found.output.split())
