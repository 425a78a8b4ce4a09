"""Panels in metres, and what follows from them: pixel maps, masks, the Cheetah slab."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from . import checks

Vector = tuple[float, float, float]
FloatMap = npt.NDArray[np.float32]

#: h c in eV m (CODATA 2018, exact).
HC_EV_M = 1.23984198433e-6


@dataclass(frozen=True)
class HeaderValue:
    """A number that stands in the data file: its HDF5 path and the factor to metres or eV."""

    path: str
    scale: float = 1.0


@dataclass(frozen=True)
class MaskSource:
    """Where a bad-pixel map stands: HDF5 path, file (None: the data file), bits that mean good and bad.

    A pixel is good if it has every bit of ``good`` and none of ``bad`` (CrystFEL geometry manual).
    """

    path: str
    file: str | None = None
    good: int = 0
    bad: int = 0


@dataclass(frozen=True)
class Panel:
    """One rectangle of pixels that lies in a plane.

    min_ss, end_ss, min_fs, end_fs : its pixels in the data array, half-open
    corner_m : outer corner of its first pixel in the laboratory, metres; z without the camera length
    ss_m, fs_m : step from one pixel to the next, metres
    dims : the layout of the data array, one entry an axis: "%" event, "ss", "fs", or a fixed index
    data : HDF5 path of the data array
    settings : what else the geometry file says of this panel, as written
    """

    name: str
    min_ss: int
    end_ss: int
    min_fs: int
    end_fs: int
    corner_m: Vector
    ss_m: Vector
    fs_m: Vector
    dims: tuple[str | int, ...] = ("ss", "fs")
    data: str | None = None
    masks: tuple[MaskSource, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def no_index(self) -> bool:
        """Whether the geometry switches the panel off."""
        return checks.switch(self.settings.get("no_index", "0"))

    @property
    def pixel_size_m(self) -> float:
        """Length of the fast-scan step."""
        return float(np.linalg.norm(self.fs_m))

    @property
    def shape(self) -> tuple[int, int]:
        """Pixels along ss and fs."""
        return self.end_ss - self.min_ss, self.end_fs - self.min_fs

    @property
    def fixed(self) -> tuple[int, ...]:
        """The fixed indices of the layout: which plane of the data array the panel lies in."""
        return tuple(d for d in self.dims if isinstance(d, int))

    @property
    def plane(self) -> tuple[str, tuple[int, ...]]:
        """Data path and fixed indices; the panels of one plane share a 2-D array."""
        return self.data or "", self.fixed


@dataclass(frozen=True)
class BadRegion:
    """A rectangle to be ignored, both ends included: in raw pixels of a panel, or in x and y (pixels from the beam).

    kind "fsss": bounds are min_fs, max_fs, min_ss, max_ss in the data array, of one panel or (None) of all;
    kind "xy": min_x, max_x, min_y, max_y.
    """

    name: str
    kind: str
    bounds: tuple[float, float, float, float]
    panel: str | None = None


@dataclass(frozen=True)
class Detector:
    """Panels and what a geometry file says of the whole.

    A frame of it has shape ``(panel, ss, fs)``: one plane for each 2-D array of the file, in order of appearance
    (one for a slab, sixteen for AGIPD), as large as the panels in it need.
    camera_length : m, photon_energy : eV; numbers, or where the data file has them
    adu_per_photon, adu_per_eV : gain
    max_adu : saturation
    """

    panels: tuple[Panel, ...]
    camera_length: float | HeaderValue | None = None
    photon_energy: float | HeaderValue | None = None
    adu_per_photon: float | None = None
    adu_per_eV: float | None = None
    bad_regions: tuple[BadRegion, ...] = ()
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    collections: dict[str, tuple[str, ...]] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        if not self.panels:
            raise ValueError(f"geometry {self.name!r} has no panels")
        names = [panel.name for panel in self.panels]
        if len(set(names)) != len(names):
            raise ValueError(f"geometry {self.name!r} has two panels of one name")
        if np.prod(self.shape, dtype=float) > checks.MAX_PIXELS:
            raise ValueError(f"geometry {self.name!r}: a frame of {self.shape} pixels is larger than any detector's")

    @cached_property
    def planes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Data path and fixed indices of each plane of a frame."""
        return tuple(dict.fromkeys(panel.plane for panel in self.panels))

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Shape (panel, ss, fs) of a frame that holds every panel."""
        return len(self.planes), max(p.end_ss for p in self.panels), max(p.end_fs for p in self.panels)

    @property
    def has_data_path(self) -> bool:
        """Whether every panel says where its data stand."""
        return all(panel.data for panel in self.panels)

    @cached_property
    def asics(self) -> npt.NDArray[np.int32]:
        """The panels in a frame: (n, 5) rows of plane, min_ss, end_ss, min_fs, end_fs."""
        rows = [(self.planes.index(p.plane), p.min_ss, p.end_ss, p.min_fs, p.end_fs) for p in self.panels]
        return np.array(rows, np.int32)

    def _fill(
        self, value: Callable[[Panel, npt.NDArray[np.float64], npt.NDArray[np.float64]], npt.ArrayLike]
    ) -> FloatMap:
        out = np.zeros(self.shape, np.float32)
        for panel, (plane, min_ss, end_ss, min_fs, end_fs) in zip(self.panels, self.asics, strict=True):
            ss = np.arange(end_ss - min_ss, dtype=np.float64)[:, None] + 0.5
            fs = np.arange(end_fs - min_fs, dtype=np.float64)[None, :] + 0.5
            out[plane, min_ss:end_ss, min_fs:end_fs] = value(panel, ss, fs)
        return out

    def _component(self, axis: int) -> FloatMap:
        return self._fill(lambda p, ss, fs: p.corner_m[axis] + ss * p.ss_m[axis] + fs * p.fs_m[axis])

    @cached_property
    def x_m(self) -> FloatMap:
        """Laboratory x of each pixel's centre, metres: (panel, ss, fs) float32, 0 outside the panels."""
        return self._component(0)

    @cached_property
    def y_m(self) -> FloatMap:
        """Laboratory y of each pixel's centre, metres."""
        return self._component(1)

    @cached_property
    def z_offset_m(self) -> FloatMap:
        """Laboratory z of each pixel's centre without the camera length, metres."""
        return self._component(2)

    @cached_property
    def radius(self) -> FloatMap:
        """Distance of each pixel's centre from the beam axis, in pixels (of the first panel)."""
        return (np.hypot(self.x_m, self.y_m) / np.float32(self.panels[0].pixel_size_m)).astype(np.float32)

    @cached_property
    def covered(self) -> npt.NDArray[np.bool_]:
        """Which pixels of a frame belong to a panel."""
        out = np.zeros(self.shape, bool)
        for plane, min_ss, end_ss, min_fs, end_fs in self.asics:
            out[plane, min_ss:end_ss, min_fs:end_fs] = True
        return out

    @cached_property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Pixels that the geometry alone calls good: on a panel, in no bad region, on no masked edge."""
        good = self.covered.copy()
        for region in self.bad_regions:
            good &= ~self._in_region(region)
        for panel, (plane, min_ss, end_ss, min_fs, end_fs) in zip(self.panels, self.asics, strict=True):
            tile = good[plane, min_ss:end_ss, min_fs:end_fs]
            edge = checks.pixel(panel.settings.get("mask_edge_pixels", "0"))
            if panel.no_index:
                tile[:] = False
            if edge:
                inner = tile[edge:-edge, edge:-edge].copy()
                tile[:] = False
                tile[edge:-edge, edge:-edge] = inner
        return good

    def _in_region(self, region: BadRegion) -> npt.NDArray[np.bool_]:
        low_a, high_a, low_b, high_b = region.bounds
        inside = np.zeros(self.shape, bool)
        for panel, (plane, min_ss, end_ss, min_fs, end_fs) in zip(self.panels, self.asics, strict=True):
            if region.panel not in (None, panel.name):
                continue
            ss, fs = np.arange(min_ss, end_ss)[:, None], np.arange(min_fs, end_fs)[None, :]
            if region.kind == "xy":
                size = panel.pixel_size_m
                a = self.x_m[plane, min_ss:end_ss, min_fs:end_fs] / size
                b = self.y_m[plane, min_ss:end_ss, min_fs:end_fs] / size
            else:
                a, b = np.broadcast_arrays(fs, ss)
            hit = (a >= low_a) & (a <= high_a) & (b >= low_b) & (b <= high_b)
            inside[plane, min_ss:end_ss, min_fs:end_fs] |= hit
        return inside

    def resolution(
        self, *, camera_length_m: float | None = None, photon_energy_eV: float | None = None
    ) -> npt.NDArray[np.float32]:
        """1/d of each pixel in 1/nm: (panel, ss, fs) float32.

        Camera length and photon energy come from the arguments, else from the geometry.
        Raises ValueError where neither gives a number.
        """
        length = self.number("camera_length", camera_length_m)
        energy = self.number("photon_energy", photon_energy_eV)
        wavelength_nm = HC_EV_M / energy * 1e9
        two_theta = np.arctan2(np.hypot(self.x_m, self.y_m), self.z_offset_m + np.float32(length))
        inverse_d = np.sin(two_theta / 2) * np.float32(2 / wavelength_nm)
        return np.where(self.covered, inverse_d, 0).astype(np.float32)

    def number(self, name: str, given: float | None = None) -> float:
        """Give camera_length (m) or photon_energy (eV) as a number; ValueError if nothing says it."""
        value = given if given is not None else getattr(self, name)
        if isinstance(value, int | float):
            return float(value)
        where = f"is in the data file at {value.path}" if isinstance(value, HeaderValue) else "is not given"
        raise ValueError(f"{name.replace('_', ' ')} {where}: pass a number")

    def with_camera_length(self, length_m: float) -> Detector:
        """The same detector at another camera length, metres. Raises ValueError where it cannot be one."""
        offset_m = self.panels[0].corner_m[2]  # in files whose clen is an encoder's reading it is most of the distance
        checks.check_camera_length_m(length_m + offset_m)
        return replace(self, camera_length=length_m)

    def with_photon_energy(self, energy_eV: float) -> Detector:
        """The same detector at another photon energy. Raises ValueError where it cannot be one."""
        return replace(self, photon_energy=checks.check_photon_energy_eV(energy_eV))

    @property
    def photon_gain(self) -> float | None:
        """ADU a photon, where the geometry has it as a number."""
        if self.adu_per_photon is not None:
            return self.adu_per_photon
        if self.adu_per_eV is not None and isinstance(self.photon_energy, int | float):
            return self.adu_per_eV * self.photon_energy
        return None

    def lab_position_m(
        self, panel: npt.ArrayLike, ss: npt.ArrayLike, fs: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Laboratory x, y and z (z without camera length) of raw positions, metres.

        panel : plane of the frame; ss, fs : raw pixels, an integer is a pixel's centre.
        NaN where a position is on no panel.
        """
        index = self.panel_at(panel, ss, fs)
        _, s, f = np.broadcast_arrays(np.asarray(panel), np.asarray(ss, float), np.asarray(fs, float))
        xyz = np.full((3, *index.shape), np.nan)
        for number, p in enumerate(self.panels):
            on = index == number
            _, min_ss, _, min_fs, _ = self.asics[number]
            d_ss, d_fs = s[on] - min_ss + 0.5, f[on] - min_fs + 0.5
            for axis in range(3):
                xyz[axis][on] = p.corner_m[axis] + d_ss * p.ss_m[axis] + d_fs * p.fs_m[axis]
        return xyz[0], xyz[1], xyz[2]

    def panel_at(self, panel: npt.ArrayLike, ss: npt.ArrayLike, fs: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Index in :attr:`panels` of what lies at raw positions, -1 where nothing does.

        panel : plane of the frame; ss, fs : raw pixels, an integer is a pixel's centre.
        """
        plane, s, f = np.broadcast_arrays(np.asarray(panel), np.asarray(ss, float), np.asarray(fs, float))
        out = np.full(plane.shape, -1, np.int64)
        for number, (index, min_ss, end_ss, min_fs, end_fs) in enumerate(self.asics):
            on = (plane == index) & (s >= min_ss - 0.5) & (s < end_ss - 0.5) & (f >= min_fs - 0.5) & (f < end_fs - 0.5)
            out[on] = number
        return out

    def to_slab(self, panel: npt.ArrayLike, ss: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Slow-scan position in the Cheetah slab, where the planes of a frame lie one under another."""
        return np.asarray(panel) * float(self.shape[1]) + np.asarray(ss, np.float64)

    def from_slab(self, ss: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Plane and slow-scan position of a position in the slab; the inverse of :meth:`to_slab`."""
        position = np.asarray(ss, np.float64)
        plane = np.clip(np.floor((position + 0.5) / self.shape[1]).astype(np.int64), 0, self.shape[0] - 1)
        return plane, position - plane * float(self.shape[1])

    def as_slab(self, data: str, dims: tuple[str | int, ...] = ("%", "ss", "fs")) -> Detector:
        """The same detector with its data as one (event, ss, fs) slab at an HDF5 path."""
        panels, n_ss = [], self.shape[1]
        for panel, row in zip(self.panels, self.asics, strict=True):
            shift = int(row[0]) * n_ss
            panels.append(
                replace(
                    panel,
                    min_ss=panel.min_ss + shift,
                    end_ss=panel.end_ss + shift,
                    dims=dims,
                    data=data,
                    masks=(),
                )
            )
        regions = [self._region_in_slab(region, n_ss) for region in self.bad_regions]
        return replace(self, panels=tuple(panels), bad_regions=tuple(r for group in regions for r in group))

    def _region_in_slab(self, region: BadRegion, n_ss: int) -> list[BadRegion]:
        if region.kind == "xy" or self.shape[0] == 1:
            return [region]
        out = []
        for panel, row in zip(self.panels, self.asics, strict=True):
            if region.panel in (None, panel.name):
                a, b, c, d = region.bounds
                shift = int(row[0]) * n_ss
                name = region.name if region.panel else f"{region.name}_{panel.name}"
                out.append(BadRegion(name, "fsss", (a, b, c + shift, d + shift), panel.name))
        return out
