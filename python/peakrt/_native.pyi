"""Types of the Cython bindings; shapes and meanings are those of the callers' docstrings."""

from typing import Any

import numpy as np
import numpy.typing as npt

PEAK_OFFSETS: dict[str, int]
PEAK_SIZE: int
SPOT_SIZE: int
PROFILE_START_SIZE: int
PROFILE_FIT_SIZE: int
DEVICE: dict[str, int]
PROPOSER_BATCH: np.dtype[np.void]
PEAKFINDER8_BATCH: np.dtype[np.void]
CONV_LAYER: np.dtype[np.void]
PROPOSER_KERNELS: dict[str, bool]
PROPOSER_TEAMS: dict[str, int]
BAD_PIXEL: tuple[int, float, float, float]

Array = npt.NDArray[Any]

def instruction_set() -> str: ...
def set_instruction_set(name: str) -> None: ...

class Plan:
    def __init__(self, mask: Array, radius: Array, asics: Array, samples_per_bin: int) -> None: ...
    def with_mask(self, mask: Array) -> Plan: ...
    def arrays(self) -> dict[str, Any]: ...

class Workspace:
    def __init__(
        self,
        plan: Plan,
        adc_threshold: float,
        min_snr: float,
        min_pixels: int,
        max_pixels: int,
        background_radius: int,
        original: bool,
    ) -> None: ...
    def find(self, frame: Array, dtype: np.dtype[Any]) -> npt.NDArray[np.void]: ...

FEATURES: tuple[str, ...]
FRAME_INPUTS: tuple[str, ...]
FRAME_HIDDEN: int
FRAME_WEIGHTS: int

def frame_inputs(numbers: Array, scores: Array) -> npt.NDArray[np.float32]: ...
def weigh_scores(numbers: Array, scores: Array, weights: Array) -> npt.NDArray[np.float32]: ...

class ProposerPlan:
    def __init__(self, mask: Array, bins: Array, asics: Array, radial: bool) -> None: ...
    def with_mask(self, mask: Array) -> ProposerPlan: ...
    def arrays(self) -> dict[str, Any]: ...

class Proposer:
    def __init__(self, plan: ProposerPlan) -> None: ...
    def propose(self, frame: Array, gain: float) -> int: ...
    def candidates(self, dtype: np.dtype[Any]) -> npt.NDArray[np.void]: ...
    def set_candidates(self, candidates: npt.NDArray[np.void]) -> None: ...
    def describe(self, frame: Array) -> npt.NDArray[np.float32]: ...
    def measure(
        self, frame: Array, gain: float, scores: Array, usual: float, in_hits: float, dtype: np.dtype[Any]
    ) -> npt.NDArray[np.void]: ...
    def tables(self) -> dict[str, Any]: ...
    def segmentation_inputs(self, frame: Array, gain: float, out: Array) -> None: ...

def v3r3(
    frame: Array,
    mask: Array,
    dtype: np.dtype[Any],
    rank: int,
    r0: float,
    dr: float,
    nsigm: float,
    npix_min: float,
    npix_max: float,
    amax_thr: float,
    atot_thr: float,
    son_min: float,
) -> npt.NDArray[np.void]: ...
def v4r3(
    frame: Array,
    mask: Array,
    dtype: np.dtype[Any],
    thr_low: float,
    thr_high: float,
    rank: int,
    r0: float,
    dr: float,
    npix_min: float,
    npix_max: float,
    amax_thr: float,
    atot_thr: float,
    son_min: float,
) -> npt.NDArray[np.void]: ...
def label(foreground: Array, labels: Array) -> int: ...
def measure(
    frame: Array,
    labels: Array,
    n: int,
    background: Array,
    variance: Array,
    score: Array | None,
    dtype: np.dtype[Any],
) -> npt.NDArray[np.void]: ...
def draw_spots(spots: npt.NDArray[np.void], expected: Array) -> None: ...
def count_photons(photons: Array, seed: int) -> None: ...
def read_out(
    photons: Array,
    frame: Array,
    *,
    offset: float,
    gain: float,
    gain_spread: float,
    read_noise: float,
    low: float,
    high: float,
    whole: bool,
    pixel_seed: int,
    seed: int,
) -> None: ...
def peakfinder8_twin(kernel: str, batch: Array, frames: Array) -> None: ...
def proposer_twin(kernel: str, batch: Array, frames: Array) -> None: ...
def conv_twin(layer: Array) -> None: ...
def to_half(value: float) -> int: ...

class SoundFile:
    def __init__(self, descriptor: int) -> None: ...
    @property
    def error(self) -> int: ...
    def seek(self, offset: int, whence: int = 0) -> int: ...
    def tell(self) -> int: ...
    def read(self, n: int = -1) -> bytes: ...
    def readinto(self, data: Any) -> int: ...
    def write(self, data: Any) -> int: ...
    def truncate(self, size: int) -> int: ...
    def flush(self) -> None: ...

def fit_profiles(
    photons: Array, regions: Array, starts: npt.NDArray[np.void], radius: int, dtype: np.dtype[Any]
) -> npt.NDArray[np.void]: ...
