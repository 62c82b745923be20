"""torch.export with recurrent layers and packed sequences kept whole, over any number of rows and steps."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils import rnn as packing
from torch.overrides import TorchFunctionMode

from ...errors import ConvertError
from ..damage import line_of
from ..torch.oracle import evaluating
from .counting import LIBRARY, Counting, LoopMet
from .places import place_in
from .results import opened
from .table import find

# The exporter unrolls PyTorch's own recurrent operators over time, which fixes the number of steps: these stand in.
_TAIL = (
    "Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, "
    "bool batch_first, Tensor? lengths=None"
)
NOISY = ("torch.fx.experimental.symbolic_shapes", "torch.export.dynamic_shapes", "torch.export._trace")
_FRAMES = 12  # of the exporter's between a function of `torch.nn.utils.rnn` and what it calls


def _one_state(x: Any, hx: Any, *args: Any) -> tuple[Any, Any]:
    return _outputs(x, hx, args), torch.empty_like(hx)


def _two_states(x: Any, hx: Any, *args: Any) -> tuple[Any, Any, Any]:
    return _outputs(x, hx[0], args), torch.empty_like(hx[0]), torch.empty_like(hx[1])


def _outputs(x: Any, h: Any, args: Sequence[Any]) -> Any:
    bidirectional = args[5]
    return x.new_empty((*x.shape[:2], h.shape[-1] * (1 + bidirectional)))


def _define(name: str, state: str, results: str, fake: Callable[..., Any]) -> Any:
    LIBRARY.define(f"{name}(Tensor input, {state} hx, {_TAIL}) -> ({results})")
    torch.library.register_fake(f"fastgru::{name}", fake, lib=LIBRARY)
    return getattr(torch.ops.fastgru, name)


WHOLE = {
    torch._VF.gru: _define("gru", "Tensor", "Tensor, Tensor", _one_state),
    torch._VF.rnn_tanh: _define("rnn_tanh", "Tensor", "Tensor, Tensor", _one_state),
    torch._VF.rnn_relu: _define("rnn_relu", "Tensor", "Tensor, Tensor", _one_state),
    torch._VF.lstm: _define("lstm", "Tensor[]", "Tensor, Tensor, Tensor", _two_states),
}


def _transform(name: str, arguments: str, fake: Callable[..., Any]) -> Any:
    LIBRARY.define(f"{name}(Tensor self, {arguments}) -> Tensor")
    torch.library.register_fake(f"fastgru::{name}", fake, lib=LIBRARY)
    return getattr(torch.ops.fastgru, name)


def _spectrum(x: Any, n: Any = None, dim: int = -1, norm: Any = None) -> Any:
    shape = list(x.shape)
    shape[dim] = (shape[dim] if n is None else n) // 2 + 1
    return x.new_empty(shape, dtype=x.dtype.to_complex())


def _samples(z: Any, n: Any = None, dim: int = -1, norm: Any = None) -> Any:
    shape = list(z.shape)
    shape[dim] = 2 * (shape[dim] - 1) if n is None else n
    return z.new_empty(shape, dtype=z.dtype.to_real())


def _signal(
    z: Any, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Any = None,
    center: bool = True, normalized: bool = False, onesided: bool | None = None, length: Any = None,
    return_complex: bool = False,
) -> Any:  # fmt: skip
    whole = n_fft + (n_fft // 4 if hop_length is None else hop_length) * (z.shape[-1] - 1)
    kept = whole - 2 * (n_fft // 2) if center else whole
    dtype = z.dtype if return_complex else z.dtype.to_real()
    return z.new_empty((*z.shape[:-2], kept if length is None else length), dtype=dtype)


_ONE_AXIS = "SymInt? n=None, int dim=-1, str? norm=None"
_ISTFT = (
    "int n_fft, int? hop_length=None, int? win_length=None, Tensor? window=None, bool center=True, "
    "bool normalized=False, bool? onesided=None, SymInt? length=None, bool return_complex=False"
)
# PyTorch 2.6 has no shapes for its own FFTs; its istft, traced over frames of any number, becomes a loop over the
# samples of a frame: 26 of 27 s that the import of a network with frames of 960 samples took.
TRANSFORMS = {
    torch.fft.rfft: _transform("fft_rfft", _ONE_AXIS, _spectrum),
    torch.fft.irfft: _transform("fft_irfft", _ONE_AXIS, _samples),
    **dict.fromkeys((torch.istft, torch.Tensor.istft), _transform("istft", _ISTFT, _signal)),
}
POOLS = (torch.max_pool1d, nn.functional.max_pool1d)


class _BatchSizes:
    """In place of a packed sequence's batch sizes: the lengths; its data are the padded rows, flattened."""

    device = torch.device("cpu")

    def __init__(self, lengths: Any, x: Any, batch_first: bool) -> None:
        self.lengths, self.batch_first = lengths, batch_first
        self.lead = x.shape[:2]
        self.zeroed: list[Any] = []  # data of recurrent layers, zeros behind the end of every sequence

    def padded(self, data: Any) -> Any:
        """The padded rows of some data: (B, T, ...), or time first."""
        return data.unflatten(0, self.lead)

    def valid(self, x: Any) -> Any:
        """True for the steps of every sequence, in as many axes as padded rows have."""
        steps = torch.arange(self.size())
        found = steps.unsqueeze(0) < self.lengths.unsqueeze(1)
        found = found if self.batch_first else found.transpose(0, 1)
        return found.reshape(*found.shape, *[1] * (x.dim() - 2))

    def __getitem__(self, index: int) -> Any:
        return self.lead[0 if self.batch_first else 1]

    def size(self, dim: int = 0) -> Any:
        """The number of steps."""
        return self.lead[1 if self.batch_first else 0]

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _replaced(func, args, kwargs or {})


