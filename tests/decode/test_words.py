"""CTC beams with words: lists, scorers and n-grams, against what all labellings score."""

from __future__ import annotations

import gzip
import math

import numpy as np
import pytest
from decoded import ctc, in_chunks, log_probs, same, some, word_scores
from hypothesis import given
from hypothesis import strategies as st

from fastgru import FileFormatError
from fastgru.decode import CtcBeam, NGram, WordList, ctc_beam

SYMBOLS = ["", "a", "b", " "]
SEEDS = st.integers(0, 2**32 - 1)
ALL = 4096


def scorer(words: tuple[str, ...], word: str) -> float:
    """A number that follows from the words alone."""
    return -float(sum(map(ord, word)) * 7 % 11 + len(words)) / 3 - ("b" in words)


def scored(words: tuple[str, ...], word: str) -> float:
    return 0.7 * scorer(words, word) + 0.4


LISTS = st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=4)


@some
@given(SEEDS, st.integers(0, 5), LISTS, st.sampled_from([None, -0.5, -4.0]), st.booleans())
def test_words_add_what_they_should(seed, T, words, unknown, asked):
    x = log_probs(seed, T, 4)
    options = {"scorer": scorer, "alpha": 0.7, "beta": 0.4} if asked else {}
    found = ctc_beam(x, ALL, n_best=ALL, symbols=SYMBOLS, words=words, unknown=unknown, **options)
    expected = {}
    for labels, (log_prob, _, _) in ctc(x).items():
        added = word_scores(
            labels, SYMBOLS, 3, words=words, unknown=-math.inf if unknown is None else unknown,
            score=scored if asked else None,
        )  # fmt: skip
        if added > -math.inf:
            expected[labels] = (log_prob, log_prob + added)
    assert {tuple(h.labels.tolist()) for h in found} == expected.keys()
    for h in found:
        np.testing.assert_allclose((h.log_prob, h.score), expected[tuple(h.labels.tolist())], rtol=1e-12, atol=1e-12)
        assert h.text == "".join(SYMBOLS[c] for c in h.labels)
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)


@some
@given(SEEDS, st.integers(0, 40), st.integers(1, 12), st.lists(st.integers(0, 99), max_size=3), st.booleans())
def test_chunks_give_the_bits_of_the_whole(seed, T, width, cuts, listed):
    x = log_probs(seed, T, 4, sharp=2.0)
    words = {"words": ["a", "ab", "bba"], "unknown": -2.0} if listed else {}
    options = {"symbols": SYMBOLS, "scorer": scorer, "n_best": width, **words}
    early, found = in_chunks(CtcBeam(width, **options), x, cuts)
    assert same(found, ctc_beam(x, width, **options))
    assert all(h.labels.tolist()[: len(early)] == early for h in found)


def test_without_a_space_the_whole_is_one_word():
    symbols, x = ["", "k", "ae", "t"], log_probs(0, 6, 4)
    found = ctc_beam(x, ALL, n_best=ALL, symbols=symbols, words=["kaet", "ka", "t"])
    assert {h.text for h in found} == {"kaet", "t", ""}  # no symbol ends behind the a of "ka"


def test_symbols_of_several_characters_share_words():
    symbols = ["", "th", "e", "t", "he", "|"]
    found = ctc_beam(log_probs(0, 4, 6), ALL, n_best=ALL, symbols=symbols, words=["the"])
    assert {tuple(h.labels.tolist()) for h in found if "|" not in h.text} == {(), (1, 2), (3, 4)}


def test_the_space_is_found_or_told():
    x, words = log_probs(2, 5, 4), WordList(["a"])
    told = ctc_beam(x, symbols=["", "a", "b", "_"], words=words, space=3)
    found = ctc_beam(x, symbols=["", "a", "b", "|"], words=words)
    assert told[0].labels.tolist() == found[0].labels.tolist()
    assert told[0].score == found[0].score


def test_each_word_is_asked_once_and_in_its_place():
    asked = []

    def once(words, word):
        asked.append((words, word))
        return -1.0

    x = log_probs(5, 30, 4, sharp=4.0)
    ctc_beam(x, symbols=SYMBOLS, scorer=once)
    assert len(set(asked)) == len(asked)
    assert all("" not in (*words, word) for words, word in asked)
    once.order = 2
    asked.clear()
    ctc_beam(x, symbols=SYMBOLS, scorer=once)
    assert {len(words) for words, _ in asked} == {0, 1}


