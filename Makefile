# edgeloop: every job of a developer or a user is a target here. `make help` lists them.
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
UV_VERSION := 0.13.9
DATA ?= wind
FUZZ_S ?= 600

.PHONY: help setup demo demo-rainfall demo-chaos test test-fast test-slow check format bench bench-edge bench-fpga test-fpga test-long warm warm-fpga tools peers peers-fpga fuzz sanitize golden lock bare wheel step-image clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready ## make .venv with everything in it

.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "edgeloop needs Python 3.11 or newer; found: $$($(PYTHON) --version). Say which: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
		{ echo "python3 -m venv failed: install your system's venv package (Debian: python3-venv)" >&2; exit 1; }
	@echo "installing the locked packages (about 1.2 GB; the first time downloads them)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

demo: setup ## close the loop on one machine; DATA=wind (default) or rainfall
	@$(BIN)/edgeloop demo --data $(DATA) --out demo-out

demo-rainfall: setup ## the small demo
	@$(BIN)/edgeloop demo --data rainfall --out demo-out

demo-chaos: setup ## the demo with kill -9 of its parts; checks that no count is lost
	@$(BIN)/edgeloop demo --data $(DATA) --chaos --out demo-out

test: setup ## all tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: setup ## the tests that take seconds
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-slow: setup ## the tests that take longer
	@$(BIN)/python -m pytest -m slow

test-long: setup ## the tests that take minutes: repeated profiles, control groups of version 2 in a kernel of their own
	@$(BIN)/python tests/tools/fetch.py linux.uml || echo "no User-mode Linux here: its tests say so"
	@$(BIN)/python -m pytest --long -m long

test-fpga: setup ## all tests of FPGA designs, those that take minutes too
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --fpga-matrix tests/fpga tests/contracts/test_fpga*.py tests/node/test_fpga*.py tests/node/conformance

check: setup ## formatting, lint, types, import rules, generated files
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m edgeloop_contracts.schema --check

format: setup ## format the code and mend what lint can mend
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

bench: setup ## benchmarks: what a KFP step adds, what a request costs
	@$(BIN)/python -m edgeloop_pipelines.local.bench

bench-edge: setup warm peers ## native code and its server beside onnxruntime, uvicorn, MLServer and KServe, in one run
	@$(BIN)/python -m edgeloop_pipelines.bench

bench-fpga: setup peers-fpga ## classifiers through the whole FPGA flow, a retrained one patched, and the same models through conifer and hls4ml (15 minutes)
	@$(BIN)/python -m edgeloop_pipelines.bench.fpga --out .edgeloop/bench-fpga.json

warm: setup ## build the C library of every platform into the compiler's cache (once, half a minute each)
	@$(BIN)/python -m edgeloop_components.native.toolchain

warm-fpga: setup ## translate the FPGA tools to this machine's code (once, about a minute)
	@for tool in yosys nextpnr-ice40 nextpnr-ecp5; do $(BIN)/yowasp-$$tool --version >/dev/null || exit 1; done

tools: setup ## fetch cosign, oras and docker-registry from Debian for the tests, without installing them
	@$(BIN)/python tests/tools/fetch.py

peers: setup ## environments of KServe and MLServer, for the conformance suite and bench-edge (0.5 GB)
	@for name in kserve mlserver; do \
		lock=requirements-peers/$$name.lock; home=.edgeloop/peers/$$name; \
		cmp -s $$lock $$home/lock && continue; \
		echo "installing $$name into $$home" && rm -rf $$home && mkdir -p .edgeloop/peers && $(PYTHON) -m venv $$home && \
		$(BIN)/uv pip install --quiet --python $$home/bin/python --require-hashes -r $$lock && cp $$lock $$home/lock || exit 1; \
	done

peers-fpga: setup ## environment of conifer and hls4ml for bench-fpga (0.4 GB), and GHDL from Debian where this is root
	@lock=requirements-peers/fpga.lock; home=.edgeloop/peers/fpga; \
	cmp -s $$lock $$home/lock || { \
		echo "installing conifer and hls4ml into $$home" && rm -rf $$home && mkdir -p .edgeloop/peers && $(PYTHON) -m venv $$home && \
		$(BIN)/uv pip install --quiet --python $$home/bin/python --require-hashes -r $$lock && \
		$(BIN)/uv pip install --quiet --python $$home/bin/python --no-deps -e . && cp $$lock $$home/lock; }
	@command -v ghdl >/dev/null || { test "$$(id -u)" = 0 && apt-get install -qq -y --no-install-recommends ghdl >/dev/null; } || \
		echo "no ghdl: conifer's area will lack in the table (Debian: apt-get install ghdl)" >&2

fuzz: setup ## fuzz the native server's parsers; FUZZ_S seconds each (600)
	@PYTHON=$(BIN)/python tests/fuzz/native/run.sh $(FUZZ_S)

sanitize: setup ## the conformance suite over the native server under ASan and UBSan
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile --sanitized tests/node/conformance

golden: setup ## write the golden files anew
	@$(BIN)/python -m pytest -q --regenerate tests/manifests tests/fleet tests/pipelines tests/components/test_native_operators.py tests/components/test_profile_job.py

wheel: setup ## build the wheel into dist/
	@rm -rf dist && $(BIN)/python -m build --wheel --installer uv >/dev/null && ls dist

bare: wheel ## the wheel alone, without extras: contracts and node tests in an environment with nothing else
	@rm -rf .edgeloop/bare && $(PYTHON) -m venv .edgeloop/bare
	@$(BIN)/uv pip install --quiet --python .edgeloop/bare/bin/python dist/*.whl
	@.edgeloop/bare/bin/python -c "import importlib.metadata as m; names = {d.name.lower() for d in m.distributions()} - {'pip', 'setuptools'}; assert names == {'edgeloop'}, names; print('base dependencies: none')"
	@.edgeloop/bare/bin/edgeloop-node --help >/dev/null
	@$(BIN)/uv pip install --quiet --python .edgeloop/bare/bin/python pytest pytest-xdist hypothesis jsonschema
	@cd tests && ../.edgeloop/bare/bin/python -m pytest -q -n 2 -c ../pyproject.toml --rootdir .. -p no:cacheprovider contracts node

step-image: setup ## build the image of the pipeline's steps and run the whole pipeline in it (root, podman, runc; minutes)
	@$(BIN)/python components/images/steps/build.py $(STEP_IMAGE_FLAGS)
	@EDGELOOP_STEP_IMAGE=.edgeloop/step-image/image $(BIN)/python -m pytest -q tests/components/test_step_image_runs.py

lock: ## resolve requirements.lock anew from pyproject.toml
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --all-extras --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	@$(BIN)/python -m edgeloop_components.package.wheels lock requirements.lock
	@components/images/steps/lock.sh

clean: ## remove what was built (not .venv)
	@rm -rf dist build demo-out .edgeloop .pytest_cache .mypy_cache .ruff_cache
