"""The architecture holds: imports go one way, and every public example runs."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import fastgru

PACKAGE = Path(fastgru.__file__).parent
# module prefix -> what it may import of the package, relative to it (itself and ALWAYS).
ALWAYS = ("errors", "_arrays", "_hints", "_names")
ALLOWED = {
    "errors": (),
    "_arrays": (),
    "_files": (),
    "_hints": (),
    "_names": (),
    "graph": (),
    "isa": ("_engine",),
    "layers": ("graph",),
    "memory": (),
    "reference": ("graph", "memory"),
    "fileformat": ("graph", "selftest", "_header", "_attributes", "_files", "memory"),
    "_matrices": ("graph",),
    "converters": ("graph", "reference", "layers", "memory", "_files"),
    "lowering": ("graph", "reference"),
    "passes": ("graph", "reference"),
    "drawing": ("graph", "_files"),
    "tracing": ("graph", "reference", "_samples", "model"),
    "comparison": ("graph", "reference", "converters", "passes", "selftest", "tracing", "_samples", "model"),
    "summary": ("graph",),
    "quantization": ("graph", "reference", "selftest", "summary", "_samples"),
    "selftest": ("graph", "model", "_samples", "_tolerances"),
    "_tolerances": ("graph", "reference", "_samples"),
    "_header": ("graph", "selftest", "_matrices", "_attributes", "_samples"),
    "_attributes": ("graph",),
    "_samples": ("graph", "reference"),
}


def imported_modules(path: Path) -> set[str]:
    """Names, relative to the package, of what a module imports from it at run time."""
    package = list(path.relative_to(PACKAGE).parts[:-1])
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {".".join([*base, name]) for name in names}
        elif isinstance(node, ast.Import):
            found |= {a.name.partition(".")[2] for a in node.names if a.name.startswith("fastgru.")}
    return found


@pytest.mark.parametrize("prefix", ALLOWED)
def test_imports_go_one_way(prefix):
    files = [p for p in PACKAGE.rglob("*.py") if p.relative_to(PACKAGE).with_suffix("").parts[0] == prefix]
    assert files
    for path in files:
        for name in imported_modules(path):
            head = name.split(".")[0]
            assert head in (prefix, *ALWAYS, *ALLOWED[prefix]), f"{path.name} imports {name}"


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


@pytest.mark.parametrize("module", ["_engine", "_blas"])
def test_stubs_name_what_the_binary_has(module):
    binary = importlib.import_module(f"fastgru.{module}")
    tree = ast.parse((PACKAGE / f"{module}.pyi").read_text())
    functions = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
    assert functions | set(classes) <= public(binary)
    for name, node in classes.items():
        methods = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
        fields = {n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
        assert {n for n in methods | fields if not n.startswith("_")} == public(getattr(binary, name))
