package usb

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// plugIn creates the files under /sys that describe a disk.
func plugIn(t *testing.T, sys, bus, name string, attributes map[string]string) {
	t.Helper()
	device := filepath.Join(sys, "devices", bus, name)
	err := errors.Join(os.MkdirAll(device, 0o755), os.MkdirAll(filepath.Join(sys, "block"), 0o755),
		os.Symlink(device, filepath.Join(sys, "block", name)))
	for attribute, value := range attributes {
		path := filepath.Join(device, attribute)
		err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(value+"\n"), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestSticks_FindsOnlyUSBDisksWithAMedium(t *testing.T) {
	sys := t.TempDir()
	plugIn(t, sys, "pci0/usb1/1-1", "sda", map[string]string{"size": "131072", "diskseq": "7"})
	plugIn(t, sys, "pci0/usb1/1-2", "sdb", map[string]string{"size": "0", "diskseq": "8"}) // a reader without a card
	plugIn(t, sys, "pci0/ata1", "sdc", map[string]string{"size": "131072", "diskseq": "9"})
	plugIn(t, sys, "pci0/usb1/1-3", "sr0", map[string]string{"size": "131072", "diskseq": "10"})
	want := []Stick{{"sda", "7"}}
	if found := sticks(filepath.Join(sys, "block")); !slices.Equal(found, want) {
		t.Errorf("found %v, want %v", found, want)
	}
}

func TestDevices_ListsPartitionsInOrder(t *testing.T) {
	sys := t.TempDir()
	plugIn(t, sys, "usb1/1-1", "sda", nil)
	plugIn(t, sys, "usb1/1-2", "sdb", map[string]string{"sdb10/partition": "10", "sdb2/partition": "2", "sdb1/partition": "1"})
	for disk, want := range map[string][]string{
		"sda": {"/dev/sda"},
		"sdb": {"/dev/sdb1", "/dev/sdb2", "/dev/sdb10"},
	} {
		if found := devices(filepath.Join(sys, "block", disk), disk); !slices.Equal(found, want) {
			t.Errorf("%s: found %v, want %v", disk, found, want)
		}
	}
}
