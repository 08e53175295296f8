package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/provisioning/candidate"
	"sealpost/provisioning/operator"
	"sealpost/provisioning/preflight"
	"sealpost/provisioning/settings"
)

const fakeSettings = "[limits]\nrecipients = 30\n[senders]\naccepted_domains = [\"contoso.com\"]\n[site]\nalert = \"alerts@msp.example\"\n"

// setUpBox is a fake box that was set up.
func setUpBox() *fakeBox {
	box := newFakeBox()
	box.running.Settings = fakeSettings
	return box
}

// typeAll types inputs one after the other, and returns the output of the console.
func (c *cable) typeAll(keys ...string) string {
	var output strings.Builder
	for _, k := range keys {
		c.keys <- []byte(k)
		output.WriteString(c.output())
	}
	return output.String()
}

func TestMenu_RunsEachItem(t *testing.T) {
	box := setUpBox()
	box.queue = []operator.Item{{ID: "7", Text: "7, from printer to alice"}, {ID: "8", Text: "8, from printer to bob"}}
	play(t, box, "menu")
	want := []string{"retry", "drop 8", "clock 2026-11-22T10:15:00Z", "restart", "reset"}
	if fmt.Sprint(box.calls) != fmt.Sprint(want) {
		t.Errorf("did %q", box.calls)
	}
	if len(box.commits) != 2 || *box.commits[0].PIN != "4711" || *box.commits[1].PIN != "" {
		t.Errorf("%d commits", len(box.commits))
	}
}

func TestConsole_ShowsAndReplacesTheLANsCertificates(t *testing.T) {
	box := setUpBox()
	play(t, box, "lan")
	if len(box.commits) != 2 || string(box.commits[0].LAN) != fakePFX || box.commits[0].LANPassword != fakePassword || box.commits[0].PFX != nil || !box.commits[1].RemoveLAN {
		t.Errorf("commits %v", box.commits)
	}
}

func TestConsole_AddsReplacesAndRemovesUsers(t *testing.T) {
	box := setUpBox()
	play(t, box, "users")
	if len(box.commits) != 3 || box.commits[0].Users[0].Password != "first password" || box.commits[1].Users[0].Password != "second~password" || !box.commits[1].Users[0].Replace {
		t.Fatalf("commits %v", box.commits)
	}
	if first := box.commits[0].Users[0].User.String(); first != "printer; from 192.168.10.25; as printer@contoso.com; to @contoso.com, ops@msp.example" {
		t.Errorf("added %s", first)
	}
	if second := box.commits[1].Users[0].User.String(); second != "printer; CRAM-MD5; from 192.168.10.25; as printer@contoso.com; to @contoso.com, ops@msp.example" {
		t.Errorf("replaced by %s", second)
	}
	if users, _ := box.Users(t.Context()); len(users) != 0 {
		t.Errorf("left %v", users)
	}
}

func TestConsole_SetsUpAMailboxWithoutShowingTheClientSecret(t *testing.T) {
	box := newFakeBox()
	box.probed.Port25, box.probed.STARTTLS = preflight.Reach{Text: "i/o timeout"}, preflight.Reach{Text: "not tried"}
	box.probed.Port587 = preflight.Reach{OK: true, Text: "smtp.office365.com answers"}
	box.probed.Advice = box.probed.Advise()
	play(t, box, "submission")
	if len(box.commits) != 2 || box.commits[0].ClientSecret != "very~secret" || box.commits[1].ClientSecret != "other~secret" || box.commits[1].Settings != "" {
		t.Fatalf("commits %v", box.commits)
	}
	s, err := settings.Parse([]byte(box.commits[0].Settings))
	if err != nil || s.Upstream.Submission.User != "relay@contoso.com" || s.Upstream.OAuth.Grant != settings.GrantSecret || s.Upstream.OAuth.Tenant != "" {
		t.Errorf("%v:\n%s", err, box.commits[0].Settings)
	}
}

