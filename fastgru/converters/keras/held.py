"""States that a model takes and gives back: a layer over time holds them, so they are neither inputs nor outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from .cells import RECURRENT
from .program import Program, Source, Step
from .values import Held


def hold_states(work: Program) -> tuple[Program, Held]:
    """The program without the states that its layers can hold, and what these are.

    A layer holds what it starts from if that is an input which nothing else reads, and its last states are outputs.
    """
    uses = Counter(source for step in work.steps for source in sources([step.operands, step.options]))
    steps = list(work.steps)
    pairs: dict[str, Source] = {}
    notes = []
    for number, step in enumerate(work.steps):
        states = _states(step)
        ends = [Source(number, 1 + i) for i in range(len(states))]
        free = all(s.step in work.inputs and uses[s] == 1 and s not in work.outputs for s in states)
        if states and free and all(end in work.outputs for end in ends):
            options = {key: value for key, value in step.options.items() if key != "initial_state"}
            steps[number] = step._replace(operands=step.operands[:1], options=options)
            own = [work.steps[s.step].layer.name for s in states]
            pairs.update(zip(own, ends, strict=True))
            notes.append(f"states {', '.join(own)} are held by layer {step.layer.name}, and given and returned no more")
    kept = tuple(i for i, source in enumerate(work.outputs) if source not in pairs.values())
    if not pairs or not kept:
        return work, Held()
    inputs = [i for i in work.inputs if work.steps[i].layer.name not in pairs]
    following = {name: str(work.outputs.index(end)) for name, end in pairs.items()}
    return Program(inputs, steps, [work.outputs[i] for i in kept]), Held(following, kept, tuple(notes))


def _states(step: Step) -> list[Source]:
    """The sources of what a recurrent layer starts from; none of any other, or where one is no source."""
    if step.layer.class_name not in RECURRENT or not step.operands or not isinstance(step.operands[0], Source):
        return []
    given = step.options.get("initial_state")
    more = given if isinstance(given, list) else [] if given is None else [given]
    states = [*step.operands[1:], *more]
    return states if all(isinstance(s, Source) for s in states) else []


def sources(tree: Any) -> Iterator[Source]:
    """All sources in nested lists and dicts."""
    if isinstance(tree, Source):
        yield tree
    elif isinstance(tree, list | tuple):
        for item in tree:
            yield from sources(item)
    elif isinstance(tree, dict):
        yield from sources(list(tree.values()))
