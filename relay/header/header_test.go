package header

import (
	"bytes"
	"errors"
	"io"
	"net/mail"
	"strings"
	"testing"
	"testing/iotest"
)

type text string

func (t text) Open() io.Reader { return iotest.HalfReader(strings.NewReader(string(t))) }
func (t text) Size() int64     { return int64(len(t)) }

const used = "printer@contoso.com"

func replaced(t *testing.T, message, former string) string {
	t.Helper()
	changed, err := ReplaceAuthor(text(message), used, former)
	if err != nil {
		t.Fatalf("%q: %v", message, err)
	}
	got, err := io.ReadAll(changed.Open())
	if err != nil || int64(len(got)) != changed.Size() {
		t.Errorf("%q: %d octets of %d, %v", got, len(got), changed.Size(), err)
	}
	reread, _ := io.ReadAll(changed.Open())
	if !bytes.Equal(got, reread) {
		t.Errorf("%q reads as %q the second time", got, reread)
	}
	return string(got)
}

func TestReplaceAuthor_KeepsNameAndReplyTo(t *testing.T) {
	const body = "\r\nFrom: not a field\r\n"
	for given, want := range map[string]string{
		"From: old@x.example\r\nTo: b@y.example\r\n":                            "From: printer@contoso.com\r\nReply-To: old@x.example\r\nTo: b@y.example\r\n",
		"To: b@y.example\r\nfrom : Hall <old@x.example>\r\nSubject: s\r\n":      "To: b@y.example\r\nFrom: Hall <printer@contoso.com>\r\nReply-To: old@x.example\r\nSubject: s\r\n",
		"From: \"Hall, 2nd \\\"floor\\\"\"\r\n\t<old@x.example>\r\n":            "From: \"Hall, 2nd \\\"floor\\\"\" <printer@contoso.com>\r\nReply-To: old@x.example\r\n",
		"From: =?ISO-2022-JP?B?GyRCMHU6fhsoQg==?= <old@x.example>\r\n":          "From: =?ISO-2022-JP?B?GyRCMHU6fhsoQg==?= <printer@contoso.com>\r\nReply-To: old@x.example\r\n",
		"From: Büro <old@x.example>, other <o@x.example>\r\n":                   "From: Büro <printer@contoso.com>\r\nReply-To: old@x.example\r\n",
		"Reply-To: desk@x.example\r\nFrom: old@x.example\r\n":                   "Reply-To: desk@x.example\r\nFrom: printer@contoso.com\r\n",
		"Sender: s@x.example\r\nX: y\r\nFrom: a@x.example\r\nFrom: b@x.example": "From: printer@contoso.com\r\nReply-To: a@x.example\r\nX: y\r\n",
		"Subject: s\r\n":              "From: printer@contoso.com\r\nReply-To: former@x.example\r\nSubject: s\r\n",
		"From: <>\r\n":                "From: printer@contoso.com\r\nReply-To: former@x.example\r\n",
		"From: evil\"<a@b>\r\n":       "From: printer@contoso.com\r\nReply-To: former@x.example\r\n",
		"From: \"x\r\n y\" <a>\r\n":   "From: \"x y\" <printer@contoso.com>\r\nReply-To: former@x.example\r\n",
		"From: Scanner\r\n":           "From: printer@contoso.com\r\nReply-To: former@x.example\r\n",
		"From: All: a@x.example;\r\n": "From: printer@contoso.com\r\nReply-To: former@x.example\r\n",
		"":                            "From: printer@contoso.com\r\nReply-To: former@x.example\r\n",
	} {
		given = strings.TrimSuffix(given, "\r\n") + strings.Repeat("\r\n", min(len(given), 1))
		if got := replaced(t, given+body, "former@x.example"); got != want+body {
			t.Errorf("%q became\n%q, want\n%q", given, got, want+body)
		}
	}
}

func TestAuthorDomain_IsThatOfTheFirstAuthor(t *testing.T) {
	for message, want := range map[string]string{
		"To: b@y.example\r\nFrom: a@X.Example\r\n\r\n":                                  "x.example",
		"From: \"b@y.example\"\r\n <a@x.example>, c@z.example\r\nFrom: d@w.example\r\n": "x.example",
		"from : a (b@y.example) <a@x.example> (z)\r\n\r\nFrom: b@y.example\r\n":         "x.example",
		"From: a@[192.0.2.1]\r\n\r\n":                                                   "",
		"From: a\r\n\r\n":                                                               "",
		"From: a@x.example, b\r\n\r\n":                                                  "",
		"To: a\r\n\r\nFrom: a@x.example\r\n":                                            "",
		"":                                                                              "",
	} {
		if got, err := AuthorDomain(text(message)); got != want || err != nil {
			t.Errorf("%q: got %q, %v, want %q", message, got, err, want)
		}
	}
	if _, err := AuthorDomain(text("From: " + strings.Repeat("x", maxField) + "\r\n\r\n")); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a long author: got %v", err)
	}
}

