# Sealpost. The two commands to begin with: make run, make test.
# make help lists the others.

# A release, and the commit it was built from as build metadata (semver.org).
RELEASED := $(shell cat VERSION)
# Git's default length grows with the clone.
VERSION := $(RELEASED)+$(shell git describe --always --dirty --abbrev=7 2>/dev/null || echo unknown)
BUILT   := $(shell git log -1 --format=%cI 2>/dev/null || echo 2026-11-01T00:00:00Z)
LDFLAGS := -s -w -buildid= -X main.version=$(VERSION) -X main.builtAt=$(BUILT)
GOBUILD := go build -buildvcs=false -ldflags '$(LDFLAGS)'

# Packages are compiled alike in every folder, for the program and for its tests, so
# that a new clone and the next command find them in Go's cache. They lack HTTP/2,
# which no client or server of the program uses: half a megabyte.
# What no message waits for is compiled without inlining: another half a megabyte. So is
# what waits for the network or the kernel, and crypto/tls, whose time is in the ciphers.
# Of two patterns that match a package, the later one counts.
NO_INLINING := github.com/... blitiri.com.ar/... golang.org/x/net/... golang.org/x/oauth2/... vendor/golang.org/x/... software.sslmate.com/... go.bug.st/... rsc.io/... \
	net net/http net/url crypto/tls crypto/x509 crypto/rsa crypto/ecdsa crypto/ecdh crypto/ed25519 crypto/elliptic math/big \
	encoding/asn1 encoding/pem encoding/json encoding/base64 encoding/hex mime/... text/... html/... compress/... regexp/... \
	os/... flag sort log log/slog reflect fmt time golang.org/x/crypto/... golang.org/x/sys/... golang.org/x/term/... \
	sealpost/provisioning/... sealpost/cmd/... sealpost/hal/linux/... sealpost/relay/oauth sealpost/relay/report \
	sealpost/relay/server sealpost/relay/control sealpost/relay/device sealpost/relay/dkim \
	sealpost/relay/upstream/dns sealpost/relay/upstream/mtasts sealpost/relay/upstream/reach sealpost/relay/upstream/direct sealpost/relay/upstream/submission sealpost/relay/mime
INLINING := github.com/emersion/... sealpost/hal/linux/flash
# The tags of GOFLAGS, which a flag -tags replaces.
TAGS := nethttpomithttp2
export GOFLAGS := -trimpath -tags=$(TAGS) $(NO_INLINING:%=-gcflags=%=-l) $(INLINING:%=-gcflags=%=)
export CGO_ENABLED := 0

# Debian packages of the tests and tools, besides Go.
RUN_PACKAGES   := swtpm
IMAGE_PACKAGES := kmod cpio
BOOT_PACKAGES  := $(RUN_PACKAGES) $(IMAGE_PACKAGES) qemu-system-arm dosfstools mtools
TEST_PACKAGES  := $(BOOT_PACKAGES) ca-certificates iproute2 exfatprogs gcc libc6-dev git openssl gnutls-bin libnss3-tools postfix swaks msmtp libnet-ssleay-perl python3 python3-dkim python3-nacl curl gdb dnsmasq-base genimage shellcheck dovecot-core dovecot-submissiond nodejs npm unbound ldnsutils device-tree-compiler xz-utils
CARD_PACKAGES  := gcc-aarch64-linux-gnu gcc libc6-dev make flex bison bc libssl-dev libelf-dev python3 cpio rsync device-tree-compiler genimage dosfstools mtools xz-utils
PACKAGE_PACKAGES := qemu-system-x86 mmdebstrap e2fsprogs lintian qemu-user-static openssh-client
BENCH_PACKAGES := $(RUN_PACKAGES) postfix e2fsprogs mount

.PHONY: help run check test release-check release-test card-test build lint fuzz bench soak image boot parts licenses clean

