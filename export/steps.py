"""Work that takes minutes, in steps: one that is done, from the same inputs, is not done again."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from export import atomic
from export.transfer import digest_of
from orchestrator.errors import ModelError


class Steps:
    """Steps of one folder. Each leaves a note of what went in and what came out, by digest.

    A step that broke off, or whose result was changed or lost, has no fitting note and is done again.
    """

    def __init__(
        self, folder: Path, console: Console, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._console = console
        self._clock = clock

    def carry_out(
        self,
        name: str,
        inputs: Mapping[str, str],
        outputs: Sequence[Path],
        work: Callable[[], None],
    ) -> bool:
        """Do the work unless it is done already; whether it was done now.

        Args:
            name: what is shown, and the note's name; letters, digits and blanks.
            inputs: all that the result depends on, as digests or plain words.
            outputs: files that the work leaves.
            work: raises ModelError when it fails; then nothing is noted.
        """
        note = self._folder / f".{name.replace(' ', '-')}.done.json"
        if note_of(note) == _described(inputs, outputs):
            self._tell(f"{name}: done before")
            return False
        note.unlink(missing_ok=True)
        began = self._clock()
        self._tell(f"{name} …")
        work()
        atomic.write(note, json.dumps(_described(inputs, outputs), indent=2).encode())
        self._tell(f"{name}: {self._clock() - began:.1f} s")
        return True

    def _tell(self, words: str) -> None:
        self._console.print(words, soft_wrap=True, highlight=False, markup=False)


def note_of(path: Path) -> object:
    """What a step noted, or None where there is no readable note."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def digest_of_text(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def stamp(path: Path) -> str:
    """What tells a file or folder of pictures from another; digests of long recordings would take too long.

    Raises ModelError where nothing is there.
    """
    if not path.exists():
        raise ModelError(f"{path}: is not there")
    files: Sequence[Path] = sorted(path.iterdir()) if path.is_dir() else [path]
    return digest_of_text(
        *(f"{each.name} {each.stat().st_size} {each.stat().st_mtime_ns}" for each in files)
    )


def _described(inputs: Mapping[str, str], outputs: Sequence[Path]) -> dict[str, dict[str, str]]:
    # A lost output has no digest, which fits no note.
    return {
        "inputs": dict(inputs),
        "outputs": {path.name: digest_of(path) if path.is_file() else "" for path in outputs},
    }
