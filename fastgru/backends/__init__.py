"""fastgru behind interfaces that others have defined."""

from .._lazy import modules

__getattr__, __dir__ = modules(__name__, "onnx")
