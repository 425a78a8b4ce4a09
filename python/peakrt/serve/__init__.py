"""One process that finds for all ranks of a node."""
