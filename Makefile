# Every target makes what it needs: a virtual environment in .venv, and for the tests Debian's mosquitto and GStreamer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A plain `torch` may bring gigabytes of CUDA; this release has a CPU build for the interpreters that it knows.
TORCH ?= torch==2.13.0
SECONDS ?= 30
# Tests at a time: one more than CI's cores, for many of them wait.
WORKERS ?= 3
# Has TensorRT, pycuda, pytest and what `.[cpu,convert]` names; on a Jetson TensorRT comes with the system's Python.
GPU_PYTHON ?= python3
# What runs, at the versions of constraints.txt; and the tools that look at it, whose own packages are none of ours.
PINS := .venv-pins
AUDIT := .venv-audit

.PHONY: help demo test test-slow test-chaos test-gpu check lint types imports bench schema constraints sbom audit clean parts
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

demo: $(VENV)/.demo  ## a real detector on four simulated live cameras, INT8, over MQTT (SECONDS=30)
	$(BIN)/python -m demo --seconds $(SECONDS)

test: $(VENV)/.dev parts  ## the fast tests (WORKERS=3)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow and not gpu and not net and not chaos"

test-slow: $(VENV)/.dev  ## the long tests and those that need the package registries
	@sh tests/parts/install.sh python3-opencv
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m "(slow or net) and not gpu and not chaos"

test-chaos: $(VENV)/.dev parts  ## faults of every kind, then a table (SIGHTD_CHAOS_SEED=, SIGHTD_CHAOS_SECONDS=900 for all)
	@sh tests/parts/install.sh nftables
	$(BIN)/python -m pytest -p no:cacheprovider -m chaos tests/chaos

test-gpu:  ## the tests on an NVIDIA GPU, without network (GPU_PYTHON=, docs/gpu.md)
	SIGHTD_TEST_GPU=1 $(GPU_PYTHON) -m pytest -p no:cacheprovider -m gpu tests/gpu tests/sightd

check: lint types imports test  ## what must be green before a commit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

imports: $(VENV)/.dev
	$(BIN)/lint-imports

bench: $(VENV)/.dev  ## python -m bench: what it can measure
	$(BIN)/python -m bench

schema: $(VENV)/.dev  ## regenerate config/sightd.schema.json
	$(BIN)/sightd check-config --schema > config/sightd.schema.json

constraints:  ## constraints.txt anew, of the newest versions: run all tests before you commit it
	rm -rf $(PINS) && $(PYTHON) -m venv $(PINS)
	$(PINS)/bin/python -m pip install --quiet --quiet '.[cpu,convert]'
	rm -rf build && mkdir build
	{ grep '^#' constraints.txt; $(PINS)/bin/python -m pip freeze --exclude sightd | LC_ALL=C sort -f; } > build/constraints.txt
	mv build/constraints.txt constraints.txt

sbom: $(PINS)/.done $(AUDIT)/.done  ## build/sbom.json: what is installed beside sightd, in CycloneDX
	mkdir -p build
	$(AUDIT)/bin/cyclonedx-py environment --validate --output-reproducible --of JSON -o build/sbom.json $(PINS)/bin/python

audit: $(AUDIT)/.done  ## known vulnerabilities of what constraints.txt pins; asks PyPI
	$(AUDIT)/bin/pip-audit --strict --disable-pip --no-deps --requirement constraints.txt

clean:
	rm -rf $(VENV) $(PINS) $(AUDIT) .demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

parts:
	@sh tests/parts/install.sh

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 8))' || { echo "sightd needs Python 3.8 or newer: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "no venv module: apt install python3-venv, or make PYTHON=/path/to/another/python3 ..."; rm -rf $(VENV); exit 1; }
	$(BIN)/python -m pip install --quiet --quiet --upgrade pip

$(PINS)/.done: constraints.txt setup.py
	rm -rf $(PINS) && $(PYTHON) -m venv $(PINS)
	$(PINS)/bin/python -m pip install --quiet --quiet --constraint constraints.txt '.[cpu,convert]'
	@rm -rf build/lib build/bdist.*  # a later installation would take old files from there
	@touch $@

$(AUDIT)/.done:
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --quiet cyclonedx-bom pip-audit
	@touch $@

$(VENV)/.demo: $(BIN)/python setup.py demo/requirements.txt
	$(BIN)/python -m pip install --quiet --quiet --editable '.[cpu,convert]' --requirement demo/requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.demo tests/requirements.txt
	$(BIN)/python -m pip install --quiet --quiet --editable '.[cpu,convert,dev]' --requirement tests/requirements.txt
	@$(BIN)/python -m pip install --quiet --quiet '$(TORCH)' || echo "no $(TORCH) for this Python: the tests of the export from PyTorch will be skipped"
	@touch $@
