"""The room and time that fastgru takes: on the disk, in memory, and to import.

    python -m bench.footprint           with the installed package to be measured, on Linux
    python -m bench.footprint --time    the last table alone, in a quarter of a minute

prints the size of fastgru and of every package it needs, the resident memory of a process after NumPy, after fastgru
and with a GRU-64 running, and the CPU time (user and system) of whole processes: `import numpy` alone, and what the
import of fastgru, a first step and the command line take beyond that or in all. Each is the median of 21 processes,
interleaved, with bytecode and files cached. OpenBLAS of NumPy has one thread in them: another one, woken by NumPy's
import, spins for about 50 ms of CPU beside whatever comes next, which would count as the time of what comes next
(measured on Zen 4: 47 ms of CPU in 23 ms of wall time for an import of fastgru that takes 23 ms alone).
"""

from __future__ import annotations

import argparse
import os
import re
import resource
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


def cpu_time(*words: str) -> float:
    """Milliseconds of user and system time that a fresh Python takes, start and end included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1e3 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def print_sizes() -> None:
    """Print what the package and its requirements take on the disk."""
    sizes = packages("fastgru", {})
    for name, size in sorted(sizes.items(), key=lambda row: -row[1]):
        print(f"{name:20s} {size / 1e6:8.2f} MB installed")
    print(f"{'together':20s} {sum(sizes.values()) / 1e6:8.2f} MB installed\n")


def print_memory(run: str) -> None:
    """Print the resident memory of processes; `run` loads a model and makes a step."""
    stages = {"NumPy": "import numpy", "fastgru and Model": "import numpy, fastgru; fastgru.Model",
              "a GRU-64 running": f"import numpy, fastgru; {run}"}  # fmt: skip
    for name, code in stages.items():
        print(f"{name:20s} {statistics.median(printed(f'{code}; {MEMORY}') for _ in range(5)):8.1f} MB resident")
    print()


def print_times(run: str, path: str) -> None:
    """Print the CPU time of processes."""
    processes = {
        "import numpy": ("-c", "import numpy"),
        "fastgru.Model": ("-c", "import numpy, fastgru; fastgru.Model"),
        "load and step": ("-c", f"import numpy, fastgru; {run}"),
        "fastgru --version": ("-m", "fastgru", "--version"),
        "fastgru info": ("-m", "fastgru", "info", path),
    }
    runs: dict[str, list[float]] = {name: [] for name in processes}
    for i in range(RUNS + 1):
        for name, words in processes.items():
            taken = cpu_time(*words)
            if i:  # the first fills the caches
                runs[name].append(taken)
    for name, times in runs.items():
        beyond = statistics.median(t - n for t, n in zip(times, runs["import numpy"], strict=True))
        print(f"{name:20s} {statistics.median(times):8.1f} ms of CPU, {beyond:+8.1f} beyond NumPy")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", action="store_true", help="print the table of times alone")
    only_time = parser.parse_args().time
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # would measure the compiler of Python
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import numpy as np

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/gru64.fgru"
        Model([GRU.from_torch(rng.normal(size=(192, 64)), rng.normal(size=(192, 64)))]).save(path)
        run = f"m = fastgru.load({path!r}); s = m.stream(); s.step(numpy.ones(64, 'f'))"
        if not only_time:
            print_sizes()
            print_memory(run)
        print_times(run, path)


if __name__ == "__main__":
    main()
