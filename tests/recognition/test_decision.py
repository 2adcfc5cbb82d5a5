"""The decision: a name only when several faces agree, a stranger as the normal case, and no flip-flop after that."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.identity import Candidate, Identity
from orchestrator.recognition.decision import (
    RECHECK_S,
    RELOOK_LAST_S,
    DecisionRules,
    TrackDecision,
    anonymous_id,
)
from orchestrator.recognition.gallery import Gallery
from tests.recognition.vectors import axis, gallery, subject, three_people

RULES = DecisionRules(threshold=0.55, margin=0.05, agreement=2, max_faces=8)
PEOPLE = three_people()
Face = tuple[Candidate, ...]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def face(name: str, similarity: float, second: float = 0.1) -> Face:
    """A face most like `name`, and somewhat like somebody else."""
    other = "Cy" if name != "Cy" else "Ada"
    return (Candidate(name.lower(), name, similarity), Candidate(other.lower(), other, second))


ADA, BEN = face("Ada", 0.8), face("Ben", 0.8)
# Nobody, but nearly Ada; and clearly nobody.
NEARLY, NOBODY = face("Ada", 0.53), face("Ada", 0.3)


class Track:
    """One track's decision, fed with faces five times a second."""

    def __init__(self, people: Gallery = PEOPLE, rules: DecisionRules = RULES) -> None:
        self.decision = TrackDecision(rules, "unknown-1")
        self.people = people
        self.pts_s = 0.0

    def see(self, *faces: Face) -> list[str]:
        """What was decided by these faces, in order."""
        decided = []
        for seen in faces:
            self.pts_s += 0.2
            identity = self.decision.add(seen, self.people, self.pts_s)
            if identity is not None:
                decided.append(identity.person_name or "stranger")
        return decided

    @property
    def name(self) -> str | None:
        identity = self.decision.identity
        return identity.person_name if identity else None


def identity_after(*faces: Face) -> Identity:
    track = Track()
    track.see(*faces)
    assert track.decision.identity is not None
    return track.decision.identity


def test_one_face_never_names_anybody_however_alike() -> None:
    assert Track().see(face("Ada", 1.0)) == []


def test_faces_that_agree_give_the_name() -> None:
    assert Track().see(ADA, ADA) == ["Ada"]


def test_faces_below_the_threshold_do_not_count_towards_a_name() -> None:
    assert Track().see(ADA, *[face("Ada", 0.549)] * 3, ADA) == ["Ada"]
    assert Track().see(*[face("Ada", 0.549)] * 7) == []


def test_a_face_nearly_as_like_a_second_person_does_not_count() -> None:
    assert Track().see(*[face("Ada", 0.8, second=0.76)] * 7) == []
    assert Track().see(*[face("Ada", 0.8, second=0.74)] * 2) == ["Ada"]


def test_faces_that_disagree_must_be_outnumbered() -> None:
    assert Track().see(BEN, ADA, ADA) == []
    assert Track().see(BEN, ADA, ADA, ADA) == ["Ada"]


def test_after_enough_faces_without_a_name_the_track_is_a_stranger() -> None:
    track = Track()
    assert track.see(*[NEARLY] * 7) == []
    assert track.see(NEARLY) == ["stranger"]
    identity = track.decision.identity
    assert identity is not None
    assert (identity.face_id, identity.person_name, identity.is_authorized) == (
        "unknown-1",
        None,
        False,
    )


def test_faces_in_a_row_that_are_clearly_nobodys_make_a_stranger_sooner() -> None:
    assert Track().see(*[NOBODY] * 3) == []
    assert Track().see(*[NOBODY] * 4) == ["stranger"]
    assert Track().see(*[NOBODY] * 3, NEARLY, *[NOBODY] * 3) == []
    assert Track().see(NEARLY, *[NOBODY] * 4) == ["stranger"]


def test_once_somebody_was_claimed_it_takes_all_faces_to_make_a_stranger() -> None:
    assert Track().see(ADA, *[NOBODY] * 6) == []
    assert Track().see(ADA, *[NOBODY] * 7) == ["stranger"]


def ended(*faces: Face, people: Gallery = PEOPLE) -> str | None:
    """What a track that ends after these faces turns out to be, if anything new."""
    track = Track(people)
    track.see(*faces)
    identity = track.decision.conclude(people)
    return None if identity is None else identity.person_name or "stranger"


def test_a_track_that_ends_with_enough_faces_that_are_all_clearly_nobodys_was_a_stranger() -> None:
    assert [ended(*[NOBODY] * count) for count in (0, 1, 2, 3)] == [
        None,
        None,
        "stranger",
        "stranger",
    ]
    assert ended((), (), people=gallery([])) == "stranger"


def test_a_track_that_ends_with_a_face_near_somebody_was_nobody_to_speak_of() -> None:
    assert ended(NEARLY, NOBODY, NOBODY) is None
    assert ended(NOBODY, ADA, NOBODY) is None
    assert ended(ADA) is None


def test_a_track_that_ends_decided_stays_what_it_was() -> None:
    assert ended(ADA, ADA) is None
    assert ended(*[NOBODY] * 4) is None
    assert ended(*[NOBODY] * 4, NOBODY, NOBODY) is None


def test_with_nobody_enrolled_everybody_is_a_stranger() -> None:
    assert Track(people=gallery([])).see(*[()] * 4) == ["stranger"]


def test_a_decision_carries_what_it_stands_on() -> None:
    known = identity_after(face("Ada", 0.7), face("Ben", 0.9, second=0.88), face("Ada", 0.8))
    assert known.face_id == "ada"
    assert known.confidence == pytest.approx(0.8)
    assert known.candidates[0] == Candidate("ada", "Ada", 0.8)
    assert known.faces == 3
    assert (known.threshold, known.margin, known.agreement) == (0.55, 0.05, 2)
    assert known.gallery_version == PEOPLE.version
    assert known.is_authorized


