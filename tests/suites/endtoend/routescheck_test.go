package endtoend

import (
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/load"
)

func TestRoutes_AreNamedToThePersonWhoLooks(t *testing.T) {
	t.Parallel()
	w := startTwoRoutes(t, []string{"connector", "submission"}, siteConfig{upstream: "hold = \"1s\"\ntimeout = \"2s\"",
		retry: "first = \"10m\"\nlongest = \"1h\"", site: "alert = \"it@contoso.com\""})
	w.sendNamed("before", 1)
	if check := w.run("check"); !containsAll(strings.Join(strings.Fields(check.Out), " "), []string{"ok connector it accepts our mail", "ok submission printer@contoso.com logged in"}) {
		t.Errorf("check does not name both methods:\n%+v", check)
	}
	// The first message is lost at the end of its content, and the next one finds no connector.
	w.connector.Restart(replyTo("CONTENT", "\x00hang up"))
	device, err := load.Dial(w.address(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	if err := device.Send(load.NewMessage("lost", 1000)); err != nil {
		t.Fatal(err)
	}
	id, _ := w.events("queued", 1)[0]["id"].(string)
	w.connector.Restart(replyTo("RCPT", "550 5.7.64 TenantAttribution; Relay Access Denied"))
	output, err := w.swaks()
	if err != nil || !strings.Contains(output, "sent by submission, because of connector: ") {
		t.Errorf("swaks: %v\n%s", err, output)
	}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"queue", "list"}, []string{"1 message queued; connector is held since ", "; mail leaves by submission"}},
		{[]string{"queue", "show", id}, []string{"only by connector: its server may have the message", "last reply  connector: "}},
		{[]string{"check"}, []string{"it accepts mail and sends it by submission: connector: "}},
	} {
		if got := w.run(c.args...); !containsAll(strings.Join(strings.Fields(got.Out), " "), c.want) {
			t.Errorf("%v: got %+v, want %q", c.args, got, c.want)
		}
	}
	w.connector.SetScript(nil)
	if result := w.run("queue", "retry"); result.Status != 0 {
		t.Errorf("queue retry: got %+v", result)
	}
	for end := time.Now().Add(20 * time.Second); len(w.arrived()["lost"]) == 0 && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	if got := w.arrived()["lost"]; len(got) != 1 || got[0] != "connector" {
		t.Errorf("the lost message arrived over %v", got)
	}
}

// containsAll reports whether text contains each of the parts.
func containsAll(text string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(text, strings.Join(strings.Fields(part), " ")) {
			return false
		}
	}
	return true
}
