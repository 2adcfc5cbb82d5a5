"""The recorder: a video that plays what was written, and that is there whole or not at all."""

import time
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.capture.recorder import Recorder
from orchestrator.errors import SettingsError


def grey(level: int, width: int = 64, height: int = 48) -> NDArray[np.uint8]:
    return np.full((height, width, 3), level, np.uint8)


def played(path: Path) -> list[tuple[float, int, tuple[int, int]]]:
    """Each picture's time, mean brightness and size."""
    with av.open(str(path)) as container:
        return [
            (
                float(frame.time or 0.0),
                round(float(frame.to_ndarray(format="gray").mean())),
                (frame.width, frame.height),
            )
            for frame in container.decode(video=0)
        ]


def record(path: Path, levels: list[int], fps: float = 5.0) -> None:
    with Recorder(path, fps) as recorder:
        for number, level in enumerate(levels):
            recorder.write(grey(level), number / fps)


def test_every_picture_is_shown_at_its_time(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with Recorder(path, 5.0) as recorder:
        for pts_s, level in ((0.0, 20), (0.2, 90), (1.7, 220)):
            recorder.write(grey(level), pts_s)
    times, levels, sizes = zip(*played(path), strict=True)
    assert times == pytest.approx((0.0, 0.2, 1.7), abs=1e-3)
    assert levels == pytest.approx((20, 90, 220), abs=6)
    assert set(sizes) == {(64, 48)}


def test_the_same_pictures_give_the_same_bytes_also_in_another_second(tmp_path: Path) -> None:
    record(tmp_path / "one.mp4", [10, 200, 30, 90])
    time.sleep(1.1)
    record(tmp_path / "two.mp4", [10, 200, 30, 90])
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_it_appears_under_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"the former one")
    with Recorder(path, 5.0) as recorder:
        recorder.write(grey(90), 0.0)
        assert path.read_bytes() == b"the former one"
    assert len(played(path)) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["out.mp4"]


def test_after_a_failure_the_former_video_is_still_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"the former one")
    with suppress(ZeroDivisionError), Recorder(path, 5.0) as recorder:
        recorder.write(grey(90), 0.0)
        raise ZeroDivisionError
    assert path.read_bytes() == b"the former one"
    assert [each.name for each in tmp_path.iterdir()] == ["out.mp4"]


def test_without_a_picture_there_is_no_video(tmp_path: Path) -> None:
    record(tmp_path / "out.mp4", [])
    assert list(tmp_path.iterdir()) == []


def test_an_odd_edge_is_cut_off(tmp_path: Path) -> None:
    with Recorder(tmp_path / "out.mp4", 5.0) as recorder:
        recorder.write(grey(90, 65, 49), 0.0)
    assert played(tmp_path / "out.mp4")[0][2] == (64, 48)


def test_a_picture_of_another_size_is_scaled_to_the_first(tmp_path: Path) -> None:
    with Recorder(tmp_path / "out.mp4", 5.0) as recorder:
        recorder.write(grey(90, 64, 48), 0.0)
        recorder.write(grey(90, 320, 240), 0.2)
    assert [size for _, _, size in played(tmp_path / "out.mp4")] == [(64, 48)] * 2


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    path = tmp_path / "no such folder" / "out.mp4"
    with pytest.raises(SettingsError, match=r"no such folder/out\.mp4 cannot be written"):
        record(path, [90])
