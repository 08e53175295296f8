# Sealpost. The two commands to begin with: make run, make test.
# make help lists the others.

# A release, and the commit it was built from as build metadata (semver.org).
VERSION := $(shell cat VERSION)+$(shell git describe --always --dirty 2>/dev/null || echo unknown)
BUILT   := $(shell git log -1 --format=%cI 2>/dev/null || echo 2026-11-01T00:00:00Z)
LDFLAGS := -s -w -buildid= -X main.version=$(VERSION) -X main.builtAt=$(BUILT)
GOBUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'

# What the tests and the demonstration need beside Go.
RUN_PARTS  := swtpm
IMAGE_PARTS := kmod cpio
BOOT_PARTS := $(RUN_PARTS) $(IMAGE_PARTS) qemu-system-arm dosfstools mtools
TEST_PARTS := $(BOOT_PARTS) ca-certificates iproute2 exfatprogs gcc libc6-dev git openssl postfix swaks libnet-ssleay-perl python3 curl gdb dnsmasq-base genimage shellcheck dovecot-core dovecot-submissiond nodejs npm
BENCH_PARTS := $(RUN_PARTS) postfix e2fsprogs mount

.PHONY: help run check test release-check build lint fuzz bench soak image boot parts licenses clean

help:
	@echo 'make run                 relay a message here and now; CONFIG=my.toml: relay to your tenant'
	@echo 'make check               what to run after each change: no root, no network, nothing to install'
	@echo 'make test                every test; installs what it needs'
	@echo 'make parts               installs what make test needs, and no more'
	@echo 'make release-check       what a release needs beside make test: the same program from two places'
	@echo 'make lint                gofmt, vet, staticcheck, govulncheck'
	@echo 'make build               the program for each target, into dist/'
	@echo 'make image, make boot    the appliance for QEMU, and its start with a console here'
	@echo 'make fuzz FUZZTIME=60s   every fuzzer'
	@echo 'make bench               Sealpost beside Postfix under the same load'
	@echo 'make soak CUTS=100       cuts the power of a whole box again and again, and makes noise on its line'
	@echo 'make licenses            cmd/sealpost/licenses.txt, after a change of go.mod'
	@echo 'make clean               removes what the others made'


# Relays a message here and now; with CONFIG=my.toml, relays to your tenant.
run: dist/sealpost
ifdef CONFIG
	dist/sealpost relay --config '$(CONFIG)'
else
	@tests/tools/install $(RUN_PARTS)
	@go build -o dist/demo ./tests/tools/demo
	@dist/demo -program dist/sealpost -dir .run
endif

.PHONY: dist/sealpost
dist/sealpost:
	@$(GOBUILD) -o $@ ./cmd/sealpost

# The tests of the code itself. Those that need a software TPM or root carry the
# build constraint !quick; those that need servers lie in the other folders.
check: format
	go vet ./...
	go tool staticcheck ./...
	go test -tags quick ./cmd/... ./hal/... ./provisioning/... ./relay/... ./tests/suites/architecture ./tests/suites/docs ./tests/rigs/nbd ./tests/tools/structure

# The Debian packages that the tests use.
parts:
	@tests/tools/install $(TEST_PARTS)

# What computes and what waits for whole boxes run side by side: lint and then the
# code, and beside both the suites that start real servers and boxes. The suites
# have priority, because a box keeps time.
test: parts
	@$(MAKE) --no-print-directory -j2 test-suites test-code

# The race detector sees only the code that it is compiled into, and a suite runs
# the program as a process of its own, so suites do without. Lint has run vet.
CODE   := $$(go list ./... | grep -v /tests/suites/)
SUITES := ./tests/suites/technician ./tests/suites/appliance ./tests/suites/endtoend ./tests/suites/...
.PHONY: test-code test-suites
test-code:
	@nice -n 10 $(MAKE) --no-print-directory lint
	nice -n 10 go test -race -vet=off -count=1 -timeout 15m $(CODE)
	@# The race detector leaves time for a part of the spool's crash states only.
	nice -n 10 go test -vet=off -count=1 -timeout 5m ./relay/spool
	@$(MAKE) --no-print-directory build

test-suites:
	go test -vet=off -count=1 -timeout 15m $(SUITES)

# What a release needs beside make test, and takes long: the program is built in
# two places from the beginning.
release-check:
	go test -tags release -count=1 -timeout 15m -v ./tests/suites/build

# The box's program for each target, with its size.
DIST    := dist
TARGETS := linux-arm64 linux-armv7 linux-amd64
build: $(TARGETS:%=$(DIST)/sealpost-%)
	@stat -c '%n  %s bytes' $^

$(DIST)/sealpost-linux-arm64: export GOARCH = arm64
$(DIST)/sealpost-linux-armv7: export GOARCH = arm
$(DIST)/sealpost-linux-armv7: export GOARM = 7
$(DIST)/sealpost-linux-amd64: export GOARCH = amd64
.PHONY: $(TARGETS:%=$(DIST)/sealpost-%)
$(TARGETS:%=$(DIST)/sealpost-%):
	@GOOS=linux $(GOBUILD) -o $@ ./cmd/sealpost

.PHONY: format
format:
	@unformatted=$$(gofmt -l board cmd hal relay provisioning tests); \
	if [ -n "$$unformatted" ]; then echo "gofmt is wanted for:"; echo "$$unformatted"; exit 1; fi

lint: format
	go vet ./...
	go tool staticcheck ./...
	@tests/tools/install shellcheck
	shellcheck tests/tools/install tests/tools/vulncheck tests/tools/fuzz .ci/run board/qemu/image
	@tests/tools/vulncheck

# Every fuzzer for FUZZTIME; what they find is kept under testdata.
FUZZTIME := 60s
fuzz:
	@tests/tools/fuzz $(FUZZTIME)

# Sealpost against Postfix on one disk, such as make bench BENCH='-only down'.
bench: dist/sealpost
	@tests/tools/install $(BENCH_PARTS)
	@go build -o dist/bench ./tests/tools/bench
	@dist/bench -program dist/sealpost $(BENCH)

# Cuts the power of the whole box again and again, such as make soak CUTS=300, and
# puts a megabyte of noise on its serial line.
CUTS  := 100
NOISE := 1048576
soak:
	@tests/tools/install $(TEST_PARTS)
	CUTS=$(CUTS) go test -count=1 -timeout 4h -v -run TestPowerCut_LosesNothingAnswered250 ./tests/suites/appliance
	NOISE=$(NOISE) go test -count=1 -timeout 1h -v -run 'TestConfiguredBox_HandlesConsoleSticksLampAndButton/noise' ./tests/suites/technician

# The appliance for QEMU: a kernel, and an initramfs that holds the program.
image: $(DIST)/sealpost-linux-arm64
	@tests/tools/install $(IMAGE_PARTS)
	@board/qemu/image $< $(DIST)/qemu

# Starts it, with its serial console in this terminal.
boot: image
	@tests/tools/install $(BOOT_PARTS)
	@go build -o $(DIST)/boot ./tests/tools/boot
	@$(DIST)/boot -image $(DIST)/qemu

# The licenses of everything that is linked, which sealpost licenses prints.
licenses:
	@go run ./tests/tools/licenses > licenses.new
	@mv licenses.new cmd/sealpost/licenses.txt

clean:
	rm -rf dist .run
