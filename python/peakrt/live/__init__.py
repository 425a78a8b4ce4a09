"""A run that is indexed while it is measured: hits go through a broker to the workers of indexamajig."""