func TestConsole_SetsUpTwoDeliveryMethods(t *testing.T) {
	box := newFakeBox()
	play(t, box, "both")
	if len(box.commits) != 1 || box.commits[0].ClientSecret != "very~secret" || box.commits[0].PFX == nil {
		t.Fatalf("commits %v", box.commits)
	}
	s, err := settings.Parse([]byte(box.commits[0].Settings))
	if err != nil || s.Upstream.Method.String() != "connector, submission" || s.Upstream.Submission.User != "relay@contoso.com" {
		t.Errorf("%v:\n%s", err, box.commits[0].Settings)
	}
}

func TestConsole_AsksForTheCloudOfANationalTenant(t *testing.T) {
	box := newFakeBox()
	box.probed.Host = "contoso-com.mail.protection.office365.us"
	play(t, box, "cloud")
	if len(box.commits) != 1 {
		t.Fatalf("commits %v", box.commits)
	}
	s, err := settings.Parse([]byte(box.commits[0].Settings))
	if err != nil || s.Upstream.Cloud != settings.CloudDoD || s.Upstream.Connector.Host != "" {
		t.Errorf("%v:\n%s", err, box.commits[0].Settings)
	}
}

func TestConsole_AsksOnlyForWhatPastedSettingsNeed(t *testing.T) {
	box := newFakeBox()
	play(t, box, "paste-submission")
	if len(box.commits) != 1 || box.commits[0].ClientSecret != "very~secret" || box.commits[0].PFX != nil {
		t.Errorf("commits %v", box.commits)
	}
}

func TestConsole_SignsInAfterAChangeToSubmission(t *testing.T) {
	box := newFakeBox()
	play(t, box, "device")
	s, err := settings.Parse([]byte(box.running.Settings))
	if err != nil || s.Upstream.OAuth.Grant != settings.GrantDevice || s.Upstream.OAuth.Tenant != "contoso.onmicrosoft.com" {
		t.Errorf("%v:\n%s", err, box.running.Settings)
	}
}

func TestConsole_RollsBackAnUnconfirmedNetwork(t *testing.T) {
	box := setUpBox()
	play(t, box, "trial")
	if len(box.commits) != 3 || !strings.Contains(box.commits[0].Settings, "192.168.10.30/24") || !box.commits[0].Trial {
		t.Fatalf("%d commits", len(box.commits))
	}
	if !strings.Contains(box.commits[0].Settings, "recipients = 30") {
		t.Errorf("a setting that was not asked for is gone:\n%s", box.commits[0].Settings)
	}
	if !strings.Contains(box.running.Settings, "192.168.10.32/24") || box.running.Trial {
		t.Errorf("in force:\n%s", box.running.Settings)
	}
}

func TestConsole_AcceptsPastedSettingsWithACertificateRequest(t *testing.T) {
	box := newFakeBox()
	play(t, box, "paste")
	if len(box.requests) != 1 || box.requests[0].Name != "relay.contoso.com" || !strings.Contains(box.requests[0].Settings, "contoso.com") {
		t.Errorf("requests %v", box.requests)
	}
	if len(box.commits) != 1 || string(box.commits[0].PEM) != fakePEM || !strings.Contains(box.commits[0].Settings, "recipients = 30") {
		t.Errorf("commits %v", box.commits)
	}
}

func TestConsole_NamesAnUnknownAuthorityAndAcceptsItsCertificate(t *testing.T) {
	box := newFakeBox()
	box.probed.STARTTLS = preflight.Reach{Text: "certificate signed by unknown authority"}
	box.probed.Authority, box.probed.Host, box.probed.ByMX = "CN=Contoso Root", "mail.contoso.com", false
	box.probed.Advice = box.probed.Advise()
	play(t, box, "authority")
	if len(box.commits) != 1 || !strings.Contains(box.commits[0].Settings, "ca = ") || !strings.Contains(box.commits[0].Settings, "host = 'mail.contoso.com'") {
		t.Errorf("commits %v", box.commits)
	}
	if last := box.targets[len(box.targets)-1]; last.CA != fakePEM || last.Host != "mail.contoso.com" {
		t.Errorf("got last target %+v, want mail.contoso.com with the pasted authority", last)
	}
}

