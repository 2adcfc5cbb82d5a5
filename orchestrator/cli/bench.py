"""`fess bench`: measures on this machine, and tunes by what was measured."""

import asyncio
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as ProgressBar
from rich.syntax import Syntax
from rich.table import Table

from export.exporting import DEFAULT_CLIPS
from orchestrator.errors import SettingsError
from orchestrator.settings import Settings, load
from orchestrator.telemetry import configure_logging
from orchestrator.tuning.outcome import COLUMNS, Outcome, difference, write
from orchestrator.tuning.stand import Plan, Slot
from orchestrator.tuning.sweep import Progress, Sweep, Wish
from orchestrator.tuning.trial import Trial

app = typer.Typer(
    name="bench",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Measure on this machine, and tune by what was measured.",
)
# Of a frame's age the other half is for decoding, faces and the way to the event bus.
SHARE_OF_FRAME_AGE = 0.5
INTERRUPTED = 130

Model = Annotated[str, typer.Argument(help="Folder of the model repository.")]
Clips = Annotated[
    list[Path] | None,
    typer.Option(
        "--clip",
        exists=True,
        help="What the model shall look at, several times if there are several. Default: a sample clip "
        "if one is here, else noise.",
    ),
]
Limit = Annotated[
    float | None,
    typer.Option(
        "--p99",
        min=0.1,
        help="Milliseconds in which 99 of 100 answers must come. Default: half of CAPTURE_MAX_FRAME_AGE.",
    ),
]
Concurrency = Annotated[
    str, typer.Option(help="Requests on their way at once; about as many as cameras ask at once.")
]
Seconds = Annotated[float, typer.Option(min=0.1, help="To measure at each concurrency.")]
Repeats = Annotated[int, typer.Option(min=1, help="Times each finalist is measured.")]
Instances = Annotated[str | None, typer.Option(help="Numbers to try, as 2,4. Default: by cores.")]
Batches = Annotated[str | None, typer.Option(help="Largest batches to try. Default: 1 to 16.")]
Delays = Annotated[
    str | None, typer.Option(help="Queue delays to try, in microseconds. Default: 0 to 5000.")
]
Threads = Annotated[
    str | None, typer.Option(help="Threads of one run to try. Default: 1 to the cores.")
]
Output = Annotated[
    Path | None, typer.Option(help="Folder for results. Default: .fess/bench/serving/MODEL.")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Forget what was measured before.")]
Write = Annotated[
    bool, typer.Option("--write", help="Put the best into config.pbtxt, and keep the old one.")
]


SERVING = "\n\n".join(
    (
        "Find out how Triton serves a model best here: instances, batch limit, queue delay, threads.",
        "It starts a private Triton with a copy of the model (yours goes on untouched), loads it as cameras "
        "would, and looks for the most inferences a second of which 99 % come in time, and of what gives as many "
        "for the soonest: first a coarse grid, then steps from the best of it, then a final among the best few "
        "and what is configured now.",
        "Ten to fifteen minutes; let nothing else run meanwhile. Ctrl-C shows what is known so far; the same "
        "command goes on from there. The best is proposed only if it beat what is configured now every time.",
        "[bold]fess bench serving[/bold]: what would be better, as a diff",
        "[bold]fess bench serving --write[/bold]: the same, written; nothing is measured twice",
        "[bold]fess bench serving face_detector --p99 50[/bold]: another model, sooner answers",
        "[bold]fess bench serving --clip entrance.mp4 --batch 4,8[/bold]: pictures of yours, fewer tries",
    )
)


@app.callback()
def bench() -> None:
    """Measure on this machine, and tune by what was measured."""


@app.command(help=SERVING)
def serving(
    model: Model = "object_detector",
    clip: Clips = None,
    p99: Limit = None,
    concurrency: Concurrency = "1,2,4,8,16",
    seconds: Seconds = 3.0,
    repeats: Repeats = 3,
    instances: Instances = None,
    batch: Batches = None,
    delay: Delays = None,
    threads: Threads = None,
    output: Output = None,
    fresh: Fresh = False,
    write_best: Write = False,
) -> None:
    """What SERVING says."""
    settings = load()
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    configure_logging(settings.environment, "CRITICAL")  # a candidate may fail, which its line says
    slot = Slot.find(settings.triton.model_repository, model)
    clips = tuple(clip) if clip else _sample(settings)
    at_once = _numbers("concurrency", concurrency)
    plan = Plan(at_once, seconds, clips, settings.detector.device, settings.triton)
    given = {"instances": instances, "max_batch": batch, "threads": threads}
    values = {name: _numbers(name, text) for name, text in given.items() if text}
    if delay:
        values["queue_delay_us"] = _numbers("delay", delay, least=0)
    limit_ms = p99 or SHARE_OF_FRAME_AGE * settings.capture.max_frame_age * 1000
    folder = output or settings.state_dir / "bench" / "serving" / model
    outcome, whole = _swept(slot, plan, Wish(limit_ms, repeats, values), folder, fresh, console)
    if outcome.standings:
        outcome.save(folder, f"{model}: latency against throughput")
        _show(outcome, folder)
    if not whole:
        console.print("Interrupted; the same command goes on from here.")
        raise typer.Exit(INTERRUPTED)
    _conclude(slot, outcome, console, write_best=write_best)


def _swept(
    slot: Slot, plan: Plan, wish: Wish, folder: Path, fresh: bool, console: Console
) -> tuple[Outcome, bool]:
    """What was found, and whether it was finished."""
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}")
    with ProgressBar(*columns, console=console, transient=True) as bar:
        sweep = Sweep(
            slot,
            plan,
            wish,
            folder,
            fresh=fresh,
            on_trial=lambda trial: bar.console.print(_line(trial, wish.limit_ms)),
            on_progress=_shown_on(bar, slot.folder.name),
        )
        if sweep.remembered:
            console.print(f"{sweep.remembered} trials are remembered from before.")
        try:
            return asyncio.run(sweep.run()), True
        except KeyboardInterrupt:
            return sweep.so_far(), False


