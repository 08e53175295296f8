//go:build release

package release

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sealpost/tests/rigs/card"
)

func open(t *testing.T, path string) *card.Card {
	t.Helper()
	c, err := card.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// boards are those of the Makefile's CARDS.
var boards = []string{"rpi4", "cm4", "rpi3"}

// usbModes are the modes that the kernel's device trees give the USB port of the cable;
// the suite buildroot has stand-ins for these trees.
var usbModes = map[string]string{
	"bcm2711-rpi-4-b": "peripheral", "bcm2711-rpi-cm4-io": "host", "bcm2837-rpi-3-b": "host", "bcm2837-rpi-3-b-plus": "host",
}

// component is the part of a component of CycloneDX that is compared.
type component struct {
	Type, Name, Version, PURL string
	Hashes                    []struct{ Alg, Content string }
	Licenses                  []struct {
		License    struct{ ID, Name string }
		Expression string
	}
	Evidence struct{ Occurrences []struct{ Location string } }
}

func (c component) licence() string {
	if len(c.Licenses) != 1 {
		return ""
	}
	return c.Licenses[0].License.ID + c.Licenses[0].License.Name + c.Licenses[0].Expression
}

// components reads a bill of materials.
func components(t *testing.T, file string) []component {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var bom struct {
		BOMFormat  string
		Components []component
	}
	if err := json.Unmarshal(content, &bom); err != nil || bom.BOMFormat != "CycloneDX" {
		t.Fatalf("%s is not a CycloneDX file: %v", file, err)
	}
	return bom.Components
}

// checkCard compares the bill of materials of a card with the files in its image.
func checkCard(t *testing.T, dir, board string) {
	t.Helper()
	version, err := os.ReadFile(filepath.Join(root, "VERSION"))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, fmt.Sprintf("sealpost-%s-%s", board, strings.TrimSpace(string(version))))
	on := unpackCard(t, name+".img.xz")
	parts := components(t, name+".cdx.json")
	listed := map[string]string{}
	for _, c := range parts {
		for _, at := range c.Evidence.Occurrences {
			listed[at.Location] = c.Hashes[0].Content
		}
	}
	for file, sum := range on {
		if listed[file] != sum {
			t.Errorf("%s: the card has %s with SHA-256 %s, the bill of materials says %q", board, file, sum, listed[file])
		}
	}
	for file := range listed {
		if on[file] == "" {
			t.Errorf("%s: the bill of materials has %s, which is not on the card", board, file)
		}
	}
	if len(on) < 15 {
		t.Errorf("%s: the card has %d files only", board, len(on))
	}
	text, err := os.ReadFile(filepath.Join(dir, "LICENSES-cards.txt"))
	if err != nil {
		t.Fatal(err)
	}
	checkLicences(t, parts, string(text))
	if sum := fmt.Sprintf("%x", sha256.Sum256(text)); on["partition1/LICENSES.txt"] != sum {
		t.Errorf("%s: the licences on the card are not those of the release", board)
	}
}

// checkLicences checks that each component has a licence whose text is there. A file has
// that of what it was made from.
func checkLicences(t *testing.T, parts []component, text string) {
	t.Helper()
	offered := []string{"Sealpost has no licence yet"}
	for _, c := range parts {
		heading := c.Name + " " + c.Version
		switch {
		case c.Type == "file" || c.Name == "sealpost":
			continue
		case c.Name == "std":
			heading = "Go's standard library"
		}
		if !strings.Contains(text, "\n== "+heading+": ") {
			t.Errorf("LICENSES-cards.txt has no licence of %s", heading)
		}
		offered = append(offered, c.licence())
	}
	for _, c := range parts {
		if c.licence() == "" || !slices.Contains(offered, c.licence()) {
			t.Errorf("the licence of %s is %q, whose text is missing", c.Name, c.licence())
		}
	}
	for _, want := range []string{offered[0], "GNU GENERAL PUBLIC LICENSE", "This copyright does *not* cover user programs",
		"developing for, \n   running or using a Raspberry Pi device", "THE SOURCE OF LINUX"} {
		if !strings.Contains(text, want) {
			t.Errorf("LICENSES-cards.txt lacks the text %q", want)
		}
	}
}

// checkUSBModes checks what the suite buildroot assumes of the kernel's device trees.
func checkUSBModes(t *testing.T, cache string) {
	t.Helper()
	for tree, want := range usbModes {
		path := filepath.Join(cache, "kernel/arch/arm64/boot/dts/broadcom", tree+".dtb")
		if mode := strings.TrimSpace(run(t, "fdtget", path, "/soc/usb@7e980000", "dr_mode")); mode != want {
			t.Errorf("%s: got USB mode %s, want %s", tree, mode, want)
		}
	}
}

