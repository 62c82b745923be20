"""The file that ``torch.export.save`` writes, looked through before PyTorch reads it.

PyTorch's reader evaluates formulas of sizes, looks up operators by any name and unpickles what a file says is pickled:
a file is only given to it when its formulas, operators and pickles are those that programs have.
"""

from __future__ import annotations

import io
import json
import os
import re
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any

import torch

from ...errors import ConvertError
from ..damage import MALFORMED, RATIO, SLACK, ZIPPED, line_of
from ..torch.archive import Archive
from ..torch.rebuilt import Global, Unknown

OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims|higher_order)\._?[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)?"
    r"|_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|not_)"
    r"|torch\._?sym_[a-z]+|math\.(ceil|floor|trunc|sqrt)"
)
READS_FILES = ("from_file", "save")
WORDS = re.compile(r"[^\W\d]\w*")
FORMULA = re.compile(r"[\w\s+\-*/(),=']*")
IN_FORMULAS = frozenset(
    ("Symbol", "Integer", "Rational", "Add", "Mul", "Pow", "Mod", "Max", "Min", "FloorDiv", "ModularIndexing", "Where",
     "PythonMod", "CeilDiv", "CleanDiv", "IntTrueDiv", "FloatTrueDiv", "ToFloat", "CeilToInt", "FloorToInt",
     "TruncToInt", "RoundToInt", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "Equality", "Unequality", "StrictLessThan",
     "LessThan", "StrictGreaterThan", "GreaterThan", "And", "Or", "Not", "oo", "int_oo", "IntInfinity",
     "NegativeIntInfinity", "integer", "positive", "nonnegative", "negative", "nonpositive", "zero", "finite", "real",
     "True", "False")
)  # fmt: skip


def load(path: Any) -> Any:
    """The program of a file.

    Raises
    ------
    ConvertError
        When it is none, of a version that PyTorch cannot read, or holds what a program does not need.
    """
    what = f"exported program {os.fspath(path)!r}"
    size = os.path.getsize(path)
    try:
        with zipfile.ZipFile(path) as archive:
            _check(archive, size, what)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(os.fspath(path))
        program._guards_code = []  # Python's own code, which modules made of the program would run
        return program
    except ConvertError:
        raise
    except (*ZIPPED, *MALFORMED, AssertionError, NotImplementedError) as error:
        raise ConvertError(
            f"{what} must be one that PyTorch {torch.__version__} reads, got {line_of(error)}: export it again with "
            "that version"
        ) from error


def _check(archive: zipfile.ZipFile, size: int, what: str) -> None:
    """Raise unless an archive holds a program and its weights alone."""
    infos = archive.infolist()
    if sum(info.file_size for info in infos) > RATIO * size + SLACK:
        raise ConvertError(f"{what} must unpack to at most {RATIO} times its {size} bytes, got more")
    names = [info.filename.partition("/")[2] for info in infos]
    if any(name.startswith("data/aotinductor/") for name in names):
        raise ConvertError(
            f"{what} must be one of torch.export.save, got code that AOTInductor compiled: save the program it was "
            "compiled from"
        )
    if len(set(names)) < len(names):
        raise ConvertError(f"{what} must hold every entry once, got one twice")
    if not any(name.startswith("models/") for name in names):
        older = any(info.filename == "serialized_exported_program.json" for info in infos)
        got = "one of a PyTorch before 2.8: export it again" if older else f"entries {', '.join(names[:3]) or 'none'}"
        raise ConvertError(f"{what} must hold a program under models/, got {got}")
    for info, name in zip(infos, names, strict=True):
        if name.endswith(".json") or name.startswith("models/"):
            _check_json(json.loads(archive.read(info)), what)
        elif name.endswith(".pt"):
            _check_pickle(archive.read(info), f"{name} of {what}")
        elif "custom_obj" in name:
            raise ConvertError(f"{what} must hold no objects of other classes, got {name}")


def _check_pickle(data: bytes, what: str) -> None:
    """Raise unless the arguments that a program keeps are tensors and plain values."""
    if not data:
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if len(set(archive.namelist())) < len(archive.namelist()):
            raise ConvertError(f"{what} must hold every entry once, got one twice")
        waiting = [Archive(archive, len(data), what).content()]
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, Unknown | Global):
            raise ConvertError(f"{what} must hold tensors and plain values, got {value.name}")
        if isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            waiting += value.values() if isinstance(value, dict) else value


def _check_json(content: Any, what: str) -> None:
    for key, value in _pairs(content):
        if key == "target" and isinstance(value, str) and not _is_plain(value):
            raise ConvertError(f"operator of {what} must be one of torch.ops.aten, got {value[:80]!r}")
        if key == "expr_str" and not (FORMULA.fullmatch(str(value)) and all(map(_is_known, WORDS.findall(str(value))))):
            raise ConvertError(f"size in {what} must be a formula of symbols, got {str(value)[:80]!r}")
        if key == "use_pickle" and value is not False:
            raise ConvertError(f"weights of {what} must be plain tensors, got some that are pickled")


def _is_plain(target: str) -> bool:
    """Return True if a target is an operator, or the name of a weight in a signature."""
    if OPERATOR.fullmatch(target):
        return not any(name in target for name in READS_FILES)
    return not target.startswith(("torch", "_operator", "math", "#"))


def _is_known(word: str) -> bool:
    return word in IN_FORMULAS or re.fullmatch(r"[a-z]{1,2}\d+", word) is not None  # symbols are s77, u0 and so on


def _pairs(content: Any) -> Iterator[tuple[str, Any]]:
    """All keys and values within a value of JSON."""
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from value.items()
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
