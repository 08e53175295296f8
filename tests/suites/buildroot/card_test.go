package buildroot

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sealpost/tests/rigs/card"
)

// firmware has the files of Buildroot's package rpi-firmware, by the symbol that selects
// them.
var firmware = map[string][]string{
	"BR2_PACKAGE_RPI_FIRMWARE_BOOTCODE_BIN=y": {"bootcode.bin"},
	"BR2_PACKAGE_RPI_FIRMWARE_VARIANT_PI=y":   {"start.elf", "fixup.dat"},
	"BR2_PACKAGE_RPI_FIRMWARE_VARIANT_PI4=y":  {"start4.elf", "fixup4.dat"},
}

// images creates Buildroot's images folder as after a build for a board, with
// placeholders for compiled and downloaded files.
func images(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"Image":                    "kernel",
		"rpi-firmware/config.txt":  read(t, boards, name, "config.txt"),
		"rpi-firmware/cmdline.txt": read(t, boards, name, "cmdline.txt"),
	}
	for _, tree := range trees[name] {
		files[tree.kernel+".dtb"] = compile(t, tree.mode, "-@")
	}
	for _, line := range settings(read(t, tree, "configs", "sealpost_"+name+"_defconfig")) {
		for _, file := range firmware[line] {
			files["rpi-firmware/"+file] = "firmware " + file
		}
	}
	put(t, dir, files)
	return dir
}

// mustFiles returns the files of a FAT partition.
func mustFiles(t *testing.T, c *card.Card, number int) []string {
	t.Helper()
	files, err := c.Files(number)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func content(t *testing.T, c *card.Card, number int, name string) string {
	t.Helper()
	text, err := c.Read(number, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// minStateSize is the settings area and a spool of the default size.
const minStateSize = (2 + 512) << 20

func TestCard_HasTwoSlotsAndRoomForTheState(t *testing.T) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made := makeCard(t, images(t, name), name)
			checkBootPartition(t, made, name)
			checkSlots(t, made, name)

			state := made.Partitions[3]
			if id := fmt.Sprintf("%08x-04", made.Signature); readBoardConfig(t, name).Partition != id {
				t.Errorf("board.toml: got partition %s, want %s", readBoardConfig(t, name).Partition, id)
			}
			if state.Type != 0xda || state.Size < minStateSize {
				t.Errorf("got a state partition of %d bytes and type %#x, want at least %d and 0xda", state.Size, state.Type, minStateSize)
			}
			// Writing the image to a card again keeps its mail and settings.
			if info, err := os.Stat(made.Path); err != nil || info.Size() > state.Start {
				t.Errorf("the image overlaps the state partition: %v %v", info, err)
			}
		})
	}
}

// checkBootPartition checks the partition that the firmware reads first.
func checkBootPartition(t *testing.T, made *card.Card, name string) {
	t.Helper()
	want := []string{"autoboot.txt"}
	if name == "rpi3" {
		want = append(want, "bootcode.bin", "config.txt")
	}
	if files := mustFiles(t, made, 1); !slices.Equal(files, want) {
		t.Errorf("first partition: got %v, want %v", files, want)
	}
	autoboot := content(t, made, 1, "autoboot.txt")
	if autoboot != "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n" {
		t.Errorf("got autoboot.txt %q, want slots 2 and 3", autoboot)
	}
}

// checkSlots checks that both slots have a kernel, firmware and the board's files.
func checkSlots(t *testing.T, made *card.Card, name string) {
	t.Helper()
	want := []string{"Image", "cmdline.txt", "config.txt", "start4.elf", "fixup4.dat"}
	if name == "rpi3" {
		want = []string{"Image", "cmdline.txt", "config.txt", "start.elf", "fixup.dat"}
	}
	for _, tree := range trees[name] {
		want = append(want, tree.firmware+".dtb")
	}
	slices.Sort(want)
	for _, slot := range []int{2, 3} {
		if kind := made.Partitions[slot-1].Type; kind != 0xc {
			t.Errorf("got a slot of type %#x, want 0xc", kind)
		}
		if files := mustFiles(t, made, slot); !slices.Equal(files, want) {
			t.Errorf("slot: got %v, want %v", files, want)
		}
		if content(t, made, slot, "config.txt") != read(t, boards, name, "config.txt") {
			t.Error("the slot's config.txt differs from the board's")
		}
	}
}

func TestCard_SameFilesMakeTheSameImage(t *testing.T) {
	var sums []string
	for _, zone := range []string{"UTC", "EST5"} {
		dir := images(t, "rpi4")
		if output, err := run("post-image.sh", []string{"SOURCE_DATE_EPOCH=1793491200", "TZ=" + zone}, dir, "rpi4"); err != nil {
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
