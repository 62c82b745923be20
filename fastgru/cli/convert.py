"""``fastgru convert``: import a trained network and write a verified .fgru file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..checks import comparison, selftest
from ..errors import ConvertError
from ..graph import PRECISIONS, TIERS
from . import _custom, _example, _like, _progress, _show
from ._options import model_target, number, one_of, pairs

TAKEN = "The trained model: .keras .h5 .pt .pth .ckpt .bin .npz .safetensors .jit .pt2 .onnx .json .nam"


def convert(
    source: Annotated[Path, typer.Argument(help=TAKEN)],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .fgru file to write.")],
    like: Annotated[list[str] | None, typer.Option(help=_like.HELP)] = None,
    dtype: Annotated[str, typer.Option(help="Type to compute in: float32 or float64.")] = "float32",
    precision: Annotated[
        str, typer.Option(help="Type to store the weights in: float32, float16, bfloat16, int8, int8_affine.")
    ] = "float32",
    activations: Annotated[
        str | None, typer.Option(help="Gates: exact (error below 1.2e-7) or fast (below 2e-6).")
    ] = None,
    fix: Annotated[
        list[str] | None, typer.Option(help="ONNX, TorchScript: give an input a constant, e.g. sr=16000.")
    ] = None,
    shape: Annotated[list[str] | None, typer.Option(help="ONNX: give open sizes, e.g. x=1,576.")] = None,
    axes: Annotated[
        list[str] | None, typer.Option(help="ONNX, TorchScript: name the axes of an input, e.g. x=B,T,-.")
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(help="ONNX, TorchScript: feed an output back to an input: h=hn; none: feed nothing back."),
    ] = None,
    example: Annotated[list[str] | None, typer.Option(help=_example.HELP)] = None,
    key: Annotated[
        str | None, typer.Option(help="PyTorch weights: the key of a checkpoint that they are under, e.g. generator.")
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="Files of weights: arrays or layers to leave out, e.g. aux or 'loss.*'.")
    ] = None,
    custom: Annotated[list[str] | None, typer.Option(help=_custom.HELP)] = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Refuse an import that does not compute what its source does.")
    ] = True,
    trace: Annotated[bool, typer.Option("--trace", help="Compare with the source layer by layer first.")] = False,
) -> None:
    """Import a trained network, check it against its source and its self-test, and write it as a .fgru file."""
    import fastgru

    console = _show.stdout()
    model_target(output)
    described = [_like.parse(text) for text in like] if like else None
    one_of("--dtype", dtype, fastgru.model.DTYPES)
    one_of("--precision", precision, PRECISIONS)
    one_of("--activations", activations, TIERS)
    if dtype != "float32" and precision != "float32":
        raise ConvertError(f"--dtype must be float32 for --precision {precision}, got {dtype!r}")
    if dtype != "float32" and activations == "fast":
        raise ConvertError(f"--dtype must be float32 for --activations fast, got {dtype!r}")
    options: dict[str, Any] = {
        "fix": pairs("--fix", fix, number),
        "shapes": pairs("--shape", shape, lambda text: tuple(None if n == "-" else int(n) for n in text.split(","))),
        "axes": pairs("--axes", axes, lambda text: tuple(None if n == "-" else n for n in text.split(","))),
        "states": pairs("--state", state, str),
        "example_inputs": _example.read(example),
        "key": key,
        "ignore": ignore,
        "custom": _custom.read(custom),
    }
    if trace:  # before a wrong import ends it
        with _progress.Shown(f"comparing {source} layer by layer"):
            found = comparison.compare(str(source), like=described, dtype=dtype, **options)
        console.print(_show.compared(found))
        console.say(_show.origin(found))
    with _progress.Shown(f"importing {source}") as status:
        model = fastgru.convert(
            str(source),
            like=described,
            dtype=dtype,
            precision=precision,
            activations=activations,
            check=check,
            **options,
        )
        status.update("replaying the self-test")
        report = _replayed(model, check=check)
        status.update("writing the file")
        model.save(output)
    console.print(_show.layers(model.summary()))
    for title in ("layout", "states", "precision", "notes", "weights", "unused"):
        if said := model.provenance.get(title):
            console.say(f"{title}: {said}")
    if assumed := model.provenance.get("assumed"):
        console.say(f"assumed, as a file of weights does not say: {assumed}")
    if differs := model.provenance.get("differs"):
        console.say(f"differs from {model.provenance.get('framework', 'its source')}: {differs}")
    why = model.provenance.get("unchecked")
    if why:
        console.say(f"not checked against {model.provenance.get('framework', 'the source')}: {why}")
    if report is not None:
        console.say(f"{'engine' if why or differs else 'self-test'} {report}")
    console.say(f"wrote {_show.sized(output)}")


def _replayed(model: Any, *, check: bool) -> selftest.Report | None:
    """Replay the self-test, which must hold with `check`; None without one."""
    if model.self_test is None and not check:
        return None
    return selftest.verify(model) if check else selftest.replay(model)
