"""Finders on a GPU: their kernels, batches and memory."""
