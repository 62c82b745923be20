"""Hold wheels to what their names promise.

    python .ci/wheel_check.py dist/*.whl       needs pyelftools; abi3audit where a wheel has the stable ABI

At most 2.5 MB; no library beyond the system's C library; of glibc no symbol newer than the tag names, of musl none that
the one installed here lacks (Debian 12: 1.2.3); the machine of the tag; stripped. In a wheel with the stable ABI, no
symbol of Python outside it.
"""

import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

MOST = 2_500_000
MACHINES = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64"}
LIBRARIES = {
    "manylinux": {"libc.so.6", "libm.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"},
    "musllinux": {"libc.so", "libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1"},
}


def tag_of(wheel):
    """Family, (major, minor) and machine of the wheel's platform tag."""
    found = re.search(r"-(manylinux|musllinux)_(\d+)_(\d+)_(\w+)\.whl$", wheel.name)
    if found is None:
        raise SystemExit(f"{wheel.name}: platform must be manylinux or musllinux with a version, got another")
    return found[1], (int(found[2]), int(found[3])), found[4]


def symbols(elf, defined):
    """Names of the dynamic symbols that an object defines, or of those that it must find elsewhere."""
    rows = [row for row in elf.get_section_by_name(".dynsym").iter_symbols() if row.name]
    if defined:
        return {row.name for row in rows if row["st_shndx"] != "SHN_UNDEF"}
    return {row.name for row in rows if row["st_shndx"] == "SHN_UNDEF" and row["st_info"]["bind"] != "STB_WEAK"}


def problems_of(name, data, family, newest, machine):
    """List what is wrong with one shared object."""
    elf = ELFFile(io.BytesIO(data))
    if elf["e_machine"] != MACHINES[machine]:
        yield f"{name}: machine must be {MACHINES[machine]}, got {elf['e_machine']}"
    dynamic = list(elf.get_section_by_name(".dynamic").iter_tags())
    needed = {tag.needed for tag in dynamic if tag.entry.d_tag == "DT_NEEDED"}
    if extra := needed - LIBRARIES[family]:
        yield f"{name}: libraries must be the C library alone, got {', '.join(sorted(extra))}"
    if elf.get_section_by_name(".symtab") or elf.get_section_by_name(".debug_info"):
        yield f"{name}: symbols must be stripped, got a table of them"
    if family == "musllinux" and any(tag.entry.d_tag == "DT_FLAGS" and tag.entry.d_val & 0x10 for tag in dynamic):
        yield f"{name}: thread-local storage must be dynamic, which musl alone loads, got that of DF_STATIC_TLS"
    musl = Path(f"/lib/ld-musl-{machine}.so.1")
    if family == "musllinux" and musl.exists():
        with musl.open("rb") as file:
            known = symbols(ELFFile(file), True)
        if lacking := {each for each in symbols(elf, False) - known if not each.startswith(("Py", "_Py"))}:
            yield f"{name}: symbols must be of the C library, got {', '.join(sorted(lacking))}"
    for section in elf.iter_sections():
        if isinstance(section, GNUVerNeedSection):
            for _, versions in section.iter_versions():
                for version in versions:
                    number = re.fullmatch(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?", version.name)
                    if number and (int(number[1]), int(number[2])) > newest:
                        yield f"{name}: glibc must be at most {newest[0]}.{newest[1]}, got {version.name}"


def check(path):
    """Print a line about a wheel; return what is wrong with it."""
    wheel = Path(path)
    family, newest, machine = tag_of(wheel)
    size, problems = wheel.stat().st_size, []
    if size > MOST:
        problems.append(f"wheel must be at most {MOST} bytes, got {size}")
    with zipfile.ZipFile(wheel) as archive:
        objects = [name for name in archive.namelist() if name.endswith(".so")]
        modules = sorted(f"fastgru/engine/{path.stem}" for path in Path("fastgru/engine").glob("*.pyx"))
        if sorted(name.partition(".")[0] for name in objects) != modules:
            problems.append(f"shared objects must be {modules}, got {objects}")
        if sources := [name for name in archive.namelist() if name.endswith((".c", ".h", ".pyx", ".pxd"))]:
            problems.append(f"wheel must hold no sources, got {sources}")
        for name in objects:
            problems += problems_of(name, archive.read(name), family, newest, machine)
    if "-abi3-" in wheel.name:
        audit = subprocess.run([sys.executable, "-m", "abi3audit", "--strict", wheel], capture_output=True, text=True)
        if audit.returncode:
            problems.append(f"symbols of Python must be in the stable ABI: {audit.stdout}{audit.stderr}")
    print(f"{wheel.name}: {size} bytes, {'; '.join(problems) or 'right'}")
    return problems


if __name__ == "__main__":
    sys.exit(sum(len(check(path)) for path in sys.argv[1:]) > 0)
