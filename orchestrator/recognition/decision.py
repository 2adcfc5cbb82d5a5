"""From faces to a name, or to the finding that there is none: one track's evidence, open set first.

The rules, all counted in good faces and in stream time, never in wall-clock time:

open      A face *claims* a person when that person is the most alike, at least `threshold` alike and at least
          `margin` ahead of the second. A person is named when `agreement` more faces claim them than claim anybody
          else. After `max_faces` faces without a name the track is a stranger. While nobody was claimed,
          `agreement + 2` faces in a row that are all more than `margin` below the threshold are enough, for many
          people are in view for a second only. A track that ends while it is open is a stranger if it showed
          `agreement` faces or more, and all of them were so far below. Nobody is ever named on less than a
          track in view needs; a track that shows less than this ends without a decision.
stranger  Looked at again after 1 s, 2 s, 4 s and so on up to a minute, and at once when the gallery changes.
          `agreement` claims in a row for one person give the name.
named     Looked at again every 10 s. A face *supports* the name when that person is still the most alike and at most
          `margin` below the threshold; one such face ends every doubt. Doubt is looked into without waiting:
          `agreement + 1` claims in a row for one other person change the name, and `max_faces` faces in a row
          without support take it away, for the tracker may have gone over to somebody else.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from orchestrator.identity import Candidate, Identity
from orchestrator.recognition.gallery import Gallery

RECHECK_S = 10.0
RELOOK_FIRST_S = 1.0
RELOOK_LAST_S = 60.0


@dataclass(frozen=True, slots=True)
class DecisionRules:
    """`threshold` and `margin` are cosine similarities; `agreement` and `max_faces` count good faces."""

    threshold: float
    margin: float
    agreement: int
    max_faces: int

    def claim(self, candidates: tuple[Candidate, ...]) -> Candidate | None:
        """Whom one face names, if anybody."""
        if not candidates or candidates[0].similarity < self.threshold:
            return None
        if len(candidates) > 1:
            lead = candidates[0].similarity - candidates[1].similarity
            if lead < self.margin:
                return None
        return candidates[0]

    def is_remote(self, candidates: tuple[Candidate, ...]) -> bool:
        """Whether one face is clearly nobody's."""
        return not candidates or candidates[0].similarity < self.threshold - self.margin

    def supports(self, candidates: tuple[Candidate, ...], face_id: str) -> bool:
        """Whether one face keeps a name that was given."""
        return (
            bool(candidates)
            and candidates[0].face_id == face_id
            and candidates[0].similarity >= self.threshold - self.margin
        )


def anonymous_id(camera_id: str, track_id: int, since: datetime) -> str:
    """The id of a stranger for the length of a track: the same in every replay, another after every restart.

    Args:
        camera_id: the camera.
        track_id: the track within it.
        since: when the frame was captured in which the track was first looked at; UTC, or a replay's own time.
    """
    subject = f"{camera_id}\x1f{track_id}\x1f{since.isoformat(timespec='microseconds')}"
    return f"unknown-{hashlib.sha256(subject.encode()).hexdigest()[:16]}"


