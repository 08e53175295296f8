package technician

import (
	"encoding/binary"
	"errors"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"sealpost/tests/rigs/lab"
)

// exFAT adds files to an empty exFAT file system (Microsoft specification 1.00),
// because the tools in Debian can only create an empty one.
type exFAT struct {
	disk    []byte
	cluster int // size in bytes
	heap    int // offset of cluster 2, which is the first
	root    int // cluster of the root folder
	bitmap  []byte
	next    int // the first free cluster
}

// Types of directory entries, section 6.3.1.
const (
	entrySize   = 32
	entryBitmap = 0x81
	entryFile   = 0x85
	entryStream = 0xc0
	entryName   = 0xc1
)

func openExFAT(disk []byte) *exFAT {
	uint32At := func(at int) int { return int(binary.LittleEndian.Uint32(disk[at:])) }
	sector := 1 << disk[108]
	f := &exFAT{disk: disk, cluster: sector << disk[109], heap: uint32At(88) * sector, root: uint32At(96)}
	root := f.at(f.root)
	for at := 0; at < f.cluster; at += entrySize {
		if root[at] == entryBitmap {
			f.bitmap = f.at(int(binary.LittleEndian.Uint32(root[at+20:])))
		}
	}
	const first = 2
	for i := range 8 * f.cluster {
		if f.bitmap[i/8]&(1<<(i%8)) != 0 {
			f.next = first + i + 1
		}
	}
	return f
}

// at returns the bytes of the disk from a cluster to the end.
func (f *exFAT) at(cluster int) []byte { return f.disk[f.heap+(cluster-2)*f.cluster:] }

// store writes content to new, contiguous clusters.
func (f *exFAT) store(content []byte) (cluster, size int) {
	cluster = f.next
	count := max(1, (len(content)+f.cluster-1)/f.cluster)
	copy(f.at(cluster), content)
	for range count {
		f.bitmap[(f.next-2)/8] |= 1 << ((f.next - 2) % 8)
		f.next++
	}
	return cluster, count * f.cluster
}

// entries returns the entry set of a file or a folder, sections 7.4 to 7.7.
func entries(name string, attributes, cluster, size int) []byte {
	units := utf16.Encode([]rune(name))
	const perEntry = 15
	names := (len(units) + perEntry - 1) / perEntry
	set := make([]byte, (2+names)*entrySize)
	set[0], set[1] = entryFile, byte(1+names)
	binary.LittleEndian.PutUint16(set[4:], uint16(attributes))
	const timestamp = (2026-1980)<<25 | 11<<21 | 21<<16 // section 7.4.8
	for _, at := range []int{8, 12, 16} {
		binary.LittleEndian.PutUint32(set[at:], timestamp)
	}
	const contiguous = 3
	stream := set[entrySize:]
	stream[0], stream[1], stream[3] = entryStream, contiguous, byte(len(units))
	var upper []byte
	for _, unit := range utf16.Encode([]rune(strings.ToUpper(name))) {
		upper = binary.LittleEndian.AppendUint16(upper, unit)
	}
	binary.LittleEndian.PutUint16(stream[4:], checksum(upper, false))
	binary.LittleEndian.PutUint64(stream[8:], uint64(size))
	binary.LittleEndian.PutUint32(stream[20:], uint32(cluster))
	binary.LittleEndian.PutUint64(stream[24:], uint64(size))
	for i, unit := range units {
		entry := set[(2+i/perEntry)*entrySize:]
		entry[0] = entryName
		binary.LittleEndian.PutUint16(entry[2+2*(i%perEntry):], unit)
	}
	binary.LittleEndian.PutUint16(set[2:], checksum(set, true))
	return set
}

// checksum returns the checksum of a name, or of an entry set without its checksum
// field, section 6.3.3.
func checksum(p []byte, skipField bool) uint16 {
	var s uint16
	for i, b := range p {
		if !skipField || i != 2 && i != 3 {
			s = s<<15 + s>>1 + uint16(b)
		}
	}
	return s
}

// exFATStick returns a stick formatted as exFAT with files in the folder sealpost.
func exFATStick(t *testing.T, files map[string]string) lab.Stick {
	t.Helper()
	const size, folder, file = 64 << 20, 0x10, 0x20
	s := lab.Stick{Image: filepath.Join(t.TempDir(), "stick")}
	if err := errors.Join(os.WriteFile(s.Image, nil, 0o600), os.Truncate(s.Image, size)); err != nil {
		t.Fatal(err)
	}
	lab.Tool(t, "mkfs.exfat", s.Image)
	disk, err := os.ReadFile(s.Image)
	if err != nil {
		t.Fatal(err)
	}
	f := openExFAT(disk)
	var list []byte
	for _, name := range slices.Sorted(maps.Keys(files)) {
		cluster, _ := f.store([]byte(files[name]))
		list = append(list, entries(path.Base(name), file, cluster, len(files[name]))...)
	}
	cluster, length := f.store(list)
	root := f.at(f.root)
	at := 0
	for root[at] != 0 {
		at += entrySize
	}
	copy(root[at:], entries("sealpost", folder, cluster, length))
	if err := os.WriteFile(s.Image, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	lab.Tool(t, "fsck.exfat", "-n", s.Image)
	return s
}
