# cython: binding=False, auto_pickle=False
"""Searches over outputs of networks: labels of CTC, of fields of tags (CRF), and of transducers.

The loops are C (include/fastgru/decode/). What a caller gives has been checked by `fastgru.decode`: arrays here are of
double, C-contiguous and without NaN.
"""

cimport cython
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy, memset

import numpy as np

cnp.import_array()

cdef enum:
    FIRST_ROOM = 1 << 10     # prefixes for which there is room at first
    MOST_ROOM = 1 << 30
    BLOCK = 1 << 10          # frames between looks at signals


cdef double *doubles(cnp.ndarray x) noexcept:
    return <double *>cnp.PyArray_DATA(x)


cdef cnp.ndarray integers(idx n):
    return np.empty(n, np.int64)


cdef int32_t *labels_at(cnp.ndarray x) noexcept:
    return <int32_t *>cnp.PyArray_DATA(x)


def first_above(cnp.ndarray x not None, double most):
    """Return the flat index of the first number that is NaN or above `most`; the size where there is none."""
    cdef const double *data = doubles(x)
    cdef idx n = cnp.PyArray_SIZE(x), found
    with nogil:
        found = fg_first_above(data, n, most)
    return found


def ctc_greedy(cnp.ndarray x not None, int32_t blank, int64_t first, int32_t last, double score):
    """Return the labels and frames of (T, V) log-probabilities, and `last` and `score` for the next chunk."""
    cdef idx T = cnp.PyArray_DIM(x, 0), V = cnp.PyArray_DIM(x, 1), n
    cdef cnp.ndarray labels = integers(T), frames = integers(T)
    cdef int64_t *to_labels = <int64_t *>cnp.PyArray_DATA(labels)
    cdef int64_t *to_frames = <int64_t *>cnp.PyArray_DATA(frames)
    cdef const double *data = doubles(x)
    with nogil:
        n = fg_ctc_greedy(data, T, V, blank, first, &last, &score, to_labels, to_frames)
    return labels[:n].copy(), frames[:n].copy(), last, score


cdef fg_crf field(cnp.ndarray transitions, cnp.ndarray start, cnp.ndarray end) noexcept:
    return fg_crf(cnp.PyArray_DIM(transitions, 0), doubles(transitions), doubles(start), doubles(end))


def crf_marginals(cnp.ndarray x not None, cnp.ndarray transitions not None, cnp.ndarray start not None,
                  cnp.ndarray end not None, cnp.ndarray out not None):
    """Write the probability of each tag of (T, K) emissions, T > 0, to `out`; returns the log of the sum over paths."""
    cdef fg_crf c = field(transitions, start, end)
    cdef cnp.ndarray scratch = np.empty(3 * c.K)
    cdef const double *data = doubles(x)
    cdef double *p = doubles(out)
    cdef double *some = doubles(scratch)
    cdef idx T = cnp.PyArray_DIM(x, 0)
    cdef double found
    with nogil:
        found = fg_crf_marginals(&c, data, T, p, some)
    return found


def finite(cnp.ndarray x not None):
    """True if an array lies packed and holds finite float32 or float64 alone."""
    cdef int kind = cnp.PyArray_TYPE(x)
    if not cnp.PyArray_ISCARRAY_RO(x):
        return False
    if kind == cnp.NPY_FLOAT:
        return fg_finite_f32(<float *>cnp.PyArray_DATA(x), cnp.PyArray_SIZE(x))
    return kind == cnp.NPY_DOUBLE and fg_finite_f64(<double *>cnp.PyArray_DATA(x), cnp.PyArray_SIZE(x))


