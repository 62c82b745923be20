"""Run models and processes for long and print figures; fail if memory grows, bits change or a process hangs."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

from ..results import record
from .models import MODELS
from .processes import EXITS, FORKS, SPAWNS, all_end_well
from .steps import many_shapes, many_steps, many_streams, subnormal_states

# name -> what runs, its size, and the size that CI takes
PARTS: dict[str, tuple[Callable[[int], dict[str, object]], int, int]] = {
    **{f"steps of {name}": (partial(many_steps, name), 10_000_000, 300_000) for name in MODELS},
    "streams": (many_streams, 100_000, 4_000),
    "shapes": (many_shapes, 1_000, 100),
    "subnormal states": (subnormal_states, 50, 5),
    "forks": (partial(all_end_well, FORKS), 20, 1),
    "exits": (partial(all_end_well, EXITS), 20, 1),
    "spawns": (partial(all_end_well, SPAWNS), 10, 1),
}


def shown(value: object) -> str:
    """A figure as the table has it."""
    return f"{value:.2f}" if isinstance(value, float) else f"{value:,}"


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.endurance", description=__doc__)
    parser.add_argument("--short", action="store_true", help="run the sizes of CI: a minute instead of hours")
    parser.add_argument("--size", type=int, help="run every part at this size: steps, streams, shapes, repeats")
    parser.add_argument("--record", action="store_true", help="write the figures to docs/testing.json")
    parts = f"parts to run, each in quotes (default all): {', '.join(PARTS)}"
    parser.add_argument("parts", nargs="*", metavar="PART", help=parts)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"part must be one of {', '.join(PARTS)}, got {', '.join(unknown)}")
    for name in options.parts or PARTS:
        run, whole, short = PARTS[name]
        began = time.monotonic()
        figures = run(options.size or (short if options.short else whole))
        figures["seconds"] = round(time.monotonic() - began, 1)
        print(f"{name:24}" + "  ".join(f"{key} {shown(value)}" for key, value in figures.items()), flush=True)
        if options.record:
            record("endurance", name, figures)


if __name__ == "__main__":
    main()
