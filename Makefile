# Thin over CMake presets; `make help` lists the targets.
PRESET ?= release
BUILD := build/$(PRESET)
JOBS ?= 2
SECONDS ?= 60
OUT ?= out/bench
OPTIONS ?=
TESTS ?=
empty :=
space := $(empty) $(empty)

.PHONY: help setup configure build demo test bench fuzz lint format clean

help:            ## this list
	@grep -E '^[a-z]+: .*##|^[a-z]+:  *##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup:           ## install what is missing: Debian packages, libtorch into .venv (MOE_TORCH=DIR, TORCH_INDEX=URL)
	@scripts/setup.sh

configure: setup
	@cmake --preset $(PRESET) $(OPTIONS) > /dev/null

build: configure ## build the program: build/release/moe (PRESET=debug, asan or tsan for others)
	@cmake --build $(BUILD) --target moe_program -j $(JOBS)

demo: build      ## train a small MoE model and its dense twin on generated text, compare them, sample
	@scripts/demo.sh $(BUILD)/moe

test: configure  ## build everything and run all tests (TESTS="ops data": these folders of tests/ alone)
	@cmake --build $(BUILD) -j $(JOBS) $(addprefix --target test_,$(TESTS))
	@rm -rf $(BUILD)/tests/results
	@ctest --preset $(PRESET) $(if $(TESTS),-R '^($(subst $(space),|,$(strip $(TESTS))))$$'); status=$$?; \
	  scripts/summarise_tests.py $(BUILD)/tests/results; exit $$status

bench: build     ## time MoE layers against dense ones and the machine's limits, into OUT=out/bench (FULL=1: everything)
	@FULL=$(FULL) benchmarks/run_bench.sh $(BUILD)/moe $(OUT)

fuzz: setup      ## fuzz the readers of files, SECONDS=60 each (wants clang-16)
	@command -v clang++-16 > /dev/null || { echo "error: [fuzz] expected clang++-16, found none. Run: apt-get install clang-16 libclang-rt-16-dev" >&2; exit 1; }
	@cmake --preset fuzz > /dev/null
	@cmake --build --preset fuzz -j $(JOBS)
	@scripts/fuzz.sh $(SECONDS)

lint: setup      ## formatting, includes between folders, installed headers, file sizes, clang-tidy
	@scripts/format.sh --check
	@scripts/check_layers.py
	@scripts/public_headers.py
	@scripts/tidy.sh

format: setup    ## format all C++ files
	@scripts/format.sh

clean:           ## remove what was built
	@rm -rf build
