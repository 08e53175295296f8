package technician

import (
	"bytes"
	"errors"
	"net"
	"net/smtp"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/lab"
	"sealpost/tests/rigs/machine"
	"sealpost/tests/rigs/site"
)

// The one device of these tests: this machine, as QEMU's network shows it to the box.
const (
	deviceAddress = site.Host
	deviceMAC     = "52:55:0a:00:02:02"
)

// sectionDevices is the beginning of the stored devices in the settings area.
const sectionDevices = `"devices":"`

// adoptsADevice lets a device in whose address the settings do not allow, and waits until
// it falls silent. All of it happens on the console.
func adoptsADevice(t *testing.T, s *site.Site, b *lab.Box) {
	t.Helper()
	strict := filesNamed(s, "strict")
	strict["sealpost/sealpost.toml"] = strings.Replace(strict["sealpost/sealpost.toml"], "[site]\n", "[site]\nalert = \"alerts@contoso.com\"\n", 1) +
		"allow = [\"10.0.2.99/32\"]\n"
	if err := lab.NewStick(t, strict).Insert(b, "strict"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(machine.WaitLimit); !strings.HasPrefix(b.Greeting(), "554 "); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("got greeting %q, want 554", b.Greeting())
		}
	}
	if err := b.Remove("strict"); err != nil {
		t.Fatal(err)
	}
	cable, err := b.USBCable()
	if err != nil {
		t.Fatal(err)
	}
	terminal := machine.NewTerminal(cable) // a session of its own
	defer terminal.Close()
	lab.Play(t, terminal, `
		send
		expect PIN:
		send `+pin+`
		expect Menu:
		send devices
		expect `+deviceAddress+`
		expect may not send: adopt lets it in
		expect refused: 554
		expect `+deviceMAC+`
		expect Devices [1]:
		send explain
		expect Address of the device
		send `+deviceAddress+`
		expect Sender
		send scanner@mfp.local
		expect Recipients
		send boss@contoso.com
		expect Author
		send
		expect User
		send
		expect TLS
		send
		expect nothing would be sent
		expect Menu:
		send devices
		expect Devices [1]:
		send learn
		expect How long
		send 10m
		expect Network to open, such as 192.168.10.0/24 [10.0.2.0/24
		send
		expect may send until
		expect Menu:`)
	mustArriveFromDevice(t, s, b, "during learn mode")
	lab.Play(t, terminal, `
		send devices
		expect Learn mode: everything in
		expect sends only because of learn mode
		expect Devices [1]:
		send adopt
		expect or all [all]:
		send
		expect address = '`+deviceAddress+`'
		expect Learn mode ends with that
		expect Type "apply"
		send apply
		expect The changes are active.
		expect Menu:`)
	mustArriveFromDevice(t, s, b, "after learn mode")
	lab.Play(t, terminal, `
		send devices
		expect Devices [1]:
		send set
		expect Address of the device
		send `+deviceAddress+`
		expect silent_after
		expect Changes
		send name=Lobby scanner recipients_per_message=1 silent_after=3s
		expect recipients_per_message = 1
		expect Type "apply"
		send apply
		expect The changes are active.
		expect Menu:`)
	mustLimitRecipients(t, b)
	mustAlert(t, s, "Lobby scanner ("+deviceAddress+") is silent")
	lab.Play(t, terminal, `
		send devices
		expect Lobby scanner
		expect silent: an alert was raised
		expect Devices [1]:
		send
		expect Menu:`)
	_, last, _ := cutLast(terminal.Transcript(), "Menu: devices")
	if strings.Contains(last, "Learn mode:") || strings.Contains(last, "never") {
		t.Errorf("want no learn mode, and the last message from before the relay's restart:\n%s", last)
	}
	if !bytes.Contains(settingsArea(t, b), []byte(sectionDevices)) {
		t.Error("the settings area lacks the devices, which the relay stores when it stops")
	}
	saveScreen(t, terminal, "devices.txt")
	lab.Play(t, terminal, "send logs\nexpect event=\"device silent\"\nexpect Menu:")
}

// mustArriveFromDevice sends a message from the device and waits until it arrives.
func mustArriveFromDevice(t *testing.T, s *site.Site, b *lab.Box, subject string) {
	t.Helper()
	arrived := lab.MustArrive(t, s, func() {
		if err := b.Send(subject); err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
	})
	if !strings.Contains(arrived, subject) {
		t.Errorf("want the message %q, got:\n%s", subject, arrived)
	}
}

// mustLimitRecipients checks that the box accepts one recipient and no second one.
func mustLimitRecipients(t *testing.T, b *lab.Box) {
	t.Helper()
	conn, err := net.Dial("tcp", b.Address(25))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(machine.WaitLimit))
	client, err := smtp.NewClient(conn, "box")
	if err != nil {
		t.Fatal(errors.Join(err, conn.Close()))
	}
	defer client.Close()
	if err := errors.Join(client.Mail("printer@"+site.Domain), client.Rcpt("alice@fabrikam.example")); err != nil {
		t.Fatal(err)
	}
	if err := client.Rcpt("bob@fabrikam.example"); err == nil || !strings.HasPrefix(err.Error(), "452 ") {
		t.Errorf("the second recipient: got %v, want 452", err)
	}
}

// mustAlert waits until a message with this subject is at the site's tenant.
func mustAlert(t *testing.T, s *site.Site, subject string) {
	t.Helper()
	var texts []string
	for deadline := time.Now().Add(machine.WaitLimit); ; time.Sleep(100 * time.Millisecond) {
		var err error
		if texts, err = s.Postfix.Messages(0); err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(text, subject) }) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no message %q among:\n%s", subject, texts)
		}
	}
}

// settingsArea returns the settings area of the box's disk.
func settingsArea(t *testing.T, b *lab.Box) []byte {
	t.Helper()
	const size = 2 << 20
	area := make([]byte, size)
	if _, err := b.Flash.Flash.ReadAt(area, 0); err != nil {
		t.Fatal(err)
	}
	return area
}

// cutLast is strings.Cut around the last instance of separator.
func cutLast(text, separator string) (before, after string, found bool) {
	at := strings.LastIndex(text, separator)
	if at < 0 {
		return text, "", false
	}
	return text[:at], text[at+len(separator):], true
}
