# `fess models export`: RTMDet checkpoints become what Triton serves. PyTorch, MMDetection and MMDeploy are inside; some 7 GB.
# Built from the repository's root: docker build -f docker/export.Dockerfile -t fess-export .
#
#   docker run --rm -v "$PWD/training:/in:ro" -v "$PWD/model_repository:/models" --user "$(id -u)" fess-export \
#     rtmdet-tiny --checkpoint /in/epoch_300.pth --labels person,forklift --frames /in/pictures

FROM python:3.11.11-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
COPY requirements/ requirements/
# What compares runs on ONNX Runtime, which is pinned in all.txt; the rest of what it needs is in runtime.txt.
RUN awk '/^[a-z]/ { wanted = /^(onnxruntime|flatbuffers)==/ } wanted' requirements/all.txt > onnxruntime.txt \
 && python -m venv --without-pip /opt/fess \
 && pip --python /opt/fess/bin/python install --require-hashes --only-binary=:all: --no-deps -r requirements/runtime.txt \
 && pip --python /opt/fess/bin/python install --require-hashes --only-binary=:all: --no-deps -r onnxruntime.txt
COPY orchestrator/ orchestrator/
COPY eventbus/ eventbus/
COPY alerting/ alerting/
COPY export/ export/
# mmcv is compiled here: a quarter of an hour on two cores. The compiler stays behind.
RUN PYTHONPATH=/src /opt/fess/bin/python -m orchestrator.cli.main models export --only-environment --environment /opt/export

FROM python:3.11.11-slim-bookworm
RUN useradd --system --uid 10001 --user-group --home-dir /state --shell /usr/sbin/nologin fess \
 && install --directory --owner=fess --group=fess --mode=0777 /state /models
COPY --from=build /opt/fess /opt/fess
COPY --from=build /opt/export /opt/export
COPY --from=build /src /src
ENV PATH=/opt/fess/bin:$PATH \
    PYTHONPATH=/src \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STATE_DIR=/state \
    TRITON_MODEL_REPOSITORY=/models
WORKDIR /state
USER fess
VOLUME ["/models", "/state"]
ENTRYPOINT ["python", "-m", "orchestrator.cli.main", "models", "export", "--environment", "/opt/export"]
CMD ["--help"]
