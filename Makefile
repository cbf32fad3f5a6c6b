# Targets for developers. Each works on a fresh clone: .venv is created on first use, and again when
# the pins change. PYTHON=path/to/python3.12 chooses the interpreter; pip's configuration
# (PIP_INDEX_URL, pip.conf) applies.

SHELL := bash
BIN := .venv/bin
PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

# Tests that start Ray and have deadlines, which two of them at once on two cores would miss. The
# fast tier runs the other tests first, on two processes. The slow tier has tests that necessarily
# take long: the wheel, a generated client, a compiled step, killed processes, clusters of several
# nodes, users' models on Ray.
ALONE := tests/workers tests/test_cluster.py tests/test_service.py tests/api/cli/test_main.py tests/api/coordinator/test_supervisor.py tests/api/cli/test_solo.py

.PHONY: help setup demo test slow check docs bench science clean

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 15

setup: .venv/installed ## create .venv and install telescope with its test tools

demo: .venv/installed ## run the quick-start job end to end through HTTP and print its result
	@$(BIN)/python -m api.cli.demo

test: .venv/installed ## run the fast tests (12 minutes on two cores, no GPU)
	@$(BIN)/python -m tests.needs test
	@$(ONE_THREAD) $(BIN)/pytest -m "not slow" -n 2 --dist loadfile $(addprefix --ignore=,$(ALONE))
	@$(ONE_THREAD) $(BIN)/pytest -m "not slow" $(ALONE)

slow: .venv/installed ## run the slow tests (up to 40 minutes): wheel, generated client, compiled step, killed processes, clusters, users' models
	@$(BIN)/python -m tests.needs slow
	@$(ONE_THREAD) $(BIN)/pytest -m slow

check: .venv/installed ## check lint, format, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/installed ## write the generated references and build the documentation into site/
	$(BIN)/python -m tests.docs.reference
	$(BIN)/python -m zensical build --strict --clean

bench: .venv/installed ## benchmark speed: trials per hour beside Ray Tune and plain loops, the service, a step, a GPU, data (25 minutes)
	@$(ONE_THREAD) $(BIN)/python -m benchmarks.throughput --into docs/performance.md
	@$(ONE_THREAD) $(BIN)/python -m benchmarks.service
	@$(ONE_THREAD) $(BIN)/python -m benchmarks.steps
	@$(ONE_THREAD) $(BIN)/python -m benchmarks.gpu
	@$(ONE_THREAD) $(BIN)/python -m benchmarks.data
	@$(ONE_THREAD) $(BIN)/python -m benchmarks.turnaround

science: .venv/installed ## benchmark answers: coordinate checks, searches on surfaces, batch quantities (hours)
	@$(ONE_THREAD) $(BIN)/python -m benchmarks.coordinates
	@$(ONE_THREAD) $(BIN)/python -m benchmarks.frontier
	@$(ONE_THREAD) $(BIN)/python -m benchmarks.surfaces

clean: ## remove .venv, caches, the site and the demo's output
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info demo-result site .cache

# The stamp is written last, so that an interrupted installation is repeated.
.venv/installed: pyproject.toml constraints.txt
	@[ -x $(BIN)/pip ] || { \
	  for python in $(PYTHONS); do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; \
	  done; \
	  [ -n "$$python" ] || { echo "telescope needs Python 3.11 or newer; tried: $(PYTHONS). Choose one with: make PYTHON=/path/to/python3" >&2; exit 1; }; \
	  echo "Creating .venv with $$("$$python" --version)"; \
	  "$$python" -m venv --clear .venv || { echo "this Python cannot create virtual environments (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }; }
	@echo "Installing telescope into .venv (once; torch and Ray are large)"
	@set -o pipefail; $(BIN)/pip install --progress-bar off --disable-pip-version-check -c constraints.txt -e '.[dev]' 2>&1 \
	  | tee .venv/install.log | { grep --line-buffered -oE '^ *(Downloading .*\([0-9]{2,}.* MB\)|Installing collected packages)' || true; } \
	  || { tail -n 20 .venv/install.log >&2; echo "Installation failed; see .venv/install.log" >&2; exit 1; }
	@touch $@
