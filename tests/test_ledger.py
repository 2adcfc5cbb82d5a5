"""The coverage ledger: decoded = inspected + skipped by cause + pending, exactly, at every instant."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.ledger import CameraLedger, Coverage, Skip


def test_frames_are_numbered_from_one() -> None:
    ledger = CameraLedger()
    assert [ledger.decoded() for _ in range(3)] == [1, 2, 3]


def test_a_frame_that_has_not_left_yet_is_pending() -> None:
    ledger = CameraLedger()
    ledger.decoded()
    assert ledger.coverage().pending == 1
    ledger.inspected()
    assert ledger.coverage().pending == 0


@given(st.lists(st.sampled_from([None, *Skip])))
def test_every_frame_is_under_one_heading(ways_out: list[Skip | None]) -> None:
    ledger = CameraLedger()
    for way_out in ways_out:
        ledger.decoded()
        if way_out is None:
            ledger.inspected()
        else:
            ledger.skipped(way_out)
    coverage = ledger.coverage()
    assert coverage.decoded == len(ways_out)
    assert coverage.inspected == ways_out.count(None)
    assert coverage.skipped == {cause: ways_out.count(cause) for cause in Skip}
    assert coverage.pending == 0


def test_an_account_once_taken_does_not_change() -> None:
    ledger = CameraLedger()
    before = ledger.coverage()
    ledger.decoded()
    ledger.skipped(Skip.BUSY)
    assert before == Coverage()
    assert before.skipped[Skip.BUSY] == 0


def test_a_decode_thread_and_the_loop_lose_no_count_to_each_other() -> None:
    ledger = CameraLedger()
    barrier = threading.Barrier(4)

    def work(leave: Skip | None) -> None:
        barrier.wait()
        for _ in range(2000):
            ledger.decoded()
            if leave is None:
                ledger.inspected()
            else:
                ledger.skipped(leave)

    ways_out = (None, Skip.SAMPLING, Skip.BUSY, Skip.STALE)
    threads = [threading.Thread(target=work, args=[way_out]) for way_out in ways_out]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    coverage = ledger.coverage()
    assert (coverage.decoded, coverage.inspected, coverage.pending) == (8000, 2000, 0)
    assert [coverage.skipped[cause] for cause in ways_out[1:] if cause] == [2000, 2000, 2000]
