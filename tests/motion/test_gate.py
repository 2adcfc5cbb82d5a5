"""The motion gate lets through what may show something new, and holds back what cannot."""

from collections.abc import Iterable

import numpy as np
import pytest

from orchestrator.camera import Camera, Polygon
from orchestrator.motion.gate import HOLD_S, SETTLE_S, STILL_INTERVAL_S, MotionGate
from orchestrator.picture import Picture
from orchestrator.settings import MotionSettings
from tests.motion.scene import room, shot

FPS = 5
ROOM = room()
EMPTY = shot(ROOM)
STANDING = (400, 150, 500, 450)


def gate(
    *,
    sensitivity: float = 0.5,
    own: float | None = None,
    masks: tuple[Polygon, ...] = (),
    forced_interval: float = 1000.0,
    enabled: bool = True,
) -> MotionGate:
    settings = MotionSettings(
        enabled=enabled, sensitivity=sensitivity, forced_interval=forced_interval
    )
    camera = Camera.model_validate(
        {
            "camera_id": "door",
            "url": "clip.mp4",
            "motion_masks": masks,
            "motion_sensitivity": own,
        }
    )
    return MotionGate(settings, camera)


def watch(
    looker: MotionGate,
    pictures: Iterable[Picture],
    *,
    from_s: float = 0.0,
    tracking: bool = False,
) -> list[bool]:
    looks = []
    for number, picture in enumerate(pictures):
        pts_s = from_s + number / FPS
        looks.append(looker.look(picture, pts_s) or (tracking and looker.look_again(pts_s)))
    return looks


def still(picture: Picture, seconds: float) -> list[Picture]:
    return [picture] * round(seconds * FPS)


def walking(seconds: float, speed_px: int = 60) -> list[Picture]:
    steps = range(round(seconds * FPS))
    return [shot(ROOM, person=(step * speed_px, 150, step * speed_px + 100, 450)) for step in steps]


def test_the_first_frame_is_inspected() -> None:
    assert gate().look(EMPTY, 17.0)


def test_an_empty_room_is_not_looked_at_again() -> None:
    assert watch(gate(), still(EMPTY, 10)) == [True] + [False] * 49


def test_who_walks_is_seen_in_every_frame() -> None:
    looker = gate()
    looker.look(EMPTY, 0.0)
    assert all(watch(looker, walking(3), from_s=0.2))


def test_looking_goes_on_for_a_moment_after_motion_ends_and_then_stops() -> None:
    looker = gate()
    looker.look(EMPTY, 0.0)
    watch(looker, walking(2), from_s=0.2)
    after = watch(looker, still(EMPTY, 10), from_s=2.2)
    watched_s = after.count(True) / FPS
    assert after == sorted(after, reverse=True)
    assert HOLD_S - 1 / FPS <= watched_s <= SETTLE_S + HOLD_S + 2 / FPS


def test_somebody_who_stands_still_becomes_background_and_is_seen_when_leaving() -> None:
    looker = gate()
    looker.look(EMPTY, 0.0)
    stays = watch(looker, still(shot(ROOM, person=STANDING), 10), from_s=0.2)
    assert stays[0]
    assert not any(stays[-25:])
    assert looker.look(EMPTY, 10.2)


def test_a_tracked_person_who_stands_still_is_looked_at_at_a_reduced_rate() -> None:
    looker = gate()
    looker.look(EMPTY, 0.0)
    person = still(shot(ROOM, person=STANDING), 10)
    looks = watch(looker, person, from_s=0.2, tracking=True)[25:]
    seen = np.flatnonzero(looks) / FPS
    assert np.diff(seen).max() <= STILL_INTERVAL_S + 1 / FPS
    assert sum(looks) < len(looks) / 2


def test_a_look_is_forced_after_the_interval_of_stream_time() -> None:
    looks = watch(gate(forced_interval=3.0), still(EMPTY, 10))
    assert np.flatnonzero(looks).tolist() == [0, 15, 30, 45]


def test_a_jump_of_the_media_clock_forces_a_look() -> None:
    looker = gate(forced_interval=3.0)
    watch(looker, still(EMPTY, 2))
    assert looker.look(EMPTY, 3600.0)
    assert not looker.look(EMPTY, 3600.2)


