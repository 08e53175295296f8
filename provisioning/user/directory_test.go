package user

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/provisioning/keyring"
	"sealpost/provisioning/state"
)

// directory returns the directory of a settings area with these users.
func directory(t *testing.T, changes ...Change) (*Directory, *memory) {
	t.Helper()
	m := &memory{sections: state.Sections{}, version: "1"}
	if err := put(t, m.sections, changes...); err != nil {
		t.Fatal(err)
	}
	return NewDirectory(m, keyring.FileSealer(nil), func(err error) { t.Errorf("reported %v", err) }), m
}

func TestAuthenticate_AcceptsTheRightPasswordOnly(t *testing.T) {
	d, _ := directory(t, change("printer", "right password"), change("scanner", "other password"))
	for range 2 { // the second time from what is remembered
		for _, c := range []struct {
			name, password string
			want           bool
		}{
			{"printer", "right password", true}, {"PRINTER", "right password", true}, {"scanner", "other password", true},
			{"printer", "other password", false}, {"printer", "", false}, {"printer", "Right password", false},
			{"nobody", "right password", false}, {"", "", false},
		} {
			if got := d.Authenticate(t.Context(), c.name, c.password); got != c.want {
				t.Errorf("%q with %q: got %t, want %t", c.name, c.password, got, c.want)
			}
		}
	}
}

func TestPasswordVersion_ChangesWithThePassword(t *testing.T) {
	d, m := directory(t, change("printer", "right password"))
	first := d.PasswordVersion("PRINTER")
	again := change("printer", "right password")
	again.Replace = true
	if err := put(t, m.sections, again); err != nil {
		t.Fatal(err)
	}
	m.version, d.checked = "2", time.Time{}
	if second := d.PasswordVersion("printer"); first == "" || second == "" || first == second || d.PasswordVersion("nobody") != "" {
		t.Errorf("got %q, then %q, want two versions, and none of nobody", first, second)
	}
}

func TestAuthenticate_HashesOnceForADeviceThatLogsInOften(t *testing.T) {
	d, _ := directory(t, change("printer", "right password"))
	if !d.Authenticate(t.Context(), "printer", "right password") {
		t.Fatal("refused")
	}
	for range maxHashes {
		d.hashes <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if !d.Authenticate(ctx, "printer", "right password") {
		t.Error("the right password needed a hash the second time")
	}
	if d.Authenticate(ctx, "printer", "wrong password") || d.Authenticate(ctx, "nobody", "right password") {
		t.Error("a wrong password was accepted without a hash")
	}
}

// The shortest time of several attempts is compared, because other work on the machine
// makes single attempts longer.
func TestAuthenticate_TakesAsLongForAnUnknownName(t *testing.T) {
	d, _ := directory(t, change("printer", "right password"))
	shortest := func(name string, before time.Duration) time.Duration {
		begun := time.Now()
		d.Authenticate(t.Context(), name, "wrong password")
		return min(before, time.Since(begun))
	}
	known, unknown := time.Hour, time.Hour
	const least, most = 5, 60 // attempts
	for n := range most {
		known, unknown = shortest("printer", known), shortest("nobody", unknown)
		if n >= least && unknown > known/3 && known > unknown/3 {
			return
		}
	}
	t.Errorf("a known name took %s, an unknown one %s", known, unknown)
}

func TestAuthenticate_RunsFewHashesAtOnce(t *testing.T) {
	d, _ := directory(t, change("printer", "right password"))
	var right atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if d.Authenticate(t.Context(), "printer", "right password") {
				right.Add(1)
			}
		})
		all.Go(func() { d.Authenticate(t.Context(), "nobody", "right password") })
	}
	all.Wait()
	if right.Load() != 8 || len(d.hashes) != 0 {
		t.Errorf("%d of 8 logged in, %d hashes still run", right.Load(), len(d.hashes))
	}
}

