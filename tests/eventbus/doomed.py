"""A process that hands events to an outbox whose bus is away, until it is killed.

`python -m tests.eventbus.doomed FOLDER` hands over 2000 and says so once all are on disk. With `spool`
behind it, it writes to the spool itself, and says the number of each event that is on disk.
"""

import asyncio
import sys
from itertools import count
from pathlib import Path

from eventbus.bus import record_of
from eventbus.journal import Entry
from eventbus.outbox import Outbox
from eventbus.redis_streams import RedisStreamsBus, RedisStreamsConfig
from eventbus.spool import Spool
from eventbus.topics import Topics
from tests.eventbus.reports import KINDS
from tests.eventbus.until import until


def tell(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def write(folder: Path) -> None:
    spool = Spool(folder, 1 << 26, Topics())
    spool.open()
    for number in count(1):
        record = record_of(KINDS[number % 4]("door", number), Topics())
        spool.append(record.event_type, [Entry(number, record)])
        tell(number)


async def hand_over(folder: Path) -> None:
    box = Outbox(
        RedisStreamsBus(RedisStreamsConfig("127.0.0.1", 1)),
        folder,
        1 << 26,
        on_sent=lambda record: None,
        on_dropped=lambda topic, cause, events: None,
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(box.run())
        for number in range(1, 2001):
            box.put(KINDS[number % 4]("door", number))
        await until(lambda: box.at_risk == 0)
        tell(2000)
        await asyncio.sleep(60)


if __name__ == "__main__":
    if sys.argv[2:] == ["spool"]:
        write(Path(sys.argv[1]))
    else:
        asyncio.run(hand_over(Path(sys.argv[1])))
