"""The build: a table of instruction sets, one object each and element type, and the extensions."""

from __future__ import annotations

import os
import platform
from typing import NamedTuple

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


class Isa(NamedTuple):
    """A row of the table: every flag here is asked for by `supported` in fastgru/_native/dispatch.c."""

    name: str
    flags: tuple[str, ...]
    supported: str


X86 = (
    Isa("avx512", ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma",
                   "-mprefer-vector-width=512"), "has_avx512"),
    Isa("avx2", ("-mavx2", "-mfma"), "has_avx2"),
    Isa("portable", (), "always"),
)  # fmt: skip
ARM = (Isa("neon", (), "always"),)
OTHER = (Isa("portable", (), "always"),)
MACHINE = os.environ.get("FASTGRU_MACHINE", platform.machine()).lower()
ISAS = {"x86_64": X86, "amd64": X86, "aarch64": ARM, "arm64": ARM}.get(MACHINE, OTHER)

SANITIZE = os.environ.get("FASTGRU_SANITIZE", "")  # e.g. "address,undefined"
# -std=gnu11 and -ffp-contract=fast: fused multiply-adds. Never -ffast-math: it would set flush-to-zero
# for the user's whole process. -fno-lto: each object must stay what it is.
FLAGS = ["-std=gnu11", "-O3", "-Wall", "-Wextra", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math",
         "-fno-lto", "-fvisibility=hidden", "-fPIC"]  # fmt: skip
if SANITIZE:
    FLAGS += [f"-fsanitize={SANITIZE}", "-g", "-O1"]


class BuildKernels(build_ext):
    """Compiles kernels.c once per instruction set and element type, and links the objects into `_engine`."""

    def build_extension(self, ext: Extension) -> None:
        if ext.name == "fastgru._engine":
            ext.extra_objects = [*self.kernel_objects(), *self.dispatch_object()]
        super().build_extension(ext)

    def kernel_objects(self) -> list[str]:
        objects = []
        for isa in ISAS:
            for dtype, define in (("f32", []), ("f64", [("FG_DOUBLE", None)])):
                macros = [*define, ("FG_ISA", isa.name), ("FG_TABLE", f"fg_{isa.name}_{dtype}")]
                objects += self.compile("fastgru/_native/kernels.c", f"{isa.name}_{dtype}", isa.flags, macros)
        return objects

    def dispatch_object(self) -> list[str]:
        rows = " ".join(f"row({isa.name}, {isa.supported})" for isa in ISAS)
        return self.compile("fastgru/_native/dispatch.c", "dispatch", (), [("FG_BUILT_ISAS(row)", rows)])

    def compile(self, source: str, folder: str, flags: tuple[str, ...], macros: list) -> list[str]:
        return self.compiler.compile(
            [source], output_dir=os.path.join(self.build_temp, folder), macros=macros, include_dirs=["include"],
            extra_postargs=[*FLAGS, *flags],
        )  # fmt: skip


def extension(name: str) -> Extension:
    sanitizer = [f"-fsanitize={SANITIZE}"] if SANITIZE else []
    return Extension(
        f"fastgru.{name}",
        [f"fastgru/{name}.pyx"],
        include_dirs=["include", np.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        extra_compile_args=["-O2", "-g0", *sanitizer],
        extra_link_args=["-s", *sanitizer] if not SANITIZE else sanitizer,
        depends=["fastgru/_run.pxi", "fastgru/_stream.pxi", "include/fastgru/fastgru.h"],
    )


setup(
    ext_modules=cythonize(
        [extension("_engine"), extension("_blas")],
        compiler_directives={
            "language_level": 3, "boundscheck": False, "wraparound": False, "initializedcheck": False,
            "cdivision": True,
        },
    ),
    cmdclass={"build_ext": BuildKernels},
)  # fmt: skip
