"""PeakRT: Bragg peaks from X-ray detector frames, ready for CrystFEL."""

from .config import CandidateConfig, Peakfinder8Config, V3r3Config
from .event import Event
from .finder import PeakFinder
from .finders.peakfinder8 import Peakfinder8
from .finders.psana_algos import v3r3, v4r3
from .peaks import PEAK, PeakTable

__all__ = [
    "PEAK",
    "CandidateConfig",
    "Event",
    "PeakFinder",
    "PeakTable",
    "Peakfinder8",
    "Peakfinder8Config",
    "V3r3Config",
    "v3r3",
    "v4r3",
]
