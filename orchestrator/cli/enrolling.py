"""Enrols people from pictures and videos, and says of each what was taken, what was refused and why."""

import signal
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape

from orchestrator.cli.face_services import FaceModel, FaceServices, open_services
from orchestrator.cli.interruption import some, told_when_interrupted
from orchestrator.models import ensure_models
from orchestrator.recognition.enrolled import EnrolledPerson, new_person
from orchestrator.recognition.enrolment import Accepted, Confusable, Examination
from orchestrator.settings import Settings


@dataclass(frozen=True, slots=True)
class Wish:
    """What the caller asked for, besides the pictures."""

    authorized: bool | None
    yes: bool


async def enrol_people(settings: Settings, people: dict[str, list[Path]], wish: Wish) -> bool:
    """True if everybody was enrolled; says what was taken and what was refused, and why."""
    console = Console(soft_wrap=True)
    enrolled: dict[str, bool] = {}
    with told_when_interrupted(lambda: _how_far(people, enrolled)):
        await ensure_models(settings, Console(stderr=True))
        async with open_services(settings, triton=True) as services, services.model() as model:
            for name, files in people.items():
                enrolled[name] = await _enrol(services, model, name, files, wish, console)
    return all(enrolled.values())


def _how_far(people: Collection[str], enrolled: Mapping[str, bool]) -> str:
    done = [name for name, taken in enrolled.items() if taken]
    refused = [name for name, taken in enrolled.items() if not taken]
    left = [name for name in people if name not in enrolled]
    return f"enrolled: {some(done)}; refused: {some(refused)}; not enrolled yet: {some(left)}"


async def _enrol(
    services: FaceServices,
    model: FaceModel,
    name: str,
    files: Sequence[Path],
    wish: Wish,
    console: Console,
) -> bool:
    console.print(f"[bold]{escape(name)}[/bold]")
    examined = [await services.examine(model.examiner, path) for path in files]
    present = await services.store.find(name)
    known = present.faces if present and present.model.sha256 == model.version.sha256 else ()
    agreed = model.examiner.agree([f for e in examined for f in e.accepted], known)
    _tell(console, examined, agreed)
    if not agreed.accepted:
        console.print("  Not enrolled: no picture is fit for it.")
        return False
    gallery = await model.reader.latest()
    own_id = present.face_id if present else None
    alike = model.examiner.confusables(agreed.accepted, gallery, own_id)
    if alike and not _accepts(console, name, alike, wish.yes):
        console.print("  Not enrolled.")
        return False
    person = await services.store.change(name, _become(name, agreed.accepted, model, wish))
    count = len(person.faces)
    faces = f"{count} face{'s' * (count != 1)}"
    console.print(f"  Enrolled: {faces}, {verdict(person)}, id {person.face_id}.")
    return True


def _become(
    name: str, accepted: Sequence[Accepted], model: FaceModel, wish: Wish
) -> Callable[[EnrolledPerson | None], EnrolledPerson]:
    now = datetime.now(UTC)
    faces = [face.enrolled(now) for face in accepted]

    def become(person: EnrolledPerson | None) -> EnrolledPerson:
        if person is None:
            return new_person(name, bool(wish.authorized), model.version, faces)
        authorized = person.is_authorized if wish.authorized is None else wish.authorized
        return person.with_faces(faces, model.version, authorized)

    return become


def _tell(console: Console, examined: Sequence[Examination], agreed: Examination) -> None:
    for face in agreed.accepted:
        quality = face.quality
        console.print(
            f"  [green]taken[/green]    {escape(face.label)}: {quality.size_px:.0f} px between the eyes, "
            f"sharpness {quality.sharpness:.0f}, turned {abs(quality.yaw_deg):.0f}°, score {quality.score:.2f}"
        )
    for refused in (*(r for e in examined for r in e.refused), *agreed.refused):
        console.print(
            f"  [yellow]refused[/yellow]  {escape(refused.label)}: {escape(refused.reason)}"
        )


def _accepts(console: Console, name: str, alike: Sequence[Confusable], yes: bool) -> bool:
    for other in alike:
        danger = "would be named as each other" if other.matches else "could be confused"
        console.print(
            f"  [red]alike[/red]    {escape(name)} and {escape(other.person_name)} {danger}: "
            f"similarity {other.similarity:.2f}"
        )
    if yes:
        return True
    if not sys.stdin.isatty():
        console.print("  Nobody is here to ask; --yes enrols all the same.")
        return False
    # The prompt blocks the event loop, so Ctrl-C has to reach the prompt itself.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return typer.confirm("  Enrol all the same?", default=False)
    finally:
        signal.signal(signal.SIGINT, before)


def verdict(person: EnrolledPerson) -> str:
    return "authorised" if person.is_authorized else "not authorised"
