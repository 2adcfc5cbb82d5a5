"""`fess demo`, as a newcomer types it: it names whom it should, and says at the end what happened."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.demo import SCENES
from orchestrator.embedded.loopback import free_ports
from tests.e2e.running import Running, eventually

pytestmark = [pytest.mark.xdist_group("triton"), pytest.mark.timeout(240)]

NAMED = {"lobby": ["Ada"], "office": ["Ben"], "vault": ["Cleo"], "gate": [], "hall": [], "road": []}


def test_it_names_those_it_knows_and_ctrl_c_ends_it_with_what_happened(
    tmp_path: Path, models_mirror: Path, clips: Path
) -> None:
    (port,) = free_ports(1)
    place = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "FESS_MODELS_MIRROR": str(models_mirror),
        "FESS_VIDEOS_MIRROR": str(clips),
    }
    command = (sys.executable, "-m", "orchestrator.cli.main", "demo", "--seconds", "600")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)], cwd=tmp_path, env=place, stdout=log, stderr=log
        )
    demo = Running(tmp_path, port, process)
    try:
        assert eventually(lambda: set(demo.cameras()) == set(NAMED), 120.0), demo.log
        for camera_id in ("lobby", "office", "vault"):
            assert eventually(
                lambda name=camera_id: demo.cameras()[name]["names"] == NAMED[name]  # type: ignore[misc]
            ), demo.log
        assert demo.stop(signal.SIGINT) == 0, demo.log
    finally:
        process.kill()
        process.wait()

    told = demo.log[demo.log.index("What happened") :]
    for scene in SCENES:
        assert f"{scene.camera_id} shows {scene.shows}." in demo.log
        row = re.search(rf"^ *{scene.camera_id} +(\S+) +\d+ +(\d+) +(\d+)", told, re.MULTILINE)
        assert row is not None, told
        assert row[1] == (", ".join(NAMED[scene.camera_id]) or "-")
        assert 0 < int(row[3]) <= int(row[2])
    decoded, *parts = map(
        int, re.findall(r"\d+", " ".join(told.split("Ledger:")[1].split("Bus:")[:1]))
    )
    assert decoded == sum(parts)
    assert "Cleo, who is not authorised, at vault" in told
