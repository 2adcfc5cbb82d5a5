"""Receives and decodes cameras and does nothing else with them: what no program that watches them can do without.

python -m tests.performance.bare ADDRESS...   prints a line once every camera gave a picture; ends with its input
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE, Popen

import av

from tests.performance.outcome import Lacking


@contextmanager
def decoding(addresses: list[str]) -> Iterator[int]:
    """The pid of a process that decodes all of them, each in a thread of its own. Raises Lacking."""
    command = [sys.executable, "-m", "tests.performance.bare", *addresses]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise Lacking(f"no picture came from {', '.join(addresses)}")
            yield process.pid
        finally:
            process.kill()


def main(addresses: list[str]) -> None:
    seen = threading.Barrier(len(addresses) + 1)
    for address in addresses:
        threading.Thread(target=_decode, args=(address, seen), daemon=True).start()
    seen.wait()
    sys.stdout.write("decoding\n")
    sys.stdout.flush()
    sys.stdin.read()


def _decode(address: str, seen: threading.Barrier) -> None:
    try:
        _follow(address, seen)
    finally:
        seen.abort()  # a camera that does not come, or goes, ends all


def _follow(address: str, seen: threading.Barrier) -> None:
    with av.open(address, options={"rtsp_transport": "tcp"}) as container:
        stream = container.streams.video[0]
        # As the orchestrator decodes (orchestrator/capture/source.py).
        stream.codec_context.thread_count = 1
        stream.codec_context.thread_type = "SLICE"
        next(container.decode(stream))
        seen.wait()
        for _ in container.decode(stream):
            pass


if __name__ == "__main__":
    main(sys.argv[1:])
