"""Sequences of calls on a stream and its model, sound and not: a refused call changes nothing.

Every call is made on a stream and, where it was accepted, on a twin; their states are compared after every call and
their outputs bit for bit, so that a call that was refused but left a trace is seen.
"""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastgru import FastGruError, Model
from fastgru.graph import Graph

from . import values
from .exercise import Mismatch, feeds_of, outputs, same
from .stream_graphs import streaming
from .worker import Refused

ALLOWED = (ValueError, TypeError, FastGruError, MemoryError)
BATCHES = (None, None, 1, 2, 3, 7)


class Calls(NamedTuple):
    """A mutant: which graph, which stream, and the calls, each with a seed of its own."""

    index: int
    batch: int | None
    threads: int | None
    calls: tuple[tuple[str, int], ...]


class Scene:
    """A stream, its twin, and the model of both."""

    def __init__(self, mutant: Calls) -> None:
        self.model = model_of(mutant.index)
        self.batch = mutant.batch
        threads = mutant.threads if self.model.gemm == "packed" else None  # BLAS promises no bits
        self.stream = self.model.stream(mutant.batch, threads=threads)
        self.twin = self.model.stream(mutant.batch)
        self.refused: BaseException | None = None

    @property
    def axis(self) -> int:
        """The axis of time of a chunk."""
        return 0 if self.batch is None else 1

    def feeds(self, rng: random.Random, steps: int) -> Any:
        """A sound chunk: an array, or a dict of them."""
        feeds = feeds_of(self.model, rng, steps, self.batch)
        return feeds if len(feeds) > 1 else next(iter(feeds.values()))

    def both(self, call: Callable[[Any], Any], other: Callable[[Any], Any] | None = None) -> None:
        """Make a call on the stream and, if it was accepted, on the twin; compare results and states."""
        try:
            found = call(self.stream)
        except ALLOWED as error:
            self.refused = error
        else:
            wanted = (other or call)(self.twin)
            if found is not None:
                same("twin", outputs(found), outputs(wanted))
        self.compare()

    def compare(self) -> None:
        """Raise Mismatch unless both streams have the same state."""
        same_state(self.stream.state, self.twin.state, "after a refused call" if self.refused else "after a call")


def same_state(a: dict[str, Any], b: dict[str, Any], what: str) -> None:
    """Raise Mismatch unless two states have the same bits."""
    if a.keys() != b.keys():
        raise Mismatch(f"states {what} have other keys")
    same(f"states {what}", tuple(a.values()), tuple(b.values()))


# Odd arguments -----------------------------------------------------------------------------------


def _unaligned(x: Any) -> Any:
    return np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape)


def _with(rng: random.Random, x: Any, value: Any) -> Any:
    x = np.array(x, order="C")
    if x.size:
        if x.dtype.kind != "f":
            limits = np.iinfo(x.dtype) if x.dtype.kind in "iu" else np.iinfo(np.int8)
            value = min(max(0 if value != value else value, limits.min), limits.max)
        x.reshape(-1)[rng.randrange(x.size)] = value
    return x


def _read_only(x: Any) -> Any:
    x = x.copy()
    x.setflags(write=False)
    return x


