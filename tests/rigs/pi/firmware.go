package pi

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"sealpost/tests/rigs/card"
)

// Limits of the firmware: of autoboot.txt in octets, and of a line of config.txt in
// characters.
const (
	maxAutoboot = 512
	maxLine     = 98
)

// Selection is what the firmware selects on a card and starts.
type Selection struct {
	Partition int // 2 is slot A, 3 is slot B
	// Kernel, DeviceTree and Overlays are files of the partition.
	Kernel, DeviceTree string
	Overlays           []string
	CommandLine        string
}

// Select does what the firmware of a board does with autoboot.txt, config.txt and
// cmdline.txt (Raspberry Pi documentation, "config.txt"). tryboot is set after a restart
// with the argument "0 tryboot".
func Select(c *card.Card, b Board, tryboot bool) (Selection, error) {
	holds := func(filter string) bool {
		return filter == "all" || filter == "tryboot" && tryboot || slices.Contains(b.filters, filter)
	}
	for _, name := range b.firstStage {
		if _, err := c.Read(1, name); err != nil {
			return Selection{}, fmt.Errorf("the board's ROM does not find its first stage: %w", err)
		}
	}
	text, err := c.Read(1, "autoboot.txt")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Selection{}, err
	}
	if len(text) > maxAutoboot {
		return Selection{}, fmt.Errorf("autoboot.txt has %d octets; the firmware reads %d", len(text), maxAutoboot)
	}
	auto, err := parse(text, holds)
	if err != nil {
		return Selection{}, fmt.Errorf("autoboot.txt: %w", err)
	}
	number, err := strconv.Atoi(auto.last("boot_partition", "1"))
	if err != nil || number < 1 || number > len(c.Partitions) {
		return Selection{}, fmt.Errorf("autoboot.txt: boot_partition=%s is not a partition", auto.last("boot_partition", ""))
	}
	// Without tryboot_a_b, the firmware tries other settings in the same partition.
	config := "config.txt"
	if tryboot && auto.last("tryboot_a_b", "0") != "1" {
		config = "tryboot.txt"
	}
	selected := Selection{Partition: number}
	err = selected.read(c, b, config, holds)
	return selected, err
}

// read reads what the selected partition says.
func (s *Selection) read(c *card.Card, b Board, config string, holds func(string) bool) error {
	text, err := c.Read(s.Partition, config)
	if err != nil {
		return err
	}
	options, err := parse(text, holds)
	if err != nil {
		return fmt.Errorf("%s: %w", config, err)
	}
	if options.last("arm_64bit", "1") != "1" {
		return errors.New(config + ": the kernel is not a 64-bit one")
	}
	prefix := options.last("os_prefix", "")
	s.Kernel = prefix + options.last("kernel", "kernel8.img")
	s.DeviceTree = prefix + options.last("device_tree", b.deviceTree)
	for _, value := range options["dtoverlay"] {
		name, parameters, _ := strings.Cut(value, ",")
		if parameters != "" {
			return fmt.Errorf("%s: dtoverlay=%s: parameters of overlays are not emulated", config, value)
		}
		s.Overlays = append(s.Overlays, prefix+"overlays/"+name+".dtbo")
	}
	for _, name := range slices.Concat(b.firmware, s.Overlays, []string{s.Kernel, s.DeviceTree}) {
		if content, err := c.Read(s.Partition, name); err != nil || len(content) == 0 {
			return fmt.Errorf("the firmware does not find %s, or it is empty: %w", path.Base(name), err)
		}
	}
	line, err := c.Read(s.Partition, prefix+options.last("cmdline", "cmdline.txt"))
	if err != nil {
		return err
	}
	s.CommandLine, _, _ = strings.Cut(string(line), "\n") // the firmware reads one line
	return nil
}

// options are the values of each option, in their order.
type options map[string][]string

// last returns the last value of an option, which counts.
func (o options) last(name, missing string) string {
	if values := o[name]; len(values) > 0 {
		return values[len(values)-1]
	}
	return missing
}

// parse reads lines "name=value" below the filters that hold. A filter is a line
// "[name]"; it holds together with the ones before it, until [all].
func parse(text []byte, holds func(filter string) bool) (options, error) {
	read := options{}
	active := true
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(strings.TrimRight(line, "\r\n"), "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if len(line) > maxLine {
			return nil, fmt.Errorf("the firmware reads %d characters of %q", maxLine, line)
		}
		if filter, found := strings.CutPrefix(line, "["); found {
			filter, _, _ = strings.Cut(filter, "]")
			active = filter == "all" || active && holds(filter)
			continue
		}
		name, value, found := strings.Cut(line, "=")
		if !found {
			return nil, fmt.Errorf("%q is neither an option nor a filter", line)
		}
		if active {
			read[name] = append(read[name], value)
		}
	}
	return read, nil
}
