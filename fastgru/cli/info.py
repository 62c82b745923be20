"""``fastgru info``: what a .fgru file holds, without running it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .. import drawing, fileformat
from ..listing import plan_of
from ..model import memory_of
from ..summary import Summary, summarise
from . import _show


def info(
    model: Annotated[Path, typer.Argument(help="A .fgru file.")],
    graph: Annotated[Path | None, typer.Option(help="Draw the graph into this .svg, .png, .pdf or .dot file.")] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show the instructions that run, with shapes and bytes of weights.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the layers, origin and self-test of a .fgru file."""
    contents = fileformat.read(model)
    if graph is not None:
        drawing.draw(contents.graph, graph)
    memory = memory_of(contents.graph, contents.dtype)
    summary = summarise(contents.graph, contents.dtype, memory, contents.provenance.get("layout", ""))
    if as_json:
        found = _as_dict(contents, summary)
        if plan:
            found["plan"] = [row._asdict() for row in plan_of(contents.graph, contents.dtype)]
        print(json.dumps(found, indent=2))
        return
    console = _show.stdout()
    console.say(f"{model}: input {', '.join(summary.inputs)}, computes in {contents.dtype}")
    console.print(_show.layers(summary))
    if plan:
        console.print(_show.planned(plan_of(contents.graph, contents.dtype)))
    whole = contents.graph.not_streamable()
    streams = f"no: {', '.join(whole)} need the whole sequence" if whole else "yes"
    console.say(f"streams: {streams}; {summary.sizes()}")
    for key, value in contents.provenance.items():
        console.say(f"{key}: {value}")
    test = contents.self_test
    tested = f"input {test.shape}, outputs by {test.source}" if test else "none"
    console.say(f"self-test: {tested}")


def _as_dict(contents: fileformat.Contents, summary: Summary) -> dict[str, object]:
    test = contents.self_test
    return {
        **summary.as_dict(),
        "outputs": {name: str(contents.graph.specs[name]) for name in contents.graph.outputs},
        "streamable": not contents.graph.not_streamable(),
        "provenance": contents.provenance,
        "self_test": {"seed": test.seed, "source": test.source, "shape": test.shape} if test else None,
    }
