package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// flash is a Store in memory.
type flash struct {
	mu      sync.Mutex
	kept    string
	saves   []string
	save    func(refresh string) error // instead, if it is not nil
	loading error
}

func (f *flash) Load(context.Context) (Secret, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return NewSecret(f.kept), f.loading
}

func (f *flash) Save(ctx context.Context, refresh Secret) error {
	if f.save != nil {
		if err := f.save(refresh.Reveal()); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kept = refresh.Reveal()
	f.saves = append(f.saves, f.kept)
	return nil
}

func (f *flash) Succeed(ctx context.Context, before, refresh Secret) error {
	f.mu.Lock()
	other := f.kept != before.Reveal()
	f.mu.Unlock()
	if other {
		return nil
	}
	return f.Save(ctx, refresh)
}

// rotating issues access-N with refresh-N for those of its refresh tokens that
// it still accepts.
func rotating(accepts func(refresh string) bool) func(url.Values, int) said {
	return func(form url.Values, n int) said {
		if form.Get("grant_type") != "refresh_token" || form.Get("client_id") != clientID || !accepts(form.Get("refresh_token")) {
			return entra(700082, "invalid_grant")
		}
		return issued(fmt.Sprint("access-", n+1), fmt.Sprint("refresh-", n+1), 3600)
	}
}

func anything(string) bool { return true }

// shown are the refresh tokens that the issuer got, in order.
func shown(a *authority) []string {
	var all []string
	for _, form := range a.asked() {
		all = append(all, form.Get("refresh_token"))
	}
	return all
}

func TestARefreshTokenIsDurableBeforeItsAccessTokenIsGivenOut(t *testing.T) {
	server := serve(t, rotating(anything))
	store := &flash{kept: "refresh-0"}
	saving, release := make(chan struct{}), make(chan struct{})
	store.save = func(string) error { close(saving); <-release; return nil }
	k := keeping(t, ask(t, server.Server, nil).Delegated(store))
	given := make(chan Token, 1)
	go func() { given <- must(k.Token(t.Context())) }()
	<-saving
	select {
	case <-given:
		t.Error("the access token was given out before the refresh token was saved")
	default:
	}
	close(release)
	if token := <-given; token.Bearer.Reveal() != "access-1" || store.kept != "refresh-1" {
		t.Errorf("got %q, and flash holds %q", token.Bearer.Reveal(), store.kept)
	}
}

func TestARefreshTokenThatStaysTheSameIsNotSavedAgain(t *testing.T) {
	for name, refresh := range map[string]string{"repeated": "refresh-0", "left out": ""} {
		server := serve(t, inTurn(issued("access", refresh, 3600)))
		store := &flash{kept: "refresh-0"}
		if _, err := ask(t, server.Server, nil).Delegated(store).Token(t.Context()); err != nil || len(store.saves) != 0 {
			t.Errorf("%s: %v, saved %q", name, err, store.saves)
		}
	}
}

var errFlash = errors.New("the flash is read-only")

func TestAnAccessTokenWhoseRefreshTokenCannotBeSavedIsNotUsed(t *testing.T) {
	server := serve(t, rotating(anything))
	store := &flash{kept: "refresh-0", save: func(string) error { return errFlash }}
	d := ask(t, server.Server, nil).Delegated(store)
	for range 3 {
		token, err := d.Token(t.Context())
		wantFault(t, err, Configuration, "", "is not used", "check the box's flash", "read-only")
		if !errors.Is(err, errFlash) || !token.Bearer.Empty() {
			t.Errorf("Token() = %q, %v", token.Bearer.Reveal(), err)
		}
	}
	if asked := len(server.asked()); asked != 1 {
		t.Errorf("the issuer was asked %d times while nothing could be saved", asked)
	}
	store.save = nil
	if token := must(d.Token(t.Context())); token.Bearer.Reveal() != "access-2" {
		t.Errorf("got %q", token.Bearer.Reveal())
	}
	if got := shown(server); !slices.Equal(got, []string{"refresh-0", "refresh-1"}) || !slices.Equal(store.saves, []string{"refresh-1", "refresh-2"}) {
		t.Errorf("showed %q, saved %q", got, store.saves)
	}
}

func TestAfterAFailedSaveTheOldTokenIsTriedWhereTheNewOneIsRefused(t *testing.T) {
	server := serve(t, rotating(func(refresh string) bool { return refresh == "refresh-0" }))
	store := &flash{kept: "refresh-0", save: func(string) error { return errFlash }}
	d := ask(t, server.Server, nil).Delegated(store)
	if _, err := d.Token(t.Context()); !errors.Is(err, errFlash) {
		t.Fatal(err)
	}
	store.save = nil
	if token := must(d.Token(t.Context())); token.Bearer.Reveal() != "access-3" || store.kept != "refresh-3" {
		t.Errorf("got %q, and flash holds %q", token.Bearer.Reveal(), store.kept)
	}
	if got := shown(server); !slices.Equal(got, []string{"refresh-0", "refresh-1", "refresh-0"}) {
		t.Errorf("showed %q", got)
	}
}

func TestANewSignInBeatsATokenThatCouldNotBeSaved(t *testing.T) {
	server := serve(t, rotating(anything))
	store := &flash{kept: "refresh-0", save: func(string) error { return errFlash }}
	d := ask(t, server.Server, nil).Delegated(store)
	if _, err := d.Token(t.Context()); !errors.Is(err, errFlash) {
		t.Fatal(err)
	}
	store.save, store.kept = nil, "of the sign-in"
	must(d.Token(t.Context()))
	if got := shown(server); !slices.Equal(got, []string{"refresh-0", "of the sign-in"}) {
		t.Errorf("showed %q", got)
	}
}

// cutPower refreshes with a store that never finishes a write, and gives the
// flash as the next start finds it.
func cutPower(t *testing.T, server *authority) *flash {
	store := &flash{kept: "refresh-0"}
	writing, cut := make(chan struct{}), make(chan struct{})
	store.save = func(string) error { close(writing); <-cut; return errors.New("no power") }
	var before sync.WaitGroup
	d := ask(t, server.Server, nil).Delegated(store)
	before.Go(func() {
		if token, err := d.Token(t.Context()); err == nil {
			t.Errorf("%q was given out", token.Bearer.Reveal())
		}
	})
	<-writing
	t.Cleanup(func() { close(cut); before.Wait() })
	return &flash{kept: store.kept}
}

func TestAPowerCutBetweenAnswerAndFlashLeavesTheOldToken(t *testing.T) {
	server := serve(t, rotating(anything))
	after := cutPower(t, server)
	token, err := ask(t, server.Server, nil).Delegated(after).Token(t.Context())
	if err != nil || token.Bearer.Reveal() != "access-2" || after.kept != "refresh-2" {
		t.Errorf("Token() = %q, %v, and flash holds %q", token.Bearer.Reveal(), err, after.kept)
	}
}

func TestAnIssuerThatRevokesTheOldTokenAtOnceAsksForASignInAfterACut(t *testing.T) {
	var used []string
	server := serve(t, rotating(func(refresh string) bool {
		first := !slices.Contains(used, refresh)
		used = append(used, refresh)
		return first
	}))
	after := cutPower(t, server)
	_, err := ask(t, server.Server, nil).Delegated(after).Token(t.Context())
	wantFault(t, err, Configuration, "AADSTS700082", "sign in again")
}

func TestARefreshLeavesASignInThatWasMadeMeanwhile(t *testing.T) {
	store := &flash{kept: "refresh-0"}
	server := serve(t, rotating(func(string) bool {
		_ = store.Save(t.Context(), NewSecret("of a new sign-in")) // by another process
		return true
	}))
	token, err := ask(t, server.Server, nil).Delegated(store).Token(t.Context())
	if err != nil || token.Bearer.Empty() || store.kept != "of a new sign-in" {
		t.Errorf("Token() = %q, %v, and flash holds %q", token.Bearer.Reveal(), err, store.kept)
	}
}

func TestWhoNeverSignedInIsToldTo(t *testing.T) {
	server := serve(t, rotating(anything))
	_, err := ask(t, server.Server, nil).Delegated(new(flash)).Token(t.Context())
	wantFault(t, err, Configuration, "", "nobody has signed this box in")
	_, err = ask(t, server.Server, nil).Delegated(&flash{loading: errFlash}).Token(t.Context())
	if !errors.Is(err, errFlash) {
		t.Error(err)
	}
	wantFault(t, err, Configuration, "", "cannot be read")
	if len(server.asked()) != 0 {
		t.Error("the issuer was asked all the same")
	}
}

func TestClosingTheKeeperLetsARefreshTokenBeSaved(t *testing.T) {
	server := serve(t, rotating(anything))
	store := &flash{kept: "refresh-0"}
	saving, release := make(chan struct{}), make(chan struct{})
	store.save = func(string) error { close(saving); <-release; return nil }
	k := NewKeeper(ask(t, server.Server, nil).Delegated(store), nil)
	go k.Token(t.Context())
	<-saving
	closed := make(chan struct{})
	go func() { k.Close(); close(closed) }()
	<-k.ctx.Done()
	close(release)
	<-closed
	if store.kept != "refresh-1" {
		t.Errorf("flash holds %q", store.kept)
	}
}

// codes answers a device code request, and polls with the rest in turn.
func codes(code string, polls ...said) func(url.Values, int) said {
	return func(form url.Values, n int) said {
		if n == 0 {
			return ok(code)
		}
		if form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:device_code" || form.Get("device_code") != "hidden" {
			return entra(0, "invalid_request")
		}
		return polls[min(n, len(polls))-1]
	}
}

