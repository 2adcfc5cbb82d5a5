"""The spool's file format: whole records are read, a torn or damaged end is recognised."""

from hypothesis import given
from hypothesis import strategies as st

from eventbus.bus import record_of
from eventbus.journal import MAGIC, Entry, entries, frame
from eventbus.topics import Topics
from tests.eventbus.reports import KINDS

TOPICS = Topics()
entry = st.builds(
    lambda sequence, kind, camera_id: Entry(sequence, record_of(kind(camera_id, 1), TOPICS)),
    st.integers(1, 2**62),
    st.sampled_from(KINDS),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
)


def written(listed: list[Entry]) -> bytes:
    return MAGIC + b"".join(frame(one) for one in listed)


@given(st.lists(entry, max_size=4))
def test_entries_are_read_as_they_were_written(listed: list[Entry]) -> None:
    assert list(entries(written(listed), TOPICS)) == listed


@given(st.lists(entry, min_size=1, max_size=3), st.data())
def test_a_file_cut_anywhere_gives_its_whole_entries_and_tells_of_the_rest(
    listed: list[Entry], data: st.DataObject
) -> None:
    whole = written(listed)
    cut = data.draw(st.integers(1, len(whole) - 1))
    found = list(entries(whole[:cut], TOPICS))
    boundaries = [len(written(listed[:n])) for n in range(len(listed) + 1)]
    kept = sum(1 for end in boundaries[1:] if end <= cut)
    torn = [] if cut in boundaries else [None]
    assert found == [*listed[:kept], *torn]


@given(st.lists(entry, min_size=1, max_size=3), st.data())
def test_a_flipped_bit_never_yields_an_entry_that_was_not_written(
    listed: list[Entry], data: st.DataObject
) -> None:
    whole = bytearray(written(listed))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    found = list(entries(bytes(whole), TOPICS))
    assert found[-1] is None
    assert found[:-1] == listed[: len(found) - 1]


@given(st.binary(max_size=200))
def test_a_file_of_anything_is_read_without_harm(content: bytes) -> None:
    assert list(entries(MAGIC + content, TOPICS)) in ([], [None])
