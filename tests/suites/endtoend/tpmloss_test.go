package endtoend

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/parts"
)

// tpmSite returns a relay and its Postfix. After a restart of Postfix the relay must
// sign again, because TLS sessions cannot be resumed.
func tpmSite(t *testing.T) (*site, *parts.Postfix, tls.Certificate) {
	t.Helper()
	certificate := clientCertificate(t, authority())
	postfix := startPostfix(t, parts.PostfixConfig{Clients: []*x509.Certificate{certificate.Leaf}})
	s := newSite(t, siteConfig{host: "localhost", port: postfix.Port})
	s.importPFX(certificate)
	return s, postfix, certificate
}

func mustSucceed(t *testing.T, do func() error) {
	t.Helper()
	if err := do(); err != nil {
		t.Fatal(err)
	}
}

// mustDefer sends a message that can be neither delivered nor queued.
func (s *site) mustDefer(want string) {
	s.t.Helper()
	output, err := s.swaks()
	if err == nil || !strings.Contains(output, "<** 451 4.3.5") || !strings.Contains(output, want) {
		s.t.Errorf("swaks: %v, want the reply 451 4.3.5 with %q\n%s", err, want, output)
	}
	s.mustLogSignatureFailure(want)
}

// mustLogSignatureFailure waits for the journal event with the cause of a failed signature.
func (s *site) mustLogSignatureFailure(want string) {
	s.t.Helper()
	event := s.events("signature failed", 1)[0]
	if cause, _ := event["cause"].(string); !strings.Contains(cause, want) {
		s.t.Errorf("got event %v, want cause %q", event, want)
	}
}

// awaitDelivery sends messages until one is delivered.
func (s *site) awaitDelivery() {
	s.t.Helper()
	const timeout = time.Minute
	for deadline := time.Now().Add(timeout); ; {
		output, err := s.swaks()
		if err == nil && strings.Contains(output, "accepted by") {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("no message was delivered: %s", output)
		}
	}
}

// mustIdle checks that the relay uses almost no processor time for three seconds.
func (s *site) mustIdle() {
	s.t.Helper()
	const (
		interval = 3 * time.Second
		limit    = 300 * time.Millisecond
	)
	before, err := s.relay.CPU()
	if err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(interval)
	after, err := s.relay.CPU()
	if err != nil {
		s.t.Fatal(err)
	}
	if used := after - before; used > limit {
		s.t.Errorf("the idle relay used %s of processor time in %s, want at most %s", used, interval, limit)
	}
}

// awaitTPM waits until the journal reports this state of the TPM.
func (s *site) awaitTPM(state string) {
	s.t.Helper()
	if err := s.relay.Await(`"event":"TPM","state":"` + state + `"`); err != nil {
		s.t.Error(err)
	}
}

const (
	tpmAbsent   = "TPM absent: check that the TPM is fitted and that keys.tpm in the settings names it"
	tpmReplaced = "TPM cleared or replaced: import the certificate again"
)

func TestTPM_RestartIsTransparentToTheRelay(t *testing.T) {
	t.Parallel()
	s, postfix, _ := tpmSite(t)
	s.start()
	s.mustDeliver()
	for restart := range 2 {
		mustSucceed(t, s.tpm.Stop)
		mustSucceed(t, s.tpm.Start)
		mustSucceed(t, postfix.Restart)
		s.mustDeliver()
		s.events("signature", restart+2)
	}
}

func TestTPM_AbsentIsReportedAndAwaited(t *testing.T) {
	t.Parallel()
	s, postfix, _ := tpmSite(t)
	s.start()
	s.mustDeliver()
	mustSucceed(t, s.tpm.Stop)
	mustSucceed(t, postfix.Restart)
	for range 3 {
		s.mustQueue(tpmAbsent)
	}
	s.mustLogSignatureFailure(tpmAbsent)
	s.mustIdle()
	s.awaitTPM("absent")
	if !s.relay.Running() {
		t.Fatalf("the relay exited:\n%s", s.relay.Log)
	}
	mustSucceed(t, s.tpm.Start)
	s.awaitEmpty()
	s.mustDeliver()
	s.events("signature", 2)
}

func TestTPM_ClearedNeedsTheCertificateAgain(t *testing.T) {
	t.Parallel()
	s, postfix, certificate := tpmSite(t)
	s.start()
	s.mustDeliver()
	mustSucceed(t, s.tpm.Clear)
	mustSucceed(t, postfix.Restart)
	s.mustQueue(tpmReplaced)
	s.mustLogSignatureFailure(tpmReplaced)
	s.mustIdle()
	s.awaitTPM("cleared or replaced")
	s.stop()
	s.importPFX(certificate)
	s.start()
	s.mustDeliver()
	if event := s.events("no spool", 1)[0]; !strings.Contains(event["cause"].(string), "put the storage back into the box it came from") || event["code"] != "spool-other-tpm" {
		t.Errorf("got event %v, want code spool-other-tpm", event)
	}
	s.stop()
	if result := s.run("spool", "format", "--yes"); result.Status != 0 {
		t.Fatalf("spool format: got %+v, want status 0", result)
	}
	s.start()
	s.mustDeliver()
	if events := s.relay.Log.Events("no spool"); len(events) > 0 {
		t.Errorf("got events %v, want none", events)
	}
}

func TestTPM_MayAppearAfterTheRelayStarts(t *testing.T) {
	t.Parallel()
	s, _, _ := tpmSite(t)
	mustSucceed(t, s.tpm.Stop)
	s.start()
	s.mustDefer(tpmAbsent)
	mustSucceed(t, s.tpm.Start)
	s.awaitDelivery()
}
