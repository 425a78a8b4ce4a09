"""Every option of the runtime, once; the command line and the host adapters derive from these."""

from __future__ import annotations

from dataclasses import dataclass, field


def option(default: object, text: str) -> object:
    """A dataclass field with its help text."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Peakfinder8Config:
    """Options of peakfinder8. The defaults find the hits of counting and integrating detectors alike."""

    adc_threshold: float | None = option(  # type: ignore[assignment]
        None, "least ADU of a peak's pixels; where the geometry has the gain as a number, 2.5 photons, else 0"
    )
    min_snr: float = option(6.0, "signal over noise of a peak, and radial threshold in sigmas")  # type: ignore[assignment]
    min_pixels: int = option(2, "least pixels of a peak")  # type: ignore[assignment]
    max_pixels: int = option(100, "most pixels of a peak")  # type: ignore[assignment]
    background_radius: int = option(4, "half the radius of the local background disc, pixels")  # type: ignore[assignment]
    samples_per_bin: int = option(0, "pixels a radius for the radial statistics; 0 takes all, 100 is faster")  # type: ignore[assignment]


@dataclass(frozen=True)
class V3r3Config:
    """Options of psana's v3r3; the defaults are those of LUTE's FindPeaksPyAlgos."""

    rank: int = option(3, "pixels that a maximum dominates on each side")  # type: ignore[assignment]
    r0: float = option(3.0, "inner radius of the background ring, pixels")  # type: ignore[assignment]
    dr: float = option(2.0, "width of the background ring, pixels")  # type: ignore[assignment]
    nsigm: float = option(7.0, "threshold of a peak's pixels in sigmas of the ring")  # type: ignore[assignment]
    npix_min: float = option(2, "least pixels of a peak")  # type: ignore[assignment]
    npix_max: float = option(30, "most pixels of a peak")  # type: ignore[assignment]
    amax_thr: float = option(80.0, "least maximum above background, ADU")  # type: ignore[assignment]
    atot_thr: float = option(120.0, "least sum above background, ADU")  # type: ignore[assignment]
    son_min: float = option(7.0, "least signal over noise")  # type: ignore[assignment]


@dataclass(frozen=True)
class HitConfig:
    """What makes an event a hit."""

    min_peaks: int = option(15, "least peaks of a hit")  # type: ignore[assignment]
    max_peaks: int = option(2048, "columns of the peak table: an event keeps its strongest peaks")  # type: ignore[assignment]


@dataclass(frozen=True)
class OutputConfig:
    """What the CXI holds."""

    events: str = option("hits", "hits or all")  # type: ignore[assignment]
    images: str = option("raw", "images in the CXI: raw, gzip, lz4 (bitshuffle; CrystFEL needs the plug-in) or none")  # type: ignore[assignment]
    powder: str = option("none", "powder patterns, the maximum over hits and over misses: none or max")  # type: ignore[assignment]
    flush_s: float = option(5.0, "seconds between flushes: what was flushed survives a crash")  # type: ignore[assignment]


FINDERS = {"peakfinder8": Peakfinder8Config, "v3r3": V3r3Config}
FinderConfig = Peakfinder8Config | V3r3Config
