# The entry points for working with this checkout. Each target installs what it needs; if nothing changed, that is
# quick.

PYTHON_IN_VENV := $(if $(VENV),$(VENV),.venv)/bin/python
BIN := $(dir $(PYTHON_IN_VENV))

KERNELS := $(wildcard $(addprefix uvr/separation/native/kernels/*.,c h inl) tests/support/kernels/*.[ch] tests/support/amx/*.c)

.DEFAULT_GOAL := help

# With this variable set, each of the hundreds of processes that the tests start would compile every module that it
# imports, which costs a second per process.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup setup-dev setup-library demo test test-browser test-all chaos test-server test-monitoring test-sanitizers test-neon test-amx test-docker test-arm chart screenshots lint format bench bench-network bench-roformer bench-api bench-quality lock upgrade clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what the service needs into .venv
	@scripts/setup.sh local

setup-dev: ## install the same with the tools for tests and lint
	@scripts/setup.sh dev

setup-library: ## install audio-separator, for models that are not MDX-Net, into .venv-library; TORCH=cuda for NVIDIA cards
	@scripts/setup.sh library

demo: ## send a song through the whole service; SONG=path for your own song, MODEL_NAME=… for another model
	@scripts/setup.sh local
	@$(PYTHON_IN_VENV) -m scripts.demo "$$SONG"

# More processes than cores, as tests also wait: for a lease to expire, or for a process to start. Browsers play in real
# time, so there are fewer of them.
TEST_PROCESSES ?= 4
BROWSER_PROCESSES ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores < 4 ? cores + 1 : 4)))

# Files run in their listed order. Ordering them by number of tests would leave the slowest files, which have few tests,
# for the end, when all but one core have nothing left to do.
IN_PARALLEL = --dist=loadfile --no-loadscope-reorder --numprocesses

test: ## run all tests in TEST_PROCESSES parallel processes; ARGS="-k webhook" selects some of them
	@scripts/setup.sh dev
	$(PYTHON_IN_VENV) -m pytest $(IN_PARALLEL)=$(TEST_PROCESSES) -m "not long" $(ARGS)

test-browser: ## test the pages in a headless Chromium, which it installs where it may; ARGS="-k loop" selects some tests
	@scripts/test_browser.sh $(IN_PARALLEL)=$(BROWSER_PROCESSES) -m "not long" $(ARGS)

test-server: ## test the proxies, systemd units and backups of a server; installs Caddy, nginx and Redis where it may
	@scripts/test_server.sh $(ARGS)

test-monitoring: ## test alerts and dashboard with a real Prometheus, which it installs where it may
	@scripts/install_prometheus.sh
	@scripts/setup.sh dev
	$(PYTHON_IN_VENV) -m pytest tests/monitoring $(ARGS)

test-sanitizers: ## run the C kernels under ASan, UBSan and TSan, which make test does too
	@scripts/setup.sh dev
	$(PYTHON_IN_VENV) -m pytest tests/integration/separation/native/test_sanitizers.py $(ARGS)

test-neon: ## test the C kernels on an emulated ARM processor; installs a cross compiler and qemu where it may
	@scripts/test_neon.sh $(ARGS)

test-amx: ## test the C kernels on an emulated processor with AMX, under Linux; builds Bochs and fetches Linux where it may
	@scripts/test_amx.sh

test-all: test test-neon test-amx test-server test-docker test-arm ## run all tests, also those that take minutes, and those in the browser
	$(PYTHON_IN_VENV) -m pytest -m long
	@scripts/test_browser.sh $(IN_PARALLEL)=$(BROWSER_PROCESSES)

chaos: ## kill random processes of a busy service, then let a user misbehave; ARGS="--tasks 300 --kills 60 --seed 7 --pairs 1"
	@scripts/setup.sh dev
	$(PYTHON_IN_VENV) -m tests.chaos $(ARGS)

test-docker: ## test the service in Docker; needs a Docker engine and is skipped without one
	scripts/test_docker.sh

test-arm: ## test the images for arm64 with two songs; emulates ARM where it may; needs a Docker engine like test-docker
	scripts/test_arm.sh

chart: ## write the files of the Helm chart that repeat config.py, its values.yaml and the alerts
	@scripts/setup.sh dev
	$(PYTHON_IN_VENV) -m scripts.chart

screenshots: ## take the pictures of docs/images in a headless Chromium, of a real run; SONG=path for your own song
	@SONG="$$SONG" scripts/screenshots.sh

lint: ## check style, types, JavaScript, C kernels, Lua, shell scripts and workflows
	@scripts/setup.sh dev
	$(BIN)ruff check .
	$(BIN)ruff format --check .
	$(PYTHON_IN_VENV) -m mypy
	$(BIN)clang-format --dry-run -Werror $(KERNELS)
	$(PYTHON_IN_VENV) -m scripts.lint_lua
	DENO_NO_UPDATE_CHECK=1 $(BIN)deno lint --quiet
	DENO_NO_UPDATE_CHECK=1 $(BIN)deno fmt --quiet --check
	DENO_NO_UPDATE_CHECK=1 $(BIN)deno check --quiet web/
	$(BIN)shellcheck --external-sources *.sh scripts/*.sh deploy/bin/uvr .ci/run
	$(BIN)actionlint -shellcheck $(BIN)shellcheck

format: ## format Python with ruff, C with clang-format, JavaScript with deno
	@scripts/setup.sh dev
	$(BIN)ruff check --fix .
	$(BIN)ruff format .
	$(BIN)clang-format -i $(KERNELS)
	DENO_NO_UPDATE_CHECK=1 $(BIN)deno fmt --quiet

bench: ## measure speed on this machine and compare the engine with audio-separator; writes bench/results; ARGS=--full
	@scripts/setup.sh dev
	$(PYTHON_IN_VENV) -m bench.network
	$(PYTHON_IN_VENV) -m bench.separation $(ARGS)
	$(PYTHON_IN_VENV) -m bench.memory --seconds 20 600
	$(PYTHON_IN_VENV) -m bench.pipeline
	$(PYTHON_IN_VENV) -m bench.gaps
	$(PYTHON_IN_VENV) -m bench.model_switching
	$(PYTHON_IN_VENV) -m bench.queue_throughput
	$(PYTHON_IN_VENV) -m bench.api

bench-network: ## compare the kernels with ONNX Runtime, and show where their time goes; ARGS="--isa AVX2 --rounds 5"
	@scripts/setup.sh dev
	$(PYTHON_IN_VENV) -m bench.network $(ARGS)

bench-roformer: ## compare RoFormers on the kernels with audio-separator in torch; ARGS="--geometry kim ep_317 --song-s 0"
	@scripts/setup.sh dev
	$(PYTHON_IN_VENV) -m bench.roformer $(ARGS)

bench-api: ## measure requests per second of the API and compare it with a bare endpoint; ARGS="--rounds 3"
	@scripts/setup.sh dev
	$(PYTHON_IN_VENV) -m bench.api $(ARGS)

bench-quality: ## compare the SDR of the stems with audio-separator's; SONGS=folder of mixture, vocals, accompaniment
	@scripts/setup.sh dev
	$(PYTHON_IN_VENV) -m bench.quality $(SONGS)

lock: ## write requirements/*.txt from pyproject.toml
	@scripts/setup.sh dev
	@scripts/lock.sh

upgrade: ## write requirements/*.txt with the newest versions
	@scripts/setup.sh dev
	@scripts/lock.sh --upgrade

clean: ## remove .venv, kernels and caches; keeps .env, models, data and logs
	rm -rf .venv .venv-library .venv-audio-separator .venv-arm64 .pytest_cache .mypy_cache .ruff_cache .hypothesis demo
	rm -f uvr/separation/native/libtdfnet-*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
