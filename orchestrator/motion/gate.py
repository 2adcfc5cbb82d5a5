"""Is this frame worth a look? Decided on a thumbnail's brightness, in a fraction of a millisecond.

The picture is thinned to about 192 samples across and averaged in blocks of 4 x 4 samples; a block has changed
when it differs from the background by more than the sensitivity allows and more than the sensor's noise explains.
The background follows slowly; a block that shows something new and keeps still for SETTLE_S becomes background at
once, so that neither a parked car nor the place that somebody left counts as motion for long. A change of light
over the whole picture (gain and offset) is taken out before blocks are counted.

A frame is let through when one of these holds:
- it is the first, or the first of a new resolution;
- something moves, or moved during the last HOLD_S seconds, so that a track ends by being watched, not by darkness;
- somebody is being tracked and STILL_INTERVAL_S passed since the last look: who stands still keeps the track;
- `forced_interval` seconds of stream time passed since the last look.
"""

import math

import numpy as np
from numpy.typing import NDArray

from orchestrator.camera import Camera, Polygon
from orchestrator.picture import Picture
from orchestrator.region import rasterise
from orchestrator.settings import MotionSettings

HOLD_S = 0.5
SETTLE_S = 1.0
# Half a second is well below the time after which the tracker gives a track up.
STILL_INTERVAL_S = 0.5

_SAMPLES_ACROSS = 192
_BLOCK = 4
_ADAPT_S = 5.0
_MAX_STEP_S = 1.0
# Least change of a block's brightness (0..255), and how many blocks must change, at sensitivity 0 and 1.
_CHANGE = (32.0, 4.0)
_BLOCKS = (4.0, 1.0)
# Five standard deviations of a normal distribution, in median absolute deviations.
_NOISE_LIMIT = 5.0 * 1.4826
_GAIN_LIMITS = (0.25, 4.0)

Blocks = NDArray[np.float32]


class MotionGate:
    """One instance a camera; `look` takes the frames that sampling lets through, in order of pts_s."""

    def __init__(self, settings: MotionSettings, camera: Camera) -> None:
        own = camera.motion_sensitivity
        sensitivity = settings.sensitivity if own is None else own
        self._enabled = settings.enabled
        self._forced_interval_s = settings.forced_interval
        self._masks = camera.motion_masks
        self._least_change = _between(_CHANGE, sensitivity)
        self._least_blocks = round(_between(_BLOCKS, sensitivity))
        self._grid: _Grid | None = None
        self._background = self._anchor = np.empty(0, np.float32)
        self._anchored_s = np.empty(0, np.float64)
        self._noise: float | None = None
        self._seen_s = 0.0
        self._moved_s = -math.inf
        self._inspected_s = 0.0

    def look(self, picture: Picture, pts_s: float) -> bool:
        """Say whether to inspect this frame, even if nobody is being tracked. pts_s: on the media clock."""
        if not self._enabled:
            return True
        if self._grid is None or not self._grid.fits(picture):
            self._begin(picture, pts_s)
            return True
        if self._moves(self._grid.blocks(picture), pts_s):
            self._moved_s = pts_s
        moves = pts_s - self._moved_s <= HOLD_S
        return self._take(pts_s, moves or pts_s - self._inspected_s >= self._forced_interval_s)

    def look_again(self, pts_s: float) -> bool:
        """Say whether to inspect a frame that `look` was against, because somebody is being tracked."""
        return self._take(pts_s, pts_s - self._inspected_s >= STILL_INTERVAL_S)

    def _take(self, pts_s: float, worth: bool) -> bool:
        if worth:
            self._inspected_s = pts_s
        return worth

    def _begin(self, picture: Picture, pts_s: float) -> None:
        self._grid = _Grid(picture.width, picture.height, self._masks)
        self._background = self._grid.blocks(picture)
        self._anchor = self._background.copy()
        self._anchored_s = np.full(len(self._anchor), pts_s, np.float64)
        self._noise = None
        self._seen_s = self._inspected_s = pts_s

    def _moves(self, blocks: Blocks, pts_s: float) -> bool:
        """Compare with the background, and let the background follow."""
        if not len(blocks):
            return False
        change = blocks - self._background
        noise = _typical(change) if self._noise is None else self._noise
        limit = max(self._least_change, _NOISE_LIMIT * noise)
        moves = self._many(change, limit)
        if moves:
            relit = _relight(self._background, blocks)
            rest = blocks - relit
            moves = self._many(rest, limit)
            if not moves:
                self._background, change = relit, rest
        part = self._part(pts_s)
        self._noise = noise + part * (_typical(change) - noise)
        self._background += np.float32(part) * change
        self._settle(blocks, np.abs(change) > limit, limit, pts_s)
        return moves

    def _part(self, pts_s: float) -> float:
        """How far the background follows in this step, 0..1."""
        step_s = min(max(pts_s - self._seen_s, 0.0), _MAX_STEP_S)
        self._seen_s = pts_s
        return 1.0 - math.exp(-step_s / _ADAPT_S)

    def _settle(
        self, blocks: Blocks, changed: NDArray[np.bool_], limit: float, pts_s: float
    ) -> None:
        """Make background of what changed and has kept still since."""
        stirred = np.abs(blocks - self._anchor) > limit
        self._anchor[stirred] = blocks[stirred]
        self._anchored_s[stirred] = pts_s
        settled = changed & (pts_s - self._anchored_s >= SETTLE_S)
        self._background[settled] = blocks[settled]

    def _many(self, change: Blocks, limit: float) -> bool:
        return int(np.count_nonzero(np.abs(change) > limit)) >= self._least_blocks


