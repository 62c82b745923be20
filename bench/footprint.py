"""The room and time that fastgru takes: on the disk, in memory, and to import.

    python -m bench.footprint       with the installed package to be measured, on Linux

prints the size of fastgru and of every package it needs, the resident memory of a process after NumPy, after fastgru
and with a GRU-64 running, and the time of an import and of `fastgru.load` beyond NumPy, medians of 21 processes.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from fastgru import Model
from fastgru.layers import GRU

RUNS = 21
MEMORY = "print(int(next(r for r in open('/proc/self/status') if r.startswith('VmRSS')).split()[1]) / 1024)"
CLOCK = "import time, numpy; t = time.perf_counter(); {}; print((time.perf_counter() - t) * 1e3)"


def packages(name: str, found: dict[str, int]) -> dict[str, int]:
    """Bytes on the disk of a package and of all that it needs without extras, caches included."""
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:  # of another system or Python
        return found
    files = {Path(str(file.locate())) for file in distribution.files or ()}
    found[name] = sum(file.stat().st_size for file in files if file.is_file())
    for requirement in distribution.requires or ():
        needed = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        if "extra ==" not in requirement and needed not in found:
            packages(needed, found)
    return found


def printed(code: str) -> float:
    """The number that a fresh process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Print the three tables."""
    sizes = packages("fastgru", {})
    for name, size in sorted(sizes.items(), key=lambda row: -row[1]):
        print(f"{name:20s} {size / 1e6:8.2f} MB installed")
    print(f"{'together':20s} {sum(sizes.values()) / 1e6:8.2f} MB installed\n")
    import numpy as np

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/gru64.fgru"
        Model([GRU.from_torch(rng.normal(size=(192, 64)), rng.normal(size=(192, 64)))]).save(path)
        run = f"m = fastgru.load({path!r}); s = m.stream(); s.step(numpy.ones(64, 'f'))"
        stages = {"NumPy": "import numpy", "fastgru and Model": "import numpy, fastgru; fastgru.Model",
                  "a GRU-64 running": f"import numpy, fastgru; {run}"}  # fmt: skip
        for name, code in stages.items():
            print(f"{name:20s} {statistics.median(printed(f'{code}; {MEMORY}') for _ in range(5)):8.1f} MB resident")
        print()
        timed = {
            "import": "import fastgru; fastgru.Model",
            "import and load": f"import fastgru; fastgru.load({path!r})",
        }
        runs: dict[str, list[float]] = {name: [] for name in timed}
        for _ in range(RUNS):
            for name, code in timed.items():
                runs[name].append(printed(CLOCK.format(code)))
        for name, times in runs.items():
            print(f"{name:20s} {statistics.median(times):8.1f} ms beyond NumPy (least {min(times):.1f})")


if __name__ == "__main__":
    main()
