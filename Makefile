# Each target does all of its set-up. PYTHON names the interpreter, TESTS is for pytest, ARGS for demo and bench…, JOBS is
# how many files of tests run at the same time.
PYTHON ?= python3
ARGS ?=
JOBS ?= 2
TESTS ?=
DEV = .venv/dev
DEMO = .venv/demo
ZOPE5 = .venv/zope5
PLONE = .venv/plone
BUILDOUT = .venv/buildout
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check

.PHONY: demo test check bench bench-growth compare profile mutations proof docs buildout test-zope5 test-plone test-buildout clean

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

# Every peer has an environment of its own below .venv/peers, made when it is missing; who cannot be had is left out.
bench: $(DEV)/.ready
	tools/install-redis.sh .venv/redis
	tools/install-postgresql.sh .venv/postgresql
	$(DEV)/bin/python -m benchmarks $(ARGS)

# What changes with size and with time; half an hour and more, and some gigabytes, unless ARGS=--quick.
bench-growth: $(DEV)/.ready
	tools/install-redis.sh .venv/redis
	tools/install-postgresql.sh .venv/postgresql
	$(DEV)/bin/python -m benchmarks.growth $(ARGS)

# This tree beside another one of its own, HEAD unless ARGS names one: make compare ARGS="v1.0 --store redis"
compare: $(DEV)/.ready
	tools/install-redis.sh .venv/redis
	tools/install-postgresql.sh .venv/postgresql
	$(DEV)/bin/python -m benchmarks.comparing $(ARGS)

profile: $(DEV)/.ready
	tools/install-redis.sh .venv/redis
	tools/install-postgresql.sh .venv/postgresql
	$(DEV)/bin/python -m benchmarks.profiling $(ARGS)

# Breaks the rules of the backends one by one: the contract suite must notice each. Takes a quarter of an hour and more.
mutations: $(DEV)/.ready
	tools/install-redis.sh .venv/redis
	tools/install-postgresql.sh .venv/postgresql
	$(DEV)/bin/python tests/backends/mutations.py $(ARGS)

# Kills processes ten thousand times and more, servers too, fills disks and turns clocks. Takes up to 40 minutes. What is
# about time, and about who gets a turn, runs by itself, before the rest.
proof: $(DEV)/.ready
	tools/install-redis.sh .venv/redis
	tools/install-postgresql.sh .venv/postgresql
	tools/install-faketime.sh .venv/faketime
	TASKQUEUE_PROOF=long $(DEV)/bin/python -m pytest tests/proof/test_faults_*.py $(TESTS)
	TASKQUEUE_PROOF=long $(DEV)/bin/python -m pytest -n $(JOBS) --dist loadfile tests/proof/test_[!f]*.py $(TESTS)

docs: $(DEV)/.ready
	$(DEV)/bin/python -m sphinx -W -b html docs docs/_build/html

# The oldest Zope that is supported, with the tests of the Zope door.
test-zope5: $(ZOPE5)/.ready
	tools/install-redis.sh .venv/redis
	$(ZOPE5)/bin/python -m pytest tests/zope $(TESTS)

# A Plone site, with a browser. TASKQUEUE_PLONE says that there has to be one.
test-plone: $(PLONE)/.ready
	tools/install-chromium.sh .venv/chromium
	TASKQUEUE_PLONE=yes $(PLONE)/bin/python -m pytest tests/plone $(TESTS)

# An instance of Zope in this folder: bin/instance fg. With a queue on Redis: make buildout ARGS='-c redis.cfg'
buildout: $(BUILDOUT)/.ready
	test -x bin/buildout || $(BUILDOUT)/bin/buildout bootstrap
	bin/buildout $(ARGS)

test-buildout: $(DEV)/.ready buildout
	tools/install-redis.sh .venv/redis
	bin/test -q
	$(DEV)/bin/python -m pytest tests/buildout $(TESTS)

clean:
	rm -rf .venv docs/_build bin develop-eggs eggs parts .installed.cfg

# The demo gets nothing but the package; constraints.txt holds the versions that were tested together.
$(DEMO)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(DEV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[pyramid,test,docs,check]'
	touch $@

$(ZOPE5)/.ready: pyproject.toml tests/requirements-zope5.txt tests/constraints-zope5.txt
	$(PYTHON) -m venv $(ZOPE5)
	$(ZOPE5)/bin/python $(PIP_INSTALL) -c tests/constraints-zope5.txt -r tests/requirements-zope5.txt -e .
	touch $@

$(PLONE)/.ready: pyproject.toml tests/requirements-plone.txt tests/constraints-plone.txt
	$(PYTHON) -m venv $(PLONE)
	$(PLONE)/bin/python $(PIP_INSTALL) -c tests/constraints-plone.txt -r tests/requirements-plone.txt -e .
	touch $@

# No version is pinned: what is newest builds it.
$(BUILDOUT)/.ready:
	$(PYTHON) -m venv $(BUILDOUT)
	$(BUILDOUT)/bin/python $(PIP_INSTALL) zc.buildout
	touch $@
