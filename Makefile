# Two environments: .venv for development (with torch, about 6 GB) and .venv-demo for the demo (about 950 MB).
PYTHON ?= python3
VENV := .venv
DEMO_VENV := .venv-demo
# Two take about six gigabytes of memory.
WORKERS ?= 2
BIN := $(VENV)/bin
# A sourced ROS installation must not leak its packages into the environments.
CLEAN_ENV := env -u PYTHONPATH -u AMENT_PREFIX_PATH -u COLCON_PREFIX_PATH -u LD_LIBRARY_PATH

.DEFAULT_GOAL := help
.PHONY: help demo test lint format types bench bench-gpu lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 16

demo: $(DEMO_VENV)/.ready ## Night drive -> bag -> node on real DDS -> pictures in demo_output/; MODEL=x.onnx, VIDEO=file: your own
	$(CLEAN_ENV) $(DEMO_VENV)/bin/python examples/demo.py $(if $(MODEL),--model "$(MODEL)") $(if $(VIDEO),--video "$(VIDEO)")

test: $(VENV)/.ready ## Run the tests, in two processes; WORKERS=N: in N
	$(CLEAN_ENV) OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.ready types ## Check style, import direction and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/hadolint docker/Dockerfile

format: $(VENV)/.ready ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.ready ## Check the types
	$(BIN)/mypy

bench: $(VENV)/.ready ## Measure post-processing and the node's rate side by side; writes bench/results/
	$(CLEAN_ENV) $(BIN)/python bench/postprocess.py --out bench/results/postprocess.json
	$(CLEAN_ENV) $(BIN)/python bench/node_rate.py --seconds 20 --out bench/results/node_rate.json

bench-gpu: ## On a machine with an NVIDIA GPU: install where there is a network, then bench/gpu.py; WHEELS=DIR, RELEASED=DIR, BUDGET=SECONDS
	@$(MAKE) --no-print-directory $(VENV)/.ready || echo "bench-gpu: no $(VENV) could be made: measuring with $(PYTHON)"
	@test ! -f $(VENV)/.ready || $(CLEAN_ENV) $(BIN)/python -m pip install --quiet --editable ".[gpu]" \
		|| echo "bench-gpu: pycuda could not be installed: measuring without"
	@if [ -f $(VENV)/.ready ]; then python=$(BIN)/python; else python=$(PYTHON); fi; \
		set -x; $$python bench/gpu.py $(if $(BUDGET),--budget $(BUDGET)) $(if $(WHEELS),--wheels "$(WHEELS)") \
		$(if $(RELEASED),--released "$(RELEASED)") $(GPU_OPTIONS)

lock: $(VENV)/.ready ## Write the versions installed in .venv to constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable | $(BIN)/python .ci/pin_versions.py > constraints.txt.new
	mv constraints.txt.new constraints.txt

clean: ## Remove environments, caches and outputs
	rm -rf $(VENV) $(DEMO_VENV) build install log dist demo_output *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.ready: setup.py constraints.txt .ci/without_dependencies.txt
	@$(PYTHON) .ci/check_python.py
	$(PYTHON) -m venv $(VENV)
	$(CLEAN_ENV) $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[ros,train,rtx,cpu,test,dev]"
	$(CLEAN_ENV) $(BIN)/python -m pip install --quiet --no-deps --requirement .ci/without_dependencies.txt
	touch $@

$(DEMO_VENV)/.ready: setup.py constraints.txt
	@$(PYTHON) .ci/check_python.py
	$(PYTHON) -m venv $(DEMO_VENV)
	$(CLEAN_ENV) $(DEMO_VENV)/bin/python -m pip install --quiet --constraint constraints.txt ".[ros,cpu]"
	touch $@
