# The same few commands at the desk and in CI. `make help` lists them.

PYTHON ?= python3
SUITE ?= demo

BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

.PHONY: help demo test check bench wheel format clean

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

demo: SUITE = demo
demo: bench ## install, run the demo benchmark, print its table

bench: .venv/.demo ## run another suite: make bench SUITE=name
	$(BIN)/peftkit bench $(SUITE) --output runs/$(SUITE)

test: .venv/.dev ## install, run the tests (options for pytest: make test ARGS="-k lora")
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 $(ARGS)

check: .venv/.dev ## format, lint and types, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict peftkit

wheel: .venv/.dev ## build the wheel, install it in a clean environment, train with it there
	rm -rf dist build/wheel && $(BIN)/python -m build --outdir dist .
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt \
		"$$(ls dist/*.whl)[demo]"
	cd build/wheel && HF_HUB_OFFLINE=1 bin/peftkit recipes list && HF_HUB_OFFLINE=1 bin/peftkit train \
		stdlib-docstrings-minilm training.max_steps=3 data.max_train_samples=60 data.max_eval_samples=20 \
		data.max_predict_samples=20 --output run --overwrite

format: .venv/.dev ## format, and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove caches and builds; .venv and runs stay
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache
	find peftkit tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Every install goes through constraints.txt: an unpinned torch would bring whatever is newest, gigabytes at a time.
.venv/.torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("peftkit needs Python 3.11 or later: make PYTHON=python3.x")'
	@echo "Installing into .venv: a few minutes the first time."
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) torch
	touch $@

.venv/.demo: .venv/.torch pyproject.toml
	$(INSTALL) --editable '.[demo]'
	touch $@

.venv/.dev: .venv/.torch pyproject.toml
	$(INSTALL) --editable '.[dev]'
	touch $@