func TestReplaceAuthor_LeavesTextWithoutSeparator(t *testing.T) {
	for given, want := range map[string]string{
		"From: old@x.example\r\nThe UPS says\r\nSender: battery\r\nFrom: 230 V\r\n": "From: printer@contoso.com\r\nReply-To: old@x.example\r\nThe UPS says\r\nSender: battery\r\nFrom: 230 V\r\n",
		"The UPS says: on battery\r\nFrom: 230 V\r\n":                               "From: printer@contoso.com\r\nThe UPS says: on battery\r\nFrom: 230 V\r\n",
		"From old@x.example Thu Jan  1 00:00:00 1970\r\nFrom: old@x.example\r\n":    "From old@x.example Thu Jan  1 00:00:00 1970\r\nFrom: printer@contoso.com\r\nReply-To: old@x.example\r\n",
	} {
		if got := replaced(t, given, ""); got != want {
			t.Errorf("%q became\n%q, want\n%q", given, got, want)
		}
	}
}

func TestReplaceAuthor_ChangesAMessageWithoutBody(t *testing.T) {
	for given, want := range map[string]string{
		"":                        "From: printer@contoso.com\r\n",
		"From: old@x.example\r\n": "From: printer@contoso.com\r\nReply-To: old@x.example\r\n",
	} {
		if got := replaced(t, given, ""); got != want {
			t.Errorf("%q: got %q, want %q", given, got, want)
		}
	}
}

func TestReplaceAuthor_FoldsALongName(t *testing.T) {
	if got := replaced(t, "From: "+strings.Repeat("n", 100)+" <a@x.example>\r\n\r\n", ""); !strings.HasPrefix(got, "From: "+strings.Repeat("n", 100)+"\r\n <"+used+">\r\n") {
		t.Errorf("got %q", got)
	}
	if got := replaced(t, "From: "+strings.Repeat("n", 2000)+" <a@x.example>\r\n\r\n", ""); !strings.HasPrefix(got, "From: "+used+"\r\n") {
		t.Errorf("got %q", got)
	}
}

func TestReplaceAuthor_RejectsALargeHeader(t *testing.T) {
	for name, header := range map[string]string{
		"a header without end": strings.Repeat("X: y\r\n", maxHeader),
		"a line without end":   strings.Repeat("x", 2*maxHeader),
		"a From without end":   "From: " + strings.Repeat("a@x.example,\r\n ", maxField),
		"many authors":         strings.Repeat("From: a\r\nX: y\r\n", maxEdits+1),
	} {
		if _, err := ReplaceAuthor(text(header), used, ""); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: got %v, want %v", name, err, ErrTooLarge)
		}
	}
}

type broken struct{ text }

func (broken) Open() io.Reader { return iotest.ErrReader(errors.New("flash")) }

func TestReplaceAuthor_ReturnsReadErrors(t *testing.T) {
	if _, err := ReplaceAuthor(broken{}, used, ""); err == nil || errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

func FuzzReplaceAuthor(f *testing.F) {
	f.Add("From: \"A\" <a@x.example>\r\nSubject: s\r\n\r\nbody\r\n")
	f.Add("Sender: a\r\nFrom: =?utf-8?q?B=C3=BC?=\r\n\t<b@x>\r\nReply-To: c@x\r\n\r\n")
	f.Add("From")
	f.Fuzz(func(t *testing.T, message string) {
		changed, err := ReplaceAuthor(text(message), used, "former@x.example")
		if err != nil {
			return
		}
		got, err := io.ReadAll(changed.Open())
		if err != nil || int64(len(got)) != changed.Size() {
			t.Fatalf("%q gives %d octets of %d, %v", message, len(got), changed.Size(), err)
		}
		_, body, _ := strings.Cut(message, "\r\n\r\n")
		if !strings.HasSuffix(string(got), body) {
			t.Errorf("the body of %q is lost: %q", message, got)
		}
		m, err := mail.ReadMessage(bytes.NewReader(got))
		if err != nil {
			return
		}
		for name := range m.Header {
			if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
				return // text, for us
			}
		}
		if from := m.Header["From"]; len(from) != 1 || !strings.Contains(from[0], used) || strings.Count(from[0], "@") > 1 && !strings.Contains(from[0], `"`) {
			t.Errorf("%q is from %q", message, from)
		}
	})
}
