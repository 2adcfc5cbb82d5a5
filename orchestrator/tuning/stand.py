"""The test stand: a private Triton with a copy of one model, served as a candidate says, under load."""

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from export import versions
from orchestrator.app import make_triton_client
from orchestrator.embedded.triton import EmbeddedTriton
from orchestrator.errors import InferenceError, ModelError, ServerError, SettingsError
from orchestrator.metrics import Metrics
from orchestrator.settings import Settings, TritonSettings
from orchestrator.tuning.candidate import Candidate
from orchestrator.tuning.config_text import ConfigText
from orchestrator.tuning.load import PATIENCE_S, closed_loop
from orchestrator.tuning.pictures import requests
from orchestrator.tuning.trial import Effort, LoadPoint, Trial


@dataclass(frozen=True, slots=True)
class Plan:
    """How a candidate is measured.

    seconds  at each concurrency, at the greater effort
    clips    what the model looks at
    device   where it runs: auto, cpu or gpu
    triton   how it is asked, but for the address
    """

    concurrencies: tuple[int, ...]
    seconds: float
    clips: tuple[Path, ...]
    device: str
    triton: TritonSettings

    def seconds_of(self, effort: Effort) -> float:
        return self.seconds if effort is Effort.LONG else self.seconds / 3


@dataclass(frozen=True, slots=True)
class Slot:
    """A model of the operator's repository."""

    folder: Path
    config: ConfigText
    version: int

    @classmethod
    def find(cls, repository: Path, model: str) -> "Slot":
        """Raises SettingsError, ModelError: no repository, no such model, none of its versions there."""
        models = sorted(path.parent.name for path in repository.glob("*/config.pbtxt"))
        if not models:
            raise SettingsError(
                f"{repository.resolve()} holds no models: set TRITON_MODEL_REPOSITORY, or run `fess models fetch`"
            )
        if model not in models:
            raise SettingsError(f"{repository} has no model {model}; it has {', '.join(models)}")
        folder = repository / model
        version = versions.served(folder)
        if version is None or not (folder / str(version)).is_dir():
            raise ModelError(f"{folder} has no model file: run `fess models fetch`")
        return cls(folder, read_config(folder), version)

    def copy(self, repository: Path) -> Path:
        """The model alone, as it is served, in another repository; the folder there."""
        target = repository / self.folder.name
        target.mkdir(parents=True)
        for path in self.folder.iterdir():
            if path.is_file():
                shutil.copy2(path, target)
        shutil.copytree(self.folder / str(self.version), target / str(self.version))
        return target


def read_config(folder: Path) -> ConfigText:
    """Raises SettingsError."""
    path = folder / versions.CONFIG
    try:
        return ConfigText.read(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error


class Stand:
    """Measures candidates, one after the other, in a folder that is its own."""

    def __init__(self, slot: Slot, plan: Plan, folder: Path) -> None:
        self._slot = slot
        self._plan = plan
        self._repository = folder / "repository"
        self._state = folder / "state"
        self._copy = slot.copy(self._repository)
        self.sent = ""
        """What was sent, in words; empty until something was."""

    async def measure(self, candidate: Candidate, effort: Effort) -> Trial:
        """A candidate that does not run has failed; it does not end the sweep."""
        config = self._slot.config.tuned(candidate)
        (self._copy / versions.CONFIG).write_text(config, encoding="utf-8")
        try:
            points = await self._under_load(self._plan.seconds_of(effort))
        except (ServerError, InferenceError) as error:
            return Trial(candidate, effort, failure=str(error))
        return Trial(candidate, effort, points)

    async def _under_load(self, seconds: float) -> tuple[LoadPoint, ...]:
        name = self._slot.folder.name
        async with EmbeddedTriton(
            self._repository, self._state, device=self._plan.device
        ) as triton:
            asked_so = {
                "url": triton.grpc_url,
                "timeout": PATIENCE_S,
                "max_in_flight": max(self._plan.concurrencies),
            }
            settings = Settings(
                state_dir=self._state, triton=self._plan.triton.model_copy(update=asked_so)
            )
            client = make_triton_client(settings, Metrics(CollectorRegistry()))
            try:
                model = await client.describe(name)
                asked, self.sent = await asyncio.to_thread(requests, model, self._plan.clips)
                return tuple(
                    [
                        await closed_loop(client, model, asked, c, seconds)
                        for c in self._plan.concurrencies
                    ]
                )
            finally:
                await client.close()
