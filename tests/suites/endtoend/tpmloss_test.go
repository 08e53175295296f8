package endtoend

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/parts"
)

// tpmSite is a relay to a Postfix that forgets TLS sessions when it is told to,
// so that the relay must sign again.
func tpmSite(t *testing.T) (*site, *parts.Postfix, tls.Certificate) {
	t.Helper()
	certificate := clientCertificate(t, authority())
	postfix := startPostfix(t, parts.PostfixConfig{Clients: []*x509.Certificate{certificate.Leaf}})
	s := newSite(t, told{host: "localhost", port: postfix.Port})
	s.importPFX(certificate)
	return s, postfix, certificate
}

func try(t *testing.T, change func() error) {
	t.Helper()
	if err := change(); err != nil {
		t.Fatal(err)
	}
}

// mustDefer sends a message that can neither be passed on nor kept.
func (s *site) mustDefer(words string) {
	s.t.Helper()
	output, err := s.swaks()
	if err == nil || !strings.Contains(output, "<** 451 4.3.5") || !strings.Contains(output, words) {
		s.t.Errorf("swaks ended with %v:\n%s", err, output)
	}
	s.mustFailToSign(words)
}

// mustFailToSign waits for the journal to say why there was no signature.
func (s *site) mustFailToSign(words string) {
	s.t.Helper()
	event := s.events("signature failed", 1)[0]
	if cause, _ := event["cause"].(string); !strings.Contains(cause, words) {
		s.t.Errorf("the journal says %v", event)
	}
}

// awaitDelivery sends until a message is taken.
func (s *site) awaitDelivery() {
	s.t.Helper()
	const timeout = 15 * time.Second
	for deadline := time.Now().Add(timeout); ; {
		output, err := s.swaks()
		if err == nil && strings.Contains(output, "accepted by") {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("no message is taken: %s", output)
		}
	}
}

// mustIdle watches the relay do nothing for three seconds.
func (s *site) mustIdle() {
	s.t.Helper()
	const (
		watched = 3 * time.Second
		most    = 300 * time.Millisecond
	)
	before, err := s.relay.CPU()
	if err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(watched)
	after, err := s.relay.CPU()
	if err != nil {
		s.t.Fatal(err)
	}
	if used := after - before; used > most {
		s.t.Errorf("with nothing to do the relay used %s of processor time in %s", used, watched)
	}
}

// awaitTPM waits until the journal has the TPM in that state.
func (s *site) awaitTPM(state string) {
	s.t.Helper()
	if err := s.relay.Await(`"event":"TPM","state":"` + state + `"`); err != nil {
		s.t.Error(err)
	}
}

const (
	absent   = "TPM absent: check that the TPM is fitted and that keys.tpm in the settings names it"
	replaced = "TPM cleared or replaced: import the certificate again"
)

func TestTPM_MayRestartUnderTheRelay(t *testing.T) {
	t.Parallel()
	s, postfix, _ := tpmSite(t)
	s.start()
	s.mustDeliver()
	for restart := range 2 {
		try(t, s.tpm.Stop)
		try(t, s.tpm.Start)
		try(t, postfix.Restart)
		s.mustDeliver()
		s.events("signature", restart+2)
	}
}

func TestTPM_AbsentIsReportedAndAwaited(t *testing.T) {
	t.Parallel()
	s, postfix, _ := tpmSite(t)
	s.start()
	s.mustDeliver()
	try(t, s.tpm.Stop)
	try(t, postfix.Restart)
	for range 3 {
		s.mustKeep(absent)
	}
	s.mustFailToSign(absent)
	s.mustIdle()
	s.awaitTPM("absent")
	if !s.relay.Running() {
		t.Fatalf("the relay has ended:\n%s", s.relay.Log)
	}
	try(t, s.tpm.Start)
	s.awaitEmpty()
	s.mustDeliver()
	s.events("signature", 2)
}

func TestTPM_ClearedTakesTheCertificateAgain(t *testing.T) {
	t.Parallel()
	s, postfix, certificate := tpmSite(t)
	s.start()
	s.mustDeliver()
	try(t, s.tpm.Clear)
	try(t, postfix.Restart)
	s.mustKeep(replaced)
	s.mustFailToSign(replaced)
	s.mustIdle()
	s.awaitTPM("cleared or replaced")
	s.stop()
	s.importPFX(certificate)
	s.start()
	s.mustDeliver()
	if event := s.events("no spool", 1)[0]; !strings.Contains(event["cause"].(string), "put the storage back into the box it came from") || event["code"] != "spool-other-tpm" {
		t.Errorf("the journal says %v", event)
	}
	s.stop()
	if result := s.run("spool", "format", "--yes"); result.Status != 0 {
		t.Fatalf("the format ended with %+v", result)
	}
	s.start()
	s.mustDeliver()
	if events := s.relay.Log.Events("no spool"); len(events) > 0 {
		t.Errorf("the journal says %v", events)
	}
}

func TestTPM_MayAppearAfterTheRelayStarts(t *testing.T) {
	t.Parallel()
	s, _, _ := tpmSite(t)
	try(t, s.tpm.Stop)
	s.start()
	s.mustDefer(absent)
	try(t, s.tpm.Start)
	s.awaitDelivery()
}
