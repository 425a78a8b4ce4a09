"""The orientation of a crystal of known cell from the peaks of one still: pairs of peaks, and how many others they explain.

As in TakeTwo (Ginn et al., Acta Cryst. D72 (2016) 956): two peaks whose lengths and angle fit two reflections of the cell
fix the orientation; the one that explains most peaks is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Peaks that make pairs, those of the lowest angles: there reflections are far apart.
_PAIRED = 14
#: Relative error of a peak's length, and error of an angle between two, rad, that a pair may have.
_LENGTH, _ANGLE = 0.012, 0.012
#: Distance from a reflection, in units of the Miller indices, up to which it explains a peak.
NEAR = 0.2
#: Pairs of reflections that are compared, and orientations that they give, before no more pairs of peaks are taken.
_MOST_WORK, _MOST_ROTATIONS = 1_000_000, 8_000
#: Orientations tried in full, of those that explain most of the peaks that make pairs.
_TRIED = 60


@dataclass(frozen=True)
class Lattice:
    """Reflections of a cell.

    reciprocal : (3, 3) rows a*, b*, c*, 1/A; hkl : (n, 3), q : (n, 3) and length : (n,), 1/A, in ascending length
    """

    reciprocal: Floats
    hkl: Ints
    q: Floats
    length: Floats


def lattice_of(cell: tuple[float, ...], s_max: float) -> Lattice:
    """The reflections of a cell (A, degrees) up to s_max, 1/A; absences of space groups are not left out."""
    a, b, c = cell[:3]
    alpha, beta, gamma = np.deg2rad(cell[3:])
    x = (np.cos(alpha) - np.cos(beta) * np.cos(gamma)) / np.sin(gamma)
    direct = np.array(
        [
            [a, 0, 0],
            [b * np.cos(gamma), b * np.sin(gamma), 0],
            [c * np.cos(beta), c * x, c * np.sqrt(np.sin(beta) ** 2 - x * x)],
        ]
    )
    reciprocal = np.linalg.inv(direct).T
    most = np.ceil(s_max * np.linalg.norm(direct, axis=1)).astype(int)
    hkl = np.stack(np.meshgrid(*(np.arange(-m, m + 1) for m in most), indexing="ij"), -1).reshape(-1, 3)
    q = hkl @ reciprocal
    length = np.linalg.norm(q, axis=1)
    order = np.argsort(length, kind="stable")
    order = order[(length[order] > 0) & (length[order] <= s_max)]
    return Lattice(reciprocal, hkl[order], q[order], length[order])


def orient(q: Floats, lattice: Lattice) -> tuple[Floats, int]:
    """Rotation (3, 3) that turns the lattice into the laboratory, and how many peaks it explains.

    q : (n, 3), 1/A, of peaks at the geometry in force. The identity and 0 where no pair fits.
    """
    none = np.eye(3), 0
    if len(q) < 3:
        return none
    length = np.linalg.norm(q, axis=1)
    paired = np.argsort(length)[:_PAIRED]
    rotations = _of_pairs(q[paired], length[paired], lattice)
    if not len(rotations):
        return none
    few = _explained(q[paired], rotations, lattice)
    rotations = rotations[np.argsort(-few)[:_TRIED]]
    every = _explained(q, rotations, lattice)
    best = rotations[int(np.argmax(every))]
    for _ in range(3):  # to all that it explains
        hkl, near = assign(q, best, lattice)
        if near.sum() < 3:
            break
        best = _kabsch((hkl @ lattice.reciprocal)[near], q[near])
    return best, int(assign(q, best, lattice)[1].sum())


def assign(q: Floats, rotation: Floats, lattice: Lattice) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Miller indices (n, 3) that are nearest to the peaks q, and whether they are near."""
    fractional = (q @ rotation) @ np.linalg.inv(lattice.reciprocal)
    hkl = np.rint(fractional).astype(np.int64)
    return hkl, (np.abs(fractional - hkl).max(1) < NEAR) & hkl.any(1)


def _explained(q: Floats, rotations: Floats, lattice: Lattice) -> Ints:
    inverse = np.linalg.inv(lattice.reciprocal)
    counts = []
    for first in range(0, len(rotations), 2048):
        fractional = np.einsum("ni,rij,jk->rnk", q, rotations[first : first + 2048], inverse, optimize=True)
        counts.append((np.abs(fractional - np.rint(fractional)).max(2) < NEAR).sum(1))
    return np.concatenate(counts)


def _of_pairs(q: Floats, length: Floats, lattice: Lattice) -> Floats:
    """Rotations (n, 3, 3) of pairs of peaks and of reflections that fit, those pairs first that can be few reflections."""
    windows = np.maximum(_LENGTH * length, 2e-4)
    first, end = (np.searchsorted(lattice.length, length + sign * windows) for sign in (-1, 1))
    n = end - first
    pairs = sorted((int(n[i] * n[j]), i, j) for i in range(len(q)) for j in range(i))
    made, work = 0, 0
    parts: list[list[Floats]] = [[], [], [], []]
    for size, i, j in pairs:
        cosine = q[i] @ q[j] / (length[i] * length[j])
        if size == 0 or abs(cosine) > 0.95:
            continue
        if made > _MOST_ROTATIONS or (made and work + size > _MOST_WORK):
            break
        in_a, in_b = slice(first[i], end[i]), slice(first[j], end[j])
        a, b = lattice.q[in_a], lattice.q[in_b]
        of_lattice = (a @ b.T) / np.outer(lattice.length[in_a], lattice.length[in_b])
        low, high = np.cos(np.arccos(cosine) + np.array([_ANGLE, -_ANGLE]))
        near_a, near_b = np.nonzero((of_lattice > low) & (of_lattice < high))
        work, made = work + size, made + len(near_a)
        of_peaks = (np.broadcast_to(q[k], (len(near_a), 3)) for k in (i, j))
        for part, rows in zip(parts, (a[near_a], b[near_b], *of_peaks), strict=True):
            part.append(rows)
    if not made:
        return np.zeros((0, 3, 3))
    return _triads(*(np.concatenate(part) for part in parts))


def _triads(a: Floats, b: Floats, qa: Floats, qb: Floats) -> Floats:
    """Rotations that turn the pairs a, b (n, 3) into the pairs qa, qb (Black, AIAA J. 2 (1964) 1350)."""

    def frame(u: Floats, v: Floats) -> Floats:
        x = u / np.linalg.norm(u, axis=1)[:, None]
        z = np.cross(u, v)
        z /= np.linalg.norm(z, axis=1)[:, None]
        return np.stack([x, np.cross(z, x), z], -1)

    return np.asarray(frame(qa, qb) @ frame(a, b).transpose(0, 2, 1))


def _kabsch(a: Floats, b: Floats) -> Floats:
    """The rotation that turns the rows of a most nearly into those of b (Kabsch, Acta Cryst. A32 (1976) 922)."""
    u, _, vt = np.linalg.svd(a.T @ b)
    d = np.sign(np.linalg.det(vt.T @ u.T))
    rotation: Floats = vt.T @ np.diag([1, 1, d]) @ u.T
    return rotation
