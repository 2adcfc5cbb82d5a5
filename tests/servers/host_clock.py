"""A host's time of day that a test may set, for a process of its own: Debian's libfaketime.

The monotonic clock goes on as it is, as it does where NTP sets the time.
"""

from pathlib import Path

import pytest

from tests.servers.require import lacking

_LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


class HostClock:
    def __init__(self, file: Path) -> None:
        self._file = file
        self.set_ahead(0)

    def set_ahead(self, seconds: int) -> None:
        """Of the real time; negative is behind."""
        part = self._file.with_suffix(".new")
        part.write_text(f"{seconds:+d}\n")
        part.replace(self._file)

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a process that lives by this clock."""
        return {
            "LD_PRELOAD": str(_LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }


@pytest.fixture
def host_clock(tmp_path: Path) -> HostClock:
    if not _LIBRARIES:
        lacking("faketime", "apt install libfaketime")
    return HostClock(tmp_path / "clock")
