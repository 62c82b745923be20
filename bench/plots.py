"""The plots of a run, as SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .cases import PRECISIONS, Figure
from .lookup import OURS, Results, best_peer, ours, seen, timed


def draw(results: Results, folder: Path, figures: Sequence[Figure] = ()) -> list[Path]:
    """The plots, as SVG; those that the results have cases for. `figures` is what was asked of real models."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "bench"  # the same results make the same file
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    plots: dict[str, Callable[[Any], bool]] = {
        "speedup": lambda axes: speedup(axes, results),
        "models": lambda axes: models(axes, results, figures),
        "latency": lambda axes: latency(axes, results),
        "precision": lambda axes: precision_plot(axes, results),
        "roofline": lambda axes: roof(axes, results),
    }
    for name, plot in plots.items():
        figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
        if plot(axes):
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


def models(axes: Any, results: Results, figures: Sequence[Figure]) -> bool:
    """What was asked of real models and what was seen: how many times as fast as today's engines."""
    cases = {case["name"]: case for case in results["cases"] if case["model"]}
    rows = [
        (f"{name} {precision}, {figure.peers}", found.value, asked)
        for figure in figures
        for precision, asked in figure.asked.items()
        for name in figure.cases
        if name in cases and (found := seen(figure, precision, cases[name], results)) is not None
    ]
    for i, (_, ratio, asked) in enumerate(rows):
        axes.barh(i, ratio, color="C0" if ratio >= asked else "C1")
        axes.plot([asked, asked], [i - 0.45, i + 0.45], color="black")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set(xscale="log", xlabel="today's time over fastgru's; the line is what was asked")
    axes.set_yticks(range(len(rows)), [label for label, _, _ in rows], fontsize=7)
    axes.invert_yaxis()
    return bool(rows)


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
