# criwist: everything a developer or a curious user needs, on Debian 12 or later.
#
#   make run      a Docker engine if there is none, and criwist in the foreground   (root)
#   make demo     run etc/examples/hello.yaml through the CRI; POD=file for another
#   make test     every test, those on a real engine included                       (root)
#   make unit     the unit tests alone, in seconds, as any user
#   make lint     ruff and mypy
#   make bench    criwist beside containerd's CRI plugin; ONLY=lists for one scenario   (root)
#   make proto    the CRI modules from criwist/api/runtime/v1/api.proto
#   make pause    the pause programs from criwist/pause/pause.c                     (root, for the compilers)
#   make engines  newer engines for the tests, fetched once; make test does it
#   make node-test    the tests on a whole Debian 13 node in an emulated machine; TESTS=… for a part   (root)
#   make node-shell   a shell on such a node                                        (root)
#
# The first three install what is missing with apt-get, once.  ARGS="…" is passed on to twistd or pytest.

VENV := .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

POD ?= etc/examples/hello.yaml
ARGS ?=
TESTS ?= tests

.PHONY: run demo test unit lint bench proto pause clean
.DEFAULT_GOAL := help

.PHONY: help
help:
	@sed -n '/^# criwist/,/^$$/s/^# \{0,1\}//p' Makefile

run: $(READY)
	@exec $(PYTHON) tools/run.py $(ARGS)

demo: $(READY)
	@scripts/packages.sh demo
	@exec $(PYTHON) tools/run.py --demo $(POD)

test: $(READY)
	@scripts/packages.sh tests pause
	@$(PYTHON) -m tools.engines
	CRIWIST_TEST_REQUIRED=1 $(PYTHON) -m pytest $(TESTS) $(ARGS)

unit: $(READY)
	$(PYTHON) -m pytest -m "not functional" $(ARGS)

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(READY)
	@scripts/packages.sh tests
	$(PYTHON) -m bench $(ONLY)

proto: $(READY)
	$(PYTHON) tools/generate_api.py

pause: $(READY)
	@scripts/packages.sh pause
	$(PYTHON) tools/build_pause.py

# Made anew when what it holds is asked for differently.
$(READY): setup.cfg pyproject.toml scripts/venv.sh
	@scripts/venv.sh $(VENV)
	@touch $@

# Newer engines for the tests, see docs/testing.md.
.PHONY: engines
engines: $(READY)
	@$(PYTHON) -m tools.engines

clean:
	rm -rf $(VENV) .cache build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# A whole node, see docs/testing.md.  TESTS is what is tested there, of all by default.
.PHONY: node-image node-test node-shell
node-image: $(READY)
	$(PYTHON) -m tools.node image

node-test: $(READY)
	$(PYTHON) -m tools.node test $(filter-out tests,$(TESTS)) $(ARGS)

node-shell: $(READY)
	$(PYTHON) -m tools.node shell
