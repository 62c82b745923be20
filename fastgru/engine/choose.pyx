"""Choices of ids out of scores: the best, or a draw by counter-based random numbers.

A row's choice follows from its own scores, key and place alone, so it is the same in any batch. What a score means, and
which ids are kept, is defined in docs/generation.md; tests hold this against a plain form of it in NumPy.
"""

cimport cython
cimport numpy as cnp
from libc.float cimport DBL_MAX
from libc.math cimport exp, HUGE_VAL, log
from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t

import numpy as np

cnp.import_array()

cdef enum:
    ROUNDS = 10              # of Philox 4x32: as its authors advise
    NOTHING = -1             # in place of an id: none is allowed
    NO_NUMBER = -2           # a score is NaN or plus infinity

ctypedef Py_ssize_t idx


@cython.final
cdef class Chooser:
    """Chooses an id for each row out of its scores.

    Parameters
    ----------
    size : int
        V, the number of ids.
    probabilities : bool
        Whether scores are probabilities; else softmax makes some of them.
    greedy : bool
        The best id in place of a draw.
    temperature, top_k, top_p, min_p, penalty
        As `fastgru.generation.Sample` has them; top_k 0, top_p 1, min_p 0 and penalty 1 leave all as it is.

    Attributes
    ----------
    ids : (R,) int64 array
        The ids chosen last.
    log_p : (R,) float64 array
        The logarithms of the probabilities that the scores alone give them, where they are asked for.
    """

    cdef readonly object ids, log_p, seen
    cdef idx size
    cdef bint probabilities, greedy
    cdef double temperature, top_p, min_p, penalty
    cdef idx top_k
    cdef const float[:, ::1] floats
    cdef const double[:, ::1] doubles
    cdef bint wide, scored
    cdef int64_t[::1] chosen
    cdef double[::1] logs
    cdef uint8_t[:, ::1] met
    cdef const uint64_t[::1] keys
    cdef const uint32_t[:, ::1] places
    cdef const uint8_t[::1] allowed, enders
    cdef bint limited, ends
    cdef double[::1] x, w
    cdef int64_t[::1] heap

    def __init__(self, idx size, *, bint probabilities=False, bint greedy=True, double temperature=1, idx top_k=0,
                 double top_p=1, double min_p=0, double penalty=1):
        self.size, self.probabilities, self.greedy = size, probabilities, greedy
        self.temperature, self.top_k, self.top_p, self.min_p, self.penalty = temperature, top_k, top_p, min_p, penalty
        self.x, self.w, self.heap = np.empty(size), np.empty(size), np.empty(size, np.int64)

    def bind(self, y, keys, places, *, seen=None, bint scored=False):
        """Say where the scores (R, V) of the next calls lie, and whose rows they are.

        Parameters
        ----------
        keys, places : (R,) uint64, (R, 2) uint32 arrays
            Of the random numbers of each row.
        seen : (R, V) uint8 array, optional
            The ids that a row has already, for the penalty; those chosen are added.
        scored : bool
            Whether to fill `log_p`.
        """
        if y.ndim != 2 or y.shape[1] != self.size or len(keys) != len(y) or len(places) != len(y):
            raise ValueError(f"scores must have shape (R, {self.size}), got {y.shape}")
        self.see(y)
        self.ids = np.zeros(len(y), np.int64)
        self.log_p = np.zeros(len(y))
        self.chosen, self.logs, self.scored = self.ids, self.log_p, scored
        self.keys, self.places = keys, places
        self.seen = seen
        if self.penalty != 1:
            self.met = seen

    def see(self, y):
        """Say where the scores of the next calls lie, of the same rows."""
        self.wide = y.dtype == np.float64
        if self.wide:
            self.doubles = y
        else:
            self.floats = y

    def limit(self, allowed, enders):
        """Say which ids may be chosen, and which ones may end a row, (V,) uint8 arrays; None: all, and none."""
        self.limited, self.ends = allowed is not None, enders is not None
        if self.limited:
            self.allowed = allowed
        if self.ends:
            self.enders = enders

    def run(self, idx step):
        """Choose an id for every row.

        Returns
        -------
        int
            How many of them may end their row; where a row has no choice, -1 - its number, with its id NOTHING or
            NO_NUMBER.
        """
        cdef idx r, count = 0
        cdef int64_t chosen
        with nogil:
            for r in range(self.chosen.shape[0]):
                chosen = self.choose(r, step)
                self.chosen[r] = chosen
                if chosen < 0:
                    count = -1 - r
                    break
                if self.penalty != 1:
                    self.met[r, chosen] = 1
                if self.ends and self.enders[chosen]:
                    count += 1
        return count

    cdef int64_t choose(self, idx r, idx step) noexcept nogil:
        """The choice of a row."""
        cdef int64_t best
        cdef double total = 0
        if not self.load(r):
            return NO_NUMBER
        if self.scored:
            total = self.log_total()
        best = self.best(r)
        if best >= 0 and not self.greedy:
            best = self.draw(r, step, best)
        if best >= 0 and self.scored:
            self.logs[r] = self.score(r, best) - total
        return best

    cdef inline double score(self, idx r, idx v) noexcept nogil:
        """A score as it was given, as a logarithm."""
        cdef double s = self.doubles[r, v] if self.wide else self.floats[r, v]
        return log(s) if self.probabilities else s

    cdef bint load(self, idx r) noexcept nogil:
        """Put the scores of a row into `x`, as logarithms; False if one is no number below infinity."""
        cdef idx v
        cdef bint fine = True
        if self.wide:
            for v in range(self.size):
                self.x[v] = self.doubles[r, v]
        else:
            for v in range(self.size):
                self.x[v] = self.floats[r, v]
        if self.probabilities:
            for v in range(self.size):
                fine &= self.x[v] >= 0
                self.x[v] = log(self.x[v])
        for v in range(self.size):
            fine &= self.x[v] < HUGE_VAL
        return fine

    cdef double log_total(self) noexcept nogil:
        """The logarithm of the sum of exp(x): 0 of probabilities, but for their rounding."""
        cdef idx v
        cdef double most = -HUGE_VAL, total = 0
        for v in range(self.size):
            most = max(most, self.x[v])
        if most == -HUGE_VAL:
            return 0
        for v in range(self.size):
            total += exp(self.x[v] - most)
        return most + log(total)

    cdef int64_t best(self, idx r) noexcept nogil:
        """Apply the penalty and leave out what is not allowed; the best id, the first of equals."""
        cdef idx v
        cdef int64_t best = NOTHING
        cdef double s, most = -HUGE_VAL
        if self.penalty != 1:
            for v in range(self.size):
                if self.met[r, v] and self.x[v] > -HUGE_VAL:
                    s = self.x[v] * self.penalty if self.x[v] < 0 else self.x[v] / self.penalty
                    self.x[v] = min(max(s, -DBL_MAX), DBL_MAX)  # no scores become infinite
        if self.limited:
            for v in range(self.size):
                if not self.allowed[v]:
                    self.x[v] = -HUGE_VAL
        for v in range(self.size):
            if self.x[v] > most:
                best, most = v, self.x[v]
        return best

    cdef int64_t draw(self, idx r, idx step, int64_t best) noexcept nogil:
        """An id drawn by the weights of those that are kept."""
        cdef idx v, kept
        cdef double total = 0, reached = 0, most = self.x[best], aim = uniform(self.keys[r], step, &self.places[r, 0])
        cdef int64_t last = best
        for v in range(self.size):
            self.w[v] = exp((self.x[v] - most) / self.temperature)
            total += self.w[v]
        if self.top_k > 0 or self.top_p < 1:
            kept = self.keep(&total)
            for v in range(kept):
                last = self.heap[self.size - 1 - v]
                reached += self.w[last]
                if reached > aim * total:
                    break
            return last
        if self.min_p > 0:
            total = 0
            for v in range(self.size):
                self.w[v] = self.w[v] if self.w[v] >= self.min_p else 0
                total += self.w[v]
        for v in range(self.size):
            reached += self.w[v]
            if self.w[v] > 0:
                last = v
                if reached > aim * total:
                    break
        return last

    cdef idx keep(self, double *total) noexcept nogil:
        """Put the ids that are kept at the end of `heap`, the largest weight last: the `top_k` largest, of those the
        fewest that reach `top_p` of their weight, of those the ones from `min_p` of the largest on. Returns how many
        these are, and their weight in the place of that of all."""
        cdef idx i, kept = 0, most = self.top_k if 0 < self.top_k < self.size else self.size
        cdef double weight, reached = 0
        for i in range(self.size):
            self.heap[i] = i
        for i in range(self.size // 2 - 1, -1, -1):
            self.sink(i, self.size)
        if self.top_k > 0:
            total[0] = 0
            for i in range(most):
                total[0] += self.pop(self.size - i)
        while kept < most:
            weight = self.w[self.heap[self.size - 1 - kept]] if self.top_k > 0 else self.pop(self.size - kept)
            if weight <= 0 or weight < self.min_p or (self.top_p < 1 and reached >= self.top_p * total[0]):
                break
            reached += weight
            kept += 1
        total[0] = reached
        return kept

    cdef double pop(self, idx size) noexcept nogil:
        """Move the first of a heap behind its end; its weight."""
        self.heap[0], self.heap[size - 1] = self.heap[size - 1], self.heap[0]
        self.sink(0, size - 1)
        return self.w[self.heap[size - 1]]

    cdef void sink(self, idx i, idx size) noexcept nogil:
        """Restore the order of a heap below a place: the largest weight first, of equals the lower id."""
        cdef idx child
        while True:
            child = 2 * i + 1
            if child >= size:
                return
            if child + 1 < size and self.above(self.heap[child + 1], self.heap[child]):
                child += 1
            if not self.above(self.heap[child], self.heap[i]):
                return
            self.heap[i], self.heap[child] = self.heap[child], self.heap[i]
            i = child

    cdef inline bint above(self, int64_t a, int64_t b) noexcept nogil:
        return self.w[a] > self.w[b] or (self.w[a] == self.w[b] and a < b)


cdef uint64_t philox(uint64_t key, uint32_t *c) noexcept nogil:
    """Philox 4x32 of a counter, in place; returns its first two words as one number.

    J. K. Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (SC 2011).
    """
    cdef int _
    cdef uint32_t k0 = <uint32_t>key, k1 = <uint32_t>(key >> 32)
    cdef uint64_t a, b
    for _ in range(ROUNDS):
        a, b = <uint64_t>0xD2511F53 * c[0], <uint64_t>0xCD9E8D57 * c[2]
        c[0], c[1] = <uint32_t>(b >> 32) ^ c[1] ^ k0, <uint32_t>b
        c[2], c[3] = <uint32_t>(a >> 32) ^ c[3] ^ k1, <uint32_t>a
        k0 += <uint32_t>0x9E3779B9
        k1 += <uint32_t>0xBB67AE85
    return (<uint64_t>c[0] << 32) | c[1]


cdef double uniform(uint64_t key, idx step, const uint32_t *place, uint32_t which=0) noexcept nogil:
    """A number in [0, 1) of 53 bits, for a step of a row; `which` of that step."""
    cdef uint32_t[4] c
    c[0], c[1], c[2], c[3] = <uint32_t>step, place[0], place[1], which
    return (philox(key, c) >> 11) * (1.0 / (<uint64_t>1 << 53))


def uniforms(const uint64_t[::1] keys, const uint32_t[:, ::1] places, idx step, idx first, idx count):
    """Numbers in [0, 1) of a step of rows: those from `first` on, (R, count) float64.

    Examples
    --------
    >>> uniforms(np.zeros(1, np.uint64), np.zeros((1, 2), np.uint32), 0, 0, 1).round(6)
    array([[0.399046]])
    """
    cdef idx r, i
    result = np.empty((keys.shape[0], count))
    cdef double[:, ::1] to = result
    for r in range(keys.shape[0]):
        for i in range(count):
            to[r, i] = uniform(keys[r], step, &places[r, 0], <uint32_t>(first + i))
    return result
