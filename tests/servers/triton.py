"""Fixtures for a real triton server."""
