package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"sealpost/relay/envelope"
	"sealpost/relay/header"
)

const domain = "contoso.com"

// keys are an RSA and an Ed25519 key.
var keys = sync.OnceValue(func() []Key {
	first, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	_, second, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return []Key{{first, "box-r"}, {second, "box-e"}}
})

// records are the key records in DNS, by name.
func records() map[string]string {
	found := make(map[string]string)
	for _, key := range keys() {
		text := "v=DKIM1; k=ed25519; p="
		public, isEd25519 := key.Public().(ed25519.PublicKey)
		if !isEd25519 {
			der, err := x509.MarshalPKIXPublicKey(key.Public())
			if err != nil {
				panic(err)
			}
			text, public = "v=DKIM1; k=rsa; p=", der
		}
		found[key.Selector+"._domainkey."+domain] = text + base64.StdEncoding.EncodeToString(public)
	}
	return found
}

func newSigner(t testing.TB) *Signer {
	t.Helper()
	s, err := New(keys()...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type text string

// Open implements envelope.Content.
func (t text) Open() io.Reader { return strings.NewReader(string(t)) }

// Size implements envelope.Content.
func (t text) Size() int64 { return int64(len(t)) }

// read reads content, and checks its size.
func read(t testing.TB, content envelope.Content) string {
	t.Helper()
	all, err := io.ReadAll(content.Open())
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(all)) != content.Size() {
		t.Fatalf("the content has %d octets, its size is %d", len(all), content.Size())
	}
	return string(all)
}

// verify returns an error for each signature that the verifier of go-msgauth rejects, or
// if their number is another one.
func verify(message string) error {
	published := records()
	found, err := msgauth.VerifyWithOptions(strings.NewReader(message), &msgauth.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		return []string{published[name]}, nil
	}})
	errs := []error{err}
	for i, v := range found {
		if v.Err != nil {
			errs = append(errs, fmt.Errorf("signature %d: %w", i, v.Err))
		}
	}
	if len(found) != len(keys()) {
		errs = append(errs, fmt.Errorf("got %d signatures, want %d", len(found), len(keys())))
	}
	return errors.Join(errs...)
}

const message = "Received: from printer\r\nFrom: Scanner <scanner@contoso.com>\r\nTo: a@example.org\r\nSubject: A\r\n  scan\r\n" +
	"Date: Fri, 27 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@contoso.com>\r\nMIME-Version: 1.0\r\n\r\nHello \t world \r\n\r\n\r\n"

func TestSign_IsVerifiedAndCanBeReadAgain(t *testing.T) {
	signed, err := newSigner(t).Sign(text(message), domain)
	if err != nil {
		t.Fatal(err)
	}
	first := read(t, signed)
	if err := verify(first); err != nil {
		t.Error(err)
	}
	if again := read(t, signed); again != first || !strings.HasSuffix(first, message) {
		t.Errorf("got %q and then %q, want twice the message after its signatures", first, again)
	}
	inspected, err := io.ReadAll(header.Inspect(signed))
	if err != nil || string(inspected) != first {
		t.Errorf("inspected: got %q, %v", inspected, err)
	}
	other, err := newSigner(t).Sign(text(message), domain)
	if err != nil || read(t, other) != first {
		t.Errorf("a second signature differs, %v", err)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(first, message), "\r\n") {
		if len(line) > 78 {
			t.Errorf("a line of %d octets: %s", len(line), line)
		}
	}
}

// TestSign_ListsWhatItCovers checks the tags of a signature.
func TestSign_ListsWhatItCovers(t *testing.T) {
	const more = "Return-Path: <a@contoso.com>\r\nCC: b@example.org\r\nDKIM-Signature: v=1; d=example.org\r\nX-Mailer: x\r\nComments: x\r\n"
	signed, err := newSigner(t).Sign(text(more+message), domain)
	if err != nil {
		t.Fatal(err)
	}
	field, _, _ := strings.Cut(read(t, signed), "DKIM-Signature: v=1; a=ed25519-sha256")
	tags := make(map[string]string)
	for tag := range strings.SplitSeq(strings.Join(strings.Fields(strings.TrimPrefix(field, "DKIM-Signature:")), ""), ";") {
		name, value, _ := strings.Cut(tag, "=")
		tags[name] = value
	}
	delete(tags, "b")
	delete(tags, "bh")
	want := map[string]string{"v": "1", "a": "rsa-sha256", "c": "relaxed/relaxed", "d": domain, "s": "box-r",
		"h": "From:From:To:To:Subject:Subject:Date:Date:Message-ID:Message-ID:Cc:MIME-Version"}
	if fmt.Sprint(tags) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", tags, want)
	}
}

// TestSign_DetectsChanges changes a signed message on its way.
func TestSign_DetectsChanges(t *testing.T) {
	signed, err := newSigner(t).Sign(text(message), domain)
	if err != nil {
		t.Fatal(err)
	}
	whole := read(t, signed)
	for _, test := range []struct {
		name, from, to string
		valid          bool
	}{
		{"a second author", "Received:", "From: x@example.net\r\nReceived:", false},
		{"a second subject", "MIME-Version:", "Subject: x\r\nMIME-Version:", false},
		{"another recipient", "To: a@", "To: b@", false},
		{"text at the end", "world \r\n", "world \r\nmore\r\n", false},
		{"white space", "Hello \t world ", "Hello world\t", true},
		{"another folding", "A\r\n  scan", "A\r\n\tscan", true},
		{"a trace field", "Received:", "Received: from sealpost\r\nReceived:", true},
		{"fewer lines at the end", "\r\n\r\n\r\n", "\r\n", true},
		{"another field", "MIME-Version:", "X-Spam: no\r\nMIME-Version:", true},
	} {
		if !strings.Contains(whole, test.from) {
			t.Fatalf("%s: the message does not contain %q", test.name, test.from)
		}
		if err := verify(strings.Replace(whole, test.from, test.to, 1)); (err == nil) != test.valid {
			t.Errorf("%s: got %v, want valid %t", test.name, err, test.valid)
		}
	}
}

