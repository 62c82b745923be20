"""The .fgru file: nothing but FileFormatError from damaged bytes."""

from __future__ import annotations

from typing import Any

import pytest
from fgru_files import join, looped, mixed, parts, small, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastgru.errors import FileFormatError
from fastgru.files import fgru


@pytest.fixture(scope="module", params=[small, mixed, looped])
def whole(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "m"
    write(path, request.param())
    return path, path.read_bytes()


def reads_or_refuses(path: Any, data: bytes) -> bool:
    path.write_bytes(data)
    try:
        fgru.read(path)
    except FileFormatError:
        return False
    return True


def test_every_flipped_byte_is_noticed(whole):
    path, data = whole
    for i in range(len(data)):
        flipped = bytearray(data)
        flipped[i] ^= 1 << (i % 8)
        if reads_or_refuses(path, bytes(flipped)):  # only where JSON says the same in other bytes
            assert data[i : i + 1].isspace() or flipped[i : i + 1].isspace()


FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(st.data())
def test_a_truncated_or_extended_file_is_refused(whole, data):
    path, good = whole
    cut = data.draw(st.integers(0, len(good) - 1))
    assert not reads_or_refuses(path, good[:cut])
    assert not reads_or_refuses(path, good + data.draw(st.binary(min_size=1, max_size=64)))


@FUZZ
@given(st.integers(0, 4000), st.binary(min_size=1, max_size=40))
def test_overwritten_bytes_never_crash(whole, at, junk):
    path, good = whole
    reads_or_refuses(path, good[:at] + junk + good[at + len(junk) :])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@FUZZ
@given(st.data(), JSON)
def test_any_value_anywhere_in_the_header_never_crashes(whole, data, value):
    """Replace one entry at any depth of the header by any JSON value, NaN included."""
    path, good = whole
    outer, header, body = parts(good)
    place: Any = header
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else list(range(len(place)))))
        if not (isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans())):
            break
        place = place[key]
    place[key] = value
    reads_or_refuses(path, join(outer, header, body))
