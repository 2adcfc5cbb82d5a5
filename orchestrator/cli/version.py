"""`fess version`."""

from importlib.metadata import version as installed

import typer


def version() -> None:
    """Show the installed version."""
    typer.echo(installed("fess"))
