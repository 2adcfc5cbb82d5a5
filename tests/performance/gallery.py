"""The gallery from 1,000 to 1,000,000 faces: how fast, how exact, how large, and how soon a change is in force."""

import asyncio
import json
import sys
from datetime import UTC, datetime
from typing import Any

import numpy as np
from pydantic import SecretStr
from redis.asyncio import Redis

from orchestrator.embedded.redis import EmbeddedRedis
from orchestrator.recognition.connection import connect
from orchestrator.recognition.enrolled import EnrolledFace, EnrolledPerson, folded
from orchestrator.recognition.gallery_store import EPOCH, NAMES, REVISIONS, VERSION_KEY
from orchestrator.recognition.subject_record import SUBJECTS, packed
from orchestrator.settings import RedisSettings
from tests.performance.bench import Bench, folder_of_one_run
from tests.performance.machine import ROOT
from tests.performance.outcome import Breakdown, Figure, Outcome, at_least, below
from tests.performance.statistic import percentile
from tests.recognition.faces_at_large import PER_PERSON, faces, pictures
from tests.recognition.vectors import MODEL

DIMENSION = 512
SIZES = (1_000, 10_000, 100_000, 1_000_000)
QUICK = (1_000, 10_000)
WRITTEN_AT_ONCE = 1000  # people
PATIENCE_S = 600.0


async def measure(bench: Bench) -> Outcome:
    found = {size: await _at(bench, size) for size in (QUICK if bench.quick else SIZES)}
    return Outcome(
        f"Gallery, {DIMENSION}-d",
        tuple(figure for size, each in found.items() for figure in _figures(size, each)),
        (
            "Face-like: made-up embeddings, whose principal directions carry 1/k of the variance each, "
            f"{PER_PERSON} pictures a person that are 0.72 alike; half of the probes are further pictures of "
            "people who are enrolled, half strangers. Scattered: directions evenly spread, one a person: unlike any "
            "faces, and the hardest case for every index.",
            "Found: best and second person, and both similarities to the bit, as comparing every number of every face "
            "gives them. One probe after the other on one thread; above about a millisecond the program searches in a "
            "thread, so that the event loop goes on.",
            "Read: everybody from a Redis on the same machine, as at the start of the program; the gallery in force "
            "stays until it is done. A change: from its acknowledgement by Redis to its being in force in a watcher. "
            "Stall: the longest that the event loop kept a task waiting meanwhile.",
            "Memory: resident, of a process that holds nothing else, above what it had before; every worker of "
            "`--workers` has its own. What limits: memory bandwidth the search, decoding records the reading.",
        ),
        (_sizes(found), _matches(found)),
    )


async def _at(bench: Bench, size: int) -> dict[str, Any]:
    bench.say(f"{size:,} faces")
    with folder_of_one_run() as folder:
        async with EmbeddedRedis(folder) as server:
            place = RedisSettings(
                host=server.host, port=server.port, password=SecretStr(server.password)
            )
            redis = connect(place)
            try:
                # The disk is not what is measured, and the embedded Redis is meant for smaller galleries.
                await redis.config_set("appendonly", "no")
                await redis.config_set("maxmemory", "0")
                await _fill(redis, size // PER_PERSON)
            finally:
                await redis.aclose()
            return await _measured(server, size, bench.choose(200, 40), bench.choose(10, 3))


async def _measured(server: EmbeddedRedis, size: int, probes: int, changes: int) -> dict[str, Any]:
    numbers = (size, probes, changes)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.performance.gallery_at"),
        *(server.host, str(server.port), server.password, *map(str, numbers)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            answer, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        raise TimeoutError(f"the measurement of {size:,} faces ended with {child.returncode}")
    found: dict[str, Any] = json.loads(answer)
    return found


async def _fill(redis: Redis, people: int) -> None:
    """As so many enrolments would leave the store, without a transaction each."""
    rng = np.random.default_rng(2)
    now = datetime.now(UTC)
    for first in range(0, people, WRITTEN_AT_ONCE):
        count = min(WRITTEN_AT_ONCE, people - first)
        vectors = pictures(rng, faces(rng, count, DIMENSION).repeat(PER_PERSON, 0))
        async with redis.pipeline(transaction=False) as pipe:
            for number in range(count):
                own = vectors[number * PER_PERSON : (number + 1) * PER_PERSON]
                looks = tuple(EnrolledFace(vector, 0.5, now) for vector in own)
                face_id, name = f"person-{first + number:08}", f"Person {first + number}"
                person = EnrolledPerson(face_id, name, False, MODEL, looks)
                pipe.hset(SUBJECTS, face_id, packed(person))
                pipe.hset(REVISIONS, face_id, first + number + 1)
                pipe.hset(NAMES, folded(name), face_id)
            await pipe.execute()
    await redis.mset({EPOCH: "bench", VERSION_KEY: people})


def _figures(size: int, found: dict[str, Any]) -> list[Figure]:
    matched = found["face_like"]
    taken = matched["taken_ms"]
    changed_s = [*found["enrolled_s"], *found["removed_s"]]
    worst = max(changed_s)
    spread = f"p50 {percentile(changed_s, 0.5) * 1000:.0f} ms, {len(changed_s)} times"
    change = f"{size:,}: a change in force, slowest"
    return [
        Figure(f"{size:,}: match, p50", percentile(taken, 0.5), "ms", f"{len(taken)} times"),
        Figure(f"{size:,}: match, p99", percentile(taken, 0.99), "ms", f"worst {max(taken):.2f}"),
        at_least(f"{size:,}: best person found", matched["first"], "", 0.99),
        at_least(f"{size:,}: second person found", matched["second"], "", 0.99),
        below(change, worst, "s", 1.0, spread)
        if size <= 10_000
        else Figure(change, worst, "s", spread),
    ]


def _sizes(found: dict[int, dict[str, Any]]) -> Breakdown:
    rows = []
    for size, each in found.items():
        memory = each["after_mib"] - each["before_mib"]
        rows.append(
            (
                f"{size:,} ({each['people']:,} people)",
                f"{memory:,.0f}",
                f"{memory * 1024 * 1024 / each['faces']:,.0f}",
                f"{each['peak_mib'] - each['before_mib']:,.0f}",
                f"{each['load_s']:.2f}",
                f"{each['load_stall_ms']:.0f}",
                f"{each['scattered']['build_s']:.2f}",
                f"{percentile(each['enrolled_s'], 0.5) * 1000:.0f}",
                f"{percentile(each['removed_s'], 0.5) * 1000:.0f}",
                f"{each['change_stall_ms']:.0f}",
            )
        )
    return Breakdown(
        "Size, reading and changes",
        (
            *("faces", "memory, MiB", "bytes a face", "peak while reading, MiB"),
            *("read from Redis, s", "stall meanwhile, ms", "built from vectors, s"),
            *("enrolment, p50 ms", "removal, p50 ms", "stall in changes, ms"),
        ),
        tuple(rows),
    )


def _matches(found: dict[int, dict[str, Any]]) -> Breakdown:
    rows = []
    for size, each in found.items():
        for kind, words in (("face_like", "face-like"), ("scattered", "scattered")):
            of = each[kind]
            taken = [f"{percentile(of['taken_ms'], share):.2f}" for share in (0.5, 0.99)]
            shares = [f"{of[what]:.3f}" for what in ("first", "second", "same")]
            rows.append((f"{size:,}", words, *taken, *shares))
    return Breakdown(
        "Matching one face",
        ("faces", "vectors", "p50, ms", "p99, ms", "best found", "second found", "same to the bit"),
        tuple(rows),
    )
