package console

import (
	"testing"
)

func TestATechnicianSetsUpABoxFromTheFactoryToATestMessage(t *testing.T) {
	box := newFakeBox()
	play(t, box, "first-start")
	if len(box.commits) != 1 {
		t.Fatalf("%d commits", len(box.commits))
	}
	c := box.commits[0]
	const want = "[senders]\naccepted_domains = ['contoso.com']\ndefault = 'printer@contoso.com'\n\n[site]\nalert = 'alerts@msp.example'\nname = 'Contoso Leeds'\n"
	if c.Settings != want || string(c.PFX) != fakePFX || c.Password != fakePassword || c.PIN == nil || *c.PIN != "4711" || c.Trial {
		t.Errorf("committed %v with settings\n%s", c, c.Settings)
	}
	if len(box.tests) != 1 || box.tests[0] != "alerts@msp.example" {
		t.Errorf("test messages to %q", box.tests)
	}
}
