"""The build: a table of instruction sets, one object each and element type, and the extensions."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


class Dot(NamedTuple):
    """Dot-product instructions beyond an instruction set; the flags come on top of it."""

    name: str
    flags: tuple[str, ...]
    supported: str
    formats: tuple[str, ...] = ()  # whose products they make, the next row the others'; none named: all


class Isa(NamedTuple):
    """A row of the table: every flag here is asked for by `supported` in fastgru/_native/dispatch.c."""

    name: str
    flags: tuple[str, ...]
    supported: str
    dots: tuple[Dot, ...] = ()  # the best first; "plain", without any, comes after them
    f64: str = ""  # the one whose float64 kernels serve it, where that is built, too


INT8 = ("FG_INT8", "FG_SPARSE_INT8")
X86 = (
    Isa("avx512", ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mf16c",
                   "-mprefer-vector-width=512"), "has_avx512",
        (Dot("bf16", ("-mavx512vnni", "-mavx512bf16"), "has_avx512_bf16", ("FG_BFLOAT16",)),
         Dot("vnni", ("-mavx512vnni",), "has_avx512_vnni", INT8)),
        "avx2"),  # products of float64 are BLAS's; kernels of its own take 95 kB of a wheel that may have 2.5 MB
    Isa("avx2", ("-mavx2", "-mfma", "-mf16c"), "has_avx2", (Dot("vnni", ("-mavxvnni",), "has_avx_vnni", INT8),)),
    # Where there is no AVX2. For size it compiles in a third of the time of -O3, and takes 120 kB less of a wheel; but
    # steps of one row take up to 1.5 times as long, networks of convolutions 1.2 times.
    Isa("portable", ("-Os", "-DFG_SMALL", "-Wno-psabi"), "always"),
)  # fmt: skip
ARM = (Isa("neon", (), "always", (Dot("dot", ("-mcpu=generic+dotprod",), "has_neon_dot", INT8),)),)
OTHER = (Isa("portable", (), "always"),)
PLAIN = Dot("plain", (), "always")
MACHINE = os.environ.get("FASTGRU_MACHINE", platform.machine()).lower()
ISAS = {"x86_64": X86, "amd64": X86, "aarch64": ARM, "arm64": ARM}.get(MACHINE, OTHER)
if ASKED := os.environ.get("FASTGRU_ISAS"):  # e.g. "avx2,portable": a build with fewer kernels
    if unknown := set(ASKED.split(",")) - {isa.name for isa in ISAS}:
        raise SystemExit(f"FASTGRU_ISAS must be some of {', '.join(isa.name for isa in ISAS)}, got {unknown}")
    ISAS = tuple(isa for isa in ISAS if isa.name in ASKED.split(","))


def doubles(isa: Isa) -> str:
    """The instruction set whose float64 kernels serve this one."""
    return isa.f64 if isa.f64 in [each.name for each in ISAS] else isa.name


SANITIZE = os.environ.get("FASTGRU_SANITIZE", "")  # e.g. "address,float-cast-overflow"; see tests/sanitize.sh
# -O1 and line numbers alone: reports stay readable, and a kernel object takes seconds.
SANITIZER = ["-O1", "-g1", f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer"] if SANITIZE else []
# Checks as calls, and none of uses after a scope: with them a kernel object took 180 s instead of 7 (GCC 12).
QUICK = ["--param=asan-instrumentation-with-call-threshold=0", "-fno-sanitize-address-use-after-scope"]
# -std=gnu11 and -ffp-contract=fast: fused multiply-adds. Never -ffast-math: it would set flush-to-zero
# for the user's whole process. -fno-lto: each object must stay what it is. -g0 after Python's own -g, which took a
# quarter of the time for what the linker strips. At -O2 the kernels of AVX take 8 s of 11 to compile, but convolutions
# 1.09 times as long, and with single passes of -O3 added 1.01 to 1.19 times (Zen 4).
FLAGS = ["-std=gnu11", "-O3", "-g0", "-Wall", "-Wextra", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math",
         "-fno-lto", "-fvisibility=hidden"]  # fmt: skip
# The system built for, which is another one when cross-compiling (.ci/wheels): "linux", "macosx", "win".
SYSTEM = sysconfig.get_platform().partition("-")[0]
POSITION = [] if SYSTEM.startswith("win") else ["-fPIC"]  # Windows knows no other code
# Calls between libraries without a jump in between, and functions that begin a line of the cache: where the same code
# happened to lie made 15 to 30 ns of a step of 350 (Zen 4, GRU and LSTM of 8 to 40 units).
DIRECT = ["-fno-plt"] if SYSTEM == "linux" else []
# No tables for unwinding the stack, which a debugger alone does: 5 % of a wheel, that may have 2.5 MB.
LEAN = [] if SANITIZE or SYSTEM.startswith("win") else ["-fno-asynchronous-unwind-tables"]
FLAGS += POSITION + DIRECT + LEAN + ["-falign-functions=64"] + SANITIZER + (QUICK if SANITIZE else [])
# float64 gives up what -O3 adds for two seconds of a build: at -O1 its convolutions took 1.3 times as long.
DOUBLE = () if SANITIZE else ("-O2",)
# The stable ABI, one wheel for Python 3.12 and later: a step costs 30 to 47 ns more than with the ABI of one Python
# (GRU-16, 303 and 351 ns; GRU-64, 1431 and 1461), so only wheels ask for it. In that of 3.11 arguments come as a tuple,
# and a step costs 126 ns more.
ABI3 = (
    os.environ.get("FASTGRU_ABI3") == "1"
    and sys.version_info >= (3, 12)
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
)


def write_declarations() -> None:
    """Write what C and Cython share with the declaration of the instructions; untouched where nothing has changed.

    The modules that declare them are imported without their package, which needs what is yet to be built.
    """
    package = ModuleType("declared")
    package.__path__ = ["fastgru/lowering"]
    sys.modules[package.__name__] = package
    for path, text in import_module("declared.structs").FILES.items():
        if not Path(path).exists() or Path(path).read_text() != text():
            Path(path).write_text(text())


LOADER, ROOMS = ("instructions", "fields"), ("ops", "plan")  # headers and rooms that kernels do not include
# Modules that run when a model is loaded, a state is moved or ids are chosen, never in a step.
APART = ("blas", "buffers", "choose", "plan", "probe", "state", "structs", "threads", "weights")


class BuildKernels(build_ext):
    """Compiles kernels.c once per instruction set and element type, and links the objects into `engine.execute`."""

    def build_extensions(self) -> None:
        """Make all objects, then link; a second run, as of `build bdist_wheel`, has the objects of the first."""
        if any(ext.sources for ext in self.extensions):
            self.make_objects()
        super().build_extensions()

    def make_objects(self) -> None:
        """Make all objects side by side, the extensions' own among them, and put them in place of the sources."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # a dozen objects of seconds each
            translated = pool.submit(self.translated)  # first, as it takes long
            jobs = [pool.submit(self.compile, *each) for each in self.objects()]
            made = {ext.name: pool.submit(self.extension_objects, ext) for ext in translated.result()}
        objects = {name: job.result() for name, job in made.items()}
        # Kernels come first in the binary: where they lie must not depend on the engine, as a step of GRU-8 takes 0.39
        # to 0.43 us by it (Zen 3).
        objects["fastgru.engine.execute"][:0] = [name for job in jobs for name in job.result()]
        for ext in self.extensions:
            ext.sources, ext.depends, ext.extra_objects = [], objects[ext.name], objects[ext.name]

    def translated(self) -> list[Extension]:
        """Translate the extensions to C: in one thread, as Cython knows no other way."""
        found: list[Extension] = cythonize(self.extensions, quiet=True, compiler_directives=DIRECTIVES)
        return found

    def extension_objects(self, ext: Extension) -> list[str]:
        """Compile an extension that is translated."""
        folder = f"{ext.name}.{sys.implementation.cache_tag}" + "-abi3" * ABI3
        flags = (*ext.extra_compile_args, *(f"-I{name}" for name in ext.include_dirs))
        return self.compile(ext.sources[0], folder, flags, ext.define_macros, [])

    def objects(self) -> list[tuple[str, str, tuple[str, ...], list]]:
        """Source, folder, flags and macros of every object."""
        rows = []
        for isa in ISAS:
            for dtype, define in (("f32", []), ("f64", [("FG_DOUBLE", None)])):
                if dtype == "f64" and doubles(isa) != isa.name:
                    continue
                macros = [*define, ("FG_ISA", isa.name), ("FG_TABLE", f"fg_{isa.name}_{dtype}")]
                flags = (*DOUBLE, *isa.flags) if define else isa.flags
                rows.append(("fastgru/_native/kernels.c", f"{isa.name}_{dtype}", flags, macros))
            for dot, rest in zip((*isa.dots, PLAIN), (*isa.dots[1:], PLAIN, PLAIN), strict=False):
                macros = [("FG_DOT", dot.name), ("FG_TABLE", f"fg_{isa.name}_{dot.name}")]
                if dot.formats:
                    made = " ".join(f"row({name})" for name in dot.formats)
                    macros += [("FG_MADE(row)", made), ("FG_REST", f"fg_{isa.name}_{rest.name}")]
                rows.append(("fastgru/_native/narrow.c", f"{isa.name}_{dot.name}", (*isa.flags, *dot.flags), macros))
        isas = " ".join(f"row({isa.name}, {isa.supported}, {doubles(isa)})" for isa in ISAS)
        dots = " ".join(f"row({isa.name}, {dot.name}, {dot.supported})" for isa in ISAS for dot in (*isa.dots, PLAIN))
        macros = [("FG_BUILT_ISAS(row)", isas), ("FG_BUILT_DOTS(row)", dots)]
        rows.append(("fastgru/_native/dispatch.c", "dispatch", (), macros))
        rows += [(f"fastgru/_native/{name}.c", name, (), []) for name in ("ops", "traced")]
        rows.append(("fastgru/_native/pool.c", "pool", () if SYSTEM.startswith("win") else ("-pthread",), []))
        # the longest first
        return sorted(rows, key=lambda row: (row[0].endswith("kernels.c"), row[1].endswith("f32")), reverse=True)

    def compile(self, source: str, folder: str, flags: tuple[str, ...], macros: list, common=FLAGS) -> list[str]:
        """The object, made anew only when something it is made of has changed: all of them take a minute."""
        output = os.path.join(self.build_temp, folder + SANITIZE.replace(",", "_"))
        (target,) = self.compiler.object_filenames([source], output_dir=output)
        made_of = [source, "setup.py", *glob("include/**/*.h", recursive=True), *glob("fastgru/_native/*.h")]
        made_of = [name for name in made_of if Path(name).parent.name != "decode" or "search" in source]
        if source.endswith(("kernels.c", "narrow.c")):  # these know nothing of instructions
            paths = map(Path, made_of)
            made_of = [str(path) for path in paths if path.parent.name not in ROOMS and path.stem not in LOADER]
        if os.path.exists(target) and os.path.getmtime(target) > max(map(os.path.getmtime, made_of)):
            return [target]
        start = time.perf_counter()
        made = self.compiler.compile(
            [source], output_dir=output, macros=macros, include_dirs=["include", *self.include_dirs],
            extra_postargs=[*common, *flags],
        )  # fmt: skip
        print(f"{folder:32} {time.perf_counter() - start:5.1f} s", flush=True)
        return made


