"""Generation: a model's output is fed back as its input, step by step. `Model.generate` is the way in.

::

    prompt --feed--> source of scores --y--> chain of choices --ids or values--> feed --> source ...
                     stream or window        Forbid, Force, functions,
                                             then Greedy, Sample, Beam or Values

`docs/generation.md` defines every choice.
"""

from __future__ import annotations

from .choices import Beam, Choice, Draws, Forbid, Force, Greedy, Sample, Values
from .vocabulary import Vocabulary

__all__ = ["Beam", "Choice", "Draws", "Forbid", "Force", "Greedy", "Sample", "Values", "Vocabulary"]