def test_an_order_of_n_gives_what_all_words_give():
    def last(words, word):
        return -float(len(word)) - 2.0 * (words[-1:] == (word,))

    x = log_probs(7, 40, 4, sharp=3.0)
    free = ctc_beam(x, n_best=16, symbols=SYMBOLS, scorer=last)
    last.order = 2
    assert same(ctc_beam(x, n_best=16, symbols=SYMBOLS, scorer=last), free)


def test_the_end_of_the_text_is_scored():
    class Ends:
        def __call__(self, words, word):
            return -1.0

        def end(self, words):
            return 0.0 if words[-1:] == ("a",) else -50.0

    found = ctc_beam(np.log(np.full((3, 4), 0.25)), n_best=16, symbols=SYMBOLS, scorer=Ends(), alpha=1.0, beta=0.0)
    assert found[0].text.split()[-1] == "a"
    assert all(h.text.rstrip().split(" ")[-1] == "a" for h in found if h.score > -40)


ARPA = """
\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.5
-0.8\t</s>
-0.6\ta\t-0.3
-0.9\tb\t-0.2

\\2-grams:
-0.1\t<s> a
-0.4\ta b
-0.2\tb </s>

\\end\\
"""


@pytest.fixture
def arpa(tmp_path):
    path = tmp_path / "lm.arpa"
    path.write_text(ARPA)
    return path


def test_ngrams_back_off(arpa):
    lm, ten = NGram(arpa), math.log(10)
    assert lm.order == 2
    cases = {
        ((), "a"): -0.1,  # <s> a
        ((), "b"): -0.5 - 0.9,
        (("a",), "b"): -0.4,
        (("a",), "a"): -0.3 - 0.6,
        (("a", "b"), "a"): -0.2 - 0.6,
        (("b",), "zebra"): -0.2 - 1.0,  # <unk>
        (("zebra",), "a"): -0.6,
    }
    for (words, word), log10 in cases.items():
        assert math.isclose(lm(words, word), log10 * ten), (words, word)
    assert math.isclose(lm.end(("b",)), -0.2 * ten)
    assert math.isclose(lm.end(("a",)), (-0.3 - 0.8) * ten)


def test_ngrams_decode(arpa, tmp_path):
    x = log_probs(3, 5, 4)
    lm = NGram(arpa)
    (best,) = ctc_beam(x, ALL, symbols=SYMBOLS, scorer=lm, alpha=2.0, beta=0.0)
    scores = {}
    for labels, (log_prob, _, _) in ctc(x).items():
        words = tuple("".join(SYMBOLS[c] for c in labels).split())
        scores[labels] = log_prob + word_scores(labels, SYMBOLS, 3, score=lambda a, b: 2 * lm(a, b)) + 2 * lm.end(words)
    assert tuple(best.labels.tolist()) == max(scores, key=scores.get)
    assert math.isclose(best.score, max(scores.values()))
    packed = tmp_path / "lm.arpa.gz"
    packed.write_bytes(gzip.compress(ARPA.encode()))
    assert same(ctc_beam(x, ALL, symbols=SYMBOLS, scorer=NGram(packed), alpha=2.0, beta=0.0), [best])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("\\data\\", "data"), r"lm.arpa must be an ARPA file, got none: no line is \\data\\"),
        (("-0.4\ta b\n", ""), r"lm.arpa, line 17: 1 more 2-grams must follow, got '\\\\end"),
        (("\\end\\", ""), r"lm.arpa, line .*: must be \\end\\, got 'the end of the file'"),
        (("-0.6\ta", "x\ta"), "lm.arpa, line 10: 1-gram must have numbers: could not convert"),
        (("ngram 2", "ngram 3"), "n-grams must be counted from 1 on, got 'ngram 3=3'"),
        (("\\2-grams:", "\\4-grams:"), r"line 13: must be \\2-grams:, got"),
    ],
)
def test_broken_arpa_files_name_the_line(arpa, change, message):
    arpa.write_text(ARPA.replace(*change))
    with pytest.raises(FileFormatError, match=message):
        NGram(arpa)
    arpa.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileFormatError, match="must be an ARPA file in UTF-8"):
        NGram(arpa)
