"""``python -m bench``: every case on every installed engine, on one pinned core; JSON out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .machine import cores, leave_blas_alone, pinned


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, pin the process, run."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--cases", default="", metavar="REGEX", help="only cases whose name matches")
    parser.add_argument("--engines", default="", metavar="REGEX", help="only engines whose id matches")
    parser.add_argument("--seconds", type=float, default=2.0, help="time per case (default 2)")
    parser.add_argument("--json", type=Path, default=Path("bench-results.json"), help="where to write the results")
    parser.add_argument("--file", type=Path, help="another file of cases than bench/cases.toml")
    parser.add_argument("--core", type=int, help="the core to run on (default: the last one)")
    parser.add_argument("--no-roofline", action="store_true", help="do not measure the machine's limits")
    parser.add_argument("--list", action="store_true", help="list cases and engines and stop")
    options = parser.parse_args(arguments)
    leave_blas_alone()
    usable = cores()
    with pinned([options.core] if options.core is not None else usable[-1:]):
        from . import runner  # only now: libraries size their thread pools as they load

        if options.list:
            print("\n".join(runner.listing(options)))
            return 0
        return runner.run(options, usable)


if __name__ == "__main__":
    sys.exit(main())