help:
	@echo 'make run                 relay a message on this machine; CONFIG=my.toml: relay to your tenant'
	@echo 'make check               the tests to run after each change: no root, no network, no packages'
	@echo 'make test                all tests; installs the packages that they need'
	@echo 'make parts               only installs the packages of make test'
	@echo 'make release-check       before a release, besides make test: checks that the build is reproducible'
	@echo 'make release KEY=FILE    the programs, Debian packages and cards with checksums, signed, in dist/release'
	@echo 'make release-test        before a release: makes one twice, and installs the package on a Debian in QEMU'
	@echo 'make lint                gofmt, vet, staticcheck, govulncheck'
	@echo 'make build               build the program for each target into dist/'
	@echo 'make card BOARD=rpi4     build the image of a card for a Raspberry Pi: rpi4, cm4 or rpi3'
	@echo 'make card-test BOARD=...  also start it in an emulated Raspberry Pi, and relay a message'
	@echo 'make image, make boot    build the appliance for QEMU; start it with its console in this terminal'
	@echo 'make fuzz FUZZTIME=60s   run every fuzzer'
	@echo 'make bench               compare Sealpost with Postfix under the same load'
	@echo 'make soak CUTS=100       cut the power of a box many times, and send it noise and odd messages'
	@echo 'make licenses            update cmd/sealpost/internal/licenses/licenses.gz after a change of go.mod'
	@echo 'make clean               remove all build results'


# Relays a message on this machine; with CONFIG=my.toml, relays to your tenant.
run: dist/sealpost
ifdef CONFIG
	dist/sealpost relay --config '$(CONFIG)'
else
	@tests/tools/install $(RUN_PACKAGES)
	@go build -o dist/demo ./tests/tools/demo
	@dist/demo -program dist/sealpost -dir .run
endif

.PHONY: dist/sealpost
dist/sealpost:
	@$(GOBUILD) -o $@ ./cmd/sealpost

# The fast tests. Tests that need a software TPM or root have the build constraint
# !quick; tests that need servers are in tests/suites.
check: format
	go vet ./...
	go tool staticcheck ./...
	go test -tags $(TAGS),quick ./cmd/... ./hal/... ./provisioning/... ./relay/... ./tests/suites/architecture ./tests/suites/docs ./tests/rigs/nbd ./tests/tools/structure

# The Debian packages that the tests use.
parts:
	@tests/tools/install $(TEST_PACKAGES)

# Runs lint and the code tests, which use the processor, in parallel with the suites,
# which wait for servers and boxes. The suites have priority, because they measure
# times.
test: parts
	@$(MAKE) --no-print-directory -j2 test-suites test-code

# Suites run without the race detector, because they run the program as a separate
# process. vet is off, because lint runs it.
CODE   := $$(go list ./... | grep -v -e /tests/suites/ -e /relay/header$$)
SUITES := ./tests/suites/technician ./tests/suites/endtoend ./tests/suites/appliance ./tests/suites/storage ./tests/suites/...
.PHONY: test-code test-suites
test-code:
	@nice -n 10 $(MAKE) --no-print-directory lint
	CGO_ENABLED=1 nice -n 10 go test -race -vet=off -count=1 -timeout 30m $(CODE)
	@# With the race detector, which makes them ten times slower, these packages have time
	@# for fewer crash states, random faults, noise and key derivations; relay/header has
	@# no goroutines.
	nice -n 10 go test -vet=off -count=1 -timeout 15m ./relay/spool ./relay/dispatch ./relay/header ./provisioning/certificate ./provisioning/console
	@$(MAKE) --no-print-directory build

test-suites:
	go test -vet=off -count=1 -timeout 30m $(SUITES)

# For a release, besides make test: builds the program in two folders without a cache,
# which takes long.
release-check:
	go test -tags $(TAGS),release -count=1 -timeout 15m -v ./tests/suites/build

# Builds the program for each target and prints its size.
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

