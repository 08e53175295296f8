package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"sealpost/provisioning/dkimkey"
	"sealpost/provisioning/state"
	"sealpost/relay/envelope"
)

// keyZone are the TXT records in DNS.
type keyZone struct {
	mu    sync.Mutex
	texts map[string]string
}

func (z *keyZone) publish(t *testing.T, set *dkimkey.Set, domains ...string) {
	t.Helper()
	records, err := set.Records(domains)
	if err != nil {
		t.Fatal(err)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, r := range records {
		z.texts[r.Name] = r.Value
	}
}

// verify returns the selectors of the signatures of a message, or an error for one that is
// not valid.
func (z *keyZone) verify(message string) (selectors []string, err error) {
	lookup := func(name string) ([]string, error) {
		z.mu.Lock()
		defer z.mu.Unlock()
		selector, _, _ := strings.Cut(name, ".")
		selectors = append(selectors, selector)
		return []string{z.texts[name]}, nil
	}
	// One after the other, because the verifier looks up in parallel.
	verifications, err := msgauth.VerifyWithOptions(strings.NewReader(message), &msgauth.VerifyOptions{LookupTXT: func(name string) ([]string, error) { return lookup(name) }})
	for _, v := range verifications {
		err = errors.Join(err, v.Err)
	}
	slices.Sort(selectors)
	return selectors, err
}

type textContent string

// Open implements envelope.Content.
func (c textContent) Open() io.Reader { return strings.NewReader(string(c)) }

// Size implements envelope.Content.
func (c textContent) Size() int64 { return int64(len(c)) }

// signedBy signs a message of an author.
func signedBy(t *testing.T, s *dkimSigner, author string) string {
	t.Helper()
	content, err := s.Sign(envelope.Envelope{}, textContent("From: "+author+"\r\nSubject: s\r\n\r\nhello\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(content.Open())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func dkimBox(t *testing.T) *Box {
	return box(t, "[upstream]\nmethod = \"direct\"\n[senders]\naccepted_domains = [\"contoso.com\", \"fabrikam.com\"]\n")
}

func rotateKeys(t *testing.T, b *Box) dkimkey.Keys {
	t.Helper()
	keys, err := dkimkey.Rotate(t.Context(), b.Store, b.DKIMGenerator(), "sealpost", []dkimkey.Algorithm{dkimkey.RSA, dkimkey.Ed25519}, time.Now(), false)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func activate(t *testing.T, b *Box, name string, domains ...string) {
	t.Helper()
	if _, err := dkimkey.Activate(t.Context(), b.Store, name, domains, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// TestDKIMSigner_SignsValidlyDuringARotation rotates the keys while mail is sent, and while
// mail that was sent before is on its way.
func TestDKIMSigner_SignsValidlyDuringARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, zone := dkimBox(t), &keyZone{texts: make(map[string]string)}
		var reports []string
		s := newDKIMSigner(b, func(err error) { reports = append(reports, err.Error()) })
		ctx, stop := context.WithCancel(t.Context())
		var senders sync.WaitGroup
		var mu sync.Mutex
		counts := make(map[string]int) // of messages by their selectors
		for range 4 {
			senders.Go(func() {
				for ; ctx.Err() == nil; time.Sleep(300 * time.Millisecond) {
					selectors, err := zone.verify(signedBy(t, s, "a@contoso.com"))
					if err != nil {
						t.Errorf("signed by %v: %v", selectors, err)
					}
					mu.Lock()
					counts[fmt.Sprint(selectors)]++
					mu.Unlock()
				}
			})
		}
		pause := func() { time.Sleep(2 * dkimInterval) }
		pause()
		first := rotateKeys(t, b).Next
		pause()
		zone.publish(t, first, "contoso.com")
		activate(t, b, first.Name, "contoso.com")
		pause()
		underway := signedBy(t, s, "a@contoso.com")
		second := rotateKeys(t, b).Next
		pause()
		zone.publish(t, second, "contoso.com")
		activate(t, b, second.Name, "contoso.com")
		pause()
		if selectors, err := zone.verify(underway); err != nil || selectors[0] != first.Keys[1].Selector {
			t.Errorf("mail on its way: signed by %v, %v", selectors, err)
		}
		if _, err := dkimkey.Retire(ctx, b.Store, time.Now(), false); !errors.Is(err, dkimkey.ErrInFlight) {
			t.Errorf("retiring at once: got %v", err)
		}
		if _, err := dkimkey.Retire(ctx, b.Store, time.Now().Add(dkimkey.InFlight), false); err != nil {
			t.Error(err)
		}
		zone.mu.Lock()
		for _, key := range first.Keys {
			delete(zone.texts, key.Selector+"._domainkey.contoso.com")
		}
		zone.mu.Unlock()
		pause()
		stop()
		senders.Wait()
		want := []string{"[]", "[" + first.Name + "-e " + first.Name + "-r]", "[" + second.Name + "-e " + second.Name + "-r]"}
		if got := slices.Sorted(maps.Keys(counts)); !slices.Equal(got, want) {
			t.Errorf("got messages signed by %v, want %v", counts, want)
		}
		if len(reports) != 1 || reports[0] != errUnsigned.Error() {
			t.Errorf("got reports %q, want one that mail is not signed", reports)
		}
	})
}

func TestDKIMSigner_SignsForTheDomainOfTheAuthor(t *testing.T) {
	b, zone := dkimBox(t), &keyZone{texts: make(map[string]string)}
	set := rotateKeys(t, b).Next
	// printers.contoso.com is no longer in the settings.
	domains := []string{"contoso.com", "printers.contoso.com"}
	zone.publish(t, set, domains...)
	activate(t, b, set.Name, domains...)
	s := newDKIMSigner(b, func(err error) { t.Error(err) })
	for author, want := range map[string]string{
		"a@contoso.com":                     "contoso.com",
		"Scanner <a@LEEDS.contoso.com>":     "contoso.com",
		"a@printers.contoso.com":            "contoso.com",
		"a@notcontoso.com":                  "",
		"a@fabrikam.com":                    "", // not published there
		"a@contoso.com.example":             "",
		"not an address":                    "",
		"a@[192.0.2.1]":                     "",
		strings.Repeat("x", 9<<10) + "@a.b": "",
	} {
		message := signedBy(t, s, author)
		if _, err := zone.verify(message); err != nil || strings.Count(message, "\r\n d="+want+";") != 2 && want != "" || want == "" && strings.Contains(message, "DKIM") {
			t.Errorf("%.40s: want domain %q, got %v and %.300s", author, want, err, message)
		}
	}
}

func TestDKIMSigner_SurvivesAnUnreadableState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := dkimBox(t)
		set := rotateKeys(t, b).Next
		activate(t, b, set.Name, "contoso.com")
		var reports int
		s := newDKIMSigner(b, func(error) { reports++ })
		before := signedBy(t, s, "a@contoso.com")
		damage := func(text string) {
			if err := b.Store.Update(t.Context(), func(sections state.Sections) error {
				sections["dkim"] = []byte(text)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		for _, text := range []string{"{", `{"active":{"keys":[{"private":{"protection":"x"}}]}}`, `{"active":{}}`} {
			damage(text)
			time.Sleep(2 * dkimInterval)
			if after := signedBy(t, s, "a@contoso.com"); after != before {
				t.Errorf("%s: got %q, want the message as before", text, after)
			}
		}
		if reports != 3 {
			t.Errorf("got %d reports, want 3", reports)
		}
		if _, err := newDKIMSigner(b, func(error) {}).Sign(envelope.Envelope{}, textContent("From: a@contoso.com\r\n\r\n")); err == nil {
			t.Error("without keys of before: got no error, want one, so that the message is retried")
		}
	})
}

func TestDKIMSigner_DoesNotHoldAllMailForOneHeader(t *testing.T) {
	b := dkimBox(t)
	activate(t, b, rotateKeys(t, b).Next.Name, "contoso.com")
	s := newDKIMSigner(b, func(err error) { t.Error(err) })
	text := textContent("From: a@contoso.com\r\n" + strings.Repeat("text without an empty line before it\r\n", 1<<15) + "\r\n")
	content, err := s.Sign(envelope.Envelope{}, text)
	if err != nil {
		t.Fatal(err)
	}
	if content.Size() != text.Size() {
		t.Errorf("got %d octets, want the message as it was", content.Size())
	}
}
