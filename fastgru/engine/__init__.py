"""The engine: plans, streams over them, and the threads of their calls. Every module here but this one is compiled.

`blas` is not imported: it links to SciPy, which a model of packed weights does not need. Nor are `choose`, which only
generation needs, `search` of decoders, and `probe`, which looks into streams.
"""

from __future__ import annotations

from .buffers import stream_bytes
from .execute import isas, timer_ns, worker_threads
from .plan import Plan
from .stream import Stream, make_stream
from .threads import checked_threads, get_num_threads, set_num_threads

__all__ = [
    "Plan", "Stream", "checked_threads", "get_num_threads", "isas", "make_stream", "set_num_threads",
    "stream_bytes", "timer_ns", "worker_threads",
]  # fmt: skip
