# `make` alone lists what there is. Every target may be run on a fresh Debian or Ubuntu machine with Rust;
# SETUP=skip leaves the machine's packages alone.

.DEFAULT_GOAL := help

help: ## list these targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 20

demo: setup ## how much does each contender carry of a cloud's daily tasks? writes the report
	cargo run --release -- capacity capacity-spread --duration 1.5 --budget 450s

# A program that runs on whatever Linux of this kind of processor: for `lockbench hosts run --program`.
static: ## build target/static/lockbench, which needs no libraries
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --target $$(rustc -vV | sed -n 's/^host: //p') --target-dir target/static
	cp target/static/$$(rustc -vV | sed -n 's/^host: //p')/release/lockbench target/static/lockbench

# --- Proofs -------------------------------------------------------------------------------------------------------
#
# `make test` is what CI runs on every change: every proof, each as long as it needs to be believed, within 20 minutes.
# `make test-long` is for the night: the same proofs with hundreds of times the seeds, and all scenarios in full length,
# within 90 minutes. A test that is longer there says so where it stands, with the variable that sets it.

# What would make a second build fast makes the first slower, and in CI there is no second.
ifdef CI
export CARGO_INCREMENTAL := 0
endif

# Every file of tests, by its name: `faults` of scenarios/tests/faults.rs, `jobs` of queue-lockfree/tests/jobs/main.rs.
files := $(sort $(basename $(notdir $(wildcard */tests/*.rs) $(patsubst %/main.rs,%.rs,$(wildcard */tests/*/main.rs)))))

# Most wait (for leases to end, for faults that last their time) rather than compute, so that so many go side by side on two
# cores: each takes half a core to three quarters.
LANES ?= 3

# Three members each, twice: they elect their leaders by the clock, and six servers in Java fill two cores. And a lease that
# silences of the link nearly outlast, so that a machine with more to do loses it.
alone := replicated etcd_queue

# Those of a minute or more begin first, so that none is left over at the end. What is not named here runs all the same.
long := conformance matrix faults command virtual_router remote ring_changes leader agent_link jobs processes ends port port_skeletons
in_lanes := $(filter $(files),$(long)) $(filter-out $(long) $(alone),$(files))

# All is fetched first, also what only other systems need: a test reads the licences of every dependency, without a network.
test: setup ## format, lints, documentation and tests: what CI runs (20 minutes)
	cargo fetch --locked
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy -p lock-backends -p queue-lockfree --no-default-features --features queue-lockfree/hot-paths -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
	cargo test --workspace --no-run
	cargo test --workspace --lib --bins
	cargo test --workspace --doc
	$(lanes) --jobs=$(LANES) $(in_lanes:%=test/%)
	$(lanes) --jobs=1 $(alone:%=test/%)
	$(MAKE) --no-print-directory hot-paths

lanes = $(MAKE) --no-print-directory --keep-going --output-sync

# One file: `make test/faults`.
$(files:%=test/%): test/%:
	cargo test --workspace --test $*

# Built as it is used, and without what tests need.
hot_paths := cargo run --release -p queue-lockfree --no-default-features --features hot-paths --bin hot_paths

hot-paths: setup ## instructions of the queue's, ring's and router's hot paths: none takes over 5 % more than it did
	$(call or_proves_nothing,$(hot_paths))

# How much more the night does: seeds of kills of job nodes and their database, starts and stops of lockbench, runs that are
# told to end or killed at any moment, schedules of each story of the queues' threads, seeds on which no honest simulation may be caught, cases of each property, damaged inputs
# of each reader of foreign bytes (others every night; the seed of one that fails is printed), clients of each lock that are lied to.
# Each can be set by itself for one file too: `LOCKBENCH_STARTS=100 make test/processes`.
night := LOCKBENCH_JOBS_SEEDS=200 LOCKBENCH_STARTS=300 LOCKBENCH_ENDS=200 LOCKBENCH_SCHEDULES=100000 LOCKBENCH_HONEST_SEEDS=5000 \
	PROPTEST_CASES=2000 LOCKBENCH_DAMAGED=1000000 LOCKBENCH_DAMAGE_SEED=$(shell date +%Y%m%d)0000000 LOCKBENCH_LIED_TO=400 LOCKBENCH_SERVED=500000 LOCKBENCH_SEARCHES=100

test-long: setup ## for the night: many more seeds, kills and schedules, and the whole catalogue (90 minutes)
	cargo test --workspace --no-run
	cargo package --locked --allow-dirty -p lock-backends -p queue-lockfree
	$(night) $(lanes) --jobs=$(LANES) lib/hostile lib/others $(addprefix test/,jobs processes ends capacity interleavings cheats takeover spawned strangers queue inputs hostile_answers) catalogue
	scripts/kubernetes-lab.sh

# The damaged records that reports are fed take one processor a quarter of an hour, so that the rest goes beside them.
lib/hostile:
	cargo test --workspace --lib hostile

lib/others:
	cargo test --workspace --lib -- --skip hostile

# Every scenario as its file says, in one block, several at a time: it is about verdicts, and most of them wait for their faults.
scenarios := $(basename $(notdir $(wildcard scenarios/catalog/*.toml)))

catalogue: $(addprefix catalogue/,$(scenarios)) ## run every scenario once

$(addprefix catalogue/,$(scenarios)): catalogue/%:
	$(call or_proves_nothing,cargo run --release -- run $* --blocks 1)

matrix: setup ## every known failure: what was foretold beside what was done
	$(call or_proves_nothing,cargo run --release -- matrix)

# 4 and 5 say that so short a run on a shared machine proves too little; anything else but 0 is a failure.
or_proves_nothing = $(1) || { status=$$?; case $$status in 4|5) echo "exit $$status: proves nothing, see the summary" ;; *) exit $$status ;; esac; }

# --- The rest -----------------------------------------------------------------------------------------------------

setup: ## install the servers and what the build needs, where missing
	@scripts/setup.sh

# Hours, so a part at a time: `make mutants MUTANTS=harness/src/judge/checks/order.rs`. What nobody could notice is in
# .cargo/mutants.toml; `cargo install cargo-mutants --locked` installs it.
MUTANTS ?= harness/src/judge/**/*.rs harness/src/record/conclusion.rs harness/src/record/standing.rs

mutants: ## which changes to checks, figures and verdicts no test notices (hours)
	cargo mutants --package harness --test-package harness,reports $(MUTANTS:%=--file '%') -- --lib --test cheats

ci-bench: setup ## one short block of the demo, for a summary on every change
	@scripts/ci-bench.sh

ci-perf: setup ## base and head in turns on this machine, and a gate over the difference (BASE=commit)
	@scripts/ci-perf.sh

ci-history: setup ## figures of this commit, added to the branch `history` (PUSH=yes pushes it)
	@scripts/ci-history.sh

.PHONY: help demo test hot-paths test-long lib/hostile lib/others catalogue matrix setup mutants ci-bench ci-perf ci-history $(files:%=test/%) $(addprefix catalogue/,$(scenarios))
