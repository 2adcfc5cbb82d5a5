"""Reads what an operator configures, and tells every mistake in it with its mend."""
