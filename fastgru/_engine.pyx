"""Plan: packed weights and a flat list of instructions, immutable. Stream: all that changes while running.

A sequence is a stream processed in one chunk: `Plan` never runs, `Stream.process` is the only way to
run, and a step is a chunk of one. The engine knows no graphs and no frameworks: `fastgru.lowering`
turns a Graph into the instructions that `Plan` packs.
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

include "_codes.pxi"

cdef enum:
    ALIGN = 64
    # A block's input products should stay in the L2 cache, which holds 1 MiB on the machines measured; but it has
    # enough rows to fill the register tiles of the product, BLOCK_ROWS.
    BLOCK_BYTES = 262144
    SCANNED = 8              # and frames whose scans run together, which are long
    RELEASE_WORK = 500000    # about 20 us of work: below it, handing over the GIL costs more than it gives
    NUMBER_WORK = 8          # multiply-adds that take the time of one number of an elementwise op
    WATCH_WORK = 1 << 30     # of a call that looks at signals at all: 10 ms and more
    ENDED = -1               # in place of a number of steps
    STREAM_FIELDS = 6        # that `make_stream` passes on

MAX_INPUTS = 8
# Elements of a row whose sum int32 holds: of 255 * 127 each, and of 255 * 255.
INT8_INNER = {"int8": 65536, "int8_affine": 32768}
FORMATS = {"float32": FG_NATIVE, "float16": FG_FLOAT16, "bfloat16": FG_BFLOAT16, "int8": FG_INT8,
           "int8_affine": FG_INT8}
# Elements of K side by side in a lane.
GROUPS = {"float32": 1, "float16": 1, "bfloat16": 2, "int8": 4, "int8_affine": 4}
STORED = {"float32": None, "float16": np.float16, "bfloat16": np.uint16, "int8": np.int8,
          "int8_affine": np.int8}  # None: the plan's dtype
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
cdef class Packed:
    """A packed matrix, for further instructions that use the same array."""

    cdef fg_matrix matrix


@cython.final
cdef class Plan:
    """Packed weights and instructions for one instruction set. Immutable and shared.

    Parameters
    ----------
    values : list of Buffer
    instructions : list of Instruction
        See `fastgru.lowering.instructions`.
    inputs, outputs : list of int
        Numbers of values.
    states : list of (key, recurrence, name, shape)
        What `Stream.state` shows; recurrence -1 - n stands for the buffer n of a State.
    loops : tuple of (int, int, int)
        The instructions that run step by step, from one to before another, and their clock; loop after loop.
    clocks, bases : int
        How many clocks count steps, and how many of these, the first, count those of inputs: inputs of one base have
        one number of steps.
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
    packed_bytes : list of int
        The same by instruction; of an array that several share, with the first.
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
    cdef readonly Py_ssize_t macs, latency, bytes
    cdef readonly list packed_bytes
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
    cdef int[MAX_LOOPS] loop_begin, loop_end, loop_clock
    cdef int[MAX_LOOPS + 1] loop_moved  # where in `moved` the values begin that a loop moves on by a step
    cdef int *moved
    cdef int n_loops, clocks, n_windows
    cdef readonly int bases
    cdef bint framed           # has ops over frames of any rank
    cdef readonly dict dtypes  # of the outputs that are not floats
    cdef bint typed
    cdef bint scans            # and recurrences inside frames
    cdef bint loose            # flushing a stream gives steps that a whole sequence has not
    cdef bint picks            # takes single steps of a sequence, of which there must be enough
    cdef bint looks_up         # computed ids, which can be refused while a call runs
    cdef bint unfused          # some recurrent product is not made by `kernels.step`
    cdef list keep
    cdef dict packed           # while instructions are loaded: what was packed of their arrays, by `id` and how

    def __cinit__(self, list values, list instructions, list inputs, list outputs, list states, dict blockers, *,
                  str isa, str dtype, Py_ssize_t macs, tuple loops=(), int clocks=1, int bases=1,
                  Py_ssize_t latency=0, gemm=None, bint measure=False):
        cdef int i, output
        cdef const fg_isa *found = find_isa(isa)
        self.kernels = found.f32 if dtype == "float32" else found.f64
        self.narrow = found.narrow
        self.blas = NULL if gemm is None else <Gemm *>PyCapsule_GetPointer(gemm, b"fastgru.gemm")
        if self.blas == NULL and dtype != "float32":
            raise ValueError(f"gemm must be 'blas' for dtype {dtype!r}, got 'packed'")
        self.isa, self.dtype, self.macs = isa, dtype, macs
        self.typenum = cnp.NPY_FLOAT if dtype == "float32" else cnp.NPY_DOUBLE
        self.descr = np.dtype(dtype)
        self.inputs, self.outputs, self.states, self.blockers = inputs, outputs, states, blockers
        self.keep, self.scratch, self.unfused, self.measure = [], 0, self.blas != NULL, measure
        self.packed = {}
        self.widest = 1
        self.nodes = list(dict.fromkeys([d.node for d in instructions]))
        numbers = {name: n for n, name in enumerate(self.nodes)}
        self.n_values, self.n_instructions, self.n_recurrences = len(values), len(instructions), 0
        self.sizes = [(v.size, v.time > 0, v.kind) for v in values]
        self.shapes = [v.shape for v in values]
        self.names = [v.name for v in values]
        self.dtypes = {i: v.dtype for i, v in enumerate(values) if v.dtype}
        self.typed = len(self.dtypes) > 0
        keys = {state[0] for state in states}
        self.steps_key = unused("steps", keys)
        self.still = []
        if clocks > MAX_CLOCKS:
            raise GraphError(
                f"layers that change the number of steps, and inputs with their own, must be fewer than {MAX_CLOCKS}, "
                f"got {clocks - 1}"
            )
        if len(loops) > MAX_LOOPS:
            raise GraphError(
                f"loops of states, each of which starts at the end of another, must be at most {MAX_LOOPS}, "
                f"got {len(loops)}"
            )
        self.n_loops = len(loops)
        for i, (begin, end, clock) in enumerate(loops):
            self.loop_begin[i], self.loop_end[i], self.loop_clock[i] = begin, end, clock - 1
        self.clocks, self.bases, self.n_windows, self.latency = clocks, bases, 0, latency
        self.n_slots = max([v.slot for v in values], default=-1) + 1
        self.largest, self.framed, self.scans, self.loose = 1, False, False, False
        self.values = <Value *>allocate(len(values), sizeof(Value))
        self.instructions = <Instruction *>allocate(len(instructions), sizeof(Instruction))
        for i, v in enumerate(values):
            self.values[i].size = v.size
            self.values[i].slot = v.slot
            self.values[i].clock = max(0, v.time - 1)
            self.values[i].line = v.line
            self.values[i].stays = v.stays
            self.values[i].bound = v.bound
            self.values[i].rank = len(self.shapes[i])
            if self.values[i].rank > FG_RANK:
                raise GraphError(f"axes of an item must be at most {FG_RANK}, got shape {self.shapes[i]}")
            for j, n in enumerate(self.shapes[i]):
                self.values[i].dims[j] = n
            self.values[i].state, self.values[i].initial = v.state, self.own_once(v.initial)
            self.values[i].time = v.time > 0
            self.values[i].item = {"float": self.kernels.item, "int": 8, "bool": 1}[v.kind]
            self.values[i].node, self.values[i].given = NO_NODE, i in inputs or i in outputs
        self.packed_bytes = []
        for i, d in enumerate(instructions):
            before = self.bytes
            self.load(&self.instructions[i], d)
            self.packed_bytes.append(self.bytes - before)
            self.instructions[i].node = numbers[d.node]
            if self.instructions[i].frame != NULL and self.instructions[i].frame.layer != NULL:
                self.instructions[i].frame.layer.node = numbers[d.node]
            for output in (*d.written, *d.held):
                self.values[output].node = numbers[d.node]
            self.count_work(&self.instructions[i])
        self.packed = None
        self.find_moved(values, instructions)
        if self.n_windows:
            self.still = [(v, unused(f"{self.names[v]}.last", keys)) for v in inputs if not self.sizes[v][1]]
        self.largest = max([1] + [v.size for v in values])

    cdef int find_moved(self, list values, list instructions) except -1:
        """Find the values of every loop of which each step is shown at a place of its own."""
        cdef int loop, i
        moved = []
        for loop in range(self.n_loops):
            self.loop_moved[loop] = <int>len(moved)
            touched = set()
            for d in instructions[self.loop_begin[loop]:self.loop_end[loop]]:
                touched.update(d.inputs, d.written, d.held)
            for i in sorted(touched):
                if self.values[i].time and self.values[i].clock == self.loop_clock[loop] and not self.values[i].stays:
                    moved.append(i)
        self.loop_moved[self.n_loops] = <int>len(moved)
        self.moved = <int *>allocate(len(moved), sizeof(int))
        for i in range(<int>len(moved)):
            self.moved[i] = moved[i]
        return 0

    def __dealloc__(self):
        cdef int i
        for i in range(self.n_instructions if self.instructions != NULL else 0):
            if self.instructions[i].frame != NULL:
                PyMem_Free(self.instructions[i].frame.program)
                PyMem_Free(self.instructions[i].frame.layer)
                PyMem_Free(self.instructions[i].frame)
        PyMem_Free(self.moved)
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
        if is_nest(ins):
            work = NUMBER_WORK if ins.op != CONTRACT else 1
            work = fg_times(work, max(1, frame.n_program))
            for i in range(frame.nest.rank):
                work = fg_times(work, frame.nest.dims[i])
        elif ins.op == SCAN:
            rows = fg_times(frame.steps, frame.rows)
            work = self.row_work(frame.layer)
            frame.layer.slice = slice_rows(work)
        elif ins.op == OVERLAP_ADD:
            work = fg_times(work, frame.reach)
        elif FRAME_PRODUCT <= ins.op <= TOP_K:
            rows = fg_times(frame.dims[0], frame.dims[1])
            work = fg_times(work, max(1, frame.count))
        ins.slice = max(1, SLICE_WORK // work) if is_nest(ins) else slice_rows(work)
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

    cdef const void *own_once(self, array, str how="flat") except? NULL:
        """The data of an instruction's very array, packed once for all that use it; None stays NULL.

        "flat" as `own` has it, "gates" (G, H) as `own_gates`, "rows" (N,) like `side_by_side`, "table" (V, G, H).
        """
        cdef const void *data
        if array is None:
            return NULL
        key = (id(array), how)
        if key in self.packed:
            return <const void *><size_t>self.packed[key]
        if how == "flat":
            data = self.own(array)
        elif how == "gates":
            data = self.own_gates(array)
        elif how == "rows":
            data = self.own_gates(self.side_by_side(array[:, None])[:, :, 0])
        else:
            table = np.moveaxis(array, 0, 2)
            data = self.own_panels(table) if self.measure else self.own(self.panels(table).transpose(1, 0, 2, 3))
        self.packed[key] = <size_t>data
        return data

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

    cdef fg_matrix pack(self, array, str precision, str how="gates") except *:
        """The panels of an instruction's very array, packed once for all that use it: (G, H, K); "rows" (N, K)."""
        cdef Packed made
        key = (id(array), how, precision)
        if key not in self.packed:
            made = Packed()
            made.matrix = self.packed_anew(array if how == "gates" else self.side_by_side(array), precision)
            self.packed[key] = made
        return (<Packed>self.packed[key]).matrix

    cdef fg_matrix packed_anew(self, array, str precision) except *:
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
        if K > INT8_INNER.get(precision, K):
            raise GraphError(f"rows of {precision} weights must have at most {INT8_INNER[precision]} elements, got {K}")
        if precision in SPARSE_FORMATS and self.pack_sparse(&m, codes, stored.get("scale"), precision):
            return m
        m.format = FORMATS[precision]
        m.data = self.own_panels(codes, GROUPS[precision], codes.dtype if m.format else None)
        if precision == "int8":
            m.scale = <const float *>self.own_gates(stored["scale"].reshape(G, H))
            m.offset = <const int32_t *>self.own_gates(offsets(codes), np.int32)
        if precision == "int8_affine":
            m.scale = <const float *>self.own_gates(stored["scale"].reshape(G, H))
            m.sums = <const int32_t *>self.own_gates(codes.sum(axis=-1, dtype=np.int64), np.int32)
            if stored["zero"].any():
                m.zero = <const int32_t *>self.own_gates(stored["zero"].reshape(G, H), np.int32)
        if m.format == FG_INT8:
            m.paired = <const uint8_t *>self.own(are_paired(self.panels(codes, 4)), np.uint8)
        self.scratch = max(self.scratch, self.narrow.scratch(&m) if m.format else 0)
        return m

    cdef fg_matrix counted_matrix(self, fg_matrix m, array, str precision) except *:
        """What `packed_anew` returns of dense weights, without them."""
        m.format = FORMATS[precision]
        m.data = self.own_panels(array, GROUPS[precision], STORED[precision])
        if precision == "int8":
            m.scale = <const float *>self.own_panels(array[:, :, :1])
            m.offset = <const int32_t *>self.own_panels(array[:, :, :1], 1, np.int32)
        if precision == "int8_affine":
            m.scale = <const float *>self.own_panels(array[:, :, :1])
            m.sums = <const int32_t *>self.own_panels(array[:, :, :1], 1, np.int32)
            m.zero = <const int32_t *>self.own_panels(array[:, :, :1], 1, np.int32)
        if m.format == FG_INT8:
            m.paired = <const uint8_t *>self.own(np.empty(m.panels), np.uint8)
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

    cdef int load(self, Instruction *ins, d) except -1:
        """Load the fields that all instructions have, then those of its kind."""
        cdef int i
        ins.op = d.code
        ins.n_inputs = len(d.inputs)
        if ins.n_inputs > MAX_INPUTS:
            raise GraphError(f"inputs of node {d.node!r} must be at most {MAX_INPUTS}, got {ins.n_inputs}")
        for i, value in enumerate(d.inputs):
            ins.inputs[i] = value
        ins.output, ins.clock, ins.size = d.output, d.clock - 1, d.size
        self.framed = self.framed or ins.op >= MAP
        if ins.op >= MAP and ins.op != CONVERT:
            ins.frame = <Frame *>allocate(1, sizeof(Frame))
        if ins.op == RECURRENT:
            self.load_recurrent(ins, d.layer)
        elif ins.op == DENSE or ins.op == FRAME_PRODUCT:
            self.load_dense(ins, d)
        elif ins.op == EMBEDDING:
            ins.w = self.table(d.w, d.precision)
        elif ins.op == LAYER_NORM or ins.op == FRAME_NORM:
            ins.scale, ins.shift, ins.number = self.own_once(d.scale), self.own_once(d.shift), d.eps
        elif ins.op == AFFINE:
            ins.scale, ins.shift = self.own_once(d.scale), self.own_once(d.shift)
        elif ins.op == ACTIVATE:
            ins.act, ins.softmax, ins.shift = act(d.act), d.softmax, self.own_once(d.shift)
        elif ins.op == AVERAGE:
            ins.act = act(d.act)
        elif ins.op == MASK:
            ins.number = d.value
        elif is_nest(ins):
            self.load_nest(ins, d)
        elif is_line(ins):
            self.load_line(ins, d)
        elif ins.op == TIME_STEP:
            ins.frame.kept, ins.frame.last, ins.frame.count, ins.frame.fewest = d.kept, d.last, d.count, d.fewest
            self.picks = True
        elif ins.op == SCAN:
            self.load_scan(ins, d)
        if FRAME_PRODUCT <= ins.op <= TOP_K:
            self.load_rows(ins, d)
        return 0

    cdef fg_matrix table(self, array, str precision) except *:
        """The rows of an instruction's very array (V, E), to be looked up; one for all that use it."""
        cdef Packed made
        key = (id(array), "table", precision)
        if key not in self.packed:
            made = Packed()
            made.matrix.format, made.matrix.inner = FORMATS[precision], array.shape[1]
            if self.measure:
                stored = {"": array, "scale": array[:, :1], "zero": array[:, :1]}
            else:
                stored = PRECISIONS[precision].encode(array)
            made.matrix.data = self.own(stored[""], STORED[precision])
            if precision in ("int8", "int8_affine"):
                made.matrix.scale = <const float *>self.own(stored["scale"])
            if precision == "int8_affine":
                made.matrix.zero = <const int32_t *>self.own(stored["zero"], np.int32)
            self.packed[key] = made
        return (<Packed>self.packed[key]).matrix

    cdef int load_operands(self, Frame *frame, d) except -1:
        """Load the places where the frames of an instruction begin."""
        cdef const void *numbers
        cdef int i
        self.check_room(d, "operands", len(d.operands), FG_OPERANDS)
        for i, (value, offset, constant) in enumerate(d.operands):
            frame.operands[i].value, frame.operands[i].offset = value, offset
            if constant is not None:
                numbers = self.own_once(constant)
                frame.operands[i].data = <const char *>numbers + <idx>offset * self.kernels.item
        return 0

    cdef int check_room(self, d, what, count, most) except -1:
        if count > most:
            raise GraphError(f"{what} of node {d.node!r} must be at most {most}, got {count}")
        return 0

    cdef int load_nest(self, Instruction *ins, d) except -1:
        """Loops over frames; see include/fastgru/ops/frames.h."""
        cdef Frame *frame = ins.frame
        cdef fg_nest *nest = &frame.nest
        cdef int i, j
        self.check_room(d, "loops", len(d.dims), FG_RANK - 2)  # the executor adds steps and rows
        self.load_operands(frame, d)
        nest.rank, nest.outer, nest.operands = len(d.dims), d.outer, len(d.operands)
        for j, n in enumerate(d.dims):
            nest.dims[j] = n
            for i in range(nest.operands):
                nest.strides[i][j] = d.strides[i][j]
        frame.over_time, frame.some_steps = d.over_time, d.some_steps
        if ins.op == MAP or ins.op == STORE:
            self.load_program(frame, d)
        elif ins.op == REDUCE:
            frame.function = d.function
        elif ins.op == CONTRACT:
            ins.act = act(d.act)
        elif ins.op == ARG_REDUCE:
            frame.function, frame.last = d.smallest, d.last
        elif ins.op == GATHER:
            frame.count, frame.stride, self.looks_up = d.count, d.stride, True
        return 0

    cdef int load_line(self, Instruction *ins, d) except -1:
        """Steps in a line of memory."""
        cdef Frame *frame = ins.frame
        cdef int i
        self.n_windows += 1
        frame.window, frame.kept, frame.fill = d.window, d.kept, d.fill
        frame.reach, frame.stride_in_time, frame.before, frame.after = d.reach, d.stride, d.before, d.after
        if ins.op == WINDOW and d.bounds is not None:
            first, end = d.bounds
            frame.sliced, frame.first, frame.end = True, first, FG_TOO_LARGE if end is None else end
        elif ins.op == OVERLAP_ADD:
            frame.lead, frame.rest = d.lead, d.rest
            self.loose = self.loose or frame.rest > 0
        elif ins.op == WAIT:
            self.check_room(d, "inputs that wait for each other", len(d.meeting), MAX_INPUTS)
            frame.n_meeting = len(d.meeting)
            for i, (window, clock) in enumerate(d.meeting):
                frame.meeting[i], frame.meeting_clocks[i] = window, clock - 1
        return 0

    cdef int load_rows(self, Instruction *ins, d) except -1:
        """Rows of a frame."""
        cdef Frame *frame = ins.frame
        frame.dims[0], frame.dims[1] = d.dims
        (frame.read_offset, frame.read[0], frame.read[1]) = d.read
        (frame.write_offset, frame.write[0], frame.write[1]) = d.write
        if ins.op == TOP_K:
            frame.count, frame.function, frame.outputs[0] = d.count, d.smallest, d.outputs[0]
        return 0

    cdef int load_program(self, Frame *frame, d) except -1:
        cdef int i
        self.check_room(d, "functions", len(d.program), FG_PROGRAM)
        frame.n_program = len(d.program)
        frame.program = <fg_micro *>allocate(len(d.program), sizeof(fg_micro))
        for i, (function, a, b, c, alpha, beta) in enumerate(d.program):
            frame.program[i].function, frame.program[i].alpha, frame.program[i].beta = function, alpha, beta
            frame.program[i].a, frame.program[i].b, frame.program[i].c = a, b, c
        return 0

    cdef int load_scan(self, Instruction *ins, d) except -1:
        """The recurrence of a scan reads value 0, writes value 1 and is masked by value 2."""
        cdef Frame *frame = ins.frame
        self.scans = True
        self.load_operands(frame, d)
        frame.steps, frame.rows = d.steps, d.rows
        (frame.read_offset, frame.read[0], frame.read[1]) = d.read
        frame.write[0], frame.write[1] = d.rows * d.layer.features, d.layer.features
        frame.outputs[0], frame.outputs[1] = (*d.outputs, -1)[:2]
        frame.layer = <Instruction *>allocate(1, sizeof(Instruction))
        frame.layer.op, frame.layer.output, frame.layer.n_inputs = RECURRENT, 1, 1
        if frame.operands[2].value != ABSENT:
            frame.layer.n_inputs, frame.layer.inputs[1] = 2, 2
        self.load_recurrent(frame.layer, d.layer)
        return 0

    cdef int load_dense(self, Instruction *ins, d) except -1:
        ins.act = act(d.act)
        if ins.op == DENSE:
            ins.softmax = d.softmax
        if self.blas == NULL:
            ins.w = self.pack(d.w, d.precision, "rows")
            ins.w.input_scale, ins.w.input_zero = d.input_scale, d.input_zero
            ins.shift = self.own_once(d.bias, "rows")
        else:
            ins.w.data, ins.w.inner = self.own_once(d.w), d.w.shape[1]
            ins.shift = self.own_once(d.bias)
        return 0

    cdef int load_recurrent(self, Instruction *ins, layer) except -1:
        cdef int i, j
        cdef fg_phase *phase
        ins.reverse, ins.last, ins.carry = layer.reverse, layer.last, layer.carry
        ins.gated_output = layer.gated_output
        ins.units, ins.features = layer.units, layer.features
        ins.units_padded, ins.features_padded = self.padded(ins.units), self.padded(ins.features)
        ins.state = self.n_recurrences
        self.n_recurrences += 1
        ins.initial_h, ins.initial_c = self.own_once(layer.initial_h), self.own_once(layer.initial_c)
        ins.n_phases = len(layer.phases)
        for i, p in enumerate(layer.phases):
            phase = &ins.phase[i]
            phase.kind, phase.tier, phase.keep_candidate, phase.clip = p.kind, p.tier, p.keep_candidate, p.clip
            for j in range(3):
                phase.act[j] = act(p.act[j])
            phase.u = self.pack(p.u, layer.precision)
            if phase.u.format <= FG_FLOAT16:
                phase.bias = self.own_once(p.bias_h, "gates")
            else:
                ins.bu[i], self.unfused = self.own_once(p.bias_h, "gates"), True
            if p.peephole is not None:
                peephole = np.zeros((3, ins.units_padded), dtype=self.dtype)
                peephole[:, :ins.units] = p.peephole
                phase.peephole = self.own(peephole)
            if p.table is not None:
                ins.table[i] = self.own_once(p.table, "table")
            elif p.x is not None:
                ins.wx[i] = self.pack(p.x, layer.precision)
                ins.bx[i] = self.own_once(p.bias_x, "gates")
            self.widest = max(self.widest, phase.u.panels * phase.u.gates * self.kernels.lanes)
        return 0

    def block(self, Py_ssize_t batch):
        """Steps run at a time through the whole plan, for a batch of this size."""
        widest = max(self.widest, self.largest)
        least = SCANNED if self.scans else 1 if self.framed else BLOCK_ROWS
        rows = max(least, BLOCK_BYTES // (widest * self.kernels.item))
        return max(1, rows // batch)


cdef str unused(str key, set keys):
    """`key`, or one like it that is not among `keys`."""
    return next(k for k in (key, *[f"{key}.{i}" for i in range(len(keys))]) if k not in keys)


cdef idx matrix_work(const fg_matrix *w, idx lanes) noexcept:
    """Multiply-adds of one row; none of a table."""
    return bytes_of(fg_times(w.panels, lanes), max(1, w.gates), w.inner) if w.panels else 0


def are_paired(panels):
    """Of panels (P, K / 4, G, L, 4) of codes, whether FG_PAIRED of include/fastgru/dot.h may add their products."""
    magnitudes = np.maximum(panels.astype(np.int16) + 1, -panels.astype(np.int16))  # of codes, and of flipped ones
    pairs = magnitudes[..., ::2] + magnitudes[..., 1::2]
    steps = pairs.shape[1] // 2 * 2
    return (pairs[:, :steps:2] + pairs[:, 1:steps:2] <= 255).all(axis=(1, 2, 3, 4))


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
