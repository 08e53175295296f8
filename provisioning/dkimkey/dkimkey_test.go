package dkimkey

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/provisioning/keyring"
	"sealpost/provisioning/state"
)

// area is a settings area in memory.
type area struct{ sections state.Sections }

// Load implements Store.
func (a *area) Load(context.Context) (state.Sections, error) { return a.sections, nil }

// Update implements Store.
func (a *area) Update(_ context.Context, change func(state.Sections) error) error {
	changed := maps.Clone(a.sections)
	if err := change(changed); err != nil {
		return err
	}
	a.sections = changed
	return nil
}

var (
	ctx  = context.Background()
	both = []Algorithm{RSA, Ed25519}
	day  = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
)

// generate makes keys in clear text.
func generate(_ context.Context, algorithm Algorithm, binding []byte) (crypto.PublicKey, keyring.Key, error) {
	var key crypto.Signer
	var err error
	if algorithm == RSA {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		return nil, keyring.Key{}, err
	}
	stored, err := keyring.ProtectInFile(key, binding)
	return key.Public(), stored, err
}

func rotate(t *testing.T, a *area, now time.Time) Keys {
	t.Helper()
	keys, err := Rotate(ctx, a, generate, "sealpost", both, now, false)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestRotation_NeverSignsWithUnpublishedKeys(t *testing.T) {
	a := &area{state.Sections{"other": []byte("x")}}
	first := rotate(t, a, day)
	if first.Active != nil || first.Old != nil || first.Next == nil || first.Next.Name != "sealpost-20261127a" || first.Next.Keys[0].Selector != "sealpost-20261127a-r" || first.Next.Keys[1].Selector != "sealpost-20261127a-e" {
		t.Fatalf("got %+v, want only next keys", first)
	}
	if _, err := Rotate(ctx, a, generate, "sealpost", both, day, false); !errors.Is(err, ErrNext) {
		t.Errorf("a second rotation: got %v", err)
	}
	if _, err := Activate(ctx, a, "sealpost-20261127b", nil, day); !errors.Is(err, errChanged) {
		t.Errorf("activating other keys: got %v", err)
	}
	keys, err := Activate(ctx, a, first.Next.Name, []string{"contoso.com"}, day)
	if err != nil || keys.Next != nil || keys.Old != nil || keys.Active.Name != first.Next.Name || !keys.Active.Activated.Equal(day) {
		t.Fatalf("got %+v, %v, want active keys", keys, err)
	}
	if keys, err = Activate(ctx, a, keys.Active.Name, []string{"contoso.com", "contoso.co.uk"}, day.Add(time.Hour)); err != nil || len(keys.Active.Domains) != 2 || !keys.Active.Activated.Equal(day) || keys.Old != nil {
		t.Errorf("another domain: got %+v, %v", keys, err)
	}
	if _, err := Retire(ctx, a, day, true); !errors.Is(err, ErrNoOld) {
		t.Errorf("retiring without old keys: got %v", err)
	}

	second := rotate(t, a, day)
	if second.Active.Name != first.Next.Name || second.Next.Name != "sealpost-20261127b" {
		t.Fatalf("got %+v, want the first keys still active", second)
	}
	if keys, err = Activate(ctx, a, second.Next.Name, []string{"contoso.com"}, day.Add(time.Hour)); err != nil || keys.Active.Name != second.Next.Name || keys.Old.Name != first.Next.Name {
		t.Fatalf("got %+v, %v, want the second keys active and the first old", keys, err)
	}
	if _, err := Rotate(ctx, a, generate, "sealpost", both, day, true); !errors.Is(err, ErrOld) {
		t.Errorf("a rotation with old keys: got %v", err)
	}
	if _, err := Retire(ctx, a, day.Add(InFlight), false); !errors.Is(err, ErrInFlight) {
		t.Errorf("retiring early: got %v", err)
	}
	retired, err := Retire(ctx, a, day.Add(InFlight+time.Hour), false)
	if err != nil || retired.Name != first.Next.Name {
		t.Errorf("retiring: got %+v, %v", retired, err)
	}
	if keys, err = Load(ctx, a); err != nil || keys.Old != nil || keys.Active.Name != second.Next.Name || string(a.sections["other"]) != "x" {
		t.Errorf("at the end: got %+v, %v", keys, err)
	}
}

func TestRotate_ReplacesKeysUnderAnotherName(t *testing.T) {
	a := &area{state.Sections{}}
	rotate(t, a, day)
	keys, err := Rotate(ctx, a, generate, "sealpost", both[:1], day, true)
	if err != nil || keys.Next.Name != "sealpost-20261127b" || len(keys.Next.Keys) != 1 {
		t.Errorf("got %+v, %v", keys.Next, err)
	}
}

// TestRotate_StoresNothingThatAnotherCommandRefutes rotates while another command does.
func TestRotate_StoresNothingThatAnotherCommandRefutes(t *testing.T) {
	a := &area{state.Sections{}}
	_, err := Rotate(ctx, a, func(ctx context.Context, algorithm Algorithm, binding []byte) (crypto.PublicKey, keyring.Key, error) {
		if algorithm == Ed25519 {
			rotate(t, a, day)
		}
		return generate(ctx, algorithm, binding)
	}, "sealpost", both, day, false)
	if keys, loadErr := Load(ctx, a); !errors.Is(err, errChanged) || loadErr != nil || keys.Next == nil {
		t.Errorf("got %v, %+v", err, keys)
	}
	failing := errors.New("flash")
	_, err = Rotate(ctx, &area{}, func(context.Context, Algorithm, []byte) (crypto.PublicKey, keyring.Key, error) {
		return nil, keyring.Key{}, failing
	}, "sealpost", both, day, false)
	if !errors.Is(err, failing) {
		t.Errorf("got %v, want the generator's error", err)
	}
}

func TestSigner_BelongsToItsRecord(t *testing.T) {
	keys := rotate(t, &area{state.Sections{}}, day)
	for i, key := range keys.Next.Keys {
		if _, err := key.Signer(nil); err != nil {
			t.Errorf("%s: %v", key.Selector, err)
		}
		key.Public = keys.Next.Keys[1-i].Public
		if _, err := key.Signer(nil); err == nil {
			t.Errorf("%s signs for another public key", key.Selector)
		}
		key = keys.Next.Keys[i]
		key.Selector = "other"
		if _, err := key.Signer(nil); err == nil {
			t.Errorf("%s signs under another selector", key.Selector)
		}
	}
}

func TestRecord_ComparesWhatItMeans(t *testing.T) {
	keys := rotate(t, &area{state.Sections{}}, day)
	records, err := keys.Next.Records([]string{"contoso.com", "contoso.co.uk"})
	if err != nil || len(records) != 4 || records[0].Name != "sealpost-20261127a-r._domainkey.contoso.com" || records[3].Name != "sealpost-20261127a-e._domainkey.contoso.co.uk" {
		t.Fatalf("got %v, %v", records, err)
	}
	rsaRecord, edRecord := records[0], records[1]
	p := strings.TrimPrefix(rsaRecord.Value, "v=DKIM1; k=rsa; p=")
	for _, test := range []struct {
		name  string
		r     Record
		texts []string
		want  string // in the error; empty for none
	}{
		{"equal", rsaRecord, []string{rsaRecord.Value}, ""},
		{"equal, Ed25519", edRecord, []string{edRecord.Value}, ""},
		{"without k= and v=", rsaRecord, []string{"p=" + p}, ""},
		{"with other tags and white space", rsaRecord, []string{"v=DKIM1;t=y:s ; n=x; h=sha1 : sha256; s=*;p=" + p[:100] + " " + p[100:] + ";"}, ""},
		{"none", rsaRecord, nil, "is not published"},
		{"two", rsaRecord, []string{rsaRecord.Value, rsaRecord.Value}, "more than once"},
		{"revoked", rsaRecord, []string{"v=DKIM1; p="}, "revokes"},
		{"another key", rsaRecord, []string{"v=DKIM1; k=rsa; p=AAAA"}, "another key"},
		{"another algorithm", edRecord, []string{strings.Replace(edRecord.Value, "k=ed25519; ", "", 1)}, "another key"},
		{"cut off", rsaRecord, []string{rsaRecord.Value[:255]}, "another key"},
		{"SPF", rsaRecord, []string{"v=spf1 -all"}, "something else"},
		{"no key", rsaRecord, []string{"v=DKIM1"}, "something else"},
		{"only SHA-1", rsaRecord, []string{"h=sha1; p=" + p}, "excludes sha256"},
		{"not for mail", rsaRecord, []string{"s=tlsrpt; p=" + p}, "excludes mail"},
	} {
		err := test.r.Compare(test.texts)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
}

func TestZone_SplitsLongValues(t *testing.T) {
	keys := rotate(t, &area{state.Sections{}}, day)
	records, err := keys.Next.Records([]string{"contoso.com"})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		line := r.Zone()
		prefix, quoted, _ := strings.Cut(strings.TrimSuffix(line, ` )`), ` ( `)
		parts := strings.Split(strings.Trim(quoted, `"`), `" "`)
		if prefix != r.Name+". 3600 IN TXT" || strings.Join(parts, "") != r.Value || slices.ContainsFunc(parts, func(p string) bool { return len(p) > 255 || p == "" }) {
			t.Errorf("got %s", line)
		}
	}
}

func TestCompare_ReturnsAResultForEachRecord(t *testing.T) {
	keys := rotate(t, &area{state.Sections{}}, day)
	records, err := keys.Next.Records([]string{"contoso.com"})
	if err != nil {
		t.Fatal(err)
	}
	failing := errors.New("no route to host")
	got, err := keys.Next.Compare(ctx, []string{"contoso.com"}, func(_ context.Context, name string) ([]string, error) {
		if name == records[0].Name {
			return []string{records[0].Value}, nil
		}
		return nil, failing
	})
	if err != nil || len(got) != 2 || got[0].Err != nil || !errors.Is(got[1].Err, failing) {
		t.Errorf("got %v, %v", got, err)
	}
}

// FuzzRecord compares any text of DNS with a record.
func FuzzRecord(f *testing.F) {
	f.Add("v=DKIM1; k=ed25519; p=AAAA", "v=DKIM1; p=")
	f.Fuzz(func(t *testing.T, value, text string) {
		err := Record{"x", value}.Compare([]string{text})
		if err == nil && tags(text)["p"] != tags(value)["p"] {
			t.Errorf("%q is accepted for %q", text, value)
		}
	})
}
