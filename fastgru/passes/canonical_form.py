"""The passes of `fastgru.passes.canonical`, in their order."""

from __future__ import annotations

from collections.abc import Callable

from ..graph import Graph
from .cells import recover_cells
from .constants import fold_constants
from .dead import drop_dead
from .ends import take_ends
from .identities import drop_identities
from .integers import multiply_integers
from .moves import cancel_moves
from .starts import follow_starts
from .states import split_states
from .streaming import make_streaming

CANONICAL: tuple[Callable[[Graph], Graph], ...] = (
    fold_constants,
    drop_dead,
    drop_identities,
    cancel_moves,
    follow_starts,
    split_states,
    make_streaming,
    recover_cells,
    take_ends,
    multiply_integers,
)
