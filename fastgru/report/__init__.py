"""What a model looks like: tables of its layers and instructions, drawings of its graph."""

from .._lazy import modules

__getattr__, __dir__ = modules(__name__, "drawing", "listing", "profile", "summary")
