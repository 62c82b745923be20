"""The float64 reference: a NumPy forward pass over a Graph, the oracle of every test.

These lines are the normative definition of every op. Nothing here is fast.

Formulas see every value as (B, T, *frame), floats as float64, ids as int64, masks as bool; a value without time has
T = 1, one that depends on no input B = 1.
"""

from .cells import State, Step, f64, initial_state, run_recurrent
from .evaluation import FORMULAS, check_memory, on_frames, run

__all__ = ["FORMULAS", "State", "Step", "check_memory", "f64", "initial_state", "on_frames", "run", "run_recurrent"]