func TestConsole_ForgetsUnappliedChangesAtTheEndOfASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := newFakeBox()
		console := New(box)
		line, pull := plug(t.Context(), console)
		line.typeAll("\r", "1\r", "Contoso Leeds\r", "1\r")
		if err := pull(); !errors.Is(err, ErrGone) {
			t.Fatalf("got %v, want %v", err, ErrGone)
		}
		line, pull = plug(t.Context(), console)
		if output := line.typeAll("\r", "1\r"); !strings.Contains(output, "Name of the site [none]: ") {
			t.Errorf("after the cable was pulled: got %s, want text with %q", output, "Name of the site [none]: ")
		}
		line.typeAll("Contoso Leeds\r")
		time.Sleep(idleTimeout)
		if output := line.output(); !strings.Contains(output, "discarded") {
			t.Errorf("after a while: got %s, want text with %q", output, "discarded")
		}
		if output := line.typeAll("\r", "1\r"); !strings.Contains(output, "Name of the site [none]: ") {
			t.Errorf("to the next: got %s, want text with %q", output, "Name of the site [none]: ")
		}
		_ = pull()
	})
}

func TestConsole_AsksForThePINAgainAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := setUpBox()
		box.running.Locked, box.pin = true, "4711"
		line, pull := plug(t.Context(), New(box))
		if output := line.typeAll("\r", "4711\r"); !strings.Contains(output, "PIN: ") || !strings.Contains(output, "Menu: ") {
			t.Errorf("got %s", output)
		}
		time.Sleep(idleTimeout)
		line.output()
		if output := line.typeAll("\r"); !strings.HasSuffix(output, "PIN: ") {
			t.Errorf("got %s", output)
		}
		_ = pull()
	})
}

// A computer echoes what it receives until a program has opened its end in raw mode.
func TestConsole_IsNotAnsweredByItsOwnEcho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := setUpBox()
		box.running.Locked, box.pin = true, "4711"
		line, pull := plug(t.Context(), New(box))
		echoed := strings.ReplaceAll(line.output(), "\n", "\r")
		line.typeAll("AT\r", echoed)
		time.Sleep(time.Second)
		output := line.typeAll("\r", "4711\r")
		if strings.Contains(output, "not the PIN") || !strings.Contains(output, "Menu: ") {
			t.Errorf("got %s", output)
		}
		_ = pull()
	})
}

func TestConsole_DelaysAfterWrongPINsAcrossConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := setUpBox()
		box.running.Locked, box.pin = true, "4711"
		console := New(box)
		begun := time.Now()
		for range 25 {
			line, pull := plug(t.Context(), console)
			output := line.typeAll("\r", "0000\r")
			for !strings.Contains(output, "not the PIN") {
				time.Sleep(time.Second)
				output = line.typeAll("0000\r")
			}
			_ = pull()
		}
		// 10 free, then 1, 2, 4 … 256 s, then 5 minutes each.
		if took := time.Since(begun); took < 33*time.Minute || took > 40*time.Minute {
			t.Errorf("25 wrong PINs took %s", took)
		}
		line, pull := plug(t.Context(), console)
		if output := line.typeAll("\r"); !strings.Contains(output, "There were 25 wrong PINs. The next is accepted in 5:00 minutes.") {
			t.Errorf("got %s", output)
		}
		time.Sleep(maxPINDelay + time.Second)
		if output := line.typeAll("4711\r"); !strings.Contains(output, "Menu: ") {
			t.Errorf("the right one: got %s, want text with %q", output, "Menu: ")
		}
		_ = pull()
	})
}

func TestConsole_RemembersWrongPINsAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := setUpBox()
		box.running.Locked, box.pin = true, "4711"
		wrong := func(c *Console, times int) string {
			line, pull := plug(t.Context(), c)
			output := line.typeAll("\r")
			for range times {
				output = line.typeAll("0000\r")
			}
			_ = pull()
			return output
		}
		wrong(New(box), 5)
		if output := wrong(New(box), 4); strings.Contains(output, "There were") {
			t.Errorf("after a restart, the 9th: got %q, want no delay yet", output)
		}
		wrong(New(box), 1)
		restarted := New(box)
		line, pull := plug(t.Context(), restarted)
		if output := line.typeAll("\r"); !strings.Contains(output, "There were 10 wrong PINs. The next is accepted in 0:01 minutes.") {
			t.Errorf("after a restart, before the 11th: got %q, want the delay", output)
		}
		time.Sleep(2 * time.Second)
		if output := line.typeAll("4711\r"); !strings.Contains(output, "Menu: ") {
			t.Errorf("the right one: got %q, want text with %q", output, "Menu: ")
		}
		_ = pull()
		if output := wrong(New(box), 9); strings.Contains(output, "There were") {
			t.Errorf("after the right one: got %q, want no delay", output)
		}
	})
}

