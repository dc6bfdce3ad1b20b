# The everyday commands. `make help` prints the comments behind the names.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
ARGS ?=
WORKERS ?= 4# of `make test`: files of tests run side by side, most of them wait for something

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench bench-peers soak

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.development ## make .venv and install Stepwell with everything its developers need

demo: .venv/.runtime ## start Stepwell, push an example with git, follow it to the approval
	@.ci/host-packages demo
	@$(BIN)/stepwell demo $(ARGS)

test: .venv/.development ## run all tests; installs Docker, Chromium and strace for them on Debian and Ubuntu
	@.ci/host-packages test
	@.ci/compose
	@# Bytecode is written: else each worker compiles all tests anew.
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -rs --durations=40 -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: .venv/.development ## lint, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: .venv/.development ## measure and print the figures, for example ARGS="event_to_step_ms --json"
	@.ci/host-packages demo
	@$(BIN)/stepwell bench $(ARGS)

bench-peers: .venv/.development ## measure the engine beside Restate, Absurd, DBOS and Temporal, each in a venv of its own, for example ARGS="stepwell restate"
	@.ci/host-packages demo
	@$(BIN)/python tests/benchmarks/peers/compare.py $(ARGS)

soak: .venv/.development ## at length: kill -9 in every place, a storm of 200 runs, random lives, a thousand waiting runs, 500 isolates a minute, a hostile tenant, a container engine that restarts, Stepwell in a container
	@.ci/host-packages soak
	@.ci/compose
	@STEPWELL_SOAK=1 $(BIN)/python -m pytest -rs tests/acceptance tests/integration/test_engine_model.py \
		tests/integration/test_engine_crash.py tests/integration/test_replay_order.py \
		tests/integration/test_engine_groups_crash.py tests/integration/test_engine_continue.py \
		tests/integration/test_engine_caps.py \
		tests/integration/test_workspaces_model.py \
		tests/integration/test_isolates_churn.py tests/integration/test_isolates_neighbours.py \
		tests/integration/test_hostile_workspaces.py \
		tests/integration/test_streaming.py tests/integration/test_bench_setup.py \
		tests/integration/test_containers_engine.py \
		tests/integration/test_containers_warm.py tests/integration/test_containers_killed.py $(ARGS)

# Two stamps, so that the demo does not wait for browsers' drivers and type checkers.
.venv/.runtime: pyproject.toml constraints.txt | .venv/bin/pip
	@echo "stepwell: installing into .venv (once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/.development: pyproject.toml constraints.txt | .venv/bin/pip
	@echo "stepwell: installing into .venv with the developers' tools (once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ .venv/.runtime

.venv/bin/pip:
	@test -n "$(PYTHON)" || { echo "stepwell needs Python 3.11 or newer: install it, or say make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || .ci/host-packages venv
	@$(PYTHON) -m venv .venv
