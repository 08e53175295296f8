package kernel

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// LinkPartition waits for a partition and makes link a symbolic link to its device. id is
// what Linux calls its PARTUUID, such as "5ea1b057-04": the signature of a disk with an MBR
// and the partition's number. Which controller is mmcblk0 differs between kernels.
func LinkPartition(id, link string, timeout time.Duration) error {
	return await(timeout, func() error {
		device, err := findPartition("/sys/class/block", "/dev", id)
		if err != nil {
			return err
		}
		if target, err := os.Readlink(link); err == nil && target == device {
			return nil
		}
		_ = os.Remove(link)
		return os.Symlink(device, link)
	})
}

// findPartition returns the device of a partition. sys lists the block devices, and dev
// has their files. Of several, it returns the first by name, so that a card comes before a
// stick with the same image.
func findPartition(sys, dev, id string) (string, error) {
	attributes, err := filepath.Glob(filepath.Join(sys, "*", "partition"))
	if err != nil {
		return "", err
	}
	for _, attribute := range attributes {
		folder, err := filepath.EvalSymlinks(filepath.Dir(attribute))
		if err != nil {
			continue // it was removed meanwhile
		}
		number, err := os.ReadFile(attribute)
		if err != nil {
			continue
		}
		signature, err := diskSignature(filepath.Join(dev, filepath.Base(filepath.Dir(folder))))
		if err == nil && fmt.Sprintf("%08x-%02s", signature, strings.TrimSpace(string(number))) == id {
			return filepath.Join(dev, filepath.Base(folder)), nil
		}
	}
	return "", fmt.Errorf("no disk has the partition %s: %w", id, os.ErrNotExist)
}

// diskSignature returns the signature in the MBR of a disk.
func diskSignature(disk string) (uint32, error) {
	const offset = 440
	file, err := os.Open(disk)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	var signature [4]byte
	if _, err := file.ReadAt(signature[:], offset); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(signature[:]), nil
}
