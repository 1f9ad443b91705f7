# SPDX-License-Identifier: GPL-2.0-or-later
# make help says what there is. Everything that a target needs is installed by it: Debian packages and a .venv.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON := .venv/bin/python
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
PACKAGES := python3-venv qemu-system-x86 busybox-static blktrace babeltrace2 python3-bt2 cpio kmod gcc make bc xz-utils \
	libelf1 dpkg-dev dkms mandoc zsh fish linux-perf
# What benchmarks compare with.
PEERS := lttng-tools trace-cmd

.PHONY: help setup lint lint-kernel test test-kernels test-debug-kernel generate demo bench modules man clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/stamp  ## install what is missing: Debian packages, and Python packages into .venv

# $(call install,PACKAGES): those of them that are missing
define install
	@missing=; for package in $(1); do \
		[ "$$(dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null)" = installed ] || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
		echo "installing:$$missing"; \
		$(SUDO) apt-get -qq update; \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $$missing >/dev/null; \
	fi
endef

.venv/stamp-apt: Makefile
	@mkdir -p .venv
	$(call install,$(PACKAGES))
	@touch $@

.venv/stamp-peers: Makefile .venv/stamp-apt
	$(call install,$(PEERS))
	@touch $@

.venv/stamp: pyproject.toml constraints.txt .venv/stamp-apt
	@[ -x $(PYTHON) ] || python3 -m venv .venv
	@$(PYTHON) -m pip -q install --upgrade 'pip>=25.1'
	@$(PYTHON) -m pip -q install -c constraints.txt -e . --group test --group lint
	@touch $@

lint: setup  ## ruff and mypy
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy .

lint-kernel: setup  ## checkpatch, kernel-doc and sparse on kmod/
	$(call install,perl sparse)
	$(PYTHON) -m tests.lint_kernel

test: lint  ## all checks and tests, the guest ones included
	$(PYTHON) -m pytest

test-debug-kernel: setup  ## the guest tests on a kernel that finds faults (KASAN, lockdep …), built once in 20 minutes
	$(call install,flex bison libelf-dev)
	$(PYTHON) -m tests.kernels 6.1-debug

test-kernels: setup  ## build for, boot and test every kernel of the matrix; prints a table
	$(PYTHON) -m tests.kernels

generate: setup  ## rewrite what is derived from formats/
	$(PYTHON) -m ltt_relay.formats.generate

demo: setup  ## record a workload in a guest; leaves demo-output/ and prints the report
	$(PYTHON) -m ltt_relay.testing.demo demo-output

bench: setup .venv/stamp-peers  ## measure the decoder beside Babeltrace, and the kernel half beside ftrace
	$(PYTHON) -m tests.bench

modules: setup  ## build the kernel modules for the running kernel (or KDIR=...)
	$(MAKE) -C kmod

man: setup  ## write manual pages of all commands to build/man
	$(PYTHON) -m ltt_relay.cli.man build/man

clean:  ## remove what was built and installed here
	rm -rf .venv build dist *.egg-info demo-output bench-output
