"""``python -m bench.report results.json``: the tables and plots of a run; with ``--readme``, into the README."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .cases import FILE, PRECISIONS, Figure, read

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
OURS = "fastgru"
Results = dict[str, Any]


def timed(case: Any) -> dict[str, Any]:
    """The engines of a case that were right and timed, by id."""
    return {name: entry for name, entry in case["engines"].items() if entry["status"] == "ok"}


def ours(precision: str) -> str:
    """The id of fastgru in a precision."""
    return OURS if precision == "float32" else f"{OURS} {precision}"


def best_peer(case: Any, precisions: Sequence[str] = PRECISIONS, pattern: str = "") -> tuple[str, float] | None:
    """The fastest other engine of these precisions that was right, and its median."""
    peers = {
        name: entry["median_us"]
        for name, entry in timed(case).items()
        if not name.startswith(OURS) and entry["precision"] in precisions and re.match(pattern, name)
    }
    return min(peers.items(), key=lambda item: item[1]) if peers else None


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
    return [*lines, "", peak]


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


def seen(figure: Figure, precision: str, case: Any, results: Results) -> Any:
    """What a case shows of a figure, or None where it was not measured."""
    engines = timed(case)
    mine = engines.get(ours(precision))
    if mine is None:
        return None
    if figure.kind == "floor":
        return mine.get("over_floor")
    if figure.kind == "peak":
        peak = results["roofline"].get("flops")
        return case["flops"] / (mine["median_us"] * 1e-6) / peak if peak else None
    if figure.kind == "threads":
        two = engines.get(f"{OURS} 2 threads")
        return mine["median_us"] / two["median_us"] if two else None
    peer = best_peer(case, ["float32"] if precision == "float32" else PRECISIONS, figure.peers)
    return peer[1] / mine["median_us"] if peer else None


def figure_table(results: Results, figures: Sequence[Figure]) -> list[str]:
    """The figures that were asked for: asked, seen in each of their cases."""
    cases = {case["name"]: case for case in results["cases"]}
    rows = []
    for figure in figures:
        for precision, asked in figure.asked.items():
            values = [seen(figure, precision, cases[name], results) if name in cases else None for name in figure.cases]
            known = [value for value in values if value is not None]
            reached = [value <= asked if figure.kind == "floor" else value >= asked for value in known]
            verdict = "no" if not all(reached) else "yes" if len(known) == len(values) else "not measured"
            shown = ", ".join("-" if value is None else f"{value:.2f}" for value in values)
            rows.append([figure.label, precision, f"{asked:g}", shown, verdict])
    return table(["figure", "precision", "asked", "seen", "met"], rows)


# Plots --------------------------------------------------------------------------------------------


def draw(results: Results, folder: Path) -> list[Path]:
    """The plots, as SVG; those that the results have cases for."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "bench"  # the same results make the same file
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, plot in {"speedup": speedup, "latency": latency, "precision": precision_plot, "roofline": roof}.items():
        figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
        if plot(axes, results):
            axes.grid(alpha=0.3)
            paths.append(folder / f"{name}.svg")
            figure.savefig(paths[-1], metadata={"Date": None})
        pyplot.close(figure)
    return paths


