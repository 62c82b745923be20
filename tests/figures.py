"""Write the figures of docs/testing.md: what can be counted, and what long runs have left in docs/testing.json.

python -m tests.figures           rewrites the page
python -m tests.figures --check   fails where the page has other figures
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterable
from pathlib import Path

from fastgru.graph import OPS, PRECISIONS

from .results import read

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "testing.md"
BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def lines(paths: Iterable[Path]) -> int:
    """Lines that are not empty."""
    return sum(1 for path in paths for line in path.read_text().splitlines() if line.strip())


def files(folder: str, *endings: str) -> list[Path]:
    """The files of a folder with these endings; of the engine's generated C none."""
    found = [path for ending in endings for path in sorted((ROOT / folder).rglob(f"*{ending}"))]
    return [path for path in found if path.parent.name != "engine" or path.suffix != ".c"]


def test_functions(path: Path) -> int:
    """Functions that pytest collects; each may run with many parameters."""
    return sum(
        isinstance(n, ast.FunctionDef) and n.name.startswith("test_") for n in ast.walk(ast.parse(path.read_text()))
    )


def keys(path: Path, name: str) -> int:
    """Keys of a module's dict, without importing the module."""
    for node in ast.parse(path.read_text()).body:
        target = (
            node.target
            if isinstance(node, ast.AnnAssign)
            else node.targets[0]
            if isinstance(node, ast.Assign)
            else None
        )
        if isinstance(target, ast.Name) and target.id == name and isinstance(node.value, ast.Dict):
            return len(node.value.keys)
    raise SystemExit(f"{path} must have a dict {name}, got none")


def rounded(n: int, to: int) -> int:
    """The nearest multiple: what changes every day would have to be written every day."""
    return round(n / to) * to


def table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """A table of Markdown, numbers with commas."""
    cells = [[f"{c:,}" if isinstance(c, int) else str(c) for c in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(head), ["---"] * len(head), *cells]) + "\n"


def size() -> str:
    """Code beside tests."""
    python, engine = files("fastgru", ".py"), files("fastgru", ".pyx", ".pxd", ".c") + files("include", ".h")
    tests, checks = files("tests", ".py"), files("tests", ".c", ".h", ".sh")
    code, proof = lines(python) + lines(engine), lines(tests) + lines(checks)
    rows = [
        ("package, Python", python),
        ("engine and kernels, Cython and C", engine),
        ("tests, Python", tests),
        ("tests, C and shell", checks),
    ]
    about = [(name, rounded(len(found), 10), rounded(lines(found), 500)) for name, found in rows]
    return table(
        ("what", "files, about", "lines, about"), [*about, ("tests for each line of code", "", f"{proof / code:.1f}")]
    )


def counts() -> str:
    """Count the tests of each kind."""
    live = sorted((ROOT / "tests" / "live").glob("test_*.py"))
    here = [path for path in sorted((ROOT / "tests").glob("*/test_*.py")) if path not in live]
    return table(
        ("what", "count"),
        [
            ("test functions without a framework, about", rounded(sum(map(test_functions, here)), 50)),
            ("test functions beside PyTorch, Keras or ONNX, about", rounded(sum(map(test_functions, live)), 50)),
            ("kinds of ops, each in the engine against the reference and on 1, 2 and 3 threads", len(OPS)),
            (
                "cells of recurrences, each with lengths and masks",
                keys(ROOT / "tests" / "support" / "cells.py", "CELLS"),
            ),
            ("precisions of weights", len(PRECISIONS)),
            ("formats that are fuzzed", keys(ROOT / "tests" / "fuzz" / "formats.py", "FORMATS")),
            ("operations that run out of memory", keys(ROOT / "tests" / "oom" / "operations.py", "OPERATIONS")),
        ],
    )


def runs() -> str:
    """Long runs, as their commands recorded them."""
    rows = []
    for kind, found in sorted(read().items()):
        for name, figures in sorted(found.items()):
            shown = ", ".join(
                f"{k} {v:,}" if isinstance(v, (int, float)) else f"{k} {v}" for k, v in figures.items() if k != "date"
            )
            rows.append((kind, name, shown, figures["date"]))
    return table(("run", "of", "figures", "date"), rows)


FIGURES = {"size": size, "counts": counts, "runs": runs}


def written(page: str) -> str:
    """The page with the figures of now."""
    return BLOCK.sub(lambda m: m[1] + FIGURES[m[2]]() + m[3], page)


def main() -> None:
    """Rewrite or check the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.figures", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    options = parser.parse_args()
    before = PAGE.read_text()
    if options.check and written(before) != before:
        raise SystemExit("docs/testing.md has other figures: run python -m tests.figures")
    if not options.check:
        PAGE.write_text(written(before))


if __name__ == "__main__":
    main()
