# Fleetcast's commands. Each installs what it needs into .venv; nothing outside this folder is touched.

SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3.11
BIN := .venv/bin
AIRFLOW_PORT ?= 8080
READY := .venv/ready
PEERS := build/bench-venv

# A test has one thread and a process of each core's own; Ray and Airflow share one of each, and the cores, in turn.
CORE_TESTS = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m "not ray and not airflow"

export RAY_USAGE_STATS_ENABLED := 0

.PHONY: help demo test lint check bench bench-setup bench-full up down login clean constraints

help: ## Show the commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## Train and forecast 125 series of real data with Airflow and Ray, then show the results (minutes)
	@$(BIN)/python -m workers.demo

test: $(READY) ## Pass every test that needs no service outside this repository, Ray and Airflow included
	@failed=; $(CORE_TESTS) || failed=1; $(BIN)/python -m pytest -m "ray or airflow" || failed=1; test -z "$$failed"

lint: $(READY) ## Lint, format, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

check: lint ## The same, and the core tests
	$(CORE_TESTS)

bench: $(READY) ## Run the benchmarks at a short setting; figures go to build/bench.jsonl (ONLY=fleet for one)
	$(BIN)/python -m tests.benchmarks.run $(ONLY:%=--only %)

bench-setup: $(PEERS)/ready ## Install what benchmarks compare with into an environment of its own, build/bench-venv

bench-full: $(READY) ## Run the benchmarks for as long as it takes and write docs/benchmarks.md as well
	$(BIN)/python -m tests.benchmarks.run --full $(ONLY:%=--only %)

up: $(READY) ## Start a local Ray and the Airflow UI on 127.0.0.1, and print the login (AIRFLOW_PORT=8080)
	@$(BIN)/python -m workers.cluster.local_ray up > /dev/null
	@set -a; source .fleetcast/ray/environment; set +a; \
	$(BIN)/python -m workers.airflow.standalone up --port $(AIRFLOW_PORT) || { $(BIN)/python -m workers.cluster.local_ray down; exit 1; }

login: $(READY) ## Print the URL and the login of the running Airflow
	@$(BIN)/python -m workers.airflow.standalone login

down: $(READY) ## End what `make up` started
	@$(BIN)/python -m workers.airflow.standalone down
	@$(BIN)/python -m workers.cluster.local_ray down

clean: ## Remove .venv, build and the caches; tables and Airflow's state in .fleetcast stay
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

constraints: $(READY) ## Write the versions installed now to constraints.txt
	{ head -n 1 constraints.txt; $(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.new
	mv constraints.new constraints.txt

$(PEERS)/ready: tests/benchmarks/requirements.txt constraints.txt | $(READY)
	@echo "Installing into $(PEERS) (about three gigabytes, minutes) …"
	@$(PYTHON) -m venv $(PEERS) \
	&& $(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r $< && touch $@

$(READY): pyproject.toml constraints.txt $(wildcard forecasting/fleet/native/*.[ch])
	@command -v $(PYTHON) > /dev/null || { echo "error: $(PYTHON) is not installed; on Debian: apt install python3.11-venv make" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2> /dev/null || { echo "error: $(PYTHON) cannot make a virtual environment; on Debian: apt install python3.11-venv" >&2; exit 2; }
	@echo "Installing into .venv (about two gigabytes, one to three minutes) …"
	@started=$$(date +%s) && $(PYTHON) -m venv .venv \
	&& $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[worker,airflow,dev]' \
	&& echo $$(( $$(date +%s) - started )) > $(READY) && echo "Installed in $$(cat $(READY)) s."
	@ls forecasting/fleet/native/_engine*.so > /dev/null 2>&1 || echo "note: without a C compiler networks train several times slower; apt install gcc libc6-dev, then make clean"
