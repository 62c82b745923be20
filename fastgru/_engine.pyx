"""Plan: packed weights and a flat list of instructions, immutable. Stream: all that changes while running.

A sequence is a stream processed in one chunk: `Plan` never runs, `Stream.process` is the only way to
run, and a step is a chunk of one. The engine knows no graphs and no frameworks: `fastgru.lowering`
turns a Graph into the dicts that `Plan` packs.
"""

cimport cython
cimport numpy as cnp
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.ref cimport Py_INCREF
from cpython.exc cimport PyErr_CheckSignals  # no-cython-lint
from cpython.pythread cimport PyThread_get_thread_ident
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t  # no-cython-lint
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove, memset  # no-cython-lint

import math
import os
import threading
from collections.abc import Mapping

import numpy as np

from . import memory
from ._arrays import as_array, is_masked
from ._names import nearest
from .errors import GraphError
from .graph import PRECISIONS

cdef extern from "numpy/arrayobject.h":  # cnp leaves it out; it takes over a reference to the dtype
    object PyArray_NewFromDescr(type, cnp.dtype, int, cnp.npy_intp *, cnp.npy_intp *, void *, int, object)

cnp.import_array()

cdef idx MOST_STEPS = <idx>1 << 59

cdef unsigned long main_thread = threading.main_thread().ident  # the one that handles signals


def _follow_fork():
    global main_thread
    main_thread = threading.get_ident()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_follow_fork)

# Guard bytes behind every buffer of a stream, checked after every call; see docs/testing.md.
cdef bint GUARDED = os.environ.get("FASTGRU_GUARD", "0") not in ("", "0")

include "_run.pxi"

cdef enum:
    ALIGN = 64
    # A block's input products should stay in the L2 cache, which holds 1 MiB on the machines measured.
    BLOCK_BYTES = 262144
    BLOCK_ROWS = 48          # but enough rows to fill the register tiles of the product
    RELEASE_WORK = 500000    # about 20 us of work: below it, handing over the GIL costs more than it gives
    NUMBER_WORK = 8          # multiply-adds that take the time of one number of an elementwise op
    SLICE_WORK = 1 << 28     # between two looks at signals: 3 to 100 ms
    WATCH_WORK = 1 << 30     # of a call that looks at signals at all: 10 ms and more
    ENDED = -1               # in place of a number of steps
    STREAM_FIELDS = 6        # that `make_stream` passes on

MAX_INPUTS = 8
INT8_INNER = 65536  # 255 * 127 * 65536 is the largest sum that int32 holds
FORMATS = {"float32": FG_NATIVE, "float16": FG_FLOAT16, "bfloat16": FG_BFLOAT16, "int8": FG_INT8}
GROUPS = {"float32": 1, "float16": 1, "bfloat16": 2, "int8": 4}  # elements of K side by side in a lane
STORED = {"float32": None, "float16": np.float16, "bfloat16": np.uint16, "int8": np.int8}  # None: the plan's dtype
SPARSE_FORMATS = {"float32": FG_SPARSE, "int8": FG_SPARSE_INT8}
# Blocks of 8 x 4 that are all zero are left out where a share of less than a - b / K of them remains: (a, b). Measured
# with `python -m bench.sparse` (Zen 5, AVX-512, GRU, one row and 32), sparse took as long as dense at these shares,
# for K of 64, 128, 256, 512: float32 0.20-0.28, 0.35, 0.38-0.42, 0.37-0.55; int8 none, 0.15, 0.25, 0.28.
SPARSE_DENSITY = {"float32": (0.45, 14.0), "int8": (0.32, 24.0)}


def isas():
    """The instruction sets of this build, best first: a list of (name, supported, float32 lanes, dot products)."""
    cdef int count, i
    cdef const fg_isa *rows = fg_isas(&count)
    return [
        (rows[i].name.decode(), bool(rows[i].supported), rows[i].f32.lanes, rows[i].narrow.name.decode())
        for i in range(count)
    ]


