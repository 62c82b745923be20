"""`Model.generate`: everything is checked, then steps are run, whole or one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import engine
from .._arrays import as_array
from .._hints import either, named
from . import beam as beams
from .chain import Chain
from .choices import Beam, Greedy, Values, whole
from .encoders import context
from .network import PROBABILITIES, Feed, Network
from .prompts import Prompts, prompts, row_keys, stops
from .rows import Log, Step, Stops, by_ids, by_values
from .sources import Context, Source, Streamed, Windowed

if TYPE_CHECKING:
    from ..running import Running

Array = NDArray[Any]
MOST_WINDOW = 1 << 24


def generate(
    model: Running,
    prompt: Any,
    steps: Any,
    *,
    choose: Any = None,
    stop: Any = None,
    seed: Any = None,
    n: Any = 1,
    return_scores: bool = False,
    iterate: bool = False,
    feed: Any = None,
    window: Any = None,
    pad: Any = None,
    output: str | None = None,
    output_kind: str | None = None,
    encoder: Any = None,
    encoder_input: Any = None,
    states: Any = None,
    threads: int | None = None,
) -> Any:
    """Run `Model.generate`: see there."""
    for name, flag in (("return_scores", return_scores), ("iterate", iterate)):
        if not isinstance(flag, bool):
            raise TypeError(f"{name} must be True or False, got {flag!r}")
    if steps is None and not iterate:
        raise ValueError("steps must be an integer of at least 1, got None: only iterate=True goes on without end")
    steps = None if steps is None else whole(steps, "steps", 1)
    n = whole(n, "n", 1)
    threads = None if threads is None else engine.checked_threads(threads)
    net = Network(model, output, _fed(model, encoder, encoder_input))
    chain = Chain(choose, default=Greedy() if net.ids or feed is not None else Values())
    values = isinstance(chain.last, Values)
    size = None if values else _size(net)
    if size is not None:
        chain.of_size(size)
    made = isinstance(chain.last, Values) and chain.last.function is not None
    making = Feed(net, feed, size, made=made, reach=None if values else chain.reach())
    probabilities = not values and net.kind(output_kind) == PROBABILITIES
    if values and return_scores:
        scores = either("return_scores must be False for Values()", "--scores must be omitted for values")
        raise ValueError(f"{scores}, which have no probabilities, got {either('True', 'it')}")
    if values and stop is not None and not callable(stop):
        expected = "of Values() must be a function from values (R, ...) to bools (R,)"
        raise TypeError(f"{either(f'stop {expected}', '--stop must be omitted for values')}, got {stop!r}")
    ends = Stops([] if size is None else stops(stop, size), size or 0)
    given = prompts(prompt, net, making, size)
    found, count, alone = context(net, encoder, encoder_input, states, threads)
    given = _paired(given, count)
    single = given.single and alone
    _check_beam(chain, n, len(given.inputs), steps, iterate)
    source = _source(net, found, making, given, window, pad, threads)
    keys = row_keys(seed, len(given.inputs), n)
    if not given.inputs:
        return iter(()) if iterate else _results([], single, False, return_scores)
    if isinstance(chain.last, Beam):
        assert steps is not None
        sequences = beams.search(source, making, chain, given, ends, steps, probabilities=probabilities)
        several = chain.last.n_best > 1
        return _results(sequences, single, several, return_scores)
    log = Log(len(keys[0]), scored=return_scores)
    if values:
        run = by_values(source, making, chain.last, given.inputs, stop, keys, steps, n, log=log)  # type: ignore[arg-type]
    else:
        run = by_ids(
            source, making, chain, given, ends, keys, steps, n, probabilities=probabilities, scored=return_scores,
            log=log,
        )  # fmt: skip
    if iterate:
        return _each(run, len(given.inputs), n, single, return_scores)
    for _ in run:
        pass
    rows = [(log.tokens(r), log.scores(r)) for r in range(len(keys[0]))]
    grouped = [[(ids.copy(), log_p.copy()) for ids, log_p in rows[p * n : p * n + n]] for p in range(len(given.inputs))]
    return _results(grouped, single, n > 1, return_scores)


def _fed(model: Running, encoder: Any, encoder_input: Any) -> str | None:
    """Return the input that is left where `encoder_input` names all others; None where it does not."""
    if encoder is not None or not isinstance(encoder_input, Mapping):
        return None
    left = [name for name in model.inputs if name not in encoder_input]
    return left[0] if len(left) == 1 else None


def _size(net: Network) -> int:
    """Return V, the number of ids that the output has scores of."""
    if len(net.frame) != 1 or net.model.outputs[net.output].dtype != "float":
        raise ValueError(
            f"output {net.output!r} must be a vector of scores, one for each id, to choose ids from, got "
            f"{net.model.outputs[net.output]}"
        )
    return net.frame[0]


def _paired(given: Prompts, count: int) -> Prompts:
    """Return prompts for `count` encoder inputs; as they are for none."""
    if count == 0 or len(given.inputs) == count:
        return given
    if len(given.inputs) == 1:
        return given.repeated(count)
    raise ValueError(
        f"prompt must be one for all of encoder_input or one for each of its {count} rows, got {len(given.inputs)}"
    )


def _check_beam(chain: Chain, n: int, count: int, steps: int | None, iterate: bool) -> None:
    """Raise ValueError where what goes with the other choices does not go with a beam."""
    if not isinstance(chain.last, Beam):
        return
    if n != 1:
        alone = either("n must be 1 for Beam(), whose n_best", "--samples must come without --beam, whose --n-best")
        raise ValueError(f"{alone} says how many sequences to return, got {n}")
    if iterate:
        raise ValueError("iterate must be False for Beam(), whose sequences are known at the end alone, got True")
    assert steps is not None
    beams.check(chain.last, count, steps)


def _source(
    net: Network, found: Context, feed: Feed, given: Prompts, window: Any, pad: Any, threads: int | None
) -> Source:
    """Return where scores come from: a stream where the model works step by step and no window is asked for."""
    flat = not net.spec.time
    if flat and not net.spec.shape:
        raise ValueError(f"input {net.name!r} of the prompt must have a time axis, or frames of steps, got {net.spec}")
    if flat and window not in (None, net.spec.shape[0]):
        raise ValueError(
            f"{named('window')} must be the {net.spec.shape[0]} steps of the input's frame, got {window!r}"
        )
    window = net.spec.shape[0] if flat else window
    window = None if window is None else whole(window, "window", 1, MOST_WINDOW)
    if pad is not None and window is None:
        raise ValueError(
            f"{named('pad')} must come with {either('a window', '--window')}, which it fills, got no window"
        )
    step = None if pad is None else _pad(pad, net, feed)
    short = next((len(x) for x in given.inputs if window is not None and len(x) < window), None)
    if flat and short is not None and step is None:
        raise ValueError(
            f"prompt must have the {window} steps of the model's input, or {named('pad')} be given, got {short} steps"
        )
    timed = any(net.model.inputs[name].time for name in found.inputs)
    if window is None and net.streams and not timed:
        return Streamed(net, found, threads)
    if found.states and window is not None:
        raise ValueError("window must be omitted where an encoder gives the first states, got one")
    return Windowed(net, found, threads, window, step)


def _pad(pad: Any, net: Network, feed: Feed) -> Array:
    """Return the step that fills windows: an id, which is fed as any other, or a frame."""
    array = as_array(pad, "pad")
    if net.ids:
        most = 2**63 if net.bound is None else net.bound
        if array.ndim or array.dtype.kind not in "iu" or not 0 <= array < most:
            raise ValueError(f"{named('pad')} must be an id in 0..{most - 1}, got {pad!r}")
        return array.astype(np.int64)
    if array.shape not in ((), feed.frame) or array.dtype.kind not in "fiub":
        expected = f"{named('pad')} must be a number or a frame of shape {feed.frame}"
        raise ValueError(f"{expected}, got {array.dtype} of {array.shape}")
    return np.asarray(np.broadcast_to(array, feed.frame), net.plan.dtype)


def _results(rows: list[list[tuple[Array, Array]]], single: bool, several: bool, scored: bool) -> Any:
    """Return the sequences as the prompts were given: one, a list, or lists where there are several for each."""

    def shaped(which: int) -> Any:
        found = [[pair[which] for pair in each] if several else each[0][which] for each in rows]
        return found[0] if single else found

    return (shaped(0), shaped(1)) if scored else shaped(0)


def _each(run: Iterator[Step], count: int, n: int, single: bool, scored: bool) -> Iterator[Any]:
    """Yield what each step chose, in the place of each row: -1 for ids and NaN for values of rows that have ended."""
    shape = (() if single else (count,)) + (() if n == 1 else (n,))
    for step in run:
        ids = step.chosen.dtype.kind == "i"
        chosen = np.full((count * n, *step.chosen.shape[1:]), -1 if ids else np.nan, step.chosen.dtype)
        chosen[step.rows] = step.chosen
        whole_step: Any = chosen.reshape(shape + step.chosen.shape[1:])
        whole_step = int(whole_step) if ids and not shape else whole_step
        if not scored:
            yield whole_step
            continue
        log_p = np.full(count * n, np.nan)
        log_p[step.rows] = step.log_p
        yield whole_step, log_p.reshape(shape) if shape else float(log_p[0])