def test_a_new_resolution_begins_anew() -> None:
    looker = gate()
    watch(looker, still(EMPTY, 2))
    small = shot(room(480, 270))
    assert looker.look(small, 2.0)
    assert not looker.look(small, 2.2)


def test_a_gate_that_is_off_lets_everything_through() -> None:
    assert all(watch(gate(enabled=False), still(EMPTY, 2)))


@pytest.mark.parametrize("noise", [2.0, 6.0, 12.0])
def test_noise_of_the_sensor_is_not_motion(noise: float) -> None:
    noisy = [shot(ROOM, noise=noise, seed=number) for number in range(25)]
    assert not any(watch(gate(), noisy)[1:])


def test_somebody_is_seen_through_noise() -> None:
    looker = gate()
    watch(looker, [shot(ROOM, noise=12, seed=number) for number in range(10)])
    assert looker.look(shot(ROOM, person=STANDING, noise=12, seed=99), 2.0)


@pytest.mark.parametrize(
    ("gain", "offset"), [(1.0, 25.0), (1.0, -25.0), (1.3, 0.0), (0.7, 0.0), (0.8, 30.0)]
)
def test_light_that_changes_over_the_whole_picture_is_not_motion(
    gain: float, offset: float
) -> None:
    looker = gate()
    watch(looker, still(EMPTY, 1))
    relit = shot(ROOM, gain=gain, offset=offset, noise=2)
    assert not any(watch(looker, still(relit, 2), from_s=1.0))


def test_somebody_who_enters_as_the_light_changes_is_seen() -> None:
    looker = gate()
    watch(looker, still(EMPTY, 1))
    assert looker.look(shot(ROOM, person=STANDING, gain=0.7), 1.0)


def test_dawn_is_not_motion() -> None:
    dawn = [shot(ROOM, gain=0.5 + 0.5 * number / 300) for number in range(300)]
    assert not any(watch(gate(), dawn)[1:])


def test_a_picture_without_any_contrast_is_looked_at_when_something_appears() -> None:
    fog = np.full_like(ROOM, 128.0)
    looker = gate()
    watch(looker, still(shot(fog), 1))
    assert not looker.look(shot(fog, offset=20), 1.0)
    assert looker.look(shot(fog, person=STANDING), 1.2)


def test_more_sensitivity_sees_smaller_changes() -> None:
    def seen(sensitivity: float, size: int) -> bool:
        looker = gate(sensitivity=sensitivity)
        watch(looker, still(EMPTY, 1))
        return looker.look(shot(ROOM, person=(450, 250, 450 + size, 250 + size)), 1.0)

    smallest = {
        sensitivity: next(size for size in range(4, 400, 4) if seen(sensitivity, size))
        for sensitivity in (0.0, 0.5, 1.0)
    }
    assert smallest[1.0] < smallest[0.5] < smallest[0.0] < 100


@pytest.mark.parametrize(("common", "own", "seen"), [(1.0, 0.0, False), (0.0, 1.0, True)])
def test_the_cameras_own_sensitivity_counts_more_than_the_common_one(
    common: float, own: float, seen: bool
) -> None:
    looker = gate(sensitivity=common, own=own)
    watch(looker, still(EMPTY, 1))
    assert looker.look(shot(ROOM, person=(450, 250, 462, 262)), 1.0) is seen


def test_what_moves_under_a_mask_is_not_motion_and_beside_it_is() -> None:
    left_half: Polygon = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
    looker = gate(masks=(left_half,))
    looker.look(EMPTY, 0.0)
    assert not looker.look(shot(ROOM, person=(300, 150, 400, 450)), 0.2)
    assert looker.look(shot(ROOM, person=(500, 150, 600, 450)), 0.4)


def test_with_everything_masked_only_forced_looks_remain() -> None:
    whole: Polygon = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    looks = watch(gate(masks=(whole,), forced_interval=1.0), walking(3))
    assert np.flatnonzero(looks).tolist() == [0, 5, 10]


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (320, 2), (2, 240)])
def test_the_smallest_pictures_are_looked_at_too(size: tuple[int, int]) -> None:
    picture = shot(np.full((size[1], size[0]), 90.0))
    assert watch(gate(), [picture, picture]) == [True, False]