# A release: the programs and their Debian packages, the images of the cards, bills of
# materials, licences and checksums. KEY=FILE signs the checksums by an SSH key; CARDS=
# leaves the cards out. Everything follows from the commit: two builds of it are
# bit-identical, except for a signature by ECDSA or by a security token.
CARDS   := rpi4 cm4 rpi3
LINUX    = $$(awk '$$3 == "linux" { print $$2 }' $(CARD_CACHE)/debian/packages)
RELEASE := $(DIST)/release
PAGES   := $(DIST)/pages
comma   := ,
EPOCH   := $(shell git log -1 --format=%ct 2>/dev/null || echo 1793491200)
# Debian sorts 0.5.0+git1793491200 after every earlier commit, and before 0.5.1.
DEB_VERSION := $(RELEASED)+git$(EPOCH)
# Who answers for the packages: MAINTAINER='Name <address>'.
MAINTAINER := Sealpost <root@localhost>
DEBS := $(RELEASE)/sealpost_$(DEB_VERSION)_amd64.deb $(RELEASE)/sealpost_$(DEB_VERSION)_arm64.deb $(RELEASE)/sealpost_$(DEB_VERSION)_armhf.deb
.PHONY: release release-key debs pages
release: release-key $(TARGETS:%=$(DIST)/sealpost-%) $(DIST)/sbom
	@git rev-parse --quiet --verify HEAD >/dev/null || { echo 'Git does not tell the commit of the release: run make in a clone, as its owner.' >&2; exit 1; }
	@rm -rf $(RELEASE)
	@mkdir -p $(RELEASE)
	@$(MAKE) --no-print-directory debs
	@for target in $(TARGETS); do \
		cp $(DIST)/sealpost-$$target $(RELEASE)/ && \
		$(SBOM) -program $(DIST)/sealpost-$$target >$(RELEASE)/sealpost-$$target.cdx.json || exit 1; \
	done
	@for board in $(CARDS); do \
		$(MAKE) --no-print-directory card BOARD=$$board && \
		cp $(DIST)/$$board/sealpost-$$board-$(RELEASED).img.xz $(DIST)/$$board/sealpost-$$board-$(RELEASED).cdx.json $(RELEASE)/ || exit 1; \
	done
ifneq ($(strip $(CARDS)),)
	@# The licences and the source of Linux are the same for all cards.
	@cp $(DIST)/$(firstword $(CARDS))/images/LICENSES.txt $(RELEASE)/LICENSES-cards.txt
	@cp $(DIST)/$(firstword $(CARDS))/images/SOURCE-OFFER.txt $(RELEASE)/
	@cp $(CARD_CACHE)/debian/usr/src/linux-source-*.tar.xz "$(RELEASE)/linux-source-$(LINUX).tar.xz"
	@git ls-files -z board buildroot | tar --create --null --files-from=- --sort=name --owner=0 --group=0 --numeric-owner \
		--mode=u=rwX,go=rX --mtime=@$(EPOCH) --use-compress-program='xz --threads=1' --file="$(RELEASE)/linux-build-$(LINUX).tar.xz"
endif
	@cp $(PAGES)/licenses $(RELEASE)/LICENSES.txt
	@cp VERSION $(RELEASE)/VERSION
	@cd $(RELEASE) && sha256sum -- * >../SHA256SUMS && mv ../SHA256SUMS .
ifdef KEY
	@ssh-keygen -q -Y sign -n sealpost-release -f '$(KEY)' $(RELEASE)/SHA256SUMS
else
	@echo 'This release is unsigned: make release KEY=FILE signs it by an SSH key (docs/release.md).'
endif
	@case '$(VERSION)' in *-dirty) echo 'This release has changes that are in no commit.' ;; esac
	@cd $(RELEASE) && stat -c '%n  %s bytes' -- *

# A wrong file is reported before the half hour of work that ends with the signature, and
# before the previous release is removed.
release-key:
ifdef KEY
	@tests/tools/install openssh-client
	@[ -r '$(KEY)' ] || { echo 'There is no file $(KEY) to sign the release by: KEY=FILE is a private key of ssh-keygen (docs/release.md).' >&2; exit 1; }
endif

