# Everything one does with this checkout. Each target sets up what it needs; a second set-up costs nothing.

PYTHON_IN_VENV := $(if $(VENV),$(VENV),.venv)/bin/python
BIN := $(dir $(PYTHON_IN_VENV))

.DEFAULT_GOAL := help

# Where it is set, each of the hundreds of processes that tests start compiles all that it imports: a second each.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup setup-library demo test chaos test-docker lint format bench bench-api bench-quality lock upgrade clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what the service needs into .venv
	@scripts/setup.sh local

setup-library: ## the same with audio-separator, for models that are not MDX-Net, into .venv-library; TORCH=cuda for cards
	@scripts/setup.sh library

demo: ## send a song through the whole service; SONG=path for one of yours, MODEL_NAME=… for another model
	@scripts/setup.sh local
	@$(PYTHON_IN_VENV) -m scripts.demo "$$SONG"

# One process more than there are cores, as tests also wait: for a lease to expire, or for a process to start.
TEST_PROCESSES ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores < 4 ? cores + 1 : 4)))

# Files in their order, not those with most tests first: the longest ones have few, and one core would end up alone.
test: ## run all tests, a file in each of TEST_PROCESSES processes; ARGS="-k webhook" for some of them
	@scripts/setup.sh dev
	$(PYTHON_IN_VENV) -m pytest --numprocesses=$(TEST_PROCESSES) --dist=loadfile --no-loadscope-reorder $(ARGS)

chaos: ## kill parts of the whole stack at random while it works; ARGS="--tasks 300 --kills 60 --seed 7"
	@scripts/setup.sh dev
	$(PYTHON_IN_VENV) -m tests.chaos $(ARGS)

test-docker: ## run the service in Docker, with an engine of its own where there is none
	scripts/test_docker.sh

lint: ## check style, types and shell scripts
	@scripts/setup.sh dev
	$(BIN)ruff check .
	$(BIN)ruff format --check .
	$(PYTHON_IN_VENV) -m mypy
	$(BIN)shellcheck --external-sources *.sh scripts/*.sh .ci/run

format: ## let ruff put the code into its format
	@scripts/setup.sh dev
	$(BIN)ruff check --fix .
	$(BIN)ruff format .

bench: ## measure speed on this machine, the engine's beside audio-separator; results go to bench/results; ARGS=--full
	@scripts/setup.sh dev
	$(PYTHON_IN_VENV) -m bench.network
	$(PYTHON_IN_VENV) -m bench.separation $(ARGS)
	$(PYTHON_IN_VENV) -m bench.memory --seconds 20 600
	$(PYTHON_IN_VENV) -m bench.pipeline
	$(PYTHON_IN_VENV) -m bench.gaps
	$(PYTHON_IN_VENV) -m bench.queue_throughput
	$(PYTHON_IN_VENV) -m bench.api

bench-api: ## answers of the API a second, with few and with many tasks waiting, beside a bare endpoint; ARGS="--rounds 3"
	@scripts/setup.sh dev
	$(PYTHON_IN_VENV) -m bench.api $(ARGS)

bench-quality: ## SDR of stems beside audio-separator at several levels; SONGS=folder of mixture, vocals, accompaniment
	@scripts/setup.sh dev
	$(PYTHON_IN_VENV) -m bench.quality $(SONGS)

lock: ## compile requirements/*.txt from pyproject.toml
	@scripts/setup.sh dev
	@scripts/lock.sh

upgrade: ## the same with the newest versions
	@scripts/setup.sh dev
	@scripts/lock.sh --upgrade

clean: ## remove .venv, kernels and caches; .env, models, data and logs stay
	rm -rf .venv .venv-library .venv-audio-separator .pytest_cache .mypy_cache .ruff_cache .hypothesis demo
	rm -f uvr/separation/native/libtdfnet-*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
