package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"sealpost/tests/rigs/box"
)

// recoveryRun is the name of the run after the table.
const recoveryRun = "recovery of a full ring"

// recover fills a ring of 1 GiB with messages of 4 KiB, kills the relay, and measures
// its restart.
func (b *bench) recover(ctx context.Context, o options) (err error) {
	if !strings.Contains(recoveryRun, o.only) {
		return nil
	}
	fmt.Printf("\n%s of 1 GiB, messages of 4 KiB\n", recoveryRun)
	if err := b.benchmarkSpool(ctx); err != nil {
		return err
	}
	if err := b.disk.empty(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.sealpost.stop()) }()
	if err := b.sealpost.start(ctx, false); err != nil {
		return err
	}
	empty, err := resident(b.sealpost.relay)
	if err != nil {
		return err
	}
	if err := b.fill(ctx); err != nil {
		return err
	}
	b.sealpost.relay.Kill()
	queued := strings.Count(b.sealpost.relay.Log.String(), `"event":"queued"`)
	return b.restartOnFullRing(queued, empty)
}

// benchmarkSpool runs the benchmark of the spool package on the same disk.
func (b *bench) benchmarkSpool(ctx context.Context) error {
	if err := b.disk.empty(); err != nil {
		return err
	}
	command := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkOpen$", "-benchtime", "1x", "sealpost/relay/spool")
	command.Env = append(os.Environ(), "TMPDIR="+b.disk.dir)
	output, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("BenchmarkOpen of relay/spool: %w: %s", err, output)
	}
	metrics := make(map[string]float64)
	for _, metric := range regexp.MustCompile(`([0-9.e+]+) (\S+)`).FindAllStringSubmatch(string(output), -1) {
		metrics[metric[2]], _ = strconv.ParseFloat(metric[1], 64)
	}
	if metrics["messages"] == 0 {
		return fmt.Errorf("BenchmarkOpen of relay/spool printed no results: %s", output)
	}
	fmt.Printf("  the spool alone: %.0f messages in %.2f s, %.0f bytes of heap for each\n",
		metrics["messages"], metrics["s/recovery"], metrics["B/message"])
	return nil
}

// fill sends mail until the spool is full.
func (b *bench) fill(ctx context.Context) error {
	const tooMany, clients, full = "1000000", "50", " 452 "
	start := time.Now()
	output, err := exec.CommandContext(ctx, "smtp-source", "-d", "-s", clients, "-m", tooMany, "-l", strconv.Itoa(4<<10),
		"-f", sender, "-t", recipient, fmt.Sprintf("%s:%d", host, b.sealpost.port())).CombinedOutput()
	if err == nil || !strings.Contains(string(output), full) {
		return fmt.Errorf("filling the ring, which must end with the reply %q: %w: %s", full, err, output)
	}
	fmt.Printf("  filled by smtp-source over %s connections in %.1f s\n", clients, time.Since(start).Seconds())
	return nil
}

// restartOnFullRing restarts the relay on the full ring, with an empty page cache.
func (b *bench) restartOnFullRing(queued int, empty int64) error {
	const all = "3" // page cache, dentries and inodes
	if _, err := b.disk.syncedTraffic(); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte(all), 0); err != nil {
		return fmt.Errorf("dropping the page cache: %w", err)
	}
	start := time.Now()
	if err := b.sealpost.resume(); err != nil {
		return err
	}
	took := time.Since(start)
	full, err := resident(b.sealpost.relay)
	if err != nil {
		return err
	}
	opened := b.sealpost.relay.Log.Events("spool opened")
	if len(opened) != 1 {
		return fmt.Errorf("the journal has no event \"spool opened\":\n%.2000s", b.sealpost.relay.Log)
	}
	messages, _ := opened[0]["messages"].(float64)
	if int(messages) < queued || queued == 0 {
		return fmt.Errorf("%d messages were answered 250, and the spool has %.0f", queued, messages)
	}
	fmt.Printf(`  the relay, from exec to "relay started": %.2f s, of which the spool: %v; %.0f messages, %v octets
  its memory (VmRSS): %.1f MiB, %.1f MiB with an empty ring: %.0f bytes for each queued message
`, took.Seconds(), opened[0]["took"], messages, opened[0]["octets"],
		mebibytes(full), mebibytes(empty), float64(full-empty)/messages)
	return nil
}

// resident returns the resident set size of a relay in bytes.
func resident(r *box.Relay) (int64, error) {
	return readKiB(fmt.Sprintf("/proc/%d/status", r.PID()), "VmRSS")
}
