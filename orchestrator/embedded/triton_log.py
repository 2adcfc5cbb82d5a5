"""What the embedded Triton cannot read of its repository: it goes on with what it has, and tells its log alone why."""

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

TAIL_BYTES = 65536
# It says so again at every look, every two seconds.
FRESH = timedelta(seconds=6)
UNREAD = re.compile(
    r"^E(?P<at>\d{4} \d\d:\d\d:\d\d)\S* .*?\"(?:Poll failed for model directory|failed to poll model repository) "
    r"'(?P<what>[^']*)': (?P<why>.*?)\"?$",
    re.M,
)


def unread(line: str) -> str | None:
    """The reason, if a line of the log tells of a folder that cannot be read."""
    found = UNREAD.search(line)
    return f"{found['what']}: {found['why']}" if found else None


def unread_now(log: Path, model: str, repository: str, now: datetime | None = None) -> str | None:
    """Why the server that writes this log cannot read a model at present; None where it can, or there is no such log.

    repository  what the server calls its repository, which may be what it cannot read
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return None
    now = now or datetime.now(UTC)
    for found in reversed(list(UNREAD.finditer(text))):
        # Of this year, in UTC, whatever the zone.
        at = datetime.strptime(f"{now.year}{found['at']}", "%Y%m%d %H:%M:%S").replace(tzinfo=UTC)
        if abs(now - at) < FRESH and found["what"] in (model, repository):
            return found["why"]
    return None
