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

// TestFactoryBox_IsSetUpByAStickAlone shares a box in factory state. The last case
// sets it up.
func TestFactoryBox_IsSetUpByAStickAlone(t *testing.T) {
	s := lab.StartSite(t)
	shared := lab.Share(lab.Start)
	shared.Case(t, "has its console on the USB port too", hasConsoleOverUSB)
	for _, badStick := range badSticks(t, s) {
		shared.Case(t, "rejects a stick with "+badStick.name, func(t *testing.T, b *lab.Box) {
			text := applyStick(t, b, "stick", badStick.stick, rejectedPattern)
			for _, want := range append(badStick.want, "Nothing was changed") {
				if !strings.Contains(text, want) {
					t.Errorf("the result lacks %q:\n%s", want, text)
				}
			}
			mustBeNew(t, b)
		})
	}
	shared.Case(t, "rejects a stick with a broken file system", func(t *testing.T, b *lab.Box) {
		insertStick(t, b, "broken", brokenStick(t), rejectedPattern)
		b.MustLog(t, "format the stick as FAT32")
		mustBeNew(t, b)
		awaitLamp(t, b, factoryPattern)
	})
	shared.Case(t, "applies a good stick", func(t *testing.T, b *lab.Box) { setsUpFromStick(t, s, b) })
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
	// Output before the port is open is lost.
	if err := terminal.Send(""); err != nil {
		t.Fatal(err)
	}
	if err := terminal.Expect("This box is not set up yet"); err != nil {
		t.Fatal(err)
	}
}

// mustBeNew checks that the box still accepts no mail.
func mustBeNew(t *testing.T, b *lab.Box) {
	t.Helper()
	if greeting := b.Greeting(); greeting != "" {
		t.Errorf("got greeting %q, want none", greeting)
	}
}

// badStick is a stick that a box rejects, with the expected reasons.
type badStick struct {
	name  string
	stick lab.Stick
	want  []string
}

func badSticks(t *testing.T, s *site.Site) []badStick {
	t.Helper()
	manyFiles := map[string]string{}
	for i := range 10_000 {
		manyFiles[fmt.Sprintf("sealpost/%d.pfx", i)] = "x"
	}
	wrongPassword := lab.FilesFor(s)
	wrongPassword["sealpost/password.txt"] = "guess"
	return []badStick{
		{"a wrong password", lab.NewStick(t, wrongPassword),
			[]string{"sealpost/password.txt: this password does not open sealpost/contoso.pfx", "serial console"}},
		{"bad TOML", lab.NewStick(t, map[string]string{"sealpost/sealpost.toml": "[site\n"}), []string{"sealpost/sealpost.toml: line 1: ", "correct this line"}},
		{"10,000 files", lab.NewStick(t, manyFiles), []string{"more than 1000 files"}},
		{"a large file", largeStick(t), []string{"sealpost/sealpost.toml: it is larger than 64 KiB"}},
		{"settings for another box", lab.NewStick(t, map[string]string{"sealpost/525400999999/sealpost.toml": lab.SettingsFor(s)}),
			[]string{"(525400999999)", "525400123456"}},
	}
}

// brokenStick returns a stick whose first sector is zero.
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

// setsUpFromStick sets up a new box with a partitioned stick, and inserts the same
// stick again.
func setsUpFromStick(t *testing.T, s *site.Site, b *lab.Box) {
	t.Helper()
	good := withPartitionTable(t, lab.StickFor(t, s))
	text := applyStick(t, b, "good", good, appliedPattern)
	for _, want := range []string{"The box has applied these files.", "525400123456", "sealpost/contoso.pfx", "\r\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the result lacks %q:\n%s", want, text)
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
	if text := applyStick(t, b, "again", good, appliedPattern); !strings.Contains(text, "already applied exactly these files") {
		t.Errorf("the result for the same stick lacks \"already applied\":\n%s", text)
	}
}

// mustBeVerified checks that Postfix verified the site's certificate for a message.
func mustBeVerified(t *testing.T, text string) {
	t.Helper()
	if !strings.Contains(text, `Client CN "relay.contoso.com"`) || !strings.Contains(text, "verified OK") {
		t.Errorf("want the verified certificate of relay.contoso.com in the message:\n%s", text)
	}
}
