"""The architecture holds: imports go one way, and every public example runs."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastgru

PACKAGE = Path(fastgru.__file__).parent
ROOT = "fastgru"  # the package's own names, as a user imports them
ALWAYS = ("errors", "_arrays", "_hints", "_names")
# Module or package, down to the packages of the converters -> what it may import of fastgru, beside itself and ALWAYS.
ALLOWED: dict[str, tuple[str, ...]] = {
    "errors": (),
    "_arrays": (),
    "_hints": (),
    "_lazy": (),
    "_names": (),
    "_progress": (),
    "graph": (),
    "engine": (),
    "isa": ("engine",),
    "layers": ("graph",),
    "memory": (),
    "reference": ("graph", "memory"),
    "files": (),
    "files.attributes": ("graph",),
    "files.matrices": ("graph",),
    "files.writing": (),
    "files.encoding": ("graph", "checks.samples", "checks.selftest", "files.attributes", "files.matrices"),
    "files.fgru": ("graph", "memory", "checks.selftest", "files.attributes", "files.encoding", "files.writing"),
    "files.compiled": (ROOT, "engine", "graph", "isa", "lowering", "running", "files.attributes", "files.writing"),
    "files.origin": (ROOT, "compiled", "model"),
    "converters.damage": (),
    "converters.program": ("graph", "reference"),
    "converters": ("converters.damage", "converters.program", "graph", "memory", "files.writing"),
    "converters.onnx": ("converters", "converters.damage", "converters.program", "graph", "memory", "reference"),
    "converters.keras": ("converters", "converters.damage", "converters.program", "graph"),
    "converters.torch": ("converters", "converters.damage", "converters.program", "graph", "memory"),
    "converters.forecasters": ("converters", "converters.torch", "forecasting"),
    "converters.plugins": (
        "converters", "converters.damage", "converters.program", "converters.torch", "graph", "reference",
    ),
    "converters.torch_export": (
        "converters", "converters.damage", "converters.program", "converters.torch", "graph", "reference",
    ),
    "lowering": ("graph", "reference"),
    "passes": ("graph", "reference"),
    "data": (),
    "checks": ("_lazy",),
    "checks.samples": ("graph", "reference"),
    "checks.tolerances": ("graph", "reference", "checks.samples"),
    "checks.selftest": ("graph", "model", "checks.samples", "checks.tolerances"),
    "checks.importing": ("converters", "graph", "checks.selftest"),
    "checks.tracing": ("graph", "model", "reference", "checks.samples"),
    "checks.comparison": (
        "converters", "graph", "model", "passes", "reference", "checks.samples", "checks.selftest", "checks.tracing",
    ),
    "report": ("_lazy",),
    "report.drawing": ("graph", "files.writing"),
    "report.listing": ("graph", "lowering", "model"),
    "report.profile": ("engine", "graph", "lowering", "model"),
    "report.summary": ("graph",),
    "quantization": ("graph", "reference", "report.summary", "checks.samples", "checks.selftest"),
    "inspect": (
        "_arguments", "checks.samples", "engine", "graph", "lowering", "model", "passes", "reference", "report.summary",
        "running",
    ),
    "_scaling": ("graph", "checks.samples", "checks.selftest", "checks.tolerances"),
    "_arguments": ("engine",),
    "generation": ("engine", "graph", "running"),
    "decode": ("_arguments", "engine", "running"),
    "forecasting": ("graph",),
    "forecasting.rollout": ("engine", "forecasting", "running"),
    "forecasting.forecasts": ("forecasting", "forecasting.rollout", "running"),
    "_predict": ("running", "_arguments", "engine", "_progress"),
    "running": ("graph", "engine", "generation", "_arguments", "_predict", "forecasting.forecasts"),
    "compiled": (
        "checks.selftest", "engine", "files.compiled", "files.origin", "isa", "lowering", "memory", "model",
        "passes", "running",
    ),
    "model": (
        "checks.selftest", "compiled", "engine", "files.fgru", "files.origin", "graph", "isa", "lowering",
        "memory", "passes", "quantization", "report.summary", "running", "_scaling", "inspect", "forecasting",
    ),
    "backends": ("_lazy",),
    "backends.onnx": ("converters", "converters.onnx", "model"),
    "recipes": (ROOT, "cli", "converters", "generation", "graph", "inspect", "layers", "passes", "files.writing"),
    "cli": (
        ROOT, "checks.comparison", "checks.selftest", "checks.tracing", "files.compiled", "files.fgru", "files.writing",
        "forecasting", "generation", "graph", "inspect", "layers", "model", "quantization", "report.drawing",
        "report.listing", "report.profile", "report.summary", "running",
    ),
    "__main__": ("cli",),
}  # fmt: skip
# Arrows against the order, of imports within functions alone.
LAZY = {
    "converters": {"converters.onnx", "converters.keras", "converters.torch"},  # of frameworks that need not be there
    "converters.torch": {"converters.torch_export"},  # takes a second to load, which chains of layers need not wait for
}


def area(name: str) -> str:
    """The key of `ALLOWED` that a module is part of, or the module where none is."""
    parts = name.split(".")
    if ".".join(parts[:2]) in ALLOWED:
        return ".".join(parts[:2])
    source = PACKAGE / parts[0]
    return parts[0] if source.is_dir() or [*PACKAGE.glob(f"{parts[0]}.*")] else ROOT


def is_module(name: str) -> bool:
    """True of the name of a module or package, relative to this one."""
    path = PACKAGE.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def imported_modules(path: Path) -> Iterator[tuple[str, bool]]:
    """Names, relative to the package, of what a module imports from it at run time, and whether as it is loaded."""
    package = list(path.relative_to(PACKAGE).parts[:-1])
    tree = ast.parse(path.read_text())
    inner = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            package_of = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:  # a module of a package, or a name in one
                module = ".".join(filter(None, [package_of, alias.name]))
                yield module if not node.module or is_module(module) else package_of, id(node) not in inner
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("fastgru."):
                    yield alias.name.partition(".")[2], id(node) not in inner


FILES = {
    path: ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(PACKAGE.rglob("*.py"))
    if path != PACKAGE / "__init__.py"
}


def test_every_module_has_its_arrows():
    assert {area(name) for name in FILES.values()} == set(ALLOWED)
    packages = {f"converters.{path.parent.name}" for path in PACKAGE.glob("converters/*/__init__.py")}
    assert packages < set(ALLOWED)


@pytest.mark.parametrize("prefix", ALLOWED)
def test_imports_go_one_way(prefix):
    for path in [path for path, name in FILES.items() if area(name) == prefix]:
        for name, loaded in imported_modules(path):
            allowed = {prefix, *ALWAYS, *ALLOWED[prefix]} | (LAZY.get(prefix, set()) if not loaded else set())
            assert area(name) in allowed, f"{path.relative_to(PACKAGE)} imports {name}"


FRAMEWORKS = ("torch", "keras", "onnx")
MODULES = sorted(m.name for m in pkgutil.walk_packages([str(PACKAGE)], "fastgru.") if "__main__" not in m.name)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        missing = error if isinstance(error, ModuleNotFoundError) else error.__cause__
        if not isinstance(missing, ModuleNotFoundError) or missing.name not in FRAMEWORKS:
            raise
        pytest.skip(f"could not import '{missing.name}', which {name} is for")
    result = doctest.testmod(module)
    assert result.failed == 0


def public(names: object) -> set[str]:
    return {n for n in dir(names) if not n.startswith("_")}


# Modules of the engine -> each sees those before it alone.
ENGINE = (
    "c", "codes", "read", "run", "execute", "structs", "weights", "plan", "buffers", "clocks", "arguments", "state",
    "threads", "stream", "probe", "blas", "choose", "beams", "search",
)  # fmt: skip
SEEN_BY_ENGINE = {"_arrays", "_names", "errors", "graph", "memory"}  # and, from within functions, `inspect`


def test_modules_of_the_engine_see_those_before_them():
    files = list(PACKAGE.glob("engine/*.p[yx][xd]"))
    assert {path.stem for path in files} == set(ENGINE)
    for path in files:
        earlier = {*ENGINE[: ENGINE.index(path.stem)], path.stem}
        text = path.read_text()
        inside = set(re.findall(r"^from \.(\w+) cimport", text, re.MULTILINE))
        outside = {*re.findall(r"^from \.\.(\w+) import", text, re.MULTILINE)}
        outside |= {*re.findall(r"^from \.\. import (\w+)", text, re.MULTILINE)}
        assert inside <= earlier, path.name
        assert outside <= SEEN_BY_ENGINE, path.name


@pytest.mark.parametrize("module", sorted(path.stem for path in PACKAGE.glob("engine/*.pyi")))
def test_stubs_name_what_the_binary_has(module):
    binary = importlib.import_module(f"fastgru.engine.{module}")
    tree = ast.parse((PACKAGE / "engine" / f"{module}.pyi").read_text())
    functions = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
    assert functions | set(classes) <= public(binary)
    for name, node in classes.items():
        methods = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
        fields = {n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
        assert {n for n in methods | fields if not n.startswith("_")} == public(getattr(binary, name))