const (
	aCode   = `{"device_code":"hidden","user_code":"ABCD-EFGH","verification_uri":"https://microsoft.com/devicelogin","expires_in":900,"interval":5,"message":"go"}`
	pending = 70016
)

// login signs in within a bubble, where minutes of polling take no time; the
// issuer is outside.
func login(t *testing.T, answer func(url.Values, int) said, store *flash, check func(t *testing.T, shown []DeviceCode, token Token, err error, took time.Duration)) *authority {
	t.Helper()
	server := serve(t, answer)
	issuer := ask(t, server.Server, func(c *Config) { c.Scopes = []string{"https://outlook.office.com/SMTP.Send", "offline_access"} })
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var shown []DeviceCode
		token, err := issuer.Delegated(store).Login(t.Context(), func(c DeviceCode) { shown = append(shown, c) })
		check(t, shown, token, err, time.Since(begun))
	})
	return server
}

func TestASignInByDeviceCodeEndsInAStoredRefreshTokenAndAnAccessToken(t *testing.T) {
	store := new(flash)
	polls := []said{entra(pending, "authorization_pending"), {status: 400, body: `{"error":"slow_down"}`},
		entra(pending, "authorization_pending"), issued("access", "refresh", 3600)}
	server := login(t, codes(aCode, polls...), store, func(t *testing.T, shown []DeviceCode, token Token, err error, took time.Duration) {
		if err != nil || store.kept != "refresh" {
			t.Fatalf("Login() = %v, and flash holds %q", err, store.kept)
		}
		if len(shown) != 1 || shown[0].UserCode != "ABCD-EFGH" || shown[0].VerificationURL != "https://microsoft.com/devicelogin" ||
			shown[0].Expires.IsZero() {
			t.Errorf("shown: %+v", shown)
		}
		// 5 s, 5 s and slow down (RFC 8628, 3.5), then 10 s each.
		if took != 30*time.Second {
			t.Errorf("it took %v", took)
		}
		if got := token.Bearer.Reveal(); got != "access" {
			t.Errorf("the access token is %q", got)
		}
	})
	if form := server.asked()[0]; form.Get("client_id") != clientID || form.Get("scope") != "https://outlook.office.com/SMTP.Send offline_access" {
		t.Errorf("the request for a code was %v", form)
	}
}

