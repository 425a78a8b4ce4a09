"""Screening: how many peaks an event has, in probabilities; which events to keep, with a promise; a run cut down to them."""
