"""How long a file plays."""

from pathlib import Path

import av


def clip_duration_s(path: Path) -> float | None:
    """Seconds as the file claims; None where it does not say, or is no video at all."""
    try:
        with av.open(str(path)) as container:
            return container.duration / av.time_base if container.duration else None
    except av.FFmpegError:
        return None  # whoever reads the frames says what is wrong with them
