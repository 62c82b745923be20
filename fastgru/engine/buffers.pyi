"""What Python sees; tests/package/test_structure.py holds it against the binary."""

from .plan import Plan

def stream_bytes(plan: Plan, batch: int | None = None) -> tuple[int, str | None]: ...
