"""The largest number of cameras that this machine watches in time, and what runs out first.

Beside it, the same cameras bare: decoded and nothing else, with the object detector's requests alone.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.performance.bench import Bench, Servers, folder_of_one_run, servers
from tests.performance.clips import FPS as STREAM_FPS
from tests.performance.clips import FULL_HD, SMALL, Format
from tests.performance.floor import LEAST_ANSWERED, Floor, Rig
from tests.performance.outcome import Breakdown, Figure, Lacking, Outcome, at_least
from tests.performance.scene import FPS, PRODUCTION, addresses, rtsp_cameras, scene
from tests.performance.search import Search, in_turns
from tests.performance.trial import LATEST_MS, MOST_DROPPED, SLOWEST, Trial, attempt

Cameras = dict[str, dict[str, object]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where a search begins, how far it first strides, how near it then looks, the most, and how often it may try."""

    guess: int
    stride: int
    near: int
    most: int
    trials: int = 6


WATCHED = {FULL_HD: Bounds(13, 3, 1, 40), SMALL: Bounds(20, 6, 2, 80)}
# Begun where FESS is: what one number of cameras costs is compared too.
BARE = WATCHED[FULL_HD]
QUICK = Bounds(4, 2, 1, 6, trials=2)
BAR = 15
SHIPPED = {name: value for name, value in PRODUCTION.items() if name != "MOTION_ENABLED"}


@dataclass(frozen=True, slots=True)
class Found:
    """bare: None where it could not be measured, for what is lacking."""

    large: Search[Trial]
    bare: Search[Floor] | None
    small: Search[Trial]
    gated: Trial
    lacking: str


@dataclass(frozen=True, slots=True)
class Stand:
    """What the trials share."""

    bench: Bench
    beside: Servers
    folder: Path

    @property
    def seconds(self) -> int:
        return self.bench.choose(32, 8)

    def bounds(self, usual: Bounds) -> Bounds:
        return QUICK if self.bench.quick else usual

    def watching(self, form: Format, every: Cameras) -> Search[Trial]:
        async def watch(number: int) -> Trial:
            self.bench.say(f"{number} cameras of {_name(form)}")
            chosen = _first(every, number)
            trial = await attempt(self.bench, self.beside, self.folder, chosen, self.seconds)
            self._tell(trial)
            return trial

        return Search(watch, **asdict(self.bounds(WATCHED[form])))

    def bare(self, form: Format, every: Cameras, rig: Rig) -> Search[Floor]:
        async def decode(number: int) -> Floor:
            self.bench.say(f"{number} cameras of {_name(form)}, bare")
            floor = await rig.attempt(_first(every, number), self.seconds)
            self._tell(floor)
            return floor

        return Search(decode, **asdict(self.bounds(BARE)))

    async def gated(self, number: int) -> Trial:
        """As shipped: frames without motion are not inspected."""
        self.bench.say(f"{number} cameras of {_name(FULL_HD)}, with the motion gate")
        async with self.cameras(FULL_HD, number) as every:
            return await attempt(self.bench, self.beside, self.folder, every, self.seconds, SHIPPED)

    @asynccontextmanager
    async def cameras(self, form: Format, most: int) -> AsyncIterator[Cameras]:
        mounts = await asyncio.to_thread(scene, self.bench, most, form)
        with rtsp_cameras(mounts) as rtsp:
            yield addresses(rtsp, mounts)

    def _tell(self, trial: Trial | Floor) -> None:
        self.bench.say(f"  {'holds' if trial.holds else 'does not hold'}; {trial.limit()}")


async def measure(bench: Bench) -> Outcome:
    with folder_of_one_run() as folder:
        async with servers(folder) as beside:
            stand = Stand(bench, beside, folder)
            rig, lacking = await _rig(stand)
            async with stand.cameras(FULL_HD, WATCHED[FULL_HD].most) as every:
                large = stand.watching(FULL_HD, every)
                bare = stand.bare(FULL_HD, every, rig) if rig else None
                await in_turns(large, *([bare] if bare else []))
            async with stand.cameras(SMALL, WATCHED[SMALL].most) as every:
                small = stand.watching(SMALL, every)
                await in_turns(small)
            gated = await stand.gated(max(1, large.best))
    return _outcome(Found(large, bare, small, gated, lacking))


async def _rig(stand: Stand) -> tuple[Rig | None, str]:
    try:
        return await Rig.made(stand.bench, stand.beside, stand.folder), ""
    except Lacking as lacking:
        return None, str(lacking)


def _first(every: Cameras, number: int) -> Cameras:
    return {name: every[name] for name in sorted(every)[:number]}


def _outcome(found: Found) -> Outcome:
    large, small, gated = found.large, found.small, found.gated
    rate = gated.inspected / gated.wall_s / gated.cameras if gated.wall_s else 0.0
    figures = (
        at_least(f"cameras of {_name(FULL_HD)} in time", large.best, "", BAR, large.limits()),
        *(against(large, found.bare) if found.bare else ()),
        Figure(f"cameras of {_name(SMALL)} in time", small.best, "", small.limits()),
        Figure(
            f"{gated.cameras} cameras of {_name(FULL_HD)} with the motion gate, p99",
            gated.p99_ms,
            "ms",
            f"{rate:.2f} inspected frames/s a camera, dropped {gated.dropped * 100:.2f} %; {gated.limit()}",
        ),
    )
    return Outcome(
        f"How many cameras, at {FPS:g} inspected frames/s each",
        figures,
        _notes(found),
        (
            _trials(_name(FULL_HD), large.tried),
            *([_floors(_name(FULL_HD), found.bare.tried)] if found.bare else []),
            _trials(_name(SMALL), small.tried),
        ),
    )


