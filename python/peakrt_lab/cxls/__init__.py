"""A compact X-ray light source: photon energy and camera length from a run's own frames."""
