//go:build release && buildroot

package release

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sealpost/tests/rigs/card"
)

// byTheCompiler matches a line of the kernel's configuration that says what the compiler
// is and can, which differs between the ways.
var byTheCompiler = regexp.MustCompile(`^(# )?CONFIG_(ARM64_)?(CC|GCC|CLANG|AS|LD|LLD|RUSTC|RUSTC_LLVM|PAHOLE)_(VERSION|IS|HAS|HAVE|CAN|NO|SUPPORTS|ASM_GOTO|IMPLICIT)`)

// built is what one of the ways has made.
type built struct {
	root, config string // the initramfs and the kernel's configuration
	card         *card.Card
}

// withBuildroot builds the card of a board in the checkout BUILDROOT. A file that
// BUILDROOT_SETTINGS names is appended to the configuration: where downloads are, or a
// toolchain that is there already.
func withBuildroot(t *testing.T, board string) built {
	t.Helper()
	checkout := os.Getenv("BUILDROOT")
	if _, err := os.Stat(filepath.Join(checkout, "package/Makefile.in")); err != nil {
		t.Fatalf("BUILDROOT must be the folder of a checkout of Buildroot: %v", err)
	}
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	settings, err := os.ReadFile(filepath.Join(top, "buildroot/configs/sealpost_"+board+"_defconfig"))
	if err != nil {
		t.Fatal(err)
	}
	if name := os.Getenv("BUILDROOT_SETTINGS"); name != "" {
		more, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		settings = append(settings, more...)
	}
	defconfig := filepath.Join(t.TempDir(), "defconfig")
	if err := os.WriteFile(defconfig, settings, 0o644); err != nil {
		t.Fatal(err)
	}
	output := filepath.Join(top, "dist/buildroot-"+board)
	run(t, "make", "--no-print-directory", "-C", root, "dist/sealpost-linux-arm64")
	run(t, "make", "-C", checkout, "O="+output, "BR2_EXTERNAL="+filepath.Join(top, "buildroot"), "BR2_DEFCONFIG="+defconfig, "defconfig")
	run(t, "make", "-C", output, "sealpost-reinstall", "all")
	kernel := regexp.MustCompile(`BR2_LINUX_KERNEL_CUSTOM_VERSION_VALUE="(.*)"`).FindSubmatch(settings)
	return built{
		root:   filepath.Join(output, "images/rootfs.cpio"),
		config: filepath.Join(output, "build", "linux-"+string(kernel[1]), ".config"),
		card:   open(t, filepath.Join(output, "images/sdcard.img")),
	}
}

// withMakeCard builds the card of a board from Debian's packages.
func withMakeCard(t *testing.T, board string) built {
	t.Helper()
	run(t, "make", "--no-print-directory", "-C", root, "card", "BOARD="+board)
	images, err := filepath.Glob(filepath.Join(root, "dist", board, "sealpost-"+board+"-*.img"))
	if err != nil || len(images) != 1 {
		t.Fatalf("got images %v, %v, want one", images, err)
	}
	return built{
		root:   filepath.Join(root, "dist/card/kernel/rootfs.cpio"),
		config: filepath.Join(root, "dist/card/kernel/.config"),
		card:   open(t, images[0]),
	}
}

// files returns owner, mode and content of each file in an archive of cpio's format newc.
func files(t *testing.T, path string) map[string]string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	archive, err := readCPIO(content)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	all := map[string]string{}
	for name, file := range archive {
		all[name] = fmt.Sprintf("mode %o of %d:%d, device %d:%d, %q", file.mode, file.owner, file.group, file.major, file.minor, file.content)
	}
	return all
}

// symbols returns the lines of the kernel's configuration, with its version, without
// those of the compiler and the path of the initramfs.
func symbols(t *testing.T, path string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if !strings.Contains(line, "CONFIG_") && !strings.HasPrefix(line, "# Linux/") ||
			byTheCompiler.MatchString(line) || strings.HasPrefix(line, "CONFIG_INITRAMFS_SOURCE=") {
			continue
		}
		all[line] = ""
	}
	return all
}

// partitions returns the files of the card's partitions. Only the names of the kernel
// and of the firmware are compared: their compilers and versions differ.
func partitions(t *testing.T, c *card.Card) map[string]string {
	t.Helper()
	all := map[string]string{}
	for number := 1; number <= 3; number++ {
		names, err := c.Files(number)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			var content []byte
			if name != "Image" && !slices.Contains([]string{".elf", ".dat", ".bin"}, filepath.Ext(name)) {
				if content, err = c.Read(number, name); err != nil {
					t.Fatal(err)
				}
			}
			all[fmt.Sprintf("%s of partition %d", name, number)] = string(content)
		}
	}
	return all
}

// same compares what the two ways have made, of which there are at least some parts.
func same(t *testing.T, what string, some int, buildroot, makeCard map[string]string) {
	t.Helper()
	if len(buildroot) < some {
		t.Errorf("%s: got %d parts, want at least %d", what, len(buildroot), some)
	}
	all := maps.Clone(buildroot)
	maps.Copy(all, makeCard)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		one, inOne := buildroot[name]
		other, inOther := makeCard[name]
		switch {
		case !inOne:
			t.Errorf("%s: only make card has %s", what, name)
		case !inOther:
			t.Errorf("%s: only Buildroot has %s", what, name)
		case one != other:
			t.Errorf("%s: %s is %.300q by Buildroot and %.300q by make card", what, name, one, other)
		}
	}
	t.Logf("%s: %d parts", what, len(all))
}

// TestWays_BuildrootMakesTheCardOfMakeCard builds the card of a Pi 4 in both ways. It
// needs a checkout of Buildroot, and runs only if one is given:
//
//	make release-test BUILDROOT=../buildroot
func TestWays_BuildrootMakesTheCardOfMakeCard(t *testing.T) {
	buildroot, makeCard := withBuildroot(t, "rpi4"), withMakeCard(t, "rpi4")
	same(t, "root file system", 6, files(t, buildroot.root), files(t, makeCard.root))
	same(t, "kernel configuration", 1000, symbols(t, buildroot.config), symbols(t, makeCard.config))
	// Buildroot's own licences are those of its make legal-info.
	byMakeCard := partitions(t, makeCard.card)
	delete(byMakeCard, "LICENSES.txt of partition 1")
	same(t, "card", 13, partitions(t, buildroot.card), byMakeCard)
	if buildroot.card.Signature != makeCard.card.Signature || buildroot.card.Partitions != makeCard.card.Partitions {
		t.Errorf("the partitions differ: %+v by Buildroot, %+v by make card", buildroot.card, makeCard.card)
	}
}