class _Grid:
    """How pictures of one size are thinned and averaged, leaving out what a mask touches."""

    def __init__(self, width: int, height: int, masks: tuple[Polygon, ...]) -> None:
        self._size = (width, height)
        self._step = max(1, round(width / _SAMPLES_ACROSS))
        rows, columns = -(-height // self._step), -(-width // self._step)
        self._rows, self._columns = rows // _BLOCK, columns // _BLOCK
        masked = rasterise(masks, rows, columns).astype(np.uint8)
        self._open = np.flatnonzero(self._sums(masked) == 0)

    def fits(self, picture: Picture) -> bool:
        return self._size == (picture.width, picture.height)

    def blocks(self, picture: Picture) -> Blocks:
        """Mean brightness of each block that no mask touches: float32 (n,)."""
        return self._sums(picture.luma(self._step))[self._open] / np.float32(_BLOCK * _BLOCK)

    def _sums(self, samples: NDArray[np.uint8]) -> Blocks:
        """Sum of each block, row by row; samples at the far edges that fill no block are left out."""
        rows, columns = self._rows, self._columns
        whole = samples[: rows * _BLOCK, : columns * _BLOCK]
        down = whole.reshape(rows, _BLOCK, columns * _BLOCK).sum(axis=1, dtype=np.uint16)
        across = down.reshape(rows * columns, _BLOCK).sum(axis=1, dtype=np.uint16)
        sums: Blocks = across.astype(np.float32)
        return sums


def _typical(change: Blocks) -> float:
    """Median absolute deviation from nothing: what noise does to most blocks, whatever moves in some."""
    return float(np.median(np.abs(change)))


def _relight(background: Blocks, blocks: Blocks) -> Blocks:
    """Give the background the light of the current picture.

    Gain and offset come from the medians of the darker and of the brighter half of the blocks: moving objects
    that fill less than half of either do not shift them.
    """
    middle = np.median(background)
    dark = background <= middle
    bright = ~dark
    if not bright.any():
        return background + np.float32(np.median(blocks - background))
    dark_was, dark_is = float(np.median(background[dark])), float(np.median(blocks[dark]))
    bright_was, bright_is = float(np.median(background[bright])), float(np.median(blocks[bright]))
    spread = max(bright_was - dark_was, 1.0)
    gain = min(max((bright_is - dark_is) / spread, _GAIN_LIMITS[0]), _GAIN_LIMITS[1])
    offset = (dark_is + bright_is - gain * (dark_was + bright_was)) / 2
    relit: Blocks = background * np.float32(gain) + np.float32(offset)
    return relit


def _between(limits: tuple[float, float], fraction: float) -> float:
    """Geometric step from the first limit to the second."""
    return float(limits[0] * (limits[1] / limits[0]) ** fraction)
