# `make` alone lists what there is. Every target may be run on a fresh Debian or Ubuntu machine with Rust;
# SETUP=skip leaves the machine's packages alone.

.DEFAULT_GOAL := help
.PHONY: help demo test setup ci-bench

help: ## list these targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 20

demo: setup ## compare every contender on the life of virtual machines, and write the report
	cargo run --release -- run vm-lifecycle

test: setup ## format, lints, documentation and tests: what CI runs
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo check -p lock-backends -p queue-lockfree --no-default-features
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
	cargo test --workspace

setup: ## install the servers and what the build needs, where missing
	@scripts/setup.sh

# 4 and 5 say that so short a run on a shared machine proves too little; anything else but 0 is a failure.
ci-bench: setup ## one short block of the demo, for a summary on every change
	cargo run --release -- run vm-lifecycle --blocks 1 || \
		{ status=$$?; case $$status in 4|5) echo "exit $$status: proves nothing, see the summary" ;; *) exit $$status ;; esac; }
