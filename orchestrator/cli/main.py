"""The `fess` command: what an operator types."""

import logging
import sys
from collections.abc import Iterator

import typer
from rich.console import Console

from eventbus.bus import BusError
from orchestrator.cli import bench, cameras, check, faces, models
from orchestrator.cli.demo import demo
from orchestrator.cli.events import events
from orchestrator.cli.replay import replay
from orchestrator.cli.run import run
from orchestrator.cli.status import status
from orchestrator.cli.version import version
from orchestrator.cli.worker import worker
from orchestrator.errors import FessError
from orchestrator.telemetry import logs_json, scrub

log = logging.getLogger(__name__)

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    help="""Watch many cameras, say who and what is in front of them, and tell the people who need to know.

    [bold]Begin with[/bold]

      fess demo                          sample clips as cameras, everything on this machine\n
      fess cameras add lobby rtsp://…    your own camera\n
      fess faces enrol "Ann" ann.jpg     somebody to be recognised\n
      fess check                         tries everything, says what to mend\n
      fess run                           watch; the page is at http://127.0.0.1:8080/
    """,
)
app.command()(demo)
app.command()(run)
app.command()(status)
app.command()(replay)
app.command()(events)
app.command(name="check")(check.command)
app.add_typer(cameras.app, name="cameras")
app.add_typer(faces.app, name="faces")
app.add_typer(models.app, name="models")
app.add_typer(bench.app, name="bench")
app.command()(version)
app.command(hidden=True)(worker)


def main() -> None:
    """Run the command line. A named failure is told in one line and exits with 1; a bug shows its traceback."""
    try:
        app(prog_name="fess")
    except (FessError, BusError) as error:
        _tell([error])
    except ExceptionGroup as group:
        named, bugs = group.split((FessError, BusError))
        if bugs is not None or named is None:
            raise
        _tell(list(_leaves(named)))
    sys.exit(1)


def _tell(errors: list[Exception]) -> None:
    console = Console(stderr=True)
    for error in errors:
        if logs_json():
            log.critical("%s", error, extra={"error": type(error).__name__})
            continue
        # Soft-wrapped: an address or a path that is told can be copied.
        words = f"error: {scrub(str(error))}"
        console.print(words, style="red", markup=False, highlight=False, soft_wrap=True)


def _leaves(group: ExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


if __name__ == "__main__":
    main()
