"""Finds out how Triton serves a model best on this machine, by measuring."""
