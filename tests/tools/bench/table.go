package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// printIntroduction explains what is measured and how.
func printIntroduction(d *disk, o options) {
	fmt.Printf(`Postfix and Sealpost under the same load, in turn, on the same ext4 on a loop device (%s).

The load is smtp-source, or Go's SMTP client for STARTTLS, with one connection per message: %d messages of 4 KiB or %d of 1 MiB per run,
after one message per client that is not counted. Accepted: the reply is 250.
Flash: all writes to the loop device by its counters (sectors written, flush requests), from a sync before
the first message to a sync %s after the last, when the queue is idle. Nothing is subtracted.
Memory: the sampled peak of the proportional set size, summed over all processes of the system. VmHWM is
the kernel's peak, which exists only for a single process.
CPU: of all processes of the system.
`, d.device, o.messages, large(o.messages), settleTime)
}

// columns are the width, the precision and the name of each column.
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

func printHeader() {
	fmt.Printf("\n%-*s", nameWidth, "")
	for _, c := range columns {
		fmt.Printf(" %*s", c.width, c.name)
	}
	fmt.Println()
}

func printResults(name string, r results) {
	printRow(name, r.row(), func(i int) int { return columns[i].digits })
}

func printRatios(name string, of, to results) {
	ratios := of.row()
	for i, divisor := range to.row() {
		ratios[i] /= divisor
	}
	printRow(name, ratios, func(i int) int { return columns[i].ratioDigits })
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

// row returns the results in the order of the columns.
func (f results) row() []float64 {
	return []float64{f.rate, f.bytes, f.flushes, mebibytes(f.memory), f.highWater / (1 << 20), float64(f.cpu) / float64(time.Millisecond)}
}

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// printFootnotes explains the differences between the two systems.
func printFootnotes() {
	fmt.Print(`
Upstream healthy: Postfix delivers to smtp-sink in plaintext. Sealpost delivers over TLS, with a client
certificate whose key is in a software TPM, to a mock of Exchange Online in Go on the same cores. Sealpost
replies 250 when the mock has accepted the message, Postfix when the message is in its own queue.
Upstream down: its port refuses connections. All mail stays in the queue.
Postfix: the defaults of Debian.
Sealpost: the defaults, except for a ring of 1 GiB, all of it for one client, and 120 connections per client.
`)
}
