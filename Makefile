# `make run` and `make test` are all it takes: each sets up what it needs in .venv first.
PYTHON ?= python3
BIN := .venv/bin
# The browser of the tests: the headless shell, as Playwright has it, takes a fifth less of the processors; else Chromium.
CHROMIUM ?= $(firstword $(wildcard /usr/bin/chromium-headless-shell /usr/bin/chromium) /usr/bin/chromium-headless-shell)
# Test files that run at the same time. Most wait for a server, a browser or a child process. Each computes with one
# thread: as many as there are cores would stand in each other's way. The files with long tests come first.
WORKERS ?= 3

.PHONY: run test test-slow lint bench bench-labeling bench-learning bench-queue bench-suspects starter starter-report clean

run: .venv/app-installed
	$(BIN)/python app.py

test: .venv/tests-installed $(CHROMIUM)
	$(BIN)/ruff check .
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-slow: .venv/tests-installed $(CHROMIUM)
	$(BIN)/python -m pytest -m slow

lint: .venv/tests-installed
	$(BIN)/ruff check .

# How fast the app starts, scores and trains, beside its peers. TEACHER and DATA are those of `make starter`.
bench: .venv/tests-installed .venv-peers/installed
	$(BIN)/python -m benchmarks.machine
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.scoring_speed --teacher $(TEACHER) --data $(DATA)
	$(BIN)/python -m benchmarks.training_speed --data $(DATA)
	$(BIN)/python -m benchmarks.training_time --data $(DATA)

# Makes the built-in model again. TEACHER is a directory with the cross-encoder to learn from, DATA one with the sets.
starter: .venv/tests-installed
	$(BIN)/python -m distillation --teacher $(TEACHER) --data $(DATA) --out reranker/starter

# How good and how fast the built-in model is, beside BM25, a bi-encoder and its teacher.
starter-report: .venv/tests-installed
	$(BIN)/python -m benchmarks.starter_report --teacher $(TEACHER) --data $(DATA)

# How quick judging is with a long queue and many annotators. CANDIDATES=20000 is a short run.
CANDIDATES ?= 1000000
bench-labeling: .venv/tests-installed $(CHROMIUM)
	$(BIN)/python -m benchmarks.labeling --candidates $(CANDIDATES)

# How many labels a strategy needs: gain beside random. DATA is that of `make starter`; steps are kept in data/bench-queue.
bench-queue: .venv/tests-installed
	$(BIN)/python -m benchmarks.queue --data $(DATA)

# What labels bring, with each recipe: hours on two cores. TEACHER is a directory with a cross-encoder, DATA one with the
# sets; LEARNING="--seeds 0 --labels 20" is a short run.
bench-learning: .venv/tests-installed
	$(BIN)/python -m benchmarks.learning --data $(DATA) --model reranker/starter $(TEACHER) $(LEARNING)

# Whether wrong labels are found: a tenth is turned on purpose.
bench-suspects: .venv/tests-installed
	$(BIN)/python -m benchmarks.suspects --data $(DATA)

.venv/app-installed: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/tests-installed: requirements.txt requirements-dev.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@ .venv/app-installed

.venv-peers/installed: requirements-peers.txt
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-peers.txt
	touch $@

# The browser tests need a Chromium; Debian has the shell as a package, Ubuntu the whole.
$(CHROMIUM):
	@command -v apt-get >/dev/null || { \
		echo "The browser tests need Chromium. Install it and say where it is: make test CHROMIUM=/path/to/chromium"; exit 1; }
	@sudo=$$([ "$$(id -u)" = 0 ] || echo sudo); $$sudo apt-get update -qq; \
	$$sudo apt-get install -y -qq chromium-headless-shell >/dev/null || $$sudo apt-get install -y -qq chromium >/dev/null

clean:
	rm -rf .venv .venv-peers
