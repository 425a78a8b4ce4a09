"""The finders, and what they share."""
