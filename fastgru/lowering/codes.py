"""Codes that instructions hold, which C knows too: `structs` writes them for a build."""

from __future__ import annotations

ABSENT = -2  # the buffer of an operand that is not given
UNBOUNDED = 2**31  # above every id

# What an elementwise program computes; below lie the codes of activations.
FUNCTIONS = {
    name: 32 + i
    for i, name in enumerate(
        ("add", "sub", "mul", "div", "pow", "min", "max", "mod", "fmod", "equal", "less", "less_equal", "greater",
         "greater_equal", "and", "or", "xor", "where", "neg", "abs", "sqrt", "exp", "log", "reciprocal", "floor",
         "ceil", "round", "trunc", "sign", "sin", "cos", "erf", "not", "isnan", "atan", "atan2")
    )
}  # fmt: skip
FOLDS = {name: i for i, name in enumerate(("sum", "max", "min", "prod", "sum_square", "sum_abs"))}
PHASES = {
    name: i
    for i, name in enumerate(
        ("rnn", "gru_after", "gru_after_out", "gru_gates", "gru_gates_out", "gru_candidate", "lstm", "lstm_coupled",
         "project")
    )
}  # fmt: skip
# What a traced layer shows: gate g of phase p is PHASE_GATES p + g; behind them its states, and 1 - gate 0.
PHASE_GATES = 4
SHOWN = {name: 2 * PHASE_GATES + i for i, name in enumerate(("cell", "hidden", "forget"))}
