"""Compress wheels as far as deflate goes, by zopfli: setuptools takes zlib's usual level, which leaves 6 %."""

import sys
import zipfile
from pathlib import Path

from zopfli import zlib


class Compressor:
    """What `zipfile` asks of a compressor: everything at the end, without the frame that zlib puts around it."""

    def __init__(self, *options: object) -> None:
        self.data = b""

    def compress(self, data: bytes) -> bytes:
        self.data += data
        return b""

    def flush(self) -> bytes:
        return zlib.compress(self.data)[2:-4]


zipfile._get_compressor = Compressor
for path in map(Path, sys.argv[1:]):
    with zipfile.ZipFile(path) as wheel:
        files = [(info, wheel.read(info)) for info in wheel.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for info, data in files:
            wheel.writestr(info, data, zipfile.ZIP_DEFLATED)
