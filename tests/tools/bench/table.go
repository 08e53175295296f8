package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// introduce says what is measured and how.
func introduce(d *disk, o options) {
	fmt.Printf(`Postfix and Sealpost under the same load, in turn, on the same ext4 on a loop device (%s).

The load is smtp-source, one connection for each message, %d messages of 4 KiB or %d of 1 MiB a run,
after one for each client that is not counted. Accepted: answered 250.
Flash: all that reached the loop device, by its own counters (sectors written, flush requests), from a
sync before the first message to a sync %s after the last, when the queue is at rest. Nothing is subtracted.
Memory: the peak of the proportional set size, summed over all processes of the system, sampled; VmHWM is
the kernel's own peak, which can be had of a single process only.
CPU: of all processes of the system.
`, d.device, o.messages, large(o.messages), rest)
}

// columns are the width and the precision of each figure, and its name.
var columns = []struct {
	width, digits, ratioDigits int
	name                       string
}{
	{12, 0, 2, "accepted/s"},
	{15, 0, 3, "flash bytes/msg"},
	{13, 2, 3, "flushes/msg"},
	{12, 1, 2, "memory MiB"},
	{10, 1, 0, "VmHWM MiB"},
	{12, 2, 2, "CPU ms/msg"},
}

const nameWidth = 22

func printHead() {
	fmt.Printf("\n%-*s", nameWidth, "")
	for _, c := range columns {
		fmt.Printf(" %*s", c.width, c.name)
	}
	fmt.Println()
}

func printRun(w work, postfix, sealpost figures) {
	fmt.Println(w)
	p, s := postfix.row(), sealpost.row()
	ratios := make([]float64, len(p))
	for i := range p {
		ratios[i] = s[i] / p[i]
	}
	printRow("Postfix", p, func(i int) int { return columns[i].digits })
	printRow("Sealpost", s, func(i int) int { return columns[i].digits })
	printRow("Sealpost / Postfix", ratios, func(i int) int { return columns[i].ratioDigits })
}

func printRow(name string, row []float64, digits func(column int) int) {
	var line strings.Builder
	fmt.Fprintf(&line, "%-*s", nameWidth, "  "+name)
	for i, value := range row {
		text := "-"
		if !math.IsNaN(value) {
			text = strconv.FormatFloat(value, 'f', digits(i), 64)
		}
		fmt.Fprintf(&line, " %*s", columns[i].width, text)
	}
	fmt.Println(line.String())
}

// row gives the figures in the order of the columns.
func (f figures) row() []float64 {
	return []float64{f.rate, f.bytes, f.flushes, mebibytes(f.memory), f.highWater / (1 << 20), float64(f.cpu) / float64(time.Millisecond)}
}

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// footnotes say where the two systems do not do the same.
func footnotes() {
	fmt.Print(`
Upstream healthy: Postfix passes mail on to smtp-sink in clear. Sealpost passes it on over TLS, with a client
certificate whose key is in a (software) TPM, to a stand-in for Exchange Online written in Go that shares the
two cores; and it answers 250 only when the stand-in has the message, Postfix when its own queue has it.
Upstream down: its port refuses connections. All mail stays in the queue.
Postfix: as Debian brings it.
Sealpost: as it comes, but for a ring of 1 GiB, all of it for one client, and 120 connections per client.
`)
}
