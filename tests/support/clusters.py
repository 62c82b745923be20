"""The programs of docs/scale.md on clusters of this machine: what they need, what they read, how they are started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

FEATURES = 40  # of a step


class Program(NamedTuple):
    """What a program of the page needs and shows.

    Attributes
    ----------
    engine : str
        The module that it needs.
    progress : str
        A pattern of what it prints while it works.
    folder : str
        What it reads.
    retries : bool
        True if the engine itself runs the work of a killed worker again.
    """

    engine: str
    progress: str
    folder: str = "sequences"
    retries: bool = True


STAGES = r"\[Stage \d+:=*>? *\(\d+ \+ \d+\) / \d+\]"
PROGRAMS = {  # by the call that is the program's own
    "map_batches": Program("ray", r"MapBatches\(Score\): \d+/\d+"),
    "map_partitions": Program("dask", r"#\] \| 100% Completed"),
    "mapInPandas": Program("pyspark", STAGES),
    "predict_batch_udf": Program("pyspark", STAGES, folder="windows"),
    "Parallel": Program("joblib", r"Done +\d+ out of +\d+", retries=False),
}

# A task may fail four times as on a cluster, where local mode allows no failure; each file is a partition.
# Not snappy: its Java library takes a machine that has musl beside glibc for one without glibc.
SPARK = """
spark.master local[2,4]
spark.ui.enabled false
spark.driver.memory 1g
spark.driver.extraJavaOptions -XX:TieredStopAtLevel=1 -XX:+UseSerialGC
spark.sql.files.maxPartitionBytes 8m
spark.sql.files.openCostInBytes 8m
spark.sql.parquet.compression.codec zstd
"""


def write(path: Path, first: int, sequences: list[np.ndarray[Any, Any]]) -> None:
    """Write a Parquet file of sequences (T, I), numbered from `first` on."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(exist_ok=True)
    ids = pa.array(range(first, first + len(sequences)), pa.int64())
    x = pa.array([sequence.ravel() for sequence in sequences], pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": ids, "x": x}), path, compression="zstd")


def start(
    folder: Path, text: str, *paths: Path, output: int | IO[str] = subprocess.PIPE, **variables: str
) -> subprocess.Popen[str]:
    """Start a program in a folder and a session of its own, with a local cluster to run on.

    Parameters
    ----------
    folder : Path
        Where it reads and writes.
    text : str
        Of the program.
    *paths : Path
        Folders whose modules it and its workers can import, before all others.
    output : int or file
        Where what it prints goes.
    **variables : str
        Of its environment.
    """
    (folder / "program.py").write_text(text)
    (folder / "spark-defaults.conf").write_text(SPARK)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_CONF_DIR": str(folder),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "RAY_USAGE_STATS_ENABLED": "0",
        **variables,
    }
    return subprocess.Popen(
        [sys.executable, "program.py"], cwd=folder, env=environment, text=True, errors="replace",
        stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
