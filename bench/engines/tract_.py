"""tract, float32, from the same ONNX model."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ..cases import Case, Problem
from ..onnx_model import build
from . import Base, Run


class Tract(Base):
    """The optimised model; a state that is carried stays a tract tensor."""

    name = module = "tract"

    def available(self) -> str | None:
        try:
            import onnx  # noqa: F401
        except ImportError as error:
            return f"not installed: {error}"
        return super().available()

    def version(self) -> str:
        import tract

        return str(tract.version())

    def supports(self, case: Case) -> bool:
        return case.threads == 1 and (not case.model or case.model == "dtln-1")

    def prepare(self, problem: Problem) -> Run:
        import tract

        model = build(problem)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "case.onnx"
            path.write_bytes(model.data)
            network = tract.onnx().load(path).into_model()
        inputs = [network.input_name(i) for i in range(network.input_count())]
        outputs = list(model.outputs)
        state = network.into_runnable().spawn_state()
        feeds: list[Any] = [model.inputs[name] for name in inputs]
        places = [(outputs.index(o), inputs.index(i)) for o, i in model.carried.items()]

        def call() -> Any:
            results = state.run(feeds)
            for source, target in places:
                feeds[target] = results[source]
            return results[0].to_numpy()

        return Run(call, model.read)


ENGINES = [Tract()]
