"""Which events people must hear of.

| rule             | fires on                                      | level    |
|------------------|-----------------------------------------------|----------|
| `stranger`       | a face that nobody enrolled                   | WARNING  |
| `unauthorized`   | somebody enrolled without authorisation       | CRITICAL |
| `camera-offline` | a camera that was lost                        | WARNING  |
| `camera-online`  | a lost camera that delivers pictures again    | INFO     |

Time is the events' own, so that a replay raises the same alerts with the same ids.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta, tzinfo

from alerting.cooldown import Cooldown
from alerting.hours import Hours
from eventbus.events import (
    AlertEvent,
    AlertLevel,
    Event,
    FaceRecognitionEvent,
    SystemStatusEvent,
    event_id,
)

# Cameras come and go while running; those beyond this number are told anew.
_MOST_CAMERAS = 10_000


@dataclass(frozen=True, slots=True)
class AlertConfig:
    """What an operator may choose.

    strangers, unauthorized  whether these sightings raise alerts
    cameras                  whose sightings do; empty: all
    hours                    local time of day in which sightings do, as `alerting.hours` reads it
    cooldown_s               seconds of event time in which a rule is silent about the same person and camera

    A lost camera is told whatever `cameras` and `hours` say: it may be the first that an intruder meets.
    """

    strangers: bool = True
    unauthorized: bool = True
    cameras: tuple[str, ...] = ()
    hours: str = "00:00-24:00"
    cooldown_s: float = 60.0


class AlertRules:
    """Looks at events in their order and says which alerts follow. One instance sees all cameras of a process."""

    def __init__(
        self, config: AlertConfig, tz: tzinfo | None = None, *, lost: Collection[str] = ()
    ) -> None:
        """Take the local time zone, None for the process's own. Raises HoursInvalid.

        lost  cameras whose loss another process has told; that they are back is news
        """
        self._config = config
        self._cameras = frozenset(config.cameras)
        self._hours = Hours.parse(config.hours)
        self._tz = tz
        self._cooldown = Cooldown(timedelta(seconds=config.cooldown_s))
        self._announced = dict.fromkeys(lost, "offline")

    @property
    def forgotten(self) -> int:
        """Cool-downs dropped early because too many were running."""
        return self._cooldown.forgotten

    def consider(self, event: Event) -> tuple[AlertEvent, ...]:
        match event:
            case FaceRecognitionEvent():
                alert = self._sighting(event)
            case SystemStatusEvent(component="camera"):
                alert = self._camera(event)
            case _:
                alert = None
        return () if alert is None else (alert,)

    def _sighting(self, event: FaceRecognitionEvent) -> AlertEvent | None:
        if not self._watched(event):
            return None
        if event.person_name is None:
            wanted, rule, level = self._config.strangers, "stranger", AlertLevel.WARNING
            subject, message = "stranger", f"Unknown person at {event.camera_id}"
        elif not event.is_authorized:
            wanted, rule, level = self._config.unauthorized, "unauthorized", AlertLevel.CRITICAL
            subject = event.face_id
            message = f"{event.person_name}, who is not authorised, at {event.camera_id}"
        else:
            return None
        if not wanted or not self._cooldown.admit(
            (rule, event.camera_id, subject), event.timestamp
        ):
            return None
        return _alert(event, rule, level, message)

    def _watched(self, event: FaceRecognitionEvent) -> bool:
        if self._cameras and event.camera_id not in self._cameras:
            return False
        return event.timestamp.astimezone(self._tz).time() in self._hours

    def _camera(self, event: SystemStatusEvent) -> AlertEvent | None:
        """Tell a change once. Only good news has a cool-down: a flapping camera never ends in an untold loss."""
        camera_id = event.camera_id
        before = self._announced.get(camera_id)
        if event.status == before:
            return None
        match event.status:
            case "offline":
                alert = _alert(event, "camera-offline", AlertLevel.WARNING, _lost(event))
            case "online":
                # That a camera starts is no news; that it is back is.
                if before != "offline" or not self._cooldown.admit(
                    ("camera-online", camera_id, ""), event.timestamp
                ):
                    return None
                message = f"Camera {camera_id} delivers pictures again"
                alert = _alert(event, "camera-online", AlertLevel.INFO, message)
            case "ended":
                self._announced.pop(camera_id, None)
                return None
            case _:
                return None
        self._announced[camera_id] = event.status
        if len(self._announced) > _MOST_CAMERAS:
            del self._announced[next(iter(self._announced))]
        return alert


def _lost(event: SystemStatusEvent) -> str:
    reason = f": {event.detail}" if event.detail else ""
    return f"Camera {event.camera_id} is lost{reason}"


def _alert(
    event: FaceRecognitionEvent | SystemStatusEvent, rule: str, level: AlertLevel, message: str
) -> AlertEvent:
    return AlertEvent(
        event_id=event_id(
            "alert.triggered", event.camera_id, event.timestamp, f"{rule}:{event.event_id}"
        ),
        timestamp=event.timestamp,
        camera_id=event.camera_id,
        evidence=event.evidence,
        alert_level=level,
        alert_message=message,
        associated_events=(event.event_id,),
        rule=rule,
    )
