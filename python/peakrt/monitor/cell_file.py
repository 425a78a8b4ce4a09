"""CrystFEL's unit cell files and the CRYST1 line of a PDB file."""

from __future__ import annotations

import re
from pathlib import Path

from .statistics import AXES, Cell

_NAMES = {"al": "alpha", "be": "beta", "ga": "gamma"}
#: To Angstrom and degrees.
_UNITS = {"A": 1.0, "nm": 10.0, "deg": 1.0, "rad": 57.29577951308232, "": 1.0}
_LINE = re.compile(r"^\s*(a|b|c|al|be|ga)\s*=\s*([-+.\deE]+)\s*(A|nm|deg|rad|)\s*$")
_MOST_BYTES = 64 << 20  # of a PDB file


def read_cell(path: str | Path) -> Cell:
    """Axes in Angstrom and angles in degrees. Raises OSError, or ValueError for a file without six of them."""
    path = Path(path)
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path} is too long for a unit cell")
    text = path.read_text(encoding="utf-8", errors="replace")
    found: dict[str, float] = {}
    for line in text.splitlines():
        try:
            if line.startswith("CRYST1"):
                found = dict(zip(AXES, map(float, line[6:54].split()), strict=True))
                break
            if match := _LINE.match(line):
                found[_NAMES.get(match[1], match[1])] = float(match[2]) * _UNITS[match[3]]
        except ValueError:
            raise ValueError(f"{path} is no unit cell: {line.strip()[:80]}") from None
    if set(found) != set(AXES) or not all(0 < value < 1e6 for value in found.values()):
        raise ValueError(f"{path} gives no whole unit cell: a, b, c, al, be and ga are expected, or CRYST1")
    a, b, c, alpha, beta, gamma = (found[name] for name in AXES)
    return a, b, c, alpha, beta, gamma