def against(fess: Search[Trial], bare: Search[Floor]) -> tuple[Figure, ...]:
    """What two searches found, each good to one camera; no share of nothing."""
    what = "the same cameras bare (decoding and Triton's requests alone)"
    floor = Figure(what, bare.best, "", bare.limits())
    costs = _costs(fess.tried[0], bare.tried[0])
    if bare.best == 0:
        return floor, costs
    low, high = (fess.best - 1) / (bare.best + 1), (fess.best + 1) / max(bare.best - 1, 1)
    spread = f"{fess.best} of {bare.best}; {low:.2f} to {high:.2f}, were each wrong by one, to either side"
    what = "share of what the machine can do: FESS / bare"
    return floor, Figure(what, fess.best / bare.best, "", spread), costs


def _costs(fess: Trial, bare: Floor) -> Figure:
    """Both searches begin at the same number."""
    used, least = sum(fess.cores.values()), sum(bare.cores.values())
    return Figure(
        f"CPU of everything at {fess.cameras} cameras: FESS / bare",
        used / least if least else float("nan"),
        "times",
        f"{used:.2f} and {least:.2f} cores; FESS dropped {fess.dropped * 100:.2f} %",
    )


def _notes(found: Found) -> tuple[str, ...]:
    bare = (
        "Bare: one process receives and decodes the cameras as FESS does, and perf_analyzer sends the object "
        f"detector {FPS:g} requests a second and camera, evenly spaced, over shared memory, to the same Triton. It "
        f"holds where every camera is decoded at {SLOWEST * 100:g} % of {STREAM_FPS} frames/s, lag p99 and the "
        f"requests' p99 (median over seconds) stay below {LATEST_MS:g} ms, and Triton's counters have "
        f"{LEAST_ANSWERED * 100:g} % of the requests. Left out: scaling pictures for the detector, motion, tracking, "
        "faces and their two models, events, Redis and its consumer, metrics and HTTP. The "
        "rest no program does without that looks at these frames with this decoder, detector and server. FESS and "
        "bare were tried in turns."
        if found.bare
        else f"Bare was not measured: {found.lacking}."
    )
    return (
        f"In time: 99 of 100 events reach a consumer of the bus within {LATEST_MS:g} ms of the decoded frame, less "
        f"than {MOST_DROPPED * 100:g} % of the frames due are dropped, the slowest camera has {SLOWEST * 100:g} % of "
        "its rate. H.264 at 25 frames/s over RTSP, two of three cameras show people; embedded Triton and Redis, "
        "faces on, MOTION_ENABLED=false, so that every sampled frame is inspected (with the gate: as shipped).",
        bare,
        "Lag: how much later than the stream's quickest frames were decoded. "
        "The cameras' RTSP server, Triton, Redis and the consumer share the machine's cores with the program. One "
        "short trial a number, so the boundary is good to about one camera.",
    )


def _trials(name: str, trials: list[Trial]) -> Breakdown:
    parts = sorted({part for trial in trials for part in trial.cores})
    rows = [
        (
            str(trial.cameras),
            "yes" if trial.holds else "no",
            f"{trial.p50_ms:.0f}",
            f"{trial.p99_ms:.0f}",
            f"{trial.lag_p99_ms:.0f}",
            f"{trial.dropped * 100:.2f}",
            f"{trial.slowest_fps:.2f}",
            *(f"{trial.cores.get(part, 0.0):.2f}" for part in parts),
            f"{trial.event_loop:.2f}",
            f"{trial.idle:.2f}",
        )
        for trial in sorted(trials, key=lambda trial: trial.cameras)
    ]
    header = (
        *("cameras", "in time", "p50, ms", "p99, ms", "lag p99, ms", "dropped, %", "slowest, fps"),
        *(f"{part}, cores" for part in parts),
        *("of it the event loop", "idle, cores"),
    )
    return Breakdown(f"Trials with {name}", header, tuple(rows))


def _floors(name: str, floors: list[Floor]) -> Breakdown:
    parts = sorted({part for floor in floors for part in floor.cores})
    rows = [
        (
            str(floor.cameras),
            "yes" if floor.holds else "no",
            f"{floor.answered * 100:.1f}",
            f"{floor.p99_ms:.0f}",
            f"{floor.lag_p99_ms:.0f}",
            f"{floor.slowest_fps:.1f}",
            *(f"{floor.cores.get(part, 0.0):.2f}" for part in parts),
            f"{floor.idle:.2f}",
        )
        for floor in sorted(floors, key=lambda floor: floor.cameras)
    ]
    header = (
        *(
            "cameras",
            "holds",
            "answered, %",
            "request p99, ms",
            "lag p99, ms",
            "slowest, decoded fps",
        ),
        *(f"{part}, cores" for part in parts),
        "idle, cores",
    )
    return Breakdown(f"Bare trials with {name}", header, tuple(rows))


def _name(form: Format) -> str:
    return f"{form.width}x{form.height}"