func TestASignInThatFailsSaysWhyAndChangesNothing(t *testing.T) {
	polled := func(answer said) func(url.Values, int) said { return codes(aCode, answer) }
	for name, c := range map[string]struct {
		answer func(url.Values, int) said
		code   string
		words  string
		within time.Duration
	}{
		"declined":              {polled(entra(0, "authorization_declined")), "authorization_declined", "declined in the browser", 5 * time.Second},
		"denied":                {polled(entra(0, "access_denied")), "access_denied", "declined in the browser", 5 * time.Second},
		"expired at the issuer": {polled(entra(70019, "expired_token")), "AADSTS70019", "not entered in time", 5 * time.Second},
		"never entered":         {polled(entra(pending, "authorization_pending")), "expired_token", "not entered in time", 15 * time.Minute},
		"blocked":               {polled(entra(53003, "invalid_grant")), "AADSTS53003", "Conditional Access", 5 * time.Second},
		"not for this app":      {inTurn(entra(7000218, "invalid_client")), "AADSTS7000218", "Allow public client flows", 0},
		"no offline_access":     {polled(issued("access", "", 3600)), "", "offline_access", 5 * time.Second},
		"a page in clear text":  {inTurn(ok(`{"device_code":"hidden","user_code":"A","verification_uri":"http://x.example/"}`)), "", "check the device code URL", 0},
		"a code of escapes":     {inTurn(ok(`{"device_code":"hidden","user_code":"A\u001b[2J","verification_uri":"https://x.example/"}`)), "", "check the device code URL", 0},
		"no code":               {inTurn(ok(`{}`)), "", "check the device code URL", 0},
	} {
		t.Run(name, func(t *testing.T) {
			store := &flash{kept: "of before"}
			login(t, c.answer, store, func(t *testing.T, _ []DeviceCode, token Token, err error, took time.Duration) {
				wantFault(t, err, Configuration, c.code, c.words)
				if took != c.within || !token.Bearer.Empty() {
					t.Errorf("it took %v and gave %q", took, token.Bearer.Reveal())
				}
			})
			if store.kept != "of before" {
				t.Errorf("flash holds %q", store.kept)
			}
		})
	}
}

