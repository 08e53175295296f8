package mime

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
	"testing"
	"testing/iotest"

	"sealpost/relay/header"
)

type text string

func (t text) Open() io.Reader { return iotest.HalfReader(strings.NewReader(string(t))) }
func (t text) Size() int64     { return int64(len(t)) }

func recode(t *testing.T, message string, sevenBit bool) string {
	t.Helper()
	c := Recode(text(message), sevenBit)
	got, err := io.ReadAll(c.Open())
	if err != nil || int64(len(got)) != c.Size() {
		t.Fatalf("%q: got %d octets of %d, %v", message, len(got), c.Size(), err)
	}
	again, _ := io.ReadAll(iotest.OneByteReader(c.Open()))
	if !bytes.Equal(got, again) {
		t.Fatalf("%q reads as %q the second time, %q the first", message, again, got)
	}
	return string(got)
}

func TestRecode_ChangesWhatItMust(t *testing.T) {
	long := strings.Repeat("x", 1000)
	quoted := strings.Repeat("x", 75) + "=\r\n"
	for _, c := range []struct {
		name, given, want string
		sevenBit          bool
	}{
		{"nothing", "Subject: s\r\n\r\nGrüße\r\n", "Subject: s\r\n\r\nGrüße\r\n", false},
		{"seven bits already", "Subject: s\r\n\r\nHello\r\n", "Subject: s\r\n\r\nHello\r\n", true},
		{"UTF-8", "Subject: s\r\n\r\nGrüße \r\n-\r\n", "Subject: s\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe=20\r\n=2D\r\n", true},
		{"unknown charset", "Subject: s\r\n\r\nGr\xfc\xdfe\r\n", "Subject: s\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe\r\n", true},
		{"long ASCII", "\r\n" + long + "\r\n", "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + strings.Repeat(quoted, 13) + long[:25] + "\r\n", false},
		{"typed", "MIME-Version: 1.0\r\nContent-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xfc\r\n", "MIME-Version: 1.0\r\nContent-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=FC\r\n", true},
		{"binary", "MIME-Version: 1.0\r\nContent-Type: application/pdf\r\n\r\n\xfc\r\nx", "MIME-Version: 1.0\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n/A0KeA==", true},
		{"base64", "Content-Type: image/png\r\nContent-Transfer-Encoding: Base64\r\n\r\n" + long + "\r\n", "Content-Type: image/png\r\nContent-Transfer-Encoding: Base64\r\n\r\n" + strings.Repeat(long[:76]+"\r\n", 13) + long[:12] + "\r\n", false},
		{"quoted-printable", "Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + long + "=C3=BC  \r\n", "Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + strings.Repeat(quoted, 13) + long[:25] + "=C3=BC\r\n", false},
		{"parts", "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\nü\r\n--b\r\n\r\nü\r\n--b\r\nContent-Type: application/pdf; name=\"ü\"\r\n\r\nx\r\n--b--\r\nü\r\n",
			"Content-Type: multipart/mixed; boundary=b\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: 7bit\r\n\r\n??\r\n--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=BC\r\n--b\r\nContent-Type: application/pdf; name*=utf-8''%C3%BC\r\n\r\nx\r\n--b--\r\n??\r\n", true},
		{"boundary without quotes", "Content-Type: multipart/mixed; boundary=--=_b\r\n\r\n----=_b\r\n\r\nü\r\n----=_b--\r\n", "Content-Type: multipart/mixed; boundary=--=_b\r\n\r\n----=_b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=BC\r\n----=_b--\r\n", true},
		{"message", "Content-Type: message/rfc822\r\n\r\nSubject: s\r\n\r\nü\r\n", "Content-Type: message/rfc822\r\n\r\nSubject: s\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=BC\r\n", true},
		{"message in base64", "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n" + long + "\r\n", "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n" + strings.Repeat(long[:76]+"\r\n", 13) + long[:12] + "\r\n", false},
		{"delivery status", "Content-Type: message/delivery-status\r\n\r\n" + long + "\r\n", "Content-Type: message/delivery-status\r\n\r\n" + long + "\r\n", false},
		{"digest", "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nContent-Type: text/plain\r\n\r\nü\r\n--b--\r\n", "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=BC\r\n--b--\r\n", true},
		{"signed", "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nü\r\n--b--\r\n", "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nü\r\n--b--\r\n", true},
		{"signed part", "Content-Type: multipart/mixed; boundary=a\r\nContent-Transfer-Encoding: 8bit\r\n\r\n--a\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nü\r\n--b--\r\n--a\r\n\r\nü\r\n--a--\r\n",
			"Content-Type: multipart/mixed; boundary=a\r\nContent-Transfer-Encoding: 8bit\r\n\r\n--a\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nü\r\n--b--\r\n--a\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=BC\r\n--a--\r\n", true},
		{"S/MIME", "Content-Type: application/pkcs7-mime\r\n\r\nü\r\n", "Content-Type: application/pkcs7-mime\r\n\r\nü\r\n", true},
		{"unknown encoding", "Content-Transfer-Encoding: x-uuencode\r\n\r\n" + long + "\r\n", "Content-Transfer-Encoding: x-uuencode\r\n\r\n" + long + "\r\n", false},
		{"no delimiter by a break", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nü" + long[:69] + "--b\r\n--b--\r\n", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=BC" + long[:69] + "=\r\n=2D-b\r\n--b--\r\n", true},
	} {
		if got := recode(t, c.given, c.sevenBit); got != c.want {
			t.Errorf("%s: %q became\n%q, want\n%q", c.name, c.given, got, c.want)
		}
	}
}

// message builds random MIME messages.
type message struct {
	*rand.Rand
	boundaries int
}

var pieces = []string{"a", "Hello", "-", "--", "--b1x", "--b0--", "=", "==", "=3D", " ", "\t", ".", "ü", "\xfc", "漢", "\x01", "\x7f", "From "}

func (m *message) line() string {
	var b strings.Builder
	for range m.IntN(12) {
		b.WriteString(pieces[m.IntN(len(pieces))])
	}
	if m.IntN(8) == 0 {
		b.WriteString(strings.Repeat(pieces[m.IntN(len(pieces))], 200+m.IntN(500)))
	}
	return b.String()
}

func (m *message) lines() string {
	var all []string
	for range m.IntN(6) {
		all = append(all, m.line())
	}
	return strings.Join(all, "\r\n")
}

// entity returns a header and a body.
func (m *message) entity(depth int) string {
	kind := m.IntN(8)
	if depth > 3 {
		kind %= 5
	}
	switch kind {
	default:
		return "\r\n" + m.lines()
	case 1:
		return "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + m.lines()
	case 2:
		return "Content-Type: application/octet-stream; name=\"ü.pdf\"\r\n\r\n" + m.lines()
	case 3:
		encoded := base64.StdEncoding.EncodeToString([]byte(m.lines()))
		if m.IntN(2) == 0 && len(encoded) > 10 {
			encoded = encoded[:10] + "\r\n" + encoded[10:]
		}
		return "Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n" + encoded
	case 4:
		var b strings.Builder
		w := quotedprintable.NewWriter(&b)
		_, _ = w.Write([]byte(m.lines()))
		_ = w.Close()
		encoded := b.String()
		if m.IntN(2) == 0 {
			encoded = strings.ReplaceAll(encoded, "=\r\n", "")
		}
		return "Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + encoded
	case 5, 6:
		m.boundaries++
		boundary := fmt.Sprintf("b%d", m.boundaries)
		var b strings.Builder
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=%s\r\n\r\n%s", boundary, m.lines())
		for range 1 + m.IntN(3) {
			fmt.Fprintf(&b, "\r\n--%s\r\n%s", boundary, m.entity(depth+1))
		}
		fmt.Fprintf(&b, "\r\n--%s--\r\n%s", boundary, m.lines())
		return b.String()
	case 7:
		return "Content-Type: message/rfc822\r\n\r\nSubject: s\r\n" + m.entity(depth+1)
	}
}

// contents returns the decoded content of every part, as Go's readers read it.
func contents(header textproto.MIMEHeader, body io.Reader) (all []string, err error) {
	var e entity
	e.setType(header.Get("Content-Type"))
	mediaType := e.mediaType
	e.encoding = strings.ToLower(header.Get("Content-Transfer-Encoding"))
	switch {
	case e.isMultipart() && !e.opaque && e.isIdentity():
		for r := multipart.NewReader(body, e.boundary); ; {
			part, err := r.NextRawPart()
			if errors.Is(err, io.EOF) {
				return append(all, "end"), nil
			} else if err != nil {
				return all, err
			}
			inner, err := contents(part.Header, part)
			all = append(append(all, mediaType), inner...)
			if err != nil {
				return all, err
			}
		}
	case mediaType == "message/rfc822" && e.isIdentity():
		inner, err := mail.ReadMessage(body)
		if err != nil {
			return all, err
		}
		return contents(textproto.MIMEHeader(inner.Header), inner.Body)
	}
	switch e.encoding {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	}
	decoded, err := io.ReadAll(body)
	return []string{mediaType + ": " + string(decoded)}, err
}

func contentsOf(message string) ([]string, error) {
	m, err := mail.ReadMessage(strings.NewReader(message))
	if err != nil {
		return nil, err
	}
	return contents(textproto.MIMEHeader(m.Header), m.Body)
}

// checkRecoded checks what holds for every message.
func checkRecoded(t *testing.T, message string, sevenBit, strict bool) {
	t.Helper()
	got := recode(t, message, sevenBit)
	want, wantErr := contentsOf(message)
	decoded, err := contentsOf(got)
	if wantErr == nil {
		if len(want) == 1 && len(decoded) == 1 {
			// The type of a message that had none.
			_, want[0], _ = strings.Cut(want[0], ": ")
			_, decoded[0], _ = strings.Cut(decoded[0], ": ")
		}
		for i, part := range decoded {
			if i >= len(want) || part != want[i] {
				t.Fatalf("%q became\n%q: part %d is\n%q, want\n%q", message, got, i, part, want[min(i, len(want)-1)])
			}
		}
		if err != nil || len(decoded) != len(want) {
			t.Fatalf("%q became\n%q: %d parts, %v, want %d", message, got, len(decoded), err, len(want))
		}
	}
	if again := recode(t, got, sevenBit); strict && again != got {
		t.Fatalf("%q became\n%q, and then\n%q", message, got, again)
	}
	if !strict {
		return
	}
	if sevenBit && hasEightBit([]byte(got)) {
		t.Fatalf("%q became\n%q", message, got)
	}
	for line := range strings.SplitSeq(got, "\r\n") {
		if len(line) > maxLine {
			t.Fatalf("%q became\n%q: a line has %d octets", message, got, len(line))
		}
	}
}

func TestRecode_KeepsTheContentOfEveryPart(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m := &message{Rand: rand.New(rand.NewPCG(seed, 0))}
	for range 4000 {
		m.boundaries = 0
		checkRecoded(t, "Subject: s\r\n"+m.entity(0)+"\r\n", m.IntN(2) == 0, true)
	}
}

func TestRecode_IsBounded(t *testing.T) {
	deep := "Subject: s\r\n"
	for i := range 1000 {
		deep += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	many := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nü\r\n", maxParts+10)
	for name, message := range map[string]string{
		"deep":         deep + "\r\nü\r\n",
		"messages":     strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 1000) + "\r\nü\r\n",
		"many parts":   many,
		"large header": "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + strings.Repeat("X: y\r\n", maxHeader) + "\r\nü\r\n--b--\r\n",
		"a long line":  "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: " + strings.Repeat("ü", maxHeader) + "\r\n\r\nü\r\n--b--\r\n",
	} {
		got := recode(t, message, true)
		if want := strings.Count(message, "\r\n"); strings.Count(got, "\r\n") < want {
			t.Errorf("%s: lines are lost", name)
		}
	}
}

type broken struct{ text }

func (broken) Open() io.Reader {
	return io.MultiReader(strings.NewReader("\r\nü"), iotest.ErrReader(errors.New("flash")))
}

func TestRecode_LeavesErrorsToTheReader(t *testing.T) {
	if got := Recode(broken{}, true); got != (broken{}) {
		t.Errorf("got %v", got)
	}
}

// inspectable is content that may not be sent yet.
type inspectable struct{ text }

func (inspectable) Open() io.Reader { panic("opened for sending") }

// Inspect returns a reader of the content for another purpose than sending.
func (i inspectable) Inspect() io.Reader { return i.text.Open() }

func TestRecode_InspectsWithoutSending(t *testing.T) {
	const message = "Subject: s\r\n\r\nü\r\n"
	got, err := io.ReadAll(header.Inspect(Recode(inspectable{message}, true)))
	if err != nil || string(got) != recode(t, message, true) {
		t.Errorf("got %q, %v", got, err)
	}
}

func FuzzRecode(f *testing.F) {
	f.Add("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nü\r\n--b--\r\n", true)
	f.Add("Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=BC = \r\n", false)
	f.Fuzz(func(t *testing.T, message string, sevenBit bool) {
		message = strings.ReplaceAll(strings.NewReplacer("\r", "", "\x00", "").Replace(message), "\n", "\r\n") + "\r\n"
		checkRecoded(t, message, sevenBit, false)
	})
}

// BenchmarkRecode recodes a message of 16 MiB.
func BenchmarkRecode(b *testing.B) {
	for name, line := range map[string]string{
		"unchanged": strings.Repeat("x", 70) + "\r\n",
		"quoted":    strings.Repeat("ü", 35) + "\r\n",
	} {
		b.Run(name, func(b *testing.B) {
			message := text("Subject: s\r\n\r\n" + strings.Repeat(line, 16<<20/len(line)))
			b.SetBytes(message.Size())
			for b.Loop() {
				if _, err := io.Copy(io.Discard, Recode(message, true).Open()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
