"""Keras's own forward pass on batch-first arrays, for checking an import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..damage import asking
from .values import Array, HeldStates


class Oracle:
    """A model's own forward pass at inference, on the CPU and from zero states.

    Takes what the imported graph takes, an array or several by name, and returns a tuple of its outputs. Rows are
    passed on in the model's own number where it has one. A number of steps other than the model's goes through
    `call`, which does not check it.
    """

    apart = True  # inputs may have numbers of steps of their own

    def __init__(self, keras: Any, model: Any, held: HeldStates) -> None:
        self.keras, self.model, self.held = keras, model, held

    def __call__(self, x: Any) -> tuple[Array, ...]:
        arrays = self._arrays(x)
        rows = len(arrays[0])
        batch = next((t.shape[0] for t in self.model.inputs if t.shape[0] is not None), rows)
        parts = []
        for start in range(0, rows, batch):
            chosen = [np.arange(start, start + batch).clip(max=rows - 1)] * len(arrays)
            parts.append(self._run([a[i] for a, i in zip(arrays, chosen, strict=True)]))
        return tuple(np.concatenate(ys)[:rows] for ys in zip(*parts, strict=True))

    def _arrays(self, x: Any) -> list[Array]:
        """The inputs in the order of the model's."""
        names = [t._keras_history.operation.name for t in self.model.inputs]
        own = [name for name in names if name not in self.held.inputs]
        if isinstance(x, Mapping):
            found = {name: np.asarray(x[name]) for name in own}
        else:
            found = dict(zip(own, map(np.asarray, x if isinstance(x, tuple | list) else [x]), strict=True))
        rows = len(next(iter(found.values())))
        return [
            found[n] if n in found else np.zeros((rows, *t.shape[1:]), np.float32)
            for n, t in zip(names, self.model.inputs, strict=True)
        ]

    def _run(self, arrays: list[Array]) -> tuple[Array, ...]:
        structure = getattr(self.model, "_inputs_struct", None)
        single = structure is None or not isinstance(structure, list | tuple | dict)
        given = arrays[0] if single else self.keras.tree.pack_sequence_as(structure, arrays)
        self._reset()
        with asking("Keras"), self.keras.device("cpu:0"):
            outputs = self.forward(given, arrays)
        self._reset()
        return tuple(np.asarray(self.keras.ops.convert_to_numpy(y)) for y in outputs)

    def forward(self, given: Any, arrays: list[Array]) -> list[Any]:
        """The outputs for arrays, which are `given` as the model takes them."""
        fits = all(
            all(m is None or m == n for m, n in zip(t.shape[1:], a.shape[1:], strict=True))
            for t, a in zip(self.model.inputs, arrays, strict=True)
        )
        if fits:
            outputs = self.model.predict(given, batch_size=len(arrays[0]), verbose=0)
        else:
            tensors = self.keras.tree.map_structure(self.keras.ops.convert_to_tensor, given)
            outputs = self.model.call(tensors, training=False)
        flat: list[Any] = self.keras.tree.flatten(outputs)
        return flat if self.held.outputs is None else [flat[i] for i in self.held.outputs]

    def _reset(self) -> None:
        for layer in self.model._flatten_layers():
            if getattr(layer, "stateful", False) and hasattr(layer, "reset_state"):
                layer.reset_state()
