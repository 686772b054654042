# make quickstart   the whole main job on a small real mixture, from nothing to generated text
# make test         everything CI runs
# make test-layouts all rows of the layout table, and docs/layouts.md written from them
# make test-cluster all tests on a SLURM cluster of namespaces, and docs/faults.md written from them; needs root and the
#                   packages of .ci/run; TIMES=5 does the faults five times, CLUSTERS=3 three at a time
# make lint         ruff and mypy

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Two test workers train on one thread each; more would only wait for one another.
WORKERS ?= 2
TIMES ?= 1
CLUSTERS ?= 1
TORCH_OPTIONS ?=

.PHONY: install quickstart test test-layouts test-cluster lint benchmarks clean

install: $(VENV)/installed

# torch comes first, alone, so that TORCH_OPTIONS can say where from: PyPI's wheel for Linux brings CUDA along (gigabytes);
# for a machine without a GPU give the index of PyTorch's CPU wheels, TORCH_OPTIONS="--index-url ...".
$(VENV)/installed: setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(TORCH_OPTIONS) torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

quickstart: install
	$(BIN)/pretrain corpus prepare configs/data/quickstart.yaml
	$(BIN)/pretrain train configs/runs/quickstart.yaml
	$(BIN)/pretrain generate runs/quickstart --prompt "Return the" --max-tokens 60 --seed 1
	$(BIN)/pretrain generate runs/quickstart --prompt "The" --max-tokens 60 --seed 2

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-layouts: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.training.layout_table docs/layouts.md

test-cluster: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.cluster.table docs/faults.md $(TIMES) $(CLUSTERS)

benchmarks: install
	$(BIN)/python -m benchmarks.data
	$(BIN)/python -m benchmarks.packing
	$(BIN)/python -m benchmarks.parallel
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.schedules
	$(BIN)/python -m benchmarks.monitoring
	$(BIN)/python -m benchmarks.inside
	$(BIN)/python -m benchmarks.step
	$(BIN)/python -m benchmarks.generation
	$(BIN)/python -m benchmarks.optimizers
	$(BIN)/python -m benchmarks.compiled
	$(BIN)/python -m benchmarks.checkpoints
	$(BIN)/python -m benchmarks.reading
	$(BIN)/python -m benchmarks.megatron
	$(BIN)/python -m benchmarks.tokenizing
	$(BIN)/python -m benchmarks.duplicates
	$(BIN)/python -m benchmarks.filters
	$(BIN)/python -m benchmarks.planner --write docs/planning-errors.md

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
