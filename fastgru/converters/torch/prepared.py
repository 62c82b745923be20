"""A live module as it is imported: without wrappers, with weights in place of what computes them, in float32.

The module itself stays as it is: where it is not what is imported, a copy is, with which it shares its tensors.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from . import dequantized
from .oracle import WIDENED, evaluating

# Modules that run another one -> the attribute that is it. The first two are of packages that need not be there.
WRAPPERS = {
    "torch._dynamo.eval_frame.OptimizedModule": "_orig_mod",
    "torch.nn.parallel.distributed.DistributedDataParallel": "module",
    "torch.nn.parallel.data_parallel.DataParallel": "module",
    "torch.distributed.fsdp.fully_sharded_data_parallel.FullyShardedDataParallel": "module",
    "torch.optim.swa_utils.AveragedModel": "module",
}
HALVES = {torch.float16: "float16", torch.bfloat16: "bfloat16"}
# What computes a weight ahead of every forward -> the ends of the names that it computes it from.
COMPUTED: dict[type, tuple[str, ...]] = {
    WeightNorm: ("_g", "_v"),
    SpectralNorm: ("_orig", "_u", "_v"),
    BasePruningMethod: ("_orig", "_mask"),
}


@dataclass
class Prepared:
    """A module, and what it was made of.

    Attributes
    ----------
    module : torch.nn.Module
        What is imported.
    source : torch.nn.Module
        What was given, without wrappers.
    halves : set of str
        Precisions narrower than float32 that tensors of the source have.
    layers : dict of str to str
        Layers whose weights were stored as codes, to the precision that they have here.
    folded : list of str
        Weights that something computed.
    """

    module: nn.Module
    source: nn.Module
    halves: set[str] = field(default_factory=set)
    layers: dict[str, str] = field(default_factory=dict)
    folded: list[str] = field(default_factory=list)

    def examples(self, given: Any) -> Any:
        """Example arguments as the module takes them: floats in float32, where the source was narrower."""
        return cast(given, _wide) if self.halves else given

    def precision(self) -> str:
        """Say how the source computes, where that is coarser than float32."""
        parts = []
        if self.halves:
            parts.append(f"{' and '.join(sorted(self.halves))}, computed here in float32 with the same weights")
        if self.layers:
            kinds = " and ".join(sorted(set(self.layers.values())))
            parts.append(f"dynamically quantized, computed here with {kinds} weights ({', '.join(self.layers)})")
        return "; ".join(parts)


def prepare(module: nn.Module) -> Prepared:
    """Return a module without wrappers, hooks that compute weights, half precision and quantized layers.

    Raises
    ------
    ConvertError
        When a layer of it is quantized with fixed scales of its activations.

    Examples
    --------
    >>> net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)))
    >>> made = prepare(nn.DataParallel(net.half()))
    >>> made.folded, made.halves, dict(made.module.named_parameters())["0.weight"].dtype
    (['0.weight'], {'float16'}, torch.float32)
    """
    own = unwrapped(module)
    if isinstance(own, torch.jit.ScriptModule) or not any(map(_differs, own.modules())):
        return Prepared(own, own)
    return _Copy(own).made


def unwrapped(module: Any) -> Any:
    """The module that a wrapper runs."""
    while True:
        attribute = WRAPPERS.get(f"{type(module).__module__}.{type(module).__qualname__}")
        if attribute is None:
            return module
        module = getattr(module, attribute)


def _differs(module: nn.Module) -> bool:
    """Return True for a module that cannot be imported as it is, whatever it holds."""
    tensors = (*module._parameters.values(), *module._buffers.values())
    return (
        unwrapped(module) is not module
        or dequantized.is_quantized(module)
        or any(t is not None and t.dtype in HALVES for t in tensors)
        or bool(_computing(module))
        or parametrize.is_parametrized(module)
        or is_compiled(module)
    )


def _computing(module: nn.Module) -> list[tuple[int, Any, str, tuple[str, ...]]]:
    """The hooks that compute a weight: where they are, what they are, the weight, and the ends of its parts' names."""
    found = []
    for key, hook in module._forward_pre_hooks.items():
        for cls, ends in COMPUTED.items():
            if isinstance(hook, cls):
                name = str(hook._tensor_name if isinstance(hook, BasePruningMethod) else hook.name)  # type: ignore[attr-defined]
                found.append((key, hook, name, ends))
    return found


