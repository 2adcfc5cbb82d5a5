"""ByteTrack: every detection counts, also the weak ones (Zhang et al. 2022, arXiv 2110.06864, section 3).

Differences to the paper, each for cameras that are inspected 1 to 30 times a second (docs/tracking.md):
- time is the media clock's: prediction, uncertainty and the death of lost tracks are in seconds, not frames;
- boxes are compared after growing them by the track's own uncertainty (C-BIoU), for at 5 frames a second a walking
  person's boxes may hardly overlap;
- boxes of different classes never match;
- a track has an id and is shown from its second detection on; nothing is confirmed by one frame.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.detection import Detections
from orchestrator.track import Track, TrackUpdate
from orchestrator.tracking.association import Floats, assign, overlap
from orchestrator.tracking.kalman import BoxFilter, centred, cornered

Rows = NDArray[np.intp]

# Least (grown) overlap of a pair: sure detections; weak ones, which only hold on to what was just seen and are
# compared without growing; and the second detection of a newborn.
_LEAST_SURE = 0.1
_LEAST_WEAK = 0.5
_LEAST_NEWBORN = 0.3
# A box grows by one standard deviation of the prediction, but by no more than this part of its size. A newborn's
# speed is unknown, and at 2 frames a second who walks has left the box; the assignment still takes the nearest.
_MOST_GROWTH = 0.5
_MOST_GROWTH_NEWBORN = 1.0
_MOST_STEP_S = 1.0


@dataclass(slots=True)
class _Life:
    """What the filter does not know of a track. An id of 0 is a newborn's: it was detected once."""

    class_id: int
    first_seen_s: float
    last_seen_s: float
    track_id: int = 0
    hits: int = 1
    lost: bool = False


