"""A graph as a picture: the text that graphviz draws, and the drawing where graphviz is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from ..errors import FastGruError
from ..files.writing import check_target, replace_file
from ..graph import Graph, Node, State

FORMATS = ("dot", "svg", "png", "pdf")
COLOURS = {"recurrent": "#cfe3f7", "weights": "#e6efd8", "state": "#f7e3c4", "plain": "#ffffff"}
SECONDS = 60  # what graphviz may take


def quoted(text: str) -> str:
    """A string of the dot language (https://graphviz.org/doc/info/lang.html); control characters become escapes."""
    text = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def dot(graph: Graph) -> str:
    """The graph in the dot language: a box a node, a line for each value with its shape, dashed back to the states.

    Examples
    --------
    >>> from fastgru.graph import Activate, Dense, chain
    >>> import numpy as np
    >>> print(dot(chain([Dense(np.ones((2, 3)))])).splitlines()[-2])
      "dense" -> "output 0";
    """
    producer = {value: node.name for node in graph.nodes for value in node.outputs}
    producer |= {name: f"input {name}" for name in graph.inputs}
    lines = ["digraph {", "  rankdir=TB;", '  node [shape=box, style="filled,rounded", fontname="Helvetica"];']
    for name, spec in graph.inputs.items():
        lines.append(_oval(f"input {name}", f"{name}\n{spec}"))
    lines += [
        f"  {quoted(node.name)} [label={quoted(_label(node))}, fillcolor={quoted(_colour(node))}];"
        for node in graph.nodes
    ]
    for node in graph.nodes:
        for value in node.inputs:
            shape = quoted(str(graph.specs[value]))
            lines.append(f"  {quoted(producer[value])} -> {quoted(node.name)} [label={shape}, fontsize=9];")
    for state, value in graph.feedback.items():
        lines.append(f"  {quoted(producer[value])} -> {quoted(producer[state])} [style=dashed, constraint=false];")
    for i, value in enumerate(graph.outputs):
        lines.append(_oval(f"output {i}", f"{value}\n{graph.specs[value]}"))
    lines += _edges((producer[value], f"output {i}") for i, value in enumerate(graph.outputs))
    return "\n".join([*lines, "}"])


def _oval(name: str, label: str) -> str:
    return f"  {quoted(name)} [label={quoted(label)}, shape=oval];"


def _edges(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [f"  {quoted(a)} -> {quoted(b)};" for a, b in pairs]


def _label(node: Node) -> str:
    shapes = ", ".join(f"{name} {tuple(w.shape)}" for name, w in node.op.weights().items())
    return "\n".join(filter(None, [f"{node.name}: {type(node.op).__name__}", shapes]))


def _colour(node: Node) -> str:
    if isinstance(node.op, State):
        return COLOURS["state"]
    if node.op.states():
        return COLOURS["recurrent"]
    return COLOURS["weights"] if node.op.weights() else COLOURS["plain"]


def draw(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Draw a graph into a file: .dot for the text, .svg, .png or .pdf by graphviz.

    Raises
    ------
    FastGruError
        When the suffix is another, graphviz is not installed, or it fails.
    OSError
        When the file cannot be written. Nothing is left half-written.
    """
    path = Path(path)
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise FastGruError(f"file to draw into must end in one of {', '.join('.' + f for f in FORMATS)}, got {path}")
    check_target(path)
    text = dot(graph).encode()
    if kind != "dot":
        program = shutil.which("dot")
        if program is None:
            raise FastGruError(
                f"graphviz must be installed to draw {path} (its program is 'dot'), got none; .dot needs it not"
            )
        try:
            done = subprocess.run([program, f"-T{kind}"], input=text, capture_output=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise FastGruError(f"graphviz must draw {path} within {SECONDS} s, got no end") from error
        if done.returncode:
            raise FastGruError(f"graphviz must draw {path}, got: {done.stderr.decode(errors='replace').strip()}")
        text = done.stdout
    replace_file(path, text)


__all__ = ["dot", "draw"]


def __dir__() -> list[str]:
    return __all__
