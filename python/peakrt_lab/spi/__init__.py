"""Single particles: simulated patterns, hits by lit pixels, size by fit, and one particle against several."""
