package technician

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"testing"

	"sealpost/tests/rigs/lab"
)

// partitioned is the same stick with a partition table (MBR) in front.
func partitioned(t *testing.T, s lab.Stick) lab.Stick {
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

// largeStick has settings whose folder entry claims the largest size of FAT.
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
		t.Fatal("the file has no entry")
	}
	binary.LittleEndian.PutUint32(disk[at+size:], math.MaxUint32)
	if err := os.WriteFile(s.Image, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// take shows a stick to the box and returns the result that the box wrote onto it.
func take(t *testing.T, b *lab.Box, name string, s lab.Stick, said flashes) string {
	t.Helper()
	show(t, b, name, s, said)
	return s.Result(t)
}

// show plugs a stick into the box, waits for the pattern of the lamp that says
// what became of it, and pulls the stick out.
func show(t *testing.T, b *lab.Box, name string, s lab.Stick, said flashes) {
	t.Helper()
	if err := s.Insert(b, name); err != nil {
		t.Fatal(err)
	}
	awaitLamp(t, b, said)
	if err := b.Remove(name); err != nil {
		t.Fatal(err)
	}
}