@cython.final
cdef class ViterbiSearch:
    """The best path through frames of tags that come in chunks."""

    cdef fg_crf c
    cdef cnp.ndarray transitions, start, end, scores, before, paths
    cdef idx n, T  # frames in `before`, and in all

    def __cinit__(self, cnp.ndarray transitions not None, cnp.ndarray start not None, cnp.ndarray end not None):
        self.transitions, self.start, self.end = transitions, start, end
        self.c = field(transitions, start, end)
        self.scores = np.empty(2 * self.c.K)
        self.paths = np.empty(self.c.K, np.int32)
        self.before = np.empty(0, np.int32)

    def push(self, cnp.ndarray x not None):
        """Take (T, K) emissions."""
        cdef idx T = cnp.PyArray_DIM(x, 0), K = self.c.K, t
        cdef const double *data = doubles(x)
        cdef double *score = doubles(self.scores)
        cdef double *other = score + K
        cdef int32_t *before
        cdef bint first = self.T == 0
        if (self.n + T) * K > cnp.PyArray_SIZE(self.before):
            grown = np.empty(max(2 * self.n, self.n + T) * K, np.int32)
            grown[:self.n * K] = self.before[:self.n * K]
            self.before = grown
        before = labels_at(self.before) + self.n * K
        with nogil:
            for t in range(T):
                fg_viterbi_frame(&self.c, data + t * K, NULL if first and t == 0 else score, other, before + t * K)
                memcpy(score, other, K * sizeof(double))
        self.n += T
        self.T += T

    def settled(self):
        """Return the tags that are certain, whatever comes, of frames from which they were not yet returned."""
        cdef idx tag = 0, K = self.c.K
        cdef int32_t *before = labels_at(self.before)
        cdef idx certain = fg_viterbi_settled(before, self.n, K, labels_at(self.paths), &tag)
        cdef cnp.ndarray tags = integers(certain)
        fg_viterbi_path(before, certain, K, tag, <int64_t *>cnp.PyArray_DATA(tags))
        if certain:  # the next frame still says from where it is reached: from the last of these
            self.before[:(self.n - certain) * K] = self.before[certain * K:self.n * K].copy()
            self.n -= certain
        return tags

    def finish(self):
        """Return the tags of the frames that were not yet returned, and the score of all; at least one frame."""
        cdef double *score = doubles(self.scores)
        cdef idx tag = fg_viterbi_end(&self.c, score)
        cdef cnp.ndarray tags = integers(self.n)
        fg_viterbi_path(labels_at(self.before), self.n, self.c.K, tag, <int64_t *>cnp.PyArray_DATA(tags))
        return tags, score[tag]


cdef class TreeSearch:
    """A search over a tree of labellings, with arrays of structs by name, which grow."""

    cdef dict arrays
    cdef fg_tree *tree

    def __cinit__(self, *_):
        self.arrays = {}

    cdef void *make(self, str name, idx count, size_t size) except NULL:
        """Memory for an array, with what the array of this name held; the old one is freed."""
        cdef cnp.ndarray old = self.arrays.get(name), new = np.empty(max(1, count) * size, np.uint8)
        if old is not None:
            new[:len(old)] = old
        self.arrays[name] = new
        return cnp.PyArray_DATA(new)

    cdef int grow(self, idx room) except -1:
        """Make room for so many prefixes and moments."""
        self.tree.prefix = <fg_prefix *>self.make("prefix", room, sizeof(fg_prefix))
        self.tree.moment = <fg_moment *>self.make("moment", room, sizeof(fg_moment))
        self.tree.to = <int32_t *>self.make("to", room, sizeof(int32_t))
        self.tree.room = <int32_t>room
        return 0

    cdef int reserve(self, int32_t more, fg_holders beam) except -1:
        """Have room for more: drop what no hypothesis needs, and take twice as much where over half is left."""
        cdef idx used
        if not fg_tree_full(self.tree, more):
            return 0
        fg_tree_collect(self.tree, beam)
        used = 2 * (<idx>max(self.tree.prefixes, self.tree.moments) + more)
        if used > MOST_ROOM:
            most = MOST_ROOM // 2
            raise MemoryError(f"hypotheses must differ in at most {most} labels, got more: decode shorter pieces")
        return self.grow(max(used, self.tree.room))

    @property
    def frames(self):
        """Frames so far."""
        return self.tree.frame

    cdef object settle(self, fg_holders beam):
        cdef int32_t at = fg_tree_shared(self.tree, beam)
        labels = self.labels(at, self.tree.settled)
        self.tree.settled = at
        return labels

    cdef object labels(self, int32_t at, int32_t until):
        """The labels from behind the prefix `until` to `at`."""
        cdef const fg_prefix *prefix = self.tree.prefix
        cdef idx n = prefix[at].length - prefix[until].length, i
        cdef cnp.ndarray labels = integers(n)
        cdef int64_t *to = <int64_t *>cnp.PyArray_DATA(labels)
        for i in range(n - 1, -1, -1):
            to[i] = prefix[at].label
            at = prefix[at].parent
        return labels

    cdef tuple found(self, int32_t at, int32_t moment, double score, double total):
        """A hypothesis: labels, frames, score and log-probability."""
        cdef cnp.ndarray labels = self.labels(at, 0), frames = integers(len(labels))
        cdef int64_t *to = <int64_t *>cnp.PyArray_DATA(frames)
        cdef idx i
        for i in range(len(labels) - 1, -1, -1):
            to[i] = self.tree.moment[moment].frame
            moment = self.tree.moment[moment].parent
        return labels, frames, score, total


