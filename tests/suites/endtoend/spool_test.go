package endtoend

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/load"
	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

// digest is that of the state file.
func (s *site) digest() [sha256.Size]byte {
	s.t.Helper()
	data, err := os.ReadFile(s.box.State)
	if err != nil {
		s.t.Fatal(err)
	}
	return sha256.Sum256(data)
}

// written is how many bytes the kernel has counted as the relay's on their way
// to storage.
func (s *site) written() (bytes int64) {
	s.t.Helper()
	counters, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", s.relay.PID()))
	if err != nil {
		s.t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(counters), "\nwrite_bytes: ")
	if _, err := fmt.Sscan(after, &bytes); err != nil {
		s.t.Fatal(err)
	}
	return bytes
}

func TestState_IsNotWrittenWhileTheTenantTakesMail(t *testing.T) {
	t.Parallel()
	upstream := startTenant(t, tenantConfig(t))
	s := relaySite(t, told{host: "localhost", port: upstream.Address().Port}, clientCertificate(t, authority()))
	s.mustDeliver()
	before, written := s.digest(), s.written()
	if output, err := s.smtpSource(20, 1000); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	await(t, upstream, 1001)
	if after := s.digest(); after != before {
		t.Error("the state has changed")
	}
	if n := s.written() - written; n != 0 {
		t.Errorf("%d bytes were written for 1,000 messages", n)
	}
}

func TestSpool_IsOfNoUseToAnotherTPMAndSaysSo(t *testing.T) {
	t.Parallel()
	upstream := startTenant(t, tenantConfig(t))
	upstream.SetScript(answers("CONNECT", tenant.HangUp))
	certificate := clientCertificate(t, authority())
	s := relaySite(t, told{host: "localhost", port: upstream.Address().Port}, certificate)
	s.mustKeep("was lost")
	s.stop()
	own := s.tpm
	s.tpm = parts.StartSwtpm(t)
	s.configure()
	const words = "the spool was written under another TPM, so its mail cannot be read on this box: put the storage back into the box it came from"
	const cure = "or discard the mail with: sealpost spool format --yes"
	for _, command := range [][]string{{"queue", "list"}, {"spool", "stat"}, {"spool", "verify"}, {"spool", "dump"}} {
		if result := s.run(command...); result.Status != 1 || !strings.Contains(result.Err, words) || !strings.Contains(result.Err, cure) {
			t.Errorf("%v says %+v", command, result)
		}
	}
	s.importPFX(certificate)
	s.start()
	if event := s.events("no spool", 1)[0]; !strings.Contains(event["cause"].(string), words) || event["code"] != "spool-other-tpm" {
		t.Errorf("the journal says %v", event)
	}
	upstream.SetScript(nil)
	s.mustDeliver()
	s.stop()
	s.tpm = own
	s.configure()
	s.importPFX(certificate)
	s.start()
	s.awaitEmpty()
	if n := len(upstream.Messages()); n != 2 {
		t.Errorf("%d messages arrived", n)
	}
}

func TestFlood_OfOneClientStopsNoOtherAndLosesNothing(t *testing.T) {
	t.Parallel()
	upstream := startTenant(t, tenantConfig(t))
	upstream.SetScript(answers("CONNECT", tenant.HangUp))
	s := relaySite(t, told{host: "localhost", port: upstream.Address().Port, spool: "8MiB"}, clientCertificate(t, authority()))
	before, err := os.Stat(s.box.State)
	if err != nil {
		t.Fatal(err)
	}
	flood := must(load.Dial(s.address(), "127.0.0.2"))
	defer flood.Close()
	answered := map[string]bool{}
	var refusal error
	for n := 0; refusal == nil && n < 10_000; n++ {
		name := fmt.Sprint("flood-", n)
		if refusal = flood.Send(load.NewMessage(name, 20_000)); refusal == nil {
			answered[name] = true
		}
	}
	if refusal == nil || !strings.Contains(refusal.Error(), "4.3.1 this client has used up its share of the spool") {
		t.Errorf("the flooder hears: %v", refusal)
	}
	for n := range 50 {
		other := must(load.Dial(s.address(), fmt.Sprintf("127.0.0.%d", 3+n%5)))
		name := fmt.Sprint("other-", n)
		if err := other.Send(load.NewMessage(name, 20_000)); err != nil {
			t.Errorf("%s hears: %v", name, err)
		}
		answered[name] = true
		other.Close()
	}
	if after := must(os.Stat(s.box.State)); after.Size() != before.Size() {
		t.Errorf("the state had %d bytes, now %d", before.Size(), after.Size())
	}
	upstream.SetScript(nil)
	s.awaitEmpty()
	again := must(load.Dial(s.address(), "127.0.0.2"))
	defer again.Close()
	if err := again.Send(load.NewMessage("after", 20_000)); err != nil {
		t.Errorf("after the flood the flooder hears: %v", err)
	}
	for _, message := range upstream.Messages() {
		name, whole := load.ParseMessage(message.Content)
		if !whole {
			t.Errorf("%q arrived torn", name)
		}
		delete(answered, name)
	}
	if len(answered) > 0 {
		t.Errorf("%d messages that were answered 250 are lost", len(answered))
	}
}

