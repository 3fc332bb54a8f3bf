# make demo    install, simulate events, then the main path of both trackers: direct, served
# make test    install, then the quick tests
# make test-slow  the tests that take long, or repeat others in another way
# make docs    the documentation as a site, build/site/index.html
# make lint    format, lint and types
# make bench   throughput and latency on the sample, direct and served
# make release  a wheel and an sdist in dist, each tried in an empty environment
.PHONY: demo test test-slow docs lint bench release install clean

supported = import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c '$(supported)' 2>/dev/null && echo $$p && break; done)
BIN = .venv/bin
PARALLEL = -n $(shell n=$$(nproc); echo $$((n < 4 ? n : 4))) --dist loadfile --no-loadscope-reorder
SAMPLE = build/patatrack-sample
PIXEL = build/ttbar-pu50
POINTS = build/points-pu20
SIMULATION = $(shell find src/trackserve/simulation src/trackserve/detectors -name '*.py')

install: .venv/dev

.venv/pip:
	@test -n "$(PYTHON)" || { echo "trackserve needs Python 3.11 or 3.12 (make PYTHON=...)"; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/server: .venv/pip pyproject.toml
	@echo "installing trackserve and what it needs into .venv: some minutes, about 1 GB"
	$(BIN)/pip install -e '.[server,report,sim,hlt]'
	@touch $@

.venv/dev: .venv/pip pyproject.toml
	@echo "installing trackserve and what its tests need into .venv: some minutes, a few GB"
	$(BIN)/pip install -q 'pip>=25.1' # knows dependency groups
	$(BIN)/pip install -e '.[all]' --group dev
	@touch $@ .venv/server

$(SAMPLE): tests/data/patatrack-sample.tar.xz
	@mkdir -p build
	$(PYTHON) -m tarfile -e $< build
	@touch $@

$(PIXEL)/raw.bin: $(SIMULATION) | .venv/server
	rm -rf $(PIXEL)
	$(BIN)/trackserve simulate pixel --pileup 50 --events 20 --seed 1 -o $(PIXEL)

$(POINTS)/points.parquet: $(SIMULATION) | .venv/server
	rm -rf $(POINTS)
	$(BIN)/trackserve simulate points --pileup 20 --events 10 --seed 1 -o $(POINTS)

demo: .venv/server $(PIXEL)/raw.bin $(POINTS)/points.parquet
	$(BIN)/trackserve demo $(PIXEL) $(POINTS) -o build/demo

test: .venv/dev
	$(BIN)/pytest $(PARALLEL)

test-slow: .venv/dev
	$(BIN)/pytest $(PARALLEL) -m slow -vv --durations=30

docs: .venv/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

lint: .venv/dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

bench: .venv/server $(SAMPLE)
	$(BIN)/trackserve study direct-vs-served --events patatrack=$(SAMPLE) -o build/studies

release: .venv/dev
	.ci/release

clean:
	rm -rf .venv build
