"""Weights, packed once for one instruction set."""

cimport cython
cimport numpy as cnp
from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memcpy, memset

import numpy as np

from ..errors import GraphError
from ..graph import PRECISIONS
from .c cimport (
    ALIGN, bytes_of, FG_BFLOAT16, FG_FLOAT16, FG_INT8, fg_kernels, fg_matrix, FG_NATIVE, fg_narrow, fg_plus,
    fg_round_up, FG_SPARSE, FG_SPARSE_INT8, fg_times, idx)

cnp.import_array()

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


cdef char NOTHING = 0  # stands for weights that are only counted

cdef enum:
    DENSE = -1           # of a matrix: all its weights are kept,
    WITH_ZEROS = -2      # and zero points of its rows; else the number of blocks kept


@cython.final
cdef class Packed:
    """A packed matrix, for further instructions that use the same array."""

    cdef fg_matrix matrix


@cython.final
cdef class Weights:
    """The packed arrays of a plan, which live as long as it does.

    They are packed here and kept in `kept`, one behind the other; or they were packed before and lie in `stored` in
    that order; or only their bytes are counted. Of the latter two no number is read: shapes say where all lies.
    """

    cdef idx padded(self, idx n) noexcept:
        return (n + self.lanes - 1) // self.lanes * self.lanes

    cdef bint unread(self) noexcept:
        """Whether arrays have shapes alone."""
        return self.measure or self.stored is not None

    cdef const void *reserve(self, idx size) except NULL:
        """The place of an array whose numbers are not read: where it was stored, or nowhere."""
        cdef idx begin = self.at
        self.bytes = fg_plus(self.bytes, fg_plus(size, ALIGN))
        if self.measure:
            return &NOTHING
        self.at = fg_plus(self.at, fg_round_up(size, ALIGN))
        if self.at > self.end:
            raise GraphError(f"packed weights must have at least {self.at} bytes, got {self.end}")
        return self.base + begin

    cdef int check_whole(self) except -1:
        """Raise unless all that was stored was asked for."""
        if self.stored is not None and (self.at != self.end or self.facts):
            raise GraphError(f"packed weights must have {self.at} bytes, got {self.end}")
        return 0

    cdef const void *own(self, array, dtype=None) except? NULL:
        """The data of an aligned, read-only copy that lives as long as the plan; in the plan's dtype by default.

        None stays NULL.
        """
        cdef cnp.ndarray raw, a
        if array is None:
            return NULL
        dtype = np.dtype(dtype or self.dtype)
        if self.unread():
            return self.reserve(fg_times(np.size(array), dtype.itemsize))
        with np.errstate(over="ignore"):  # a number beyond float32 is infinite there
            a = np.ascontiguousarray(array, dtype=dtype)
        self.bytes = fg_plus(self.bytes, fg_plus(a.nbytes, ALIGN))
        raw = np.empty(a.nbytes + ALIGN, dtype=np.uint8)
        cdef idx shift = -(<size_t>raw.data) % ALIGN
        memcpy(raw.data + shift, a.data, a.nbytes)
        self.kept.append(raw[shift:shift + a.nbytes])
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
            data = self.own_panels(table) if self.unread() else self.own(self.panels(table).transpose(1, 0, 2, 3))
        self.packed[key] = <size_t>data
        return data

    cdef const void *own_panels(self, array, Py_ssize_t group=1, dtype=None) except? NULL:
        """(G, H, K) as `panels` has them."""
        G, H, K = array.shape
        if self.unread():
            return self.reserve(fg_times(bytes_of(self.padded(H), G, -(-K // group) * group),
                                         np.dtype(dtype or self.dtype).itemsize))
        return self.own(self.panels(array, group), dtype)

    cdef const void *own_gates(self, array, dtype=None) except? NULL:
        """(G, H) to (panels, G, L), zero-padded; None stays NULL."""
        if array is None:
            return NULL
        return self.own_panels(np.asarray(array)[:, :, None], 1, dtype)

    cdef const void *own_rows(self, array) except? NULL:
        """(N, H) with every row zero-padded to whole vectors."""
        N, H = array.shape
        if self.unread():
            return self.reserve(bytes_of(N, self.padded(H), np.dtype(self.dtype).itemsize))
        rows = np.zeros((N, self.padded(H)), dtype=self.dtype)
        rows[:, :H] = array
        return self.own(rows)

    cdef panels(self, array, Py_ssize_t group=1):
        """(G, H, K) to (panels, K / group, G, L, group), zero-padded; without the last axis for a group of 1."""
        G, H, K = array.shape
        inner = -(-K // group)
        padded = np.zeros((G, self.padded(H), inner * group), dtype=array.dtype)
        padded[:, :H, :K] = array
        result = padded.reshape(G, -1, self.lanes, inner, group).transpose(1, 3, 0, 2, 4)
        return result[..., 0] if group == 1 else result

    cdef side_by_side(self, array):
        """(N, K) to (G, H, K) whose panels hold the N rows in their order, in the least time, padding included.

        A tile of one column waits for its loads: Zen 3 (AVX2), 32 rows, K=N=128: 72 GFLOP/s with G=1, 82 with more. So
        17 vectors are better 6 panels of 3, one vector of zeros, than 17 panels: 129 units, K=128: 13 % faster.
        """
        N, K = array.shape
        lanes = self.lanes
        vectors = -(-N // lanes)
        G = min((4, 3, 2, 1), key=lambda gates: -(-vectors // gates) * gates * (8 if gates == 1 else 7))
        panels = -(-vectors // G)
        if self.unread():
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
        m.panels, m.gates, m.inner, m.units = self.padded(H) // self.lanes, G, K, H
        if max(m.panels * self.lanes * G * K, K) > 2**31 - 1:
            raise GraphError(f"weights must have fewer than 2**31 elements, got {array.shape}")
        if self.for_blas:
            m.data = self.own_panels(array) if self.unread() else self.own(self.panels(array).transpose(0, 2, 3, 1))
            return m
        if K > INT8_INNER.get(precision, K):
            raise GraphError(f"rows of {precision} weights must have at most {INT8_INNER[precision]} elements, got {K}")
        if self.unread():
            return self.unread_matrix(m, array, precision)
        stored = PRECISIONS[precision].encode(array.reshape(G * H, K))
        codes = stored[""].reshape(G, H, K)
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
        self.facts.append(WITH_ZEROS if m.zero != NULL else DENSE)
        if m.format == FG_INT8:
            m.paired = <const uint8_t *>self.own(are_paired(self.panels(codes, 4)), np.uint8)
        self.count_scratch(&m)
        return m

    cdef void count_scratch(self, const fg_matrix *m) noexcept:
        if m.format and self.narrow != NULL:
            self.scratch = max(self.scratch, self.narrow.scratch(m))

    cdef fg_matrix unread_matrix(self, fg_matrix m, array, str precision) except *:
        """What `packed_anew` returns, without the weights: as if they were dense where nothing else is known."""
        cdef int fact = WITH_ZEROS if self.measure else self.next_fact()
        if fact >= 0:
            self.stored_sparse(&m, array.shape, fact, precision)
            return m
        m.format = FORMATS[precision]
        m.data = self.own_panels(array, GROUPS[precision], STORED[precision])
        if precision == "int8":
            m.scale = <const float *>self.own_panels(array[:, :, :1])
            m.offset = <const int32_t *>self.own_panels(array[:, :, :1], 1, np.int32)
        if precision == "int8_affine":
            m.scale = <const float *>self.own_panels(array[:, :, :1])
            m.sums = <const int32_t *>self.own_panels(array[:, :, :1], 1, np.int32)
            if fact == WITH_ZEROS:
                m.zero = <const int32_t *>self.own_panels(array[:, :, :1], 1, np.int32)
        if m.format == FG_INT8:
            m.paired = <const uint8_t *>self.own(np.empty(m.panels), np.uint8)
        self.count_scratch(&m)
        return m

    cdef int next_fact(self) except? -100:
        """What the packing of the next matrix found in its weights."""
        if not self.facts:
            raise GraphError("packed matrices must be as many as the instructions read, got fewer")
        return self.facts.pop(0)

    cdef int stored_sparse(self, fg_matrix *m, tuple shape, idx kept, str precision) except -1:
        """The parts of a sparse matrix as `pack_sparse` stored them; its places are checked, as they lead to others."""
        cdef const int32_t *starts
        cdef const int32_t *blocks
        G, H, K = shape
        strips, fours = -(-H // 8), -(-K // 4)
        if precision not in SPARSE_FORMATS or kept > G * strips * fours:
            raise GraphError(f"sparse matrix of {precision} must have at most {G * strips * fours} blocks, got {kept}")
        m.format = SPARSE_FORMATS[precision]
        m.data = self.reserve(bytes_of(kept, 32, 1 if m.format == FG_SPARSE_INT8 else 4))
        starts = <const int32_t *>self.reserve((G * strips + 1) * 4)
        blocks = <const int32_t *>self.reserve(kept * 4)
        if not rises(starts, G * strips, kept) or not inside(blocks, kept, fours):
            raise GraphError("sparse matrix must have blocks that lie inside it, got others")
        m.starts, m.blocks = starts, blocks
        if m.format == FG_SPARSE_INT8:
            m.scale = <const float *>self.reserve(G * strips * 8 * 4)
            m.offset = <const int32_t *>self.reserve(G * strips * 8 * 4)
        self.count_scratch(m)
        return 0

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
        self.facts.append(int(kept.sum()))
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
        self.count_scratch(m)
        return True

    cdef fg_matrix table(self, array, str precision) except *:
        """The rows of an instruction's very array (V, E), to be looked up; one for all that use it."""
        cdef Packed made
        key = (id(array), "table", precision)
        if key not in self.packed:
            made = Packed()
            made.matrix.format, made.matrix.inner = FORMATS[precision], array.shape[1]
            if self.unread():
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


cdef Weights make_weights(const fg_kernels *kernels, const fg_narrow *narrow, str dtype, bint for_blas, bint measure,
                          tuple stored):
    """Make an empty set of weights; `stored` are the bytes (N,) of arrays packed before, and `facts` of them."""
    cdef Weights made = Weights()
    cdef cnp.ndarray data
    made.lanes, made.narrow, made.dtype, made.for_blas, made.measure = kernels.lanes, narrow, dtype, for_blas, measure
    made.kept, made.packed, made.facts = [], {}, []
    if stored is not None:
        data, facts = stored
        made.facts = list(facts)
        made.stored, made.base, made.end = data, data.data, data.nbytes
        if <size_t>made.base % ALIGN:
            raise ValueError(f"packed weights must begin at a multiple of {ALIGN} bytes in memory, got another place")
    return made


cdef bint rises(const int32_t *starts, idx n, idx last) noexcept:
    """True if n + 1 numbers begin with 0, fall nowhere and end with `last`."""
    cdef idx i
    for i in range(n):
        if starts[i] > starts[i + 1]:
            return False
    return starts[0] == 0 and starts[n] == last


cdef bint inside(const int32_t *places, idx n, idx bound) noexcept:
    """True if all places lie in 0..bound - 1."""
    cdef idx i
    for i in range(n):
        if not 0 <= places[i] < bound:
            return False
    return True


def are_paired(panels):
    """Of panels (P, K / 4, G, L, 4) of codes, whether FG_PAIRED of include/fastgru/dot.h may add their products."""
    magnitudes = np.maximum(panels.astype(np.int16) + 1, -panels.astype(np.int16))  # of codes, and of flipped ones
    pairs = magnitudes[..., ::2] + magnitudes[..., 1::2]
    steps = pairs.shape[1] // 2 * 2
    return (pairs[:, :steps:2] + pairs[:, 1:steps:2] <= 255).all(axis=(1, 2, 3, 4))


def offsets(codes):
    """-128 times the sum of each row of codes (..., K): what adding 128 to every activation adds to the product."""
    return -128 * codes.sum(axis=-1, dtype=np.int64)
