package dkim

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"
)

// FuzzSign signs messages of any shape: a message with an author gets valid signatures.
func FuzzSign(f *testing.F) {
	f.Add("From: a@contoso.com\n\nbody\n")
	f.Add("from :a@contoso.com\nTo\t:\n \n b\nTo: c\nSubject:\n\n\n x \t\n\n\n")
	f.Add("From: a\nFrom: b\nCc:x\nReferences: <1>\n\t<2>\n\n.\n..\n")
	f.Add("x\nFrom: a\nDKIM-Signature: v=1\nMIME-Version: 1.0\n\n")
	s, err := New(keys()...)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		// The LAN side removes bare CRs and what is no field, and ends the header.
		raw = strings.ReplaceAll(raw, "\r", "")
		head, body, _ := strings.Cut(raw, "\n\n")
		var fields []string
		for field := range strings.SplitSeq(head, "\n") {
			folded := len(fields) > 0 && strings.HasPrefix(field, " ")
			name, _, _ := strings.Cut(field, ":")
			isName := name != "" && name != field && !slices.ContainsFunc([]byte(name), func(c byte) bool { return c <= ' ' || c > '~' })
			if folded || isName && !strings.EqualFold(name, "DKIM-Signature") {
				fields = append(fields, field)
			}
		}
		message := strings.ReplaceAll(strings.Join(append(fields, "", body), "\n"), "\n", "\r\n")
		signed, err := s.Sign(text(message), domain)
		if errors.Is(err, ErrNoAuthor) || errors.Is(err, ErrLargeHeader) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		whole := read(t, signed)
		if !strings.HasSuffix(whole, message) {
			t.Error("the message was changed")
		}
		if err := verify(whole); err != nil {
			t.Errorf("%v in %q", err, whole)
		}
	})
}

// BenchmarkSign signs a message of 1 MiB by each kind of key.
func BenchmarkSign(b *testing.B) {
	body := strings.Repeat(strings.Repeat("0123456789 abcdef", 4)+"\r\n", 1<<20/70)
	large := text(message + body)
	for name, of := range map[string][]Key{"RSA": keys()[:1], "Ed25519": keys()[1:], "both": keys()} {
		b.Run(name, func(b *testing.B) {
			s, err := New(of...)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(large.Size())
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Sign(large, domain); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("go-msgauth, both", func(b *testing.B) {
		b.SetBytes(large.Size())
		b.ReportAllocs()
		for b.Loop() {
			for _, key := range keys() {
				o := &msgauth.SignOptions{Domain: domain, Selector: key.Selector, Signer: key, HeaderCanonicalization: msgauth.CanonicalizationRelaxed, BodyCanonicalization: msgauth.CanonicalizationRelaxed}
				s, err := msgauth.NewSigner(o)
				if err != nil {
					b.Fatal(err)
				}
				if _, err = io.Copy(s, bytes.NewReader([]byte(large))); err == nil {
					err = s.Close()
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
