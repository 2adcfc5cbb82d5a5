"""Fixtures for a real redis server."""
