"""``fastgru info``: what a .fgru file holds, without running it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import DataError
from ..files import compiled, fgru
from ..model import memory_of
from ..report import drawing
from ..report.listing import plan_of, room_of, rows_of
from ..report.summary import Summary, summarise
from . import _show


def info(
    model: Annotated[Path, typer.Argument(help="A .fgru file, or a compiled plan.")],
    graph: Annotated[Path | None, typer.Option(help="Draw the graph into this .svg, .png, .pdf or .dot file.")] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show the instructions that run, with shapes and bytes of weights.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the layers, origin and self-test of a .fgru file."""
    if compiled.is_compiled(model):
        _compiled(model, graph, plan, as_json)
        return
    contents = fgru.read(model)
    if graph is not None:
        drawing.draw(contents.graph, graph)
    memory = memory_of(contents.graph, contents.dtype)
    summary = summarise(contents.graph, contents.dtype, memory, contents.provenance.get("layout", ""))
    if as_json:
        found = _as_dict(contents, summary)
        if plan:
            rows, room = plan_of(contents.graph, contents.dtype)
            found |= {"plan": [row._asdict() for row in rows], "room": room._asdict()}
        print(json.dumps(found, indent=2))
        return
    console = _show.stdout()
    console.say(f"{model}: input {', '.join(summary.inputs)}, computes in {contents.dtype}")
    console.print(_show.layers(summary))
    if plan:
        rows, room = plan_of(contents.graph, contents.dtype)
        console.print(_show.planned(rows))
        console.say(str(room))
    whole = contents.graph.not_streamable()
    streams = f"no: {', '.join(whole)} need the whole sequence" if whole else "yes"
    console.say(f"streams: {streams}; {summary.sizes()}")
    for key, value in contents.provenance.items():
        console.say(f"{key}: {value}")
    test = contents.self_test
    tested = f"input {test.shape}, outputs by {test.source}" if test else "none"
    console.say(f"self-test: {tested}")


def _as_dict(contents: fgru.Contents, summary: Summary) -> dict[str, object]:
    test = contents.self_test
    return {
        **summary.as_dict(),
        "outputs": {name: str(contents.graph.specs[name]) for name in contents.graph.outputs},
        "streamable": not contents.graph.not_streamable(),
        "provenance": contents.provenance,
        "self_test": {"seed": test.seed, "source": test.source, "shape": test.shape} if test else None,
    }


def _compiled(path: Path, graph: Path | None, plan: bool, as_json: bool) -> None:
    """Show what a compiled plan holds."""
    if graph is not None:
        raise DataError(f"{path}: --graph must be of a .fgru file, got a compiled plan")
    contents = compiled.read(path)
    signature, sections = contents.signature, contents.sections
    lowered, packed_bytes = contents.listed()
    rows = rows_of(lowered, packed_bytes)
    room = room_of(lowered)
    if as_json:
        found: dict[str, object] = {
            "inputs": {name: str(spec) for name, spec in signature.inputs.items()},
            "outputs": {name: str(spec) for name, spec in signature.outputs.items()},
            "streamable": not lowered.blockers,
            "isas": {isa: section.bytes for isa, section in sections.items()},
            "provenance": contents.provenance,
        }
        if plan:
            found |= {"plan": [row._asdict() for row in rows], "room": room._asdict()}
        print(json.dumps(found, indent=2))
        return
    console = _show.stdout()
    for what, specs in (("input", signature.inputs), ("output", signature.outputs)):
        console.say(f"{what}: {', '.join(f'{name} {spec}' for name, spec in specs.items())}")
    if plan:
        console.print(_show.planned(rows))
        console.say(str(room))
    console.say(f"streams: {'no' if lowered.blockers else 'yes'}; {len(rows)} instruction{'s' * (len(rows) != 1)}")
    for isa, section in sections.items():
        console.say(f"weights for {isa}: {section.bytes:,} bytes")
    for key, value in contents.provenance.items():
        console.say(f"{key}: {value}")
