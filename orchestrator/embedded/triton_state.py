"""How the models of an embedded Triton are, and whether the processes that run them are there."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath

import aiohttp
import psutil

ANSWER = aiohttp.ClientTimeout(total=3.0)
FAILURES = (aiohttp.ClientError, TimeoutError, ValueError, KeyError, psutil.NoSuchProcess)


@dataclass(frozen=True, slots=True)
class LoadedModels:
    """ready: (model, version) that answer. refused: why a version does not, by (model, version)."""

    ready: frozenset[tuple[str, str]]
    loading: frozenset[str]
    refused: dict[tuple[str, str], str]

    @property
    def all_answer(self) -> bool:
        """Also while a version is loaded that is to take another's place."""
        return bool(self.ready) and self.loading <= {model for model, _ in self.ready}

    @property
    def lost(self) -> list[str]:
        """Models of which no version answers or will."""
        answering = {model for model, _ in self.ready} | self.loading
        return [
            f"{model}: {why}" for (model, _), why in self.refused.items() if model not in answering
        ]


async def loaded_models(session: aiohttp.ClientSession, url: str) -> LoadedModels:
    """Triton's index. Raises one of FAILURES."""
    async with session.post(f"{url}/repository/index") as answer:
        lines = [line for line in json.loads(await answer.read()) if "state" in line]
    named = [((line["name"], line.get("version", "")), line) for line in lines]
    return LoadedModels(
        frozenset(key for key, line in named if line["state"] == "READY"),
        frozenset(line["name"] for _, line in named if line["state"] == "LOADING"),
        {
            key: line.get("reason", "")
            for key, line in named
            if line["state"] == "UNAVAILABLE" and line.get("reason") != "unloaded"
        },
    )


class BackendProcesses:
    """Follows the processes as versions come and go: each version that is ready needs one for every instance."""

    def __init__(self) -> None:
        self._seen_well: object = None
        self._missed = False

    async def are_there(self, session: aiohttp.ClientSession, url: str, pid: int) -> bool:
        """False once a process is missing at two looks in a row, for between two versions one look may deceive.

        Raises one of FAILURES.
        """
        # Before the index: a version that is ready by then had its processes before.
        running = _running(pid)
        ready = (await loaded_models(session, url)).ready
        now = (frozenset(running), ready)
        if now == self._seen_well:
            return True
        there = Counter(running.values())
        needed = {version: await _instances(session, url, *version) for version in ready}
        whole = all(there[version] >= count for version, count in needed.items())
        self._seen_well = now if whole else None
        missed_before, self._missed = self._missed, not whole
        return whole or not missed_before


def _running(pid: int) -> dict[int, tuple[str, str]]:
    """(model, version) by the process that runs it. Its second word is the model's file: models/NAME/VERSION/…"""
    found: dict[int, tuple[str, str]] = {}
    for process in _alive(psutil.Process(pid).children()):
        try:
            parts = PurePath(process.cmdline()[1]).parts
            found[process.pid] = (parts[1], parts[2])
        except (psutil.NoSuchProcess, IndexError):
            continue
    return found


def _alive(processes: Iterable[psutil.Process]) -> Iterable[psutil.Process]:
    for process in processes:
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except psutil.NoSuchProcess:
            continue


async def _instances(session: aiohttp.ClientSession, url: str, model: str, version: str) -> int:
    async with session.get(f"{url}/models/{model}/versions/{version}/config") as answer:
        if answer.status != 200:
            return 0  # it went meanwhile
        groups = json.loads(await answer.read())["instance_group"]
    return sum(int(group["count"]) * max(len(group.get("gpus", ())), 1) for group in groups)
