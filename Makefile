# What a contributor runs. Needs Python 3.11 or later with venv; all the rest goes into .venv.
# Where there is no make (Windows): python bootstrap.py demo

PYTHON ?= python3
WORKERS ?= 2

VENV := .venv
RUN := $(VENV)/bin/python -m
INSTALL := $(RUN) pip install -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-seeds check lint format docs bench clean
# With -j too: one pip at a time in one environment. The tests have workers of their own.
.NOTPARALLEL:

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s  %s\n", $$1, $$2 }' Makefile

venv: $(VENV)/.stamp-venv ## an empty .venv, for whoever wants another build of torch in it first (see CONTRIBUTING.md)

demo: $(VENV)/.stamp-base ## install, train on the digits, write runs/demo/report.html (then runs/demo-2 ...)
	$(VENV)/bin/vaekit train digits --out runs/demo

test: lint ## lint, then the tests (WORKERS=2)
	OMP_NUM_THREADS=1 $(RUN) pytest -n $(WORKERS)

test-seeds: $(VENV)/.stamp-dev ## what draws or trains under 20 seeds, 1 and 2 threads and each CPU capability: hours
	$(VENV)/bin/python tests/seeds.py

lint: $(VENV)/.stamp-dev ## ruff and mypy
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

check: lint ## lint, and the tests of the imports, the exact laws and the words: a minute
	OMP_NUM_THREADS=1 $(RUN) pytest tests/test_layers.py tests/test_laws_exact.py tests/test_words.py

format: $(VENV)/.stamp-dev ## format the code and mend what ruff can mend
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

docs: $(VENV)/.stamp-docs ## the site, into site/; any warning is an error
	$(RUN) zensical build --clean --strict

bench: $(VENV)/.stamp-base ## training throughput beside Pythae and bare loops (about half an hour)
	$(VENV)/bin/python benchmarks/throughput.py

clean: ## remove what the tasks made, except .venv and runs/
	rm -rf build dist site .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is older than what it is made from when the installation is; bootstrap.py keeps the same ones.
$(VENV)/.stamp-venv:
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here: install Python 3.11 or later, or name one: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) bootstrap.py venv

$(VENV)/.stamp-base: pyproject.toml constraints.txt | $(VENV)/.stamp-venv
	$(INSTALL) -e .
	@touch $@

$(VENV)/.stamp-%: pyproject.toml constraints.txt | $(VENV)/.stamp-venv
	$(INSTALL) -e ".[$*]"
	@touch $@
