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

// stateDigest returns the digest of the state file.
func (s *site) stateDigest() [sha256.Size]byte {
	s.t.Helper()
	data, err := os.ReadFile(s.box.State)
	if err != nil {
		s.t.Fatal(err)
	}
	return sha256.Sum256(data)
}

// bytesWritten returns the number of bytes that the relay has sent to storage, as
// counted by the kernel.
func (s *site) bytesWritten() (bytes int64) {
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

func TestState_IsNotWrittenWhileTheTenantAcceptsMail(t *testing.T) {
	t.Parallel()
	upstream := startTenant(t, tenantConfig(t))
	s := relaySite(t, siteConfig{host: "localhost", port: upstream.Address().Port}, clientCertificate(t, authority()))
	s.mustDeliver()
	before, written := s.stateDigest(), s.bytesWritten()
	if output, err := s.smtpSource(20, 1000); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	awaitMessages(t, upstream, 1001)
	if after := s.stateDigest(); after != before {
		t.Error("the state has changed")
	}
	if n := s.bytesWritten() - written; n != 0 {
		t.Errorf("got %d bytes written for 1,000 messages, want 0", n)
	}
}

func TestSpool_ReportsThatAnotherTPMSealedIt(t *testing.T) {
	t.Parallel()
	upstream := startTenant(t, tenantConfig(t))
	upstream.SetScript(replyTo("CONNECT", tenant.HangUp))
	certificate := clientCertificate(t, authority())
	s := relaySite(t, siteConfig{host: "localhost", port: upstream.Address().Port}, certificate)
	s.mustQueue("was lost")
	s.stop()
	original := s.tpm
	s.tpm = parts.StartSwtpm(t)
	s.configure()
	const want = "the spool was written under another TPM, so its mail cannot be read on this box: put the storage back into the box it came from"
	const cure = "or discard the mail with: sealpost spool format --yes"
	for _, command := range [][]string{{"queue", "list"}, {"spool", "stat"}, {"spool", "verify"}, {"spool", "dump"}} {
		if result := s.run(command...); result.Status != 1 || !strings.Contains(result.Err, want) || !strings.Contains(result.Err, cure) {
			t.Errorf("%v: got %+v, want status 1, %q and %q", command, result, want, cure)
		}
	}
	s.importPFX(certificate)
	s.start()
	if event := s.events("no spool", 1)[0]; !strings.Contains(event["cause"].(string), want) || event["code"] != "spool-other-tpm" {
		t.Errorf("got event %v, want code spool-other-tpm and %q", event, want)
	}
	upstream.SetScript(nil)
	s.mustDeliver()
	s.stop()
	s.tpm = original
	s.configure()
	s.importPFX(certificate)
	s.start()
	s.awaitEmpty()
	if n := len(upstream.Messages()); n != 2 {
		t.Errorf("got %d messages, want 2", n)
	}
}

func TestFlood_OfOneClientBlocksNoOtherAndLosesNothing(t *testing.T) {
	t.Parallel()
	upstream := startTenant(t, tenantConfig(t))
	upstream.SetScript(replyTo("CONNECT", tenant.HangUp))
	s := relaySite(t, siteConfig{host: "localhost", port: upstream.Address().Port, spool: "8MiB"}, clientCertificate(t, authority()))
	before, err := os.Stat(s.box.State)
	if err != nil {
		t.Fatal(err)
	}
	flood := must(load.Dial(s.address(), "127.0.0.2"))
	defer flood.Close()
	answered := map[string]bool{}
	var rejection error
	for n := 0; rejection == nil && n < 10_000; n++ {
		name := fmt.Sprint("flood-", n)
		if rejection = flood.Send(load.NewMessage(name, 20_000)); rejection == nil {
			answered[name] = true
		}
	}
	if rejection == nil || !strings.Contains(rejection.Error(), "4.3.1 this client has used up its share of the spool") {
		t.Errorf("the flooding client got %v, want the reply 4.3.1", rejection)
	}
	for n := range 50 {
		other := must(load.Dial(s.address(), fmt.Sprintf("127.0.0.%d", 3+n%5)))
		name := fmt.Sprint("other-", n)
		if err := other.Send(load.NewMessage(name, 20_000)); err != nil {
			t.Errorf("%s: got %v, want the reply 250", name, err)
		}
		answered[name] = true
		other.Close()
	}
	if after := must(os.Stat(s.box.State)); after.Size() != before.Size() {
		t.Errorf("got a state file of %d bytes, want %d", after.Size(), before.Size())
	}
	upstream.SetScript(nil)
	s.awaitEmpty()
	afterFlood := must(load.Dial(s.address(), "127.0.0.2"))
	defer afterFlood.Close()
	if err := afterFlood.Send(load.NewMessage("after", 20_000)); err != nil {
		t.Errorf("the flooding client got %v after the flood, want the reply 250", err)
	}
	for _, message := range upstream.Messages() {
		name, intact := load.ParseMessage(message.Content)
		if !intact {
			t.Errorf("message %q arrived damaged", name)
		}
		delete(answered, name)
	}
	if len(answered) > 0 {
		t.Errorf("%d messages that were answered 250 are lost", len(answered))
	}
}

// limitMemory limits the memory of the box's program by a control group and by
// GOMEMLIMIT.
func (s *site) limitMemory(limit int) {
	s.t.Helper()
	group, file := "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
	if _, err := os.Stat(filepath.Join(group, file)); err != nil {
		group, file = "/sys/fs/cgroup", "memory.max"
		// The controller may have to be enabled for child groups first.
		_ = os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte("+memory"), 0o600)
	}
	group = filepath.Join(group, filepath.Base(s.dir))
	if err := os.Mkdir(group, 0o755); err != nil {
		s.t.Fatalf("creating the memory control group, which needs root: %v", err)
	}
	s.t.Cleanup(func() { _ = os.Remove(group) })
	if err := os.WriteFile(filepath.Join(group, file), fmt.Append(nil, limit), 0o600); err != nil {
		s.t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\necho $$ > %s/cgroup.procs || exit 1\nGOMEMLIMIT=%d exec %s \"$@\"\n", group, limit, s.box.Program)
	s.write("limited", []byte(script))
	if err := os.Chmod(s.path("limited"), 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.box.Program = s.path("limited")
}

func TestMessage_Of150MBPassesThrough64MiBOfMemory(t *testing.T) {
	t.Parallel()
	config := tenantConfig(t)
	config.Extensions = []string{"SIZE 200000000", "PIPELINING", "8BITMIME", "CHUNKING"}
	upstream := startTenant(t, config)
	s := newSite(t, siteConfig{host: "localhost", port: upstream.Address().Port, spool: "512MiB",
		limits: "memory = \"16MiB\"\nmessage_size = \"200MiB\""})
	s.importPFX(clientCertificate(t, authority()))
	s.limitMemory(64 << 20)
	s.start()
	message := load.NewMessage("scan", 150_000_000)
	for _, down := range []bool{false, true} {
		arrived := len(upstream.Messages())
		if down {
			upstream.SetScript(replyTo("CONNECT", tenant.HangUp))
			upstream.DropConnections()
			s.mustQueue("")
		}
		client := must(load.Dial(s.address(), "127.0.0.2"))
		if err := client.Send(message); err != nil {
			t.Fatalf("tenant down=%v: the client got %v, want the reply 250", down, err)
		}
		client.Close()
		upstream.SetScript(nil)
		s.awaitEmpty()
		if !slices.ContainsFunc(upstream.Messages()[arrived:], func(m tenant.Message) bool {
			name, intact := load.ParseMessage(m.Content)
			return name == "scan" && intact && len(m.Content) > len(message)
		}) {
			t.Errorf("tenant down=%v: the message did not arrive", down)
		}
	}
	t.Logf("the peak memory of the relay was %s", s.peakMemory())
}

// peakMemory returns the peak resident memory of the relay.
func (s *site) peakMemory() string {
	s.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.relay.PID()))
	if err != nil {
		s.t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	line, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(line)
}

