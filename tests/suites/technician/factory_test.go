package technician

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"sealpost/tests/rigs/lab"
	"sealpost/tests/rigs/machine"
	"sealpost/tests/rigs/site"
)

// TestFactoryBox_IsSetUpByAStickAlone shares a box that is new from the factory,
// until the last case sets it up.
func TestFactoryBox_IsSetUpByAStickAlone(t *testing.T) {
	s := lab.StartSite(t)
	shared := lab.Share(lab.Start)
	shared.Case(t, "has its console on the USB port too", hasConsoleOverUSB)
	for _, refusal := range refusals(t, s) {
		shared.Case(t, "refuses a stick with "+refusal.name, func(t *testing.T, b *lab.Box) {
			text := take(t, b, "stick", refusal.stick, refused)
			for _, words := range append(refusal.words, "Nothing was changed") {
				if !strings.Contains(text, words) {
					t.Errorf("the result does not say %q:\n%s", words, text)
				}
			}
			mustBeNew(t, b)
		})
	}
	shared.Case(t, "refuses a stick with a broken file system", func(t *testing.T, b *lab.Box) {
		show(t, b, "broken", brokenStick(t), refused)
		b.MustLog(t, "format the stick as FAT32")
		mustBeNew(t, b)
		awaitLamp(t, b, factory)
	})
	shared.Case(t, "takes a good stick over", func(t *testing.T, b *lab.Box) { isSetUpByStick(t, s, b) })
	shared.Retire(t)
}

func hasConsoleOverUSB(t *testing.T, b *lab.Box) {
	b.MustLog(t, "console on /dev/ttyGS0")
	cable, err := b.USBCable()
	if err != nil {
		t.Fatal(err)
	}
	terminal := machine.NewTerminal(cable)
	defer terminal.Close()
	// A serial line loses what is sent before somebody listens.
	if err := terminal.Send(""); err != nil {
		t.Fatal(err)
	}
	if err := terminal.Expect("This box is not set up yet"); err != nil {
		t.Fatal(err)
	}
}

// mustBeNew checks that the box still takes no mail.
func mustBeNew(t *testing.T, b *lab.Box) {
	t.Helper()
	if greeting := b.Greeting(); greeting != "" {
		t.Errorf("the box says %q", greeting)
	}
}

// refusal is a stick that a box refuses, with the reasons that it must give.
type refusal struct {
	name  string
	stick lab.Stick
	words []string
}

func refusals(t *testing.T, s *site.Site) []refusal {
	t.Helper()
	crowd := map[string]string{}
	for i := range 10_000 {
		crowd[fmt.Sprintf("sealpost/%d.pfx", i)] = "x"
	}
	guessed := lab.FilesFor(s)
	guessed["sealpost/password.txt"] = "guess"
	return []refusal{
		{"a wrong password", lab.NewStick(t, guessed),
			[]string{"sealpost/password.txt: this password does not open sealpost/contoso.pfx", "serial console"}},
		{"bad TOML", lab.NewStick(t, map[string]string{"sealpost/sealpost.toml": "[site\n"}), []string{"sealpost/sealpost.toml: line 1: ", "correct this line"}},
		{"10,000 files", lab.NewStick(t, crowd), []string{"more than 1000 files"}},
		{"a large file", largeStick(t), []string{"sealpost/sealpost.toml: it is larger than 64 KiB"}},
		{"settings for another box", lab.NewStick(t, map[string]string{"sealpost/525400999999/sealpost.toml": lab.SettingsFor(s)}),
			[]string{"(525400999999)", "525400123456"}},
	}
}

// brokenStick is one whose first sector is overwritten with zeros.
func brokenStick(t *testing.T) lab.Stick {
	t.Helper()
	broken := lab.NewStick(t, nil)
	file, err := os.OpenFile(broken.Image, os.O_WRONLY, 0)
	if err == nil {
		_, err = file.Write(make([]byte, 512))
	}
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	return broken
}

// isSetUpByStick sets a new box up with a partitioned stick, and shows the same
// stick to it again.
func isSetUpByStick(t *testing.T, s *site.Site, b *lab.Box) {
	t.Helper()
	good := partitioned(t, lab.StickFor(t, s))
	text := take(t, b, "good", good, done)
	for _, words := range []string{"The box has applied these files.", "525400123456", "sealpost/contoso.pfx", "\r\n"} {
		if !strings.Contains(text, words) {
			t.Errorf("the result does not say %q:\n%s", words, text)
		}
	}
	if strings.Contains(text, s.Password) || strings.Contains(b.KernelLog(), s.Password) {
		t.Error("the password is in the result or in the log")
	}
	b.AwaitBanner(t)
	arrived := lab.MustArrive(t, s, func() {
		if err := b.Send("first"); err != nil {
			t.Fatal(err)
		}
	})
	mustBeVerified(t, arrived)
	if text := take(t, b, "again", good, done); !strings.Contains(text, "already applied exactly these files") {
		t.Errorf("the same stick once more:\n%s", text)
	}
}

// mustBeVerified checks that Postfix verified the site's certificate when it took
// the message.
func mustBeVerified(t *testing.T, text string) {
	t.Helper()
	if !strings.Contains(text, `Client CN "relay.contoso.com"`) || !strings.Contains(text, "verified OK") {
		t.Errorf("Postfix says of the certificate:\n%s", text)
	}
}
