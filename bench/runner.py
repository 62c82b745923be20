"""One run of the benchmark: every case, every engine, and what is recorded of them."""

from __future__ import annotations

import gc
import re
import sys
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

import fastgru

from . import cases as data
from . import records, roofline
from .engines import Engine, Run, discover, label
from .lookup import over_floor
from .machine import description, pinned
from .measure import Wrong, check, clock_cost, measure, statistics
from .records import rounded, said

Result = dict[str, Any]


def selected(options: Namespace) -> tuple[data.Suite, list[data.Case], list[Engine]]:
    """The data file, and the cases and engines whose names match."""
    suite = data.read(options.file or data.FILE)
    cases = [case for case in suite.cases if re.search(options.cases, case.name)]
    engines = [engine for engine in discover() if re.search(options.engines, label(engine))]
    return suite, cases, engines


def listing(options: Namespace) -> list[str]:
    """The names of cases, then of engines and why they cannot run."""
    _, cases, engines = selected(options)
    notes = [(label(engine), engine.available()) for engine in engines]
    return [*(case.name for case in cases), "", *(name + (f" ({why})" if why else "") for name, why in notes)]


def run(options: Namespace, cores: list[int]) -> int:
    """Run, print a line per case and engine, and write the results after each case. 0, or 1 when nothing ran."""
    suite, cases, engines = selected(options)
    missing = {label(engine): why for engine in engines if (why := engine.available())}
    engines = [engine for engine in engines if label(engine) not in missing]
    results: Result = {
        "format": records.FORMAT,
        "machine": {**description(), "isa": fastgru.cpu_info()["selected"]},
        "versions": {engine.name: engine.version() for engine in engines},
        "unavailable": missing,
        "seconds_per_case": options.seconds,
        "clock_us": clock_cost(),
        "roofline": {"missing": "not measured"} if options.no_roofline else roofline.measure(cores),
        "cases": [],
    }
    for name, why in missing.items():
        print(f"{name}: {why}", file=sys.stderr)
    for case in cases:
        with pinned(cores[-case.threads :] if case.threads > 1 else []):
            results["cases"].append(run_case(case, engines, suite.tolerance, options.seconds, results["roofline"]))
        show(results["cases"][-1])
        records.write(results, options.json)
        gc.collect()
    return 0 if results["cases"] else 1


def run_case(
    case: data.Case, engines: list[Engine], tolerance: dict[str, float], seconds: float, limits: roofline.Roofline
) -> Result:
    """Check every engine that has what the case needs, then time those that are right."""
    result: Result = {**asdict(case), "engines": {}}
    try:
        problem = data.make(case)
    except FileNotFoundError as error:
        return {**result, "missing": f"no such file: {Path(error.filename).name}"}
    except (fastgru.FastGruError, ImportError) as error:  # a real model that fastgru cannot import here
        return {**result, "missing": said(f"{type(error).__name__}: {error}")}
    expected = problem.expected()
    ready: dict[str, Run] = {}
    for engine in engines:
        if not engine.supports(problem) or (case.network and engine.precision != "float32"):
            continue  # networks given by their layers are compared in float32, which all engines read of one file
        name = label(engine)
        entry: Result = {"precision": engine.precision, "threads": engine.threads}
        result["engines"][name] = entry
        try:
            run = engine.prepare(problem)
            most = {**tolerance, **case.tolerance}[engine.precision]
            entry["error"] = rounded(check(run, problem, expected, most), 3)
            ready[name] = run
        except Wrong as wrong:
            entry.update(status="wrong", why=str(wrong))
        except Exception as error:  # an engine that cannot run a case must not end the run; what it said is kept
            entry.update(status="failed", why=said(f"{type(error).__name__}: {error}"))
    result["flops"] = roofline.flops(problem)
    if ready:
        for name, samples in measure({n: run.call for n, run in ready.items()}, seconds, case.streaming).items():
            entry = result["engines"][name]
            entry.update(status="ok", **statistics(samples))
            if (floor := roofline.floor(problem, limits, entry["precision"], entry["threads"])) is not None:
                entry["floor_us"] = rounded(floor * 1e6)
    return result


def show(result: Result) -> None:
    """A case's engines, fastest first."""
    print(result["name"] + (f": {result['missing']}" if "missing" in result else ""))
    entries = sorted(result["engines"].items(), key=lambda item: item[1].get("median_us", float("inf")))
    for name, e in entries:
        if e["status"] != "ok":
            print(f"  {name:20} {e['status']}: {e['why']}")
            continue
        floor = f"  {over_floor(e):6.2f} x floor" if "floor_us" in e and e["precision"] == "float32" else ""
        print(f"  {name:20} {e['median_us']:12.2f} us  spread {e['spread']:5.1%}  error {e['error']:.1e}{floor}")
    sys.stdout.flush()
