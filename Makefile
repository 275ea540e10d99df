# `make` alone explains the targets. Each makes .venv first when it is missing or out of date.

PYTHON ?= python3
TESTS  ?= tests
ARGS   ?=
ROUNDS ?= 5

BIN    := .venv/bin
STAMP  := .venv/.installed
LOCKED := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo run test fuzz test-vm check scores bench clean constraints

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo 'PYTHON=/path/to/python3 picks the interpreter (3.11 or newer) for .venv; ARGS=... goes to the program.'

demo: $(STAMP) ## watch a leak being caught, in a minute
	$(BIN)/leakguard demo $(ARGS)

run: $(STAMP) ## run the daemon with config/leakguard.example.yaml
	$(BIN)/leakguard run -c config/leakguard.example.yaml $(ARGS)

# The environment passes through: LG_TEST_DOCKER_HOST, LG_TEST_REQUIRE_ALL=1 (a skip is a failure).
test: $(STAMP) ## run the tests but the slow ones (TESTS=tests/unit ARGS="-k name")
	$(BIN)/python -m pytest $(TESTS) -m "not slow" $(ARGS)

fuzz: $(STAMP) ## run the property tests on examples drawn anew (ROUNDS=5)
	@for round in $$(seq $(ROUNDS)); do echo "round $$round of $(ROUNDS)"; \
	  LG_TEST_FUZZ=1 $(BIN)/python -m pytest -q tests -m hypothesis $(ARGS) || exit 1; done

test-vm: $(STAMP) ## run machines out of memory in QEMU (root; LG_TEST_VM_SEED=2 draws other cases)
	$(BIN)/python -m pytest tests/vm -m vm $(ARGS)

check: $(STAMP) ## ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports --no-logo

scores: $(STAMP) ## score detector and forecast on generated series (ARGS="--seed 2 --per 12")
	$(BIN)/python -m tests.bench.scores $(ARGS)

bench: $(STAMP) ## measure time and memory against the budgets
	$(BIN)/python -m tests.bench $(ARGS)

clean: ## remove .venv and everything that the tools left behind
	rm -rf .venv build dist .coverage coverage.xml htmlcov
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# constraints.txt has three parts, each complete together with those above it: run, develop, every extra.
# A checkout installs the first two with their hashes. pip refuses hashes for a folder, so the package itself
# is linked in afterwards, with the pinned hatchling and nothing else.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'leakguard needs Python 3.11 or newer; "$(PYTHON)" is: '"$$($(PYTHON) --version 2>&1)" >&2; \
	  echo 'Name another one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)' >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { \
	  echo 'This Python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
	@echo 'Installing into .venv (once, about a minute) ...'
	@sed '/^# part 3:/,$$d' constraints.txt > .venv/requirements.txt
	$(LOCKED) --require-hashes -r .venv/requirements.txt
	$(LOCKED) --no-deps --no-build-isolation -e .
	@touch $@

# Needs uv: make constraints UV=/path/to/uv. Versions already in the file stay unless ARGS=--upgrade.
UV      ?= uv
COMPILE  = $(UV) pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
           --no-header --no-annotate --no-emit-index-url --no-emit-find-links
constraints: ## resolve pyproject.toml into constraints.txt again
	mkdir -p build
	test ! -f constraints.txt || grep -v '^#' constraints.txt > build/all.txt
	$(COMPILE) --all-extras -o build/all.txt $(ARGS)
	$(COMPILE) --extra systemd --extra redis -c build/all.txt -o build/run.txt
	$(COMPILE) --extra systemd --extra redis --extra dev -c build/all.txt -o build/dev.txt
	awk -f .ci/constraints.awk build/run.txt build/dev.txt build/all.txt > build/constraints.txt
	! grep -n '://' build/constraints.txt
	mv build/constraints.txt constraints.txt
