# Atalaia. `make` or `make help` lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
DATA := .local
WEB := serve/dashboard/web
PAGE := serve/dashboard/static/index.html

# The newest that the locked packages are known to work with is tried last: plain python3 is what
# people expect to be used. PYTHON=python3.x decides otherwise.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

# Atalaia and its tests start many processes. Where none may keep compiled modules, each compiles
# all that it imports: the API 9 s of processor time in place of 4, a batch worker 6 in place of 3.
unexport PYTHONDONTWRITEBYTECODE

# As it was written: a password may hold a dollar sign, which make would take for a variable.
override export CAMERA := $(value CAMERA)

##@ Run

.PHONY: demo
demo: install dashboard  ## Everything with demo cameras; CAMERA=rtsp://… adds one of your own
	@exec $(SUPERVISED) $(BIN)/atalaia -c configs/demo.yaml demo $${CAMERA:+--camera "$$CAMERA"}

.PHONY: up
up: install dashboard  ## Everything on this machine, without demo cameras
	@exec $(SUPERVISED) $(BIN)/atalaia -c configs/local.yaml up

.PHONY: doctor
doctor: install  ## Check this machine
	@$(BIN)/atalaia doctor

# A subreaper ends what it runs when make is gone, even by SIGKILL.
SUPERVISED := $(BIN)/python -I -S cluster/local/subreaper.py $$PPID 60 --

##@ Work on it

# One run for each kind: unit tests send themselves signals, which does not go well in a process in
# which the native libraries of the servers' clients have put up their own handlers.
# Integration tests run side by side, in lanes (tests/lanes.py). The end-to-end tests, and those marked
# `quiet`, depend on how many frames get through in time. The quiet ones take a third of two cores, so
# that two lanes share them: parity at the lowest priority. The end-to-end tests have the machine to
# themselves. Nothing runs twice: a test that fails now and then shows a defect, of the product or of
# its own.
UNIT := tests/unit -n 2 --dist worksteal
INTEGRATION := tests/integration tests/chaos tests/hostile -n 4 --dist loadgroup
QUIET := tests/integration/batch tests/integration/bridge tests/integration/agents -m quiet -n 2 --dist loadgroup
.PHONY: test test-unit test-integration test-e2e check
check: lint test-unit  ## What to run before a commit: style, types, import rules, unit tests
# Clips and exported models are made once for all three, and anew each time.
test: export TESTS_KEPT := $(CURDIR)/$(DATA)/tests
test: ready-to-test  ## Every test that passes in CI
	@rm -rf "$$TESTS_KEPT"
	@$(BIN)/python -m pytest $(UNIT)
	@$(BIN)/python -m pytest $(INTEGRATION) -m "not quiet and not long"
	@$(BIN)/python -m pytest $(QUIET)
	@$(BIN)/python -m pytest tests/e2e
test-unit: install  ## Pure code: no network, no server; ARGS='-k name' picks some
	@$(BIN)/python -m pytest $(UNIT) $(ARGS)
test-integration: install servers  ## Against real servers on loopback
	@$(BIN)/python -m pytest $(INTEGRATION) -m "not long" $(ARGS)
test-e2e: ready-to-test  ## The whole product in a browser
	@$(BIN)/python -m pytest tests/e2e $(ARGS)

.PHONY: hostile
hostile: install  ## Misbehaving cameras, including the tests that take minutes
	@$(BIN)/python -m pytest tests/hostile $(ARGS)

.PHONY: fuzz
fuzz: install servers  ## Generated requests as each role; MINUTES=30, ARGS='-k cameras', FUZZ_SEED=…
	@FUZZ_MINUTES=$(or $(MINUTES),10) $(BIN)/python -m pytest tests/integration/api/test_api_schema.py \
		-o timeout=0 -s -q $(ARGS)

.PHONY: ready-to-test
ready-to-test: install servers dashboard chromium

.PHONY: lint lint-python lint-page
lint: install  ## Style, types, import rules, and the page's own checks
	@$(MAKE) --jobs=2 --output-sync=target lint-python lint-page
lint-python:
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
lint-page:
	@$(call with_node,lint,cd $(WEB) && npm run --silent check)

.PHONY: format
format: install  ## Write the code the way `make lint` wants it
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .
	@$(call with_node,format,cd $(WEB) && npm run --silent format)

