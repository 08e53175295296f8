package technician

import (
	"encoding/base64"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/lab"
	"sealpost/tests/rigs/machine"
	"sealpost/tests/rigs/parts"
)

// screens makes the tests write the console output to docs/screens.
var screens = flag.Bool("screens", false, "write the console's screens to docs/screens")

// saveScreen writes the console output to docs/screens if -screens is set.
func saveScreen(t *testing.T, terminal *machine.Terminal, name string) {
	t.Helper()
	if !*screens {
		return
	}
	text := strings.ReplaceAll(terminal.Transcript(), "\r\n", "\n")
	if err := os.WriteFile(filepath.Join("../../../docs/screens", name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// pasteScript returns a script that sends the text line by line.
func pasteScript(text string) string {
	return "send " + strings.Join(strings.Split(strings.TrimSpace(text), "\n"), "\nsend ")
}

// base64PFX returns a PFX as it is pasted into the console: in base64, ended by a dot.
func base64PFX(pfx []byte) string {
	const line = 64
	var lines []string
	for text := base64.StdEncoding.EncodeToString(pfx); text != ""; {
		n := min(line, len(text))
		lines, text = append(lines, text[:n]), text[n:]
	}
	return strings.Join(lines, "\n") + "\n."
}

// firstStart is the dialogue that sets a box up.
const firstStart = `
	expect Press Enter to begin
	send
	expect This box is not set up yet
	expect How [1]:
	send
	expect Name of the site
	send Contoso Leeds
	expect address      10.0.2.15/24
	expect Network [1]:
	send
	expect Accepted domains:
	send contoso.com
	expect port 25      works: mail.contoso.com answers on port 25
	expect Delivery method [connector]:
	send
	expect mail host [mail.contoso.com]:
	send
	expect unknown authority: CN=Test CA
	expect Authority [1]:
	send
	<the authority>
	expect Certificate [1]:
	send
	expect Paste the PFX in base64 now
	<the PFX>
	# The first password is mistyped.
	expect Password of the PFX
	send correct hors
	expect The password does not open this PFX
	send correct horse
	expect It is valid.
	expect Default sender
	send printer@contoso.com
	expect Mail address for alerts
	send alerts@contoso.com
	expect PIN for this console
	send
	expect Type "apply" to make these changes
	send apply
	expect The changes are active.
	expect No problems found.
	expect Send a test message to [alerts@contoso.com]:
	send
	expect delivered
	expect Menu:
`

func TestConsole_SetsABoxUpOverTheSerialLine(t *testing.T) {
	s, b := lab.StartSite(t), lab.New(t)
	start := time.Now()
	b.SwitchOn(t)
	terminal := b.PlugIn(t)
	lab.Play(t, terminal, firstStart,
		"<the authority>", pasteScript(string(parts.PEM(s.Authority.Certificate.Raw))), "<the PFX>", pasteScript(base64PFX(s.PFX)))
	texts, err := s.Postfix.Messages(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("from power-on to the first message delivered: %.1f s", time.Since(start).Seconds())
	for _, want := range []string{"Subject: Sealpost test message", `Client CN "relay.contoso.com"`, "verified OK", "Contoso Leeds"} {
		if !strings.Contains(texts[0], want) {
			t.Errorf("the message lacks %q:\n%s", want, texts[0])
		}
	}
	if strings.Contains(terminal.Transcript(), "correct horse") {
		t.Error("the serial line shows the password")
	}
	saveScreen(t, terminal, "first-start.txt")
}
