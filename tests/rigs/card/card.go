// Package card reads the image of a card: its partition table, and by mtools the files
// of its FAT partitions.
//
// It must not know what the files are for.
package card

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

const sector = 512

// Card is an image of a card with a master boot record.
type Card struct {
	Path      string
	Signature uint32 // the disk signature, from which Linux derives the partitions' identities
	// Partitions are numbered from 1, as everywhere else: Partitions[0] is number 1.
	Partitions [4]Partition
}

// Partition is an entry of the partition table, with start and size in bytes.
type Partition struct {
	Type        byte
	Start, Size int64
}

// Open reads the partition table of an image.
func Open(path string) (*Card, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	record := make([]byte, sector)
	if _, err := io.ReadFull(file, record); err != nil {
		return nil, fmt.Errorf("reading the boot record of %s: %w", path, err)
	}
	if record[510] != 0x55 || record[511] != 0xaa {
		return nil, errors.New(path + " has no master boot record")
	}
	c := &Card{Path: path, Signature: binary.LittleEndian.Uint32(record[440:])}
	for i := range c.Partitions {
		entry := record[446+16*i:]
		c.Partitions[i] = Partition{
			Type:  entry[4],
			Start: int64(binary.LittleEndian.Uint32(entry[8:])) * sector,
			Size:  int64(binary.LittleEndian.Uint32(entry[12:])) * sector,
		}
	}
	return c, nil
}

// Resize changes the size of a partition, in bytes, in the partition table of a card.
func Resize(card io.WriterAt, number int, size int64) error {
	sectors := binary.LittleEndian.AppendUint32(nil, uint32(size/sector))
	if _, err := card.WriteAt(sectors, int64(446+16*(number-1)+12)); err != nil {
		return fmt.Errorf("changing the size of partition %d: %w", number, err)
	}
	return nil
}

// Files returns the sorted paths of the files in a FAT partition.
func (c *Card) Files(number int) ([]string, error) {
	output, err := c.mtools(number, "", "mdir", "-/", "-b")
	if err != nil {
		return nil, err
	}
	var files []string
	for line := range strings.Lines(string(output)) {
		if line = strings.TrimPrefix(strings.TrimSpace(line), "::/"); !strings.HasSuffix(line, "/") {
			files = append(files, line)
		}
	}
	slices.Sort(files)
	return files, nil
}

// Read returns the content of a file in a FAT partition. The error wraps
// [os.ErrNotExist] if there is none.
func (c *Card) Read(number int, name string) ([]byte, error) {
	files, err := c.Files(number)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(files, name) {
		return nil, fmt.Errorf("partition %d of %s has no file %s: %w", number, c.Path, name, os.ErrNotExist)
	}
	return c.mtools(number, name, "mtype")
}

// mtools runs a program of mtools on a file of a partition, "" for its top.
func (c *Card) mtools(number int, file, program string, options ...string) ([]byte, error) {
	image := fmt.Sprintf("%s@@%d", c.Path, c.Partitions[number-1].Start)
	command := exec.Command(program, append(options, "-i", image, "::"+file)...)
	var errs bytes.Buffer
	command.Stderr = &errs
	output, err := command.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("the program %s is missing: install the Debian package mtools: %w", program, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s in partition %d of %s: %w: %s", program, file, number, c.Path, err, &errs)
	}
	return output, nil
}
