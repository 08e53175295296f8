package technician

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"testing"

	"sealpost/tests/rigs/lab"
)

// withPartitionTable adds a partition table (MBR) to a stick.
func withPartitionTable(t *testing.T, s lab.Stick) lab.Stick {
	t.Helper()
	volume, err := os.ReadFile(s.Image)
	if err != nil {
		t.Fatal(err)
	}
	const sector, first, entry, fat32 = 512, 2048, 446, 0x0c
	disk := make([]byte, first*sector, first*sector+len(volume))
	disk[entry+4] = fat32
	binary.LittleEndian.PutUint32(disk[entry+8:], first)
	binary.LittleEndian.PutUint32(disk[entry+12:], uint32(len(volume)/sector))
	disk[sector-2], disk[sector-1] = 0x55, 0xaa
	if err := os.WriteFile(s.Image, append(disk, volume...), 0o600); err != nil {
		t.Fatal(err)
	}
	return lab.Stick{Image: s.Image + "@@1M"}
}

// largeStick returns a stick whose folder entry gives the settings the maximum size of
// FAT.
func largeStick(t *testing.T) lab.Stick {
	t.Helper()
	s := lab.NewStick(t, map[string]string{"sealpost/sealpost.toml": "x"})
	disk, err := os.ReadFile(s.Image)
	if err != nil {
		t.Fatal(err)
	}
	const size = 28 // of the file, in its folder's entry
	at := bytes.Index(disk, []byte("SEALPO~1TOM"))
	if at < 0 {
		t.Fatal("the file has no folder entry")
	}
	binary.LittleEndian.PutUint32(disk[at+size:], math.MaxUint32)
	if err := os.WriteFile(s.Image, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// applyStick inserts a stick and returns the result that the box wrote to it.
func applyStick(t *testing.T, b *lab.Box, name string, s lab.Stick, pattern flashes) string {
	t.Helper()
	insertStick(t, b, name, s, pattern)
	return s.Result(t)
}

// insertStick inserts a stick, waits for the lamp pattern of the result, and removes
// the stick.
func insertStick(t *testing.T, b *lab.Box, name string, s lab.Stick, pattern flashes) {
	t.Helper()
	if err := s.Insert(b, name); err != nil {
		t.Fatal(err)
	}
	awaitLamp(t, b, pattern)
	if err := b.Remove(name); err != nil {
		t.Fatal(err)
	}
}