class _Whole(TorchFunctionMode):
    """Calls what stands in for recurrent layers, for the packing of sequences and for what loops join."""

    def __init__(self, counting: Counting) -> None:
        super().__init__()
        self.counting = counting

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = self.counting.call(func, args, kwargs or {})
        return _replaced(func, args, kwargs or {}) if found is NotImplemented else found


def _replaced(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    if func in WHOLE:
        return _whole(func, args)
    if func is torch._VF._pack_padded_sequence:
        x, lengths, batch_first = args
        return x.flatten(0, 1), _BatchSizes(lengths, x, batch_first)
    if func is torch._VF._pad_packed_sequence:
        return _padded(*args)
    if func is torch.sort and _called_by(packing.pack_padded_sequence):
        return args[0], torch.arange(args[0].shape[0])  # rows stay in their order, which nothing here depends on
    if func in (torch.empty_like, torch.Tensor.scatter_) and _called_by(packing.invert_permutation):
        return args[0]
    if func in TRANSFORMS:
        return TRANSFORMS[func](*args, **{("self" if k == "input" else k): v for k, v in kwargs.items()})
    if func in POOLS and not kwargs.get("return_indices"):
        return _pooled(*args, **kwargs)
    return func(*args, **kwargs)


def _pooled(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """A maximum pool over one axis as one over two: PyTorch's own for one axis fixes its size."""
    size, padding, dilation = (_first(n) for n in (kernel_size, padding, dilation))
    stride = _first(stride) or size
    return torch.max_pool2d(x.unsqueeze(-2), [1, size], [1, stride], [0, padding], [1, dilation], ceil_mode).squeeze(-2)


def _first(number: Any) -> Any:
    """The only number of a list, which may be empty."""
    return (number[0] if number else None) if isinstance(number, list | tuple) else number


def _whole(func: Any, args: Sequence[Any]) -> Any:
    if not isinstance(args[1], _BatchSizes):
        return WHOLE[func](*args)
    data, sizes, *rest = args
    y, *states = WHOLE[func](sizes.padded(data), *rest, sizes.batch_first, sizes.lengths)
    y = y.flatten(0, 1)
    sizes.zeroed.append(y)
    return (y, *states)


def _padded(data: Any, sizes: Any, batch_first: bool, padding: float, total: Any) -> tuple[Any, Any]:
    if not isinstance(sizes, _BatchSizes):
        raise ConvertError("packed sequences must be made by pack_padded_sequence, got an argument of the module")
    steps = sizes.size()
    more = total - steps if isinstance(total, int) and isinstance(steps, int) and total > 0 else 0
    if more < 0 or not ((isinstance(total, int) and total < 1) or more or str(total) == str(steps)):
        raise ConvertError(
            f"total_length must be the number of steps of the input, such as total_length=x.shape[1], or at least a "
            f"number of steps that is fixed, got {total} for {'any number' if more == 0 else steps}"
        )
    x = sizes.padded(data)
    if padding or not any(data is own for own in sizes.zeroed):  # of what a Linear, say, makes of a layer's zeros
        x = torch.where(sizes.valid(x), x, padding)
    if more:
        behind = 2 * (x.dim() - sizes.batch_first)  # of the pair of widths, the last axis first
        x = nn.functional.pad(x, [0] * (behind - 1) + [more], value=padding)
    return (x if batch_first == sizes.batch_first else x.transpose(0, 1)), sizes.lengths


def _called_by(function: Any) -> bool:
    """Return True if a function is among the callers."""
    frame = inspect.currentframe()
    for _ in range(_FRAMES):
        frame = frame.f_back if frame else None
        if frame is not None and frame.f_code is function.__code__:
            return True
    return False


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's messages about modules that it then refuses, or has been told of."""
    loggers = [logging.getLogger(name) for name in NOISY]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


@contextlib.contextmanager
def _unchecked() -> Iterator[None]:
    """Recurrent modules that do not read sizes off packed sequences, which would fix them."""
    classes = [cls for cls in (nn.RNNBase, nn.LSTM) if "check_forward_args" in vars(cls)]
    own = [vars(cls)["check_forward_args"] for cls in classes]
    for cls in classes:
        cls.check_forward_args = lambda *args: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        for cls, check in zip(classes, own, strict=True):
            cls.check_forward_args = check  # type: ignore[method-assign]


def exported(module: nn.Module, arguments: tuple[Any, Any], free: Any, counting: Counting) -> Any:
    """The module's program in ATen calls, functional where it changes tensors in place.

    Parameters
    ----------
    arguments : tuple and dict
        Positional arguments, and those by keyword.
    free : tuple and dict
        For each of them, which axes of its tensors may have any size.
    counting : Counting
        Learns of the lengths that the module counts to.

    Raises
    ------
    LoopMet
        When it counts to one and may not.
    ConvertError
        When torch.export cannot trace the module.
    """
    try:
        with _quiet(), evaluating(module), _unchecked(), counting.watching(), _Whole(counting):
            args, keywords, shapes = _as_exported(module, arguments, free)
            program = torch.export.export(module, args, keywords, dynamic_shapes=shapes, strict=False)
            return _functional(program)
    except (ConvertError, LoopMet):
        raise
    except Exception as error:  # whatever tracing a module of any code may raise
        raise ConvertError(
            f"forward of {type(module).__name__} must be one that torch.export can trace, got {_why(error)}"
            f"{place_in(error)}"
        ) from error


def _as_exported(module: nn.Module, arguments: tuple[Any, Any], free: tuple[Any, Any]) -> tuple[Any, Any, Any]:
    """Return arguments and their free axes as torch.export takes them.

    It knows no dataclasses among results, and has no axes for ``**kwargs``: a module with such is called by place. Its
    forward is another, which the caller puts back.
    """
    forward, signature = module.forward, inspect.signature(module.forward)
    if all(p.kind is not p.VAR_KEYWORD for p in signature.parameters.values()) or not arguments[1]:

        def with_results(*values: Any, **keywords: Any) -> Any:
            return opened(forward(*values, **keywords))

        _replace_forward(module, with_results, signature)
        return *arguments, dict(signature.bind(*free[0], **free[1]).arguments)
    count, names = len(arguments[0]), list(arguments[1])

    def by_place(*values: Any) -> Any:
        return opened(forward(*values[:count], **dict(zip(names, values[count:], strict=True))))

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    places = [inspect.Parameter(f"argument_{i}", kind) for i in range(count + len(names))]
    _replace_forward(module, by_place, inspect.Signature(places))
    return (*arguments[0], *arguments[1].values()), None, (*free[0], *free[1].values())


def _replace_forward(module: nn.Module, forward: Callable[..., Any], signature: inspect.Signature) -> None:
    """Let a module run another forward, until the caller gives it its attributes back."""
    forward.__signature__ = signature  # type: ignore[attr-defined]
    vars(module)["forward"] = forward


def _why(error: BaseException) -> str:
    """Return what the exporter says of a module, in words where it speaks of symbols of its own."""
    name = type(error).__name__
    if name == "GuardOnDataDependentSymNode":
        return (
            "a branch, loop or size that depends on values that are only known when running: compute with tensors, "
            "such as by torch.where, where forward asks for numbers (if, float(), item(), tolist())"
        )
    return f"{name}: {line_of(error)}"


def _functional(program: Any) -> Any:
    """The program without changes in place, and without operators that only have parts with a translation."""
    targets = {n.target for m in program.graph_module.modules() if isinstance(m, torch.fx.GraphModule)
               for n in m.graph.nodes if n.op == "call_function"}  # fmt: skip
    operators: list[Any] = [t for t in targets if isinstance(t, torch._ops.OpOverload)]
    unknown = [t for t in operators if find(t.name()) is None]
    nested = any(isinstance(t, torch._ops.HigherOrderOperator) for t in targets)
    if not nested and not any(t._schema.is_mutable for t in operators) and not unknown:
        return program
    table = torch.export.default_decompositions()
    return program.run_decompositions({t: table[t] for t in unknown if t in table})
