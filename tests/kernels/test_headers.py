"""The C headers: rooms that include only what lies above them, and the page that maps them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INCLUDE = ROOT / "include/fastgru"
HEADERS = {str(path.relative_to(INCLUDE)): path for path in sorted(INCLUDE.rglob("*.h"))}
ROOMS = ("math", "gemm", "cells", "loops", "ops", "plan", "decode")  # each may include those before it
PAGE = (ROOT / "docs/kernels.md").read_text()
ROWS = {row[0]: row for row in re.findall(r"^\| `([\w/]+\.h)` \| (.+?) \| (.+?) \| (.+?) \|$", PAGE, re.MULTILINE)}


def included(path: Path) -> set[str]:
    """The headers of the package that a file includes."""
    names = re.findall(r'^(?:#include|cdef extern from) "(.+?)"', path.read_text(), re.MULTILINE)
    found = {name.removeprefix("fastgru/") if name.startswith("fastgru/") else _beside(path, name) for name in names}
    return found & HEADERS.keys()


def _beside(path: Path, name: str) -> str:
    own = path.parent.relative_to(INCLUDE) if INCLUDE in path.parents else Path("native")
    return str(own / name)


@pytest.mark.parametrize("header", HEADERS)
def test_rooms_include_only_what_lies_above_them(header):
    room = Path(header).parent.name
    for other in included(HEADERS[header]):
        above = Path(other).parent.name
        assert above in ("", room) or ROOMS.index(above) < ROOMS.index(room)


def test_the_page_has_every_header():
    assert ROWS.keys() == HEADERS.keys()


@pytest.mark.parametrize("header", [name for name in HEADERS if "/" in name])
def test_the_page_says_who_includes_it(header):
    files = [*HEADERS.values(), *(ROOT / "fastgru/_native").glob("*.c"), ROOT / "fastgru/engine/search.pxd"]
    users = {
        str(path.relative_to(INCLUDE)) if INCLUDE in path.parents else path.name
        for path in files
        if header in included(path)
    }
    said = ROWS[header][3]
    if said != "every kernel":
        assert set(re.findall(r"`(.+?)`", said)) == users


@pytest.mark.parametrize("header", HEADERS)
def test_no_header_knows_python_or_allocates(header):
    text = HEADERS[header].read_text()
    assert not re.search(r"Python\.h|\b(malloc|calloc|realloc|free)\(", text)
