"""From the outputs of a network to labels: CTC, conditional random fields and transducers.

Every decoder has two forms: a function of whole sequences or batches, and an object that takes chunks of frames as they
come (`push`) and gives the same result, to the bit, at the end (`finish`). All sums are made in double.
"""

from __future__ import annotations

from .crf import CrfViterbi, crf_marginals, crf_viterbi
from .ctc import CtcBeam, CtcGreedy, ctc_beam, ctc_greedy
from .networks import Stateless
from .ngram import NGram
from .probabilities import log_softmax
from .results import Hypothesis, Marginals, Path
from .transducer import TransducerBeam, TransducerGreedy, transducer_beam, transducer_greedy
from .words import WordList

__all__ = [
    "CrfViterbi", "CtcBeam", "CtcGreedy", "Hypothesis", "Marginals", "NGram", "Path", "Stateless", "TransducerBeam",
    "TransducerGreedy", "WordList", "crf_marginals", "crf_viterbi", "ctc_beam", "ctc_greedy", "log_softmax",
    "transducer_beam", "transducer_greedy",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)
