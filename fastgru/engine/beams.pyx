"""The search of beams for the most probable sequences of ids: what goes on from which row, step by step.

A row's candidates follow from its own scores and sum, and those of a beam from its own rows, so they are the same in
any batch. What is kept is defined in docs/generation.md; tests hold this against a plain form of it in NumPy.
"""

cimport cython
cimport numpy as cnp
from libc.math cimport exp, HUGE_VAL, log
from libc.stdint cimport int32_t, int64_t, uint8_t

import numpy as np

cnp.import_array()

ctypedef Py_ssize_t idx

cdef struct Candidate:
    double total, log_p  # the sum of a sequence's logarithms of probabilities, and that of its last id
    int64_t row, id

cdef struct Taken:
    double log_p
    int32_t id, parent


cdef void *data(cnp.ndarray array) noexcept:
    return cnp.PyArray_DATA(array)


@cython.final
cdef class Beams:
    """The sequences of several beams that go on, one a row, of which each step keeps the best of each beam.

    Of equals the first is better: from the better row, with the lower id. A sequence stays in the row of the one that
    it goes on from where there are as many rows as before and none stays there yet.

    Parameters
    ----------
    size, probabilities
        As of `Chooser`.
    count, width : int
        The number of beams, and of the sequences that each keeps. At first each has one, without an id.
    normal : bool
        False where scores are logarithms of probabilities as they are: none are made of them.

    Attributes
    ----------
    step, rows : int
        The number of steps so far, and R, that of rows.
    ids, parents : (R,) int64 arrays
        Of each row the id taken last, and the row before that step from which it goes on. Later steps overwrite them.
    moved : bool
        Whether a row goes on from another one.
    beams, sums : (count * width,) int64, float64 arrays
        Of each row its beam, and the sum of its logarithms of probabilities.
    order : (count * width,) int64 array
        The rows by beam, the best first.
    worst : (count,) float64 array
        For the caller to set: `place` ends a beam that cannot exceed this any more. -inf at first.
    found : (count,) uint8 array
        For the caller to set: whether a sequence of this beam has ended.
    """

    cdef readonly object ids, parents, beams, sums, order, worst, found
    cdef readonly idx rows, step
    cdef readonly bint moved
    cdef idx size, count, width, room
    cdef bint probabilities, normal
    cdef object candidates, past, scratch
    cdef double *x
    cdef double *totals
    cdef double *limits
    cdef int64_t *whose
    cdef int64_t *sorted
    cdef int64_t *counts
    cdef int64_t *spare
    cdef int64_t *taken
    cdef int64_t *chosen
    cdef int64_t *origin
    cdef uint8_t *going
    cdef uint8_t *known

    def __init__(self, idx size, idx count, idx width, *, bint probabilities=False, bint normal=True):
        cdef idx most = count * width
        self.size, self.count, self.width, self.probabilities, self.normal = size, count, width, probabilities, normal
        self.candidates = np.empty(2 * most * sizeof(Candidate), np.uint8)  # that go on, and that end
        self.past = np.empty(0, np.uint8)
        self.sums, self.worst = np.zeros(most), np.full(count, -np.inf)
        self.beams, self.order = np.arange(most, dtype=np.int64), np.arange(most, dtype=np.int64)
        self.found = np.zeros(count, np.uint8)
        self.scratch = np.empty(size), np.zeros(6 * most, np.int64), np.ones(count, np.uint8)
        self.x, self.going = <double *>data(self.scratch[0]), <uint8_t *>data(self.scratch[2])
        self.counts = <int64_t *>data(self.scratch[1])
        self.spare, self.taken = self.counts + 2 * most, self.counts + 4 * most
        self.totals, self.limits = <double *>data(self.sums), <double *>data(self.worst)
        self.whose, self.sorted = <int64_t *>data(self.beams), <int64_t *>data(self.order)
        self.known = <uint8_t *>data(self.found)
        self.rows = count
        self.renew()

    cdef int renew(self) except -1:
        """Make `ids` and `parents` of as many numbers as there are rows."""
        self.ids, self.parents = np.zeros(self.rows, np.int64), np.zeros(self.rows, np.int64)
        self.chosen, self.origin = <int64_t *>data(self.ids), <int64_t *>data(self.parents)
        return 0

    cdef Candidate *best(self, idx beam, bint ends) noexcept:
        return <Candidate *>cnp.PyArray_DATA(self.candidates) + (ends * self.count + beam) * self.width

    cdef Taken *at(self, idx step) noexcept:
        return <Taken *>cnp.PyArray_DATA(self.past) + step * self.count * self.width

    def run(self, cnp.ndarray y not None, cnp.ndarray allowed not None, cnp.ndarray enders not None):
        """Find the best sequences with one id more.

        Parameters
        ----------
        y : (R, V) float32 or float64 array
            The scores of each row.
        allowed, enders : (R, V) or (1, V) uint8 arrays
            Ids that may follow each row, and those with which it ends.

        Returns
        -------
        int
            How many end, which `ended` tells; -1 - the number of a row whose scores are no numbers below infinity.
        """
        cdef idx i, r, v, count = 0
        cdef bint wide = cnp.PyArray_TYPE(y) == cnp.NPY_DOUBLE
        cdef const uint8_t *may
        cdef const uint8_t *ends
        if (<object>y).shape != (self.rows, self.size) or not cnp.PyArray_ISCARRAY_RO(y):
            raise ValueError(f"scores must have shape {(self.rows, self.size)}, C-contiguous, got {(<object>y).shape}")
        for i in range(2 * self.count):
            self.counts[i] = 0
        for i in range(self.rows):
            r = self.sorted[i]
            for v in range(self.size):
                self.x[v] = (<double *>cnp.PyArray_DATA(y))[r * self.size + v] if wide else (
                    (<float *>cnp.PyArray_DATA(y))[r * self.size + v])
            if not self.normalise():
                return -1 - r
            may = <uint8_t *>cnp.PyArray_DATA(allowed) + (r * self.size if cnp.PyArray_DIM(allowed, 0) > 1 else 0)
            ends = <uint8_t *>cnp.PyArray_DATA(enders) + (r * self.size if cnp.PyArray_DIM(enders, 0) > 1 else 0)
            for v in range(self.size):
                if may[v] and self.x[v] != -HUGE_VAL:
                    self.offer(self.whose[r], ends[v], Candidate(self.totals[r] + self.x[v], self.x[v], r, v))
        for i in range(self.count):
            count += self.counts[self.count + i]
        return count

    cdef bint normalise(self) noexcept nogil:
        """Make logarithms of probabilities of `x`; False if one is no number below infinity."""
        cdef idx v
        cdef double most = -HUGE_VAL, total = 0
        cdef bint fine = True
        for v in range(self.size):
            if self.probabilities:
                fine &= self.x[v] >= 0
                self.x[v] = log(self.x[v])
            fine &= self.x[v] < HUGE_VAL
            most = max(most, self.x[v])
        if not fine or not self.normal or most == -HUGE_VAL:
            return fine
        for v in range(self.size):
            total += exp(self.x[v] - most)
        total = most + log(total)
        for v in range(self.size):
            self.x[v] -= total
        return True

    cdef inline void offer(self, idx beam, bint ends, Candidate own) noexcept:
        """Put a sequence among the best of its beam, the best first."""
        cdef Candidate *to = self.best(beam, ends)
        cdef idx i = self.counts[ends * self.count + beam]
        if i == self.width:
            i -= 1
            if own.total <= to[i].total:
                return
        else:
            self.counts[ends * self.count + beam] += 1
        while i > 0 and own.total > to[i - 1].total:
            to[i] = to[i - 1]
            i -= 1
        to[i] = own

    def ended(self):
        """Return (beam, row, id, sum, logarithm of the id's probability) of the sequences that end, the best first."""
        cdef idx b, i
        cdef Candidate c
        cdef list found = []
        for b in range(self.count):
            for i in range(self.counts[self.count + b]):
                c = self.best(b, True)[i]
                found.append((b, c.row, c.id, c.total, c.log_p))
        return found

    def place(self, double divisor, bint may_end):
        """Go on with the best sequences: `ids`, `parents` and the like are those of the next step.

        Parameters
        ----------
        divisor : float
            What makes the best score of a beam, that its sequences can reach, of their highest sum.
        may_end : bool
            Whether beams end that cannot exceed `worst`.

        Returns
        -------
        int
            R; -1 - the number of a beam that has no sequence left, and never had one that ended.
        """
        cdef idx b, c, k, i, n = 0, spared = 0, met = 0
        cdef Candidate *own
        for b in range(self.count):
            if self.going[b] and not self.counts[b] and not self.known[b]:
                return -1 - b
            if may_end and self.counts[b] and self.limits[b] >= self.best(b, False).total / divisor:
                self.counts[b] = 0
            self.going[b] = self.counts[b] > 0
            n += self.counts[b]
        self.moved = n != self.rows
        for k in range(n):
            self.taken[k] = k if self.moved else -1
        c = 0
        for b in range(self.count):  # taken: which candidate of all goes to a row
            for i in range(0 if self.moved else self.counts[b]):
                k = self.best(b, False)[i].row
                if self.taken[k] < 0:
                    self.taken[k] = c
                else:
                    self.spare[spared] = c
                    spared += 1
                c += 1
        if self.moved:
            self.rows = n
            self.renew()
        if self.step == self.room:
            self.make_room()
        for k in range(n):
            if self.taken[k] < 0:
                self.taken[k] = self.spare[met]
                met += 1
            self.sorted[self.taken[k]] = k
        c = 0
        for b in range(self.count):
            for i in range(self.counts[b]):
                own, k = self.best(b, False) + i, self.sorted[c]
                self.whose[k], self.totals[k], self.chosen[k], self.origin[k] = b, own.total, own.id, own.row
                self.at(self.step)[k] = Taken(own.log_p, <int32_t>own.id, <int32_t>own.row)
                self.moved |= own.row != k
                c += 1
        self.step += 1
        return n

    cdef int make_room(self) except -1:
        """Take twice the memory for steps."""
        self.room = max(64, 2 * self.room)
        past = np.empty(self.room * self.count * self.width * sizeof(Taken), np.uint8)
        past[:len(self.past)] = self.past
        self.past = past
        return 0

    def sequence(self, idx row, most=None):
        """Return the ids of a row, the last `most` or all, and the logarithms of their probabilities."""
        cdef idx t, count = self.step if most is None else min(self.step, <idx>most)
        cdef Taken own
        ids, log_p = np.empty(count, np.int64), np.empty(count)
        cdef int64_t *to = <int64_t *>data(ids)
        cdef double *logs = <double *>data(log_p)
        for t in range(1, count + 1):
            own = self.at(self.step - t)[row]
            to[count - t], logs[count - t], row = own.id, own.log_p, own.parent
        return ids, log_p