def speedup(axes: Any, results: Results) -> bool:
    """Best float32 peer over fastgru, by hidden size."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for case in results["cases"]:
        plain = case["layers"] == 1 and not (case["bidirectional"] or case["ragged"] or case["threads"] > 1)
        if case["model"] or not plain or case["input"] != case["hidden"]:
            continue
        for precision, classes in (("float32", ["float32"]), ("int8", PRECISIONS)):
            mine, peer = timed(case).get(ours(precision)), best_peer(case, classes)
            if mine and peer:
                batch = f", batch {case['batch']}" if case["batch"] > 1 else ""
                key = f"{case['cell'].upper()}, T={case['steps']}{batch}, {precision}"
                lines.setdefault(key, []).append((case["hidden"], peer[1] / mine["median_us"]))
    lines = {key: points for key, points in lines.items() if len(points) > 1}
    for i, (key, points) in enumerate(sorted(lines.items())):
        style = "--" if "int8" in key else "-"
        axes.plot(*zip(*sorted(points), strict=True), style, marker="o", color=f"C{i // 2 % 10}", label=key)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="I = H", ylabel="best peer's time over fastgru's")
    if lines:
        axes.set_xticks(sizes := sorted({x for points in lines.values() for x, _ in points}), [str(x) for x in sizes])
        axes.minorticks_off()
        axes.legend(fontsize=7)
    return bool(lines)


def latency(axes: Any, results: Results) -> bool:
    """Share of single calls at least as slow as a time, in one case."""
    found = [c for c in results["cases"] if any("single" in e for e in timed(c).values()) and not c["model"]]
    case = next((c for c in found if c["name"] == "gru-64-64-t1-b1"), found[0] if found else None)
    if case is None:
        return False
    for name, entry in timed(case).items():
        times = sorted(entry["single"]["us"])
        axes.plot(times, [1 - i / len(times) for i in range(len(times))], label=name)
    axes.set(
        xscale="log", yscale="log", xlabel="microseconds of one call", ylabel="share of calls at least as slow",
        title=case["name"],
    )  # fmt: skip
    axes.legend(fontsize=7, loc="upper right")
    return True


def precision_plot(axes: Any, results: Results) -> bool:
    """Error against time of every engine, in one case."""
    found = [
        c for c in results["cases"] if not c["model"] and any(e["precision"] != "float32" for e in timed(c).values())
    ]
    case = next((c for c in found if c["name"] == "lstm-256-256-t1-b1"), found[0] if found else None)
    if case is None:
        return False
    for name, entry in timed(case).items():
        marker = "o" if name.startswith(OURS) else "x"
        axes.plot(entry["median_us"], max(entry["error"], 1e-9), marker, label=name)
        axes.annotate(
            name, (entry["median_us"], max(entry["error"], 1e-9)), (4, 4), fontsize=7, textcoords="offset points"
        )
    axes.set(xscale="log", yscale="log", xlabel="microseconds", ylabel="largest error", title=case["name"])
    return True


def roof(axes: Any, results: Results) -> bool:
    """Time against floor, float32: on the line, a case is as fast as the machine allows."""
    found = False
    for cell, colour in (("gru", "C0"), ("lstm", "C1"), ("", "C2")):
        mine = [timed(c).get(OURS) for c in results["cases"] if c["cell"] == cell and c["threads"] == 1]
        peers = [timed(c).get(p[0]) for c in results["cases"] if c["cell"] == cell and (p := best_peer(c, ["float32"]))]
        for entries, marker, whose in ((mine, "o", OURS), (peers, "x", "best fp32 peer")):
            points = [(e["floor_us"], e["median_us"]) for e in entries if e and "floor_us" in e]
            if points:
                found = True
                label = f"{whose}, {cell.upper() or 'real models'}"
                axes.plot(*zip(*points, strict=True), marker, color=colour, label=label)
    if found:
        low, high = axes.get_xlim()
        axes.plot([low, high], [low, high], color="black", linewidth=0.8, label="the floor")
        axes.set(xscale="log", yscale="log", xlabel="floor, microseconds", ylabel="median, microseconds")
        axes.legend(fontsize=7)
    return found


# Command ------------------------------------------------------------------------------------------


def report(results: Results, figures: Sequence[Figure], plots: Sequence[str] = ()) -> Iterator[str]:
    """The lines of the report; `plots` are paths to show."""
    yield from [*machine_lines(results), "", *case_table(results), ""]
    if figures:
        yield from [*figure_table(results, figures), ""]
    yield from [f"![{Path(plot).stem}]({plot})" for plot in plots]
    notes = not_timed(results)
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
    parser.add_argument("--plots", type=Path, metavar="DIR", help="where to draw the plots")
    options = parser.parse_args(arguments)
    results = json.loads(options.results.read_text())
    drawn = draw(results, options.plots) if options.plots else []
    base = options.readme.resolve().parent if options.readme else Path.cwd()
    shown = [p.resolve().relative_to(base).as_posix() if p.resolve().is_relative_to(base) else str(p) for p in drawn]
    text = "\n".join(report(results, read(options.file).figures, shown))
    print(text)
    if options.readme:
        put_into(options.readme, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