func TestASignInOutlastsAnIssuerThatFailsMeanwhile(t *testing.T) {
	store := new(flash)
	down := said{status: 503}
	login(t, codes(aCode, down, down, issued("access", "refresh", 3600)), store,
		func(t *testing.T, _ []DeviceCode, _ Token, err error, took time.Duration) {
			if err != nil || store.kept != "refresh" {
				t.Errorf("Login() = %v, and flash holds %q", err, store.kept)
			}
			if took != 35*time.Second {
				t.Errorf("it took %v", took)
			}
		})
}

func TestAnIssuersIntervalAndExpiryAreKeptWithinBounds(t *testing.T) {
	for interval, want := range map[string]time.Duration{"-1": 5 * time.Second, "0": 5 * time.Second, "9223372036854775807": time.Minute} {
		code := `{"device_code":"hidden","user_code":"A","verification_uri":"https://x.example/","expires_in":9000000000,"interval":` + interval + `}`
		login(t, codes(code, issued("access", "refresh", 3600)), new(flash), func(t *testing.T, shown []DeviceCode, _ Token, err error, took time.Duration) {
			if err != nil || took != want {
				t.Errorf("interval %s: %v after %v", interval, err, took)
			}
			if life := time.Until(shown[0].Expires); life > longestCodeLife {
				t.Errorf("a code for %v", life)
			}
		})
	}
}

func TestASignInThatCannotBeStoredIsNone(t *testing.T) {
	store := &flash{kept: "of before", save: func(string) error { return errFlash }}
	login(t, codes(aCode, issued("access", "refresh", 3600)), store, func(t *testing.T, _ []DeviceCode, token Token, err error, _ time.Duration) {
		wantFault(t, err, Configuration, "", "check the box's flash")
		if !token.Bearer.Empty() || store.kept != "of before" {
			t.Errorf("got %q, and flash holds %q", token.Bearer.Reveal(), store.kept)
		}
	})
}

func TestARefreshThatBeganBeforeASignInDoesNotUndoIt(t *testing.T) {
	server := serve(t, func(form url.Values, n int) said {
		switch {
		case form.Has("refresh_token"):
			return issued("access", "of the refresh", 3600)
		case form.Has("device_code"):
			return issued("access", "of the sign-in", 3600)
		}
		return ok(aCode)
	})
	issuer := ask(t, server.Server, nil)
	synctest.Test(t, func(t *testing.T) {
		saving, release := make(chan struct{}), make(chan struct{})
		store := &flash{kept: "of before"}
		store.save = func(refresh string) error {
			if refresh == "of the refresh" {
				close(saving)
				<-release
			}
			return nil
		}
		d := issuer.Delegated(store)
		var both sync.WaitGroup
		both.Go(func() { must(d.Token(t.Context())) })
		<-saving
		both.Go(func() { must(d.Login(t.Context(), func(DeviceCode) {})) })
		pass(10 * time.Second)
		close(release)
		both.Wait()
		if store.kept != "of the sign-in" {
			t.Errorf("flash holds %q", store.kept)
		}
	})
}

func TestASignInWithoutAnURLIsToldWhereToFindIt(t *testing.T) {
	server := serve(t, inTurn(ok("")))
	_, err := ask(t, server.Server, func(c *Config) { c.DeviceURL = "" }).Delegated(new(flash)).Login(t.Context(), func(DeviceCode) {})
	wantFault(t, err, Configuration, "", "endpoints of the app registration")
}

func TestASignInThatIsBrokenOffSaysSo(t *testing.T) {
	server := serve(t, codes(aCode, entra(pending, "authorization_pending")))
	issuer := ask(t, server.Server, nil)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		store := &flash{kept: "of before"}
		_, err := issuer.Delegated(store).Login(ctx, func(DeviceCode) {})
		if !errors.Is(err, context.DeadlineExceeded) || store.kept != "of before" {
			t.Errorf("Login() = %v, and flash holds %q", err, store.kept)
		}
	})
}
