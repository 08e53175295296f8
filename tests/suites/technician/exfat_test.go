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

// exFAT is a fresh exFAT file system (Microsoft's specification, 1.00) to which
// files are added, as the tools that Debian has can only make an empty one.
type exFAT struct {
	disk    []byte
	cluster int // size of one, in bytes
	heap    int // where the second cluster, the first that there is, begins
	root    int // the root folder's cluster
	bitmap  []byte
	next    int // the first cluster behind all that are in use
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
	word := func(at int) int { return int(binary.LittleEndian.Uint32(disk[at:])) }
	sector := 1 << disk[108]
	f := &exFAT{disk: disk, cluster: sector << disk[109], heap: word(88) * sector, root: word(96)}
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

// at is what lies from a cluster on.
func (f *exFAT) at(cluster int) []byte { return f.disk[f.heap+(cluster-2)*f.cluster:] }

// store puts content into clusters of their own, one behind the other.
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

// entries describe a file or a folder, section 7.4 to 7.7.
func entries(name string, attributes, cluster, size int) []byte {
	letters := utf16.Encode([]rune(name))
	const perEntry = 15
	names := (len(letters) + perEntry - 1) / perEntry
	set := make([]byte, (2+names)*entrySize)
	set[0], set[1] = entryFile, byte(1+names)
	binary.LittleEndian.PutUint16(set[4:], uint16(attributes))
	const aDay = 2026<<1&0x7f<<25 | 11<<21 | 21<<16
	for _, at := range []int{8, 12, 16} {
		binary.LittleEndian.PutUint32(set[at:], aDay)
	}
	const contiguous = 3
	stream := set[entrySize:]
	stream[0], stream[1], stream[3] = entryStream, contiguous, byte(len(letters))
	var upper []byte
	for _, letter := range utf16.Encode([]rune(strings.ToUpper(name))) {
		upper = binary.LittleEndian.AppendUint16(upper, letter)
	}
	binary.LittleEndian.PutUint16(stream[4:], sum(upper, false))
	binary.LittleEndian.PutUint64(stream[8:], uint64(size))
	binary.LittleEndian.PutUint32(stream[20:], uint32(cluster))
	binary.LittleEndian.PutUint64(stream[24:], uint64(size))
	for i, letter := range letters {
		entry := set[(2+i/perEntry)*entrySize:]
		entry[0] = entryName
		binary.LittleEndian.PutUint16(entry[2+2*(i%perEntry):], letter)
	}
	binary.LittleEndian.PutUint16(set[2:], sum(set, true))
	return set
}

// sum is the checksum of a name or, leaving out its own place, of a set of
// entries, section 6.3.3.
func sum(p []byte, leaveOut bool) uint16 {
	var s uint16
	for i, b := range p {
		if !leaveOut || i != 2 && i != 3 {
			s = s<<15 + s>>1 + uint16(b)
		}
	}
	return s
}

// exFATStick is a stick formatted as exFAT with files in its folder sealpost.
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
