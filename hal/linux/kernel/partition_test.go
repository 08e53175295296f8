package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// blockDevices makes folders such as /sys/class/block and /dev, with disks that have the
// given signature and one partition, number 4.
func blockDevices(t *testing.T, signatures map[string]string) (sys, dev string) {
	t.Helper()
	root := t.TempDir()
	sys, dev = filepath.Join(root, "class"), filepath.Join(root, "dev")
	for disk, signature := range signatures {
		partition := filepath.Join(root, "devices", disk, disk+"p4")
		mbr := make([]byte, 512)
		copy(mbr[440:], signature)
		for _, err := range []error{
			os.MkdirAll(partition, 0o755), os.MkdirAll(sys, 0o755), os.MkdirAll(dev, 0o755),
			os.WriteFile(filepath.Join(partition, "partition"), []byte("4\n"), 0o644),
			os.Symlink(partition, filepath.Join(sys, disk+"p4")), os.Symlink(filepath.Dir(partition), filepath.Join(sys, disk)),
			os.WriteFile(filepath.Join(dev, disk), mbr, 0o644),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return sys, dev
}

func TestFindPartition_KnowsADiskByItsSignature(t *testing.T) {
	const ours, other = "\x57\xb0\xa1\x5e", "\x01\x02\x03\x04"
	for _, c := range []struct {
		disks map[string]string
		want  string
	}{
		{map[string]string{"mmcblk0": ours}, "mmcblk0p4"},
		{map[string]string{"mmcblk0": other, "mmcblk1": ours}, "mmcblk1p4"},
		{map[string]string{"sda": ours, "mmcblk1": ours}, "mmcblk1p4"}, // the card comes first
		{map[string]string{"sda": ours}, "sdap4"},
		{map[string]string{"mmcblk0": other}, ""},
		{nil, ""},
	} {
		sys, dev := blockDevices(t, c.disks)
		got, err := findPartition(sys, dev, "5ea1b057-04")
		if c.want == "" {
			if !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%v: got %s, %v, want %v", c.disks, got, err, os.ErrNotExist)
			}
		} else if err != nil || got != filepath.Join(dev, c.want) {
			t.Errorf("%v: got %s, %v, want %s", c.disks, got, err, c.want)
		}
	}
}
