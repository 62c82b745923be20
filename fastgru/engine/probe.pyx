"""What looks into streams, and changes them, from outside of their calls: times of instructions, traces and edits."""

cimport numpy as cnp
from libc.stdint cimport int64_t

import numpy as np

from .stream cimport Stream

from .stream import make_stream

cnp.import_array()


def profile(Stream stream not None):
    """Begin to measure the instructions of a stream whose calls run on one thread.

    Returns
    -------
    (instructions, 2) int64 array
        Nanoseconds and calls of each, counted on from call to call. Of instructions of a loop that run as one, the
        first has the time of all.
    """
    spent = np.zeros((stream.plan.n_instructions, 2), np.int64)
    stream.buffers.measured = spent
    stream.buffers.run.spent = <int64_t *>cnp.PyArray_DATA(<cnp.ndarray>spent)
    return spent


def steps_due(Stream stream not None):
    """The steps that each clock counted in the last call."""
    return [stream.clocks.due[i] for i in range(stream.plan.clocks)]


def twin(Stream stream not None, plan):
    """A stream of another plan of the same model."""
    return make_stream(plan, stream.batch, model=stream.model, block=stream.buffers.block, threads=1)


def exchange(Stream stream not None, Stream other not None):
    """Let each of two streams run the plan of the other from here on; states stay with their plan."""
    stream.claim()
    stream.plan, other.plan = other.plan, stream.plan
    stream.buffers, other.buffers = other.buffers, stream.buffers
    stream.clocks, other.clocks = other.clocks, stream.clocks
    stream.arguments, other.arguments = other.arguments, stream.arguments
    stream.carried, other.carried = other.carried, stream.carried
    stream.team, other.team = other.team, stream.team
    stream.release()


def edited_by(Stream stream not None, editor):
    """Call ``editor(node, arrays)`` at every step of a plan that shows gates; see `State.step_arrays`."""
    stream.carried.edited_by(editor)