class ByteTracker:
    """One instance a camera. Give it detections down to `low`; only those from `high` on begin a track."""

    def __init__(
        self,
        high: float = 0.5,
        low: float = 0.25,
        *,
        max_lost_s: float = 2.0,
        max_tracks: int = 256,
    ) -> None:
        """Take the thresholds and limits.

        Args:
            high: confidence from which a detection may begin or refind a track.
            low: confidence from which it may keep a track alive that was seen in the frame before.
            max_lost_s: a track not seen for longer than this many seconds of stream time ends.
            max_tracks: held at most; beyond it those not seen for longest end early.
        """
        self._high = high
        self._low = min(low, high)
        self._max_lost_s = max_lost_s
        self._max_tracks = max_tracks
        self._filter = BoxFilter.born(np.empty((0, 4)))
        self._lives: list[_Life] = []
        self._last_id = 0
        self._now_s: float | None = None

    @property
    def live(self) -> bool:
        """Whether anything is followed: seen, newborn or lost for a moment. The motion gate asks."""
        return bool(self._lives)

    def update(self, detections: Detections, pts_s: float) -> TrackUpdate:
        step_s = 0.0 if self._now_s is None else min(max(pts_s - self._now_s, 0.0), _MOST_STEP_S)
        self._now_s = pts_s
        ended = self._end_lost(pts_s)
        detections = detections[detections.confidence >= self._low]
        matched: dict[int, int] = {}
        if self._lives:  # most frames of most cameras show nobody
            self._filter.predict(step_s, np.array([life.lost for life in self._lives], np.bool_))
            matched = self._associate(detections)
        self._correct(detections, matched, pts_s)
        active = self._show(detections, matched)
        self._bear(detections, matched, pts_s)
        return TrackUpdate(active, tuple(sorted(ended + self._bound())))

    def close(self) -> tuple[int, ...]:
        """End every live track. The ids go on counting afterwards."""
        ended = self._keep([False] * len(self._lives))
        self._now_s = None
        return tuple(sorted(ended))

    def _associate(self, detections: Detections) -> dict[int, int]:
        """Row of each matched track -> row of its detection."""
        if not len(detections):
            return {}
        boxes = cornered(centred(detections.xyxy))
        sure = detections.confidence >= self._high
        confirmed = np.array([life.track_id > 0 for life in self._lives], np.bool_)
        lost = np.array([life.lost for life in self._lives], np.bool_)
        matched: dict[int, int] = {}

        def match(
            tracks: NDArray[np.bool_], which: NDArray[np.bool_], least: float, growth: float
        ) -> None:
            if matched:
                tracks[list(matched)] = False
                which[list(matched.values())] = False
            rows, columns = np.flatnonzero(tracks), np.flatnonzero(which)
            if not len(rows) or not len(columns):
                return
            likeness = self._likeness(rows, boxes[columns], growth)
            classes = np.array([self._lives[row].class_id for row in rows])
            likeness[classes[:, np.newaxis] != detections.class_id[columns]] = 0.0
            first, second = assign(likeness, least)
            matched.update(zip(rows[first].tolist(), columns[second].tolist(), strict=True))

        match(confirmed.copy(), sure.copy(), _LEAST_SURE, _MOST_GROWTH)
        match(confirmed & ~lost, ~sure, _LEAST_WEAK, 0.0)
        match(~confirmed, sure.copy(), _LEAST_NEWBORN, _MOST_GROWTH_NEWBORN)
        return matched

    def _likeness(self, rows: Rows, boxes: Floats, growth: float) -> Floats:
        tracks = self._filter[rows]
        margin = np.minimum(tracks.spread, growth * tracks.position[:, 2:])
        return overlap(tracks.xyxy, boxes, margin)

    def _correct(self, detections: Detections, matched: dict[int, int], pts_s: float) -> None:
        if matched:
            rows = np.array(list(matched), np.intp)
            columns = np.array(list(matched.values()), np.intp)
            self._filter.correct(rows, centred(detections.xyxy[columns]))
        for life in self._lives:
            life.lost = True
        for row in sorted(matched):
            life = self._lives[row]
            life.lost = False
            life.hits += 1
            life.last_seen_s = pts_s
            if not life.track_id:
                self._last_id += 1
                life.track_id = self._last_id

    def _show(self, detections: Detections, matched: dict[int, int]) -> tuple[Track, ...]:
        """The tracks of this frame; each carries its detection's own box, not the filter's smoothed one."""
        shown = [
            Track(
                track_id=self._lives[row].track_id,
                xyxy=detections.xyxy[column],
                confidence=float(detections.confidence[column]),
                class_id=self._lives[row].class_id,
                first_seen_s=self._lives[row].first_seen_s,
                hits=self._lives[row].hits,
            )
            for row, column in matched.items()
        ]
        return tuple(sorted(shown, key=lambda track: track.track_id))

    def _bear(self, detections: Detections, matched: dict[int, int], pts_s: float) -> None:
        """Begin a track with each sure detection that is nobody's; forget newborns that were not seen again."""
        self._keep([life.track_id > 0 for life in self._lives])
        free = detections.confidence >= self._high
        free[list(matched.values())] = False
        if not free.any():
            return
        born = detections[free]
        self._filter = self._filter.joined(BoxFilter.born(centred(born.xyxy)))
        self._lives += [_Life(int(class_id), pts_s, pts_s) for class_id in born.class_id]

    def _end_lost(self, pts_s: float) -> list[int]:
        return self._keep([pts_s - life.last_seen_s <= self._max_lost_s for life in self._lives])

    def _bound(self) -> list[int]:
        surplus = len(self._lives) - self._max_tracks
        if surplus <= 0:
            return []
        # Of those seen last, newborns go first, so that nothing is shown and ended by the same frame.
        order = np.lexsort(
            (
                [life.track_id > 0 for life in self._lives],
                [life.last_seen_s for life in self._lives],
            )
        )
        early = set(order[:surplus].tolist())
        return self._keep([row not in early for row in range(len(self._lives))])

    def _keep(self, keep: list[bool]) -> list[int]:
        """Drop the other rows; returns the ids that end with them."""
        ended = [life.track_id for life, kept in zip(self._lives, keep, strict=True) if not kept]
        if ended:
            self._filter = self._filter[np.array(keep)]
            self._lives = [life for life, kept in zip(self._lives, keep, strict=True) if kept]
        return [track_id for track_id in ended if track_id]
