# Every target does its own set-up: `make demo` and `make test` work on a fresh clone.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Public model files and clips are taken from a local mirror where one exists.
ifneq ($(wildcard ../shared/models/SHA256SUMS),)
export FESS_MODELS_MIRROR ?= $(abspath ../shared/models)
endif
ifneq ($(wildcard ../shared/videos/SHA256SUMS),)
export FESS_VIDEOS_MIRROR ?= $(abspath ../shared/videos)
endif

# What the full test suite uses beyond Python: an RTSP server, a browser, Java for Kafka, libb64 for perf_analyzer, a clock that can be set.
DEBIAN_PACKAGES := gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-good gstreamer1.0-plugins-bad \
	gstreamer1.0-plugins-ugly gstreamer1.0-libav chromium libb64-0d ffmpeg libfaketime
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadgroup

.PHONY: help setup system models openvino export-model demo run test test-fast check format lock docs bench bench-serving clean

help: ## Show the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

$(STAMP): requirements/all.txt requirements/triton.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "FESS needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes --no-deps -r requirements/all.txt
	$(BIN)/pip install --quiet --require-hashes --no-deps -r requirements/triton.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(STAMP) ## Make the virtual environment, with every dependency at its locked digest.

system: ## Install the Debian packages that the whole test suite uses (needs root; without them tests are skipped, with the reason).
	@missing=$$(for p in $(DEBIAN_PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null; \
	else echo "Not installed, so some tests will be skipped:" $$missing; fi

openvino: $(STAMP) ## Install OpenVINO (180 MB), for models whose configuration asks for it.
	$(BIN)/pip install --quiet --require-hashes --no-deps -r requirements/openvino.txt

models: $(STAMP) ## Fetch the public models and make what Triton serves.
	$(BIN)/fess models fetch

# What `make export-model` hands on, where it is set.
EXPORT_OPTIONS = $(if $(CHECKPOINT),--checkpoint '$(CHECKPOINT)') $(if $(SIZE),--size '$(SIZE)') $(if $(LABELS),--labels '$(LABELS)') \
	$(if $(FORMAT),--format '$(FORMAT)') $(if $(PRECISION),--precision '$(PRECISION)') $(if $(ACCELERATOR),--accelerator '$(ACCELERATOR)') \
	$(if $(PIXELS),--pixels '$(PIXELS)') \
	$(foreach path,$(FRAMES),--frames '$(path)') $(foreach path,$(CALIBRATION),--calibration '$(path)') \
	$(if $(LABELLED),--labelled '$(LABELLED)') $(if $(IMAGES),--images '$(IMAGES)') $(if $(AP_LOSS),--ap-loss '$(AP_LOSS)')

export-model: $(STAMP) ## Make a served model of an RTMDet checkpoint: MODEL=rtmdet-tiny CHECKPOINT=path SIZE=640 LABELS=a,b FRAMES=clips PIXELS=rgb.
	$(BIN)/fess models export $(or $(MODEL),rtmdet-tiny) $(EXPORT_OPTIONS) $(ARGS)

demo: $(STAMP) ## Watch sample clips as cameras: people named, events, page, a summary at the end.
	$(BIN)/fess demo $(ARGS)

run: $(STAMP) ## Watch the cameras of cameras.yaml.
	$(BIN)/fess run $(ARGS)

test: system $(STAMP) models ## Run every test, on real servers.
	@$(BIN)/fess models fetch --clips || echo "Tests on the sample clips will be skipped."
	@$(BIN)/python -m tests.servers.kafka || echo "Kafka's tests will be skipped."
	$(PYTEST) --cov --cov-report=term $(ARGS)

test-fast: $(STAMP) ## Run the tests that need no server.
	$(PYTEST) --ignore tests/contract --ignore tests/faults --ignore tests/e2e $(ARGS)

check: $(STAMP) ## Format, lint, types, import contracts, generated files.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m orchestrator.configuring.reference --check

format: $(STAMP) ## Put the code into shape.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(STAMP) ## Resolve the dependencies anew and write the lock files with hashes.
	@for spec in "all --extra embedded --extra dev" "runtime -c requirements/all.txt"; do \
		set -- $$spec; name=$$1; shift; \
		$(BIN)/uv pip compile --quiet pyproject.toml "$$@" --generate-hashes --python-version 3.11 --no-header --no-emit-index-url --upgrade -o requirements/$$name.txt; done
	@for name in triton perf openvino; do \
		$(BIN)/uv pip compile --quiet --no-deps requirements/$$name.in --generate-hashes --python-version 3.11 --no-header --no-emit-index-url -o requirements/$$name.txt; done

docs: $(STAMP) ## Generate the reference and the published schemas.
	$(BIN)/python -m orchestrator.configuring.reference --write
	$(BIN)/python -m eventbus.schemas docs/contracts

bench-serving: $(STAMP) models ## Hold the client and the pipeline against perf_analyzer: ARGS="--only infer,wire,e2e --quick".
	$(BIN)/python -m tests.performance serving $(ARGS)

bench: $(STAMP) models ## Measure the figures of docs/benchmarks.md.
	$(BIN)/python -m tests.performance $(ARGS)

clean: ## Remove everything that was made here.
	rm -rf $(VENV) .fess .tools build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