// narrow makes the box's program run with so much memory and no more, by a
// control group and by Go's own limit.
func (s *site) narrow(limit int) {
	s.t.Helper()
	group, file := "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
	if _, err := os.Stat(filepath.Join(group, file)); err != nil {
		group, file = "/sys/fs/cgroup", "memory.max"
		// The controller may have to be offered to groups below first.
		_ = os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte("+memory"), 0o600)
	}
	group = filepath.Join(group, filepath.Base(s.dir))
	if err := os.Mkdir(group, 0o755); err != nil {
		s.t.Fatalf("no memory control group can be made, which this test needs, as root: %v", err)
	}
	s.t.Cleanup(func() { _ = os.Remove(group) })
	if err := os.WriteFile(filepath.Join(group, file), fmt.Append(nil, limit), 0o600); err != nil {
		s.t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\necho $$ > %s/cgroup.procs || exit 1\nGOMEMLIMIT=%d exec %s \"$@\"\n", group, limit, s.box.Program)
	s.write("narrow", []byte(script))
	if err := os.Chmod(s.path("narrow"), 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.box.Program = s.path("narrow")
}

func TestMessage_Of150MBPassesThrough64MiBOfMemory(t *testing.T) {
	t.Parallel()
	config := tenantConfig(t)
	config.Extensions = []string{"SIZE 200000000", "PIPELINING", "8BITMIME", "CHUNKING"}
	upstream := startTenant(t, config)
	s := newSite(t, told{host: "localhost", port: upstream.Address().Port, spool: "512MiB",
		limits: "memory = \"16MiB\"\nmessage_size = \"200MiB\""})
	s.importPFX(clientCertificate(t, authority()))
	s.narrow(64 << 20)
	s.start()
	message := load.NewMessage("scan", 150_000_000)
	for _, down := range []bool{false, true} {
		arrived := len(upstream.Messages())
		if down {
			upstream.SetScript(answers("CONNECT", tenant.HangUp))
			upstream.DropConnections()
			s.mustKeep("")
		}
		scanner := must(load.Dial(s.address(), "127.0.0.2"))
		if err := scanner.Send(message); err != nil {
			t.Fatalf("with the tenant down (%v) the scanner hears: %v", down, err)
		}
		scanner.Close()
		upstream.SetScript(nil)
		s.awaitEmpty()
		if !slices.ContainsFunc(upstream.Messages()[arrived:], func(m tenant.Message) bool {
			name, whole := load.ParseMessage(m.Content)
			return name == "scan" && whole && len(m.Content) > len(message)
		}) {
			t.Errorf("with the tenant down (%v) the scan did not arrive", down)
		}
	}
	t.Logf("the relay took at most %s of memory", s.peak())
}

// peak is the most memory that the relay has taken so far.
func (s *site) peak() string {
	s.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.relay.PID()))
	if err != nil {
		s.t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	line, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(line)
}

