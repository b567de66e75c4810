# What a clone needs: Python 3.11 or newer, and make. `make` alone lists the targets.

PYTHON ?= $(shell for python in python3.11 python3; do $$python -c '' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
STAMP := .venv/installed.stamp
DEMO := demo-run
LOCK_VENV := build/lock-venv

.DEFAULT_GOAL := help
.PHONY: help setup demo check test slow chaos gpu bench lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## create .venv with the locked packages (quick when nothing changed)

$(STAMP): requirements.lock pyproject.toml
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "ell-tune needs Python 3.11 or newer; found $(if $(PYTHON),$(shell $(PYTHON) --version),none)." \
		"Run: make setup PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## search, export, retrain and predict on bundled sample essays
	rm -rf $(DEMO)
	$(BIN)/ell-tune sample-data --essays 200 --seed 7 --out $(DEMO)/data
	$(BIN)/ell-tune search search_spaces/smoke.yaml --train $(DEMO)/data/train.csv --study $(DEMO)/study --trials 6
	$(BIN)/ell-tune leaderboard $(DEMO)/study
	$(BIN)/ell-tune export $(DEMO)/study --top 1 --out $(DEMO)/configs
	$(BIN)/ell-tune retrain $(DEMO)/configs/*.yaml --train $(DEMO)/data/train.csv --out $(DEMO)/model --folds 3
	$(BIN)/ell-tune predict $(DEMO)/model $(DEMO)/data/test.csv --out $(DEMO)/submission.csv
	$(BIN)/ell-tune report $(DEMO)/study --out $(DEMO)/report.html
	@echo
	@echo "submission:  $(DEMO)/submission.csv"
	@echo "leaderboard: $(BIN)/ell-tune leaderboard $(DEMO)/study"
	@echo "report:      $(DEMO)/report.html (open it in a browser)"

check: setup ## lint, format and types: what pre-commit and CI run
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Python writes its compiled files, whatever the environment says: each of Ray's workers would compile all anew.
test slow chaos: export PYTHONDONTWRITEBYTECODE =

# In the files' order: xdist would begin with those of many tests and end with a few of Ray's, which take the longest.
test: setup ## the default tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

slow: setup ## whole searches and local clusters
	$(BIN)/python -m pytest -m slow

chaos: setup ## searches whose processes, disks and files fail (about 14 minutes on 2 cores)
	$(BIN)/python -m pytest -m chaos

gpu: setup ## what only a GPU shows (needs one)
	CUDA_VISIBLE_DEVICES=$${CUDA_VISIBLE_DEVICES-0} $(BIN)/python -m pytest tests/trainables/regressor/test_regressor_gpu.py

bench: setup ## training throughput against transformers.Trainer
	$(BIN)/python -m benchmarks.throughput

# From pyproject.toml alone, in an environment of its own, so that nothing a developer installed gets in.
# torch: `+cpu` and the like name a build, not a version, and the CUDA packages are for torch to choose.
lock: ## choose the newest allowed packages and write requirements.lock
	rm -rf $(LOCK_VENV)
	$(PYTHON) -m venv $(LOCK_VENV)
	$(LOCK_VENV)/bin/python -m pip install --quiet --upgrade setuptools '.[dev]'
	{ sed '/^[^#]/,$$d' requirements.lock; \
		$(LOCK_VENV)/bin/python -m pip freeze --all --exclude pip --exclude ell-tune \
		| sed 's/+[a-z0-9.]*$$//' | grep -Ev '^(nvidia-|cuda-|triton==)' | LC_ALL=C sort -f; \
	} > build/requirements.lock
	mv build/requirements.lock requirements.lock

clean: ## remove .venv, caches and the demo
	rm -rf .venv build dist *.egg-info $(DEMO) .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