@cython.final
cdef class CtcSearch(TreeSearch):
    """Prefix beam search over frames of log-probabilities that come in chunks.

    `words` are the arrays of `fg_lexicon`, or None. `ask(labels, context)` returns the score of a word after the words
    with that number, and the number of them with it; `end(context)` what the end adds after them. Both may be None.
    """

    cdef fg_ctc s
    cdef object ask, end
    cdef tuple words

    def __cinit__(self, int32_t V, int32_t blank, int32_t width, int32_t space, words, double unknown, ask, end):
        cdef fg_ctc *s = &self.s
        memset(s, 0, sizeof(fg_ctc))
        self.tree, self.ask, self.end, self.words = &s.tree, ask, end, words
        s.V, s.blank, s.width, s.space, s.unknown = V, blank, width, space, unknown
        s.listed, s.scored = words is not None, ask is not None
        if words is not None:
            s.lexicon = fg_lexicon(
                labels_at(words[0]), labels_at(words[1]), labels_at(words[2]), <uint8_t *>cnp.PyArray_DATA(words[3]),
                labels_at(words[4]), labels_at(words[5]))
        s.beam = <fg_hypothesis *>self.make("beam", width, sizeof(fg_hypothesis))
        s.next = <fg_hypothesis *>self.make("next", width, sizeof(fg_hypothesis))
        s.made = <fg_hypothesis *>self.make("made", width, sizeof(fg_hypothesis))
        s.heap = <fg_candidate *>self.make("heap", width, sizeof(fg_candidate))
        s.order = <int32_t *>self.make("order", V, sizeof(int32_t))
        s.taken = <int32_t *>self.make("taken", V, sizeof(int32_t))
        s.heir = <int32_t *>self.make("heir", width, sizeof(int32_t))
        s.other = <int32_t *>self.make("other", width, sizeof(int32_t))
        self.grow(max(FIRST_ROOM, 4 * <idx>width))
        fg_ctc_begin(s)

    def settled(self):
        """Return the labels that all hypotheses share, from where they were last returned."""
        return self.settle(fg_ctc_holders(&self.s))

    def push(self, cnp.ndarray x not None):
        """Take (T, V) log-probabilities."""
        cdef idx T = cnp.PyArray_DIM(x, 0), t = 0, some
        cdef const double *data = doubles(x)
        while t < T:
            self.ask_all()
            self.reserve(self.s.width, fg_ctc_holders(&self.s))
            some = min(T - t, BLOCK)
            with nogil:
                some = fg_ctc_frames(&self.s, data + t * self.s.V, some)
            t += some
            PyErr_CheckSignals()

    cdef int ask_all(self) except -1:
        """Have the scorer say what completing the last word of each hypothesis adds."""
        cdef int32_t i = fg_ctc_asks(&self.s), at, after
        cdef double score
        while i >= 0:
            at = self.s.beam[i].prefix
            labels, context = [], self.tree.prefix[at].context
            while self.tree.prefix[at].label >= 0 and self.tree.prefix[at].label != self.s.space:
                labels.append(self.tree.prefix[at].label)
                at = self.tree.prefix[at].parent
            score, after = self.ask(labels[::-1], context)
            fg_ctc_told(&self.s, i, score, after)
            i = fg_ctc_asks(&self.s)
        return 0

    def finish(self, int32_t n_best):
        """Return (labels, frames, score, log-probability) of the n best; nothing may be pushed behind it."""
        cdef const fg_hypothesis *h
        cdef int32_t i, moment
        cdef list found = []
        self.ask_all()
        if self.end is not None:  # all are asked before any is changed, as the function may raise
            added = [self.end(self.tree.prefix[self.s.beam[i].prefix].after) for i in range(self.s.count)]
            for i in range(self.s.count):
                self.tree.prefix[self.s.beam[i].prefix].bonus += <double>added[i]
        fg_ctc_end(&self.s)
        for i in range(min(n_best, self.s.count)):
            h = &self.s.beam[i]
            moment = h.moment_blank if h.best_blank > h.best_label else h.moment_label
            found.append(self.found(h.prefix, moment, h.rank, h.total))
        return found


