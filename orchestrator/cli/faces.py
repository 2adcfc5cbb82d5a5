"""`fess faces`: who is enrolled. A running `fess run` takes changes up within a second."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from orchestrator.cli.enrolling import Wish, enrol_people, verdict
from orchestrator.cli.face_services import open_services
from orchestrator.errors import GalleryError
from orchestrator.recognition.enrolled import EnrolledPerson, folded
from orchestrator.settings import load

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
    Console().print(f"{escape(person.person_name)} is {verdict(person)}.")


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
