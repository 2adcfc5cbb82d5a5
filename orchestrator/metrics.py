"""Every number we export. Labels are small fixed sets: never a track, a person or a URL."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LATENCY_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
STAGE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class Metrics:
    """One instance a process, built in app.py. The first block is the published contract and is not renamed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.detections = Counter(
            "fess_detections_total",
            "Objects detected.",
            ["camera_id", "object_class"],
            registry=registry,
        )
        self.detection_latency = Histogram(
            "fess_detection_latency_seconds",
            "From the decoded frame to its detections.",
            ["camera_id"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.face_recognitions = Counter(
            "fess_face_recognitions_total",
            "Identities decided; a stranger is not authorised.",
            ["camera_id", "authorized"],
            registry=registry,
        )
        self.face_cache_hits = Counter(
            "fess_face_cache_hits_total",
            "Times a track's identity was needed and no embedding had to be computed.",
            registry=registry,
        )
        self.face_cache_misses = Counter(
            "fess_face_cache_misses_total",
            "Times a track's identity was needed and an embedding had to be computed.",
            registry=registry,
        )
        self.kafka_events_sent = Counter(
            "fess_kafka_events_sent_total",
            "Events the bus acknowledged or refused, whichever bus is in use.",
            ["topic", "status"],
            registry=registry,
        )
        self.active_cameras = Gauge(
            "fess_active_cameras", "Cameras that deliver frames.", registry=registry
        )
        self.fps = Gauge("fess_fps", "Frames inspected a second.", ["camera_id"], registry=registry)
        self.memory_usage = Gauge("fess_memory_usage_bytes", "Resident memory.", registry=registry)
        self.cpu_usage = Gauge(
            "fess_cpu_usage_percent", "CPU use, 100 is one core.", registry=registry
        )

        self.stage_seconds = Histogram(
            "fess_stage_seconds",
            "Time spent in one stage of one frame.",
            ["stage"],  # motion, detection, tracking, recognition, events
            buckets=STAGE_BUCKETS,
            registry=registry,
        )
        self.event_latency = Histogram(
            "fess_event_latency_seconds",
            "From the decoded frame to the bus's acknowledgement of its event.",
            ["topic"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.camera_losses = Counter(
            "fess_camera_losses_total",
            "Times a stream was lost.",
            ["camera_id", "error"],
            registry=registry,
        )
        self.camera_online = Gauge(
            "fess_camera_online",
            "1 while the camera delivers frames.",
            ["camera_id"],
            registry=registry,
        )
        self.decode_errors = Counter(
            "fess_decode_errors_total",
            "Packets or frames the decoder refused.",
            ["camera_id"],
            registry=registry,
        )
        self.decode_lag = Histogram(
            "fess_decode_lag_seconds",
            "How much later a frame was decoded than the stream's quickest of the last minute.",
            ["camera_id"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.decode_threads_abandoned = Counter(
            "fess_decode_threads_abandoned_total",
            "Decode threads left behind because FFmpeg did not return in time.",
            ["camera_id"],
            registry=registry,
        )
        self.inference_failures = Counter(
            "fess_inference_failures_total",
            "Requests to Triton that gave no result.",
            ["model", "cause"],  # stale, unavailable, invalid, outdated (asked again)
            registry=registry,
        )
        self.inference_seconds = Histogram(
            "fess_inference_seconds",
            "Triton round trip, as the orchestrator saw it.",
            ["model"],
            buckets=STAGE_BUCKETS,
            registry=registry,
        )
        self.breaker_open = Gauge(
            "fess_inference_breaker_open",
            "1 while requests to Triton are held back.",
            registry=registry,
        )
        self.shared_memory = Gauge(
            "fess_inference_shared_memory",
            "1 while pixels go to Triton through shared memory, 0 while they go over gRPC.",
            registry=registry,
        )
        self.inference_plain = Counter(
            "fess_inference_plain_total",
            "Requests whose pixels went over gRPC although shared memory is wanted.",
            ["cause"],  # unshared, no_slot
            registry=registry,
        )
        self.slots_held = Gauge(
            "fess_inference_slots_held",
            "Slots of requests that were given up and that Triton may still read.",
            registry=registry,
        )
        self.turns = Gauge(
            "fess_inference_turns",
            "Requests that may be on their way to Triton at once; fewer while answers take long.",
            registry=registry,
        )
        self.given_up = Gauge(
            "fess_inference_given_up",
            "Requests that nobody waits for any more and that Triton has still to answer.",
            registry=registry,
        )
        self.faces_refused = Counter(
            "fess_faces_refused_total",
            "Faces seen but not fit to be recognised.",
            ["reason"],
            registry=registry,
        )
        self.face_cache_rejected = Counter(
            "fess_face_cache_rejected_total",
            "Values in Redis that are not what their key says.",
            ["reason"],
            registry=registry,
        )
        self.face_cache_dropped = Counter(
            "fess_face_cache_dropped_total",
            "Faces and detections that were not written to Redis.",
            ["cause"],  # full, unavailable
            registry=registry,
        )
        self.gallery_faces = Gauge(
            "fess_gallery_faces", "Embeddings matched against.", registry=registry
        )
        self.gallery_reloads = Counter(
            "fess_gallery_reloads_total",
            "Times the gallery was read anew.",
            ["result"],
            registry=registry,
        )
        self.events_dropped = Counter(
            "fess_events_dropped_total",
            "Events lost, by cause.",
            ["topic", "cause"],
            registry=registry,
        )
        self.outbox_events = Gauge(
            "fess_outbox_events", "Events waiting for the bus.", registry=registry
        )
        self.alerts = Counter(
            "fess_alerts_total", "Alerts raised.", ["rule", "level"], registry=registry
        )
        self.worker_restarts = Counter(
            "fess_worker_restarts_total",
            "Worker processes restarted.",
            ["cause"],
            registry=registry,
        )
