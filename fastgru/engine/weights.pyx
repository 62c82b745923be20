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
from .read cimport elements
from .structs cimport Structs

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
NAMES = tuple(PRECISIONS)
# Blocks of 8 x 4 that are all zero are left out where a share of less than a - b / K of them remains: (a, b). Measured
# with `python -m bench.sparse` (Zen 5, AVX-512, GRU, one row and 32), sparse took as long as dense at these shares,
# for K of 64, 128, 256, 512: float32 0.20-0.28, 0.35, 0.38-0.42, 0.37-0.55; int8 none, 0.15, 0.25, 0.28.
SPARSE_DENSITY = {"float32": (0.45, 14.0), "int8": (0.32, 24.0)}


cdef char NOTHING = 0  # stands for weights that are only counted
cdef int[5] FORMAT, GROUP, ITEM, SPARSE, MOST_INNER  # the same by code; an ITEM of 0 is the plan's, SPARSE of 0 none

for _code, _name in enumerate(NAMES):
    FORMAT[_code], GROUP[_code], SPARSE[_code] = FORMATS[_name], GROUPS[_name], SPARSE_FORMATS.get(_name, 0)
    ITEM[_code] = np.dtype(STORED[_name]).itemsize if STORED[_name] else 0
    MOST_INNER[_code] = INT8_INNER.get(_name, 2**31 - 1)

