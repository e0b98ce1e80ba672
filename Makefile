# make study: run the first study on real data.   make test: run every check that CI runs.
# make test-large: those that need 18 GiB of memory.
# make docs: build the site into docs/_build/html; needs no network after the installation.
# make bench: the cost of a step against torch.   make bench-gpu: the same on a GPU.
# make evidence: controllers and fixed exponents against AdamW and SGD, on the tasks of the package.
# make reproduce: every claim of the two papers, with a verdict.   make reproduce-quick: the same, smaller, in five minutes.
# All make .venv first and install into it; running them again reuses it. Paths are relative: spaces in the folder's name are fine.

PYTHON ?= python3.11
RUN := .venv/bin/python
INSTALLED := .venv/.installed
DOCS_INSTALLED := .venv/.installed-docs

.PHONY: study test test-large docs bench bench-gpu evidence reproduce reproduce-quick install lint clean

study: $(INSTALLED)
	$(RUN) -m equipoise study run examples/digits.toml

test: lint
	$(RUN) -m pytest --durations=10

test-large: $(INSTALLED)
	$(RUN) -m pytest -m large

docs: $(DOCS_INSTALLED)
	$(RUN) -m sphinx --builder html --quiet --fail-on-warning --keep-going --fresh-env docs docs/_build/html
	@echo "The site is docs/_build/html/index.html"

lint: $(INSTALLED)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m pyright --pythonpath $(RUN)
	$(RUN) -c "from importlinter.cli import lint_imports_command; lint_imports_command()" --no-logo

bench: $(INSTALLED)
	$(RUN) benchmarks/step.py

bench-gpu: $(INSTALLED)
	$(RUN) benchmarks/gpu.py

evidence: $(INSTALLED)
	$(RUN) benchmarks/evidence.py

reproduce: $(INSTALLED)
	$(RUN) -m reproductions

reproduce-quick: $(INSTALLED)
	$(RUN) -m reproductions --quick

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt setup.py src/equipoise/optim/_kernels/cpu.c src/equipoise/optim/_kernels/stage.h
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $(INSTALLED)

$(DOCS_INSTALLED): $(INSTALLED)
	$(RUN) -m pip install --disable-pip-version-check --constraint constraints.txt --editable ".[docs]"
	touch $(DOCS_INSTALLED)

clean:
	rm -rf .venv build docs/_build src/*.egg-info