func TestConsole_IgnoresNoise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			name string
			keys []byte
			box  *fakeBox
		}{
			{"noise", noise(noiseSize), newFakeBox()},
			{"noise in the menu", noise(noiseSize), setUpBox()},
			{"letters", bytes.Repeat([]byte("A"), noiseSize), setUpBox()},
			{"Enter", bytes.Repeat([]byte("\r"), noiseSize), setUpBox()},
			{"Ctrl-C", bytes.Repeat([]byte("\x03"), noiseSize), newFakeBox()},
			{"lines", bytes.Repeat([]byte("x\r"), noiseSize/2), newFakeBox()},
		} {
			line, pull := plug(t.Context(), New(c.box))
			line.keys <- c.keys
			time.Sleep(time.Minute)
			if output := line.output(); len(output) > 64<<10 {
				t.Errorf("%s: answered with %d bytes", c.name, len(output))
			}
			_ = pull()
			if len(c.box.commits)+len(c.box.calls) > 0 {
				t.Errorf("%s: %d commits, %q", c.name, len(c.box.commits), c.box.calls)
			}
		}
	})
}

// loop is a line whose other end echoes everything that it receives.
type loop struct {
	*cable
	received int
}

func (l *loop) Write(p []byte) (int, error) {
	l.received += len(p)
	select {
	case l.keys <- bytes.Clone(p):
	default: // its buffer is full
	}
	return len(p), nil
}

func TestConsole_ToleratesAnEchoingLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, box := range []*fakeBox{newFakeBox(), setUpBox()} {
			line := &loop{cable: &cable{keys: make(chan []byte, 1000)}}
			line.keys <- []byte("\r")
			ended := make(chan error, 1)
			go func() { ended <- New(box).Run(t.Context(), line) }()
			time.Sleep(time.Hour)
			synctest.Wait()
			if line.received > 1<<20 || len(box.commits)+len(box.calls) > 0 {
				t.Errorf("%d bytes in an hour, %d commits, %q", line.received, len(box.commits), box.calls)
			}
			close(line.keys)
			<-ended
		}
	})
}

// stuckBox never finishes its check.
type stuckBox struct{ *fakeBox }

func (stuckBox) Certificate(ctx context.Context) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}

func TestConsole_CancelsLongOperations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line, pull := plug(t.Context(), New(stuckBox{setUpBox()}))
		line.typeAll("\r", "certificate\r", "1\r")
		if output := line.typeAll("\x03"); !strings.HasSuffix(output, "Menu: ") {
			t.Errorf("got %s", output)
		}
		line.typeAll("certificate\r", "1\r")
		if err := pull(); !errors.Is(err, ErrGone) {
			t.Errorf("got %v, want %v", err, ErrGone)
		}
	})
}

func TestConsole_StaysLockedWithoutReadableSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line, pull := plug(t.Context(), New(brokenBox{newFakeBox()}))
		output := line.typeAll("\r")
		if !strings.Contains(output, "The flash failed: replace it") || strings.Contains(output, "Menu") {
			t.Errorf("got %s", output)
		}
		_ = pull()
	})
}

func TestConsole_DoesNotAskAgainForStoredSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line, pull := plug(t.Context(), New(lateBox{newFakeBox()}))
		line.typeAll("\r", "2\r")
		line.typeAll(keysOf("paste settings"), "3\r", "\r")
		if output := line.typeAll("apply\r"); !strings.Contains(output, "Not in force yet: restart the box") || !strings.HasSuffix(output, "Menu: ") {
			t.Errorf("got %s", output)
		}
		_ = pull()
	})
}

