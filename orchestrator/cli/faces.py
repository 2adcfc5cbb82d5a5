"""`fess faces`: who is enrolled. A running `fess run` takes changes up within a second."""

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from orchestrator.cli.face_services import FaceModel, FaceServices, open_services
from orchestrator.errors import GalleryError
from orchestrator.recognition.enrolled import EnrolledPerson, folded, new_person
from orchestrator.recognition.enrolment import Accepted, Confusable, Examination
from orchestrator.settings import Settings, load

app = typer.Typer(
    name="faces",
    no_args_is_help=True,
    help="Enrol people, list and remove them. A running `fess run` takes changes up within a second. "
    "Faces are kept as vectors; pictures are not kept.",
)

MAX_NAME = 128

Person = Annotated[str, typer.Argument(help="The person's name, or face id.")]
Authorized = Annotated[
    bool | None,
    typer.Option(
        "--authorized/--not-authorized",
        help="Whether the person may be there; if not, seeing them raises an alert. "
        "New people are not authorised unless you say so.",
    ),
]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Enrol even if the person resembles somebody else.")
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


@dataclass(frozen=True, slots=True)
class Wish:
    """What the caller asked for, besides the pictures."""

    authorized: bool | None
    yes: bool


@app.command()
def enrol(
    name: Annotated[str, typer.Argument(help="The person's name.")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Pictures (JPEG, PNG, WebP, BMP) or videos, each of this person alone."
        ),
    ] = None,
    authorized: Authorized = None,
    yes: Yes = False,
) -> None:
    """Enrol a person, add pictures to one, or change whether they are authorised.

    Every picture that is refused is named with its reason.
    """
    name = _valid_name(name)
    if not files:
        if authorized is None:
            raise typer.BadParameter("give at least one picture or video", param_hint="FILES")
        asyncio.run(_authorize(name, authorized))
        return
    if not asyncio.run(enrol_people(load(), {name: files}, Wish(authorized, yes))):
        raise typer.Exit(1)


@app.command("import")
def import_folder(
    folder: Annotated[
        Path, typer.Argument(help="A folder with one folder a person, named for them.")
    ],
    authorized: Authorized = None,
    yes: Yes = False,
) -> None:
    """Enrol many people: a folder a person, with pictures or videos in it."""
    if not asyncio.run(enrol_people(load(), _people_of(folder), Wish(authorized, yes))):
        raise typer.Exit(1)


@app.command("list")
def list_people(as_json: AsJson = False) -> None:
    """List who is enrolled."""
    people = asyncio.run(_everybody())
    if as_json:
        typer.echo(json.dumps([_plain(person) for person in people], indent=2))
        return
    table = Table("person", Column("face id", no_wrap=True), "authorised", "faces", "model")
    for person in people:
        table.add_row(
            escape(person.person_name),
            person.face_id,
            "yes" if person.is_authorized else "no",
            str(len(person.faces)),
            f"{escape(person.model.name)} {person.model.sha256[:8]}",
        )
    Console().print(table)


@app.command()
def show(person: Person) -> None:
    """Show one person as JSON; the faces' vectors stay where they are."""
    found = asyncio.run(_find(person))
    if found is None:
        raise _nobody(person)
    typer.echo(json.dumps(_plain(found), indent=2))


@app.command()
def remove(person: Person, yes: Annotated[bool, typer.Option("--yes", "-y")] = False) -> None:
    """Remove a person and every vector of their face."""
    if not yes:
        if asyncio.run(_find(person)) is None:
            raise _nobody(person)
        if not sys.stdin.isatty():
            raise GalleryError("nobody is here to ask; --yes removes without asking")
        typer.confirm(f"Remove {person} and all their faces?", abort=True)
    if asyncio.run(_remove(person)) is None:
        raise _nobody(person)
    Console().print(f"Removed {escape(person)}.")


async def _everybody() -> tuple[EnrolledPerson, ...]:
    async with open_services(load(), triton=False) as services:
        return await services.store.people()


async def _find(name_or_id: str) -> EnrolledPerson | None:
    async with open_services(load(), triton=False) as services:
        return await services.store.find(name_or_id)


async def _remove(name_or_id: str) -> str | None:
    async with open_services(load(), triton=False) as services:
        return await services.store.remove(name_or_id)


async def _authorize(name: str, authorized: bool) -> None:
    def become(person: EnrolledPerson | None) -> EnrolledPerson:
        if person is None:
            raise _nobody(name)
        return person.with_faces((), person.model, authorized)

    async with open_services(load(), triton=False) as services:
        person = await services.store.change(name, become)
    Console().print(f"{escape(person.person_name)} is {_verdict(person)}.")


async def enrol_people(settings: Settings, people: dict[str, list[Path]], wish: Wish) -> bool:
    """True if everybody was enrolled; says what was taken and what was refused, and why."""
    console = Console(soft_wrap=True)
    complete = True
    async with open_services(settings, triton=True) as services, services.model() as model:
        for name, files in people.items():
            complete &= await _enrol(services, model, name, files, wish, console)
    return complete


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
    console.print(f"  Enrolled: {faces}, {_verdict(person)}, id {person.face_id}.")
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
    return typer.confirm("  Enrol all the same?", default=False)


def _people_of(folder: Path) -> dict[str, list[Path]]:
    """Raises GalleryError if the folder is not laid out as the help says."""
    if not folder.is_dir():
        raise GalleryError(f"{folder} is not a folder")
    people: dict[str, list[Path]] = {}
    for place in sorted(folder.iterdir()):
        files = _visible(place) if place.is_dir() else []
        if files:
            people[_valid_name(place.name)] = files
    if not people:
        raise GalleryError(
            f"{folder} holds no folder with pictures; make one a person, named for them: "
            f"{folder}/Ada Lovelace/1.jpg"
        )
    return people


def _visible(place: Path) -> list[Path]:
    return sorted(f for f in place.iterdir() if f.is_file() and not f.name.startswith("."))


def _valid_name(name: str) -> str:
    tidy = " ".join(name.split())
    if not folded(tidy) or len(tidy) > MAX_NAME or not tidy.isprintable():
        raise GalleryError(
            f"{name[:40]!r} is not a name: give 1 to {MAX_NAME} printable characters"
        )
    return tidy


def _nobody(name_or_id: str) -> GalleryError:
    return GalleryError(f"nobody called {name_or_id} is enrolled; `fess faces list` shows who is")


def _verdict(person: EnrolledPerson) -> str:
    return "authorised" if person.is_authorized else "not authorised"


def _plain(person: EnrolledPerson) -> dict[str, Any]:
    return {
        "face_id": person.face_id,
        "person_name": person.person_name,
        "is_authorized": person.is_authorized,
        "model": {
            "name": person.model.name,
            "version": person.model.version,
            "sha256": person.model.sha256,
        },
        "dimension": person.dimension,
        "faces": [
            {"enrolled_at": face.enrolled_at.isoformat(), "quality": round(face.quality, 4)}
            for face in person.faces
        ],
    }
