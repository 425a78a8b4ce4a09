"""Crystals: cells, Wilson intensities, and which reflections a still excites."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: More reflections than this are not worth the memory: resolution is cut instead.
MAX_REFLECTIONS = 1_500_000


@dataclass(frozen=True)
class Crystal:
    """Reflections of one crystal form, down to d_min.

    cell : a, b, c (A), alpha, beta, gamma (degrees); space_group : Hermann-Mauguin
    hkl : (n, 3); reciprocal : (3, 3) rows a*, b*, c* in 1/A, unrotated
    strength : (n,) mean 1: Wilson-distributed, equal for symmetry mates
    """

    cell: tuple[float, ...]
    space_group: str
    hkl: Ints
    reciprocal: Floats
    strength: Floats

    @property
    def q(self) -> Floats:
        """Reciprocal-lattice vectors (n, 3), 1/A."""
        return self.hkl @ self.reciprocal


def make_crystal(cell: tuple[float, ...], space_group: str, d_min: float, seed: int) -> Crystal:
    """List a crystal's reflections to d_min (A), systematic absences left out.

    Raises ValueError for a space group that gemmi does not know or a cell that does not fit it.
    """
    import gemmi  # late: the command line starts without it

    group = gemmi.find_spacegroup_by_name(space_group)
    if group is None:
        raise ValueError(f"space group {space_group!r} is not known")
    unit = gemmi.UnitCell(*cell)
    if unit.volume <= 0:
        raise ValueError(f"cell {cell} has no volume")
    if not unit.is_compatible_with_spacegroup(group):
        raise ValueError(f"cell {cell} does not fit space group {space_group}")
    d_min = max(d_min, (4.19 * unit.volume / MAX_REFLECTIONS) ** (1 / 3))
    operations = group.operations()
    hkl = np.array(gemmi.make_miller_array(unit, group, d_min, 1e9, unique=True), np.int64).reshape(-1, 3)
    hkl = hkl[~operations.systematic_absences(hkl.astype(np.int32))]
    rng = np.random.default_rng(seed)
    centric = operations.centric_flag_array(hkl.astype(np.int32))
    # Wilson (1949): acentric intensities are exponential, centric ones chi-square of one degree
    strength = np.where(centric, rng.standard_normal(len(hkl)) ** 2, rng.exponential(size=len(hkl)))
    rotations = {tuple(np.array(op.rot).flatten() // op.DEN) for op in operations.sym_ops}
    mates = [hkl @ np.array(rotation).reshape(3, 3) for rotation in sorted(rotations)]
    everything = np.concatenate(mates + [-mate for mate in mates])
    strengths = np.tile(strength, 2 * len(mates))
    key = (everything + 1024) @ np.array([1 << 22, 1 << 11, 1])
    _, first = np.unique(key, return_index=True)
    frac = np.array(unit.frac.mat.tolist())  # fractional = frac @ cartesian: its rows are a*, b*, c*
    return Crystal(tuple(cell), group.hm, everything[first], frac, strengths[first])


#: Space groups that proteins crystallise in most often (PDB), by crystal system.
_GROUPS = {
    "triclinic": ["P 1"],
    "monoclinic": ["P 1 21 1", "C 1 2 1"],
    "orthorhombic": ["P 21 21 21", "C 2 2 21", "I 2 2 2"],
    "tetragonal": ["P 41 21 2", "P 43 21 2", "I 41"],
    "hexagonal": ["P 31 2 1", "P 61 2 2", "H 3"],
    "cubic": ["I 2 3", "P 21 3", "F 4 3 2"],
}


def random_cell(rng: np.random.Generator) -> tuple[tuple[float, ...], str]:
    """A cell and space group as proteins have them."""
    system = rng.choice(sorted(_GROUPS))
    a, b, c = np.exp(rng.uniform(np.log(35), np.log(150), 3))
    cells = {
        "triclinic": (a, b, c, *rng.uniform(75, 105, 3)),
        "monoclinic": (a, b, c, 90, rng.uniform(91, 118), 90),
        "orthorhombic": (a, b, c, 90, 90, 90),
        "tetragonal": (a, a, c, 90, 90, 90),
        "hexagonal": (a, a, c, 90, 90, 120),
        "cubic": (a, a, a, 90, 90, 90),
    }
    return tuple(float(x) for x in cells[system]), str(rng.choice(_GROUPS[system]))


def random_rotation(rng: np.random.Generator) -> Floats:
    """A rotation matrix, even over all orientations (Shoemake 1992)."""
    w, x, y, z = (q := rng.standard_normal(4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


@dataclass(frozen=True)
class Beam:
    """wavelength (A), relative bandwidth (rms), divergence (rad, rms)."""

    wavelength: float
    bandwidth: float
    divergence: float


def excited(
    crystal: Crystal, rotation: Floats, beam: Beam, *, mosaicity: float, size_A: float, b_factor: float
) -> tuple[Ints, Floats, Floats]:
    """Reflections near the Ewald sphere: their numbers, partial intensities and directions (n, 3) of unit length.

    mosaicity : rad, rms; size_A : of a mosaic block; b_factor : A^2. Beam along +z.
    Gaussian in the excitation error |q + k| - 1/wavelength, whose width sums in quadrature what mosaicity,
    divergence, bandwidth and block size do to it.
    """
    q = crystal.q @ rotation.T
    k = 1 / beam.wavelength
    q2 = np.einsum("ij,ij->i", q, q)
    k_out2 = q2 + 2 * k * q[:, 2] + k * k
    error = np.sqrt(np.maximum(k_out2, 0)) - k
    width2 = (mosaicity**2 + beam.divergence**2) * q2 + (beam.bandwidth * beam.wavelength * q2 / 2) ** 2
    width2 += (0.44 / size_A) ** 2
    near = np.flatnonzero((error * error < 12.25 * width2) & (k_out2 > 0))
    direction = q[near] + [0, 0, k]
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    partiality = np.exp(-0.5 * error[near] ** 2 / width2[near])
    intensity = crystal.strength[near] * partiality * np.exp(-b_factor * q2[near] / 2)
    return near, intensity, direction