func TestQueueCommands_WorkBesideARelayAndWithoutOne(t *testing.T) {
	t.Parallel()
	upstream := startTenant(t, tenantConfig(t))
	upstream.SetScript(answers("CONNECT", tenant.HangUp))
	s := relaySite(t, told{host: "localhost", port: upstream.Address().Port}, clientCertificate(t, authority()))
	for range 4 {
		s.mustKeep("was lost")
	}
	kept := s.relay.Log.Events("queued")
	id := func(n int) string { return kept[n]["id"].(string) }
	for _, running := range []bool{true, false} {
		when := "now"
		if !running {
			s.stop()
			when = "as soon as a relay runs"
		}
		s.mustSay(0, "4 messages queued", "queue", "list")
		s.mustSay(0, `"from":"`+sender+`"`, "queue", "list", "--json")
		s.mustSay(0, "Subject: test ", "queue", "show", id(0))
		s.mustSay(0, "pending     <"+recipient+">", "queue", "show", id(0))
		s.mustSay(1, "NONE: no such message in the spool", "queue", "show", "NONE")
		s.mustSay(2, "add --yes", "queue", "drop", id(0))
		s.mustSay(0, "it will be tried "+when, "queue", "retry", id(0))
		s.mustSay(0, "every message will be tried "+when, "queue", "retry")
		s.mustSay(0, "4 messages from 1 client", "spool", "stat")
		s.mustSay(0, "4 messages, none damaged", "spool", "verify")
		s.mustSay(0, "envelope", "spool", "dump")
	}
	s.mustSay(0, "dropped", "queue", "drop", "--yes", id(0))
	s.start()
	s.mustSay(0, "dropped", "queue", "drop", "--yes", id(1))
	s.mustSay(0, "2 messages queued", "queue", "list")
	upstream.SetScript(nil)
	s.mustSay(0, "every message will be tried now", "queue", "retry")
	s.awaitEmpty()
	if n := len(upstream.Messages()); n != 2 {
		t.Errorf("%d messages arrived", n)
	}
	s.mustSay(0, "0 messages", "spool", "stat")
}

func TestErase_BesideARunningRelayChangesNothing(t *testing.T) {
	t.Parallel()
	upstream := startTenant(t, tenantConfig(t))
	upstream.SetScript(answers("CONNECT", tenant.HangUp))
	s := relaySite(t, told{host: "localhost", port: upstream.Address().Port}, clientCertificate(t, authority()))
	s.mustKeep("was lost")
	for _, command := range [][]string{{"spool", "format", "--yes"}, {"state", "erase", "--yes"}} {
		s.mustSay(1, "nothing was changed", command...)
	}
	s.stop()
	upstream.SetScript(nil)
	s.start()
	s.awaitEmpty()
	if got := upstream.Messages(); len(got) != 1 {
		t.Errorf("%d messages arrived: the spool's key or the certificate is gone", len(got))
	}
	s.mustSay(0, "relay.contoso.com", "certificate", "show")
	s.stop()
	s.mustSay(0, "erased", "state", "erase", "--yes")
	s.mustSay(1, "no client certificate", "certificate", "show")
}

func TestSpool_OverwrittenByAnotherProgramNamesItsCure(t *testing.T) {
	t.Parallel()
	s := newSite(t, told{host: "localhost", protection: "file"})
	s.start()
	s.stop()
	state, err := os.OpenFile(s.box.State, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	const ring, length = 2 << 20, 8 << 20
	if _, err := state.WriteAt(bytes.Repeat([]byte("junk"), length/4), ring); err != nil {
		t.Fatal(err)
	}
	s.mustSay(1, "create a new spool: sealpost spool format --yes", "spool", "stat")
	s.start()
	if event := s.events("no spool", 1)[0]; !strings.Contains(event["cause"].(string), "contains no spool of this version") || event["code"] != "spool-foreign" {
		t.Errorf("the journal says %v", event)
	}
	s.stop()
	s.mustSay(0, "the spool is empty", "spool", "format", "--yes")
	s.mustSay(0, "0 messages", "spool", "stat")
}

// mustSay runs a command that has to end so and say so.
func (s *site) mustSay(status int, words string, args ...string) {
	s.t.Helper()
	begun := time.Now()
	result := s.run(args...)
	if result.Status != status || !strings.Contains(result.Out+result.Err, words) {
		s.t.Errorf("%v ended with %d after %s:\n%s%s", args, result.Status, time.Since(begun), result.Out, result.Err)
	}
}
