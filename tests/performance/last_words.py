"""What a Triton said that ended by itself, kept where a run's own folder is not deleted with it."""

from orchestrator.embedded.triton import EmbeddedTriton
from tests.performance.bench import Bench
from tests.performance.traffic import LoadEnded

# Its guard writes the log until it has no more to say, also while it dumps its memory.
PATIENCE_S = 5.0
KEPT_BYTES = 256 * 1024


class TritonEnded(LoadEnded):
    """The message says how, and where its log is."""


async def explained(failure: Exception, triton: EmbeddedTriton, bench: Bench) -> Exception:
    """The failure of a load; another one if Triton ended by itself, whose log is then kept."""
    code = await triton.ended_within(PATIENCE_S)
    if code is None:
        return failure
    kept = bench.folder / f"{bench.section}-triton.log"
    said = triton.log.read_bytes()
    kept.write_bytes(said[-KEPT_BYTES:])
    return TritonEnded(
        f"Triton ended by itself, exit code {code}, its log is {kept.name} beside the results ({failure})"
    )