cdef char NOTHING = 0  # stands for weights that are only counted


cdef const fg_isa *find_isa(str isa) except NULL:
    cdef int count, i
    cdef const fg_isa *rows = fg_isas(&count)
    for i in range(count):
        if rows[i].name.decode() == isa:
            return &rows[i]
    raise ValueError(f"isa must be one of {[row[0] for row in isas()]}, got {isa!r}")


@cython.final
cdef class Plan:
    """Packed weights and instructions for one instruction set. Immutable and shared.

    Parameters
    ----------
    values : list of dict
        ``size``, ``time`` and ``kind`` ("float", "int", "bool") of every value.
    instructions : list of dict
        See `fastgru.lowering`.
    inputs, outputs : list of int
        Numbers of values.
    states : list of (key, recurrence, name, shape)
        What `Stream.state` shows; recurrence -1 - n stands for the buffer n of a State.
    loops : tuple of (int, int)
        The instructions that run step by step, loop after loop.
    clocks, loop_clock : int
        How many clocks count steps, and the one that the loops follow.
    latency : int
        Steps of the inputs by which the outputs are late.
    isa, dtype : str
    gemm : capsule or None
        `fastgru._blas.functions()` to make the products by BLAS.
    measure : bool
        Only count the bytes of the weights: such a plan can't run, and tells `stream_bytes`.

    Attributes
    ----------
    bytes : int
        Memory of the packed weights; at most, where they were only counted and some are sparse.
    """

    cdef const fg_kernels *kernels
    cdef const fg_narrow *narrow
    cdef Gemm *blas
    cdef Instruction *instructions
    cdef Value *values
    cdef int n_values, n_instructions, n_recurrences
    cdef readonly dict blockers
    cdef readonly list inputs, outputs, states, sizes, shapes, names
    cdef readonly str isa, dtype
    cdef readonly Py_ssize_t macs, id_bound, latency, bytes
    cdef readonly bint measure
    cdef idx work              # of a step of one row, in multiply-adds
    cdef str steps_key         # in a state that has counts: how many steps the inputs had
    cdef list still            # inputs without time that a stream keeps, since flushing it needs them, and their keys
    cdef list nodes            # names, of `Instruction.node`
    cdef int typenum
    cdef cnp.dtype descr       # of outputs
    cdef idx widest, scratch
    cdef idx largest           # elements of the largest frame
    cdef int n_slots
    cdef int[MAX_LOOPS] loop_begin, loop_end
    cdef int n_loops, loop_clock, clocks, n_windows
    cdef bint framed           # has ops over frames of any rank
    cdef readonly dict dtypes  # of the outputs that are not floats
    cdef bint typed
    cdef bint scans            # and recurrences inside frames
    cdef bint loose            # flushing a stream gives steps that a whole sequence has not
    cdef bint looks_up         # computed ids, which can be refused while a call runs
    cdef bint unfused          # some recurrent product is not made by `kernels.step`
    cdef list keep

    def __cinit__(self, list values, list instructions, list inputs, list outputs, list states, dict blockers, *,
                  str isa, str dtype, Py_ssize_t macs, Py_ssize_t id_bound, tuple loops=(), int clocks=1,
                  int loop_clock=1, Py_ssize_t latency=0, gemm=None, bint measure=False):
        cdef int i, output
        cdef const fg_isa *found = find_isa(isa)
        self.kernels = found.f32 if dtype == "float32" else found.f64
        self.narrow = found.narrow
        self.blas = NULL if gemm is None else <Gemm *>PyCapsule_GetPointer(gemm, b"fastgru.gemm")
        if self.blas == NULL and dtype != "float32":
            raise ValueError(f"gemm must be 'blas' for dtype {dtype!r}, got 'packed'")
        self.isa, self.dtype, self.macs, self.id_bound = isa, dtype, macs, id_bound
        self.typenum = cnp.NPY_FLOAT if dtype == "float32" else cnp.NPY_DOUBLE
        self.descr = np.dtype(dtype)
        self.inputs, self.outputs, self.states, self.blockers = inputs, outputs, states, blockers
        self.keep, self.scratch, self.unfused, self.measure = [], 0, self.blas != NULL, measure
        self.widest = 1
        self.nodes = list(dict.fromkeys([d["node"] for d in instructions]))
        numbers = {name: n for n, name in enumerate(self.nodes)}
        self.n_values, self.n_instructions, self.n_recurrences = len(values), len(instructions), 0
        self.sizes = [(v["size"], v["time"] > 0, v["kind"]) for v in values]
        self.shapes = [v.get("shape", ()) for v in values]
        self.names = [v.get("name", "") for v in values]
        self.dtypes = {i: v["dtype"] for i, v in enumerate(values) if "dtype" in v}
        self.typed = len(self.dtypes) > 0
        keys = {state[0] for state in states}
        self.steps_key = unused("steps", keys)
        self.still = []
        if clocks > MAX_CLOCKS:
            raise GraphError(
                f"layers that change the number of steps must be fewer than {MAX_CLOCKS}, got {clocks - 1}"
            )
        if len(loops) > MAX_LOOPS:
            raise GraphError(
                f"loops of states, each of which starts at the end of another, must be at most {MAX_LOOPS}, "
                f"got {len(loops)}"
            )
        self.n_loops = len(loops)
        for i, span in enumerate(loops):
            self.loop_begin[i], self.loop_end[i] = span
        self.loop_clock, self.clocks, self.n_windows, self.latency = loop_clock - 1, clocks, 0, latency
        self.n_slots = max([v["slot"] for v in values], default=-1) + 1
        self.largest, self.framed, self.scans, self.loose = 1, False, False, False
        self.values = <Value *>allocate(len(values), sizeof(Value))
        self.instructions = <Instruction *>allocate(len(instructions), sizeof(Instruction))
        for i, v in enumerate(values):
            self.values[i].size = v["size"]
            self.values[i].slot = v["slot"]
            self.values[i].clock = max(0, v["time"] - 1)
            self.values[i].line = v.get("line", False)
            self.values[i].stays = v.get("stays", False)
            self.values[i].rank = len(self.shapes[i])
            if self.values[i].rank > FG_RANK:
                raise GraphError(f"axes of an item must be at most {FG_RANK}, got shape {self.shapes[i]}")
            for j, n in enumerate(self.shapes[i]):
                self.values[i].dims[j] = n
            if "initial" in v:
                self.values[i].state = True
                self.values[i].initial = self.own(v["initial"])
            self.values[i].time = v["time"] > 0
            self.values[i].item = {"float": self.kernels.item, "int": 8, "bool": 1}[v["kind"]]
            self.values[i].node, self.values[i].given = NO_NODE, i in inputs or i in outputs
        for i, d in enumerate(instructions):
            self.load(&self.instructions[i], d)
            self.instructions[i].node = numbers[d["node"]]
            if self.instructions[i].frame != NULL and self.instructions[i].frame.layer != NULL:
                self.instructions[i].frame.layer.node = numbers[d["node"]]
            for output in (d["output"], *d.get("outputs", ())):
                self.values[output].node = numbers[d["node"]]
            self.count_work(&self.instructions[i])
        if self.n_windows:
            self.still = [(v, unused(f"{self.names[v]}.last", keys)) for v in inputs if not self.sizes[v][1]]
        if self.framed:
            self.largest = max(v["size"] for v in values)

    def __dealloc__(self):
        cdef int i
        for i in range(self.n_instructions if self.instructions != NULL else 0):
            if self.instructions[i].frame != NULL:
                PyMem_Free(self.instructions[i].frame.program)
                PyMem_Free(self.instructions[i].frame.layer)
                PyMem_Free(self.instructions[i].frame)
        PyMem_Free(self.values)
        PyMem_Free(self.instructions)

    @property
    def lanes(self):
        """Elements of one vector."""
        return self.kernels.lanes

    cdef idx padded(self, idx n) noexcept:
        return (n + self.kernels.lanes - 1) // self.kernels.lanes * self.kernels.lanes

    def stream_bytes(self, batch=None):
        """Bytes that a stream of so many rows allocates, and the node that needs most of them (None if none does)."""
        cdef Stream probe = make_stream(self, batch, measure=True)
        return probe.bytes, probe.largest

    cdef int count_work(self, Instruction *ins) noexcept:
        """Count the work of an instruction for one row and step, and the rows it may run without a look at signals."""
        cdef Frame *frame = ins.frame
        cdef idx work = self.row_work(ins), rows = 1
        cdef int i
        if frame != NULL and (ins.op == FRAME or ins.op == STORE):
            work = NUMBER_WORK if frame.kernel != CONTRACT else 1
            work = fg_times(work, max(1, frame.n_program))
            for i in range(frame.nest.rank):
                work = fg_times(work, frame.nest.dims[i])
        elif ins.op == SCAN:
            rows = fg_times(frame.steps, frame.rows)
            work = self.row_work(frame.layer)
            frame.layer.slice = slice_rows(work)
        elif ins.op == OVERLAP_ADD:
            work = fg_times(work, frame.reach)
        elif ins.op == FRAME_PRODUCT or ins.op == FRAME_ROWS or ins.op == TOP_K:
            rows = fg_times(frame.dims[0], frame.dims[1])
            work = fg_times(work, max(1, frame.count))
        ins.slice = max(1, SLICE_WORK // work) if ins.op == FRAME or ins.op == STORE else slice_rows(work)
        self.work = fg_plus(self.work, fg_times(work, rows))
        return 0

    cdef idx row_work(self, const Instruction *ins) noexcept:
        """Multiply-adds of an instruction that runs over rows, for one of them."""
        cdef idx work = fg_plus(fg_times(ins.size, NUMBER_WORK), matrix_work(&ins.w, self.kernels.lanes))
        cdef int i
        for i in range(ins.n_phases):
            work = fg_plus(work, matrix_work(&ins.phase[i].u, self.kernels.lanes))
            work = fg_plus(work, matrix_work(&ins.wx[i], self.kernels.lanes))
        return work

    cdef const void *own(self, array, dtype=None) except? NULL:
        """The data of an aligned, read-only copy that lives as long as the plan; in the plan's dtype by default.

        None stays NULL.
        """
        cdef cnp.ndarray raw, a
        if array is None:
            return NULL
        dtype = np.dtype(dtype or self.dtype)
        if self.counted(np.size(array) * dtype.itemsize):
            return &NOTHING
        with np.errstate(over="ignore"):  # a number beyond float32 is infinite there
            a = np.ascontiguousarray(array, dtype=dtype)
        raw = np.empty(a.nbytes + ALIGN, dtype=np.uint8)
        cdef idx shift = -(<size_t>raw.data) % ALIGN
        memcpy(raw.data + shift, a.data, a.nbytes)
        self.keep.append(raw)
        return raw.data + shift

    cdef bint counted(self, idx size) noexcept:
        """Count the bytes of an array of weights; True if that is all there is to do."""
        self.bytes = fg_plus(self.bytes, fg_plus(size, ALIGN))
        return self.measure

    cdef const void *own_panels(self, array, Py_ssize_t group=1, dtype=None) except? NULL:
        """(G, H, K) as `panels` has them."""
        G, H, K = array.shape
        if self.measure:
            self.counted(fg_times(bytes_of(self.padded(H), G, -(-K // group) * group),
                                  np.dtype(dtype or self.dtype).itemsize))
            return &NOTHING
        return self.own(self.panels(array, group), dtype)

    cdef const void *own_gates(self, array, dtype=None) except? NULL:
        """(G, H) to (panels, G, L), zero-padded; None stays NULL."""
        if array is None:
            return NULL
        return self.own_panels(np.asarray(array)[:, :, None], 1, dtype)

    def panels(self, array, Py_ssize_t group=1):
        """(G, H, K) to (panels, K / group, G, L, group), zero-padded; without the last axis for a group of 1."""
        G, H, K = array.shape
        inner = -(-K // group)
        padded = np.zeros((G, self.padded(H), inner * group), dtype=array.dtype)
        padded[:, :H, :K] = array
        result = padded.reshape(G, -1, self.kernels.lanes, inner, group).transpose(1, 3, 0, 2, 4)
        return result[..., 0] if group == 1 else result

    def side_by_side(self, array):
        """(N, K) to (G, H, K) whose panels hold the N rows in their order, in the least time, padding included.

        A tile of one column waits for its loads: Zen 3 (AVX2), 32 rows, K=N=128: 72 GFLOP/s with G=1, 82 with more. So
        17 vectors are better 6 panels of 3, one vector of zeros, than 17 panels: 129 units, K=128: 13 % faster.
        """
        N, K = array.shape
        lanes = self.kernels.lanes
        vectors = -(-N // lanes)
        G = min((4, 3, 2, 1), key=lambda gates: -(-vectors // gates) * gates * (8 if gates == 1 else 7))
        panels = -(-vectors // G)
        if self.measure:
            return np.broadcast_to(array[:1, :1], (G, panels * lanes, K))
        padded = np.zeros((panels * G * lanes, K), dtype=array.dtype)
        padded[:N] = array
        return padded.reshape(panels, G, lanes, K).swapaxes(0, 1).reshape(G, panels * lanes, K)

    cdef fg_matrix pack(self, array, str precision="float32") except *:
        """(G, H, K) packed; for BLAS as rows in the panels' order: (panels, G, L, K)."""
        cdef fg_matrix m
        memset(&m, 0, sizeof(m))
        G, H, K = array.shape
        m.panels, m.gates, m.inner, m.units = self.padded(H) // self.kernels.lanes, G, K, H
        if max(m.panels * self.kernels.lanes * G * K, K) > 2**31 - 1:
            raise GraphError(f"weights must have fewer than 2**31 elements, got {array.shape}")
        if self.blas != NULL:
            m.data = self.own_panels(array) if self.measure else self.own(self.panels(array).transpose(0, 2, 3, 1))
            return m
        if self.measure:  # as if dense: no weight is looked at
            return self.counted_matrix(m, array, precision)
        stored = PRECISIONS[precision].encode(array.reshape(G * H, K))
        codes = stored[""].reshape(G, H, K)
        if precision == "int8" and K > INT8_INNER:
            raise GraphError(f"rows of int8 weights must have at most {INT8_INNER} elements, got {K}")
        if precision in SPARSE_FORMATS and self.pack_sparse(&m, codes, stored.get("scale"), precision):
            return m
        m.format = FORMATS[precision]
        m.data = self.own_panels(codes, GROUPS[precision], codes.dtype if m.format else None)
        if precision == "int8":
            m.scale = <const float *>self.own_gates(stored["scale"].reshape(G, H))
            m.offset = <const int32_t *>self.own_gates(offsets(codes), np.int32)
        self.scratch = max(self.scratch, self.narrow.scratch(&m) if m.format else 0)
        return m

    cdef fg_matrix counted_matrix(self, fg_matrix m, array, str precision) except *:
        """What `pack` returns of dense weights, without them."""
        m.format = FORMATS[precision]
        m.data = self.own_panels(array, GROUPS[precision], STORED[precision])
        if precision == "int8":
            m.scale = <const float *>self.own_panels(array[:, :, :1])
            m.offset = <const int32_t *>self.own_panels(array[:, :, :1], 1, np.int32)
        self.scratch = max(self.scratch, self.narrow.scratch(&m) if m.format else 0)
        return m

    cdef bint pack_sparse(self, fg_matrix *m, codes, scale, str precision) except -1:
        """Keep only the 8 x 4 blocks that are not all zero, where that pays; returns whether it does."""
        cdef int format = SPARSE_FORMATS[precision]
        G, H, K = codes.shape
        strips, fours = -(-H // 8), -(-K // 4)
        padded = np.zeros((G, strips * 8, fours * 4), dtype=codes.dtype)
        padded[:, :H, :K] = codes
        blocks = padded.reshape(G * strips, 8, fours, 4).transpose(0, 2, 1, 3)  # (strip, four, unit, k)
        kept = blocks.any(axis=(2, 3))
        most, each = SPARSE_DENSITY[precision]
        if kept.mean() > most - each / K:
            return False
        m.format = format
        data = blocks[kept]
        m.data = self.own(data, np.int8) if format == FG_SPARSE_INT8 else self.own(data.transpose(0, 2, 1))
        m.starts = <const int32_t *>self.own(np.concatenate([[0], np.cumsum(kept.sum(axis=1))]), np.int32)
        m.blocks = <const int32_t *>self.own(np.nonzero(kept)[1], np.int32)
        if format == FG_SPARSE_INT8:
            strip = np.ones((G, strips * 8), dtype=np.float32)
            strip[:, :H] = scale.reshape(G, H)
            m.scale = <const float *>self.own(strip)
            m.offset = <const int32_t *>self.own(offsets(padded), np.int32)
        self.scratch = max(self.scratch, self.narrow.scratch(m))
        return True

    cdef int load(self, Instruction *ins, dict d) except -1:
        cdef int i
        ins.op = d["op"]
        ins.n_inputs = len(d["inputs"])
        if ins.n_inputs > MAX_INPUTS:
            raise GraphError(f"inputs of node {d['node']!r} must be at most {MAX_INPUTS}, got {ins.n_inputs}")
        for i, value in enumerate(d["inputs"]):
            ins.inputs[i] = value
        ins.output = d["output"]
        ins.clock = d["clock"] - 1
        ins.size = d.get("size", 0)
        ins.number = d.get("number", 0.0)
        ins.softmax = d.get("softmax", False)
        ins.act = act(d.get("act", (0, 0.0, 0.0)))
        for name in ("scale", "shift"):
            array = d.get(name)
            if array is not None:
                if name == "scale":
                    ins.scale = self.own(array)
                else:
                    ins.shift = self.own(array)
        if ins.op == DENSE:
            self.load_dense(ins, d)
        elif ins.op == EMBEDDING:
            self.load_embedding(ins, d["w"], d["precision"])
        elif ins.op == RECURRENT:
            self.load_recurrent(ins, d)
        elif ins.op == CONVERT:
            self.framed = True
        elif ins.op >= FRAME:
            self.load_frame(ins, d)
        return 0

    cdef int load_embedding(self, Instruction *ins, table, str precision) except -1:
        ins.w.format, ins.w.inner = FORMATS[precision], table.shape[1]
        stored = {"": table, "scale": table[:, :1]} if self.measure else PRECISIONS[precision].encode(table)
        ins.w.data = self.own(stored[""], STORED[precision])
        if precision == "int8":
            ins.w.scale = <const float *>self.own(stored["scale"])
        return 0

    cdef int load_frame(self, Instruction *ins, dict d) except -1:
        """What an op over frames needs; see fastgru/_frames.pxi."""
        cdef Frame *frame = <Frame *>allocate(1, sizeof(Frame))
        cdef const void *numbers
        cdef int i, j
        ins.frame, self.framed = frame, True
        frame.kernel = d.get("kernel", 0)
        for what, count, most in (("loops", len(d.get("dims", ())), FG_RANK - 2),  # the executor adds steps and rows
                                  ("operands", len(d.get("operands", ())), FG_OPERANDS),
                                  ("functions", len(d.get("program", ())), FG_PROGRAM)):
            if count > most:
                raise GraphError(f"{what} of node {d['node']!r} must be at most {most}, got {count}")
        for i, (value, offset, constant) in enumerate(d.get("operands", [])):
            frame.operands[i].value, frame.operands[i].offset = value, offset
            if constant is not None:
                numbers = self.own(constant)
                frame.operands[i].data = <const char *>numbers + <idx>offset * self.kernels.item
        if ins.op == FRAME or ins.op == STORE:
            frame.nest.rank, frame.nest.outer, frame.nest.operands = len(d["dims"]), d["outer"], len(d["operands"])
            for j, n in enumerate(d["dims"]):
                frame.nest.dims[j] = n
                for i in range(frame.nest.operands):
                    frame.nest.strides[i][j] = d["strides"][i][j]
            self.load_program(frame, d.get("program", []))
            frame.function = d.get("function", 0)
            frame.last = d.get("last", False)
            frame.count, frame.stride = d.get("count", 0), d.get("stride", 0)
            frame.over_time, frame.some_steps = d.get("over_time", False), d.get("some_steps", False)
            self.looks_up = self.looks_up or (ins.op == FRAME and frame.kernel == GATHER)
            return 0
        if WINDOW <= ins.op <= WAIT:
            frame.window, frame.kept = d["window"], d["kept"]
            self.n_windows += 1
            frame.reach, frame.stride_in_time = d["reach"], d["stride"]
            frame.before, frame.after, frame.fill = d["before"], d["after"], d["fill"]
            frame.lead, frame.rest = d.get("lead", 0), d.get("rest", 0)
            self.loose = self.loose or frame.rest > 0
            frame.n_meeting = len(d.get("meeting", []))
            if frame.n_meeting > MAX_INPUTS:
                raise GraphError(
                    f"inputs of node {d['node']!r} that wait for each other must be at most {MAX_INPUTS}, "
                    f"got {frame.n_meeting}"
                )
            for i, (window, clock) in enumerate(d.get("meeting", [])):
                frame.meeting[i], frame.meeting_clocks[i] = window, clock - 1
            return 0
        (frame.read_offset, frame.read[0], frame.read[1]) = d["read"]
        if ins.op == SCAN:
            self.load_scan(ins, d)
            return 0
        (frame.write_offset, frame.write[0], frame.write[1]) = d["write"]
        frame.dims[0], frame.dims[1] = d["dims"]
        if ins.op == TOP_K:
            frame.count, frame.function, frame.outputs[0] = d["count"], d["function"], d["outputs"][0]
        if ins.op == FRAME_PRODUCT:
            self.load_dense(ins, d)
        return 0

    cdef int load_program(self, Frame *frame, list program) except -1:
        cdef int i
        frame.n_program = len(program)
        frame.program = <fg_micro *>allocate(len(program), sizeof(fg_micro))
        for i, (function, a, b, c, alpha, beta) in enumerate(program):
            frame.program[i].function, frame.program[i].alpha, frame.program[i].beta = function, alpha, beta
            frame.program[i].a, frame.program[i].b, frame.program[i].c = a, b, c
        return 0

    cdef int load_scan(self, Instruction *ins, dict d) except -1:
        """The recurrence of a scan reads value 0, writes value 1 and is masked by value 2."""
        cdef Frame *frame = ins.frame
        self.scans = True
        frame.steps, frame.rows = d["steps"], d["rows"]
        frame.write[0], frame.write[1] = d["rows"] * d["features"], d["features"]
        frame.outputs[0], frame.outputs[1] = (*d["outputs"], -1)[:2]
        frame.layer = <Instruction *>allocate(1, sizeof(Instruction))
        frame.layer.op, frame.layer.output, frame.layer.n_inputs = RECURRENT, 1, 1
        if frame.operands[2].value != ABSENT:
            frame.layer.n_inputs, frame.layer.inputs[1] = 2, 2
        self.load_recurrent(frame.layer, d)
        return 0

    cdef int load_dense(self, Instruction *ins, dict d) except -1:
        w = d["w"]
        if self.blas == NULL:
            ins.w = self.pack(self.side_by_side(w), d["precision"])
            ins.shift = self.own_gates(None if d["bias"] is None else self.side_by_side(d["bias"][:, None])[:, :, 0])
        else:
            ins.w.data, ins.w.inner = self.own(w), w.shape[1]
            ins.shift = self.own(d["bias"])
        return 0

    cdef int load_recurrent(self, Instruction *ins, dict d) except -1:
        cdef int i, j
        cdef fg_phase *phase
        ins.reverse, ins.last, ins.carry = d["reverse"], d["last"], d["carry"]
        ins.gated_output = d["gated_output"]
        ins.units, ins.features = d["units"], d["features"]
        ins.units_padded, ins.features_padded = self.padded(ins.units), self.padded(ins.features)
        ins.state = self.n_recurrences
        self.n_recurrences += 1
        ins.initial_h = self.own(d["initial_h"])
        ins.initial_c = self.own(d["initial_c"])
        ins.n_phases = len(d["phases"])
        for i, p in enumerate(d["phases"]):
            phase = &ins.phase[i]
            phase.kind, phase.tier, phase.keep_candidate = p["kind"], p["tier"], p["keep_candidate"]
            phase.clip = p["clip"]
            for j in range(3):
                phase.act[j] = act(p["act"][j])
            phase.u = self.pack(p["u"], d["precision"])
            if phase.u.format <= FG_FLOAT16:
                phase.bias = self.own_gates(p["bias_h"])
            else:
                ins.bu[i], self.unfused = self.own_gates(p["bias_h"]), True
            if p["peephole"] is not None:
                peephole = np.zeros((3, ins.units_padded), dtype=self.dtype)
                peephole[:, :ins.units] = p["peephole"]
                phase.peephole = self.own(peephole)
            if p["table"] is not None:
                table = np.moveaxis(p["table"], 0, 2)
                ins.table[i] = (self.own_panels(table) if self.measure
                                else self.own(self.panels(table).transpose(1, 0, 2, 3)))
            elif p["x"] is not None:
                ins.wx[i] = self.pack(p["x"], d["precision"])
                ins.bx[i] = self.own_gates(p["bias_x"])
            self.widest = max(self.widest, phase.u.panels * phase.u.gates * self.kernels.lanes)
        return 0

    def block(self, Py_ssize_t batch):
        """Steps run at a time through the whole plan, for a batch of this size."""
        widest = max(self.widest, self.largest)
        rows = max(1 if self.framed else BLOCK_ROWS, BLOCK_BYTES // (widest * self.kernels.item))
        return max(1, rows // batch)


cdef str unused(str key, set keys):
    """`key`, or one like it that is not among `keys`."""
    return next(k for k in (key, *[f"{key}.{i}" for i in range(len(keys))]) if k not in keys)


cdef idx matrix_work(const fg_matrix *w, idx lanes) noexcept:
    """Multiply-adds of one row; none of a table."""
    return bytes_of(fg_times(w.panels, lanes), max(1, w.gates), w.inner) if w.panels else 0


cdef idx slice_rows(idx work) noexcept nogil:
    """Rows of so much work each between two looks at signals: enough to fill the tiles of a product."""
    return max(1, SLICE_WORK // max(1, work) // BLOCK_ROWS) * BLOCK_ROWS


def offsets(codes):
    """-128 times the sum of each row of codes (..., K): what adding 128 to every activation adds to the product."""
    return -128 * codes.sum(axis=-1, dtype=np.int64)


cdef fg_act act(tuple t) except *:
    cdef fg_act a
    a.kind, a.alpha, a.beta = t
    return a


include "_layout.pxi"
include "_threads.pxi"
include "_stream.pxi"
