# Every target starts from a bare checkout: the virtual environment is made and filled from the lock when needed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUN    := $(VENV)/.installed
DEV    := $(VENV)/.installed-dev
FUZZ   := $(VENV)/.installed-fuzz
DEPLOY := $(VENV)/.installed-deploy
SPARK  := $(VENV)/.installed-spark
RIVALS := $(VENV)/.installed-rivals
SPREAD := -n 2 --dist loadfile
# A state file is synced at every commit, thousands of times in the tests; in memory, where 8 GiB of it are free, nothing waits for a disk.
MEMORY := $(shell [ -w /dev/shm ] && df -Pk /dev/shm | awk 'END { if ($$4 >= 8388608) print "/dev/shm" }')
SCRATCH = $(if $(MEMORY),TMPDIR=$${TMPDIR:-$(MEMORY)})
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Tests start many processes, which would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo kafka test test-deploy test-spark deploy-tools release-check soak soak-spark year fuzz mutate lint format \
	bench bench-rivals bench-tenants bench-engines schemas sentinel pictures lock clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

# What the connector and its simulator need to run.
$(RUN): requirements.lock
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) --require-hashes -r requirements.lock
	@touch $@

# What it takes to test it, beside that.
$(DEV): $(RUN) requirements-dev.lock pyproject.toml
	$(PIP) --require-hashes -r requirements-dev.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

# Fuzzing has wheels for some platforms only, so nothing else asks for it.
$(FUZZ): $(DEV) requirements-fuzz.lock
	$(PIP) --require-hashes -r requirements-fuzz.lock
	@touch $@

# The tools that judge what is in deploy/; those that are no Python packages stand in tests/support/deploy_tools.py.
$(DEPLOY): $(DEV) requirements-deploy.lock
	$(PIP) --require-hashes -r requirements-deploy.lock
	@touch $@

# Spark is half a gigabyte, and only its own engine asks for it.
$(SPARK): $(DEV) requirements-spark.lock
	$(PIP) --require-hashes -r requirements-spark.lock
	@touch $@

# What the benchmarks measure beside us brings another DuckDB: an environment of its own.
$(RIVALS): $(DEV) requirements-bench.lock
	$(PYTHON) -m venv --clear $(VENV)/rivals
	$(VENV)/rivals/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	@touch $@

demo: $(RUN) ## see it work: simulator, in-process Kafka, an evolving fleet; no accounts, no Docker, no Java
	@$(BIN)/python -m connector demo

kafka: $(DEV) ## a Kafka broker and a schema registry to try the connector against, until Ctrl-C
	@$(BIN)/python -m tests.support.local_kafka

test: $(DEV) ## all tests, against a real Kafka broker and a real schema registry where they can be had
ifdef PYTEST_ARGS
	$(SCRATCH) $(BIN)/python -m pytest $(PYTEST_ARGS)
else
	@# In two halves side by side, what waits for Kafka and what does not, the files of each half spread over two processes.
	@$(SCRATCH) $(BIN)/python -m pytest -m broker $(SPREAD) -p no:cacheprovider > $(VENV)/broker.log 2>&1 & broker=$$!; \
	$(SCRATCH) $(BIN)/python -m pytest -m "not broker" $(SPREAD) || failed=1; \
	wait $$broker || failed=1; cat $(VENV)/broker.log; exit $${failed:-0}
endif

test-deploy: $(DEPLOY) ## what is in deploy/, with the tools of those who run it: helm, promtool, buildah, Splunk's validator, …
	@$(BIN)/python -m tests.support.deploy_tools
	$(SCRATCH) $(BIN)/python -m pytest $(SPREAD) tests/deploy $(PYTEST_ARGS)

test-spark: $(SPARK) ## the engine on Spark, against the oracle and DuckDB: real Spark and Delta Lake; needs Java 17 and Maven
	$(SCRATCH) $(BIN)/python -m pytest tests/diff/engines/spark $(PYTEST_ARGS)

deploy-tools: $(DEPLOY) ## fetch the tools of test-deploy, with the packages of the distribution that they take (as root)
	@$(BIN)/python -m tests.support.deploy_tools --system

release-check: $(DEPLOY) ## build twice and compare; bill of materials, licences, known vulnerabilities; all in dist/
	$(BIN)/python -m tests.support.release

soak: $(DEV) ## kill polls for a long time (500 times, or KILLS=..., values as FORMAT=avro or json), and compare with the oracle
	$(BIN)/python -m tests.support.soak $(KILLS) $(FORMAT)

soak-spark: $(SPARK) ## the same with Spark as the engine (50 times, or KILLS=...): needs Java 17 and Maven
	$(SCRATCH) $(BIN)/python -m tests.support.spark_soak $(KILLS)

year: $(DEV) ## a year of polls of 500 devices, every alert compared with a list made from the snapshots alone
	$(BIN)/python -m tests.support.year

fuzz: $(FUZZ) ## feed odd bytes to every parser of foreign input (180 seconds each, or SECONDS=...); Linux on x86-64
	$(BIN)/python -m tests.support.fuzzing --seconds $(or $(SECONDS),180)

mutate: $(DEV) ## change one place at a time and run the module's own tests on it (40 changes a module, or SAMPLE=..., MODULES="diff/guard.py ...")
	$(SCRATCH) $(BIN)/python -m tests.support.mutating --sample $(or $(SAMPLE),40) $(MODULES)

lint: $(DEV) ## ruff (every rule), ruff format, mypy strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DEV) ## let ruff lay out the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV) ## whole polls and publishing beside zcat, and beside what make bench-rivals installed (BENCH="--records 50000")
	$(BIN)/python -m tests.benchmarks $(BENCH)

bench-rivals: $(RIVALS) ## install what the polls are compared with: pandas, Polars, orjson, dlt

bench-tenants: $(DEV) ## many tenants in one process (TENANTS=100 of RECORDS=100000 each): CPU, memory, threads, series of a round
	$(BIN)/python -m tests.benchmarks.tenants --tenants $(or $(TENANTS),100) --records $(or $(RECORDS),100000)

bench-engines: $(SPARK) ## Spark beside DuckDB on the same snapshots (RECORDS=2000000): needs Java 17 and Maven
	$(BIN)/python -m tests.benchmarks.engines --records $(or $(RECORDS),2000000)

schemas: $(DEV) ## generate from the Avro schemas: the JSON Schemas in schemas/, the tables in deploy/sentinel
	$(BIN)/python -m tests.support.json_schemas
	$(BIN)/python -m tests.support.sentinel.templates

sentinel: $(DEPLOY) ## generate the template of Sentinel's rules, hunting queries, function and workbook from their files
	$(BIN)/python -m tests.support.sentinel.deployable

pictures: $(DEPLOY) ## draw the pictures of docs/ from what the terminal and the browser show (Chromium)
	$(BIN)/python -m tests.support.pictures

lock: $(DEV) ## pin the newest dependencies that satisfy pyproject.toml, with hashes
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-emit-index-url \
		--no-header --extra simulator --extra console pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-emit-index-url \
		--no-header --extra simulator --extra console --group dev pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-emit-index-url \
		--no-header --group fuzz -o requirements-fuzz.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-emit-index-url \
		--no-header --group deploy --constraint requirements-dev.lock -o requirements-deploy.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-emit-index-url \
		--no-header --group splunk -o requirements-splunk.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-emit-index-url \
		--no-header --group bench -o requirements-bench.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-emit-index-url \
		--no-header --group spark --constraint requirements-dev.lock -o requirements-spark.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-emit-index-url \
		--no-header --group build --constraint requirements-dev.lock -o requirements-build.lock

clean: ## remove everything that make made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
