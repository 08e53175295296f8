package console

import (
	"os"
	"strings"
	"testing"
)

func TestConsole_SetsUpANewBoxUpToATestMessage(t *testing.T) {
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

// manual is the page that shows the dialogue of a first start.
const manual = "../../docs/console.md"

func TestManual_ShowsTheFirstStart(t *testing.T) {
	script, err := os.ReadFile("testdata/first-start.dialogue")
	if err != nil {
		t.Fatal(err)
	}
	screen := typed.ReplaceAllStringFunc(string(script), func(mark string) string {
		if strings.HasPrefix(mark, "«?") || strings.HasPrefix(mark, "«paste") {
			return ""
		}
		return strings.Trim(mark, "«»")
	})
	screen, _, _ = strings.Cut(screen, "Menu: ")
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	const fence = "```\n"
	before, rest, _ := strings.Cut(string(text), fence)
	_, after, _ := strings.Cut(rest, fence)
	want := before + fence + strings.Trim(screen, "\n") + "\nMenu:\n" + fence + after
	if *update {
		if err := os.WriteFile(manual, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(text) != want {
		t.Errorf("%s shows another dialogue than the test: go test -update, in this folder, writes it", manual)
	}
}
