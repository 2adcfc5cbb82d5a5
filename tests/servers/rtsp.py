"""Fixtures for a real rtsp server."""