func TestQueueCommands_WorkWithAndWithoutARunningRelay(t *testing.T) {
	t.Parallel()
	upstream := startTenant(t, tenantConfig(t))
	upstream.SetScript(replyTo("CONNECT", tenant.HangUp))
	s := relaySite(t, siteConfig{host: "localhost", port: upstream.Address().Port}, clientCertificate(t, authority()))
	for range 4 {
		s.mustQueue("was lost")
	}
	queued := s.relay.Log.Events("queued")
	id := func(n int) string { return queued[n]["id"].(string) }
	for _, running := range []bool{true, false} {
		when := "now"
		if !running {
			s.stop()
			when = "as soon as a relay runs"
		}
		s.mustPrint(0, "4 messages queued", "queue", "list")
		s.mustPrint(0, `"from":"`+sender+`"`, "queue", "list", "--json")
		s.mustPrint(0, "Subject: test ", "queue", "show", id(0))
		s.mustPrint(0, "pending     <"+recipient+">", "queue", "show", id(0))
		s.mustPrint(1, "NONE: no such message in the spool", "queue", "show", "NONE")
		s.mustPrint(2, "add --yes", "queue", "drop", id(0))
		s.mustPrint(0, "it will be tried "+when, "queue", "retry", id(0))
		s.mustPrint(0, "every message will be tried "+when, "queue", "retry")
		s.mustPrint(0, "4 messages from 1 client", "spool", "stat")
		s.mustPrint(0, "4 messages, none damaged", "spool", "verify")
		s.mustPrint(0, "envelope", "spool", "dump")
	}
	s.mustPrint(0, "dropped", "queue", "drop", "--yes", id(0))
	s.start()
	s.mustPrint(0, "dropped", "queue", "drop", "--yes", id(1))
	s.mustPrint(0, "2 messages queued", "queue", "list")
	upstream.SetScript(nil)
	s.mustPrint(0, "every message will be tried now", "queue", "retry")
	s.awaitEmpty()
	if n := len(upstream.Messages()); n != 2 {
		t.Errorf("got %d messages, want 2", n)
	}
	s.mustPrint(0, "0 messages", "spool", "stat")
}