LARGE = 1 << 20  # elements of what is not made odd once more: it may be one number broadcast
TYPES = ("f2", "f8", "i4", "i8", "u8", "bool", "c8", "S3", "U2", "M8[s]", "m8[s]", "i1")
NO_ARRAYS = (None, 0, 1.5, "x", b"x", {}, [], (), [[]], object(), float("nan"), 10**30, -1, True, {1})
SAME = (  # the same numbers in another form: where they are accepted, nothing may differ
    lambda rng, x: x,
    lambda rng, x: x.tolist(),
    lambda rng, x: np.asfortranarray(x),
    lambda rng, x: np.repeat(x, 2, axis=-1)[..., ::2] if x.ndim else x,
    lambda rng, x: np.ascontiguousarray(x[::-1])[::-1] if x.ndim else x,
    lambda rng, x: x.astype(x.dtype.newbyteorder()),
    lambda rng, x: _unaligned(x),
    lambda rng, x: _read_only(x),
    lambda rng, x: x.astype(np.longdouble) if x.dtype.kind == "f" else x.astype(np.int16),
    lambda rng, x: x.astype(object),
    lambda rng, x: memoryview(np.ascontiguousarray(x)),
    lambda rng, x: x.view(np.recarray) if x.ndim else x,
)
OTHER = (  # other numbers, shapes and types
    lambda rng, x: x.astype(rng.choice(TYPES)),
    lambda rng, x: _with(rng, x, float("nan")) if x.dtype.kind == "f" else _with(rng, x, -1),
    lambda rng, x: _with(rng, x, float("inf")) if x.dtype.kind == "f" else _with(rng, x, 2**62),
    lambda rng, x: _with(rng, x, rng.choice((1e38, -3e38, 1e-40, 1e-45, -0.0))) if x.dtype.kind == "f" else x,
    lambda rng, x: x.T,
    lambda rng, x: x[None],
    lambda rng, x: x[..., None],
    lambda rng, x: x[0] if x.ndim and len(x) else x,
    lambda rng, x: x[:0] if x.ndim else x,
    lambda rng, x: x.take(range(1), rng.randrange(x.ndim)) if x.ndim and x.size else x,
    lambda rng, x: np.concatenate([x, x], rng.randrange(x.ndim)) if x.ndim else x,
    lambda rng, x: x.take([], rng.randrange(x.ndim)) if x.ndim else x,
    lambda rng, x: np.broadcast_to(x.dtype.type(0), (2 ** rng.choice((31, 32, 40)), *x.shape[1:])),
    lambda rng, x: x.reshape(-1),
    lambda rng, x: np.zeros((1,) * rng.choice((0, 5, 33, 60)), x.dtype),
    lambda rng, x: rng.choice(NO_ARRAYS),
    lambda rng, x: [x, x],
    lambda rng, x: (x, x[:1] if x.ndim else x),
    lambda rng, x: np.zeros(x.shape, [("a", "f4"), ("b", "f4")]),
    lambda rng, x: [*x.tolist(), "x"] if x.ndim else "1",
)  # fmt: skip


def odd(rng: random.Random, x: Any) -> Any:
    """A sound argument made odd; what is odd already stays so."""
    if not x if isinstance(x, dict) else not (isinstance(x, np.ndarray) and x.dtype.kind in "fiub" and x.size < LARGE):
        return x
    if isinstance(x, dict):
        which, x = rng.random(), dict(x)
        key = rng.choice(list(x))
        if which < 0.1:
            del x[key]
        elif which < 0.2:
            x["odd"] = x[key]
        elif which < 0.3:
            return list(x.values())[:: rng.choice((1, -1))]
        elif which < 0.4:
            return rng.choice((None, 1, "x", list(x), x[key]))
        else:
            x[key] = odd(rng, x[key])
        return x
    with np.errstate(all="ignore"):
        try:
            return rng.choice(SAME + OTHER + OTHER)(rng, x)
        except (ValueError, TypeError):  # NumPy makes no such array
            return x


def another_form(rng: random.Random, x: Any) -> Any:
    """The same numbers in another form."""
    return {n: another_form(rng, a) for n, a in x.items()} if isinstance(x, dict) else rng.choice(SAME)(rng, x)


# Calls -------------------------------------------------------------------------------------------


def process(s: Scene, rng: random.Random) -> None:
    """A sound chunk, perhaps in another form."""
    x = s.feeds(rng, rng.choice((1, 1, 2, 3, 8)))
    given = another_form(rng, x) if rng.random() < 0.5 else x
    s.both(lambda stream: stream.process(given), lambda stream: stream.process(x))


