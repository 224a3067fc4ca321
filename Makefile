# Everything runs in a virtual environment inside the checkout; nothing is installed elsewhere.
# Time and disk of each target are in README.md.

PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
WHEEL   := build/wheel
BOARD   ?= ulx3s-85f
WORKERS ?= $(shell nproc)

.PHONY: setup demo test check wheel bench bench-area bench-boards bench-complete bench-faults nightly clean

setup: $(STAMP)

$(STAMP): pyproject.toml __init__.py
	@PYTHON=$(PYTHON) sh tools/preflight.sh
	@echo "setup: installing the Python packages into $(VENV) (1.7 GB; about a minute on a fast network)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[hardware,flash,demo,litex,networks,onnx,test]"
	@touch $@

# The whole path, the first result first: a real network on the simulated accelerator before the bitstream.
demo: setup
	@$(BIN)/systolith demo --board $(BOARD) -o build/demo

wheel: setup
	@rm -rf dist $(WHEEL)
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist . > dist.log 2>&1 || { cat dist.log; rm -f dist.log; exit 1; }
	@rm -rf dist.log build/lib build/bdist.*
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(WHEEL) dist/*.whl

check: wheel
	$(BIN)/ruff check .
	MYPYPATH=$(WHEEL) $(BIN)/mypy --cache-dir build/mypy -p systolith
	$(BIN)/lint-imports

# The tests import the wheel as it was built, not the checkout.
test: check
	PYTHONPATH=$(CURDIR)/$(WHEEL) $(BIN)/pytest -q -n $(WORKERS) --dist worksteal --durations 15

# Measurements whose tables are committed under docs/results/.
bench: setup
	$(BIN)/python -m systolith.cli.bench --output docs/results

# Builds every board, hours in all, and writes their table; then fails where one was not built or misses its clock. BOARDS="a b"
# builds only those; VARIANT=litex is those with a SoC around them, in a table of its own.
bench-boards: setup
	$(BIN)/python -m systolith.cli.bench_boards --variant $(or $(VARIANT),bare) $(BOARDS)

# Places and routes the ULX3S-85F's complete accelerator with five seeds, 15 minutes of a processor each, with and without the
# floorplan, and one of twice the multipliers, 40 minutes each, and writes their clocks. SEEDS=2 is two, ONLY="shipped auto" those designs.
bench-complete: setup
	$(BIN)/python -m systolith.cli.bench_complete --seeds $(or $(SEEDS),5) $(ONLY:%=--only=%)

# Hurts the line of simulated boards more than ten thousand times, an hour, and writes what it did.
bench-faults: setup
	SYSTOLITH_NIGHTLY=1 SYSTOLITH_FAULTS=docs/results/faults.md $(BIN)/pytest -q sim_tests/boards/test_fault_campaign.py

# Synthesises random configurations, an hour; fits what is expected of look-up tables and flip-flops, and writes how far off that is.
bench-area: setup
	$(BIN)/python -m systolith.cli.bench_area

# Exhaustive and long runs: full random campaigns, five-seed place and route, every board in every variant.
nightly: wheel
	PYTHONPATH=$(CURDIR)/$(WHEEL) SYSTOLITH_NIGHTLY=1 $(BIN)/pytest -q -n $(WORKERS) --dist worksteal
	$(BIN)/systolith build --board $(BOARD) --seeds 5 -o build/nightly-$(BOARD)
	$(BIN)/systolith build --board icebreaker --seeds 5 -o build/nightly-icebreaker
	$(BIN)/python -m systolith.cli.bench_boards
	$(BIN)/python -m systolith.cli.bench_boards --variant litex

clean:
	rm -rf build dist $(VENV) *.egg-info
