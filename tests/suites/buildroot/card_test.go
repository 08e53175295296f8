package buildroot

import (
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

// partition is an entry of a master boot record; start and size are bytes.
type partition struct {
	kind        byte
	start, size int64
}

func partitions(t *testing.T, image string) []partition {
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

// images is Buildroot's folder of images after a build for a board, with
// stand-ins for what is compiled or comes from elsewhere.
func images(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	config := read(t, boards, name, "config.txt")
	files := map[string]string{
		"Image": "64-bit kernel", "zImage": "32-bit kernel", "board.dtb": "device tree",
		"rpi-firmware/start.elf": "firmware", "rpi-firmware/fixup.dat": "its other half",
		"rpi-firmware/config.txt":             config,
		"rpi-firmware/cmdline.txt":            read(t, boards, name, "cmdline.txt"),
		"rpi-firmware/overlays/unwanted.dtbo": "an overlay that nobody asked for",
	}
	if name == "rpi3" {
		files["rpi-firmware/bootcode.bin"] = "first of the firmware"
	}
	for _, match := range regexp.MustCompile(`(?m)^dtoverlay=([^,\n]+)`).FindAllStringSubmatch(config, -1) {
		files["rpi-firmware/overlays/"+match[1]+".dtbo"] = "overlay"
	}
	put(t, dir, files)
	return dir
}

// listing names the files of a FAT partition.
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

// stateAtLeast is the settings area and a spool of the default size.
const stateAtLeast = (2 + 512) << 20

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
			checkChoice(t, card, parts, name)
			checkSlots(t, card, parts, name)

			state := parts[3]
			if want := "/dev/mmcblk0p4"; factsOf(t, name).State != want {
				t.Errorf("the facts look for the state at %s, and it is at %s", factsOf(t, name).State, want)
			}
			if state.kind != 0xda || state.size < stateAtLeast {
				t.Errorf("the state is %d bytes of type %#x", state.size, state.kind)
			}
			// A card that is flashed again keeps its mail and its settings.
			if info, err := os.Stat(card); err != nil || info.Size() > state.start {
				t.Errorf("the image reaches into the state: %v %v", info, err)
			}
		})
	}
}

// checkChoice holds what the firmware reads first.
func checkChoice(t *testing.T, card string, parts []partition, name string) {
	t.Helper()
	want := []string{"autoboot.txt"}
	if name == "rpi3" {
		want = append(want, "bootcode.bin", "config.txt")
	}
	if files := listing(t, card, parts[0]); !slices.Equal(files, want) {
		t.Errorf("the first partition holds %v, want %v", files, want)
	}
	choice := content(t, card, parts[0], "autoboot.txt")
	if choice != "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n" {
		t.Errorf("the slots are chosen by %q", choice)
	}
}

// checkSlots holds that both can be started, and as the board's files say.
func checkSlots(t *testing.T, card string, parts []partition, name string) {
	t.Helper()
	kernel := "Image"
	if name == "rpi3" {
		kernel = "zImage"
	}
	want := []string{kernel, "board.dtb", "cmdline.txt", "config.txt", "fixup.dat",
		"overlays/disable-bt.dtbo", "overlays/dwc2.dtbo", "overlays/gpio-key.dtbo", "overlays/gpio-led.dtbo", "overlays/tpm-slb9670.dtbo", "start.elf"}
	slices.Sort(want)
	for _, slot := range parts[1:3] {
		if slot.kind != 0xc {
			t.Errorf("a slot is of type %#x", slot.kind)
		}
		if files := listing(t, card, slot); !slices.Equal(files, want) {
			t.Errorf("a slot holds %v, want %v", files, want)
		}
		if content(t, card, slot, "config.txt") != read(t, boards, name, "config.txt") {
			t.Error("a slot has another config.txt")
		}
	}
}

func TestCard_IsNotMadeWithoutAnOverlay(t *testing.T) {
	dir := images(t, "rpi4")
	if err := os.Remove(filepath.Join(dir, "rpi-firmware/overlays/tpm-slb9670.dtbo")); err != nil {
		t.Fatal(err)
	}
	if output, err := run("post-image.sh", nil, dir, "rpi4"); err == nil || !strings.Contains(output, "tpm-slb9670.dtbo") {
		t.Errorf("%v\n%s", err, output)
	}
}