.PHONY: chaos
chaos: install servers  ## Kill random parts of a running demo; one table (ARGS="--kills 20")
	@$(BIN)/python -m tests.chaos $(ARGS)

.PHONY: soak
soak: install servers  ## Half an hour of work; what grew (ARGS="--minutes 5")
	@$(BIN)/python -m tests.soak $(ARGS)

.PHONY: bench
bench: install servers  ## Measure speed and latency; one table
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: lock
lock: $(VENV)/.base  ## Lock the newest allowed packages, with hashes
	@$(BIN)/uv pip compile pyproject.toml --extra demo --extra dev --extra s3 --upgrade \
		--generate-hashes --no-annotate --no-header --no-emit-index-url \
		--output-file requirements.lock
	@$(BIN)/uv pip compile pyproject.toml --extra demo --extra s3 --constraint requirements.lock \
		--generate-hashes --no-annotate --no-header --no-emit-index-url \
		--output-file configs/requirements-runtime.lock
	@echo uv | $(BIN)/uv pip compile - --upgrade --universal \
		--generate-hashes --no-annotate --no-header --no-emit-index-url \
		--output-file requirements-uv.lock

##@ Parts

.PHONY: install
install: $(VENV)/.installed  ## The packages, from the lock, into .venv

.PHONY: servers
servers: install  ## Find or build livekit-server and go2rtc
	@$(BIN)/atalaia servers

.PHONY: dashboard
dashboard: $(PAGE)  ## Build the page

.PHONY: clean
clean:  ## Remove all that can be made again; .local/data and the key to it in .local/keys stay
	@rm -rf $(VENV) $(WEB)/node_modules build dist *.egg-info
	@rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@rm -rf $(DATA)/bin $(DATA)/log $(DATA)/run $(DATA)/demo $(DATA)/models $(DATA)/tests
	@find serve/dashboard/static -mindepth 1 ! -name .gitkeep -delete 2>/dev/null || true
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help:  ## This list
	@awk 'BEGIN {FS = ":.*  ## "} \
		/^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z0-9-]+:.*  ## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ---------------------------------------------------------------- how the parts are made

# uv installs in a third of pip's time; where it cannot be had, pip does the same.
$(VENV)/.base: requirements-uv.lock
	@test -n "$(PYTHON)" || { echo "Atalaia needs Python 3.11 or newer, and none was found." >&2; \
		echo "Install one (Debian: apt-get install python3 python3-venv), or say where it is:" >&2; \
		echo "make PYTHON=/path/to/python3.12 …" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make a virtual environment (Debian: apt-get install python3-venv)." >&2; \
		exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements-uv.lock || echo "uv cannot be had here; pip will do." >&2
	@touch $@

$(VENV)/.installed: $(VENV)/.base requirements.lock pyproject.toml
	@echo "Installing the locked packages into $(VENV)"
	@{ test -x $(BIN)/uv && $(BIN)/uv pip install --quiet --python $(BIN)/python \
			--require-hashes -r requirements.lock; } \
		|| $(BIN)/python -m pip install --quiet --disable-pip-version-check \
			--require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--no-deps --no-build-isolation -e .
	@touch $@

# $(call with_node,purpose,command): with the page's packages installed, or a note where Node is missing.
define with_node
if command -v npm >/dev/null; then $(MAKE) $(WEB)/node_modules/.installed && ($(2)); \
else echo "npm is not here: the dashboard is left out of $(1). Install Node.js 20.19 or newer." >&2; fi
endef

$(WEB)/node_modules/.installed: $(WEB)/package-lock.json $(WEB)/package.json
	@cd $(WEB) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(PAGE): $(shell find $(WEB) -type f -not -path '*/node_modules/*' 2>/dev/null)
	@$(call with_node,this start,cd $(WEB) && npm run --silent build && cd - >/dev/null && touch $(PAGE))

.PHONY: chromium
chromium:
	@if command -v chromium chromium-browser google-chrome >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing Chromium for the browser tests"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
			apt-get install -qq --no-install-recommends chromium >/dev/null \
			|| echo "Chromium could not be installed: the browser tests are skipped." >&2; \
	else echo "Chromium is not here: the browser tests are skipped. Install it to run them." >&2; fi
