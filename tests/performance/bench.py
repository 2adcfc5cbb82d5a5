"""What every section is given: how long to measure, where to write, and the servers it measures against."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr
from rich.console import Console

from orchestrator.embedded.redis import EmbeddedRedis
from orchestrator.embedded.triton import EmbeddedTriton
from orchestrator.embedded.triton_files import TritonFiles
from orchestrator.errors import ServerError
from orchestrator.settings import RedisSettings, Settings, TritonSettings
from tests.e2e.running import Running
from tests.performance.machine import ROOT
from tests.performance.outcome import Lacking, Outcome
from tests.servers.prepared import is_prepared

MODELS = ROOT / "model_repository"


@dataclass(frozen=True, slots=True)
class Bench:
    """What was asked for.

    folder   .fess/bench, for results and for what is worth keeping between runs
    only     parts of a section; empty for all
    section  that is measured
    """

    quick: bool
    folder: Path
    console: Console
    cameras: int = 10
    seconds: float | None = None
    only: tuple[str, ...] = ()
    section: str = ""

    def wants(self, part: str) -> bool:
        return not self.only or part in self.only

    def choose(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def say(self, words: str) -> None:
        self.console.print(f"  {words}", highlight=False, markup=False)

    def sample(self, name: str) -> Path:
        """A sample clip. Raises Lacking."""
        named = os.environ.get("FESS_VIDEOS_MIRROR")
        folders = [Path(named)] if named else []
        for folder in (*folders, ROOT.parent / "shared" / "videos", ROOT / ".fess" / "clips"):
            if (folder / name).is_file():
                return folder / name
        raise Lacking(f"{name}: run `make demo` once, which fetches it, or set FESS_VIDEOS_MIRROR")


class Section(Protocol):
    """A file of this package that measures one thing."""

    async def measure(self, bench: Bench) -> Outcome: ...


@contextmanager
def folder_of_one_run() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fess-bench-") as name:
        yield Path(name)


@dataclass(frozen=True, slots=True)
class Servers:
    """A Triton and a Redis of one's own, and settings that name them."""

    triton: EmbeddedTriton
    redis: EmbeddedRedis
    settings: Settings

    def asking(self, triton: EmbeddedTriton) -> "Servers":
        """The same, with another Triton."""
        changed = self.settings.triton.model_copy(update={"url": triton.grpc_url})
        settings = self.settings.model_copy(update={"triton": changed})
        return replace(self, triton=triton, settings=settings)


@asynccontextmanager
async def servers(folder: Path, repository: Path = MODELS) -> AsyncIterator[Servers]:
    """Raises Lacking."""
    if not is_prepared(MODELS):
        raise Lacking("the models are not prepared: run `make models`")
    try:
        TritonFiles.find()
    except ServerError as error:
        raise Lacking(str(error)) from error
    async with (
        EmbeddedRedis(folder / "state") as redis,
        EmbeddedTriton(repository, folder / "state") as triton,
    ):
        yield Servers(triton, redis, settings_of(folder, redis, triton))


@asynccontextmanager
async def serving(
    write: Callable[[Path, Path], Path], repository: Path, model: str
) -> AsyncIterator[EmbeddedTriton]:
    """A Triton with a model that `write` makes in `repository` after the one that is shipped, and nothing else."""
    write(repository, MODELS / model)
    async with EmbeddedTriton(repository, repository.with_suffix(".state")) as triton:
        yield triton


def settings_of(
    folder: Path, redis: EmbeddedRedis, triton: EmbeddedTriton | None = None
) -> Settings:
    return Settings(
        state_dir=folder / "state",
        triton=TritonSettings(url=triton.grpc_url if triton else "", model_repository=MODELS),
        redis=RedisSettings(host=redis.host, port=redis.port, password=SecretStr(redis.password)),
    )


async def seen(fess: Running, *cameras: str, within_s: float = 90, frames: int = 5) -> None:
    """Wait until each has been inspected so often. Raises TimeoutError; ServerError where `fess run` has ended."""
    await until(
        lambda: fess.process.poll() is not None or fess.sees(*cameras, frames=frames),
        within_s,
        "every camera being seen",
    )
    if fess.process.poll() is not None:
        raise ServerError(f"fess run ended before every camera was seen: {fess.log[-1500:]}")


async def until(
    holds: Callable[[], bool], within_s: float, what: str, every_s: float = 0.2
) -> None:
    """Ask, in a thread, until it holds. Raises TimeoutError, which says what was waited for."""
    try:
        async with asyncio.timeout(within_s):
            held = await asyncio.to_thread(holds)
            while not held:
                await asyncio.sleep(every_s)
                held = await asyncio.to_thread(holds)
    except TimeoutError:
        raise TimeoutError(f"{what} did not happen within {within_s:g} s") from None
