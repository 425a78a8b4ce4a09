"""The monitor: what a run has told so far, in a browser while it lasts and as one file afterwards."""
