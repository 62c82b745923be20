"""The searches of include/fastgru/decode, as far as the module calls them."""

from libc.stdint cimport int32_t, int64_t, uint8_t

ctypedef Py_ssize_t idx

cdef extern from "fastgru/decode/scores.h" nogil:
    idx fg_choice_f32(const float *x, idx n, double *sum)
    idx fg_choice_f64(const double *x, idx n, double *sum)
    bint fg_finite_f32(const float *x, idx n)
    bint fg_finite_f64(const double *x, idx n)
    idx fg_first_above(const double *x, idx n, double most)
    void fg_log_softmax(double *x, idx rows, idx n)

cdef extern from "fastgru/decode/crf.h" nogil:
    ctypedef struct fg_crf:
        idx K
        const double *transitions
        const double *start
        const double *end
    void fg_viterbi_frame(const fg_crf *c, const double *emission, const double *score, double *next, int32_t *before)
    idx fg_viterbi_end(const fg_crf *c, double *score)
    void fg_viterbi_path(const int32_t *before, idx T, idx K, idx tag, int64_t *tags)
    idx fg_viterbi_settled(const int32_t *before, idx T, idx K, int32_t *paths, idx *tag)
    double fg_crf_marginals(const fg_crf *c, const double *emissions, idx T, double *p, double *scratch)

cdef extern from "fastgru/decode/tree.h" nogil:
    ctypedef struct fg_prefix:
        int32_t parent, label, length, context, after
        double bonus
    ctypedef struct fg_moment:
        int64_t frame
        int32_t parent
    ctypedef struct fg_tree:
        int32_t prefixes, moments, room, settled
        int64_t frame
        fg_prefix *prefix
        fg_moment *moment
        int32_t *to
    ctypedef struct fg_holders:
        pass
    bint fg_tree_full(const fg_tree *t, int32_t more)
    int32_t fg_tree_shared(const fg_tree *t, fg_holders h)
    void fg_tree_collect(fg_tree *t, fg_holders h)

cdef extern from "fastgru/decode/beam.h" nogil:
    ctypedef struct fg_candidate:
        pass

cdef extern from "fastgru/decode/ctc.h" nogil:
    ctypedef struct fg_lexicon:
        const int32_t *child
        const int32_t *sibling
        const int32_t *unit
        const uint8_t *ends
        const int32_t *begin
        const int32_t *units
    ctypedef struct fg_hypothesis:
        double best_blank, best_label, total, rank
        int32_t prefix, moment_blank, moment_label
    ctypedef struct fg_ctc:
        int32_t V, blank, space, width, listed, scored, count
        int64_t frame
        double unknown
        fg_lexicon lexicon
        fg_tree tree
        fg_hypothesis *beam
        fg_hypothesis *next
        fg_hypothesis *made
        fg_candidate *heap
        int32_t *order
        int32_t *taken
        int32_t *heir
        int32_t *other
    idx fg_ctc_greedy(const double *x, idx T, idx V, int32_t blank, int64_t first, int32_t *last, double *score,
                      int64_t *labels, int64_t *frames)
    void fg_ctc_begin(fg_ctc *s)
    idx fg_ctc_frames(fg_ctc *s, const double *x, idx T)
    fg_holders fg_ctc_holders(const fg_ctc *s)
    int32_t fg_ctc_asks(const fg_ctc *s)
    void fg_ctc_told(fg_ctc *s, int32_t i, double score, int32_t after)
    void fg_ctc_end(fg_ctc *s)

cdef extern from "fastgru/decode/transducer.h" nogil:
    ctypedef struct fg_path:
        double total
        int32_t prefix, moment
    ctypedef struct fg_transducer:
        int32_t V, blank, width, most, count, actives
        fg_tree tree
        fg_path *beam
        fg_path *active
        fg_path *made
        fg_path *ended
        fg_candidate *heap
    void fg_transducer_begin(fg_transducer *s)
    void fg_transducer_frame(fg_transducer *s)
    int32_t fg_transducer_level(fg_transducer *s, const double *x)
    void fg_transducer_end(fg_transducer *s)
    void fg_transducer_drop(fg_transducer *s)
    fg_holders fg_transducer_holders(const fg_transducer *s)
