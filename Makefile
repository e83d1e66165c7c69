# Zerovisor. `make demo` shows it, `make test` checks everything, `make soak` does so for an hour, `make install PREFIX=...` puts it in place.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
BUILT := $(TARGET_DIR)/release
PROGRAMS := zerovisor zvwatch zvctl

BIN_DIR := $(DESTDIR)$(PREFIX)/bin
MAN_DIR := $(DESTDIR)$(PREFIX)/share/man/man1
BASH_DIR := $(DESTDIR)$(PREFIX)/share/bash-completion/completions
ZSH_DIR := $(DESTDIR)$(PREFIX)/share/zsh/site-functions
FISH_DIR := $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d

.PHONY: all build demo test soak tools install bench clean

all: build

build:
	$(CARGO) build --release --locked

demo: build
	scripts/demo "$(abspath $(BUILT))"

# What the checks need and is not there: says what it does before it does it.
tools:
	scripts/tools

test: tools
	scripts/test

# An hour of chance against a model; `scripts/soak SECONDS SEED` for another time, and to have one again.
soak:
	scripts/soak

install: build
	install -d "$(BIN_DIR)" "$(MAN_DIR)" "$(BASH_DIR)" "$(ZSH_DIR)" "$(FISH_DIR)"
	install -m 755 $(PROGRAMS:%="$(BUILT)/%") "$(BIN_DIR)"
	"$(BUILT)/zvctl" man "$(MAN_DIR)"
	for program in $(PROGRAMS); do \
		"$(BUILT)/zvctl" completion bash --for $$program > "$(BASH_DIR)/$$program"; \
		"$(BUILT)/zvctl" completion zsh --for $$program > "$(ZSH_DIR)/_$$program"; \
		"$(BUILT)/zvctl" completion fish --for $$program > "$(FISH_DIR)/$$program.fish"; \
	done

bench:
	scripts/tools bench
	$(CARGO) bench --workspace --locked

clean:
	$(CARGO) clean
