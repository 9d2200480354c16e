# make train            the main job on data that needs no network
# make train ARGS="model=hist_gb dataset=adult"
# make bench            what things cost, side by side with the bare alternatives
# make test             the tests, in two processes (minutes)
# make test-all         also the slow proofs, one after the other: they measure times and kill processes
# make docs             the pages of all modules, their functions and docstrings, in outputs/api/
# make torture          tries to break runs, for about 20 minutes
# make torture ARGS="kills=5 only=kills,pairs"
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
# a file of tests stays in one process: its tests share runs, which are the costly part
PARALLEL := -n 2 --dist loadfile

.PHONY: train test test-all lint bench docs torture
train: $(BIN)/.installed
	$(BIN)/python -m src.train $(ARGS)

test: $(BIN)/.installed
	$(BIN)/python -m pytest -q -m "not slow" $(PARALLEL) $(ARGS)

test-all: test
	$(BIN)/python -m pytest -q -m slow $(ARGS)

bench: $(BIN)/.installed
	for name in startup epoch tracking memory inference predict versions reading sweep folds; do $(BIN)/python benchmarks/$$name.py || exit 1; done

torture: $(BIN)/.installed
	$(BIN)/python tests/torture/run.py $(ARGS)

docs: $(BIN)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	$(BIN)/python -m pdoc -d numpy -o outputs/api $(subst /,.,$(patsubst %.py,%,$(subst /__init__,,$(wildcard src/[a-z]*.py src/*/__init__.py))))

lint: $(BIN)/.installed
	$(BIN)/ruff check .

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@
