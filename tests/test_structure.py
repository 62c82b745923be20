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
    "_files": (),
    "_hints": (),
    "_names": (),
    "_progress": (),
    "graph": (),
    "engine": (),
    "isa": ("engine",),
    "layers": ("graph",),
    "memory": (),
    "reference": ("graph", "memory"),
    "fileformat": ("graph", "selftest", "_header", "_attributes", "_files", "memory"),
    "_matrices": ("graph",),
    "converters.damage": (),
    "converters.program": ("graph", "reference"),
    "converters": ("converters.damage", "converters.program", "graph", "memory", "_files"),
    "converters.onnx": ("converters", "converters.damage", "converters.program", "graph", "memory", "reference"),
    "converters.keras": ("converters", "converters.damage", "converters.program", "graph"),
    "converters.torch": ("converters", "converters.damage", "converters.program", "graph", "memory"),
    "converters.plugins": (
        "converters", "converters.damage", "converters.program", "converters.torch", "graph", "reference",
    ),
    "converters.torch_export": (
        "converters", "converters.damage", "converters.program", "converters.torch", "graph", "reference",
    ),
    "lowering": ("graph", "reference"),
    "passes": ("graph", "reference"),
    "data": (),
    "drawing": ("graph", "_files"),
    "tracing": ("graph", "reference", "_samples", "model"),
    "comparison": ("graph", "reference", "converters", "passes", "selftest", "tracing", "_samples", "model"),
    "summary": ("graph",),
    "listing": ("graph", "lowering", "model"),
    "quantization": ("graph", "reference", "selftest", "summary", "_samples"),
    "selftest": ("graph", "model", "_samples", "_tolerances"),
    "_tolerances": ("graph", "reference", "_samples"),
    "_header": ("graph", "selftest", "_matrices", "_attributes", "_samples"),
    "_attributes": ("graph",),
    "_samples": ("graph", "reference"),
    "_scaling": ("graph", "selftest", "_samples", "_tolerances"),
    "_arguments": ("engine",),
    "_origin": (ROOT, "compiled", "model"),
    "_predict": ("running", "_arguments", "engine", "_progress"),
    "running": ("graph", "engine", "_arguments", "_predict"),
    "files": (ROOT, "graph", "lowering", "running", "_attributes", "_files"),
    "compiled": (
        "engine", "files", "isa", "lowering", "memory", "model", "passes", "running", "selftest", "_origin",
    ),
    "model": (
        "graph", "isa", "lowering", "memory", "passes", "quantization", "fileformat", "selftest", "summary",
        "compiled", "engine", "running", "_origin", "_scaling",
    ),
    "onnx_backend": ("converters", "converters.onnx", "model"),
    "recipes": (ROOT, "cli", "converters", "graph", "layers", "passes", "_files"),
    "cli": (
        ROOT, "graph", "layers", "model", "running", "comparison", "drawing", "fileformat", "files", "listing",
        "quantization", "selftest",
        "summary", "tracing", "_files",
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


def imported_modules(path: Path) -> Iterator[tuple[str, bool]]:
    """Names, relative to the package, of what a module imports from it at run time, and whether as it is loaded."""
    package = list(path.relative_to(PACKAGE).parts[:-1])
    tree = ast.parse(path.read_text())
    inner = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            for name in [node.module] if node.module else [alias.name for alias in node.names]:
                yield ".".join([*base, name]), id(node) not in inner
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
    "c", "codes", "execute", "weights", "plan", "buffers", "clocks", "arguments", "state", "threads", "stream", "blas"
)  # fmt: skip
SEEN_BY_ENGINE = {"_arrays", "_names", "errors", "graph", "memory"}


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
