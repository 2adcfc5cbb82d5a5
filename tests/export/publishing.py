"""The public addresses of the manifest on this machine, each under its own path."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from aiohttp import web

from export.manifest import Clip, Manifest, Model, Source, load
from tests.export.mobilefacenets import recovered
from tests.export.state_dicts import saved

RTMDET, YUNET, MOBILEFACENET, BUILT = (
    load().model(name)
    for name in (
        "rtmdet_nano_person_320",
        "face_detection_yunet_2026may",
        "mobilefacenet_foamliu_112",
        "mobilefacenet_foamliu_pt",
    )
)
Thing = TypeVar("Thing", Model, Clip)
# As the release of a GitHub project answers: elsewhere, by a signature that must arrive as it was sent.
ELSEWHERE, SIGNATURE = "/elsewhere", "a%2Bb/c%3D"


def weights(models_mirror: Path) -> bytes:
    """A state dict of MobileFaceNet with the numbers of the mirror's ONNX file."""
    return saved(recovered((models_mirror / MOBILEFACENET.file).read_bytes()))


def files(models_mirror: Path) -> dict[str, bytes]:
    """What the default models' addresses give, by address."""
    given = {model: (models_mirror / model.file).read_bytes() for model in (RTMDET, YUNET)}
    given[BUILT] = weights(models_mirror)
    return {
        source.url: content
        for model, content in given.items()
        for source in model.sources
        if source.sha256 is not None
    }


@dataclass
class Internet:
    """A web server that gives what every public address gives; `asked` holds the path of each request."""

    content: Mapping[str, bytes]
    gone: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.raw_path)
        if request.path == ELSEWHERE:
            assert request.query["signature"] == "a+b/c="
            return web.Response(body=self.content[request.query["of"]])
        url = "https:/" + request.raw_path
        if url in self.gone or url not in self.content:
            return web.Response(status=404)
        if "/releases/download/" in url:
            place = f"{ELSEWHERE}?signature={SIGNATURE}&of={url}"
            return web.Response(status=302, headers={"Location": place})
        return web.Response(body=self.content[url])


async def serve(internet: Internet) -> web.AppRunner:
    """The server, until its `cleanup`."""
    app = web.Application()
    app.router.add_get("/{path:.*}", internet.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner


def moved(port: int, content: Mapping[str, bytes]) -> Manifest:
    """The manifest with every address on this machine, and with the digest of the weights that are given there."""
    made = content[BUILT.sources[0].url]
    given = {"sha256": hashlib.sha256(made).hexdigest(), "size": len(made)}

    def at_home(item: Thing) -> Thing:
        news = given if item.name == BUILT.name else {}
        sources = tuple(
            Source(
                url=source.url.replace("https:/", f"http://127.0.0.1:{port}", 1),
                sha256=source.sha256 and (news or {"sha256": source.sha256})["sha256"],
                member=source.member,
                note=source.note,
            )
            for source in item.sources
        )
        return item.model_copy(update={**news, "sources": sources})

    manifest = load()
    return Manifest(
        models=tuple(map(at_home, manifest.models)), clips=tuple(map(at_home, manifest.clips))
    )
