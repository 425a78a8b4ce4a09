"""PeakRT under other programs' names: one file for each host."""
