# make train            the main job on data that needs no network
# make train ARGS="model=hist_gb dataset=adult"
# make bench            what things cost, side by side with the bare alternatives
# make test             the tests (minutes)       make test-all   also the slow proofs
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin

.PHONY: train test test-all lint bench
train: $(BIN)/.installed
	$(BIN)/python -m src.train $(ARGS)

test: $(BIN)/.installed
	$(BIN)/python -m pytest -q -m "not slow" $(ARGS)

test-all: $(BIN)/.installed
	$(BIN)/python -m pytest -q $(ARGS)

bench: $(BIN)/.installed
	for name in startup epoch tracking memory inference versions; do $(BIN)/python benchmarks/$$name.py || exit 1; done

lint: $(BIN)/.installed
	$(BIN)/ruff check .

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@
