"""The Markdown pages of the repository: their code blocks, run in order, their links and their headings."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
LANGUAGES = ("python", "sh", "text", "toml", "json", "yaml")
# Modules beyond the extra "test" that blocks may need, and the command lines that need modules or programs.
MODULES = ("torch", "keras", "onnx", "sklearn", "pyarrow")
# Modules of engines that spread work over processes and machines: a block with one of them is a program of its own.
ENGINES = ("ray", "dask", "pyspark", "joblib")
LINES = {"onnx": r"\.onnx\b", "pyarrow": r"\.parquet\b"}
PROGRAMS = {"dot": r"--graph\b"}
FASTGRU = 'fastgru() { "$PYTHON" -m fastgru "$@"; }'


class Block(NamedTuple):
    """A fenced code block: its page, the line number of its first line, its language and its text."""

    page: Path
    line: int
    language: str
    text: str

    def needs(self) -> set[str]:
        """Return the modules of `MODULES` without which the block cannot run: those that it imports or uses."""
        if self.language != "python":
            return {name for name, pattern in LINES.items() if re.search(pattern, self.text)}
        return (self.imports() | self.reads()) & set(MODULES)

    def engines(self) -> set[str]:
        """Return the modules of `ENGINES` that a Python block imports."""
        return self.imports() & set(ENGINES) if self.language == "python" else set()

    def nodes(self) -> list[ast.AST]:
        """Return the syntax tree of a Python block as a list."""
        return list(ast.walk(ast.parse(self.text)))

    def assigns(self) -> set[str]:
        """Return the names that a Python block assigns or defines."""
        made = {n.name for n in self.nodes() if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        return made | {n.id for n in self.nodes() if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}

    def reads(self) -> set[str]:
        """Return the names that a Python block reads and does not assign."""
        return {n.id for n in self.nodes() if isinstance(n, ast.Name)} - self.assigns()

    def imports(self) -> set[str]:
        """Return the top-level modules that a Python block imports."""
        plain = {alias.name for node in self.nodes() if isinstance(node, ast.Import) for alias in node.names}
        source = {node.module or "" for node in self.nodes() if isinstance(node, ast.ImportFrom)}
        return {name.partition(".")[0] for name in plain | source}


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page, in order."""
    text = page.read_text()
    found = re.finditer(r"^```(.*)\n((?:.*\n)*?)```$", text, re.M)
    return [Block(page, text.count("\n", 0, m.start()) + 2, m[1].strip(), m[2]) for m in found]


def snippets(page: Path) -> list[Block]:
    """Return the code blocks of a page that run in one namespace: all but those that are programs of their own."""
    return [block for block in blocks(page) if not block.engines()]


def prose(page: Path) -> str:
    """Return the text of a page without its code blocks."""
    return re.sub(r"^```.*\n(?:.*\n)*?```$", "", page.read_text(), flags=re.M)


# Running ------------------------------------------------------------------------------------------


def prepare(folder: Path) -> None:
    """Write what the pages take as given: a trained model of 40 features, inputs for it, the folder of pictures."""
    (folder / "docs" / "pictures").mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "data" / "keras" / "tagger.keras", folder / "model.keras")
    rng = np.random.default_rng(0)
    np.save(folder / "x.npy", rng.normal(size=(300, 40)).astype(np.float32))
    np.savetxt(folder / "x.csv", rng.normal(size=(30, 40)), delimiter=",", fmt="%.6f")


def run_page(page: Path, have: Collection[str] = ()) -> dict[str, Any]:
    """Run the blocks of a page in order, in the current folder, and return their namespace.

    Python blocks share one namespace; of shell blocks, the lines that begin with ``fastgru`` run. Left out are blocks
    and lines that need a module outside `have`, lines that need a program that is not installed, and blocks that read
    names which a block that was left out assigns; and programs of `ENGINES`, which run in tests/live/test_scale.py.
    """
    namespace: dict[str, Any] = {"__name__": page.stem}
    undefined: set[str] = set()  # names that blocks which were left out define
    for block in snippets(page):
        if block.language == "sh":
            run_lines([line for line in commands(block) if line.needs() <= set(have)])
        elif block.language == "python" and block.needs() <= set(have) and not block.reads() & undefined:
            code = "\n" * (block.line - 1) + block.text  # so that tracebacks show the line of the page
            exec(compile(code, str(page), "exec"), namespace)
            undefined -= block.assigns()
        elif block.language == "python":
            undefined |= block.assigns()
    return namespace


def commands(block: Block) -> Iterator[Block]:
    """Yield the ``fastgru`` command lines of a shell block that this machine can run."""
    for i, line in enumerate(block.text.replace("\\\n", "  ").splitlines()):
        missing = [p for p, pattern in PROGRAMS.items() if re.search(pattern, line) and shutil.which(p) is None]
        if line.startswith("fastgru ") and not missing:
            yield block._replace(line=block.line + i, text=line)


def run_lines(lines: list[Block]) -> None:
    """Run command lines in one shell; the first that fails ends it with an AssertionError that shows the output."""
    if not lines:
        return
    script = "\n".join(["set -eo pipefail", FASTGRU, *(line.text for line in lines)])
    environment = {**os.environ, "PYTHON": sys.executable, "COLUMNS": "160"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment)
    where = f"{lines[0].page.name}, lines {lines[0].line} to {lines[-1].line}"
    assert done.returncode == 0, f"{where}:\n{done.stdout[-2000:]}{done.stderr}"


# Links --------------------------------------------------------------------------------------------


def targets(page: Path) -> list[str]:
    """Return what a page links to or shows, without addresses of the web."""
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"\b(?:src|srcset|href)=\"([^\"]+)\"", text)
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of the headings of a page."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.M):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        names.add(f"{slug}-{found[slug]}" if slug in found else slug)
        found[slug] = found.get(slug, 0) + 1
    return names


def dead(page: Path) -> list[str]:
    """Return the targets of a page that do not exist: files, pictures, anchors."""
    missing = []
    for target in targets(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            missing.append(target)
    return missing