func TestConsole_DoesNotOverwriteSettingsFromAStick(t *testing.T) {
	for _, c := range []struct {
		name  string
		box   *fakeBox
		paste []string // up to the question for "apply"
	}{
		{"by the first settings", newFakeBox(), []string{"\r", "2\r", keysOf("paste settings"), "3\r", "\r"}},
		{"by others from the menu", setUpBox(), []string{"\r", "6\r", "2\r", keysOf("paste settings")}},
		{"by another network", setUpBox(), []string{"\r", "5\r", "2\r", "192.168.10.30/24\r", "\r", "\r"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				line, pull := plug(t.Context(), New(c.box))
				if output := line.typeAll(c.paste...); !strings.HasSuffix(output, `Type "apply" to make these changes; Ctrl-C goes back: `) {
					t.Fatalf("got %s", output)
				}
				c.box.mu.Lock()
				c.box.running.Settings = fakeSettings + "# by a stick\n"
				c.box.mu.Unlock()
				if output := line.typeAll("apply\r"); !strings.Contains(output, "Somebody else has changed the settings meanwhile") || !strings.HasSuffix(output, "Menu: ") {
					t.Errorf("got %s", output)
				}
				if len(c.box.commits) != 0 {
					t.Errorf("commits %v", c.box.commits)
				}
				_ = pull()
			})
		})
	}
}

// lateBox stores settings, and uses them only after a restart.
type lateBox struct{ *fakeBox }

func (b lateBox) Commit(ctx context.Context, c candidate.Candidate) error {
	return errors.Join(b.fakeBox.Commit(ctx, c), errors.New("not in force yet: restart the box"))
}

// brokenBox cannot read its state.
type brokenBox struct{ *fakeBox }

func (brokenBox) Running(context.Context) (candidate.Running, error) {
	return candidate.Running{}, errors.New("the flash failed: replace it")
}

// streams is a line with separate streams for its two directions.
type streams struct {
	io.Reader
	io.Writer
}

func FuzzConsole(f *testing.F) {
	f.Add([]byte("\r1\rLeeds\r1\rcontoso.com\r\r\r3\r\r\r\rapply\r\r1\r"), false)
	f.Add([]byte("\r5\r2\r192.168.10.30/24\r\r\rapply\rconfirm\r"), true)
	f.Add([]byte("\r3\r13\rerase everything\r4\r2\rBEGIN PFX\rAAAA\rEND PFX\r"), true)
	f.Add([]byte("\r2\r[senders]\raccepted_domains = [\"contoso.com\"]\r.\r3\r\rapply\r"), false)
	f.Add([]byte("\r16\r2\r1h\r\r16\r3\r192.168.20.7\rapply\r16\r4\r192.168.10.20\rname=a\rapply\r16\r5\r192.168.10.20\rapply\r"), true)
	f.Add([]byte("\r16\r6\r192.168.10.20\r\ra@b\r\r\r\r"), true)
	f.Fuzz(func(t *testing.T, keys []byte, wasSetUp bool) {
		synctest.Test(t, func(t *testing.T) {
			box := newFakeBox()
			if wasSetUp {
				box = setUpBox()
				box.devices = seenDevices()
			}
			line, pull := plug(t.Context(), New(box))
			go func() {
				// One key after the other, because the console discards input while it is busy.
				for _, k := range keys {
					line.keys <- []byte{k}
					time.Sleep(10 * time.Millisecond)
				}
			}()
			time.Sleep(time.Duration(len(keys)+1) * 10 * time.Millisecond)
			line.output()
			if err := pull(); !errors.Is(err, ErrGone) {
				t.Errorf("got %v, want %v", err, ErrGone)
			}
			if len(box.commits) > 0 && !bytes.Contains(bytes.Map(printed, keys), []byte("apply")) {
				t.Errorf("%d commits of %q", len(box.commits), keys)
			}
			if strings.Contains(strings.Join(box.calls, " "), "reset") && !bytes.Contains(bytes.Map(printed, keys), []byte("erase everything")) {
				t.Errorf("a reset of %q", keys)
			}
		})
	})
}

// printed removes what a terminal does not show.
func printed(r rune) rune {
	if r < ' ' {
		return -1
	}
	return r
}

func TestConsole_ManagesTheKeysOfDKIM(t *testing.T) {
	play(t, setUpBox(), "dkim")
}
