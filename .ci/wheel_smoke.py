"""Run an installed wheel without a test framework: every cell, precision and path against the float64 reference.

Fails, too, where the CPU has an instruction set of the build that fastgru does not find: the portable kernels alone
would give the same bits, many times slower.

    python .ci/wheel_smoke.py      in a folder that has no fastgru of its own

Runs where pytest would take minutes (under emulation) or cannot be installed (an interpreter without pip).
"""

import importlib.util
import os
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np

import fastgru
from fastgru.checks import selftest
from fastgru.layers import GRU, LSTM, RNN, Dense

GATES = ((GRU, 3), (LSTM, 4), (RNN, 1))
PRECISIONS = (None, "float16", "bfloat16", "int8")
# The system's own account of the CPU, without fastgru: flags of /proc/cpuinfo for each instruction set.
AVX2 = {"avx2", "fma", "f16c"}
FLAGS = {
    "x86_64": {"avx512": AVX2 | {"avx512f", "avx512bw", "avx512dq", "avx512vl"}, "avx2": AVX2, "portable": set()},
    "aarch64": {"neon": set()},
    "arm64": {"neon": set()},
}  # asimd is part of aarch64; qemu-user shows the flags of the machine it runs on
DOTS = {"avx512": {"bf16": {"avx512_vnni", "avx512_bf16"}, "vnni": {"avx512_vnni"}}, "avx2": {"vnni": {"avx_vnni"}}}


def missed(info, machine, cpu):
    """List what the CPU has by its flags, and `fastgru.cpu_info()` does not: instruction sets and dot products."""
    for isa, flags in FLAGS.get(machine, {}).items():
        if flags <= cpu and isa not in info["supported"]:
            yield f"{isa} must be supported, as the CPU has it, got {info['supported']}"
    for isa in info["supported"]:
        names = [name for name, flags in DOTS.get(isa, {}).items() if flags <= cpu]
        if names and info["dot_products"][isa] != names[0]:
            yield f"dot products of {isa} must be {names[0]}, as the CPU has them, got {info['dot_products'][isa]}"
    if info["selected"] != info["supported"][0]:
        yield f"selected must be the best, {info['supported'][0]}, got {info['selected']}"


def weights(gates, inputs, hidden, seed):
    """Random weights in PyTorch's layout, scaled as a trained network's."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(gates * hidden, k)) / np.sqrt(k) for k in (inputs, hidden)]


def check(layers, precision, isa):
    """One model: its self-test, its file, and the same bits in one call, in a stream and on two threads."""
    model = fastgru.Model(layers, isa=isa)
    if precision:
        model = model.quantize(precision)
    test = selftest.make(model.graph, None, {}, dtype="float32")
    model = fastgru.Model(model.graph, isa=isa, self_test=test)
    selftest.verify(model)
    x = np.random.default_rng(1).normal(size=(300, 24)).astype(np.float32)
    whole, stream = model(x), model.stream()
    assert np.array_equal(whole[:5], [stream.step(frame) for frame in x[:5]])
    assert np.array_equal(whole[5:], stream.process(x[5:]))
    assert np.array_equal(np.stack([whole] * 40), model(np.stack([x] * 40), threads=2))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.fgru")
        model.save(path)
        assert np.array_equal(whole, fastgru.load(path, verify=True, isa=isa)(x))


def main():
    """Check everything and say how much that was."""
    info, checks, listed = fastgru.cpu_info(), 0, Path("/proc/cpuinfo")
    cpu = set(listed.read_text().split()) if listed.exists() else set()
    if problems := list(missed(info, platform.machine(), cpu)):
        sys.exit("\n".join(problems))
    for isa in info["supported"]:
        for cell, gates in GATES:
            w, u = weights(gates, 24, 33, checks)
            layers = [cell.from_torch(w, u), Dense(np.random.default_rng(2).normal(size=(5, 33)) / 6)]
            for precision in PRECISIONS:
                check(layers, precision, isa)
                checks += 1
    if importlib.util.find_spec("scipy"):
        fastgru.Model(layers, dtype="float64")
    print(f"{checks} models right on {', '.join(info['supported'])}; {info['dot_products']}; {fastgru.__file__}")


if __name__ == "__main__":
    main()