func TestHashBody_IsThatOfTheStandards(t *testing.T) {
	const empty = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
	for body, want := range map[string]string{
		"": empty, "\r\n": empty, " \t\r\n\r\n  \r\n": empty, " ": empty,
		// RFC 8463 appendix A.3.
		"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n": "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=",
		"Hi.\r\n\r\nWe lost the game. \t Are you hungry yet?\r\n\r\nJoe. ":  "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=",
	} {
		for size := 1; size < 4; size++ {
			got, err := hashBody(&chunks{body, size})
			if err != nil || base64.StdEncoding.EncodeToString(got) != want {
				t.Errorf("%q in chunks of %d: got %x, %v, want %s", body, size, got, err, want)
			}
		}
	}
}

// chunks reads a text in small pieces.
type chunks struct {
	rest string
	size int
}

// Read implements io.Reader.
func (c *chunks) Read(p []byte) (int, error) {
	if c.rest == "" {
		return 0, io.EOF
	}
	n := copy(p, c.rest[:min(c.size, len(c.rest))])
	c.rest = c.rest[n:]
	return n, nil
}

func TestRelaxedField_IsThatOfTheStandard(t *testing.T) {
	for field, want := range map[string]string{ // RFC 6376 section 3.4.5
		"A: X\r\n":                "a:X\r\n",
		"B : Y\t\r\n\tZ  \r\n":    "b:Y Z\r\n",
		"Subject:\r\n":            "subject:\r\n",
		"Subject: \r\n \t\r\n":    "subject:\r\n",
		"To:\r\n a,\r\n  b\t\r\n": "to:a, b\r\n",
	} {
		if got := string(relaxedField([]byte(field))); got != want {
			t.Errorf("%q: got %q, want %q", field, got, want)
		}
	}
}

// failing is content that cannot be read to its end, or a key that cannot sign.
type failing struct{ text }

var errFlash = errors.New("flash")

// Open implements envelope.Content.
func (f failing) Open() io.Reader { return io.MultiReader(f.text.Open(), brokenReader{}) }

type brokenReader struct{}

// Read implements io.Reader.
func (brokenReader) Read([]byte) (int, error) { return 0, errFlash }

type brokenKey struct{ crypto.Signer }

// Sign implements crypto.Signer.
func (brokenKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, errFlash }

func TestSign_ReturnsErrors(t *testing.T) {
	broken, err := New(Key{brokenKey{keys()[1]}, "box"})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		signer  *Signer
		content envelope.Content
		want    error
	}{
		"no author":              {newSigner(t), text("To: a@contoso.com\r\n\r\n"), ErrNoAuthor},
		"empty":                  {newSigner(t), text(""), ErrNoAuthor},
		"large header":           {newSigner(t), text("From: a@contoso.com\r\nTo: " + strings.Repeat("x", maxHeader)), ErrLargeHeader},
		"many fields":            {newSigner(t), text("From: a@contoso.com\r\n" + strings.Repeat("A: x\r\n", maxHeader/6)), ErrLargeHeader},
		"unreadable header":      {newSigner(t), failing{"From: a@contoso.com\r\n"}, errFlash},
		"unreadable body":        {newSigner(t), failing{message}, errFlash},
		"a key that cannot sign": {broken, text(message), errFlash},
	} {
		if got, err := test.signer.Sign(test.content, domain); !errors.Is(err, test.want) || got != nil {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
	if _, err := New(); err == nil {
		t.Error("a signer without a key")
	}
	if _, err := New(Key{keys()[0], ""}); err == nil {
		t.Error("a key without a selector")
	}
}

// inspectable is content that may not be sent yet.
type inspectable struct{ text }

// Open implements envelope.Content.
func (inspectable) Open() io.Reader { panic("opened for sending") }

// Inspect returns a reader of the content for another purpose than sending.
func (i inspectable) Inspect() io.Reader { return i.text.Open() }

func TestSign_InspectsWithoutSending(t *testing.T) {
	signed, err := newSigner(t).Sign(inspectable{message}, domain)
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(header.Inspect(signed))
	if err != nil || verify(string(all)) != nil {
		t.Errorf("got %q, %v", all, err)
	}
}

// lines is a body of empty lines that is not in memory.
type lines int64

// Open implements envelope.Content.
func (l lines) Open() io.Reader {
	return io.MultiReader(strings.NewReader("From: a@contoso.com\r\n\r\nx\r\n"), io.LimitReader(emptyLines{}, 2*int64(l)), strings.NewReader("y\r\n"))
}

// Size implements envelope.Content.
func (l lines) Size() int64 { return int64(len("From: a@contoso.com\r\n\r\nx\r\ny\r\n")) + 2*int64(l) }

type emptyLines struct{}

// Read implements io.Reader.
func (emptyLines) Read(p []byte) (int, error) {
	return copy(p, "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n"), nil
}

// TestSign_UsesLittleMemory signs a large message that a verifier may hold in memory.
func TestSign_UsesLittleMemory(t *testing.T) {
	s := newSigner(t)
	const size = 4 << 20
	result := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Sign(lines(size/2), domain); err != nil {
				b.Fatal(err)
			}
		}
	})
	if got := result.AllocedBytesPerOp(); got > size/16 {
		t.Errorf("got %d octets for a message of %d", got, size)
	}
}