def long(s: Scene, rng: random.Random) -> None:
    """A chunk that is shared among threads where the model is large enough, and longer than a block."""
    macs = max(1, int(s.model._plan.macs) * (s.batch or 1))
    steps = min(1_100_000 // macs + 1, 700)
    x = s.feeds(rng, steps)
    s.both(lambda stream: stream.process(x))


def step(s: Scene, rng: random.Random) -> None:
    """A sound step, perhaps in another form."""
    x = _frame(s, rng)
    given = another_form(rng, x) if rng.random() < 0.5 else x
    s.both(lambda stream: stream.step(given), lambda stream: stream.step(x))


def _frame(s: Scene, rng: random.Random) -> Any:
    timed = {name: spec.time for name, spec in s.model.graph.inputs.items()}
    x = s.feeds(rng, 1)
    take = lambda a: np.ascontiguousarray(np.take(a, 0, s.axis))  # noqa: E731
    if isinstance(x, dict):
        return {n: take(a) if timed[n] else a for n, a in x.items()}
    return take(x) if all(timed.values()) else x


def odd_step(s: Scene, rng: random.Random) -> None:
    """A step of an odd argument."""
    x = odd(rng, _frame(s, rng))
    s.both(lambda stream: stream.step(x))


def odd_chunk(s: Scene, rng: random.Random) -> None:
    """A chunk that is odd."""
    x = odd(rng, s.feeds(rng, rng.choice((1, 2, 5))))
    s.both(lambda stream: stream.process(x))


def into(s: Scene, rng: random.Random) -> None:
    """A chunk or step with an array for the output: sound, odd, or over the input."""
    whole = rng.random() < 0.5
    x = s.feeds(rng, rng.choice((1, 2, 4))) if whole else _frame(s, rng)
    run = (
        (lambda stream, x, out: stream.process(x, out=out))
        if whole
        else (lambda stream, x, out: stream.step(x, out=out))
    )
    try:
        expected = run(s.twin.copy(), x, None)
    except ALLOWED:
        return
    several = isinstance(expected, tuple)
    out: Any = [np.full_like(y, 7) for y in outputs(expected)]
    which = rng.random()
    if which < 0.3 and not isinstance(x, dict):
        joint = np.zeros(max(x.size, out[0].size) + 3, out[0].dtype)
        if x.dtype == joint.dtype:
            at, to = rng.randrange(joint.size - x.size + 1), rng.randrange(joint.size - out[0].size + 1)
            out[0] = joint[to : to + out[0].size].reshape(out[0].shape)
            moved = joint[at : at + x.size].reshape(x.shape)
            moved[...] = x
            clean, x = x, moved
            given = tuple(out) if several else out[0]
            s.both(lambda stream: run(stream, x, given), lambda stream: run(stream, clean, None))
            return
    if which < 0.8:
        i = rng.randrange(len(out))
        out[i] = odd(rng, out[i])
    given = rng.choice((tuple(out), list(out), tuple(out[:1]))) if several else out[0]
    s.both(lambda stream: run(stream, x, given), lambda stream: run(stream, x, None))


def flush(s: Scene, rng: random.Random) -> None:
    """The end of the sequence."""
    s.both(lambda stream: stream.flush())


def reset(s: Scene, rng: random.Random) -> None:
    """All rows, some, or odd ones."""
    rows = s.batch or 1
    which = rng.choice((
        None, [0], [rows - 1, 0], np.zeros(rows, bool), np.arange(rows) % 2 == 0, [], [rows], [-1], [0.5], [True], "x",
        [[0]], 2**63, np.uint64(2**63), [2**64], 10**30, np.zeros(rows + 1, bool), {0}, [None], np.array([0], "u1"),
    ))  # fmt: skip
    s.both(lambda stream: stream.reset(which) if which is not None or rng is None else stream.reset())


def copied(s: Scene, rng: random.Random) -> None:
    """A copy in place of the stream, made one way or another."""
    make = rng.choice((lambda a: a.copy(), copy.copy, copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))))
    s.stream = make(s.stream)
    s.compare()


def restored(s: Scene, rng: random.Random) -> None:
    """The stream's own state again, or that of another stream of the model."""
    state = s.stream.state
    if rng.random() < 0.5:
        other = s.model.stream(s.batch)
        other.process(s.feeds(rng, rng.choice((1, 2, 6))))
        state = other.state

    def put(stream: Any) -> None:
        stream.state = state

    s.both(put)


def odd_state(s: Scene, rng: random.Random) -> None:
    """A state with a number, a shape, a type or a key changed."""
    state: Any = s.stream.state
    for _ in range(rng.choice((1, 1, 2, 4))):
        state = _odd_state(s, rng, state)
        if not isinstance(state, dict):
            break

    def put(stream: Any) -> None:
        stream.state = state

    s.both(put)


def _odd_state(s: Scene, rng: random.Random, state: dict[str, Any]) -> Any:
    which = rng.random()
    if not state or which < 0.04:
        return rng.choice((None, {}, 1, "x", [], {"x": 1}, {None: 1}, [(1, 2, 3)]))
    if which < 0.08:
        return model_of(rng.randrange(len(GRAPHS))).stream(s.batch).state
    counts = [key for key in state if str(key).endswith((".held", "steps"))]
    key = rng.choice(counts if counts and rng.random() < 0.5 else list(state))
    if which < 0.14:
        del state[key]
    elif which < 0.2:
        state[rng.choice((f"{key}x", "", 1, "held"))] = state[key]
    elif (
        which < 0.6
        and isinstance(state[key], np.ndarray)
        and state[key].dtype.kind in "fiub"
        and (state[key].size < LARGE)
    ):
        extremes = (*values.FLOATS, *(float(n) for n in values.INTS), -1.0, -2.0, 2.0, 3.0, 4.0, 5.0, -3.0)
        with np.errstate(all="ignore"):
            if rng.random() < 0.7:
                state[key] = np.full_like(state[key], rng.choice(extremes))
            else:
                state[key] = _with(rng, state[key], rng.choice(extremes))
    else:
        state[key] = odd(rng, state[key])
    return state


