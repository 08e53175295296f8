package report

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"
	"time"
)

func alertOfTest() Alert {
	return Alert{
		From: "box@contoso.com", To: "alerts@msp.example", Reporter: "relay.contoso.com", Site: "Leeds", Unique: "7K2M",
		Now: time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC), Subject: "a device is silent", Text: "192.0.2.20 has sent nothing.\nSee the journal.",
	}
}

// readAlert writes an alert, and reads it as a mail program does.
func readAlert(t *testing.T, a Alert) (m *mail.Message, subject, text string) {
	t.Helper()
	var b bytes.Buffer
	if err := a.Write(&b); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		const longest = 998
		if !strings.HasSuffix(line, "\r\n") || len(line) > longest || strings.ContainsFunc(line, func(r rune) bool { return r > '~' }) || strings.Contains(line[:len(line)-2], "\r") {
			t.Errorf("got the line %q", line)
		}
	}
	m, err := mail.ReadMessage(&b)
	if err != nil {
		t.Fatal(err)
	}
	if subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err != nil {
		t.Error(err)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil {
		t.Error(err)
	}
	return m, subject, string(body)
}

func TestAlert_IsAMail(t *testing.T) {
	m, subject, text := readAlert(t, alertOfTest())
	for field, want := range map[string]string{
		"From": "<box@contoso.com>", "To": "<alerts@msp.example>", "Date": "Fri, 27 Nov 2026 08:00:00 +0000",
		"Message-Id": "<7K2M@relay.contoso.com>", "Auto-Submitted": "auto-generated", "Content-Type": "text/plain; charset=utf-8",
	} {
		if got := m.Header.Get(field); got != want {
			t.Errorf("%s: got %q, want %q", field, got, want)
		}
	}
	if _, err := m.Header.Date(); err != nil {
		t.Error(err)
	}
	if subject != "[Sealpost Leeds] a device is silent" || text != "192.0.2.20 has sent nothing.\r\nSee the journal.\r\n" {
		t.Errorf("got %q and %q", subject, text)
	}
}

// TestAlert_KeepsUntrustedTextInItsPlace has names of a device and of a site that would
// add fields or lines.
func TestAlert_KeepsUntrustedTextInItsPlace(t *testing.T) {
	a := alertOfTest()
	a.Site, a.Subject = "Leeds\r\nBcc: x@fabrikam.example", "M\u00fcller\u2019s printer \x00\r\n\r\nis silent "+strings.Repeat("lang ", 60)
	a.Unique, a.Reporter = "a>\r\nX: y", "relay\r\n.contoso.com"
	a.Text = "Drucker im B\u00fcro\n.\n" + strings.Repeat("x", 3000) + "\nFrom here"
	m, subject, text := readAlert(t, a)
	if len(m.Header) != 9 || m.Header.Get("Bcc") != "" || m.Header.Get("X") != "" {
		t.Errorf("got header %v", m.Header)
	}
	if !strings.Contains(subject, "M\u00fcller\u2019s printer") || strings.ContainsAny(subject, "\r\n\x00") {
		t.Errorf("got subject %q", subject)
	}
	if want := strings.ReplaceAll(a.Text, "\n", "\r\n") + "\r\n"; text != want {
		t.Errorf("got text %q, want %q", text, want)
	}
	a.Site = ""
	if _, subject, _ := readAlert(t, a); !strings.HasPrefix(subject, "[Sealpost] M") {
		t.Errorf("got subject %q without a site", subject)
	}
}

func TestAlert_ReturnsTheErrorOfTheWriter(t *testing.T) {
	failed := errors.New("full")
	if err := alertOfTest().Write(errWriter{failed}); !errors.Is(err, failed) {
		t.Errorf("got %v, want %v", err, failed)
	}
}

type errWriter struct{ err error }

func (e errWriter) Write([]byte) (int, error) { return 0, e.err }
