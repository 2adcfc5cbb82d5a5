"""Tells of a worker that is gone what it cannot tell itself: that nobody watches its cameras."""

from collections.abc import Sequence
from datetime import UTC, datetime

from alerting.rules import AlertRules
from eventbus.bus import EventBus
from eventbus.events import Event
from orchestrator.board import Board
from orchestrator.camera import Camera, CameraState
from orchestrator.delivery import make_outbox
from orchestrator.ledger import CameraLedger
from orchestrator.metrics import Metrics
from orchestrator.report import camera_status
from orchestrator.settings import Settings
from orchestrator.watch import alert_config

# The next worker waits for it: it takes the same folder, and publishes first what is left there.
TELL_WITHIN_S = 2.0


async def tell_lost(
    cameras: Sequence[Camera],
    reason: str,
    *,
    settings: Settings,
    bus: EventBus,
    board: Board,
    metrics: Metrics,
) -> None:
    """Publish each camera's loss and its alert, behind what the worker left in its outbox.

    settings  those of the worker, with its outbox
    """
    outbox = make_outbox(bus, settings, metrics)
    alerts = AlertRules(alert_config(settings.alerts))

    def tell(event: Event) -> None:
        outbox.put(event)
        board.record_event(event)

    try:
        await outbox.open()
        for camera in cameras:
            board.add_camera(camera, CameraLedger())
            board.set_state(camera.camera_id, CameraState.OFFLINE, reason)
            event = camera_status(camera.camera_id, CameraState.OFFLINE, reason, datetime.now(UTC))
            tell(event)
            for alert in alerts.consider(event):
                metrics.alerts.labels(alert.rule, alert.alert_level).inc()
                tell(alert)
        await outbox.drain(TELL_WITHIN_S)
    finally:
        outbox.close()
