"""Fixtures for a real kafka server."""
