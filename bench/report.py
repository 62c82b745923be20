"""``python -m bench.report results.json``: the tables of a run, and its pictures.

With ``--page`` the report goes into a page of the documentation, with ``--cases`` the table of every case into a file
of its own, with ``--pictures`` the pictures into a folder.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import records
from .cases import FILE, Section, read
from .lookup import OURS, best_peer, describe, number, over_floor, rows, timed
from .pictures import Picture, draw
from .records import Results

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
COLUMNS = [
    "network", "weights", "fastgru, us", "other, us", "engine", "other / fastgru", "floor, us",
    "fastgru / floor",
]  # fmt: skip


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *lines)]


# Tables -------------------------------------------------------------------------------------------


def run_line(results: Results) -> str:
    """Say in a line what the times are."""
    machine = results["machine"]
    return (
        f"Medians in microseconds (us) of one thread on one pinned core: {machine['cpu']} ({machine['isa']}). Engines "
        f"take turns, {results['seconds_per_case']:g} s a case, and their outputs are checked first."
    )


def machine_lines(results: Results) -> list[str]:
    """Describe the versions, and the limits of one core and of two."""
    limits = results["roofline"]
    versions = [
        f"Python {results['machine']['python']}",
        *(f"{name} {one}" for name, one in results["versions"].items()),
    ]
    lines = [f"Versions: {', '.join(versions)}."]
    if "missing" in limits:
        return [*lines, "", f"No roofline: {limits['missing']}."]
    both = limits.get("two_cores")
    peaks = [f"{limits['flops'] / 1e9:.0f} GFLOP/s"]
    reading = [[f"reading {size >> 10:,} KiB", f"{rate / 1e9:.0f} GB/s"] for size, rate in limits["bandwidth"]]
    if both:
        peaks.append(f"{both['flops'] / limits['flops']:.2f}")
        for row, (_, rate), (_, one) in zip(reading, both["bandwidth"], limits["bandwidth"], strict=True):
            row.append(f"{rate / one:.2f}")
    header = ["rate", "one core", *(["two cores together, times that of one"] if both else [])]
    return [*lines, "", *table(header, [["multiply-adds (FMA peak)", *peaks], *reading])]


def case_table(results: Results) -> list[str]:
    """Tabulate every engine's median, the ratio of the best float32 peer, and float32's time over its floor."""
    names = list(dict.fromkeys(n for case in results["cases"] for n in case["engines"] if "threads" not in n))
    lines = []
    for case in results["cases"]:
        if case["threads"] > 1 or not case["engines"]:
            continue
        cells = [case["name"]]
        for name in names:
            entry = case["engines"].get(name, {"status": ""})
            cells.append(number(entry["median_us"]) if "median_us" in entry else entry["status"])
        mine, peer = timed(case).get(OURS), best_peer(case, ["float32"])
        cells.append(f"{peer[1] / mine['median_us']:.1f}x {peer[0]}" if mine and peer else "")
        cells.append(f"{over_floor(mine):.2f}" if mine and "floor_us" in mine else "")
        lines.append(cells)
    return table(["case", *names, "best float32 peer", "over floor"], lines)


def not_timed(results: Results) -> list[str]:
    """List the engines and cases that could not run or were wrong."""
    lines = [f"- {name}: {why}" for name, why in results["unavailable"].items()]
    for case in results["cases"]:
        if "missing" in case:
            lines.append(f"- {case['name']}: {case['missing']}")
        for name, entry in case["engines"].items():
            if entry["status"] != "ok":
                lines.append(f"- {case['name']}, {name}: {entry['status']}: {entry['why']}")
    return lines


def section_table(section: Section, results: Results) -> list[str]:
    """Tabulate a section: fastgru, the other engine, their ratio, and the floor."""
    lines = []
    for row in rows(section, results):
        mine = row.mine["median_us"]
        floor = [number(row.mine["floor_us"]), f"{over_floor(row.mine):.2f}"] if "floor_us" in row.mine else ["", ""]
        ratio = f"{row.ratio:.2f}" if row.ratio < 10 else f"{row.ratio:,.1f}"
        lines.append([describe(row.case), row.precision, number(mine), number(row.peer_us), row.peer, ratio, *floor])
    return table(COLUMNS, lines) if lines else []


def sections(results: Results, wanted: Sequence[Section]) -> Iterator[str]:
    """Yield the lines of every section that has any."""
    for section in wanted:
        if lines := section_table(section, results):
            yield from [f"### {section.title}", "", *lines, ""]


# Command ------------------------------------------------------------------------------------------


def every_case(results: Results) -> str:
    """Return the file that lists every case on every engine."""
    notes = not_timed(results)
    listed = ["", "Not timed:", "", *notes] if notes else []
    lines = ["# Every case on every engine", "", run_line(results), "", *case_table(results), *listed]
    return "\n".join([*lines, "", "## The machine", "", *machine_lines(results), ""])


def report(results: Results, wanted: Sequence[Section], shown: Sequence[str] = (), elsewhere: str = "") -> str:
    """Return the report: `shown` are the pictures as Markdown, `elsewhere` is the path of the file of every case."""
    lines = [run_line(results), ""]
    if elsewhere:
        lines += [f"Every case on every engine: [{Path(elsewhere).name}]({elsewhere}).", ""]
    for picture in shown:
        lines += [picture, ""]
    return "\n".join([*lines, *sections(results, wanted), "### The machine", "", *machine_lines(results)])


def markdown(picture: Picture, folder: str) -> str:
    """Return the Markdown that shows a picture, light or dark as the reader's page is."""
    light, dark = (f"{folder}/{picture.name}-{theme}.svg" for theme in ("light", "dark"))
    return (
        f'<picture>\n  <source media="(prefers-color-scheme: dark)" srcset="{dark}">\n'
        f'  <img alt="{picture.alt}" src="{light}">\n</picture>'
    )


def put_into(page: Path, text: str) -> None:
    """Replace the text between the markers of a page.

    Raises
    ------
    ValueError
        If the page does not have both markers, in order.
    """
    old = page.read_text()
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page.name} must hold {BEGIN} and, after it, {END}")
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report, or write its parts where the options say."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__.partition("\n")[0])
    parser.add_argument("results", type=Path, help="a file that python -m bench wrote")
    parser.add_argument("--file", type=Path, default=FILE, help="the file of cases, for the sections of the report")
    parser.add_argument("--page", type=Path, help="a page to write the report into, between its two markers")
    parser.add_argument("--cases", type=Path, help="a file to write the table of every case into")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="where to draw the pictures")
    options = parser.parse_args(arguments)
    try:
        results = records.read(options.results)
        write(results, read(options.file).sections, options)
    except (ImportError, OSError, ValueError) as error:
        parser.exit(1, f"python -m bench.report: {error}\n")
    return 0


def write(results: Results, wanted: Sequence[Section], options: argparse.Namespace) -> None:
    """Draw the pictures, write the files, print the report where no page is named."""
    drawn = draw(results, options.pictures) if options.pictures else []
    base = options.page.parent if options.page else Path()
    folder = Path(os.path.relpath(options.pictures, base)).as_posix() if options.pictures else ""
    elsewhere = Path(os.path.relpath(options.cases, base)).as_posix() if options.cases else ""
    if options.cases:
        options.cases.write_text(every_case(results))
    text = report(results, wanted, [markdown(picture, folder) for picture in drawn], elsewhere)
    if options.page:
        put_into(options.page, text)
    else:
        print(text if options.cases else f"{text}\n\n{every_case(results)}", end="")


if __name__ == "__main__":
    sys.exit(main())
