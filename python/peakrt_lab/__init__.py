"""Where finders are made and judged: simulation, comparison, evaluation by indexing."""
