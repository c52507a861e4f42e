# Firelift: `make demo` shows it, `make test` proves it. Both set up .venv first, from requirements.lock.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed-from-lock

.PHONY: demo test unit test-lowest test-newest soak lint bench lock clean setup

demo: setup
	$(BIN)/firelift demo

# One process more than there are cores, at most four, for tests wait a third of their time: each has servers of its own. JOBS=0 for one process.
PROCESSES = $(or $(JOBS),$(shell $(PYTHON) -c 'import os; print(min(4, 1 + (os.cpu_count() or 1)))'))
test: lint
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder --durations 40

# What needs no server, for whoever edits.
unit: setup
	$(BIN)/python -m pytest tests/unit --numprocesses $(or $(JOBS),auto) --maxprocesses 4

# With the lowest and the newest versions that pyproject.toml allows, each in an environment of its own: the tests that need no server and one
# migration through Prefect. What is installed there is not what is locked, so two tests say nothing there.
OF_THE_LOCK := tests/unit/test_pins.py::test_what_is_installed_is_what_is_locked \
  tests/unit/test_image.py::test_the_image_installs_what_is_locked_without_what_only_tests_and_demo_need
RESOLVED := lowest newest
lowest := lowest-direct
newest := highest
$(addprefix test-,$(RESOLVED)): test-%:
	@command -v uv >/dev/null || { echo "make $@ needs uv, which can choose versions: pip install uv" >&2; exit 1; }
	uv venv --quiet --clear --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv-$*
	uv pip install --quiet --python .venv-$*/bin/python --upgrade --resolution $($*) -e '.[dev]'
	.venv-$*/bin/python -m pytest tests/unit tests/acceptance/test_migration_flow.py --numprocesses $(or $(JOBS),auto) --maxprocesses 4 \
	  --dist loadfile --no-loadscope-reorder $(addprefix --deselect ,$(OF_THE_LOCK))

# KILLS=1000 for longer; FIRELIFT_FAULT_SEED=… repeats the moments of a run that failed. Test by test, for single ones take minutes.
soak: setup
	FIRELIFT_KILLS=$(or $(KILLS),300) $(BIN)/python -m pytest tests/faults --timeout 3600 --numprocesses $(PROCESSES) --dist load --maxschedchunk 1 --durations 20

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# N="100000 300000" for other sizes; the numbers of the README are those of N=100000.
bench: setup
	$(BIN)/python -m benchmarks.run $(foreach size,$(or $(N),100000),--documents $(size))
	$(BIN)/python -m benchmarks.increments $(foreach size,$(or $(N),100000),--documents $(size))
	$(BIN)/python -m benchmarks.generated
	$(BIN)/python -m benchmarks.many

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Firelift needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1 | head -n 1). Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Installing Firelift and what it needs into .venv (once, a minute or two) ..."
	@if command -v uv >/dev/null; then \
	  set -e; \
	  test -x $(BIN)/python || uv venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv; \
	  uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r requirements.lock; \
	  uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else \
	  set -e; \
	  test -x $(BIN)/python || $(PYTHON) -m venv .venv; \
	  $(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
	@touch $(STAMP)

# The second one is for the image of a worker: the same versions, without tools for tests and servers for the demo.
# What is locked stays as it is as far as it may; UPGRADE=1 for the newest versions.
LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --no-strip-extras $(if $(UPGRADE),--upgrade)
lock:
	$(LOCK) --extra dev --output-file requirements.lock
	$(LOCK) --constraint requirements.lock --output-file deployments/requirements.lock

clean:
	rm -rf .venv $(addprefix .venv-,$(RESOLVED)) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist demo-workspace
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