@cython.final
cdef class GreedySearch:
    """The greedy choices of a transducer, frame by frame; one that an exception interrupts does not count.

    `join` is the step of a stream, or where `joins` is false a function (frame, output) that gives logits. The
    predictor's `one` is the step of a stream, or where `steps` is false a function (label, state) that gives its output
    and state. `refuse(logits)` raises where logits are none or have another number of classes than those before.
    """

    cdef object join, predictor, step, refuse, output, state
    cdef bint joins, steps, torn
    cdef idx blank, most, classes
    cdef readonly int64_t frames
    cdef readonly list labels, times
    cdef readonly double score

    def __cinit__(self, join, bint joins, predictor, bint steps, refuse, idx blank, idx most, output, state):
        self.join, self.joins, self.predictor, self.step, self.steps = join, joins, predictor, predictor.one, steps
        self.refuse, self.blank, self.most = refuse, blank, most
        self.output, self.state, self.labels, self.times = output, state, [], []

    def push(self, frames):
        """Take frames of the encoder."""
        if self.torn:  # the stream read labels of a frame that does not count
            self.predictor.begin(None)
            for label in self.labels:
                self.step(label)
            self.torn = False
        for frame in frames:
            self.take(frame)

    cdef int take(self, frame) except -1:
        """Take a frame: what it gives is kept at its end."""
        cdef cnp.ndarray logits
        cdef idx best, n
        cdef double sum, score = self.score
        cdef list given = []
        output, state = self.output, self.state
        while True:
            found = self.join((frame, output)) if self.joins else self.join(frame, output)
            if not cnp.PyArray_CheckExact(found) or cnp.PyArray_TYPE(found) != cnp.NPY_FLOAT:
                found = np.asarray(found, np.float64)
            logits = found if cnp.PyArray_ISCARRAY_RO(found) else found.copy()
            n = cnp.PyArray_SIZE(logits)
            if cnp.PyArray_TYPE(logits) == cnp.NPY_FLOAT:
                best = fg_choice_f32(<float *>cnp.PyArray_DATA(logits), n, &sum)
            else:
                best = fg_choice_f64(doubles(logits), n, &sum)
            if n != self.classes or not -float("inf") < sum < float("inf"):
                self.refuse(logits)
                self.classes = n
            if len(given) == self.most:
                best = self.blank
            if cnp.PyArray_TYPE(logits) == cnp.NPY_FLOAT:
                score += (<float *>cnp.PyArray_DATA(logits))[best] - sum
            else:
                score += doubles(logits)[best] - sum
            if best == self.blank:
                break
            given.append(best)
            if self.steps:
                self.torn = True
                output = self.step(best)
            else:
                output, state = self.step(best, state)
        self.labels += given
        self.times += [self.frames] * len(given)
        self.output, self.state, self.score, self.torn = output, state, score, False
        self.frames += 1
        return 0


@cython.final
cdef class TransducerSearch(TreeSearch):
    """The beam of a transducer, whose networks the caller evaluates; a frame that is not ended does not count.

    `reads` are what the predictor gave for the labellings in the beam, in their order.
    """

    cdef fg_transducer s
    cdef readonly list reads

    def __cinit__(self, int32_t V, int32_t blank, int32_t width, int32_t most, read):
        self.reads = [read]
        cdef fg_transducer *s = &self.s
        memset(s, 0, sizeof(fg_transducer))
        self.tree = &s.tree
        s.V, s.blank, s.width, s.most = V, blank, width, most
        s.beam = <fg_path *>self.make("beam", width, sizeof(fg_path))
        s.active = <fg_path *>self.make("active", width, sizeof(fg_path))
        s.made = <fg_path *>self.make("made", width, sizeof(fg_path))
        s.ended = <fg_path *>self.make("ended", width * (<idx>most + 1), sizeof(fg_path))
        s.heap = <fg_candidate *>self.make("heap", width, sizeof(fg_candidate))
        self.grow(max(FIRST_ROOM, 4 * <idx>width * most))
        fg_transducer_begin(s)

    def settled(self):
        """Return the labels that all hypotheses share, from where they were last returned."""
        return self.settle(fg_transducer_holders(&self.s))

    def begin_frame(self):
        """Begin a frame; the numbers of the labellings in the beam may then be others, their order is the same."""
        fg_transducer_drop(&self.s)
        self.reserve(self.s.width * self.s.most, fg_transducer_holders(&self.s))
        fg_transducer_frame(&self.s)

    def active(self):
        """Return (number, number without the last label, last label) of each active labelling."""
        cdef int32_t i, at
        cdef list found = []
        for i in range(self.s.actives):
            at = self.s.active[i].prefix
            found.append((at, self.tree.prefix[at].parent, self.tree.prefix[at].label))
        return found

    def level(self, cnp.ndarray logits not None):
        """Take (n, V) logits behind the n active labellings, which are overwritten; return how many are active now."""
        cdef double *x = doubles(logits)
        cdef int32_t found
        with nogil:
            fg_log_softmax(x, self.s.actives, self.s.V)
            found = fg_transducer_level(&self.s, x)
        return found

    def end_frame(self, dict reads not None):
        """End a frame, in which the predictor gave `reads` for labellings by their numbers."""
        cdef int32_t i
        fg_transducer_end(&self.s)
        self.reads = [reads[self.s.beam[i].prefix] for i in range(self.s.count)]

    def finish(self, int32_t n_best):
        """Return (labels, frames, score, log-probability) of the n best."""
        cdef const fg_path *h
        cdef int32_t i
        cdef list found = []
        for i in range(min(n_best, self.s.count)):
            h = &self.s.beam[i]
            found.append(self.found(h.prefix, h.moment, h.total, h.total))
        return found
