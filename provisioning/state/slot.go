package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"sealpost/hal"
)

// The header of a slot, little-endian. Its position, size and checksum never
// change, so that an older Sealpost can distinguish a newer format from damage.
//
//	0   8  magic "SEALPOST"
//	8   4  format version
//	12  4  zero
//	16  8  generation, counted from 1
//	24  8  length of the payload
//	32 32  SHA-256 of bytes 0 to 31 and the payload
//	64     unused up to 512
const (
	headerSize    = 512
	checksumAt    = 32
	checksumEnd   = checksumAt + sha256.Size
	magic         = "SEALPOST"
	formatVersion = 1
)

// slot is one slot as read.
type slot struct {
	condition  condition
	version    uint32
	generation uint64
	payload    []byte
	err        error // why it is unreadable
}

type condition int

const (
	blank      condition = iota // never written, or erased
	valid                       // complete
	torn                        // written incompletely, or damaged
	unreadable                  // the flash returns an error
)

type slots [2]slot

// newest returns the valid slot of the highest generation, or the zero slot.
func (s slots) newest() slot {
	if newer := s[1-s.older()]; newer.condition == valid {
		return newer
	}
	return slot{}
}

// older returns the index of the slot for the next write: an invalid one, or the
// one of the lower generation. Invalid slots have generation 0.
func (s slots) older() int {
	if s[1].generation < s[0].generation {
		return 1
	}
	return 0
}

// readSlots reads both slots. After an error the result still says which is
// older.
func readSlots(area hal.Flash) (slots, error) {
	var s slots
	if size := slotSize(area); size <= headerSize {
		return s, fmt.Errorf("the settings area of %d bytes is too small", area.Size())
	}
	for i := range s {
		s[i] = readSlot(area, i)
	}
	switch newest := s.newest(); {
	case newest.version > formatVersion:
		return s, fmt.Errorf("%w (format %d, this one reads %d)", ErrNewer, newest.version, formatVersion)
	case newest.condition == valid:
		return s, nil
	case s.neverFinished():
		return s, nil
	}
	return s, errors.Join(ErrDamaged, s[0].err, s[1].err)
}

// neverFinished reports whether no write ever completed, or an erase was
// interrupted by a power cut: a slot is blank only before the end of the first
// write, which goes to both.
func (s slots) neverFinished() bool {
	one, other := s[0].condition, s[1].condition
	return one == blank && (other == blank || other == torn) || one == torn && other == blank
}

// slotSize returns half the size of the area, in whole sectors.
func slotSize(area hal.Flash) int64 { return area.Size() / 2 / headerSize * headerSize }

func slotOffset(area hal.Flash, index int) int64 { return int64(index) * slotSize(area) }

func readSlot(area hal.Flash, index int) slot {
	header := make([]byte, headerSize)
	if _, err := area.ReadAt(header, slotOffset(area, index)); err != nil {
		return slot{condition: unreadable, err: fmt.Errorf("reading settings slot %d: %w", index, err)}
	}
	if bytes.Equal(header, make([]byte, headerSize)) {
		return slot{condition: blank}
	}
	length := binary.LittleEndian.Uint64(header[24:])
	if string(header[:len(magic)]) != magic || length > uint64(slotSize(area)-headerSize) {
		return slot{condition: torn}
	}
	payload := make([]byte, length)
	if _, err := area.ReadAt(payload, slotOffset(area, index)+headerSize); err != nil {
		return slot{condition: unreadable, err: fmt.Errorf("reading settings slot %d: %w", index, err)}
	}
	found := slot{
		condition:  valid,
		version:    binary.LittleEndian.Uint32(header[8:]),
		generation: binary.LittleEndian.Uint64(header[16:]),
		payload:    payload,
	}
	sum := checksum(header, payload)
	if !bytes.Equal(header[checksumAt:checksumAt+len(sum)], sum[:]) || found.generation == 0 || found.version == 0 {
		return slot{condition: torn}
	}
	return found
}

func checksum(header, payload []byte) (sum [sha256.Size]byte) {
	hash := sha256.New()
	hash.Write(header[:checksumAt])
	hash.Write(payload)
	hash.Sum(sum[:0])
	return sum
}

// encodeSlot returns the header and the payload as stored on flash.
func encodeSlot(generation uint64, payload []byte) []byte {
	image := make([]byte, headerSize, headerSize+len(payload))
	copy(image, magic)
	binary.LittleEndian.PutUint32(image[8:], formatVersion)
	binary.LittleEndian.PutUint64(image[16:], generation)
	binary.LittleEndian.PutUint64(image[24:], uint64(len(payload)))
	sum := checksum(image, payload)
	copy(image[checksumAt:], sum[:])
	return append(image, payload...)
}

func writeSlot(area hal.Flash, index int, generation uint64, payload []byte) error {
	return writeBack(area, index, encodeSlot(generation, payload))
}

func eraseSlot(area hal.Flash, index int) error {
	return writeBack(area, index, make([]byte, slotSize(area)))
}

// writeBack writes and flushes a slot, and verifies it by reading it back. It
// also flushes before: a killed process may have left the other slot in the cache,
// and that must be durable before this one is overwritten.
func writeBack(area hal.Flash, index int, image []byte) error {
	if err := area.Flush(); err != nil {
		return fmt.Errorf("flushing before settings slot %d: %w", index, err)
	}
	if _, err := area.WriteAt(image, slotOffset(area, index)); err != nil {
		return fmt.Errorf("writing settings slot %d: %w", index, err)
	}
	if err := area.Flush(); err != nil {
		return fmt.Errorf("flushing settings slot %d: %w", index, err)
	}
	stored := make([]byte, len(image))
	if _, err := area.ReadAt(stored, slotOffset(area, index)); err != nil {
		return fmt.Errorf("reading back settings slot %d: %w", index, err)
	}
	if !bytes.Equal(stored, image) {
		return fmt.Errorf("settings slot %d differs from what was written: replace the flash", index)
	}
	return nil
}
