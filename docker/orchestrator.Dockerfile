# The orchestrator: `fess run` and every other `fess` command. It holds no weights and no secrets.
# Built from the repository's root: docker build -f docker/orchestrator.Dockerfile -t fess-orchestrator .

FROM python:3.11.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
COPY requirements/ requirements/
# setuptools is pinned in one place, all.txt, with its hashes.
RUN sed -n '/^setuptools==/,/^    # via/p' requirements/all.txt > build.txt \
 && pip install --require-hashes --only-binary=:all: -r build.txt \
 && python -m venv --without-pip /opt/fess \
 && pip --python /opt/fess/bin/python install --require-hashes --only-binary=:all: --no-deps -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY orchestrator/ orchestrator/
COPY eventbus/ eventbus/
COPY alerting/ alerting/
COPY export/ export/
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && pip --python /opt/fess/bin/python install --no-deps dist/*.whl

FROM python:3.11.11-slim-bookworm
RUN useradd --system --uid 10001 --user-group --home-dir /state --shell /usr/sbin/nologin fess \
 && install --directory --owner=fess --group=fess --mode=0700 /config /state /models /var/cache/fess/engines \
 && printf 'cameras: {}\n' | install --owner=fess --group=fess --mode=0600 /dev/stdin /config/cameras.yaml
COPY --from=build /opt/fess /opt/fess
ENV PATH=/opt/fess/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STATE_DIR=/state \
    EVENTS_OUTBOX=/state/outbox \
    TRITON_MODEL_REPOSITORY=/models \
    ENVIRONMENT=production
# cameras.yaml and fess.yaml are looked for here.
WORKDIR /config
USER fess
# Named volumes take their owner from these folders. Everything else may be read-only.
VOLUME ["/config", "/state", "/models"]
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health/live', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["fess"]
CMD ["run"]
