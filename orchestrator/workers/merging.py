"""What several workers report, as one report."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import get_args

from prometheus_client.parser import text_string_to_metric_families

from orchestrator.camera import CameraState
from orchestrator.health import (
    CameraHealth,
    CamerasHealth,
    ComponentHealth,
    Components,
    HealthDocument,
    Status,
    system_health,
)

WORSE: tuple[Status, ...] = get_args(Status)  # from healthy to unhealthy


def merged_health(
    documents: Mapping[int, HealthDocument],
    missing: Sequence[int],
    unwatched: Mapping[str, CameraHealth],
) -> HealthDocument:
    """The worst of each component; every worker's cameras; workers that do not answer degrade.

    documents  at least one
    unwatched  cameras of workers that are gone
    """
    parts = [document.components for document in documents.values()]
    names = sorted({name for part in parts for name in _asked(part)})
    answers = {
        name: _worst([_asked(part)[name] for part in parts if name in _asked(part)])
        for name in names
    }
    answers["workers"] = ComponentHealth(
        healthy=not missing,
        error=f"worker {', '.join(map(str, missing))} does not answer" if missing else None,
    )
    cameras = _cameras(parts, unwatched)
    status = max((document.status for document in documents.values()), key=WORSE.index)
    if status == "unhealthy" and cameras.online and answers["triton"].healthy:
        status = "degraded"  # one worker without its cameras is not all of them
    if missing and status == "healthy":
        status = "degraded"
    return HealthDocument(
        status=status,
        timestamp=max(document.timestamp for document in documents.values()),
        components=Components(
            **answers,
            cameras=cameras,
            system=parts[0].system,
        ),
    )


def starting(now: datetime, unwatched: Mapping[str, CameraHealth]) -> HealthDocument:
    """No worker answers yet."""
    unknown = ComponentHealth(healthy=False, error="the workers are starting")
    return HealthDocument(
        status="unhealthy",
        timestamp=now,
        components=Components(
            redis=unknown,
            kafka=unknown,
            triton=unknown,
            workers=unknown,
            cameras=_cameras((), unwatched),
            system=system_health(Path()),
        ),
    )


def merged_metrics(own: bytes, bodies: Mapping[int, bytes]) -> bytes:
    """Every worker's samples under a label `worker`, one head a metric, after the supervisor's own."""
    heads: dict[str, str] = {}
    samples: dict[str, list[str]] = {}
    for worker, body in (("supervisor", own), *((str(n), body) for n, body in bodies.items())):
        for family in text_string_to_metric_families(body.decode()):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            heads[name] = f"# HELP {name} {family.documentation}\n# TYPE {name} {family.type}\n"
            for sample in family.samples:
                labels = {**sample.labels, "worker": worker}
                written = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items())
                samples.setdefault(name, []).append(f"{sample.name}{{{written}}} {sample.value}\n")
    return "".join(head + "".join(samples.get(name, ())) for name, head in heads.items()).encode()


def _cameras(parts: Sequence[Components], unwatched: Mapping[str, CameraHealth]) -> CamerasHealth:
    cameras = dict(unwatched)
    for part in parts:
        cameras |= part.cameras.cameras
    states = [camera.state for camera in cameras.values()]
    online = states.count(CameraState.ONLINE)
    total = len(states) - states.count(CameraState.ENDED)
    return CamerasHealth(healthy=online == total, online=online, total=total, cameras=cameras)


def _asked(part: Components) -> dict[str, ComponentHealth]:
    fixed = {"redis": part.redis, "kafka": part.kafka, "triton": part.triton}
    return fixed | (part.__pydantic_extra__ or {})


def _worst(answers: Sequence[ComponentHealth]) -> ComponentHealth:
    return min(answers, key=lambda answer: (answer.healthy, -(answer.latency_ms or 0.0)))


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
