# Everything that a developer runs. A target sets up what it needs and is quiet when nothing is missing.

PYTHON ?= python3
SERVE ?= 1

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

demo: .venv/installed  ## record a small workload for ten seconds and open it in the viewer (SERVE=0: only the summary)
	@SERVE=$(SERVE) examples/demo.sh

test: check | test-packages  ## every test, and `make check` before them
	@.venv/bin/pytest

torture: .venv/installed | test-packages  ## what takes too long for every change (OFFWAKE_KILLS=200, OFFWAKE_HOURS=1)
	@.ci/packages mmdebstrap
	@.venv/bin/pytest tests/torture

check: .venv/installed  ## ruff, mypy --strict and import-linter
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

bench: .venv/installed | test-packages  ## what recording and analysis cost, beside perf and offcputime; writes benchmarks/results.json and its tables in docs/
	@.venv/bin/python -m benchmarks.recording
	@.venv/bin/python -m benchmarks.analysis
	@.venv/bin/python -m benchmarks.heatmaps
	@.venv/bin/python -m benchmarks.flame_graphs
	@.venv/bin/python -m benchmarks.user_stacks
	@.venv/bin/python -m benchmarks.sources
	@.venv/bin/python -m benchmarks.loads
	@.venv/bin/python -m benchmarks.postgres
	@.venv/bin/python -m benchmarks.on_and_off

recorder:  ## build/offwake-recorder.pyz, one file that records where there is no pip
	@$(PYTHON) -m offwake.zipapp build/offwake-recorder.pyz
	@echo "Built build/offwake-recorder.pyz"

example: .venv/installed  ## record examples/demo.offwake anew
	@examples/make_example.sh

pictures: .venv/installed | test-packages  ## photograph the viewer for docs/viewer.md and the README
	@.venv/bin/python docs/pictures/make.py

clean:  ## remove the virtual environment, caches and everything built
	rm -rf .venv build *.egg-info .*_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# Debian 12's pip, 23.0, knows no dependency groups.
.venv/installed: pyproject.toml | packages
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "offwake needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1): try make PYTHON=…"; exit 1; }
	@echo "Making .venv"
	@$(PYTHON) -m venv .venv
	@.venv/bin/pip install -qq --disable-pip-version-check --upgrade 'pip>=25.1'
	@.venv/bin/pip install -qq --editable . --group dev
	@echo "Compiling the analyzer"
	@.venv/bin/offwake summary examples/demo.offwake >/dev/null 2>&1
	@touch $@

packages:
	@.ci/packages python3-bpfcc python3-venv

test-packages: packages
	@.ci/packages binutils bpftrace chromium e2fsprogs fio fonts-liberation g++ gcc gdb iperf3 iproute2 iptables \
		libbpf-tools libc6-dev linux-perf mount musl-tools postgresql python3-msgpack python3-zstandard redis-server strace zstd

.PHONY: help demo test torture check bench recorder example pictures clean packages test-packages
