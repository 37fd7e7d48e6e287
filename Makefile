# Everything a contributor does. `make help` lists it; `make demo` and `make test` set up what they need.
.DEFAULT_GOAL := help
SHELL := /bin/sh
.PHONY: help setup lock check sbom test test-full demo bench soak clean

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

define NO_VENV
$(PYTHON) cannot make a virtual environment: its ensurepip is missing.
On Debian and Ubuntu: apt install python3-venv. Or install pip, virtualenv or uv for it, and run make again.
endef
export NO_VENV

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## install Headrace into .venv and fetch the engine; quick when nothing changed
	@$(BIN)/python -m headrace.local.fetch

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "Headrace needs Python 3.11 or newer; set PYTHON=/path/to/python3." >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 \
		|| { rm -rf $(VENV); $(PYTHON) -m venv $(VENV) >/dev/null 2>&1; } \
		|| $(PYTHON) -m virtualenv --quiet $(VENV) 2>/dev/null \
		|| { rm -rf $(VENV); $(PYTHON) -m venv --without-pip $(VENV) \
			&& $(PYTHON) -m pip --quiet --python $(BIN)/python install pip 2>/dev/null; } \
		|| { rm -rf $(VENV); uv venv --quiet --seed --python $(PYTHON) $(VENV) 2>/dev/null; } \
		|| { rm -rf $(VENV); echo "$$NO_VENV" >&2; exit 1; }
	@touch $@

$(VENV)/.requirements: requirements.lock | $(VENV)/.created
	@echo "Installing Python packages"
	@$(PIP) install --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.requirements
	@$(PIP) install --no-deps --editable .
	@touch $@

lock: setup ## resolve Python packages and engine artifacts anew
	@$(PIP) install 'uv>=0.5'
	$(BIN)/uv --quiet pip compile pyproject.toml --extra demo --extra dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --upgrade --output-file requirements.lock
	$(BIN)/python -m headrace.local.lock

check: setup ## format, lint, types, import law, known weaknesses, credentials; ARGS=--strict needs every database
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m examine $(ARGS)

sbom: setup ## write sbom.json, the software bill of materials
	$(BIN)/python -m examine --sbom

test: setup ## every test, in sizes for every day
	$(BIN)/python -m pytest -m 'not full' -n 2 --dist loadfile $(ARGS)

test-full: setup ## every test in full size
	$(BIN)/python -m pytest $(ARGS)

demo: setup ## the whole product on real data; ARGS=--once ends by itself
	$(BIN)/headrace demo $(ARGS)

bench: setup ## measure beside other systems, into bench/results.json
	$(BIN)/python -m bench $(ARGS)

soak: setup ## hours of load, kills and changes
	$(BIN)/python -m pytest tests/soak -m full $(ARGS)

clean: ## remove what the other targets made, except the engine's cache
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './web/*' -prune -exec rm -rf {} +
