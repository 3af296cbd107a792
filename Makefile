# make demo: the whole loop on the embedded corpus.  make test: the tests.  make check: format, lint, types.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= demo-output

.PHONY: demo test check slow clean

demo: .venv/installed
	$(BIN)/serann demo -o $(OUT) --overwrite

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist worksteal

slow: .venv/installed
	$(BIN)/python -m pytest -m slow

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# torch goes first, from the constraints, so that no other package chooses its build. The link lets pyright find `serann`
# in tests and tools: it does not read what an editable install does at run time.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=26"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	mkdir -p .venv/typing
	ln -sfn "$(CURDIR)" .venv/typing/serann
	touch .venv/installed

clean:
	rm -rf build dist *.egg-info demo-output
