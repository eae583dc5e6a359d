# make demo   the main job on this machine: no root, no system packages
# make test   every check and every test; installs Dovecot, Postfix, PostgreSQL, PgBouncer and systemd from Debian's packages when missing
SHELL := /bin/sh
VENV ?= .venv
BIN := $(VENV)/bin
CHECKED := bouncepoll migrations tests docs
LOCK := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-header --quiet --upgrade

.PHONY: demo test test-all compiled test-compiled test-reliability fuzz check unit bench measured bench-load corpus audit lock docs servers clean

demo: $(VENV)/.demo
	$(BIN)/bouncepoll demo

test: servers check
	$(BIN)/python -m pytest -n 2 --dist loadgroup --cov --cov-report=term -q

check: $(VENV)/.dev
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive bouncepoll migrations
	$(BIN)/bouncepoll rules check
	$(BIN)/python docs/generate.py --check

unit: $(VENV)/.dev
	$(BIN)/python -m pytest tests/unit -q -n 2

test-all: $(VENV)/.dev
	./tests/all-pythons.sh 3.11 3.12 3.13

# The wheel whose reader and classifier are compiled, in build/compiled/wheel; the tests of these, on its modules.
COMPILED := build/compiled
compiled: $(COMPILED)/.made

test-compiled: $(COMPILED)/.made
	PYTHONSAFEPATH=1 PYTHONPATH=$(COMPILED)/package:. $(BIN)/python -m pytest --import-mode=importlib tests/compiled tests/corpus tests/unit/classify \
		tests/unit/mime tests/unit/policy tests/fuzz tests/integration/isolation --ignore tests/fuzz/test_patterns.py \
		-n 2 --dist loadgroup -q

$(COMPILED)/.made: $(shell find bouncepoll -name '*.py') pyproject.toml tests/compiled/*.* | $(VENV)/.dev
	./tests/servers/install.sh compiled $(BIN)/python
	./tests/compiled/build.sh $(BIN)/python $(COMPILED)
	touch $@

# The long forms of the tests that try to break the promises of docs/reliability.md: deaths at every step and at random
# instants, broken networks, full disks, clocks that are set, hostile mails; at most half an hour.
test-reliability: servers $(VENV)/.dev
	BOUNCEPOLL_RELIABILITY=1 $(BIN)/python -m pytest tests/integration/crash tests/integration/network tests/integration/faults \
		tests/integration/cluster tests/fuzz -n 2 --dist loadgroup -q -rP

# Coverage-guided fuzzing of reading and of all that is done to a mail, FUZZ_S seconds each, on from what earlier runs
# left in FUZZ_DIR; stops at what it finds.
FUZZ_S ?= 600
FUZZ_DIR ?= /tmp/bouncepoll-fuzz
fuzz: $(VENV)/.dev
	BOUNCEPOLL_FUZZ_DIR=$(FUZZ_DIR)/mime $(BIN)/python -m tests.fuzz.atheris_mime -max_total_time=$(FUZZ_S)
	BOUNCEPOLL_FUZZ_DIR=$(FUZZ_DIR)/classify $(BIN)/python -m tests.fuzz.atheris_classify -max_total_time=$(FUZZ_S)

# How fast we are beside peers and beside the servers themselves, each on the same mails in one run: the classifier
# (CORPUS: a folder of mails, else our samples), the IMAP drain and the whole pipeline, the listener. Perl is the
# distribution's, so Python is the distribution's too where it is new enough: how it was built makes a fifth.
bench:
	$(MAKE) --no-print-directory measured VENV=.venv-bench COMPILED=build/compiled-bench \
		PYTHON="/usr/bin/python3 python3 python3.13 python3.12 python3.11"

measured: $(VENV)/.bench $(COMPILED)/.made
	./tests/servers/install.sh bench
	$(BIN)/python -m tests.bench.classifiers --compiled $(COMPILED)/package $(CORPUS)
	$(BIN)/python -m tests.bench.imap --compiled $(COMPILED)/package
	$(BIN)/python -m tests.bench.listener

# What a database with a million mails takes, how long what is asked of it takes then, and a day's peak on top of it.
bench-load: $(VENV)/.bench
	./tests/servers/install.sh
	$(BIN)/python -m tests.bench.load
	$(BIN)/python -m tests.bench.peak

# The classifier's figures on a labelled corpus (dev/, evaluate.py, score.py); fails below the targets.
corpus: $(VENV)/.dev
	$(BIN)/python tests/bench/corpus.py $(CORPUS)

# Known vulnerabilities of what is locked; asks an advisory service, so it is no part of "make test".
audit: $(VENV)/.audit
	$(BIN)/pip-audit --require-hashes --disable-pip --requirement requirements/dev.txt

servers:
	./tests/servers/install.sh

docs: $(VENV)/.dev
	$(BIN)/python docs/generate.py

# The lock files hold hashes and no addresses: the package index is the machine's own business.
lock: $(VENV)/.dev
	$(LOCK) --extra demo --group build --output-file requirements/demo.txt
	$(LOCK) --extra demo --extra postgresql --group dev --output-file requirements/dev.txt
	$(LOCK) --extra demo --extra postgresql --group dev --group bench --output-file requirements/bench.txt
	$(LOCK) --group audit --output-file requirements/audit.txt

$(VENV)/.%: requirements/%.txt pyproject.toml tests/venv.sh
	./tests/venv.sh $(VENV) requirements/$*.txt
	touch $@

clean:
	rm -rf $(VENV) .venv-bench build demo .coverage* .mypy_cache .ruff_cache .pytest_cache