class CheckKernels(BuildKernels):
    """Compile the C files alone, for a system that this machine does not link for: `setup.py kernels`, by .ci/cross.

    The environment gives the compiler (CC), its further flags (CFLAGS), and the system and machine as for a build.
    """

    description = "compile the C files alone, to see that another system's compiler takes them"

    def build_extensions(self) -> None:
        self.compiler.set_executable("compiler_so", f"{os.environ['CC']} {os.environ.get('CFLAGS', '')}")
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            jobs = [pool.submit(self.compile, *each, [*FLAGS, "-O1"]) for each in self.objects()]
            print(f"{sum(len(job.result()) for job in jobs)} objects for {sysconfig.get_platform()}")


def link_flags() -> list[str]:
    """Threads, and no symbols that only a debugger reads: each linker has its own words for it."""
    if SYSTEM.startswith("win"):
        return ["-lsynchronization", *(SANITIZER or ["-s"])]
    return ["-pthread", "-lm", *(SANITIZER or (["-Wl,-S,-x"] if SYSTEM == "macosx" else ["-s"]))]


def extensions() -> list[Extension]:
    """A module of its own for every file of `fastgru/engine`; `execute` alone links what is C."""
    limited = [("Py_LIMITED_API", "0x030c0000")] if ABI3 else []
    return [
        Extension(
            f"fastgru.engine.{Path(source).stem}",
            [source],
            include_dirs=["include", np.get_include()],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"), *limited],
            py_limited_api=ABI3,
            extra_compile_args=["-Os" if Path(source).stem in APART else "-O2", "-g0", *DIRECT, *LEAN, *SANITIZER],
            extra_link_args=link_flags(),
            depends=[*glob("fastgru/_native/*.[ch]"), *glob("include/**/*.h", recursive=True)],
        )
        for source in sorted(glob("fastgru/engine/*.pyx"))
    ]


DIRECTIVES = {
    "language_level": 3, "boundscheck": False, "wraparound": False, "initializedcheck": False, "cdivision": True,
}  # fmt: skip

write_declarations()
setup(
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildKernels, "kernels": CheckKernels},
    options={"bdist_wheel": {"py_limited_api": "cp312"}} if ABI3 else {},
)
