"""Two calls that write one buffer: a race that only who looks into the kernels of the extension sees.

Run by `tests/sanitize.sh thread`, which fails unless ThreadSanitizer reports it.
"""

from __future__ import annotations

import threading

import numpy as np

import fastgru
from fastgru.layers import GRU

W = np.full((3 * 64, 64), 1 / 64, np.float32)
MODEL = fastgru.Model([GRU(W, W)])
X = np.ones((200, 64), np.float32)
OUT = np.empty((200, 64), np.float32)


def run(stream: fastgru.Stream) -> None:
    """Write the shared output; calls of this length let go of the GIL."""
    for _ in range(50):
        stream.process(X, out=OUT)


if __name__ == "__main__":
    workers = [threading.Thread(target=run, args=(MODEL.stream(),)) for _ in range(2)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
