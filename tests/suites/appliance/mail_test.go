package appliance

import (
	"strings"
	"testing"

	"sealpost/tests/rigs/lab"
)

func TestABoxThatWasSetUpRelaysFromItsFirstSecondsOn(t *testing.T) {
	s, b := lab.OpenSite(t), lab.New(t)
	b.SetUp(t, lab.FullyFor(s))
	b.SwitchOn(t)
	b.AwaitBanner(t)
	if err := b.Send("first"); err != nil {
		t.Fatal(err)
	}
	texts, err := s.Postfix.Messages(1)
	if err != nil {
		t.Fatalf("%v\n%s", err, b.KernelLog())
	}
	if !strings.Contains(texts[0], `Client CN "relay.contoso.com"`) || !strings.Contains(texts[0], "verified OK") {
		t.Errorf("Postfix says of the certificate:\n%s", texts[0])
	}
}
