package header

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"mime"
	"net/mail"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

var testRepairs = Repairs{Sender: "scan@contoso.com", Date: time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC), MessageID: "ID1@relay.contoso.com"}

const (
	addedDate = "Date: Fri, 27 Nov 2026 08:00:00 +0000\r\n"
	addedFrom = "From: scan@contoso.com\r\n"
	addedTo   = "To: undisclosed-recipients:;\r\n"
	addedID   = "Message-ID: <ID1@relay.contoso.com>\r\n"
	// complete are fields that need no repair but for those of one test.
	complete = "Date: Thu, 26 Nov 2026 09:00:00 +0100\r\nTo: b@fabrikam.example\r\nMessage-ID: <1@device>\r\n"
	author   = "From: a@contoso.com\r\n"
)

func repairedWith(t *testing.T, r Repairs, message string) (string, []Repair) {
	t.Helper()
	var out bytes.Buffer
	w := NewRepairer(&out, r)
	if _, err := io.Copy(struct{ io.Writer }{w}, iotest.OneByteReader(strings.NewReader(message))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String(), w.Done()
}

func TestRepairer_AddsWhatIsMissing(t *testing.T) {
	for given, want := range map[string]string{
		"":                      addedDate + addedFrom + addedTo + addedID + "\r\n",
		"\r\nbody\r\n":          addedDate + addedFrom + addedTo + addedID + "\r\nbody\r\n",
		"Hello\r\nthere\r\n":    addedDate + addedFrom + addedTo + addedID + "\r\nHello\r\nthere\r\n",
		" Hello\r\n":            addedDate + addedFrom + addedTo + addedID + "\r\n Hello\r\n",
		"Hello there: 5\r\n":    addedDate + addedFrom + addedTo + addedID + "\r\nHello there: 5\r\n",
		"Subject: s\r\n":        "Subject: s\r\n" + addedDate + addedFrom + addedTo + addedID,
		"Subject: s\r\nHi\r\n":  "Subject: s\r\n" + addedDate + addedFrom + addedTo + addedID + "\r\nHi\r\n",
		"Bcc:\r\n\r\n":          "Bcc:\r\n" + addedDate + addedFrom + addedID + "\r\n",
		"To:\r\nDate: \r\n\r\n": addedDate + addedFrom + addedTo + addedID + "\r\n",
		"From a@b Thu Jan  1 00:00:00 1970\r\nSubject: s\r\n\r\n": "Subject: s\r\n" + addedDate + addedFrom + addedTo + addedID + "\r\n",
		"From a@b Thu Jan  1 00:00:00 1970\r\n folded\r\n":        addedDate + addedFrom + addedTo + addedID + "\r\n folded\r\n",
		"From the UPS: battery\r\n":                               addedDate + addedFrom + addedTo + addedID + "\r\nFrom the UPS: battery\r\n",
		complete + author + "\r\nbody":                            complete + author + "\r\nbody",
		complete + author:                                         complete + author,
		complete + "from:\r\n a@contoso.com (x)\r\n\r\n\r\n\x80":  complete + "from:\r\n a@contoso.com (x)\r\n\r\n\r\n\x80",
	} {
		if got, _ := repairedWith(t, testRepairs, given); got != want {
			t.Errorf("%q became\n%q, want\n%q", given, got, want)
		}
	}
}

// TestRepairer_PutsFieldsRight has headers that are complete but for the given fields.
func TestRepairer_PutsFieldsRight(t *testing.T) {
	long := strings.Repeat("x", 1200)
	for _, c := range []struct {
		given, want string
		repairs     []Repair
	}{
		{author + "Subject : s\r\n", author + "Subject: s\r\n", []Repair{NameTidied}},
		{author + "Subject: a\r\nSubject: b\r\n", author + "Subject: a\r\nX-Original-Subject: b\r\n", []Repair{DuplicateRenamed}},
		{author + "Sender: x\r\nSender: s@x.example\r\n", author + "X-Original-Sender: x\r\nSender: s@x.example\r\n", []Repair{DuplicateRenamed}},
		{"From: x@\r\n" + author, "X-Original-From: x@\r\n" + author, []Repair{DuplicateRenamed}},
		{"From: a@x.example, b@x.example\r\n", "From: a@x.example, b@x.example\r\n", nil},
		{"From: =?utf-8?q?ceo=40x.example=00?=@contoso.com\r\n", "From: \"=?utf-8?q?ceo=40x.example=00?=@contoso.com\" <scan@contoso.com>\r\nX-Original-From: =?utf-8?q?ceo=40x.example=00?=@contoso.com\r\n", []Repair{FromRepaired}},
		{"From: Scanner\r\n", "From: \"Scanner\" <scan@contoso.com>\r\nX-Original-From: Scanner\r\n", []Repair{FromRepaired}},
		{"From: <>\r\n", "From: scan@contoso.com\r\nX-Original-From: <>\r\n", []Repair{FromRepaired}},
		{"From: scanner@\r\n", "From: \"scanner@\" <scan@contoso.com>\r\nX-Original-From: scanner@\r\n", []Repair{FromRepaired}},
		{"From:\r\n", "From: scan@contoso.com\r\n", []Repair{FromRepaired}},
		{"From: Hall [2] <h@x.example>\r\n", "From: \"Hall [2]\" <h@x.example>\r\nX-Original-From: Hall [2] <h@x.example>\r\n", []Repair{FromRepaired}},
		{"From: \"B\xfcro\" <a@x.example>\r\n", "From: =?utf-8?b?QsO8cm8=?= <a@x.example>\r\n", []Repair{HeaderEncoded}},
		{"From: Büro Süd<a@x.example>\r\n", "From: =?utf-8?b?QsO8cm8gU8O8ZA==?= <a@x.example>\r\n", []Repair{HeaderEncoded}},
		{"From: a@x.example (B\xfcro)\r\n", "From: a@x.example (=?utf-8?b?QsO8cm8=?=)\r\n", []Repair{HeaderEncoded}},
		{author + "Cc: \"Büro, 2\" <a@x.example>, c@x.example\r\n", author + "Cc: =?utf-8?b?QsO8cm8sIDI=?= <a@x.example>, c@x.example\r\n", []Repair{HeaderEncoded}},
		{author + "Cc: a@x.example, ü@x.example\r\n", author + "Cc: a@x.example, ??@x.example\r\n", []Repair{HeaderEncoded}},
		{author + "Subject: scan f\xfcr Frau x\r\n", author + "Subject: scan =?utf-8?b?ZsO8cg==?= Frau x\r\n", []Repair{HeaderEncoded}},
		{author + "Subject: a \x80 \x99\r\n", author + "Subject: a =?utf-8?b?4oKsIOKEog==?=\r\n", []Repair{HeaderEncoded}},
		{author + "Subject: =?utf-8?q?a?= ü\r\n", author + "Subject: =?utf-8?q?a?= =?utf-8?b?IMO8?=\r\n", []Repair{HeaderEncoded}},
		{author + "Subject: ExtraordinarilyLongSubjectWithOne\xfcOnly\r\n", author + "Subject: =?utf-8?q?ExtraordinarilyLongSubjectWithOne=C3=BCOnly?=\r\n", []Repair{HeaderEncoded}},
		{author + "Received: from ü\r\n", author + "Received: from ??\r\n", []Repair{HeaderEncoded}},
		{author + "Content-Type: application/pdf; name=\"Grüße; 1.pdf\"\r\n", author + "Content-Type: application/pdf; name*=utf-8''Gr%C3%BC%C3%9Fe%3B%201.pdf\r\n", []Repair{HeaderEncoded}},
		{author + "Content-Disposition: attachment;\r\n\tfilename=\xdcbersicht.pdf; size=3\r\n", author + "Content-Disposition: attachment;\r\n\tfilename*=utf-8''%C3%9Cbersicht.pdf; size=3\r\n", []Repair{HeaderEncoded}},
		{author + "X-Text: y " + long + "\r\n", author + "X-Text: y\r\n " + long[:997] + "\r\n " + long[997:] + "\r\n", []Repair{LineFolded}},
		{author + "References: <a@b> <" + long + "@b>\r\n", author + "References: <a@b>\r\n <" + long + "@b>\r\n", []Repair{LineFolded}},
	} {
		got, done := repairedWith(t, testRepairs, complete+c.given+"\r\nbody\r\n")
		if want := complete + c.want + "\r\nbody\r\n"; got != want || !slices.Equal(done, c.repairs) {
			t.Errorf("%q became\n%q, %q, want\n%q, %q", c.given, got, done, want, c.repairs)
		}
	}
}

func TestRepairer_ReplacesTheAuthor(t *testing.T) {
	for given, want := range map[string]string{
		"From: Hall <a@x.example>\r\n":                                           "From: Hall <used@contoso.com>\r\nX-Original-From: Hall <a@x.example>\r\nReply-To: a@x.example\r\n",
		"From: a@x.example, B <b@x.example>\r\nSender: s@x.example\r\n":          "From: used@contoso.com\r\nX-Original-From: a@x.example, B <b@x.example>\r\nX-Original-Sender: s@x.example\r\nReply-To: a@x.example,\r\n b@x.example\r\n",
		"From: a@x.example\r\nReply-To: r@x.example\r\n":                         "From: used@contoso.com\r\nX-Original-From: a@x.example\r\nReply-To: r@x.example\r\n",
		"From: Scanner\r\n":                                                      "From: \"Scanner\" <used@contoso.com>\r\nX-Original-From: Scanner\r\nReply-To: scan@contoso.com\r\n",
		"From: Hall <Used@contoso.com>\r\n":                                      "From: Hall <Used@contoso.com>\r\n",
		"From: =?utf-8?q?B=C3=BCro?= <a@x.example>\r\nReply-To: r@x.example\r\n": "From: =?utf-8?q?B=C3=BCro?= <used@contoso.com>\r\nX-Original-From: =?utf-8?q?B=C3=BCro?= <a@x.example>\r\nReply-To: r@x.example\r\n",
	} {
		r := testRepairs
		r.Author = func([]string) string { return used2 }
		got, _ := repairedWith(t, r, complete+given+"\r\n")
		if want = complete + want + "\r\n"; got != want {
			t.Errorf("%q became\n%q, want\n%q", given, got, want)
		}
	}
}

const used2 = "used@contoso.com"

func TestRepairer_RefusesALargeHeader(t *testing.T) {
	for _, header := range []string{strings.Repeat("X: ü\r\n", maxRepaired/4), "X: " + strings.Repeat("x", maxRepaired+1) + "\r\n"} {
		var out bytes.Buffer
		r := NewRepairer(&out, testRepairs)
		for range 2 {
			if _, err := io.WriteString(r, header+"\r\nbody"); !errors.Is(err, ErrTooLarge) {
				t.Errorf("got %v, want %v", err, ErrTooLarge)
			}
		}
		if out.Len() > 0 {
			t.Errorf("got %d octets written, want none", out.Len())
		}
	}
	line := strings.Repeat("x", 3*maxRepaired)
	if got, _ := repairedWith(t, testRepairs, line); !strings.HasSuffix(got, addedID+"\r\n"+line) {
		t.Errorf("a long line at the beginning is not a body")
	}
}

func TestRepairer_AddsAnEmptyLineToACompleteHeader(t *testing.T) {
	const header = complete + "From: a@contoso.com\r\n"
	got, done := repairedWith(t, testRepairs, header+"Toner is low.\r\n")
	if want := header + "\r\nToner is low.\r\n"; got != want || !slices.Equal(done, []Repair{EmptyLineAdded}) {
		t.Errorf("got %q, %q, want %q", got, done, want)
	}
}

// randomMessage returns a message made of what devices send, with CRLF line endings.
func randomMessage(random *rand.Rand) string {
	pieces := []string{"From: ", "from :", "From:", "Subject: ", "Date: ", "Date: Thu, 26 Nov 2026 09:00:00 +0100\r\n", "Message-ID: ", "<1@device>", "To: ", "Cc: ",
		"Sender: ", "Reply-To: ", "Bcc:", "Content-Type: text/plain; name=", "Content-Disposition: attachment; filename=", "Received: ", "X-A: ",
		"a@x.example", "<a@x.example>", "<", ">", "(", ")", "\"", "\\", ",", ";", ":", "@", "Büro", "\xfc\xdf", "\x80", "=?utf-8?q?a?=", " ", " ", "\t", "\r\n ",
		"\r\n", "\r\n", "\r\n", "\r\n\r\n", "Hello", "From a@b Thu Jan  1 00:00:00 1970\r\n", "\x1b", "\x7f", "[1]", "undisclosed:;"}
	var b strings.Builder
	if random.IntN(3) == 0 {
		b.WriteString(complete + author)
	}
	for range random.IntN(40) {
		piece := pieces[random.IntN(len(pieces))]
		if random.IntN(60) == 0 {
			piece = strings.Repeat(piece, random.IntN(200))
		}
		b.WriteString(piece)
	}
	return b.String() + "\r\n"
}

var leadingComment = regexp.MustCompile(`^(?:\s*\((?:[^()\\]|\\.)*\))+`)

// checkRepaired checks what holds for any message.
func checkRepaired(t *testing.T, message string) {
	t.Helper()
	got, done := repairedWith(t, testRepairs, message)
	again, doneAgain := repairedWith(t, testRepairs, got)
	if again != got || len(doneAgain) > 0 {
		t.Fatalf("%q became\n%q, and then\n%q, %q", message, got, again, doneAgain)
	}
	if (got == message) != (len(done) == 0) {
		t.Fatalf("%q became\n%q, changes %q", message, got, done)
	}
	if _, body, found := strings.Cut(message, "\r\n\r\n"); found && !strings.HasSuffix(got, body) {
		t.Fatalf("the body of %q is lost:\n%q", message, got)
	}
	read, err := mail.ReadMessage(strings.NewReader(got))
	if err != nil {
		t.Fatalf("%q became\n%q: %v", message, got, err)
	}
	for _, name := range []string{"From", "Date", "Message-Id"} {
		if n := len(read.Header[name]); n != 1 {
			t.Fatalf("%q became\n%q: %d %s", message, got, n, name)
		}
	}
	from := strings.ReplaceAll(read.Header.Get("From"), "=?", "=") // Go does not know every character set
	from = leadingComment.ReplaceAllString(from, "")               // nor a comment before an address
	if _, err := mail.ParseAddressList(from); err != nil {
		t.Fatalf("%q is from %q: %v", message, from, err)
	}
	// Whatever begins the body, its text is what the message ends with.
	if _, body, found := strings.Cut(got, "\r\n\r\n"); found && slices.Contains(done, EmptyLineAdded) {
		before := strings.TrimSuffix(message, body)
		if before == message && body != "" || strings.HasSuffix(before, "\r\n\r\n") || isHeaderLine([]byte(body), false) {
			t.Fatalf("%q became\n%q", message, got)
		}
	}
	header, body, found := strings.Cut(got, "\r\n\r\n")
	if !found {
		header = got
	}
	if !isASCII([]byte(header)) {
		t.Fatalf("%q became\n%q", message, got)
	}
	if !strings.HasSuffix(message, body) {
		t.Fatalf("%q has body %q", message, body)
	}
}

// checkAuthor checks that a replaced author is the only one, whatever the message says.
func checkAuthor(t *testing.T, message string) {
	t.Helper()
	r := testRepairs
	r.Author = func([]string) string { return used2 }
	got, _ := repairedWith(t, r, message)
	read, err := mail.ReadMessage(strings.NewReader(got))
	if err != nil {
		t.Fatalf("%q became\n%q: %v", message, got, err)
	}
	list, err := mail.ParseAddressList(strings.ReplaceAll(read.Header.Get("From"), "=?", "="))
	if err != nil || len(list) != 1 || !strings.EqualFold(list[0].Address, used2) || len(read.Header["From"]) != 1 {
		t.Fatalf("%q became\n%q: from %v, %v", message, got, list, err)
	}
	if again, _ := repairedWith(t, r, got); again != got {
		t.Fatalf("%q became\n%q, and then\n%q", message, got, again)
	}
}

func TestRepairer_RenamesASenderThatMayNotBe(t *testing.T) {
	r := testRepairs
	r.MaySend = func(senders []string) bool { return slices.Equal(senders, []string{"scan@contoso.com"}) }
	for sender, want := range map[string]string{
		"Sender: Hall <scan@contoso.com>\r\n":            "Sender: Hall <scan@contoso.com>\r\n",
		"Sender: boss@contoso.com\r\n":                   "X-Original-Sender: boss@contoso.com\r\n",
		"Sender:\r\n <boss@contoso.com>\r\n":             "X-Original-Sender:\r\n <boss@contoso.com>\r\n",
		"Sender: scan@contoso.com, boss@contoso.com\r\n": "X-Original-Sender: scan@contoso.com, boss@contoso.com\r\n",
		"Sender: <boss@contoso.com\r\n":                  "X-Original-Sender: <boss@contoso.com\r\n",
		"Sender:\r\n":                                    "X-Original-Sender:\r\n",
	} {
		got, _ := repairedWith(t, r, "From: scan@contoso.com\r\n"+sender+"To: a@contoso.com\r\n\r\n")
		if !strings.HasPrefix(got, "From: scan@contoso.com\r\n"+want+"To: ") {
			t.Errorf("%q became\n%q, want %q", sender, got, want)
		}
	}
}

func TestRepairer_HoldsForAnyMessage(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 5000 {
		message := randomMessage(random)
		checkRepaired(t, message)
		checkAuthor(t, message)
	}
}

// TestRepairer_KeepsTextOfWords decodes what was encoded.
func TestRepairer_KeepsTextOfWords(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	letters := []rune("aü€ß 漢 -=?_\"(,")
	for range 2000 {
		var text []rune
		for range 1 + random.IntN(100) {
			text = append(text, letters[random.IntN(len(letters))])
		}
		want := strings.Join(strings.Fields(string(text)), " ")
		got, _ := repairedWith(t, testRepairs, complete+author+"Subject: "+want+"\r\n\r\n")
		read, err := mail.ReadMessage(strings.NewReader(got))
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := new(mime.WordDecoder).DecodeHeader(read.Header.Get("Subject"))
		if err != nil || decoded != want {
			t.Fatalf("%q became\n%q: %q, %v", want, got, decoded, err)
		}
		got, _ = repairedWith(t, testRepairs, complete+author+"Content-Disposition: attachment; filename=\""+strings.NewReplacer(`"`, `\"`).Replace(want)+"\"\r\n\r\n")
		read, _ = mail.ReadMessage(strings.NewReader(got))
		if _, p, err := mime.ParseMediaType(read.Header.Get("Content-Disposition")); err != nil || p["filename"] != want {
			t.Fatalf("%q became\n%q: %v, %v", want, got, p, err)
		}
	}
}

func FuzzRepairer(f *testing.F) {
	f.Add("From: B\xfcro <a@x.example>\r\nSubject: s\r\n\r\nbody\r\n")
	f.Add("Hello\r\n")
	f.Fuzz(func(t *testing.T, message string) {
		if len(message) > maxRepaired/2 {
			return
		}
		lines := strings.Split(strings.NewReplacer("\r", "", "\x00", "").Replace(message), "\n")
		message = strings.TrimSuffix(strings.Join(lines, "\r\n"), "\r\n")
		if message != "" {
			message += "\r\n"
		}
		checkRepaired(t, message)
		checkAuthor(t, message)
	})
}

// BenchmarkRepairer writes a message with a body of 16 MiB, and a small one.
func BenchmarkRepairer(b *testing.B) {
	for _, c := range []struct {
		name string
		size int
	}{{"16MiB", 16 << 20}, {"4KiB", 4 << 10}} {
		for _, header := range []struct{ name, text string }{{"complete", complete + author + "Subject: s\r\n\r\n"}, {"repaired", "From: Scanner\r\nSubject: f\xfcr\r\n\r\n"}} {
			b.Run(c.name+" "+header.name, func(b *testing.B) {
				body := bytes.Repeat([]byte(strings.Repeat("x", 70)+"\r\n"), c.size/72)
				var dst bytes.Buffer
				dst.Grow(c.size + 4096)
				b.SetBytes(int64(len(body)))
				for b.Loop() {
					dst.Reset()
					w := NewRepairer(&dst, testRepairs)
					_, _ = w.Write([]byte(header.text))
					for at := 0; at < len(body); at += 32 << 10 {
						_, _ = w.Write(body[at:min(at+32<<10, len(body))])
					}
					_ = w.Close()
				}
			})
		}
	}
}

// TestRepairer_TakesLittleTimeForAnyHeader has headers that make slow parsers slow.
func TestRepairer_TakesLittleTimeForAnyHeader(t *testing.T) {
	const size = maxRepaired - 2000
	for _, piece := range []string{"\"a\"", "\"\\", "(", "()", "<", "<a@b>", "a@b,", "a,", "ü,", "ü ", "ü\"ü\"", "=?", "=?utf-8?q?a?= ", ":", ";x=ü", ";x=\"\\\"", " ", "\t\"", "\r\n ", "\r\nFrom: ü", "\r\nTo: (", "\r\na:", "\r\nFrom: a@b"} {
		for _, name := range []string{"From: ü", "To: ü", "Subject: ü", "Content-Type: ü"} {
			content := name + strings.Repeat(piece, size/len(piece))
			begun := time.Now()
			var out bytes.Buffer
			w := NewRepairer(&out, testRepairs)
			_, _ = w.Write([]byte(content + "\r\n\r\n"))
			_ = w.Close()
			if took := time.Since(begun); took > 2*time.Second {
				t.Errorf("%s and many %q: took %v", name, piece, took)
			} else if testing.Verbose() && took > 30*time.Millisecond {
				t.Logf("%s and many %q: took %v", name, piece, took)
			}
		}
	}
}

// TestAddresses_ReadsWhatGoReads compares with net/mail.
func TestAddresses_ReadsWhatGoReads(t *testing.T) {
	for value, want := range map[string]string{
		"a@x.example": "a@x.example",
		" A B <a@x.example>, c@x.example (d (e))": "a@x.example c@x.example",
		"\"A, B\" <a@x.example>":                  "a@x.example",
		"J. Q. Public <\"a b\"@x.example>":        "\"a b\"@x.example",
		"All: a@x.example, B <b@x.example>;":      "a@x.example b@x.example",
		"a@[192.0.2.1]":                           "a@[192.0.2.1]",
		"=?utf-8?q?=C3=BC?= <a@x.example>":        "a@x.example",
		"Büro <a@x.example>":                      "a@x.example",
		"Scanner":                                 "",
		"<>":                                      "",
		"a@":                                      "",
		"@x.example":                              "",
		"a@x.example b@x.example":                 "",
		"A <a@x.example":                          "",
		"a@x.example (":                           "",
		"a@x.example )":                           "",
		"undisclosed-recipients:;":                "",
		"A [2] <a@x.example>":                     "",
		"a..b@x.example":                          "",
		"a@.x":                                    "",
		".a@x.example":                            "",
		"a.@x.example":                            "",
		"<a@x.example>":                           "a@x.example",
		"<a@x.example":                            "",
		"a@x.example>":                            "",
		"<<a@x.example>>":                         "",
		"a@x@x.example":                           "",
		"a@x.example\f":                           "",
		"\v<a@x.example>":                         "",
		"":                                        "",
	} {
		if got := strings.Join(addresses([]byte(value)), " "); got != want {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
		list, err := mail.ParseAddressList(value)
		if (err == nil && len(list) > 0) != (want != "") {
			t.Errorf("%q: net/mail returns %v, %v", value, list, err)
		}
	}
}

// TestRepairs_AreDocumented looks for each name in the page about content.
func TestRepairs_AreDocumented(t *testing.T) {
	source, err := os.ReadFile("repairer.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/content.md")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`Repair = "(.*)"`).FindAllSubmatch(source, -1)
	if len(names) == 0 {
		t.Fatal("got no names")
	}
	for _, name := range names {
		if name := string(name[1]); !strings.Contains(string(page), "| `"+name+"` |") {
			t.Errorf("docs/content.md does not explain %q", name)
		}
	}
}
