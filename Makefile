# One way to do everything. `make demo` and `make test` are all that a newcomer needs.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp

.PHONY: setup demo check test soak bench docs clean help

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(STAMP)-dev ## Make .venv with everything that development needs

$(STAMP)-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Ostinato needs Python 3.11 or later; this is $$($(PYTHON) --version). Say which: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "No virtual environment could be made: on Debian, install the package python3-venv."; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@touch $@

$(STAMP)-demo: $(STAMP)-venv pyproject.toml examples/flights/requirements.txt
	@echo "Installing Ostinato and what the demo needs into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e . -r examples/flights/requirements.txt
	@touch $@

$(STAMP)-dev: $(STAMP)-venv pyproject.toml
	@echo "Installing Ostinato and its development tools into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[postgres]' --group test --group check
	@touch $@

demo: $(STAMP)-demo ## Run the example on real data; killed half-way, run it again and it goes on
	@$(BIN)/ostinato run examples/flights/flights.py --resume

check: setup ## Lint, format and type checks
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/pyright -p pyproject.toml --pythonpath $(BIN)/python

test: setup ## Run the tests
	@$(BIN)/python -m pytest -q -n auto --dist worksteal -m 'not soak'

soak: setup ## Run the long crash and chaos tests
	@$(BIN)/python -m pytest -q -n auto -m soak

bench: setup ## Measure; figures and what they mean are in bench/README.md
	@$(BIN)/python bench/run.py

docs: setup ## Write the generated parts of the documentation
	@$(BIN)/python -m ostinato.cli.docs docs/cli.md

clean: ## Remove what the other verbs made
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache flights-report
