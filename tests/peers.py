"""Programs nobody here wrote, loaded as far as they go."""

from __future__ import annotations

import glob
import importlib
import importlib.util
import sys
import types
import warnings
from typing import Any

import numpy as np
import pytest


def psana_package() -> types.ModuleType:
    """psana without its start-up, which wants MPI: enough to import its finders and its geometry code.

    psana is in no extra of ours; ``pip install --no-deps psana==4.3.4`` is all that is needed here.
    """
    if "psana" not in sys.modules:
        spec = importlib.util.find_spec("psana")
        if spec is None or not spec.submodule_search_locations:
            pytest.skip("psana is not installed (pip install --no-deps psana==4.3.4)")
        package = types.ModuleType("psana")
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["psana"] = package
    return sys.modules["psana"]


def psana_finder() -> Any:
    """psana's compiled peak finders: the module psana.psalg_ext."""
    root = psana_package().__path__[0]
    libraries = glob.glob(f"{root}/psalg_ext*.so")
    if not libraries:
        pytest.skip("this psana has no psalg_ext")
    spec = importlib.util.spec_from_file_location("psana.psalg_ext", libraries[0])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def psana_geometry(path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixel coordinates of a psana geometry file, by psana itself, um."""
    psana_package()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        access = pytest.importorskip("psana.pscalib.geometry.GeometryAccess", exc_type=ImportError)
        return access.GeometryAccess(path, 0).get_pixel_coords()


def om_peakfinder8(
    frame: np.ndarray,
    mask: np.ndarray,
    radius: np.ndarray,
    asic: tuple[int, int],
    options: dict[str, Any],
    sample: Any = None,
) -> np.ndarray:
    """ondamonitor 23.8.3 on a slab (ss, fs): rows of ss, fs, intensity, npix, max, noise, snr."""
    peer = pytest.importorskip("om.algorithms._crystallography")
    pixels, bins = (None, None) if sample is None else sample
    lists = peer.peakfinder_8(
        100000, np.ascontiguousarray(frame, np.float32), mask.astype(np.int8), np.ascontiguousarray(radius, np.float32),
        0 if sample is None else len(pixels), pixels, bins, int(sample is not None),
        asic[1], asic[0], frame.shape[1] // asic[1], frame.shape[0] // asic[0],
        options["adc_threshold"], options["min_snr"], options["min_pixels"], options["max_pixels"], options["background_radius"],
    )  # fmt: skip
    fs, ss, intensity, _, npix, maximum, sigma, snr = lists
    return np.array([ss, fs, intensity, npix, maximum, sigma, snr]).T.reshape(-1, 7)
