"""One way of serving a model: the four numbers that a sweep may change."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from itertools import product

from orchestrator.errors import SettingsError

MOST_INSTANCES = 16  # each is a process with the model in it
MOST_BATCH = 16
DELAYS_US = (0, 500, 1000, 2000, 5000)
THREADS_A_CORE = 4


@dataclass(frozen=True, slots=True, order=True)
class Candidate:
    """How Triton runs a model.

    instances       of the model, each with a process of its own in the embedded server
    max_batch       requests that run together, at most
    queue_delay_us  microseconds a request may wait for others
    threads         that one run may use (intra_op_thread_count)
    """

    instances: int
    max_batch: int
    queue_delay_us: int
    threads: int

    @property
    def words(self) -> str:
        return (
            f"{self.instances} instances, batch {self.max_batch}, "
            f"delay {self.queue_delay_us} us, {self.threads} threads"
        )


@dataclass(frozen=True, slots=True)
class Space:
    """The values each number may take, ascending; and how many threads all instances may have together."""

    instances: tuple[int, ...]
    max_batch: tuple[int, ...]
    queue_delay_us: tuple[int, ...]
    threads: tuple[int, ...]
    all_threads: int

    @classmethod
    def around(
        cls, start: Candidate, least: Candidate, *, cores: int, given: Mapping[str, tuple[int, ...]]
    ) -> "Space":
        """What is worth trying on so many cores, or what is given instead; what is configured now is always among it.

        Args:
            start: what is configured now.
            least: the smallest numbers that the model's configuration allows.
            cores: that Triton may use.
            given: by the name of the number.

        Raises:
            SettingsError: a given number is too small.
        """
        powers = [1 << n for n in range(8)]
        usual = {
            "instances": [n for n in powers if n <= min(2 * cores, MOST_INSTANCES)],
            "max_batch": [n for n in powers if n <= MOST_BATCH],
            "queue_delay_us": list(DELAYS_US),
            "threads": [*(n for n in powers if n < cores), cores],
        }
        axes: dict[str, tuple[int, ...]] = {}
        for field in fields(Candidate):
            floor: int = getattr(least, field.name)
            chosen = given.get(field.name)
            if chosen and min(chosen) < floor:
                raise SettingsError(
                    f"{field.name} {min(chosen)}: this model's configuration needs {floor} or more"
                )
            values = chosen or [value for value in usual[field.name] if value >= floor]
            axes[field.name] = tuple(sorted({getattr(start, field.name), *values}))
        most = max(THREADS_A_CORE * cores, start.instances * start.threads)
        return cls(**axes, all_threads=most)

    @property
    def size(self) -> int:
        return (
            len(self.instances) * len(self.max_batch) * len(self.queue_delay_us) * len(self.threads)
        )

    def coarse(self) -> list[Candidate]:
        """The ends of every number; of the delay the least and one in the middle."""
        delays = {self.queue_delay_us[0], self.queue_delay_us[len(self.queue_delay_us) // 2]}
        axes = [_ends(self.instances), _ends(self.max_batch), sorted(delays), _ends(self.threads)]
        return [each for each in (Candidate(*v) for v in product(*axes)) if self._fits(each)]

    def neighbours(self, candidate: Candidate) -> list[Candidate]:
        """One step up or down in one number."""
        found = []
        for field in fields(Candidate):
            values: tuple[int, ...] = getattr(self, field.name)
            at = values.index(getattr(candidate, field.name))
            for other in (at - 1, at + 1):
                if 0 <= other < len(values):
                    found.append(replace(candidate, **{field.name: values[other]}))
        return [each for each in found if self._fits(each)]

    def _fits(self, candidate: Candidate) -> bool:
        return candidate.instances * candidate.threads <= self.all_threads


def _ends(values: tuple[int, ...]) -> list[int]:
    return sorted({values[0], values[-1]})
