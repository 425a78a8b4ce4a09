"""Screening against the network of Ke et al. 2018, on simulated twins of its five runs."""