def test_a_strangers_confidence_is_the_distance_to_the_nearest_person() -> None:
    stranger = identity_after(*[NOBODY] * 3, face("Ben", 0.4))
    assert stranger.confidence == pytest.approx(0.6)
    assert stranger.candidates[0].face_id == "ben"


def test_a_stranger_becomes_known_when_faces_agree_in_a_row() -> None:
    track = Track()
    assert track.see(*[NOBODY] * 4, ADA, NOBODY, ADA, BEN) == ["stranger"]
    assert track.see(ADA, ADA) == ["Ada"]


def test_a_stranger_is_looked_at_ever_more_rarely_but_never_given_up() -> None:
    track = Track()
    track.see(*[NOBODY] * 4)
    gaps = []
    for _ in range(9):
        assert not track.decision.wants_look(track.decision.look_at_s - 0.01)
        gaps.append(track.decision.look_at_s - track.pts_s)
        track.pts_s = track.decision.look_at_s
        track.decision.add(NOBODY, PEOPLE, track.pts_s)
    assert gaps[:4] == pytest.approx([1.0, 2.0, 4.0, 8.0])
    assert gaps[-1] == pytest.approx(RELOOK_LAST_S)


def test_a_stranger_who_once_looked_like_somebody_is_looked_at_again_without_delay() -> None:
    track = Track()
    track.see(*[NOBODY] * 4, ADA)
    assert track.decision.in_doubt
    assert track.decision.wants_look(track.pts_s + 0.2)


def test_a_name_is_checked_only_now_and_then() -> None:
    track = Track()
    track.see(ADA, ADA)
    assert not track.decision.wants_look(track.pts_s + RECHECK_S - 0.1)
    assert track.decision.wants_look(track.pts_s + RECHECK_S)


def test_a_single_face_never_changes_a_name() -> None:
    track = Track()
    track.see(ADA, ADA)
    for _ in range(20):
        assert track.see(BEN, ADA) == []
    assert track.name == "Ada"


def test_a_weak_face_of_the_same_person_keeps_the_name() -> None:
    track = Track()
    track.see(ADA, ADA)
    assert track.see(*[face("Ada", 0.51)] * 20) == []


def test_a_name_changes_when_one_more_face_in_a_row_says_so_than_gave_it() -> None:
    track = Track()
    track.see(ADA, ADA)
    assert track.see(BEN, BEN) == []
    assert track.see(BEN) == ["Ben"]


def test_a_name_is_taken_away_when_nobody_supports_it_any_more() -> None:
    track = Track()
    track.see(ADA, ADA)
    assert track.see(*[NOBODY] * 7) == []
    assert track.see(NOBODY) == ["stranger"]


def test_a_person_removed_from_the_gallery_is_no_longer_named() -> None:
    track = Track()
    track.see(ADA, ADA)
    track.decision.gallery_changed(gallery([subject("Ben", axis(1))]))
    assert track.decision.identity is None


def test_a_person_whose_authorisation_changed_is_decided_anew() -> None:
    track = Track()
    track.see(ADA, ADA)
    track.people = gallery([subject("Ada", axis(0), authorized=False), subject("Ben", axis(1))])
    track.decision.gallery_changed(track.people)
    assert track.see(ADA, ADA) == ["Ada"]
    assert track.decision.identity is not None
    assert not track.decision.identity.is_authorized


def test_somebody_else_enrolled_leaves_a_name_alone_and_gives_strangers_another_look() -> None:
    larger = gallery([*PEOPLE.subjects, subject("Dan", axis(3))])
    named, stranger = Track(), Track()
    named.see(ADA, ADA)
    stranger.see(*[NOBODY] * 4)
    named.decision.gallery_changed(larger)
    stranger.decision.gallery_changed(larger)
    assert named.name == "Ada"
    assert stranger.decision.wants_look(stranger.pts_s)


def test_an_anonymous_id_is_a_function_of_camera_track_and_moment() -> None:
    same = {anonymous_id("door", 7, NOON), anonymous_id("door", 7, NOON)}
    others = {
        anonymous_id("gate", 7, NOON),
        anonymous_id("door", 8, NOON),
        anonymous_id("door", 7, NOON + timedelta(microseconds=1)),
    }
    assert len(same) == 1
    assert len(same | others) == 4
    assert all(each.startswith("unknown-") for each in same | others)


faces = st.lists(
    st.builds(
        face, st.sampled_from(["Ada", "Ben", "Cy"]), st.floats(-1.0, 1.0), st.floats(-1.0, 0.3)
    ),
    max_size=60,
)


@given(faces)
def test_a_name_is_only_ever_given_to_somebody_whom_enough_faces_claimed(
    seen: Sequence[Face],
) -> None:
    track = Track()
    claims: dict[str, int] = {}
    for each in seen:
        claim = RULES.claim(each)
        if claim:
            claims[claim.person_name] = claims.get(claim.person_name, 0) + 1
        track.see(each)
        if track.name is not None:
            assert claims.get(track.name, 0) >= RULES.agreement


@given(faces)
def test_the_end_of_a_track_never_names_anybody_and_never_decides_twice(
    seen: Sequence[Face],
) -> None:
    track = Track()
    decided = track.see(*seen)
    last = track.decision.conclude(PEOPLE)
    assert last is None or not (decided or last.is_known)
    assert track.decision.conclude(PEOPLE) is None


@given(faces)
def test_the_same_faces_give_the_same_decisions(seen: Sequence[Face]) -> None:
    assert Track().see(*seen) == Track().see(*seen)
