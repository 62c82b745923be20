"""``python -m bench.report results.json``: the tables and plots of a run; with ``--readme``, into the README."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .cases import FILE, Figure, read
from .plots import draw
from .lookup import OURS, Results, Seen, best_peer, seen, timed

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
SHORT = (
    "What is short, in microseconds: fastgru's median, the one that was asked for, and the floor, which is what the "
    "machine needs to read the weights or to multiply by them, nothing else (bench/roofline.py):"
)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def number(value: float) -> str:
    """Three significant digits, no exponent."""
    return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f}"


# Tables -------------------------------------------------------------------------------------------


def machine_lines(results: Results) -> list[str]:
    """What was run, on what."""
    machine, limits = results["machine"], results["roofline"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [
        f"Medians in microseconds, one thread on one pinned core, engines in turn, outputs checked first. "
        f"{machine['cpu']} ({machine['isa']}), Python {machine['python']}; {versions}."
    ]
    if "missing" in limits:
        return [*lines, "", f"No roofline: {limits['missing']}."]
    rates = ", ".join(f"{size >> 10} KiB {rate / 1e9:.0f}" for size, rate in limits["bandwidth"])
    peak = f"FMA peak {limits['flops'] / 1e9:.0f} GFLOP/s; reading, GB/s: {rates}."
    return [*lines, "", peak, *two_cores(limits)]


def two_cores(limits: dict[str, Any]) -> list[str]:
    """What a second core adds at best."""
    if "two_cores" not in limits:
        return []
    both = limits["two_cores"]
    gains = ", ".join(
        f"{size >> 10} KiB {rate / one:.2f}"
        for (size, rate), (_, one) in zip(both["bandwidth"], limits["bandwidth"], strict=True)
    )
    return [
        "",
        f"Two cores together: {both['flops'] / limits['flops']:.2f} times the FMA peak of one, and reading {gains}.",
    ]


def case_table(results: Results) -> list[str]:
    """Every case: each engine's median, the ratio to the best float32 peer, and float32's time over its floor."""
    names = list(dict.fromkeys(n for case in results["cases"] for n in case["engines"] if "threads" not in n))
    rows = []
    for case in results["cases"]:
        if case["threads"] > 1 or not case["engines"]:
            continue
        cells = [case["name"]]
        for name in names:
            entry = case["engines"].get(name, {"status": ""})
            cells.append(number(entry["median_us"]) if "median_us" in entry else entry["status"])
        mine, peer = timed(case).get(OURS), best_peer(case, ["float32"])
        cells.append(f"{peer[1] / mine['median_us']:.1f}x {peer[0]}" if mine and peer else "")
        cells.append(f"{mine['over_floor']:.2f}" if mine and "over_floor" in mine else "")
        rows.append(cells)
    return table(["case", *names, "best fp32 peer", "over floor"], rows)


def not_timed(results: Results) -> list[str]:
    """What could not run, and what was wrong."""
    lines = [f"- {name}: {why}" for name, why in results["unavailable"].items()]
    for case in results["cases"]:
        if "missing" in case:
            lines.append(f"- {case['name']}: {case['missing']}")
        for name, entry in case["engines"].items():
            if entry["status"] != "ok":
                lines.append(f"- {case['name']}, {name}: {entry['status']}: {entry['why'].splitlines()[0]}")
    return lines


def asked_for(
    results: Results, figures: Sequence[Figure]
) -> Iterator[tuple[Figure, str, float, dict[str, Seen | None]]]:
    """Each figure in each precision: what was asked, and what its cases show."""
    cases = {case["name"]: case for case in results["cases"]}
    for figure in figures:
        for precision, asked in figure.asked.items():
            shown = {n: seen(figure, precision, cases[n], results) if n in cases else None for n in figure.cases}
            yield figure, precision, asked, shown


def figure_table(results: Results, figures: Sequence[Figure]) -> list[str]:
    """The figures that were asked for: asked, seen in each of their cases."""
    rows = []
    for figure, precision, asked, shown in asked_for(results, figures):
        known = [value for value in shown.values() if value is not None]
        reached = all(value.reaches(asked) for value in known)
        verdict = "no" if not reached else "yes" if len(known) == len(shown) else "not measured"
        values = ", ".join("-" if value is None else f"{value.value:.2f}" for value in shown.values())
        rows.append([figure.label, precision, f"{asked:g}", values, verdict])
    return table(["figure", "precision", "asked", "seen", "met"], rows)


def short_table(results: Results, figures: Sequence[Figure]) -> list[str]:
    """Every case that is short of a figure: its median, the one that was asked for, and the floor under both."""
    rows = []
    for figure, precision, asked, shown in asked_for(results, figures):
        for name, value in shown.items():
            if value is None or value.reaches(asked):
                continue
            mine, wanted, floor = value.mine["median_us"], value.wanted(asked), value.mine.get("floor_us")
            under = [number(floor), f"{mine / floor:.2f}", f"{wanted / floor:.2f}"] if floor else ["", "", ""]
            what = name if figure.kind == "ratio" else f"{name}, {figure.kind}"
            rows.append([what, precision, number(mine), number(wanted), *under])
    names = ["short", "precision", "median", "asked", "floor", "median / floor", "asked / floor"]
    return table(names, rows) if rows else []


# Command ------------------------------------------------------------------------------------------


def report(
    results: Results, figures: Sequence[Figure], plots: Sequence[str] = (), elsewhere: str = ""
) -> Iterator[str]:
    """The lines of the report; `plots` are paths to show, `elsewhere` is one where every case is listed instead."""
    listed = [f"Every case on every engine: [{elsewhere}]({elsewhere})."] if elsewhere else case_table(results)
    yield from [*machine_lines(results), "", *listed, ""]
    if figures:
        yield from [*figure_table(results, figures), ""]
        if short := short_table(results, figures):
            yield from [SHORT, "", *short, ""]
    yield from [f"![{Path(plot).stem}]({plot})" for plot in plots]
    notes = [] if elsewhere else not_timed(results)
    yield from (["", "Not timed:", "", *notes] if notes else [])


def put_into(readme: Path, text: str) -> None:
    """Replace what lies between the markers.

    Raises
    ------
    ValueError
        When the file does not have both, in order.
    """
    old = readme.read_text()
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{readme.name} must hold {BEGIN} and, after it, {END}")
    readme.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; draw and insert what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--file", type=Path, default=FILE, help="the file of cases, for the figures that were asked")
    parser.add_argument("--readme", type=Path, help="a file to write the report into, between its two markers")
    parser.add_argument("--cases", type=Path, help="a file to write the table of all cases into, instead of the README")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="where to draw the plots")
    options = parser.parse_args(arguments)
    results = json.loads(options.results.read_text())
    drawn = draw(results, options.plots, read(options.file).figures) if options.plots else []
    base = options.readme.resolve().parent if options.readme else Path.cwd()

    def shown(path: Path) -> str:
        return path.resolve().relative_to(base).as_posix() if path.resolve().is_relative_to(base) else str(path)

    figures, text = read(options.file).figures, "\n".join(report(results, []))
    print(text)
    if options.cases:
        options.cases.write_text(f"# Every case on every engine\n\n{text}\n")
    if options.readme:
        elsewhere = shown(options.cases) if options.cases else ""
        put_into(options.readme, "\n".join(report(results, figures, list(map(shown, drawn)), elsewhere)))
    else:
        print("\n".join(["", *figure_table(results, figures), "", *short_table(results, figures)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
