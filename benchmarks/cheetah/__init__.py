"""PeakRT and its rivals on long simulated runs: hits, indexed frames, yields, merged data (the form of Wang et al. 2025)."""
