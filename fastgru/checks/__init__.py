"""Is a model right: self-tests, the tolerances they keep, a source beside its import, errors at every node."""

from .._lazy import modules

__getattr__, __dir__ = modules(__name__, "comparison", "selftest", "tracing")
