"""Tries every dependency and camera, and says what to mend."""
