# criwist: all commands of a developer or a curious user, for Debian 12 or later.
#
#   make run      start criwist in the foreground, and a Docker engine if none answers   (root)
#   make demo     run etc/examples/hello.yaml through the CRI; POD=file runs another manifest
#   make test     lint and type checks, then every test, on a real engine too            (root)
#   make unit     run the unit tests alone, in about a minute, as any user
#   make lint     run ruff and mypy
#   make coverage run the unit tests and report the branches of wire/, translate/, netconf/ that none of them takes
#   make bench    measure criwist beside containerd's CRI plugin; ONLY=lists runs one scenario   (root)
#   make proto    generate the CRI modules from criwist/api/runtime/v1/api.proto
#   make pause    build the pause programs from criwist/pause/pause.c            (root, to install the compilers)
#   make engines  fetch newer engines for the tests, once; make test does it too
#   make kubelet-test run the tests with a real kubelet, all of them; TESTS=… runs a part   (root)
#   make node-test    run tests on a whole Debian 13 node in an emulated machine; TESTS=… runs a part   (root)
#   make node-shell   open a shell on such a node                                        (root)
#
# run, demo and test install missing packages with apt-get, once.  ARGS="…" is passed on to twistd or pytest.

VENV := .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

POD ?= etc/examples/hello.yaml
ARGS ?=
TESTS ?= tests
# Workers that share the functional tests.  Most of their time they wait for an engine.
JOBS ?= $(shell n=$$(nproc); echo $$((n > 4 ? 8 : 2 * n)))

.PHONY: run demo test unit lint coverage bench proto pause clean
.DEFAULT_GOAL := help

.PHONY: help
help:
	@sed -n '/^# criwist/,/^$$/s/^# \{0,1\}//p' Makefile

run: $(READY)
	@exec $(PYTHON) tools/run.py $(ARGS)

demo: $(READY)
	@scripts/packages.sh demo
	@exec $(PYTHON) tools/run.py --demo $(POD)

# Lint and type checks come first: they take seconds, and need neither packages nor engines.
test: lint
	@scripts/packages.sh tests pause
	@$(PYTHON) -m tools.engines
	CRIWIST_TEST_REQUIRED=1 $(PYTHON) -m pytest -n $(JOBS) --durations=10 --durations-min=1 $(TESTS) $(ARGS)

unit: $(READY)
	$(PYTHON) -m pytest -m "not functional" $(ARGS)

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

coverage: $(READY)
	$(PYTHON) -m coverage run -m pytest -q -m "not functional" $(ARGS)
	$(PYTHON) -m coverage report

bench: $(READY)
	@scripts/packages.sh tests
	$(PYTHON) -m bench $(ONLY)

proto: $(READY)
	$(PYTHON) tools/generate_api.py

pause: $(READY)
	@scripts/packages.sh pause
	$(PYTHON) tools/build_pause.py

# The environment is renewed when the files that list its contents change.
$(READY): setup.cfg pyproject.toml scripts/venv.sh scripts/constraints.txt
	@scripts/venv.sh $(VENV)
	@touch $@

# See docs/testing.md, "Functional tests".
.PHONY: engines
engines: $(READY)
	@$(PYTHON) -m tools.engines

# See docs/testing.md, "A real kubelet".  make test runs none of these tests.
.PHONY: kubelet kubelet-test
kubelet: $(READY)
	@$(PYTHON) -m tools.kubelet

kubelet-test: $(READY)
	@scripts/packages.sh tests
	@$(PYTHON) -m tools.kubelet
	CRIWIST_TEST_REQUIRED=1 CRIWIST_TEST_KUBELET=all $(PYTHON) -m pytest -n $(JOBS) --durations=10 --durations-min=1 \
		$(if $(filter tests,$(TESTS)),tests/functional/kubelet,$(TESTS)) $(ARGS)

clean:
	rm -rf $(VENV) .cache build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage

# See docs/testing.md, "A whole node".  TESTS names the tests to run there; without it a selection runs.
.PHONY: node-image node-test node-shell
node-image: $(READY)
	$(PYTHON) -m tools.node image

node-test: $(READY)
	$(PYTHON) -m tools.node test $(filter-out tests,$(TESTS)) $(ARGS)

node-shell: $(READY)
	$(PYTHON) -m tools.node shell
