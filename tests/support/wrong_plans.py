"""Plans of single layers, and for every requirement of ``include/fastgru/plan/`` fields that do not meet it."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
from cells import make_cell
from frame_cases import F, I, w
from plan_mutants import FIELDS, timed
from test_frames import graph_of

from fastgru import graph as g
from fastgru.graph import GraphBuilder, Spec
from fastgru.lowering.instructions import Rows
from fastgru.lowering.lower import Lowered, lower
from fastgru.lowering.traced import lower_traced
from fastgru.passes import fused


def plan_of(graph: g.Graph | Lowered) -> SimpleNamespace:
    made = lower(fused(graph)) if isinstance(graph, g.Graph) else graph
    plan = SimpleNamespace(
        **{name: getattr(made, name) for name in FIELDS}, blockers=made.blockers, macs=made.macs, latency=0
    )
    plan.values, plan.loops = [dataclasses.replace(v) for v in plan.values], tuple(plan.loops)
    return plan


def single(*ops: g.Op) -> g.Graph:
    return g.chain(list(ops))


def masked() -> g.Graph:
    b = GraphBuilder()
    x = b.input("x", Spec((5,)))
    y = b.add(g.ApplyMask(), x, b.add(g.Mask(0.0), x))
    return b.build(b.add(g.Reverse(), y))


def switched() -> g.Graph:
    """A mask that is computed, and so converted."""
    b = GraphBuilder()
    x, m = b.input("x", Spec((5,))), b.input("m", Spec((), dtype="bool"))
    return b.build(b.add(g.ApplyMask(), x, m))


def loop() -> g.Graph:
    b = GraphBuilder()
    x, held = b.input("x", Spec((5,))), b.add(g.State(np.zeros(5, np.float32)))
    total = b.add(g.Add(), x, held)
    return b.build(total, feedback={held: total})


def looked_up(op: g.Op) -> g.Graph:
    b = GraphBuilder()
    return b.build(b.add(op, b.add(g.Embedding(w(7, 3)), b.input("ids", Spec((), dtype="int")))))


def scan() -> g.Graph:
    op = make_cell("lstm", 3, 4).replace(initial_h=None, scan=True, operands=("initial_h", "lengths"))
    return graph_of(op, [F(5, 2, 3), F(2, 4), I(2)])


def waits() -> g.Graph:
    return timed()[5]


PLANS = {
    "recurrent": single(make_cell("lstm-peephole", 3, 4)),
    "gru": single(make_cell("gru-before-output", 3, 4)),
    "traced": lower_traced(single(make_cell("lstm", 3, 4)), [], {"lstm": ("forget", "hidden")}).lowered,
    "project": single(make_cell("lstm-projection", 3, 4)),
    "last": single(make_cell("gru-after", 3, 4, return_sequences=False)),
    "table": looked_up(make_cell("gru-after", 3, 4)),
    "dense": single(g.Dense(w(4, 3), w(4))),
    "embedding": looked_up(g.LayerNorm(np.ones(3))),
    "layer_norm": single(g.LayerNorm(np.ones(5))),
    "affine": single(g.BatchNorm(np.zeros(5), np.ones(5))),
    "activate": single(g.Dropout(), g.LayerNorm(np.ones(5)), g.Activate("softmax")),
    "mask": masked(),
    "convert": switched(),
    "concat": graph_of(g.Concat(), [F(5), F(4)]),
    "add": graph_of(g.Add(), [F(5), F(5)]),
    "map": graph_of(g.Binary("div"), [F(3, 5), F(5)]),
    "fill": graph_of(g.Pad((1, 0), (0, 2), "constant", 1.5), [F(2, 3)]),
    "reduce": graph_of(g.Reduce("sum", (1,)), [F(3, 5)]),
    "over_time": graph_of(g.TimeReduce("sum"), [F(3)]),
    "contract": graph_of(g.Conv(w(2, 2, 3), w(2)), [F(2, 9)]),
    "arg_reduce": graph_of(g.ArgReduce("argmax", 1), [F(3, 5)]),
    "gather": graph_of(g.Gather(1), [F(2, 7, 3), I(2, 4)]),
    "store": loop(),
    "frame_product": graph_of(g.Dense(w(4, 5), w(4)), [F(3, 5)]),
    "frame_softmax": graph_of(g.Softmax(1), [F(3, 5)]),
    "frame_norm": graph_of(g.LayerNorm(np.ones(5)), [F(3, 5)]),
    "top_k": graph_of(g.TopK(2, 1), [F(3, 5)]),
    "scan": scan(),
    "window": graph_of(g.TimeConv(w(3, 2, 4), before=1), [F(2)]),
    "each": graph_of(g.TimeConv(w(3, 2, 4), before=3), [F(2)]),
    "slice": graph_of(g.TimeSlice(-3), [F(2)]),
    "overlap_add": graph_of(g.OverlapAdd(4, 2, skip=1), [F(4, 2)]),
    "mirror": graph_of(g.TimePad(2, 1, outside="reflect"), [F(2)]),
    "wait": waits(),
    "time_step": graph_of(g.TimeStep(2), [F(2)]),
    "last_step": graph_of(g.TimeStep(-2), [F(2)]),
    "attend": graph_of(g.TimeAttention(0.5), [F(2, 4), F(2, 4), F(2, 3), F()]),
}  # fmt: skip


def at(plan: Any, kind: str) -> int:
    """The place of the last instruction of a kind."""
    return max(i for i, ins in enumerate(plan.instructions) if ins.mnemonic == kind)


def set_fields(plan: Any, kind: str, **fields: Any) -> None:
    i = at(plan, kind)
    plan.instructions = list(plan.instructions)
    own = plan.instructions[i]
    given = {name: value(getattr(own, name)) if callable(value) else value for name, value in fields.items()}
    plan.instructions[i] = dataclasses.replace(own, **given)


def phase(i: int, **fields: Any) -> Any:
    """A layer with other fields in a phase."""

    def changed(layer: Any) -> Any:
        made = list(layer.phases)
        own = made[i]
        made[i] = dataclasses.replace(own, **{k: v(getattr(own, k)) if callable(v) else v for k, v in fields.items()})
        return dataclasses.replace(layer, phases=tuple(made))

    return changed


def phases(some: slice) -> Any:
    return lambda own: dataclasses.replace(own, phases=own.phases[some])


def layer(**fields: Any) -> Any:
    return lambda own: dataclasses.replace(own, **fields)


def operand(i: int, **fields: Any) -> Any:
    return lambda own: tuple(o._replace(**fields) if i == n else o for n, o in enumerate(own))


def item(*path_and_value: Any) -> Any:
    """Nested tuples with another number at a place."""
    *path, value = path_and_value

    def changed(own: Any, path: Any = tuple(path)) -> Any:
        if not path:
            return value
        made = list(own)
        made[path[0]] = changed(own[path[0]], path[1:])
        return type(own)(*made) if hasattr(own, "_fields") else tuple(made)

    return changed


ONES = np.ones
WRONG: list[tuple[str, str, dict[str, Any], str]] = [
    # plan, instruction, its fields, what the message must say
    ("dense", "dense", {"size": 5}, "w must have shape (5, 3), got (4, 3)"),
    ("dense", "dense", {"w": ONES((4, 2))}, "input must have 2 elements, got 3"),
    ("dense", "dense", {"w": ONES((5, 3)), "size": 5, "bias": None}, "output must have 5 elements, got 4"),
    ("dense", "dense", {"w": ONES(4)}, "w must have two axes, got shape (4,)"),
    ("dense", "dense", {"w": ONES((0, 3))}, "shape of an array must be of positive numbers"),
    ("dense", "dense", {"bias": ONES(3)}, "bias must have shape (4,), got (3,)"),
    ("dense", "dense", {"precision": "int4"}, "precision must be one of 'float32'"),
    ("dense", "dense", {"act": (15, 0.0, 0.0)}, "act must be the code of an activation"),
    ("dense", "dense", {"act": (0, float("nan"), 0.0)}, "act must be the code of an activation"),
    ("dense", "dense", {"input_scale": 1e40}, "input_scale must be 0.0 or a scale"),
    ("dense", "dense", {"input_zero": 256}, "input_zero must be an integer of 0 to 255"),
    ("dense", "dense", {"inputs": ()}, "inputs must be 1 to 1, got 0"),
    ("dense", "dense", {"inputs": (9,)}, "buffers must be 0 to 1, got 9"),
    ("dense", "dense", {"inputs": (-1,)}, "buffers must be 0 to 1, got -1"),
    ("dense", "dense", {"inputs": (1,)}, "input 1 must be written before"),
    ("dense", "dense", {"output": 0}, "buffers written must be others than those read"),
    ("dense", "dense", {"outputs": (1,)}, "outputs must be 0 to 0, got 1"),
    ("dense", "dense", {"held": (1,)}, "held must be () for what holds no numbers"),
    ("dense", "dense", {"clock": 2}, "clock must be one that is counted before, got 2"),
    ("dense", "dense", {"clock": 0}, "clock must be one that is counted before, got 0"),
    ("traced", "traced", {"shown": (0, 99)}, "which the cell has, got (0, 99)"),
    ("traced", "traced", {"shown": (0,)}, "what is shown must have 4 elements, got 8"),
    ("traced", "traced", {"outputs": ()}, "outputs must be one where something is shown, else none, got 0"),
    ("traced", "traced", {"layer": layer(units=5)}, "must have shape"),
    ("dense", "dense", {"size": 1 << 41}, "size must be an integer of 0 and more below 2**40"),
    ("recurrent", "recurrent", {"layer": layer(units=5)}, "must have shape"),
    ("recurrent", "recurrent", {"layer": layer(features=3)}, "layer.features must be as many as units, 4, got 3"),
    ("recurrent", "recurrent", {"layer": layer(precision="float8")}, "precision must be one of"),
    ("recurrent", "recurrent", {"layer": layer(gated_output=True)}, "layer.gated_output must be False"),
    ("recurrent", "recurrent", {"layer": layer(last=True)}, "output must have clock 0, got 1"),
    ("recurrent", "recurrent", {"layer": layer(initial_h=ONES(3))}, "layer.initial_h must have shape (4,), got (3,)"),
    ("recurrent", "recurrent", {"layer": layer(initial_c=ONES(5))}, "layer.initial_c must have shape (4,), got (5,)"),
    ("recurrent", "recurrent", {"layer": layer(phases=())}, "layer.phases must be one or two, got none"),
    ("recurrent", "recurrent", {"layer": phase(0, kind=0)}, "phases[0].u must have shape (1, 4, 4), got (4, 4, 4)"),
    ("recurrent", "recurrent", {"layer": phase(0, kind=9)}, "phases[0].kind must be the code of a kind of phase"),
    ("recurrent", "recurrent", {"layer": phase(0, kind=5)}, "kinds of phases must follow each other, got (5,)"),
    ("recurrent", "recurrent", {"layer": phase(0, tier=3)}, "phases[0].tier must be an integer of 0 to 2"),
    ("recurrent", "recurrent", {"layer": phase(0, act=((15, 0.0, 0.0),) * 3)}, "of three activations"),
    ("recurrent", "recurrent", {"layer": phase(0, clip=float("nan"))}, "phases[0].clip must be a finite float"),
    ("recurrent", "recurrent", {"layer": phase(0, u=lambda u: u[:, :, :3])}, "phases[0].u must have shape (4, 4, 4)"),
    ("recurrent", "recurrent", {"layer": phase(0, u=lambda u: u[:, :3])}, "phases[0].u must have shape (4, 4, 4)"),
    ("recurrent", "recurrent", {"layer": phase(0, u=lambda u: u[:3])}, "phases[0].u must have shape (4, 4, 4)"),
    ("recurrent", "recurrent", {"layer": phase(0, x=lambda x: x[:3])}, "phases[0].x must have shape (4, 4, 3)"),
    ("recurrent", "recurrent", {"layer": phase(0, x=lambda x: x[:, :, :2])}, "input must have 2 elements, got 3"),
    ("recurrent", "recurrent", {"layer": phase(0, x=None)}, "phases[0] must have one of x and table"),
    ("recurrent", "recurrent", {"layer": phase(0, table=ONES((7, 4, 4)))}, "phases[0] must have one of x and table"),
    ("recurrent", "recurrent", {"layer": phase(0, bias_x=None)}, "phases[0].bias_x must be an array, got None"),
    ("recurrent", "recurrent", {"layer": phase(0, bias_x=ONES((4, 3)))}, "bias_x must have shape (4, 4), got (4, 3)"),
    ("recurrent", "recurrent", {"layer": phase(0, bias_h=ONES((3, 4)))}, "bias_h must have shape (4, 4), got (3, 4)"),
    ("recurrent", "recurrent", {"layer": phase(0, peephole=ONES((2, 4)))}, "peephole must have shape (3, 4)"),
    ("recurrent", "recurrent", {"inputs": (0, 0)}, "input 0 must be of bool, got float"),
    ("recurrent", "recurrent", {"size": 3}, "size must be the features, 4, got 3"),
    ("gru", "recurrent", {"layer": layer(gated_output=False)}, "layer.gated_output must be True"),
    ("gru", "recurrent", {"layer": phases(slice(1))}, "must follow each other"),
    ("gru", "recurrent", {"layer": phase(0, peephole=ONES((3, 4)))}, "peephole must be None for a cell that has none"),
    ("gru", "recurrent", {"layer": phase(1, x=lambda x: np.tile(x, 2))}, "must read inputs of one width"),
    ("gru", "recurrent", {"layer": phase(1, u=lambda u: u[:, :, :2])}, "phases[1].u must have shape (1, 4, 4)"),
    ("project", "recurrent", {"layer": phase(1, x=ONES((1, 2, 3)))}, "phases[1] must have neither of x and table"),
    ("project", "recurrent", {"layer": phase(1, u=lambda u: u[:, :1])}, "phases[1].u must have shape (1, 2, 4)"),
    ("project", "recurrent", {"layer": layer(features=4)}, "phases[0].u must have shape (4, 4, 4)"),
    ("last", "recurrent", {"layer": layer(last=False)}, "output must have clock 1, got 0"),
    ("table", "recurrent", {"layer": phase(0, table=lambda t: t[:6])}, "must be bounded by the 6 rows of table"),
    ("table", "recurrent", {"layer": phase(0, table=lambda t: t[:, :2])}, "phases[0].table must have shape (7, 3, 4)"),
    ("embedding", "embedding", {"w": ONES((6, 3))}, "ids 0 must be bounded by the 6 rows of w, got a bound of 7"),
    ("embedding", "embedding", {"w": ONES((7, 2))}, "w must have shape (7, 3), got (7, 2)"),
    ("embedding", "embedding", {"w": ONES(7)}, "w must have two axes"),
    ("embedding", "embedding", {"precision": ""}, "precision must be one of"),
    ("embedding", "layer_norm", {"inputs": (0,)}, "input 0 must be of float, got int"),
    ("layer_norm", "layer_norm", {"scale": ONES(4)}, "scale must have shape (5,), got (4,)"),
    ("layer_norm", "layer_norm", {"shift": ONES((5, 1))}, "shift must have shape (5,), got (5, 1)"),
    ("layer_norm", "layer_norm", {"eps": float("nan")}, "eps must be a finite float of 0 and more"),
    ("affine", "affine", {"size": 4}, "input 0 must have 4 elements, got 5"),
    ("activate", "activate", {"shift": ONES(4)}, "shift must have shape (5,), got (4,)"),
    ("activate", "activate", {"size": 6}, "must have 6 elements, got 5"),
    ("mask", "mask", {"size": 6}, "input must have 6 elements, got 5"),
    ("mask", "apply_mask", {"size": 4}, "input must have 4 elements, got 5"),
    ("mask", "apply_mask", {"inputs": (0, 0)}, "input 0 must be of bool, got float"),
    ("mask", "reverse", {"size": 6}, "input must have 6 elements, got 5"),
    ("concat", "concat", {"size": 8}, "output must have 8 elements, got 9"),
    ("concat", "concat", {"inputs": (0, 0)}, "output must have 10 elements, got 9"),
    ("concat", "concat", {"inputs": (0,) * 9}, "inputs must be at most 8, got 9"),
    ("map", "map", {"dims": (4, 5)}, "operand 0 must lie within elements 0 to 14, got 0 to 19"),
    ("map", "map", {"dims": (3, 0)}, "dims must be at least 1"),
    ("map", "map", {"dims": (3,), "outer": 1}, "strides must be 1 for each of 3 operands"),
    ("map", "map", {"dims": (3, 5, 1)}, "strides must be 3 for each of 3 operands, got 2"),
    ("map", "map", {"outer": 1}, "of which at most 0 are folded, got 2, outer 1"),
    ("map", "map", {"dims": (1,) * 11, "outer": 11}, "loops must be at most 10"),
    ("map", "map", {"strides": item(0, 0, -5)}, "operand 0 must lie within elements 0 to 14, got -10 to 4"),
    ("map", "map", {"strides": item(1, 1, 2)}, "operand 1 must lie within elements 0 to 14, got 0 to 18"),
    ("map", "map", {"strides": item(0, 0, 1)}, "elements must each be written once"),
    ("map", "map", {"strides": ((5, 1), (5, 1))}, "strides must be 2 for each of 3 operands"),
    ("map", "map", {"operands": operand(0, offset=1)}, "operand 0 must lie within elements 0 to 14, got 1 to 15"),
    ("map", "map", {"operands": operand(2, offset=-1)}, "operand 2 must lie within elements 0 to 4, got -1 to 3"),
    ("map", "map", {"operands": operand(1, buffer=1)}, "operand 1 must lie within elements 0 to 4, got 0 to 14"),
    ("map", "map", {"operands": operand(1, buffer=-2)}, "operand 1 must be of one of 3 buffers or an array"),
    ("map", "map", {"operands": operand(2, buffer=-1, constant=ONES(4))}, "operand 2 must lie within elements 0 to 3"),
    ("map", "map", {"operands": operand(2, constant=ONES(5))}, "must be of a buffer or a flat array, got buffer 1"),
    ("map", "map", {"operands": operand(2, buffer=-1, constant=ONES((5, 1)))}, "must be of a buffer or a flat array"),
    ("map", "map", {"operands": lambda o: o[:1]}, "operands must be 2 to 8, got 1"),
    ("map", "map", {"inputs": (1, 0)}, "operands must be of the output, 2, and the inputs"),
    ("map", "map", {"program": ()}, "operands must be 2 to 2, got 3"),
    ("map", "map", {"program": item(0, 1, 2)}, "function 0 must read registers below 2, got (2,"),
    ("map", "map", {"program": item(0, 3, 5)}, "function 0 must read registers below 2"),
    ("map", "map", {"program": item(0, 0, 20)}, "function 0 must be one there is, with finite parameters"),
    ("map", "map", {"program": item(0, 0, 68)}, "function 0 must be one there is, with finite parameters"),
    ("map", "map", {"program": item(0, 4, float("inf"))}, "function 0 must be one there is, with finite parameters"),
    ("map", "map", {"program": lambda p: p * 33}, "functions must be at most 32, got 33"),
    ("map", "map", {"over_time": True}, "over_time must be False, got True"),
    ("reduce", "reduce", {"function": 6}, "function must be the code of a fold, 0 to 5, got 6"),
    ("reduce", "reduce", {"dims": (3, 6)}, "operand 1 must lie within elements 0 to 14"),
    ("reduce", "reduce", {"strides": item(0, 1, 1), "dims": (1, 3)}, "strides of the output must be 0 in folded loops"),
    ("reduce", "reduce", {"dims": (3, 1 << 32), "strides": item(1, 1, 0)}, "2**31 of them folded"),
    ("over_time", "reduce", {"some_steps": False}, "some_steps must be True for an output of the plan"),
    ("over_time", "reduce", {"over_time": False}, "must have no steps, as the output has none"),
    ("contract", "contract", {"operands": lambda o: o[:2]}, "operands must be 3 to 4, got 2"),
    ("contract", "contract", {"act": (-1, 0.0, 0.0)}, "act must be the code of an activation"),
    ("arg_reduce", "arg_reduce", {"outer": 0, "strides": ((0, 0), (5, 1))}, "of which at most 1 are folded"),
    ("gather", "gather", {"count": 8}, "operand 1 must lie within elements 0 to 41"),
    ("gather", "gather", {"count": 0}, "count must be at least 1, got 0"),
    ("gather", "gather", {"stride": 4}, "operand 1 must lie within elements 0 to 41"),
    ("gather", "gather", {"stride": -3}, "operand 1 must lie within elements 0 to 41, got -18"),
    ("store", "store", {"output": 2}, "a state must be written by a store, and nothing else be, got buffer 2"),
    ("store", "map", {"output": 1}, "buffers written must be others than those read"),
    ("frame_product", "frame_product", {"dims": (1, 4)}, "read must lie within elements 0 to 14, got 0 to 19"),
    ("frame_product", "frame_product", {"dims": (1, 0)}, "dims must be at least 1"),
    ("frame_product", "frame_product", {"read": Rows(1, 0, 5)}, "read must lie within elements 0 to 14, got 1 to 15"),
    ("frame_product", "frame_product", {"read": Rows(0, 0, -5)}, "read must lie within elements 0 to 14, got -10 to 4"),
    ("frame_product", "frame_product", {"write": Rows(1, 0, 4)}, "write must lie within elements 0 to 11, got 1 to 12"),
    ("frame_product", "frame_product", {"write": Rows(0, 0, 3)}, "elements must each be written once"),
    ("frame_product", "frame_product", {"w": ONES((4, 6))}, "read must lie within elements 0 to 14, got 0 to 15"),
    ("frame_product", "frame_product", {"dims": (1, 2)}, "output 1 must be written in whole"),
    ("frame_softmax", "frame_softmax", {"size": 6}, "read must lie within elements 0 to 14, got 0 to 15"),
    ("frame_softmax", "frame_softmax", {"size": 0}, "dims must be at least 1 and make fewer than 2**40 rows of some"),
    ("frame_norm", "frame_norm", {"scale": ONES(6)}, "scale must have shape (5,), got (6,)"),
    ("top_k", "top_k", {"count": 3}, "write must lie within elements 0 to 5"),
    ("top_k", "top_k", {"count": 0}, "dims must be at least 1 and make"),
    ("top_k", "top_k", {"size": 1}, "each of 1 to 1 elements, got 2"),
    ("top_k", "top_k", {"outputs": ()}, "outputs must be 1 to 1, got 0"),
    ("top_k", "top_k", {"outputs": (0,)}, "buffers written must be others than those read"),
    ("attend", "attend", {"heads": 4}, "size a multiple of heads, got 4 and 4"),
    ("attend", "attend", {"heads": 0}, "heads and width must be at least 1"),
    ("attend", "attend", {"heads": 1}, "must have 4 elements, got 8"),
    ("attend", "attend", {"width": 5}, "must have 10 elements, got 8"),
    ("attend", "attend", {"size": 8}, "output must have 8 elements, got 6"),
    ("attend", "attend", {"outputs": lambda o: o[::-1]}, "room for keys must have 4 elements"),
    ("attend", "attend", {"outputs": lambda o: o[:1]}, "outputs must be 2 to 2, got 1"),
    ("attend", "attend", {"inputs": lambda v: v[:2]}, "inputs must be 3 to 4, got 2"),
    ("attend", "attend", {"inputs": lambda v: (*v[:3], v[2])}, "what is added must have 2 elements, got 6"),
    ("scan", "scan", {"steps": 6}, "read must lie within elements 0 to 29, got 0 to 35"),
    ("scan", "scan", {"rows": 3}, "read must lie within elements 0 to 29"),
    ("scan", "scan", {"rows": 0}, "steps and rows must be at least 1"),
    ("scan", "scan", {"read": Rows(0, 6, 4)}, "read must lie within elements 0 to 29, got 0 to 30"),
    ("scan", "scan", {"operands": lambda o: o[:2]}, "operands must be three"),
    ("scan", "scan", {"operands": operand(0, offset=1)}, "operand 0 must lie within elements 0 to 7, got 1 to 8"),
    ("scan", "scan", {"operands": operand(2, buffer=-2)}, "inputs must be the buffers read"),
    ("scan", "scan", {"outputs": ()}, "outputs must be 1 to 2, got 0"),
    ("scan", "scan", {"layer": layer(last=True)}, "layer of a scan must give all steps of floats"),
    ("window", "window", {"reach": 5}, "output must have 10 elements, got 8"),
    ("window", "window", {"reach": 0}, "size, reach and stride must be at least 1"),
    ("window", "window", {"stride": 0}, "size, reach and stride must be at least 1"),
    ("window", "window", {"before": 4}, "kept must be at least 4, the steps that stay from call to call, got 3"),
    ("window", "window", {"kept": 2}, "kept must be at least 3, the steps that stay from call to call, got 2"),
    ("window", "window", {"after": -1}, "after must be an integer of 0 and more"),
    ("window", "window", {"window": 1}, "lines must be numbered 0 to 0, got 1"),
    ("window", "window", {"bounds": (0, None)}, "before and after must be 0 for windows of a slice"),
    ("window", "window", {"bounds": (0, 1, 2)}, "bounds must be at most 2, got 3"),
    ("window", "window", {"size": 1}, "input must have 1 elements, got 2"),
    ("each", "window", {"before": 2}, "windows with the clock of their steps must be one for each step"),
    ("each", "window", {"stride": 2}, "windows with the clock of their steps must be one for each step"),
    ("overlap_add", "overlap_add", {"reach": 5}, "input must have 10 elements, got 8"),
    ("overlap_add", "overlap_add", {"lead": 1}, "kept must be at least 5"),
    ("overlap_add", "overlap_add", {"stride": 5}, "kept must be at least 5"),
    ("overlap_add", "overlap_add", {"after": 5}, "kept must be at least 7"),
    ("overlap_add", "overlap_add", {"rest": 5}, "kept must be at least 5"),
    ("overlap_add", "overlap_add", {"before": -1}, "before must be at least 0, got -1"),
    ("mirror", "mirror", {"before": 3}, "before and after must be below reach, 3, got 3 and 1"),
    ("mirror", "mirror", {"after": 3}, "before and after must be below reach, 3, got 2 and 3"),
    ("mirror", "mirror", {"kept": 2}, "kept must be at least 3"),
    ("mirror", "mirror", {"stride": 2}, "before must be at least 0 and stride 1"),
    ("wait", "wait", {"meeting": ((9, 1),)}, "clock 3 must be counted by nothing else"),
    ("wait", "wait", {"before": 1}, "a wait must have reach and stride 1 and no padding"),
    ("wait", "wait", {"kept": -1}, "kept must be an integer of 0 and more"),
    ("wait", "wait", {"inputs": ()}, "inputs must be 1 to 8, got 0"),
    ("time_step", "time_step", {"kept": 2}, "kept must be 1, got 2"),
    ("time_step", "time_step", {"held": ()}, "held must be the 2 buffers read behind the input"),
    ("time_step", "time_step", {"last": True}, "held must be the 1 buffers read behind the input"),
    ("time_step", "time_step", {"count": -1}, "count must be an integer of 0 and more"),
    ("last_step", "time_step", {"kept": 3}, "must have 6 elements, got 4"),
    ("last_step", "time_step", {"kept": 0}, "kept must be at least 1, got 0"),
]  # fmt: skip


def value(n: int, **fields: Any) -> Any:
    def change(plan: Any) -> None:
        plan.values[n] = dataclasses.replace(plan.values[n], **fields)

    return change


def attributes(**fields: Any) -> Any:
    def change(plan: Any) -> None:
        for name, of in fields.items():
            setattr(plan, name, of(getattr(plan, name)) if callable(of) else of)

    return change


def output_of(of: str, **fields: Any) -> Any:
    def change(plan: Any) -> None:
        value(plan.instructions[at(plan, of)].output, **fields)(plan)

    return change


def state_of(i: int, *fields: Any) -> Any:
    """The fields of a state; `...` leaves one as it is."""

    def change(plan: Any) -> None:
        plan.states = list(plan.states)
        plan.states[i] = tuple(old if new is ... else new for old, new in zip(plan.states[i], fields, strict=True))

    return change


CHANGES: list[tuple[str, Any, str]] = [
    ("dense", value(1, size=5), "shape of buffer 1 must have 5 elements, got (4,)"),
    ("dense", value(1, size=-1), "buffer 1: size must be an integer of 0 and more below 2**40, got -1"),
    ("dense", value(1, size=0, shape=(0,)), "size must be at least 1 for float"),
    ("dense", value(1, kind="double"), "number must be one of 'float', 'int', 'bool', got 'double'"),
    ("dense", value(1, kind="bool", size=0, shape=()), "output 1 must be floats, got bool"),
    ("dense", value(1, dtype="int32"), "stored must be one of '', 'int64', 'bool', got 'int32'"),
    ("dense", value(1, time=2), "time must be at most 1, got 2"),
    ("dense", value(1, time=0), "input 0 must have the clock of the output, 0, got 1"),
    ("dense", value(0, time=0), "input 0 must have the clock of the output, 1, got 0"),
    ("dense", value(1, slot=0), "must be no state, no line and in no slot"),
    ("dense", value(1, slot=2), "slot must be -1 to 1, got 2"),
    ("dense", value(1, line=True), "must be no state, no line and in no slot"),
    ("dense", value(1, state=True, time=0), "must be no state, no line and in no slot"),
    ("dense", value(1, stays=True), "buffer 1 must not stay at its place"),
    ("dense", value(1, initial=ONES(4)), "initial must be of a state"),
    ("dense", value(1, shape=(2, -2)), "shape must be integers of 0 to 1099511627775, got -2"),
    ("dense", value(1, shape=(1,) * 12 + (4,)), "axes of an item must be at most 12, got 13"),
    ("dense", value(0, dtype="int64"), "input 0 must be floats or ids"),
    ("dense", attributes(values=lambda v: [*v, None]), "must hold what its instructions are declared with"),
    ("dense", attributes(instructions=lambda i: [*i, "dense"]), "must hold what its instructions are declared with"),
    ("dense", attributes(instructions=lambda i: i * 2), "buffer 1 must be written by no other instruction"),
    ("dense", attributes(instructions=[]), "output 1 must be written by an instruction"),
    ("dense", attributes(inputs=[]), "inputs and outputs must be some buffers, each once"),
    ("dense", attributes(outputs=[1, 1]), "inputs and outputs must be some buffers, each once"),
    ("dense", attributes(outputs=[0]), "inputs and outputs must be some buffers, each once"),
    ("dense", attributes(outputs=[2]), "inputs and outputs must be buffers that there are, got 2"),
    ("dense", attributes(clocks=0), "clocks must be at least 1 and bases 1 to clocks, got 0 and 1"),
    ("dense", attributes(clocks=33), "must be fewer than 32, got 32"),
    ("dense", attributes(bases=2), "bases 1 to clocks, got 1 and 2"),
    ("dense", attributes(clocks=2), "clocks must each be counted by the inputs or a line, got 1 that are not"),
    ("dense", attributes(loops=((0, 1, 1),)), "loop from 0 to 1 must store a state"),
    ("dense", attributes(loops=((0, 1),)), "must hold what its instructions are declared with"),
    ("dense", attributes(loops=((0, 2, 1),)), "loop must be of instructions, got 2"),
    ("dense", attributes(loops=((0, 1, 1),) * 33), "must be at most 32, got 33"),
    ("dense", attributes(states=[("s", 0, "h", (4,))]), "state 's' must show a recurrence or a line in its shape"),
    ("dense", attributes(states=[("s", -2, "", (4,))]), "state 's' must show a buffer that is a state"),
    ("dense", attributes(states=[("s", -9, "", (4,))]), "state 's' must show a buffer that is a state"),
    ("dense", attributes(states=["s"]), "must hold what its instructions are declared with"),
    ("add", value(1, size=4, shape=(4,)), "input 1 must have 5 elements, got 4"),
    ("add", value(1, name="x0"), "names of inputs must differ"),
    ("recurrent", state_of(0, ..., 1, ..., ...), "must show a recurrence or a line in its shape"),
    ("recurrent", state_of(0, ..., ..., "history", ...), "must show a recurrence or a line in its shape"),
    ("recurrent", state_of(0, ..., ..., ..., (5,)), "must show a recurrence or a line in its shape"),
    ("recurrent", attributes(states=lambda s: [*s, s[0]]), "keys of states must differ"),
    ("embedding", value(0, bound=8), "ids 0 must be bounded by the 7 rows of w, got a bound of 8"),
    ("embedding", value(0, size=1), "size must be at least 1 for float and 0 for int and bool"),
    ("embedding", value(0, shape=(1,)), "shape of buffer 0 must be () as it has ids"),
    ("embedding", output_of("embedding", kind="int", size=0), "must be an input as it has ids"),
    ("mask", output_of("mask", time=0), "output must have clock 1, got 0"),
    ("mask", output_of("mask", kind="float", size=1), "must be of bool, got float"),
    ("convert", output_of("convert", kind="int", size=0), "must be an input as it has ids"),
    ("convert", output_of("convert", time=0), "must have no steps, as the output has none"),
    ("map", value(2, time=0), "must have no steps, as the output has none, got clock 1"),
    ("store", value(1, time=1), "a state must be floats without time"),
    ("store", value(1, initial=ONES(4)), "initial must be of a state and have 5 elements"),
    ("store", value(1, slot=0), "slot must be -1 of a state"),
    ("store", value(1, state=False), "must be"),
    ("store", attributes(loops=()), "a state must be stored in a loop"),
    ("store", attributes(loops=lambda loops: [(*loops[0][:2], 2)]), "clock of the loop from 0 must be 1 to 1, got 2"),
    ("store", state_of(0, ..., ..., "held", ...), "must show a buffer that is a state in its shape"),
    ("store", state_of(0, ..., ..., ..., (4,)), "must show a buffer that is a state in its shape"),
    ("window", output_of("window", line=False), "a line must be the output of windows or a wait"),
    ("window", output_of("window", slot=0), "slot must be -1 of a state, of a line"),
    ("window", output_of("window", stays=True), "output must not stay at its place"),
    ("window", output_of("window", time=1), "windows with the clock of their steps must be one for each step"),
    ("window", attributes(clocks=1), "time must be at most 1, got 2"),
    ("window", value(0, time=2), "input 0 must be floats or ids with a clock of 0 to 1"),
    ("window", attributes(bases=2), "clock 2 must be counted by nothing else"),
    ("window", attributes(states=[]), "states must show all lines and what they hold, got none for line 0"),
    ("window", state_of(0, ..., ..., ..., (4, 2)), "must show a recurrence or a line in its shape"),
    ("window", state_of(0, ..., 1, ..., ...), "must show a recurrence or a line in its shape"),
    ("wait", lambda plan: plan.instructions.reverse(), "clock must be one that is counted before, got 4"),
    ("time_step", value(1, state=False), "input 1 must be written before"),
]  # fmt: skip
