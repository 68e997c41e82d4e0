# make demo: the built-in four-camera clip through the whole live chain
# make test: formatting, types and the whole test suite
PYTHON ?=
export PYTHON

.PHONY: demo test setup lint types unit

demo: setup
	.venv/bin/python -m app demo --report out/demo.json --record out/demo-$$(date +%Y%m%d-%H%M%S).mcap

setup:
	@tools/setup.sh run

test: lint types unit

dev:
	@tools/setup.sh dev

lint: dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: dev
	.venv/bin/mypy

# First what needs no machine for itself, side by side on a thread each; then what keeps time. Files
# go in their own order: by default those with the fewest tests come last, which are the longest ones.
unit: dev
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder -m "not alone"
	.venv/bin/python -m pytest -m alone

.PHONY: dev