cdef enum:  # ways in which an array is packed
    FLAT, GATES, BESIDE, TABLE, PANELS, ROWS, LOOKUP, HOWS

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

    cdef int end_all(self) except -1:
        """Forget what was packed; raise unless all that was stored was asked for."""
        self.packed = self.arrays = None
        if self.stored is not None and (self.at != self.end or self.fact != len(self.facts)):
            raise GraphError(f"packed weights must have {self.at} bytes, got {self.end}")
        return 0

    cdef const void *own(self, array, dtype=None) except NULL:
        """The data of an aligned, read-only copy that lives as long as the plan; in the plan's dtype by default."""
        cdef cnp.ndarray raw, a
        dtype = np.dtype(dtype or self.dtype)
        with np.errstate(over="ignore"):  # a number beyond float32 is infinite there
            a = np.ascontiguousarray(array, dtype=dtype)
        self.bytes = fg_plus(self.bytes, fg_plus(a.nbytes, ALIGN))
        raw = np.empty(a.nbytes + ALIGN, dtype=np.uint8)
        cdef idx shift = -(<size_t>raw.data) % ALIGN
        memcpy(raw.data + shift, a.data, a.nbytes)
        self.kept.append(raw[shift:shift + a.nbytes])
        return raw.data + shift

    # Arrays by their numbers, each packed once for all instructions that have it ------------------------

    cdef const void *flat(self, int n) except NULL:
        """As it is."""
        cdef const void *found = self.known(n, FLAT)
        if found == NULL:
            if self.unread():
                found = self.reserve(fg_times(elements(&self.shapes[n]), self.item))
            else:
                found = self.own(self.arrays[n])
            self.packed[n * HOWS + FLAT] = <size_t>found
        return found

    cdef const void *gates(self, int n) except NULL:
        """(G, H) to (panels, G, L), zero-padded."""
        cdef const void *found = self.known(n, GATES)
        cdef idx *dims = self.shapes[n].dims
        if found == NULL:
            if self.unread():
                found = self.room(dims[0], dims[1], 1, 1, self.item)
            else:
                found = self.own_gates(self.arrays[n])
            self.packed[n * HOWS + GATES] = <size_t>found
        return found

    cdef const void *beside(self, int n) except NULL:
        """(N,) as the rows of a matrix (N, K) lie."""
        cdef const void *found = self.known(n, BESIDE)
        cdef idx rows = self.shapes[n].dims[0], G = self.side_gates(rows)
        if found == NULL:
            if self.unread():
                found = self.room(G, self.side_units(rows, G), 1, 1, self.item)
            else:
                found = self.own_gates(self.side_by_side(self.arrays[n][:, None])[:, :, 0])
            self.packed[n * HOWS + BESIDE] = <size_t>found
        return found

    cdef const void *table(self, int n) except NULL:
        """(V, G, H), each row as `gates` has it."""
        cdef const void *found = self.known(n, TABLE)
        cdef idx *dims = self.shapes[n].dims
        if found == NULL:
            if self.unread():
                found = self.room(dims[1], dims[2], dims[0], 1, self.item)
            else:
                found = self.own(self.panels(np.moveaxis(self.arrays[n], 0, 2)).transpose(1, 0, 2, 3))
            self.packed[n * HOWS + TABLE] = <size_t>found
        return found

    cdef const void *padded_rows(self, int n) except NULL:
        """(N, H) with every row zero-padded to whole vectors."""
        cdef idx N = self.shapes[n].dims[0], H = self.shapes[n].dims[1]
        if self.unread():
            return self.reserve(bytes_of(N, self.padded(H), self.item))
        rows = np.zeros((N, self.padded(H)), dtype=self.dtype)
        rows[:, :H] = self.arrays[n]
        return self.own(rows)

    cdef const void *known(self, int n, int how) noexcept:
        """Return the place of an array packed in this way before; NULL if it was not."""
        found = self.packed.get(n * HOWS + how)
        if found is None:
            return NULL
        return <const void *><size_t>found

    cdef const void *room(self, idx G, idx H, idx K, idx group, idx item) except NULL:
        """The place of what `panels` makes of (G, H, K)."""
        return self.reserve(bytes_of(fg_times(self.padded(H), G), fg_round_up(K, group), item))

    cdef const void *own_gates(self, array, dtype=None) except NULL:
        """(G, H) to (panels, G, L), zero-padded."""
        return self.own(self.panels(np.asarray(array)[:, :, None]), dtype)

    cdef idx side_gates(self, idx N) noexcept:
        """The gates of the panels in which N rows lie side by side in the least time, padding included.

        A tile of one column waits for its loads: Zen 3 (AVX2), 32 rows, K=N=128: 72 GFLOP/s with G=1, 82 with more. So
        17 vectors are better 6 panels of 3, one vector of zeros, than 17 panels: 129 units, K=128: 13 % faster.
        """
        cdef idx vectors = (N + self.lanes - 1) // self.lanes, best = 0, least = 0, gates, time
        for gates in range(4, 0, -1):
            time = (vectors + gates - 1) // gates * gates * (8 if gates == 1 else 7)
            if not best or time < least:
                best, least = gates, time
        return best

    cdef idx side_units(self, idx N, idx G) noexcept:
        """The units of each of the gates of N rows side by side."""
        cdef idx vectors = (N + self.lanes - 1) // self.lanes
        return (vectors + G - 1) // G * self.lanes

    cdef panels(self, array, Py_ssize_t group=1):
        """(G, H, K) to (panels, K / group, G, L, group), zero-padded; without the last axis for a group of 1."""
        G, H, K = array.shape
        inner = -(-K // group)
        padded = np.zeros((G, self.padded(H), inner * group), dtype=array.dtype)
        padded[:, :H, :K] = array
        result = padded.reshape(G, -1, self.lanes, inner, group).transpose(1, 3, 0, 2, 4)
        return result[..., 0] if group == 1 else result

    cdef side_by_side(self, array):
        """(N, K) to (G, H, K) whose panels hold the N rows in their order."""
        N, K = array.shape
        cdef idx G = self.side_gates(N), units = self.side_units(N, G)
        padded = np.zeros((units * G, K), dtype=array.dtype)
        padded[:N] = array
        return padded.reshape(units // self.lanes, G, self.lanes, K).swapaxes(0, 1).reshape(G, units, K)

    cdef fg_matrix pack(self, int n, int precision, bint rows) except *:
        """The panels of an array, packed once for all that use it: (G, H, K), or of rows (N, K)."""
        cdef Packed made
        key = (n * HOWS + (ROWS if rows else PANELS)) * 8 + precision
        found = self.matrices.get(key)
        if found is None:
            made = self.matrices[key] = Packed()
            made.matrix = self.packed_anew(n, precision, rows)
            return made.matrix
        return (<Packed>found).matrix

    cdef fg_matrix packed_anew(self, int n, int precision, bint rows) except *:
        """(G, H, K) packed; for BLAS as rows in the panels' order: (panels, G, L, K)."""
        cdef fg_matrix m
        cdef idx *dims = self.shapes[n].dims
        cdef idx G, H, K
        memset(&m, 0, sizeof(m))
        if rows:
            G, K = self.side_gates(dims[0]), dims[1]
            H = self.side_units(dims[0], G)
        else:
            G, H, K = dims[0], dims[1], dims[2]
        m.panels, m.gates, m.inner, m.units = self.padded(H) // self.lanes, G, K, H
        if max(bytes_of(self.padded(H), G, K), K) > 2**31 - 1:
            raise GraphError(f"weights must have fewer than 2**31 elements, got {(G, H, K)}")
        if not self.for_blas and K > MOST_INNER[precision]:
            raise GraphError(
                f"rows of {NAMES[precision]} weights must have at most {MOST_INNER[precision]} elements, got {K}")
        if self.unread():
            self.place(&m, G, H, K, precision)
        else:
            self.encode(&m, self.side_by_side(self.arrays[n]) if rows else self.arrays[n], precision)
        return m

    cdef int encode(self, fg_matrix *m, array, int code) except -1:
        """Pack the weights of a matrix (G, H, K)."""
        G, H, K = array.shape
        precision = NAMES[code]
        if self.for_blas:
            m.data = self.own(self.panels(array).transpose(0, 2, 3, 1))
            return 0
        stored = PRECISIONS[precision].encode(array.reshape(G * H, K))
        codes = stored[""].reshape(G, H, K)
        if precision in SPARSE_FORMATS and self.pack_sparse(m, codes, stored.get("scale"), precision):
            return 0
        m.format = FORMATS[precision]
        m.data = self.own(self.panels(codes, GROUPS[precision]), codes.dtype if m.format else None)
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
        self.count_scratch(m)
        return 0

    cdef void count_scratch(self, const fg_matrix *m) noexcept:
        if m.format and self.narrow != NULL:
            self.scratch = max(self.scratch, self.narrow.scratch(m))

    cdef int place(self, fg_matrix *m, idx G, idx H, idx K, int precision) except -1:
        """Place a matrix as `encode` does, without its weights: as dense ones where nothing else is known."""
        cdef idx fact
        if self.for_blas:
            m.data = self.room(G, H, K, 1, self.item)
            return 0
        fact = WITH_ZEROS if self.measure else self.next_fact()
        if fact >= 0:
            return self.place_sparse(m, G, H, K, fact, precision)
        m.format = FORMAT[precision]
        m.data = self.room(G, H, K, GROUP[precision], ITEM[precision] or self.item)
        if m.format == FG_INT8:
            m.scale = <const float *>self.room(G, H, 1, 1, self.item)
            if precision == INT8:
                m.offset = <const int32_t *>self.room(G, H, 1, 1, 4)
            else:
                m.sums = <const int32_t *>self.room(G, H, 1, 1, 4)
                if fact == WITH_ZEROS:
                    m.zero = <const int32_t *>self.room(G, H, 1, 1, 4)
            m.paired = <const uint8_t *>self.reserve(m.panels)
        self.count_scratch(m)
        return 0

    cdef idx next_fact(self) except? -100:
        """What the packing of the next matrix found in its weights."""
        if self.fact == len(self.facts):
            raise GraphError("packed matrices must be as many as the instructions read, got fewer")
        self.fact += 1
        return self.facts[self.fact - 1]

    cdef int place_sparse(self, fg_matrix *m, idx G, idx H, idx K, idx kept, int precision) except -1:
        """The parts of a sparse matrix as `pack_sparse` stored them; its places are checked, as they lead to others."""
        cdef const int32_t *starts
        cdef const int32_t *blocks
        cdef idx strips = (H + 7) // 8, fours = (K + 3) // 4
        if SPARSE[precision] == 0 or kept > bytes_of(G, strips, fours):
            raise GraphError(
                f"sparse matrix of {NAMES[precision]} must have at most {G * strips * fours} blocks, got {kept}")
        m.format = SPARSE[precision]
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

    cdef fg_matrix lookup(self, int n, int precision) except *:
        """The rows of an array (V, E), to be looked up; one for all that use it."""
        cdef Packed made
        key = (n * HOWS + LOOKUP) * 8 + precision
        if key not in self.matrices:
            made = self.matrices[key] = Packed()
            self.make_lookup(&made.matrix, n, precision)
        return (<Packed>self.matrices[key]).matrix

    cdef int make_lookup(self, fg_matrix *m, int n, int precision) except -1:
        cdef idx V = self.shapes[n].dims[0], E = self.shapes[n].dims[1]
        m.format, m.inner = FORMAT[precision], E
        if self.unread():
            m.data = self.reserve(bytes_of(V, E, ITEM[precision] or self.item))
            if m.format == FG_INT8:
                m.scale = <const float *>self.reserve(fg_times(V, self.item))
            if precision == INT8_AFFINE:
                m.zero = <const int32_t *>self.reserve(fg_times(V, 4))
            return 0
        stored = PRECISIONS[NAMES[precision]].encode(self.arrays[n])
        m.data = self.own(stored[""], STORED[NAMES[precision]])
        if m.format == FG_INT8:
            m.scale = <const float *>self.own(stored["scale"])
        if precision == INT8_AFFINE:
            m.zero = <const int32_t *>self.own(stored["zero"], np.int32)
        return 0


cdef Weights make_weights(const fg_kernels *kernels, const fg_narrow *narrow, str dtype, bint for_blas, bint measure,
                          tuple stored, Structs structs, arrays):
    """Make an empty set of weights for arrays of the shapes of a plan; `stored` are the bytes (N,) of arrays packed
    before, and `facts` of them."""
    cdef Weights made = Weights()
    cdef cnp.ndarray data
    made.lanes, made.narrow, made.dtype, made.for_blas, made.measure = kernels.lanes, narrow, dtype, for_blas, measure
    made.item, made.structs, made.shapes, made.arrays = kernels.item, structs, structs.shapes_of, arrays
    made.kept, made.packed, made.matrices, made.facts = [], {}, {}, []
    if stored is not None:
        data, facts = stored
        made.facts = list(facts)
        made.stored, made.base, made.end = data, data.data, data.nbytes
        if <size_t>made.base % ALIGN:
            raise ValueError(f"packed weights must begin at a multiple of {ALIGN} bytes in memory, got another place")
    elif arrays is None and not measure:
        raise ValueError("plan must be given its weights, got none")
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
