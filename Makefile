# Two commands for a fresh machine with Python 3.11+: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-random coverage mutation lint audit environment

demo: environment
	$(BIN)/vkd demo

test: environment
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

# In another order each time; the seed that the first line prints gives an order again (SEED=1).
test-random: environment
	$(BIN)/python -m pytest -p randomly $(if $(SEED),-p "no:cacheprovider" --randomly-seed=$(SEED)) --numprocesses auto --dist worksteal

coverage: environment
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal --cov --cov-report=term --cov-fail-under=90

mutation: environment
	OMP_NUM_THREADS=1 nice -n 19 $(BIN)/python scripts/mutation.py

lint: environment
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	$(BIN)/shellcheck scripts/*.sh .ci/run
	$(BIN)/kubernetes-validate --strict --quiet scripts/kubernetes.yaml

audit: environment
	scripts/audit.sh $(BIN)

environment: $(VENV)/.installed

# uv where it is at hand (seconds), else venv and pip (minutes); the same versions by either.
$(VENV)/.installed: pyproject.toml constraints.txt
	@if command -v uv >/dev/null; then \
	  { test -x $(BIN)/python || uv venv --quiet --python $(PYTHON) $(VENV); } && \
	  uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable . --group dev; \
	else \
	  { test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); } && \
	  $(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1' && \
	  $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev; \
	fi
	@touch $@