// checkSourceOfLinux checks that both archives of the source of Linux are there, by the
// names in the offer, with what the kernel and its device trees are made from.
func checkSourceOfLinux(t *testing.T, dir string) {
	t.Helper()
	offer, err := os.ReadFile(filepath.Join(dir, "SOURCE-OFFER.txt"))
	if err != nil {
		t.Fatal(err)
	}
	archives := regexp.MustCompile(`linux-(source|build)-\S+\.tar\.xz`).FindAllString(string(offer), -1)
	if len(archives) != 2 {
		t.Fatalf("the offer names the archives %q, want two", archives)
	}
	if _, err := os.Stat(filepath.Join(dir, archives[0])); err != nil {
		t.Error(err)
	}
	content := strings.Split(run(t, "tar", "-tf", filepath.Join(dir, archives[1])), "\n")
	for _, file := range []string{"board/card", "board/overlays/sealpost.dtso", "board/overlays/otg.dtso", "buildroot/configs/sealpost_rpi4_defconfig",
		"buildroot/fragments/soc.config", "buildroot/check-fragments", "buildroot/post-image.sh"} {
		if !slices.Contains(content, file) {
			t.Errorf("%s lacks %s", archives[1], file)
		}
	}
}

// unpackCard returns the SHA-256 of each file in the partitions of a card, and in the
// initramfs of its kernel.
func unpackCard(t *testing.T, compressed string) map[string]string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	run(t, "sh", "-c", `xz -dc "$0" >"$1"`, compressed, image)
	c := open(t, image)
	sums := map[string]string{}
	var kernels []string
	for number := 1; number <= 3; number++ {
		names, err := c.Files(number)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			content, err := c.Read(number, name)
			if err != nil {
				t.Fatal(err)
			}
			path := fmt.Sprintf("partition%d/%s", number, name)
			sums[path] = fmt.Sprintf("%x", sha256.Sum256(content))
			if name == "Image" {
				kernels = append(kernels, path)
				unpackInitramfs(t, content, sums)
			}
		}
	}
	if !slices.Equal(kernels, []string{"partition2/Image", "partition3/Image"}) {
		t.Errorf("the card has the kernels %q", kernels)
	}
	return sums
}

// unpackInitramfs finds the compressed archive in a kernel and adds its files.
func unpackInitramfs(t *testing.T, kernel []byte, sums map[string]string) {
	t.Helper()
	for rest := kernel; ; rest = rest[1:] {
		at := bytes.Index(rest, []byte{0x1f, 0x8b, 8})
		if at < 0 {
			t.Fatal("the kernel has no initramfs")
		}
		rest = rest[at:]
		r, err := gzip.NewReader(bytes.NewReader(rest))
		if err != nil {
			continue
		}
		r.Multistream(false)
		archive, err := io.ReadAll(r)
		if err != nil || !bytes.HasPrefix(archive, []byte("070701")) {
			continue
		}
		files, err := readCPIO(archive)
		if err != nil {
			t.Fatal(err)
		}
		for name, file := range files {
			switch {
			case file.mode&0o170000 == 0o100000:
				sums["initramfs/"+name] = fmt.Sprintf("%x", sha256.Sum256(file.content))
			case file.mode&0o170000 != 0o040000:
				t.Errorf("%s of the initramfs is no file and no folder", name)
			}
		}
		return
	}
}

// archived is a file in an archive.
type archived struct {
	mode, owner, group, major, minor int
	content                          []byte
}

// readCPIO returns the files in an archive of the format newc (cpio(5)).
func readCPIO(archive []byte) (map[string]archived, error) {
	files := map[string]archived{}
	for len(archive) >= 110 {
		field := func(i int) int {
			n, err := strconv.ParseUint(string(archive[6+8*i:14+8*i]), 16, 32)
			if err != nil {
				return -1
			}
			return int(n)
		}
		mode, size, length := field(1), field(6), field(11)
		data := (110 + length + 3) &^ 3
		if mode < 0 || size < 0 || length < 1 || data+size > len(archive) {
			break
		}
		name := string(archive[110 : 110+length-1])
		if name == "TRAILER!!!" {
			return files, nil
		}
		files[name] = archived{mode, field(2), field(3), field(9), field(10), archive[data : data+size]}
		archive = archive[min(len(archive), (data+size+3)&^3):]
	}
	return nil, errors.New("the archive is damaged")
}
