"""How the cost grows with cameras, with the size of the picture, and with the people in it."""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.performance.bench import Bench, Servers, folder_of_one_run, servers
from tests.performance.clips import FOUR_K, FULL_HD, HD, SMALL, Format, composed_of, stream_of
from tests.performance.outcome import Breakdown, Figure, Outcome
from tests.performance.scene import FPS, PEOPLE, ROAD, addresses, rtsp_cameras
from tests.performance.statistic import slope
from tests.performance.trial import Trial, attempt

CLIP_S = 20.0
BEGIN_S = 60.0  # from here on the clip shows somebody nearly all the time
CAMERAS = (1, 2, 4, 8)
FORMS = (SMALL, HD, FULL_HD, FOUR_K)
PAIR = 2  # cameras, where something else than their number grows
# People in the picture: so many tiles, each a person down to the hips, facing the camera.
GRIDS = {1: 1, 4: 2, 9: 3}
FACES = ("again", "bird", "book", "brother", "eat", "learn", "milk", "night", "again")


async def measure(bench: Bench) -> Outcome:
    films = await asyncio.to_thread(_films, bench)
    crowds = await asyncio.to_thread(_crowds, bench)
    with folder_of_one_run() as folder:
        async with servers(folder) as beside:
            cameras = CAMERAS[:2] if bench.quick else CAMERAS
            base = films[_name(FULL_HD)]
            by_count = {
                str(count): await _try(bench, beside, folder, base, count) for count in cameras
            }
            by_form = {
                name: by_count[str(PAIR)]
                if film == base
                else await _try(bench, beside, folder, film, PAIR)
                for name, film in films.items()
            }
            by_people = {
                name: await _try(bench, beside, folder, film, PAIR) for name, film in crowds.items()
            }
    return _outcome(by_count, by_form, by_people)


def _films(bench: Bench) -> dict[str, Path]:
    """The same scene in every size. Raises Lacking."""
    forms = (SMALL, FULL_HD) if bench.quick else FORMS
    films = {}
    for form in forms:
        target = bench.folder / f"growth-{form.height}p25.mp4"
        if not target.is_file():
            bench.say(f"making {target.name} (once)")
        films[_name(form)] = stream_of(bench.sample(PEOPLE), target, CLIP_S, form, BEGIN_S)
    return films


def _crowds(bench: Bench) -> dict[str, Path]:
    """Nobody, and more and more people, all in pictures of one size. Raises Lacking."""
    road = bench.folder / "growth-nobody-1080p25.mp4"
    films = {"0": stream_of(bench.sample(ROAD), road, CLIP_S)}
    for people, columns in list(GRIDS.items())[: bench.choose(len(GRIDS), 1)]:
        clips = [bench.sample(f"face_{name}.mkv") for name in FACES[:people]]
        target = bench.folder / f"growth-{people}-people-1080p25.mp4"
        if not target.is_file():
            bench.say(f"making {target.name} (once)")
        films[str(people)] = composed_of(clips, columns, target, CLIP_S)
    return films


async def _try(bench: Bench, beside: Servers, folder: Path, film: Path, count: int) -> Trial:
    bench.say(f"{count} cameras of {film.stem}")
    mounts = {f"camera-{number:02}": film for number in range(count)}
    with rtsp_cameras(mounts) as rtsp:
        cameras = addresses(rtsp, mounts)
        return await attempt(bench, beside, folder, cameras, bench.choose(16, 6))


def _outcome(
    by_count: Mapping[str, Trial], by_form: Mapping[str, Trial], by_people: Mapping[str, Trial]
) -> Outcome:
    return Outcome(
        "How the cost grows",
        (
            *_a_camera(by_count.values()),
            _ratio("a frame of", "orchestrator", by_form),
            _ratio("a frame of", "Triton", by_form),
            _ratio("a frame with people:", "orchestrator", by_people),
            _ratio("a frame with people:", "Triton", by_people),
        ),
        (
            f"H.264 at 25 frames/s over RTSP, {FPS:g} inspected frames/s a camera, MOTION_ENABLED=false, faces on, "
            "gallery empty; all cameras of a line show the same scene. CPU of whole processes, everything included "
            "(also the decoding of frames that are not inspected), divided by the frames inspected.",
            f"Sizes and people: {PAIR} cameras each. People: 1080p, composed of clips of single people, one a tile; "
            "searches and embeddings are the program's own counts: a decided person is rarely looked at again, and at "
            "most four heads are searched in a frame, so faces cost less than their number suggests.",
            "What limits: with cameras and size the decoding, with people the requests to Triton for faces, until "
            "everybody is decided. Larger galleries: the section on the gallery.",
        ),
        (
            _table("Cameras (1080p)", "cameras", by_count),
            _table(f"Size of the picture ({PAIR} cameras)", "size", by_form),
            _table(f"People in the picture ({PAIR} cameras, 1080p)", "people", by_people),
        ),
    )


def _a_camera(trials: Iterable[Trial]) -> list[Figure]:
    """What one camera more costs: the slope over their number."""
    measured = [t for t in trials if not t.lacking]
    counts = [float(trial.cameras) for trial in measured]
    figures = []
    for part in ("orchestrator", "Triton"):
        more, low, high = slope(counts, [trial.cores[part] * 100 for trial in measured])
        spread = f"{low:.2f} to {high:.2f} (95 %), over {counts[0]:.0f} to {counts[-1]:.0f} cameras"
        figures.append(Figure(f"{part}: CPU a camera more", more, "% of a core", spread))
    more, low, high = slope(counts, [trial.resident_mib for trial in measured])
    spread = f"{low:.1f} to {high:.1f} (95 %)"
    return [*figures, Figure("orchestrator: memory a camera more", more, "MiB", spread)]


def _ratio(what: str, part: str, trials: Mapping[str, Trial]) -> Figure:
    """The dearest against the cheapest end of a row."""
    (first, low), *_, (last, high) = trials.items()
    before, after = _ms_a_frame(low, part), _ms_a_frame(high, part)
    spread = f"{before:.1f} ms and {after:.1f} ms of CPU a frame"
    return Figure(f"{part}: {what} {last} against {first}", after / before, "times", spread)


def _ms_a_frame(trial: Trial, part: str) -> float:
    if not trial.inspected:
        return float("nan")
    return trial.cores[part] * trial.wall_s / trial.inspected * 1000


def _table(title: str, what: str, trials: Mapping[str, Trial]) -> Breakdown:
    rows = [
        (
            name,
            *(f"{trial.cores.get(part, 0.0):.2f}" for part in ("orchestrator", "Triton")),
            *(f"{_ms_a_frame(trial, part):.1f}" for part in ("orchestrator", "Triton")),
            *(
                f"{count / max(trial.inspected, 1):.2f}"
                for count in (trial.persons, trial.face_searches, trial.embeddings)
            ),
            f"{trial.resident_mib:.0f}",
            f"{trial.triton_mib:.0f}",
            f"{trial.p99_ms:.0f}" if trial.events else "no events",
            f"{trial.dropped * 100:.2f}",
        )
        for name, trial in trials.items()
    ]
    header = (
        *(what, "orchestrator, cores", "Triton, cores"),
        *("orchestrator, CPU ms a frame", "Triton, CPU ms a frame"),
        *("people a frame", "face searches a frame", "embeddings a frame"),
        *("orchestrator, MiB", "Triton, MiB", "p99, ms", "dropped, %"),
    )
    return Breakdown(title, header, tuple(rows))


def _name(form: Format) -> str:
    return f"{form.width}x{form.height}"
