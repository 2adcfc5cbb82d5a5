"""An export on a workbench: a checkpoint, a stand-in for the environment, a repository that serves the public model."""

import io
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from export.checkpoint import Checkpoint
from export.environment import Environment
from export.exporting import Export, Result
from export.manifest import load
from export.prepare import prepare
from export.rtmdet import named
from export.transfer import digest_of
from export.wish import Wish

ROOT = Path(__file__).resolve().parents[2]
NANO = load().model("rtmdet_nano_person_320")
SIZE = 320


class Bench:
    def __init__(self, folder: Path, mirror: Path, photographs: Path) -> None:
        self.folder = folder
        self.repository = folder / "repository"
        self.slot = self.repository / "object_detector"
        self.checkpoint = folder / "mine.pth"
        self.checkpoint.write_bytes(b"weights")
        self.photographs = photographs
        self.lock = folder / "lock.txt"
        self.lock.write_text("torch==1\n")
        self.settings = folder / "settings.json"
        self.said = io.StringIO()
        self.onnx = mirror / NANO.file
        self.set()
        python = folder / "environment" / "venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        command = f'PYTHONPATH={ROOT} exec {sys.executable} -m tests.export.standing_in {self.settings} "$@"'
        python.write_text(f"#!/bin/sh\n{command}\n")
        python.chmod(0o755)
        prepare(self.onnx, NANO, self.repository)

    def set(self, **settings: Any) -> None:
        self.settings.write_text(json.dumps({"onnx": str(self.onnx), **settings}))

    def export(self, labels: tuple[str, ...] | None = ("person",), **wishes: Any) -> Result:
        wishes = {"count": 4, "pictures": (self.photographs,), **wishes}
        wish = Wish(named("rtmdet-nano"), SIZE, labels, **wishes)
        checkpoint = Checkpoint(self.checkpoint, digest_of(self.checkpoint), "of its owner", "")
        place = Environment(self.folder / "environment", self.lock)
        console = Console(file=self.said, width=200)
        return Export(wish, checkpoint, place, self.folder / "work", console).run(self.repository)

    def asked(self) -> list[str]:
        """Tasks of the environment since the last time."""
        record = self.folder / "asked.txt"
        tasks = record.read_text().split() if record.exists() else []
        record.unlink(missing_ok=True)
        return tasks

    def served(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.slot)): path.read_bytes()
            for path in self.slot.rglob("*")
            if path.is_file()
        }
