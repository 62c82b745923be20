"""tract, float32, from the same ONNX model."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ..cases import Problem
from ..network import Call, Network
from ..onnx_model import OnnxModel, build, shipped
from . import Base, Run


class Tract(Base):
    """The optimised model; a state that is carried stays a tract tensor."""

    name = module = "tract"
    needs = ("onnx",)
    reads = "onnx"

    def version(self) -> str:
        import tract

        return str(tract.version())

    def supports(self, problem: Problem) -> bool:
        """Not networks by their layers: some of them end the whole process by a panic of tract's."""
        return not problem.case.network and super().supports(problem)

    def generated(self, problem: Problem) -> Run:
        model = build(problem)
        return Run(self.loaded(model), model.read)

    def network(self, network: Network) -> Call:
        return self.loaded(shipped(network), fresh=True)

    def loaded(self, model: OnnxModel, *, fresh: bool = False) -> Call:
        """A call that returns the first output; `fresh` where a scan must not go on from the last call's state."""
        import tract

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "case.onnx"
            path.write_bytes(model.data)
            network = tract.onnx().load(path).into_model()
        inputs = [network.input_name(i) for i in range(network.input_count())]
        outputs = list(model.outputs)
        runnable = network.into_runnable()
        run = runnable.run if fresh else runnable.spawn_state().run
        feeds: list[Any] = [model.inputs[name] for name in inputs]
        places = [(outputs.index(o), inputs.index(i)) for o, i in model.carried.items()]

        def call() -> Any:
            results = run(feeds)
            for source, target in places:
                feeds[target] = results[source]
            return results[0].to_numpy()

        return call


ENGINES = [Tract()]
