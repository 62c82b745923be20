"""Compress wheels as far as deflate goes: setuptools takes its usual level, which leaves 2 %."""

import sys
import zipfile
from pathlib import Path

for path in map(Path, sys.argv[1:]):
    with zipfile.ZipFile(path) as wheel:
        files = [(info, wheel.read(info)) for info in wheel.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for info, data in files:
            wheel.writestr(info, data, zipfile.ZIP_DEFLATED, 9)