def is_compiled(module: nn.Module) -> bool:
    """Return True for a module whose own call or forward is compiled, by ``net.compile()`` or on the object."""
    own = vars(module)
    return own.get("_compiled_call_impl") is not None or hasattr(own.get("forward"), "_torchdynamo_orig_callable")


class _Copy:
    """A copy of a module in which all is as it is imported."""

    def __init__(self, module: nn.Module) -> None:
        self.known: dict[int, Any] = {}  # what became of modules and tensors
        self.kept: list[Any] = []  # alive while their ids are keys
        self.made = Prepared(module, module)
        self.paths = {id(unwrapped(m)): path for path, m in reversed(list(module.named_modules()))}
        self.made.module = self.copied(module)
        if self.made.halves:
            vars(self.made.module)[WIDENED] = True

    def copied(self, module: Any) -> Any:
        """Return the copy of a module."""
        module = unwrapped(module)
        if id(module) in self.known:
            return self.known[id(module)]
        path = self.paths.get(id(module), "")
        if dequantized.is_quantized(module):
            layer, precision = dequantized.plain(module, path)
            if precision != "float32":
                self.made.layers[path] = precision
            return self.keep(module, layer)
        new = self.keep(module, _bare(module))
        own = dict(vars(module))
        if is_compiled(module):
            own["_compiled_call_impl"] = None
            own.pop("forward", None)
        vars(new).update({name: self.value(value) for name, value in own.items() if name != "_modules"})
        vars(new)["_modules"] = {n: None if m is None else self.copied(m) for n, m in module._modules.items()}
        self.fold(module, new, path)
        return new

    def keep(self, old: Any, new: Any) -> Any:
        """Note what became of a module or tensor."""
        self.kept.append(old)
        self.known[id(old)] = new
        return new

    def value(self, value: Any) -> Any:
        """An attribute of the copy."""
        if isinstance(value, nn.Module):
            return self.copied(value)
        if isinstance(value, torch.Tensor):
            return self.tensor(value)
        if type(value) in (list, tuple, set):
            return type(value)(map(self.value, value))
        if type(value) in (dict, OrderedDict):
            return type(value)((k, self.value(v)) for k, v in value.items())
        if isinstance(value, MethodType) and isinstance(value.__self__, nn.Module):
            return MethodType(value.__func__, self.copied(value.__self__))
        return value

    def tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of the copy: the same, or its numbers in float32."""
        if tensor.dtype not in HALVES:
            return tensor
        self.made.halves.add(HALVES[tensor.dtype])
        if id(tensor) not in self.known:
            wide = tensor.detach().float()
            parameter = isinstance(tensor, nn.Parameter)
            self.keep(tensor, nn.Parameter(wide, requires_grad=False) if parameter else wide)
        found: torch.Tensor = self.known[id(tensor)]
        return found

    def fold(self, module: nn.Module, new: nn.Module, path: str) -> None:
        """Put the weights that hooks and parametrizations compute in the place of what they compute them from."""
        weights: dict[str, torch.Tensor] = {}
        with evaluating(new), torch.no_grad():
            for key, hook, name, _ in (hooks := _computing(new)):
                hook(new, ())
                del new._forward_pre_hooks[key]
                vars(new).get("_forward_pre_hooks_with_kwargs", {}).pop(key, None)
                weights[name] = torch.as_tensor(getattr(new, name))
        for _, _, name, ends in hooks:
            for end in ends:
                for place in (new._parameters, new._buffers, vars(new), weights):
                    place.pop(name + end, None)
        if parametrize.is_parametrized(module):
            with evaluating(module), torch.no_grad():
                weights |= {name: self.tensor(getattr(module, name)) for name in module.parametrizations}  # type: ignore[union-attr]
            del new._modules["parametrizations"]
        for name, weight in weights.items():
            vars(new).pop(name, None)
            setattr(new, name, nn.Parameter(weight.detach().clone(), requires_grad=False))
        self.made.folded += [".".join(filter(None, (path, name))) for name in weights]


def _bare(module: nn.Module) -> nn.Module:
    """A new module of the same class, or the class that it had before it was parametrized, with nothing in it."""
    cls: Any = parametrize.type_before_parametrizations(module)
    new: nn.Module = cls.__new__(cls)
    return new


def cast(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Return arguments with their floating-point tensors changed."""
    if isinstance(value, torch.Tensor):
        return change(value) if value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {k: cast(v, change) for k, v in value.items()}
    return type(value)(cast(v, change) for v in value) if type(value) in (list, tuple) else value


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in HALVES else tensor