def _shown_on(bar: ProgressBar, name: str) -> Callable[[Progress], None]:
    task = bar.add_task(name, total=None, left="")

    def show(progress: Progress) -> None:
        left = f"at most {progress.left} trials, {_duration(progress.left_s)}"
        total = progress.done + progress.left
        bar.update(task, completed=progress.done, total=total, left=left)

    return show


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _line(trial: Trial, limit_ms: float) -> str:
    best = trial.best(limit_ms)
    if trial.failure:
        said = f"does not run: {trial.failure.splitlines()[-1]}"
    elif best is None:
        said = f"no answer in time: 99 % take more than {limit_ms:g} ms"
    else:
        said = (
            f"{best.per_s:.0f} a second, p99 {best.p99_ms:.1f} ms at concurrency {best.concurrency}"
        )
    return f"{trial.candidate.words}: {said}"


def _show(outcome: Outcome, folder: Path) -> None:
    console = Console()
    table = Table(
        title=f"p99 at most {outcome.limit_ms:g} ms",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    for name in COLUMNS:  # whole words in a terminal of 80
        longest = max(map(len, name.split()), default=len("best"))
        table.add_column(name, min_width=longest, no_wrap=name == "range")
    table.columns[0].max_width = len("best")
    for row in outcome.rows():
        table.add_row(*row, style="bold green" if row[0].startswith("best") else None)
    console.print(table)
    console.print(f"{folder}: results.json, results.md, latency.svg", highlight=False)


def _conclude(slot: Slot, outcome: Outcome, console: Console, *, write_best: bool) -> None:
    best, now = outcome.best, outcome.now
    if best is not None and not max(best.scores(outcome.limit_ms)):
        console.print(f"No way answers 99 % within {outcome.limit_ms:g} ms; give more with --p99.")
        return
    if best is None or now is None or best.candidate == now.candidate:
        console.print("What is configured now is the best that was found.")
        return
    if not outcome.improved:
        console.print("Nothing was better than what is configured now in every repetition.")
        return
    more = best.score(outcome.limit_ms)[0] / max(now.score(outcome.limit_ms)[0], 1e-9) - 1
    words = [best.candidate.words, _gain(more)]
    if isfinite(best.mean_ms()) and isfinite(now.mean_ms()):
        words.append(f"mean {best.mean_ms():.1f} ms for {now.mean_ms():.1f}")
    console.print(f"Best: {', '.join(words)}.")
    if not write_best:
        Console().print(Syntax(difference(slot, best), "diff"))
        console.print("Write it with --write.")
        return
    kept = write(slot, best)
    console.print(
        f"{slot.folder / 'config.pbtxt'} is written; the old one is {kept.name}. A running `fess run` takes it up "
        "within seconds, and so does a Triton of yours that polls; restart any other."
    )


def _gain(gain: float) -> str:
    return f"{gain:+.0%} to now" if gain < 100 else "where now no load keeps the limit"


def _sample(settings: Settings) -> tuple[Path, ...]:
    """A sample clip, if it was fetched already."""
    folders = [settings.videos_mirror, settings.state_dir / "clips"]
    found = [f / name for f in folders if f is not None for name in DEFAULT_CLIPS]
    return tuple([path for path in found if path.is_file()][:1])


def _numbers(name: str, text: str, least: int = 1) -> tuple[int, ...]:
    try:
        numbers = sorted({int(part) for part in text.split(",")})
    except ValueError:
        numbers = []
    if not numbers or numbers[0] < least:
        raise SettingsError(f"{name} {text}: give whole numbers from {least} on, as 1,2,4")
    return tuple(numbers)
