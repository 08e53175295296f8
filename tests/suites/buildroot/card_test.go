package buildroot

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const sector = 512

// partition is an entry of a master boot record, with start and size in bytes.
type partition struct {
	kind        byte
	start, size int64
}

// bootRecord returns the master boot record of a card.
func bootRecord(t *testing.T, image string) []byte {
	t.Helper()
	file, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	record := make([]byte, sector)
	if _, err := file.Read(record); err != nil {
		t.Fatal(err)
	}
	if record[510] != 0x55 || record[511] != 0xaa {
		t.Fatal("the card has no master boot record")
	}
	return record
}

func diskSignature(t *testing.T, image string) uint32 {
	t.Helper()
	return binary.LittleEndian.Uint32(bootRecord(t, image)[440:])
}

func partitions(t *testing.T, image string) []partition {
	t.Helper()
	record := bootRecord(t, image)
	var all []partition
	for i := range 4 {
		entry := record[446+16*i:]
		all = append(all, partition{
			kind:  entry[4],
			start: int64(binary.LittleEndian.Uint32(entry[8:])) * sector,
			size:  int64(binary.LittleEndian.Uint32(entry[12:])) * sector,
		})
	}
	return all
}

// images creates Buildroot's images folder as after a build for a board, with
// placeholders for compiled and downloaded files.
func images(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	config := read(t, boards, name, "config.txt")
	files := map[string]string{
		"Image": "kernel", "board.dtb": "device tree",
		"rpi-firmware/start.elf": "firmware", "rpi-firmware/fixup.dat": "second firmware file",
		"rpi-firmware/config.txt":             config,
		"rpi-firmware/cmdline.txt":            read(t, boards, name, "cmdline.txt"),
		"rpi-firmware/overlays/unwanted.dtbo": "an overlay that config.txt does not use",
	}
	if name == "rpi3" {
		files["rpi-firmware/bootcode.bin"] = "first-stage firmware"
	}
	for _, match := range regexp.MustCompile(`(?m)^dtoverlay=([^,\n]+)`).FindAllStringSubmatch(config, -1) {
		files["rpi-firmware/overlays/"+match[1]+".dtbo"] = "overlay"
	}
	put(t, dir, files)
	return dir
}

// listing returns the files of a FAT partition.
func listing(t *testing.T, image string, p partition) []string {
	t.Helper()
	output, err := exec.Command("mdir", "-/", "-b", "-i", fmt.Sprintf("%s@@%d", image, p.start), "::").Output()
	if err != nil {
		t.Fatalf("listing a partition: %v", err)
	}
	var files []string
	for line := range strings.Lines(string(output)) {
		if line = strings.TrimPrefix(strings.TrimSpace(line), "::/"); !strings.HasSuffix(line, "/") {
			files = append(files, line)
		}
	}
	slices.Sort(files)
	return files
}

func content(t *testing.T, image string, p partition, name string) string {
	t.Helper()
	output, err := exec.Command("mtype", "-i", fmt.Sprintf("%s@@%d", image, p.start), "::"+name).Output()
	if err != nil {
		t.Fatalf("reading %s: %v", name, err)
	}
	return string(output)
}

// minStateSize is the settings area and a spool of the default size.
const minStateSize = (2 + 512) << 20

func TestCard_HasTwoSlotsAndRoomForTheState(t *testing.T) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := images(t, name)
			if output, err := run("post-image.sh", nil, dir, name); err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			card := filepath.Join(dir, "sdcard.img")
			parts := partitions(t, card)
			checkBootPartition(t, card, parts, name)
			checkSlots(t, card, parts, name)

			state := parts[3]
			if id := fmt.Sprintf("%08x-04", diskSignature(t, card)); readBoardConfig(t, name).Partition != id {
				t.Errorf("board.toml: got partition %s, want %s", readBoardConfig(t, name).Partition, id)
			}
			if state.kind != 0xda || state.size < minStateSize {
				t.Errorf("got a state partition of %d bytes and type %#x, want at least %d and 0xda", state.size, state.kind, minStateSize)
			}
			// Writing the image to a card again keeps its mail and settings.
			if info, err := os.Stat(card); err != nil || info.Size() > state.start {
				t.Errorf("the image overlaps the state partition: %v %v", info, err)
			}
		})
	}
}

// checkBootPartition checks the partition that the firmware reads first.
func checkBootPartition(t *testing.T, card string, parts []partition, name string) {
	t.Helper()
	want := []string{"autoboot.txt"}
	if name == "rpi3" {
		want = append(want, "bootcode.bin", "config.txt")
	}
	if files := listing(t, card, parts[0]); !slices.Equal(files, want) {
		t.Errorf("first partition: got %v, want %v", files, want)
	}
	autoboot := content(t, card, parts[0], "autoboot.txt")
	if autoboot != "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n" {
		t.Errorf("got autoboot.txt %q, want slots 2 and 3", autoboot)
	}
}

// checkSlots checks that both slots have a kernel, firmware and the board's files.
func checkSlots(t *testing.T, card string, parts []partition, name string) {
	t.Helper()
	want := []string{"Image", "board.dtb", "cmdline.txt", "config.txt", "fixup.dat",
		"overlays/disable-bt.dtbo", "overlays/dwc2.dtbo", "overlays/gpio-key.dtbo", "overlays/gpio-led.dtbo", "overlays/tpm-slb9670.dtbo", "start.elf"}
	slices.Sort(want)
	for _, slot := range parts[1:3] {
		if slot.kind != 0xc {
			t.Errorf("got a slot of type %#x, want 0xc", slot.kind)
		}
		if files := listing(t, card, slot); !slices.Equal(files, want) {
			t.Errorf("slot: got %v, want %v", files, want)
		}
		if content(t, card, slot, "config.txt") != read(t, boards, name, "config.txt") {
			t.Error("the slot's config.txt differs from the board's")
		}
	}
}

func TestCard_MissingOverlayFailsTheBuild(t *testing.T) {
	dir := images(t, "rpi4")
	if err := os.Remove(filepath.Join(dir, "rpi-firmware/overlays/tpm-slb9670.dtbo")); err != nil {
		t.Fatal(err)
	}
	if output, err := run("post-image.sh", nil, dir, "rpi4"); err == nil || !strings.Contains(output, "tpm-slb9670.dtbo") {
		t.Errorf("got %v, want an error that names tpm-slb9670.dtbo\n%s", err, output)
	}
}

func TestCard_SameFilesMakeTheSameImage(t *testing.T) {
	var sums []string
	for range 2 {
		dir := images(t, "rpi4")
		if output, err := run("post-image.sh", []string{"SOURCE_DATE_EPOCH=1793491200"}, dir, "rpi4"); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
		image, err := os.ReadFile(filepath.Join(dir, "sdcard.img"))
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, fmt.Sprintf("%x", sha256.Sum256(image)))
	}
	if sums[0] != sums[1] {
		t.Errorf("two images of the same files have the SHA-256 %s", sums)
	}
}
