"""Every option of the runtime, once; the command line and the host adapters derive from these."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


def option(default: Any, text: str) -> Any:
    """A dataclass field with its help text."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class NetworkConfig:
    """Options of the network. There is nothing to tune: a score is the probability that a candidate is a peak."""

    min_score: float | None = option(
        None, "least probability of a peak; otherwise the model's own, the same everywhere"
    )
    gain: float | None = option(None, "ADU a photon; otherwise the geometry's, or estimated from the frames")
    model: str = option("default", "model file, or the name of a shipped one")
    bad_pixels: str = option("learn", "pixels that stay bright over frames: learn to leave them out, or keep them")


@dataclass(frozen=True)
class DenseConfig:
    """Options of the dense network, which gives every pixel a class: background, Bragg peak or artifact."""

    min_score: float | None = option(
        None, "least probability of a peak's pixels; otherwise the model's own, the same everywhere"
    )
    gain: float | None = option(None, "ADU a photon; otherwise the geometry's, or estimated from the frames")
    model: str = option("dense", "model file, or the name of a shipped one")


@dataclass(frozen=True)
class Peakfinder8Config:
    """Options of peakfinder8. The defaults find the hits of counting and integrating detectors alike."""

    adc_threshold: float | None = option(
        None, "least ADU of a peak's pixels; where the geometry has the gain as a number, 2.5 photons, else 0"
    )
    min_snr: float = option(6.0, "signal over noise of a peak, and radial threshold in sigmas")
    min_pixels: int = option(2, "least pixels of a peak")
    max_pixels: int = option(100, "most pixels of a peak")
    background_radius: int = option(4, "half the radius of the local background disc, pixels")
    samples_per_bin: int = option(0, "pixels a radius for the radial statistics; 0 takes all, 100 is faster")


@dataclass(frozen=True)
class V3r3Config:
    """Options of psana's v3r3; the defaults are those of LUTE's FindPeaksPyAlgos."""

    rank: int = option(3, "pixels that a maximum dominates on each side")
    r0: float = option(3.0, "inner radius of the background ring, pixels")
    dr: float = option(2.0, "width of the background ring, pixels")
    nsigm: float = option(7.0, "threshold of a peak's pixels in sigmas of the ring")
    npix_min: float = option(2, "least pixels of a peak")
    npix_max: float = option(30, "most pixels of a peak")
    amax_thr: float = option(80.0, "least maximum above background, ADU")
    atot_thr: float = option(120.0, "least sum above background, ADU")
    son_min: float = option(7.0, "least signal over noise")


@dataclass(frozen=True)
class HitConfig:
    """What makes an event a hit."""

    min_peaks: int = option(15, "least peaks of a hit")
    max_peaks: int = option(2048, "columns of the peak table: an event keeps its strongest peaks")


@dataclass(frozen=True)
class OutputConfig:
    """What the CXI holds."""

    events: str = option("hits", "hits or all")
    images: str = option("raw", "images in the CXI: raw, gzip, lz4 (bitshuffle; CrystFEL needs the plug-in) or none")
    mask_out: str = option("none", "automatic mask of each event, by the dense network (slow): none or artifacts")
    powder: str = option("none", "powder patterns, the maximum over hits and over misses: none or max")
    flush_s: float = option(5.0, "seconds between flushes: what was flushed survives a crash")


FINDERS = {"network": NetworkConfig, "dense": DenseConfig, "peakfinder8": Peakfinder8Config, "v3r3": V3r3Config}
FinderConfig = NetworkConfig | DenseConfig | Peakfinder8Config | V3r3Config


def named(config: FinderConfig) -> tuple[str, dict[str, Any]]:
    """Name in FINDERS and options of a finder's config."""
    return next(name for name, kind in FINDERS.items() if isinstance(config, kind)), asdict(config)
