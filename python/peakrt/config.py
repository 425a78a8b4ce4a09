"""Every option of the runtime, once; the command line and the host adapters derive from these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar


def option(default: Any, text: str, *, unit: str = "", choices: Sequence[str] = ()) -> Any:
    """A dataclass field with its help text, the unit of a number, and the words that it may be."""
    return field(default=default, metadata={"help": text, "unit": unit, "choices": tuple(choices)})


@dataclass(frozen=True)
class Config:
    """Base of the configs: checks the fields that have choices. Raises ValueError for a word that is none of them."""

    about: ClassVar[str] = ""

    def __post_init__(self) -> None:
        self._check_choices()
        self.check()

    def check(self) -> None:
        """Raise ValueError for numbers that make no sense."""

    def _check_choices(self) -> None:
        for item in fields(self):
            value, choices = getattr(self, item.name), item.metadata.get("choices", ())
            if choices and value not in choices:
                expected = ", ".join(choices[:-1]) + f" or {choices[-1]}"
                raise ValueError(f"{item.name} is {value!r}, it should be {expected}")


class ModelConfig(Config):
    """Base of the configs of finders that run a model."""

    min_score: float | None
    gain: float | None

    def check(self) -> None:
        """Raise ValueError for a score or a gain that cannot be."""
        if self.min_score is not None and not 0 < self.min_score <= 1:
            raise ValueError(f"min_score is {self.min_score}, a probability above 0 and at most 1")
        if self.gain is not None and not 0 < self.gain < float("inf"):
            raise ValueError(f"gain is {self.gain} ADU a photon, it should be above 0")


@dataclass(frozen=True)
class CandidateConfig(ModelConfig):
    """Options of the candidate finder. There is nothing to tune: a score is the probability that a candidate is a peak."""

    about: ClassVar[str] = "a small model gives each candidate a probability; nothing to tune"
    min_score: float | None = option(
        None, "least probability of a peak; otherwise the model's own, the same everywhere", unit="0..1"
    )
    gain: float | None = option(
        None, "gain of the detector; otherwise the geometry's, or estimated from the frames", unit="ADU/photon"
    )
    model: str = option("default", "model file, or the name of a shipped one")
    bad_pixels: str = option(
        "learn", "pixels that stay bright over frames: learn to leave them out, or keep them", choices=("learn", "keep")
    )


@dataclass(frozen=True)
class SegmentationConfig(ModelConfig):
    """Options of the segmentation finder, whose model gives every pixel a class: background, Bragg peak or artifact."""

    about: ClassVar[str] = "a model gives every pixel a class: background, peak or artifact"
    min_score: float | None = option(
        None, "least probability of a peak's pixels; otherwise the model's own, the same everywhere", unit="0..1"
    )
    gain: float | None = option(
        None, "gain of the detector; otherwise the geometry's, or estimated from the frames", unit="ADU/photon"
    )
    model: str = option("segmentation", "model file, or the name of a shipped one")


@dataclass(frozen=True)
class Peakfinder8Config(Config):
    """Options of peakfinder8. The defaults find the hits of counting and integrating detectors alike."""

    about: ClassVar[str] = "Cheetah's and OM's algorithm"
    adc_threshold: float | None = option(
        None,
        "least value of a peak's pixels; otherwise 2.5 photons where the geometry has the gain as a number, else 0",
        unit="ADU",
    )
    min_snr: float = option(6.0, "signal over noise of a peak, and radial threshold", unit="sigma")
    min_pixels: int = option(2, "least pixels of a peak", unit="pixels")
    max_pixels: int = option(100, "most pixels of a peak", unit="pixels")
    background_radius: int = option(4, "half the radius of the local background disc", unit="pixels")
    samples_per_bin: int = option(
        0, "taken of each radius for the radial statistics; 0 takes all, 100 is faster", unit="pixels"
    )


@dataclass(frozen=True)
class V3r3Config(Config):
    """Options of psana's v3r3; the defaults are those of LUTE's FindPeaksPyAlgos."""

    about: ClassVar[str] = "psana's algorithm, with the defaults of LUTE's FindPeaksPyAlgos"
    rank: int = option(3, "how far a maximum dominates on each side", unit="pixels")
    r0: float = option(3.0, "inner radius of the background ring", unit="pixels")
    dr: float = option(2.0, "width of the background ring", unit="pixels")
    nsigm: float = option(7.0, "threshold of a peak's pixels over the ring", unit="sigma")
    npix_min: float = option(2, "least pixels of a peak", unit="pixels")
    npix_max: float = option(30, "most pixels of a peak", unit="pixels")
    amax_thr: float = option(80.0, "least maximum above background", unit="ADU")
    atot_thr: float = option(120.0, "least sum above background", unit="ADU")
    son_min: float = option(7.0, "least signal over noise", unit="sigma")


@dataclass(frozen=True)
class HitConfig(Config):
    """What makes an event a hit."""

    min_peaks: int = option(15, "least peaks of a hit", unit="peaks")
    max_peaks: int = option(2048, "columns of the peak table: an event keeps its strongest peaks", unit="peaks")
    min_indexable: float = option(
        0.0, "least P(indexable) of a hit, as peakrt screen gives it for a recall; with --min-peaks 0 it alone decides",
        unit="0..1",
    )  # fmt: skip

    def check(self) -> None:
        """Raise ValueError for a probability that cannot be."""
        if not 0 <= self.min_indexable <= 1:
            raise ValueError(f"min_indexable is {self.min_indexable}, a probability from 0 to 1 is expected")


@dataclass(frozen=True)
class OutputConfig(Config):
    """What the CXI holds."""

    events: str = option("hits", "events to write", choices=("hits", "all"))
    images: str = option(
        "raw",
        "images in the CXI; for lz4, which is bitshuffled, CrystFEL needs the plug-in",
        choices=("raw", "gzip", "lz4", "none"),
    )
    mask_out: str = option(
        "none", "automatic mask of each event, by the segmentation model (slow)", choices=("none", "artifacts")
    )
    powder: str = option("none", "powder patterns, the maximum over hits and over misses", choices=("none", "max"))
    on_bad_event: str = option(
        "skip", "an event that cannot be used, such as a frame of NaN or a damaged chunk", choices=("skip", "stop")
    )
    flush_s: float = option(5.0, "time between flushes: what was flushed survives a crash", unit="s")
