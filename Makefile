# Fleetcast's commands. Each installs what it needs into .venv; nothing outside this folder is touched.

SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3.11
BIN := .venv/bin
AIRFLOW_PORT ?= 8080
RAY_PORT ?= 8265
RUNTIME := .venv/runtime
READY := .venv/ready
SOURCES := pyproject.toml setup.py constraints.txt $(wildcard forecasting/fleet/native/*.[ch])
PEERS := build/bench-venv

# pip with the pinned versions. Of its hundreds of lines, the large downloads and the last steps show its progress; its
# warnings are shown if it fails.
INSTALL = -m pip install --disable-pip-version-check --progress-bar off -c constraints.txt
SHORTEN = sed --unbuffered --quiet --regexp-extended \
  -e 's/^ *(Downloading [^ ]+ \([0-9]{2,}(\.[0-9]+)? MB\)).*/  \1/p' \
  -e 's/^Building wheels for .*/  Building …/p' -e 's/^Installing collected packages.*/  Installing …/p'

# Core tests run in one single-threaded process per core. Tests that share one Airflow run in one process, the other
# tests that start a Ray in another (tests/conftest.py).
PYTEST = $(BIN)/python -m pytest
CORE = -n auto -m "not ray and not airflow and not packaging and not images"
CORE_TESTS = OMP_NUM_THREADS=1 $(PYTEST) $(CORE)
# Branch coverage of the core tests costs a tenth of their time; pyproject.toml sets its floor.
COVERAGE = --cov --cov-report=

export RAY_USAGE_STATS_ENABLED := 0

.PHONY: help demo test lint check coverage screenshots docs wheel images bench bench-setup bench-full up down login up-stack down-stack clean constraints

help: ## Show the commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(RUNTIME) ## Train and forecast 125 series of real data with Airflow and Ray, then show the results (minutes)
	@$(BIN)/python -m workers.demo

test: $(READY) ## Pass every test that needs no service outside this repository: core, Ray and Airflow, packaging
	@failed=; \
	$(CORE_TESTS) $(COVERAGE) || failed="$$failed core"; \
	$(PYTEST) -n 2 --dist loadgroup -m "ray or airflow" tests || failed="$$failed ray-and-airflow"; \
	$(PYTEST) tests/packaging || failed="$$failed packaging"; \
	if test -n "$$failed"; then echo "make test: failed:$$failed"; exit 1; fi; echo "make test: all passed"

lint: $(READY) ## Check style, format, docstrings, types, import contracts, YAML and shell files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pydoclint --quiet forecasting workers dags
	$(BIN)/lint-imports --no-logo
	$(BIN)/actionlint -shellcheck=$(BIN)/shellcheck
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms \
	  $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))
	$(BIN)/yamllint --strict .github infra .pre-commit-config.yaml .yamllint.yml
	$(BIN)/shellcheck .ci/run

check: lint ## Run make lint and the core tests
	$(CORE_TESTS)

screenshots: $(READY) ## Take the pictures of docs/ from the test that uses Airflow's UI (needs Chromium; minutes)
	FLEETCAST_SCREENSHOTS=docs $(PYTEST) tests/end_to_end/test_browser.py

coverage: $(READY) ## List the lines that the core tests do not reach; details go to build/coverage
	$(CORE_TESTS) $(COVERAGE)term-missing:skip-covered --cov-report=html:build/coverage

docs: $(READY) ## Check that the documents name only what exists
	$(PYTEST) -n auto tests/contracts

wheel: $(READY) ## Build the source archive and, from it, the wheel into dist
	$(BIN)/python -m build

images: $(READY) ## Build the CPU images with Buildah, and their bills of materials into build/images (BASE, TORCH_INDEX)
	@$(BIN)/python -m infra.images.build $(BASE:%=--base %) $(TORCH_INDEX:%=--torch-index %)

bench: $(READY) ## Run the benchmarks at a short setting; figures go to build/bench.jsonl (ONLY=fleet for one)
	$(BIN)/python -m tests.benchmarks.run $(ONLY:%=--only %)

bench-setup: $(PEERS)/ready ## Install what benchmarks compare with into an environment of its own, build/bench-venv

bench-full: $(READY) ## Run the benchmarks for as long as it takes and write docs/benchmarks.md as well
	$(BIN)/python -m tests.benchmarks.run --full $(ONLY:%=--only %)

up: $(RUNTIME) ## Start a local Ray and the Airflow UI on 127.0.0.1, and print the login (AIRFLOW_PORT=8080)
	@$(BIN)/python -m workers.cluster.local_ray up > /dev/null
	@set -a; source .fleetcast/ray/environment; set +a; \
	$(BIN)/python -m workers.airflow.standalone up --port $(AIRFLOW_PORT) || { $(BIN)/python -m workers.cluster.local_ray down; exit 1; }

login: $(RUNTIME) ## Print the URL and the login of the running Airflow
	@$(BIN)/python -m workers.airflow.standalone login

down: $(RUNTIME) ## End what `make up` started
	@$(BIN)/python -m workers.airflow.standalone down
	@$(BIN)/python -m workers.cluster.local_ray down

up-stack: $(READY) ## Start the services of the compose file as processes, and print the login (AIRFLOW_PORT, RAY_PORT)
	@$(BIN)/python -m infra.local.stack up --airflow-port $(AIRFLOW_PORT) --ray-port $(RAY_PORT)

down-stack: $(READY) ## End what `make up-stack` started
	@$(BIN)/python -m infra.local.stack down

clean: ## Remove .venv, build, dist and the caches; tables and Airflow's state in .fleetcast stay
	rm -rf .venv build dist *.egg-info .coverage* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

constraints: $(READY) ## Write the versions installed now to constraints.txt
	{ head -n 1 constraints.txt; $(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.new
	mv constraints.new constraints.txt

# mlforecast installs its tests as a package of that name, which would hide those of this repository.
$(PEERS)/ready: tests/benchmarks/requirements.txt constraints.txt | $(READY)
	@echo "Installing into $(PEERS) (about three gigabytes, minutes) …"
	@set -o pipefail; $(PYTHON) -m venv $(PEERS) && $(PEERS)/bin/python $(INSTALL) -r $< | $(SHORTEN) \
	&& rm -rf $(PEERS)/lib/python*/site-packages/tests && touch $@

# What runs it, and what tests it as well; each mark has the seconds of its installation. The second holds the first.
$(RUNTIME): $(SOURCES)
	$(call install,[worker$(comma)airflow])

$(READY): $(SOURCES)
	$(call install,[worker$(comma)airflow-postgres$(comma)trees$(comma)dev])
	@cp $(READY) $(RUNTIME)

comma := ,
define install
	@command -v $(PYTHON) > /dev/null || { echo "error: $(PYTHON) is not installed; on Debian: apt install python3.11-venv make" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2> /dev/null || { echo "error: $(PYTHON) cannot make a virtual environment; on Debian: apt install python3.11-venv" >&2; exit 2; }
	@echo "Installing into .venv (about two gigabytes, one to three minutes) …"
	@set -o pipefail; started=$$(date +%s) && $(PYTHON) -m venv .venv \
	&& { $(BIN)/python $(INSTALL) -e '.$(1)' 2> .venv/pip.log | $(SHORTEN) || { cat .venv/pip.log >&2; exit 1; }; } \
	&& echo $$(( $$(date +%s) - started )) > $@ && echo "Installed in $$(cat $@) s."
	@ls forecasting/fleet/native/_engine*.so > /dev/null 2>&1 || echo "note: without a C compiler networks train several times slower; apt install gcc libc6-dev, then make clean"
endef