def whole(s: Scene, rng: random.Random) -> None:
    """A call of the model with odd options; the next sound call is as the one before."""
    steps = rng.choice((1, 2, 5))
    x = s.feeds(rng, steps)
    options: dict[str, Any] = {}
    rows = 1 if s.batch is None else s.batch
    lead = () if s.batch is None else (s.batch,)
    lengths = np.array([rng.randint(0, steps) for _ in range(rows)]).reshape(lead)
    mask = np.array([rng.random() < 0.5 for _ in range(rows * steps)]).reshape(*lead, steps)
    for name, value in (
        ("lengths", lengths), ("mask", mask), ("state", s.model.stream(s.batch).state), ("return_state", True),
        ("threads", rng.choice((1, 2, 3, 0, -1, 64, 65, 2**31, 2**63, 1.5, True, "2", np.int64(2)))),
    ):  # fmt: skip
        if rng.random() < 0.25:
            options[name] = value
    for name in ("lengths", "mask"):
        if name in options and rng.random() < 0.5:
            options[name] = odd(rng, options[name])
    if isinstance(options.get("state"), dict) and rng.random() < 0.7:
        options["state"] = _odd_state(s, rng, options["state"])
    given = odd(rng, x) if rng.random() < 0.3 else x
    before = _try(s.model, x)
    after_odd = _try(s.model, given, options)
    if isinstance(after_odd, BaseException):
        s.refused = after_odd
    after = _try(s.model, x)
    if isinstance(before, BaseException) or isinstance(after, BaseException):
        if str(before) != str(after):
            raise Mismatch(f"a call after a refused one: {after!r} and not {before!r}")
        return
    same("a call of the model after another", after, before)


def _try(model: Model, x: Any, options: dict[str, Any] | None = None) -> Any:
    """The outputs, or the error that refused the call."""
    try:
        y = model(x, **(options or {}))
    except ALLOWED as error:
        return error
    return outputs(y)


def made(s: Scene, rng: random.Random) -> None:
    """A stream of an odd batch or number of threads."""
    options = {
        "batch": rng.choice((0, -1, 2**31, 2**40, 2**62, 2**63, 2**64, 10**30, True, 1.0, "1", np.uint64(2**63))),
        "threads": rng.choice((None, None, 1, 0, -1, 65, 2**31, 2**63, 10**30, 1.5, "1", True, np.int8(2))),
    }  # fmt: skip
    try:
        s.model.stream(**options)
    except ALLOWED as error:
        s.refused = error


CALLS: dict[str, tuple[int, Callable[[Scene, random.Random], None]]] = {
    "process": (5, process), "long": (1, long), "step": (4, step), "odd_step": (4, odd_step),
    "odd_chunk": (4, odd_chunk), "into": (4, into), "flush": (2, flush), "reset": (2, reset),
    "copied": (1, copied), "restored": (2, restored),
    "odd_state": (8, odd_state), "whole": (4, whole), "made": (1, made),
}  # fmt: skip
NAMES, WEIGHTS = tuple(CALLS), tuple(weight for weight, _ in CALLS.values())

# The runner calls these ---------------------------------------------------------------------------

GRAPHS: list[tuple[Graph, str]] = []
_models: dict[int, Model] = {}


def model_of(index: int) -> Model:
    """The model of a seed, made once in each process."""
    if index not in _models:
        graph, dtype = GRAPHS[index % len(GRAPHS)]
        model = Model(graph, dtype=dtype)
        if index >= len(GRAPHS):
            model = model.quantize("int8")
        _models[index] = model
    return _models[index]


def seeds() -> Sequence[int]:
    """Numbers of models: of every graph, and of some in int8."""
    GRAPHS[:] = streaming()
    small = [len(GRAPHS) + i for i, (g, dtype) in enumerate(GRAPHS) if dtype == "float32" and _matrices(g)]
    return [*range(len(GRAPHS)), *small[::3]]


def _matrices(graph: Graph) -> bool:
    return any(node.op.matrices for node in graph.nodes)


def mutate(rng: random.Random, seed: int) -> Calls:
    """Up to eight calls on a stream."""
    names = rng.choices(NAMES, WEIGHTS, k=rng.randint(1, 8))
    calls = tuple((name, rng.getrandbits(32)) for name in [*names, "process"])
    return Calls(seed, rng.choice(BATCHES), rng.choice((None, None, 1, 2, 3)), calls)


def attempt(mutant: Calls) -> bool:
    """Make the calls; refused where one of them was."""
    scene = Scene(mutant)
    for name, seed in mutant.calls:
        CALLS[name][1](scene, random.Random(seed))
    if scene.refused is not None:
        raise Refused(scene.refused)
    return True


def save(mutant: Calls, path: Path) -> None:
    """Write the calls as text."""
    path.write_text(repr(mutant))
