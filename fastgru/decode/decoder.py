"""The streaming form of a decoder: frames come in chunks, and one call is served at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Decoder:
    """What all decoders share; each belongs to one caller."""

    _busy = False

    @contextmanager
    def _claimed(self) -> Iterator[None]:
        """Take the decoder for a call.

        Raises
        ------
        RuntimeError
            When another call is running.
        """
        if self._busy:
            raise in_use()
        self._busy = True
        try:
            yield
        finally:
            self._busy = False


def in_use() -> RuntimeError:
    """Return the error of a call while another one is running."""
    return RuntimeError("decoder is in use: it can serve one call at a time, and another one is running")
