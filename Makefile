# Each target does all of its set-up. PYTHON names the interpreter, TESTS is for pytest, ARGS for demo and bench, JOBS is
# how many files of tests run at the same time.
PYTHON ?= python3
ARGS ?=
JOBS ?= 2
TESTS ?=
DEV = .venv/dev
DEMO = .venv/demo

.PHONY: demo test check bench mutations proof docs clean

demo: $(DEMO)/.ready
	$(DEMO)/bin/taskqueue demo $(ARGS)

test: $(DEV)/.ready
	tools/install-redis.sh .venv/redis
	tools/install-postgresql.sh .venv/postgresql
	tools/install-faketime.sh .venv/faketime
	$(DEV)/bin/python -m pytest -n $(JOBS) --dist loadfile $(TESTS)

check: $(DEV)/.ready
	$(DEV)/bin/ruff check src tests docs benchmarks
	$(DEV)/bin/ruff format --check src tests docs benchmarks
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports

bench: $(DEV)/.ready
	tools/install-redis.sh .venv/redis
	tools/install-postgresql.sh .venv/postgresql
	$(DEV)/bin/python -m benchmarks $(ARGS)

# Breaks the rules of the backends one by one: the contract suite must notice each. Takes a quarter of an hour and more.
mutations: $(DEV)/.ready
	tools/install-redis.sh .venv/redis
	tools/install-postgresql.sh .venv/postgresql
	$(DEV)/bin/python tests/backends/mutations.py $(ARGS)

# Kills processes ten thousand times and more, servers too, fills disks and turns clocks. Takes up to 40 minutes.
proof: $(DEV)/.ready
	tools/install-redis.sh .venv/redis
	tools/install-postgresql.sh .venv/postgresql
	TASKQUEUE_PROOF=long $(DEV)/bin/python -m pytest -s tests/proof $(TESTS)

docs: $(DEV)/.ready
	$(DEV)/bin/python -m sphinx -W -b html docs docs/_build/html

clean:
	rm -rf .venv docs/_build

# The demo gets nothing but the package; constraints.txt holds the versions that were tested together.
$(DEMO)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(DEV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[pyramid,test,docs,check]'
	touch $@
