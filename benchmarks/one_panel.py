"""The geometry of a square detector of one panel, for benchmarks that need any detector rather than a certain one."""

from __future__ import annotations


def one_panel(side: int, more: str = "") -> str:
    """Text of a CrystFEL geometry: side x side pixels of 0.2 mm around the beam. more : lines at its beginning."""
    return f"""{more}photon_energy = 9500 eV
clen = 0.1 m
res = 5000
data = /entry_1/data_1/data
dim0 = %
dim1 = ss
dim2 = fs
p0/min_fs = 0
p0/max_fs = {side - 1}
p0/min_ss = 0
p0/max_ss = {side - 1}
p0/corner_x = {-side / 2}
p0/corner_y = {-side / 2}
p0/fs = +1.0x
p0/ss = +1.0y
"""
