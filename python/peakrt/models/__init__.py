"""Models that come with PeakRT."""
