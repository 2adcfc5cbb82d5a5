"""What processes cost: CPU time and memory from the kernel's own accounts, and who else was busy meanwhile."""

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

TICKS_S = 100.0  # USER_HZ, which Linux fixes at 100 for what it shows in /proc
MIB = 1024 * 1024


def family(pid: int) -> list[psutil.Process]:
    """A process and all below it; of ourselves, who started everything, only the one."""
    try:
        process = psutil.Process(pid)
        return [process, *([] if pid == os.getpid() else process.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def child_running(script: str) -> int:
    """The pid of a process that we started with such a word in its command line."""
    for child in psutil.Process().children(recursive=True):
        if any(script in word for word in child.cmdline()):
            return int(child.pid)
    raise LookupError(f"no child runs {script}")


def cpu_s(pids: list[psutil.Process]) -> float:
    """Seconds of CPU, user and system, of these processes; one that is gone counts nothing."""
    total = 0.0
    for process in pids:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def resident_mib(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / MIB


def threads_s(pid: int) -> dict[tuple[int, str], float]:
    """CPU seconds of each thread: (thread id, its name) -> seconds."""
    found: dict[tuple[int, str], float] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            text = (task / "stat").read_text()
        except OSError:
            continue  # it ended meanwhile
        name, _, rest = text.partition("(")[2].rpartition(")")
        fields = rest.split()
        found[int(task.name), name] = (int(fields[11]) + int(fields[12])) / TICKS_S
    return found


@dataclass(frozen=True, slots=True)
class Shares:
    """Over one measurement, as shares of one core (1.0 is a core).

    by_role    of each part of the measurement
    bystanders everything else on the machine: whatever was not part of it
    idle       what nobody used, over all cores
    """

    wall_s: float
    by_role: dict[str, float]
    bystanders: float
    idle: float


class Account:
    """Takes the CPU use of some process families between two moments."""

    def __init__(self, roots: dict[str, int]) -> None:
        self._roots = roots
        self._started_s = time.monotonic()
        self._before = {role: cpu_s(family(pid)) for role, pid in roots.items()}
        self._busy_s, self._idle_s = _busy_s(), _idle_s()

    def close(self) -> Shares:
        wall_s = time.monotonic() - self._started_s
        shares = {
            role: (cpu_s(family(pid)) - self._before[role]) / wall_s
            for role, pid in self._roots.items()
        }
        idle = (_idle_s() - self._idle_s) / wall_s
        others = max((_busy_s() - self._busy_s) / wall_s - sum(shares.values()), 0.0)
        return Shares(wall_s, shares, others, idle)


def _busy_s() -> float:
    """Seconds of CPU that all cores together were not idle; what the host took away (steal) is among them."""
    times = psutil.cpu_times()._asdict()
    unused = ("idle", "iowait", "guest", "guest_nice")  # guest is part of user
    return float(sum(seconds for name, seconds in times.items() if name not in unused))


def _idle_s() -> float:
    times = psutil.cpu_times()
    return float(times.idle + times.iowait)


def pin(pid: int, core: int | None) -> None:
    """Let every thread of a process and of all below it use one core only; all that we may use for None."""
    cores = os.sched_getaffinity(0) if core is None else {core}
    for process in family(pid):
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(task.name), cores)


class Surroundings:
    """How busy the rest of the machine was, while we and what we started and waited for were at work."""

    def __init__(self) -> None:
        self._started_s = time.monotonic()
        self._busy_s, self._own_s = _busy_s(), _own_s()
        self._load = os.getloadavg()[0]

    def words(self) -> str:
        wall_s = time.monotonic() - self._started_s
        own, busy = (_own_s() - self._own_s) / wall_s, (_busy_s() - self._busy_s) / wall_s
        return (
            f"What else ran: over {wall_s:.0f} s, set-up included, the measurement and its servers used {own:.2f} "
            f"cores and everything else on the machine {max(busy - own, 0.0):.2f} of {os.cpu_count()}; load average "
            f"before {self._load:.1f}, after {os.getloadavg()[0]:.1f}."
        )


def _own_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
