"""PeakRT: Bragg peaks from X-ray detector frames, ready for CrystFEL."""
from .peaks import PEAK, PeakTable
__all__ = ["PEAK", "PeakTable"]
