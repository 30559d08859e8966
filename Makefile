# A thin face over meson and ninja; see README.md.

BUILD  ?= build
PREFIX ?= /usr/local

.PHONY: all deps run test test-long fuzz bench install clean

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD) --quiet programs

$(BUILD)/build.ninja:
	@meson setup $(BUILD) --prefix=$(PREFIX) >/dev/null

deps:
	@tools/deps.sh all

run:
	@tools/deps.sh build
	@tools/deps.sh run
	@$(MAKE) --no-print-directory all
	@tools/run-demo.sh

test:
	@tools/deps.sh all
	@$(MAKE) --no-print-directory all
	@tools/test.sh

# Thousands of kills; see docs/hacking.md.
test-long:
	@tools/deps.sh all
	@$(MAKE) --no-print-directory all
	@tools/test-long.sh

# Each fuzz target for a minute, or as long as is said: make fuzz [SECONDS=60]; see docs/hacking.md.
fuzz:
	@tools/fuzz.sh $(SECONDS)

# Side by side with the peers that are installed: make bench [QUICK=1] [ONLY=requests] [PEERS=haproxy] [ROUNDS=3]; see
# docs/performance.md.
bench: all
	@ninja -C $(BUILD) --quiet bench/load
	@TCPPROXY=$(BUILD)/tcpproxy ONLY='$(ONLY)' PEERS='$(PEERS)' ROUNDS='$(ROUNDS)' SECONDS='$(SECONDS)' QUICK='$(QUICK)' \
		BASELINE='$(BASELINE)' OUT='$(OUT)' bench/bench.py

install: all
	@meson configure $(BUILD) --prefix=$(PREFIX)
	@ninja -C $(BUILD) --quiet
	@DESTDIR=$(DESTDIR) meson install -C $(BUILD) --no-rebuild --quiet

clean:
	@rm -rf $(BUILD)