func TestDirectory_NoticesChangesByOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, m := directory(t)
		if !d.Empty() || d.OffersCRAM() {
			t.Error("a box without users offers to log in")
		}
		added := change("printer", "right password")
		added.CRAMMD5, added.Recipients = true, []string{"@contoso.com"}
		if err := put(t, m.sections, added); err != nil {
			t.Fatal(err)
		}
		m.version = "2"
		time.Sleep(5 * time.Second)
		if u, found := d.Lookup("Printer"); d.Empty() || !d.OffersCRAM() || !found || u.Recipients[0] != "@contoso.com" {
			t.Errorf("got %v, %t, want the new user", u, found)
		}
		if !d.Authenticate(t.Context(), "printer", "right password") {
			t.Error("the new user was refused")
		}
		added.Replace, added.Password = true, "new password"
		if err := put(t, m.sections, added); err != nil {
			t.Fatal(err)
		}
		m.version = "3"
		time.Sleep(5 * time.Second)
		if d.Authenticate(t.Context(), "printer", "right password") || !d.Authenticate(t.Context(), "printer", "new password") {
			t.Error("the old password is accepted, or the new one is not")
		}
		before := m.loads
		for range 100 {
			time.Sleep(time.Second)
			d.Lookup("printer")
		}
		if m.loads != before {
			t.Errorf("read the settings area %d times without a change", m.loads-before)
		}
	})
}

func TestDirectory_KeepsTheUsersWhileTheStateCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, m := directory(t, change("printer", "right password"))
		reported := 0
		d.report = func(error) { reported++ }
		d.Empty()
		m.err = errors.New("EIO")
		for range 5 {
			time.Sleep(checkInterval)
			if !d.Authenticate(t.Context(), "printer", "right password") {
				t.Fatal("refused")
			}
		}
		if reported != 1 {
			t.Errorf("reported %d times, want once", reported)
		}
	})
}

func TestAnswersChallenge_FollowsRFC2195(t *testing.T) {
	// The example of RFC 2195 section 2, whose user and password are tim and
	// tanstaaftanstaaf.
	const challenge, answer = "<1896.697170952@postoffice.reston.mci.net>", "b913a602c7eda7a495b4e6e7334d3890"
	cram := change("tim", "tanstaaftanstaaf")
	cram.CRAMMD5 = true
	d, _ := directory(t, cram, change("other", "tanstaaftanstaaf"))
	raw, err := hex.DecodeString(answer)
	if err != nil {
		t.Fatal(err)
	}
	wrong := hmac.New(md5.New, []byte("another password"))
	wrong.Write([]byte(challenge))
	for _, c := range []struct {
		name, challenge string
		digest          []byte
		want            bool
	}{
		{"tim", challenge, raw, true}, {"TIM", challenge, []byte(answer), true},
		{"tim", challenge + " ", raw, false}, {"tim", challenge, wrong.Sum(nil), false}, {"tim", challenge, nil, false},
		{"tim", challenge, []byte("zz13a602c7eda7a495b4e6e7334d3890"), false},
		{"other", challenge, raw, false}, {"nobody", challenge, raw, false},
	} {
		if got := d.AnswersChallenge(t.Context(), c.name, []byte(c.challenge), c.digest); got != c.want {
			t.Errorf("%s: %x of %q: got %t, want %t", c.name, c.digest, c.challenge, got, c.want)
		}
	}
}

func TestAnswersChallenge_UnsealsOnce(t *testing.T) {
	cram := change("printer", "right password")
	cram.CRAMMD5 = true
	d, _ := directory(t, cram)
	unsealed, fail := 0, errors.New("the TPM is busy")
	open := d.sealer.Open
	d.sealer.Open = func(ctx context.Context, name string, s keyring.Secret) ([]byte, error) {
		if unsealed++; unsealed == 1 {
			return nil, fail
		}
		return open(ctx, name, s)
	}
	var reported error
	d.report = func(err error) { reported = err }
	answer := hmac.New(md5.New, []byte("right password"))
	digest := answer.Sum(nil)
	for i, want := range []bool{false, true, true} {
		if got := d.AnswersChallenge(t.Context(), "printer", nil, digest); got != want {
			t.Errorf("answer %d: got %t, want %t", i, got, want)
		}
	}
	if unsealed != 2 || !errors.Is(reported, fail) {
		t.Errorf("unsealed %d times, reported %v", unsealed, reported)
	}
}

func BenchmarkAuthenticate_Hash(b *testing.B) {
	h := decoy()
	for b.Loop() {
		h.matches("wrong password")
	}
}

func BenchmarkAuthenticate_Remembered(b *testing.B) {
	d := NewDirectory(&memory{sections: state.Sections{}}, keyring.FileSealer(nil), nil)
	prepared, err := Prepare(b.Context(), keyring.FileSealer(nil), []Change{change("printer", "right password")})
	if err != nil {
		b.Fatal(err)
	}
	m := d.store.(*memory)
	if err := prepared.Put(m.sections); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if !d.Authenticate(b.Context(), "printer", "right password") {
			b.Fatal("refused")
		}
	}
}
