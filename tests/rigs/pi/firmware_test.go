package pi_test

import (
	"encoding/binary"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sealpost/tests/rigs/card"
	"sealpost/tests/rigs/pi"
)

// files are the files of each partition, by number and path.
type files map[int]map[string]string

// newCard makes a card with three FAT partitions of 4 MiB.
func newCard(t *testing.T, content files) *card.Card {
	t.Helper()
	const sector, size = 512, 4 << 20
	path := filepath.Join(t.TempDir(), "card")
	record := make([]byte, sector)
	record[510], record[511] = 0x55, 0xaa
	for i := range 3 {
		entry := record[446+16*i:]
		entry[4] = 0xc
		binary.LittleEndian.PutUint32(entry[8:], uint32((i+1)*size/sector))
		binary.LittleEndian.PutUint32(entry[12:], size/sector)
	}
	if err := os.WriteFile(path, record, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 4*size); err != nil {
		t.Fatal(err)
	}
	mtools := func(program, number string, arguments ...string) {
		t.Helper()
		if output, err := exec.Command(program, append([]string{"-i", path + "@@" + number + "M"}, arguments...)...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", program, err, output)
		}
	}
	for i := range 3 {
		number := []string{"4", "8", "12"}[i]
		mtools("mformat", number, "-T", "8192", "::")
		for name, text := range content[i+1] {
			if dir, _, nested := strings.Cut(name, "/"); nested {
				mtools("mmd", number, "-D", "s", "::"+dir)
			}
			file := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			mtools("mcopy", number, file, "::"+name)
		}
	}
	c, err := card.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// slot returns the files of a slot of the Pi 4, with config.txt.
func slot(config string) map[string]string {
	return map[string]string{"config.txt": config, "cmdline.txt": "panic=10\nignored\n", "start4.elf": "x", "fixup4.dat": "x",
		"Image": "kernel", "bcm2711-rpi-4-b.dtb": "tree"}
}

func with(m map[string]string, name, text string) map[string]string {
	m = maps.Clone(m)
	m[name] = text
	return m
}

func without(m map[string]string, name string) map[string]string {
	m = maps.Clone(m)
	delete(m, name)
	return m
}

func TestSelect_DoesWhatTheFirmwareDoes(t *testing.T) {
	const auto = "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n"
	const config = "arm_64bit=1\nkernel=Image\n"
	chosen := func(number int) pi.Selection {
		return pi.Selection{Partition: number, Kernel: "Image", DeviceTree: "bcm2711-rpi-4-b.dtb", CommandLine: "panic=10"}
	}
	overlays := chosen(2)
	overlays.Overlays = []string{"overlays/a.dtbo"}
	for _, c := range []struct {
		name    string
		files   files
		tryboot bool
		want    pi.Selection
		fault   string
	}{
		{"slot A", files{1: {"autoboot.txt": auto}, 2: slot(config), 3: slot(config)}, false, chosen(2), ""},
		{"slot B, to try it", files{1: {"autoboot.txt": auto}, 2: slot(config), 3: slot(config)}, true, chosen(3), ""},
		{"slot B, for good", files{1: {"autoboot.txt": "[all]\ntryboot_a_b=1\nboot_partition=3\n"}, 2: slot(config), 3: slot(config)}, false, chosen(3), ""},
		{"slot B has no settings", files{1: {"autoboot.txt": auto}, 2: slot(config), 3: {"Image": "kernel"}}, true, pi.Selection{}, "no file config.txt"},
		{"no choice", files{1: slot(config)}, false, chosen(1), ""},
		{"other settings to try", files{1: with(slot("kernel=missing\n"), "tryboot.txt", config)}, true, chosen(1), ""},
		{"without firmware", files{1: {"autoboot.txt": auto}, 2: without(slot(config), "start4.elf")}, false, pi.Selection{}, "start4.elf"},
		{"without a device tree", files{1: {"autoboot.txt": auto}, 2: without(slot(config), "bcm2711-rpi-4-b.dtb")}, false, pi.Selection{}, "bcm2711-rpi-4-b.dtb"},
		{"an empty kernel", files{1: {"autoboot.txt": auto}, 2: with(slot(config), "Image", "")}, false, pi.Selection{}, "Image"},
		{"an unknown partition", files{1: {"autoboot.txt": "boot_partition=7\n"}}, false, pi.Selection{}, "boot_partition=7"},
		{"a long choice", files{1: {"autoboot.txt": auto + strings.Repeat("#\n", 300)}}, false, pi.Selection{}, "the firmware reads 512"},
		{"a long line", files{1: slot(config + "kernel=" + strings.Repeat("x", 100))}, false, pi.Selection{}, "98 characters"},
		{"other boards", files{1: slot("[pi3]\nkernel=missing\n[pi4]\n[none]\nkernel=missing\n[all]\n" + config)}, false, chosen(1), ""},
		{"this board", files{1: slot("kernel=missing\n[pi4]\n" + config)}, false, chosen(1), ""},
		{"an overlay", files{1: {"autoboot.txt": auto}, 2: with(slot(config+"dtoverlay=a\n"), "overlays/a.dtbo", "x")}, false, overlays, ""},
		{"a missing overlay", files{1: slot(config + "dtoverlay=a\n")}, false, pi.Selection{}, "a.dtbo"},
		{"a 32-bit kernel", files{1: slot(config + "arm_64bit=0\n")}, false, pi.Selection{}, "64-bit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := pi.Select(newCard(t, c.files), pi.Boards["rpi4"], c.tryboot)
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Errorf("got %v, want an error with %q", err, c.fault)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}

func TestSelect_NeedsTheFirstStageOfThePi3(t *testing.T) {
	slot := map[string]string{"config.txt": "kernel=Image\n", "cmdline.txt": "panic=10\n", "start.elf": "x", "fixup.dat": "x",
		"Image": "kernel", "bcm2710-rpi-3-b.dtb": "tree"}
	if _, err := pi.Select(newCard(t, files{1: slot}), pi.Boards["rpi3"], false); err == nil || !strings.Contains(err.Error(), "bootcode.bin") {
		t.Errorf("got %v, want an error that names bootcode.bin", err)
	}
	if _, err := pi.Select(newCard(t, files{1: with(slot, "bootcode.bin", "x")}), pi.Boards["rpi3"], false); err != nil {
		t.Error(err)
	}
}