func TestErase_WhileARelayRunsChangesNothing(t *testing.T) {
	t.Parallel()
	upstream := startTenant(t, tenantConfig(t))
	upstream.SetScript(replyTo("CONNECT", tenant.HangUp))
	s := relaySite(t, siteConfig{host: "localhost", port: upstream.Address().Port}, clientCertificate(t, authority()))
	s.mustQueue("was lost")
	for _, command := range [][]string{{"spool", "format", "--yes"}, {"state", "erase", "--yes"}} {
		s.mustPrint(1, "nothing was changed", command...)
	}
	s.stop()
	upstream.SetScript(nil)
	s.start()
	s.awaitEmpty()
	if got := upstream.Messages(); len(got) != 1 {
		t.Errorf("got %d messages, want 1: the spool's key or the certificate is lost", len(got))
	}
	s.mustPrint(0, "relay.contoso.com", "certificate", "show")
	s.stop()
	s.mustPrint(0, "erased", "state", "erase", "--yes")
	s.mustPrint(1, "no client certificate", "certificate", "show")
}

func TestSpool_OverwrittenByAnotherProgramIsReportedWithACure(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteConfig{host: "localhost", protection: "file"})
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
	s.mustPrint(1, "create a new spool: sealpost spool format --yes", "spool", "stat")
	s.start()
	if event := s.events("no spool", 1)[0]; !strings.Contains(event["cause"].(string), "contains no spool of this version") || event["code"] != "spool-foreign" {
		t.Errorf("got event %v, want code spool-foreign", event)
	}
	s.stop()
	s.mustPrint(0, "the spool is empty", "spool", "format", "--yes")
	s.mustPrint(0, "0 messages", "spool", "stat")
}

// mustPrint runs a command and checks its exit status and output.
func (s *site) mustPrint(status int, want string, args ...string) {
	s.t.Helper()
	start := time.Now()
	result := s.run(args...)
	if result.Status != status || !strings.Contains(result.Out+result.Err, want) {
		s.t.Errorf("%v: got status %d after %s, want %d and %q:\n%s%s", args, result.Status, time.Since(start), status, want, result.Out, result.Err)
	}
}
