"""The largest number of cameras that this machine watches in time, and what runs out first."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from tests.performance.bench import Bench, Servers, folder_of_one_run, servers
from tests.performance.clips import FULL_HD, SMALL, Format
from tests.performance.outcome import Breakdown, Figure, Outcome, at_least
from tests.performance.scene import FPS, PRODUCTION, addresses, rtsp_cameras, scene
from tests.performance.trial import LATEST_MS, MOST_DROPPED, Trial, attempt

# Where the search begins, how far it first strides, how near it then looks, and the most there may be.
SEARCHES = {FULL_HD: (14, 4, 1, 40), SMALL: (20, 6, 2, 80)}
BAR = 15
TRIALS = 6
SHIPPED = {name: value for name, value in PRODUCTION.items() if name != "MOTION_ENABLED"}


async def measure(bench: Bench) -> Outcome:
    tried: dict[str, list[Trial]] = {}
    best: dict[str, int] = {}
    with folder_of_one_run() as folder:
        async with servers(folder) as beside:
            for form in SEARCHES:
                name = _name(form)
                tried[name] = []
                best[name] = await _search(bench, beside, folder, form, tried[name])
            gated = await _gated(bench, beside, folder, max(1, best[_name(FULL_HD)]))
    return _outcome(tried, best, gated)


async def largest(
    holds: Callable[[int], Awaitable[bool]],
    *,
    guess: int,
    stride: int,
    near: int,
    most: int,
    trials: int,
) -> int:
    """The largest number found to hold, to within `near`: strides up or down from a guess, then halves the rest."""
    low, high, number = 0, most + 1, guess
    for _ in range(trials):
        if await holds(number):
            low = number
        else:
            high = number
        if high - low <= near:
            break
        if high > most:
            number = min(low + stride, most)
        elif low == 0:
            number = max(high - stride, high // 2)
        else:
            number = (low + high) // 2
    return low


async def _search(
    bench: Bench, beside: Servers, folder: Path, form: Format, tried: list[Trial]
) -> int:
    guess, stride, near, most = (4, 2, 1, 6) if bench.quick else SEARCHES[form]
    mounts = await asyncio.to_thread(scene, bench, most, form)
    with rtsp_cameras(mounts) as rtsp:
        every = addresses(rtsp, mounts)

        async def holds(number: int) -> bool:
            cameras = {name: every[name] for name in sorted(every)[:number]}
            bench.say(f"{number} cameras of {_name(form)}")
            trial = await attempt(bench, beside, folder, cameras, bench.choose(32, 8))
            tried.append(trial)
            bench.say(f"  {'holds' if trial.holds else 'does not hold'}; {trial.limit()}")
            return trial.holds

        trials = 2 if bench.quick else TRIALS
        return await largest(holds, guess=guess, stride=stride, near=near, most=most, trials=trials)


async def _gated(bench: Bench, beside: Servers, folder: Path, number: int) -> Trial:
    """As shipped: frames without motion are not inspected."""
    bench.say(f"{number} cameras of {_name(FULL_HD)}, with the motion gate")
    mounts = await asyncio.to_thread(scene, bench, number)
    with rtsp_cameras(mounts) as rtsp:
        cameras = addresses(rtsp, mounts)
        return await attempt(bench, beside, folder, cameras, bench.choose(32, 8), SHIPPED)


def _outcome(tried: Mapping[str, list[Trial]], best: Mapping[str, int], gated: Trial) -> Outcome:
    large, small = _name(FULL_HD), _name(SMALL)
    rate = gated.inspected / gated.wall_s / gated.cameras if gated.wall_s else 0.0
    figures = (
        at_least(
            f"cameras of {large} in time", best[large], "", BAR, _limits(tried[large], best[large])
        ),
        Figure(f"cameras of {small} in time", best[small], "", _limits(tried[small], best[small])),
        Figure(
            f"{gated.cameras} cameras of {large} with the motion gate, p99",
            gated.p99_ms,
            "ms",
            f"{rate:.2f} inspected frames/s a camera, dropped {gated.dropped * 100:.2f} %; {gated.limit()}",
        ),
    )
    return Outcome(
        f"How many cameras, at {FPS:g} inspected frames/s each",
        figures,
        (
            f"In time: 99 of 100 events reach a consumer of the bus within {LATEST_MS:g} ms of the decoded frame, less "
            f"than {MOST_DROPPED * 100:g} % of the frames due are dropped, the slowest camera has 97 % of its rate. "
            "H.264 at 25 frames/s over RTSP, two of three cameras show people; embedded Triton and Redis, faces on, "
            "MOTION_ENABLED=false, so that every sampled frame is inspected (the last line: as shipped, it is on).",
            "Lag: how much later than the stream's quickest frames were decoded. "
            "The cameras' RTSP server, Triton, Redis and the consumer share the machine's cores with the program. One "
            "short trial a number, so the boundary is good to about one camera.",
        ),
        tuple(_trials(name, trials) for name, trials in tried.items()),
    )


def _limits(trials: list[Trial], best: int) -> str:
    """What ran out at the smallest number that was too large, or what was left at the largest."""
    beyond = sorted((t for t in trials if t.cameras > best), key=lambda t: t.cameras)
    if beyond:
        return f"{beyond[0].cameras} do not hold: {beyond[0].limit()}"
    return f"no larger number was tried: {max(trials, key=lambda t: t.cameras).limit()}"


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


def _name(form: Format) -> str:
    return f"{form.width}x{form.height}"