# The manual pages, the completion and the licences, as the program of this machine
# prints them, and Debian's changelog.
pages:
	@rm -rf $(PAGES)
	@mkdir -p $(PAGES)/man
	@$(GOBUILD) -o $(PAGES)/program ./cmd/sealpost
	@go run ./tests/tools/manual -program $(PAGES)/program -dir $(PAGES)/man -date '$(firstword $(subst T, ,$(BUILT)))'
	@$(PAGES)/program completion bash >$(PAGES)/completion.bash
	@$(PAGES)/program licenses >$(PAGES)/licenses
	@cat board/debian/copyright $(PAGES)/licenses >$(PAGES)/copyright
	@printf 'sealpost (%s) unstable; urgency=medium\n\n  * CHANGELOG.md has the changes.\n\n -- %s  %s\n' '$(DEB_VERSION)' '$(MAINTAINER)' \
		"$$(LC_ALL=C date --utc --rfc-email --date=@$(EPOCH))" | gzip -9n >$(PAGES)/changelog.gz

debs: $(DEBS)

$(RELEASE)/sealpost_$(DEB_VERSION)_amd64.deb: $(DIST)/sealpost-linux-amd64
$(RELEASE)/sealpost_$(DEB_VERSION)_arm64.deb: $(DIST)/sealpost-linux-arm64
$(RELEASE)/sealpost_$(DEB_VERSION)_armhf.deb: $(DIST)/sealpost-linux-armv7
.PHONY: $(DEBS)
$(DEBS): pages $(DIST)/package
	@mkdir -p $(RELEASE)
	@SOURCE_DATE_EPOCH=$(EPOCH) MAINTAINER='$(MAINTAINER)' DEB_VERSION='$(DEB_VERSION)' DEB_ARCH=$(patsubst %.deb,%,$(lastword $(subst _, ,$@))) \
		PROGRAM=$(filter $(DIST)/sealpost-%,$^) PAGES=$(PAGES) $(DIST)/package -config board/debian/nfpm.yaml -target $(RELEASE)

# Modules of their own, without the flags that matter to the program.
.PHONY: $(DIST)/package $(DIST)/sbom
$(DIST)/package $(DIST)/sbom:
	@cd tests/tools/$(notdir $@) && GOFLAGS=-trimpath go build -o '$(abspath $@)' .

# Prints a bill of materials.
SBOM = $(DIST)/sbom -version '$(VERSION)' -date '$(BUILT)' -licences cmd/sealpost/internal/licenses/licenses.gz

# Before a release: makes one twice, compares the cards with their bills of materials,
# and installs the package on a fresh Debian with systemd in QEMU, relays, upgrades,
# removes and purges. It starts each card in an emulated Raspberry Pi. BUILDROOT=FOLDER, a
# checkout of Buildroot, also compares its card with that of make card.
release-test:
	@tests/tools/install $(TEST_PACKAGES) $(CARD_PACKAGES) $(PACKAGE_PACKAGES)
	cd tests/tools/sbom && GOFLAGS= go vet ./... && GOFLAGS= go test -count=1 ./...
	for board in $(CARDS); do $(MAKE) --no-print-directory card-test BOARD=$$board || exit 1; done
	BUILDROOT='$(abspath $(BUILDROOT))' go test -tags $(TAGS),release$(if $(BUILDROOT),$(comma)buildroot) -count=1 -timeout $(if $(BUILDROOT),5h,3h) -v ./tests/suites/release

.PHONY: format
format:
	@unformatted=$$(gofmt -l board cmd hal relay provisioning tests); \
	if [ -n "$$unformatted" ]; then echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; fi