class TrackDecision:
    """Gathers one track's faces. `identity` is what holds now; None while it is open."""

    def __init__(self, rules: DecisionRules, anonymous: str) -> None:
        self._rules = rules
        self._anonymous = anonymous
        self._subject: tuple[str, bool] | None = None
        self._relook_s = RELOOK_FIRST_S
        self.identity: Identity | None = None
        self.look_at_s = 0.0  # stream time before which a decided track is left alone
        self._begin()

    def _begin(self) -> None:
        """Forget the evidence so far, not the decision."""
        self._claims: dict[str, int] = {}
        self._faces = 0
        self._remote = 0  # in a row
        self._run: tuple[str, int] = ("", 0)
        self._unsupported = 0
        self._strongest: dict[str, tuple[Candidate, ...]] = {}  # by the person claimed

    @property
    def in_doubt(self) -> bool:
        """A decided track whose last faces speak for another decision."""
        return self.identity is not None and (self._unsupported > 0 or self._run[1] > 0)

    def wants_look(self, pts_s: float) -> bool:
        return self.identity is None or self.in_doubt or pts_s >= self.look_at_s

    def gallery_changed(self, gallery: Gallery) -> None:
        """Reopen what the new gallery no longer bears out; give strangers another look at once."""
        self._begin()
        self._relook_s = RELOOK_FIRST_S
        self.look_at_s = 0.0
        if self.identity is None or not self.identity.is_known:
            return
        subject = gallery.subject(self.identity.face_id)
        if subject is None or (subject.person_name, subject.is_authorized) != self._subject:
            self.identity = None

    def add(
        self, candidates: tuple[Candidate, ...], gallery: Gallery, pts_s: float
    ) -> Identity | None:
        """Weigh one good face; returns the identity if this face decided or changed it."""
        self._faces += 1
        self._remote = self._remote + 1 if self._rules.is_remote(candidates) else 0
        claim = self._rules.claim(candidates)
        self._keep_strongest(claim, candidates)
        if self.identity is None:
            decided = self._add_open(claim, gallery)
        elif self.identity.is_known:
            decided = self._add_named(self.identity, claim, candidates, gallery, pts_s)
        else:
            decided = self._add_stranger(claim, gallery, pts_s)
        if decided is not None:
            self.identity = decided
            subject = gallery.subject(decided.face_id)
            self._subject = (subject.person_name, subject.is_authorized) if subject else None
            self._relook_s = RELOOK_FIRST_S
            self.look_at_s = pts_s + (RECHECK_S if decided.is_known else RELOOK_FIRST_S)
            self._begin()
        return decided

    def conclude(self, gallery: Gallery) -> Identity | None:
        """The track has ended: returns the identity if that decides it."""
        clear = self._remote == self._faces and self._faces >= self._rules.agreement
        if self.identity is not None or not clear:
            return None
        self.identity = self._stranger(gallery)
        return self.identity

    def _add_open(self, claim: Candidate | None, gallery: Gallery) -> Identity | None:
        if claim is not None:
            self._claims[claim.face_id] = self._claims.get(claim.face_id, 0) + 1
            others = [n for face_id, n in self._claims.items() if face_id != claim.face_id]
            if self._claims[claim.face_id] - max(others, default=0) >= self._rules.agreement:
                return self._named(claim.face_id, gallery)
        clear = not self._claims and self._remote >= self._rules.agreement + 2
        enough = clear or self._faces >= self._rules.max_faces
        return self._stranger(gallery) if enough else None

    def _add_stranger(
        self, claim: Candidate | None, gallery: Gallery, pts_s: float
    ) -> Identity | None:
        if claim is None:
            self._relook_s = min(self._relook_s * 2.0, RELOOK_LAST_S)
            self.look_at_s = pts_s + self._relook_s
            self._begin()
            return None
        enough = self._extend_run(claim) >= self._rules.agreement
        return self._named(claim.face_id, gallery) if enough else None

    def _add_named(
        self,
        identity: Identity,
        claim: Candidate | None,
        candidates: tuple[Candidate, ...],
        gallery: Gallery,
        pts_s: float,
    ) -> Identity | None:
        if self._rules.supports(candidates, identity.face_id):
            self.look_at_s = pts_s + RECHECK_S
            self._begin()
            return None
        self._unsupported += 1
        if claim is None:
            self._run = ("", 0)
        elif self._extend_run(claim) > self._rules.agreement:
            return self._named(claim.face_id, gallery)
        return self._stranger(gallery) if self._unsupported >= self._rules.max_faces else None

    def _extend_run(self, claim: Candidate) -> int:
        """Claims in a row for one person."""
        again = self._run[1] + 1 if self._run[0] == claim.face_id else 1
        self._run = (claim.face_id, again)
        return again

    def _keep_strongest(self, claim: Candidate | None, candidates: tuple[Candidate, ...]) -> None:
        """Hold the face that says most for each person claimed; under "" the nearest of those that claim nobody."""
        key = claim.face_id if claim else ""
        held = self._strongest.get(key)
        if candidates and (not held or candidates[0].similarity > held[0].similarity):
            self._strongest[key] = candidates

    def _named(self, face_id: str, gallery: Gallery) -> Identity | None:
        subject = gallery.subject(face_id)
        if subject is None:
            return None
        evidence = self._strongest[face_id]
        return self._identity(
            face_id, subject.person_name, subject.is_authorized, evidence, gallery
        )

    def _stranger(self, gallery: Gallery) -> Identity:
        nearest = max(self._strongest.values(), key=lambda e: e[0].similarity, default=())
        return self._identity(self._anonymous, None, False, nearest, gallery)

    def _identity(
        self,
        face_id: str,
        person_name: str | None,
        is_authorized: bool,
        evidence: tuple[Candidate, ...],
        gallery: Gallery,
    ) -> Identity:
        nearest = evidence[0].similarity if evidence else 0.0
        confidence = nearest if person_name is not None else 1.0 - nearest
        return Identity(
            face_id=face_id,
            person_name=person_name,
            confidence=min(max(confidence, 0.0), 1.0),
            is_authorized=is_authorized,
            candidates=evidence,
            faces=self._faces,
            threshold=self._rules.threshold,
            margin=self._rules.margin,
            agreement=self._rules.agreement,
            gallery_version=gallery.version,
        )
