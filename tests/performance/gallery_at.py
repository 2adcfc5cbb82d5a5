"""Measures a gallery of one size in a process of its own, whose memory is then the gallery's: prints JSON.

python -m tests.performance.gallery_at HOST PORT PASSWORD SCATTERED PROBES CHANGES

The gallery is read from that Redis; then, so many faces strong, one of evenly scattered vectors is made in memory.
"""

import asyncio
import gc
import json
import resource
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from redis.asyncio import Redis

from orchestrator.metrics import Metrics
from orchestrator.recognition.connection import connect
from orchestrator.recognition.enrolled import EnrolledFace, EnrolledPerson
from orchestrator.recognition.gallery import Gallery, blocks_of
from orchestrator.recognition.gallery_store import GalleryStore
from orchestrator.recognition.gallery_watcher import GalleryWatcher
from orchestrator.settings import RedisSettings
from tests.performance.usage import MIB
from tests.recognition.faces_at_large import faces, pictures, scattered, subjects
from tests.recognition.vectors import MODEL

DIMENSION = 512
PIECE = 10_000


async def main(place: RedisSettings, more: int, probes: int, changes: int) -> dict[str, Any]:
    redis = connect(place)
    watcher = GalleryWatcher(redis, MODEL, DIMENSION, metrics=Metrics(CollectorRegistry()))
    found: dict[str, Any] = {"before_mib": _resident_mib()}
    try:
        async with _stalls() as stalls:
            began_s = time.perf_counter()
            await watcher.refresh()
            found["load_s"] = time.perf_counter() - began_s
        found["load_stall_ms"] = max(stalls) * 1000
        found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB
        gc.collect()
        found["after_mib"] = _resident_mib()
        found["faces"], found["people"] = watcher.current.faces, len(watcher.current)
        found["face_like"] = _matching(watcher.current, _probes(watcher.current, probes))
        found |= await _changes(redis, watcher, changes)
    finally:
        await redis.aclose()
    del watcher
    gc.collect()
    found["scattered"] = _scattered(more, probes)
    return found


def _probes(gallery: Gallery, count: int) -> NDArray[np.float32]:
    """Half of them further pictures of people who are enrolled, half strangers."""
    rng = np.random.default_rng(3)
    people = [gallery.subject(f"person-{n:08}") for n in rng.integers(0, len(gallery), count // 2)]
    known = np.stack([person.embeddings[0] for person in people if person is not None])
    return np.concatenate([pictures(rng, known), faces(rng, count - len(known), DIMENSION)])


def _matching(gallery: Gallery, probes: NDArray[np.float32]) -> dict[str, Any]:
    taken_ms, answers = [], []
    for probe in probes:
        began_s = time.perf_counter()
        answers.append(gallery.match(probe))
        taken_ms.append((time.perf_counter() - began_s) * 1000)
    first = second = same = 0
    for probe, answer in zip(probes, answers, strict=True):
        truth = _compared_in_full(gallery, probe)
        got = [(candidate.face_id, candidate.similarity) for candidate in answer[:2]]
        first += got[0][0] == truth[0][0]
        second += got[1][0] == truth[1][0]
        same += got == truth
    shares = [count / len(probes) for count in (first, second, same)]
    return {"taken_ms": taken_ms, "first": shares[0], "second": shares[1], "same": shares[2]}


def _compared_in_full(gallery: Gallery, probe: NDArray[np.float32]) -> list[tuple[str, float]]:
    """The two people most alike, by every number of every face."""
    best: list[tuple[float, str]] = []
    for block in gallery._blocks:
        alike = np.maximum.reduceat(np.vecdot(block.matrix, probe), block.starts[:-1])
        top = np.argsort(-alike, kind="stable")[:2]
        best += [(-float(alike[place]), block.face_ids[place]) for place in top]
    return [(face_id, -negated) for negated, face_id in sorted(best)[:2]]


async def _changes(redis: Redis, watcher: GalleryWatcher, count: int) -> dict[str, Any]:
    """From the store's acknowledgement of a change to its being in force, and the longest stall of the loop."""
    store = GalleryStore(redis)
    enrolled_s, removed_s = [], []
    vectors = scattered(np.random.default_rng(4), count, DIMENSION)
    async with asyncio.TaskGroup() as tasks, _stalls() as stalls:
        following = tasks.create_task(watcher.run())
        await asyncio.sleep(0.5)
        for number, vector in enumerate(vectors):
            face_id = f"person-new-{number}"
            face = EnrolledFace(vector, 0.5, datetime.now(UTC))
            person = EnrolledPerson(face_id, f"New {number}", False, MODEL, (face,))
            await store.change(person.person_name, lambda _, person=person: person)  # type: ignore[misc]
            enrolled_s.append(await _until(watcher, face_id, True))
            # Somebody out of the middle, so that a full block has to be copied.
            gone = f"person-{len(watcher.current) // 2 + number:08}"
            await store.remove(gone)
            removed_s.append(await _until(watcher, gone, False))
        following.cancel()
    return {"enrolled_s": enrolled_s, "removed_s": removed_s, "change_stall_ms": max(stalls) * 1000}


async def _until(watcher: GalleryWatcher, face_id: str, there: bool) -> float:
    began_s = time.perf_counter()
    async with asyncio.timeout(60):
        while True:
            if (watcher.current.subject(face_id) is not None) is there:
                return time.perf_counter() - began_s
            await asyncio.sleep(0.001)


def _scattered(count: int, probes: int) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    gallery, build_s = Gallery.empty(MODEL, DIMENSION), 0.0
    for first in range(0, count, PIECE):
        people = subjects(scattered(rng, min(PIECE, count - first), DIMENSION), first=first)
        began_s = time.perf_counter()
        gallery = gallery.changed((), blocks_of(people))
        build_s += time.perf_counter() - began_s
    return {
        "build_s": build_s,
        **_matching(gallery, scattered(rng, max(20, probes // 4), DIMENSION)),
    }


@asynccontextmanager
async def _stalls() -> AsyncIterator[list[float]]:
    """How long the event loop kept a task waiting that wanted to go on at once, each time."""
    found: list[float] = [0.0]

    async def tick() -> None:
        while True:
            began_s = time.perf_counter()
            await asyncio.sleep(0.001)
            found.append(time.perf_counter() - began_s - 0.001)

    async with asyncio.TaskGroup() as tasks:
        ticking = tasks.create_task(tick())
        yield found
        ticking.cancel()


def _resident_mib() -> float:
    return float(psutil.Process().memory_info().rss) / MIB


if __name__ == "__main__":
    host, port, password, *numbers = sys.argv[1:]
    server = RedisSettings(host=host, port=int(port), password=SecretStr(password))
    json.dump(asyncio.run(main(server, *map(int, numbers))), sys.stdout)
