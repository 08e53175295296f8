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

// recoveryRun is the name of the run behind the table.
const recoveryRun = "recovery of a full ring"

// recover fills a ring of 1 GiB with messages of 4 KiB, ends the relay as a
// power cut would, and looks at how it comes back.
func (b *bench) recover(ctx context.Context, o options) (err error) {
	if !strings.Contains(recoveryRun, o.only) {
		return nil
	}
	fmt.Printf("\n%s of 1 GiB, messages of 4 KiB\n", recoveryRun)
	if err := b.store(ctx); err != nil {
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
	kept := strings.Count(b.sealpost.relay.Log.String(), `"event":"queued"`)
	return b.comeBack(kept, empty)
}

// store runs the spool's own benchmark, without the rest of the relay, on the
// same disk.
func (b *bench) store(ctx context.Context) error {
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
		return fmt.Errorf("BenchmarkOpen of relay/spool gave no figures: %s", output)
	}
	fmt.Printf("  the spool alone: %.0f messages in %.2f s, %.0f bytes of heap for each\n",
		metrics["messages"], metrics["s/recovery"], metrics["B/message"])
	return nil
}

// fill sends mail until the spool takes no more.
func (b *bench) fill(ctx context.Context) error {
	const everMore, clients, full = "1000000", "50", " 452 "
	begun := time.Now()
	output, err := exec.CommandContext(ctx, "smtp-source", "-d", "-s", clients, "-m", everMore, "-l", strconv.Itoa(4<<10),
		"-f", sender, "-t", recipient, fmt.Sprintf("%s:%d", host, b.sealpost.port())).CombinedOutput()
	if err == nil || !strings.Contains(string(output), full) {
		return fmt.Errorf("filling the ring, which ought to end with%q: %w: %s", full, err, output)
	}
	fmt.Printf("  filled by smtp-source over %s connections in %.1f s\n", clients, time.Since(begun).Seconds())
	return nil
}

// comeBack starts the relay on the ring as it was left, with nothing of it in
// the page cache.
func (b *bench) comeBack(kept int, empty int64) error {
	const everything = "3"
	if _, err := b.disk.settled(); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte(everything), 0); err != nil {
		return fmt.Errorf("emptying the page cache: %w", err)
	}
	begun := time.Now()
	if err := b.sealpost.resume(); err != nil {
		return err
	}
	took := time.Since(begun)
	full, err := resident(b.sealpost.relay)
	if err != nil {
		return err
	}
	opened := b.sealpost.relay.Log.Events("spool opened")
	if len(opened) != 1 {
		return fmt.Errorf("the journal does not say that the spool was opened:\n%.2000s", b.sealpost.relay.Log)
	}
	messages, _ := opened[0]["messages"].(float64)
	if int(messages) < kept || kept == 0 {
		return fmt.Errorf("%d messages were answered 250 and %.0f are there", kept, messages)
	}
	fmt.Printf(`  the relay, from exec to "relay started": %.2f s, of which the spool: %v; %.0f messages, %v octets
  its memory (VmRSS): %.1f MiB, %.1f MiB with an empty ring: %.0f bytes for each queued message
`, took.Seconds(), opened[0]["took"], messages, opened[0]["octets"],
		mebibytes(full), mebibytes(empty), float64(full-empty)/messages)
	return nil
}

// resident is a relay's resident set size in bytes.
func resident(r *box.Relay) (int64, error) {
	return kibibytes(fmt.Sprintf("/proc/%d/status", r.PID()), "VmRSS")
}
