"""Compress wheels as far as deflate goes, by zopfli: setuptools takes zlib's usual level, which leaves 6 %."""

import sys
import zipfile
from pathlib import Path

from zopfli.zipfile import ZipFile

for path in map(Path, sys.argv[1:]):
    with zipfile.ZipFile(path) as wheel:
        files = [(info, wheel.read(info)) for info in wheel.infolist()]
    with ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for info, data in files:
            wheel.writestr(info, data, zipfile.ZIP_DEFLATED)
