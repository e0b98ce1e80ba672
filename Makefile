# make study: run the first study on real data.   make test: run every check that CI runs.
# make test-large: those that need 18 GiB of memory.
# make bench: the cost of a step against torch.   make bench-gpu: the same on a GPU.
# make evidence: controllers and fixed exponents against AdamW and SGD, on the tasks of the package.
# make reproduce: every claim of the two papers, with a verdict.   make reproduce-quick: the same, smaller, in five minutes.
# All make .venv first and install into it; running them again reuses it. Paths are relative: spaces in the folder's name are fine.

PYTHON ?= python3.11
RUN := .venv/bin/python
INSTALLED := .venv/.installed

.PHONY: study test test-large bench bench-gpu evidence reproduce reproduce-quick install lint clean

study: $(INSTALLED)
	$(RUN) -m equipoise study run examples/digits.toml

test: lint
	$(RUN) -m pytest --durations=10

test-large: $(INSTALLED)
	$(RUN) -m pytest -m large

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

clean:
	rm -rf .venv build src/*.egg-info
