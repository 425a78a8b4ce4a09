"""The finders, and what they share; registry.py lists them."""