lint: format
	go vet ./...
	go vet -tags $(TAGS),release,buildroot ./tests/suites/...
	go tool staticcheck ./...
	@tests/tools/install shellcheck
	shellcheck tests/tools/install tests/tools/qemu tests/tools/vulncheck tests/tools/fuzz .ci/run board/qemu/image board/card board/download board/mirror board/licenses \
		board/debian/configured board/debian/postinst board/debian/prerm board/debian/postrm tests/suites/release/testdata/*.sh
	@tests/tools/vulncheck

# Runs every fuzzer for FUZZTIME. Failing inputs are stored in testdata.
FUZZTIME := 60s
fuzz:
	@tests/tools/fuzz $(FUZZTIME)

# Compares Sealpost with Postfix on one disk, such as make bench BENCH='-only down', and
# with another build of it: BENCH='-earlier FILE'.
bench: dist/sealpost
	@tests/tools/install $(BENCH_PACKAGES)
	@go build -o dist/bench ./tests/tools/bench
	@dist/bench -program dist/sealpost $(BENCH)

# Cuts the power of a box many times, such as make soak CUTS=300, sends a megabyte of
# noise to its serial line, sends many messages of random content, makes everything around
# a relay with all delivery methods fail for LOSSLESS, and kills a relay with two routes.
CUTS  := 100
NOISE := 1048576
MESSAGES := 20004
ROUTE_KILLS := 100
LOSSLESS := 30m
soak:
	@tests/tools/install $(TEST_PACKAGES)
	CUTS=$(CUTS) go test -count=1 -timeout 4h -v -run TestPowerCut_LosesNothingAnswered250 ./tests/suites/storage
	MESSAGES=$(MESSAGES) go test -count=1 -timeout 1h -v -run TestRandomContent ./tests/suites/endtoend
	LOSSLESS=$(LOSSLESS) go test -count=1 -timeout 2h -v -run TestLossless ./tests/suites/endtoend
	ROUTE_KILLS=$(ROUTE_KILLS) go test -count=1 -timeout 1h -v -run TestRoutesKill ./tests/suites/endtoend
	NOISE=$(NOISE) go test -count=1 -timeout 1h -v -run 'TestConfiguredBox_HandlesConsoleSticksLampAndButton/noise' ./tests/suites/technician

# Builds the appliance for QEMU: a kernel, and an initramfs with the program.
image: $(DIST)/sealpost-linux-arm64
	@tests/tools/install $(IMAGE_PACKAGES)
	@board/qemu/image $< $(DIST)/qemu

# Builds the image of a card into dist/BOARD, from Debian's packages only: the kernel,
# with the program in it, the firmware, and room for the state. Its bill of materials is
# beside it. CARD_CACHE has the packages and the kernel.
BOARD      := rpi4
CARD_CACHE := $(DIST)/card
CARD        = $(DIST)/$(BOARD)/sealpost-$(BOARD)-$(RELEASED)
.PHONY: card
card: $(DIST)/sealpost-linux-arm64 $(DIST)/sbom
	@tests/tools/install $(CARD_PACKAGES)
	@SOURCE_DATE_EPOCH=$(EPOCH) board/card $(BOARD) $< $(CARD_CACHE) $(DIST)/$(BOARD) $(notdir $(CARD))
	@$(SBOM) -program $< -board $(BOARD) -image $(CARD).img.xz -debian $(CARD_CACHE)/debian -root $(DIST)/$(BOARD)/root \
		-partitions $(DIST)/$(BOARD)/images/card -overlays $(DIST)/$(BOARD)/images/overlays >$(CARD).cdx.json

# Starts the card of BOARD in QEMU's emulated Raspberry Pi: its first start, a message, a
# power cut, and its other slot.
card-test: card
	@tests/tools/install $(RUN_PACKAGES) mtools device-tree-compiler
	go test -vet=off -tags $(TAGS),release -count=1 -timeout 20m -v -run '/$(BOARD)$$' ./tests/suites/card

# Starts the appliance with its serial console in this terminal.
boot:
	@tests/tools/install $(BOOT_PACKAGES)
	@go build -o $(DIST)/boot ./tests/tools/boot
	@$(DIST)/boot -check
	@$(MAKE) --no-print-directory image
	@$(DIST)/boot -image $(DIST)/qemu

# The licences of everything that is linked, as sealpost licenses prints them.
licenses:
	@go run ./tests/tools/licenses > licenses.new
	@mv licenses.new cmd/sealpost/internal/licenses/licenses.gz

clean:
	rm -rf dist .run
