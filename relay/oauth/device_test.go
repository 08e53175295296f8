package oauth

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// codes responds to a device code request with code, and to the polls with polls in
// turn.
func codes(code string, polls ...issuerResponse) func(url.Values, int) issuerResponse {
	return func(form url.Values, n int) issuerResponse {
		if n == 0 {
			return ok(code)
		}
		if form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:device_code" || form.Get("device_code") != "hidden" {
			return entraError(0, "invalid_request")
		}
		return polls[min(n, len(polls))-1]
	}
}

const (
	aCode   = `{"device_code":"hidden","user_code":"ABCD-EFGH","verification_uri":"https://microsoft.com/devicelogin","expires_in":900,"interval":5,"message":"go"}`
	pending = 70016
)

// login signs in within a synctest bubble, where polling takes no real time; the
// issuer runs outside.
func login(t *testing.T, respond func(url.Values, int) issuerResponse, store *memoryStore, check func(t *testing.T, shown []DeviceCode, token Token, err error, took time.Duration)) *fakeIssuer {
	t.Helper()
	server := serve(t, respond)
	issuer := newIssuer(t, server.Server, func(c *Config) { c.Scopes = []string{"https://outlook.office.com/SMTP.Send", "offline_access"} })
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var shown []DeviceCode
		token, err := issuer.Delegated(store).Login(t.Context(), func(c DeviceCode) { shown = append(shown, c) })
		check(t, shown, token, err, time.Since(begun))
	})
	return server
}

func TestLogin_StoresTheRefreshToken(t *testing.T) {
	store := new(memoryStore)
	polls := []issuerResponse{entraError(pending, "authorization_pending"), {status: 400, body: `{"error":"slow_down"}`},
		entraError(pending, "authorization_pending"), tokenResponse("access", "refresh", 3600)}
	server := login(t, codes(aCode, polls...), store, func(t *testing.T, shown []DeviceCode, token Token, err error, took time.Duration) {
		if err != nil || store.stored != "refresh" {
			t.Fatalf("Login() = %v, and stored is %q", err, store.stored)
		}
		if len(shown) != 1 || shown[0].UserCode != "ABCD-EFGH" || shown[0].VerificationURL != "https://microsoft.com/devicelogin" ||
			shown[0].Expires.IsZero() {
			t.Errorf("got %+v shown, want one complete device code", shown)
		}
		// 5 s, 5 s and slow down (RFC 8628, 3.5), then 10 s each.
		if took != 30*time.Second {
			t.Errorf("polling took %v", took)
		}
		if got := token.Bearer.Reveal(); got != "access" {
			t.Errorf("the access token is %q", got)
		}
	})
	if form := server.requests()[0]; form.Get("client_id") != clientID || form.Get("scope") != "https://outlook.office.com/SMTP.Send offline_access" {
		t.Errorf("the request for a code was %v", form)
	}
}

func TestLogin_ChangesNothingOnFailure(t *testing.T) {
	polled := func(response issuerResponse) func(url.Values, int) issuerResponse { return codes(aCode, response) }
	for name, c := range map[string]struct {
		respond func(url.Values, int) issuerResponse
		code    string
		text    string
		within  time.Duration
	}{
		"declined":                       {polled(entraError(0, "authorization_declined")), "authorization_declined", "declined in the browser", 5 * time.Second},
		"denied":                         {polled(entraError(0, "access_denied")), "access_denied", "declined in the browser", 5 * time.Second},
		"expired at the issuer":          {polled(entraError(70019, "expired_token")), "AADSTS70019", "not entered in time", 5 * time.Second},
		"never entered":                  {polled(entraError(pending, "authorization_pending")), "expired_token", "not entered in time", 15 * time.Minute},
		"blocked":                        {polled(entraError(53003, "invalid_grant")), "AADSTS53003", "Conditional Access", 5 * time.Second},
		"not for this app":               {respondInTurn(entraError(7000218, "invalid_client")), "AADSTS7000218", "Allow public client flows", 0},
		"no offline_access":              {polled(tokenResponse("access", "", 3600)), "", "offline_access", 5 * time.Second},
		"a page in clear text":           {respondInTurn(ok(`{"device_code":"hidden","user_code":"A","verification_uri":"http://x.example/"}`)), "", "check the device code URL", 0},
		"a code with an escape sequence": {respondInTurn(ok(`{"device_code":"hidden","user_code":"A\u001b[2J","verification_uri":"https://x.example/"}`)), "", "check the device code URL", 0},
		"no code":                        {respondInTurn(ok(`{}`)), "", "check the device code URL", 0},
	} {
		t.Run(name, func(t *testing.T) {
			store := &memoryStore{stored: "earlier"}
			login(t, c.respond, store, func(t *testing.T, _ []DeviceCode, token Token, err error, took time.Duration) {
				wantFault(t, err, Configuration, c.code, c.text)
				if took != c.within || !token.Bearer.Empty() {
					t.Errorf("got %q after %v, want none after %v", token.Bearer.Reveal(), took, c.within)
				}
			})
			if store.stored != "earlier" {
				t.Errorf("stored is %q", store.stored)
			}
		})
	}
}

func TestLogin_SurvivesTemporaryFailures(t *testing.T) {
	store := new(memoryStore)
	down := issuerResponse{status: 503}
	login(t, codes(aCode, down, down, tokenResponse("access", "refresh", 3600)), store,
		func(t *testing.T, _ []DeviceCode, _ Token, err error, took time.Duration) {
			if err != nil || store.stored != "refresh" {
				t.Errorf("Login() = %v, and stored is %q", err, store.stored)
			}
			if took != 35*time.Second {
				t.Errorf("polling took %v", took)
			}
		})
}

func TestLogin_LimitsIntervalAndExpiry(t *testing.T) {
	for _, c := range []struct {
		lifetime, interval string
		expires, polls     time.Duration
	}{
		{"900", "-1", 15 * time.Minute, 5 * time.Second},
		{"9000000000", "0", maxCodeLife, 5 * time.Second},
		{"18446744073", "9223372036854775807", defaultCodeLife, time.Minute}, // more than a Duration holds
		{"-5", "5", defaultCodeLife, 5 * time.Second},
	} {
		code := `{"device_code":"hidden","user_code":"A","verification_uri":"https://x.example/","expires_in":` + c.lifetime + `,"interval":` + c.interval + `}`
		login(t, codes(code, tokenResponse("access", "refresh", 3600)), new(memoryStore), func(t *testing.T, shown []DeviceCode, _ Token, err error, took time.Duration) {
			if err != nil || took != c.polls {
				t.Errorf("interval %s: got %v after %v", c.interval, err, took)
			}
			if lifetime := time.Until(shown[0].Expires) + took; lifetime != c.expires {
				t.Errorf("expires_in %s: a code for %v", c.lifetime, lifetime)
			}
		})
	}
}

func TestLogin_IsUnaffectedByAClockStep(t *testing.T) {
	code := must(newIssuer(t, serve(t, codes(aCode)).Server, nil).deviceCode(t.Context()))
	if withoutMonotonic := code.Expiry.Round(0); code.Expiry == withoutMonotonic {
		t.Errorf("the expiry %v uses the wall clock", code.Expiry)
	}
}

func TestLogin_FailsWhenTheTokenCannotBeStored(t *testing.T) {
	store := &memoryStore{stored: "earlier", save: func(string) error { return errFlash }}
	login(t, codes(aCode, tokenResponse("access", "refresh", 3600)), store, func(t *testing.T, _ []DeviceCode, token Token, err error, _ time.Duration) {
		wantFault(t, err, Configuration, "", "check the box's flash")
		if !token.Bearer.Empty() || store.stored != "earlier" {
			t.Errorf("got %q, and stored is %q", token.Bearer.Reveal(), store.stored)
		}
	})
}

func TestLogin_IsNotUndoneByAnEarlierRefresh(t *testing.T) {
	server := serve(t, func(form url.Values, n int) issuerResponse {
		switch {
		case form.Has("refresh_token"):
			return tokenResponse("access", "of the refresh", 3600)
		case form.Has("device_code"):
			return tokenResponse("access", "of the sign-in", 3600)
		}
		return ok(aCode)
	})
	issuer := newIssuer(t, server.Server, nil)
	synctest.Test(t, func(t *testing.T) {
		saving, release := make(chan struct{}), make(chan struct{})
		store := &memoryStore{stored: "earlier"}
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
		if store.stored != "of the sign-in" {
			t.Errorf("stored is %q", store.stored)
		}
	})
}

func TestLogin_ReportsAMissingURL(t *testing.T) {
	server := serve(t, respondInTurn(ok("")))
	_, err := newIssuer(t, server.Server, func(c *Config) { c.DeviceURL = "" }).Delegated(new(memoryStore)).Login(t.Context(), func(DeviceCode) {})
	wantFault(t, err, Configuration, "", "endpoints of the app registration")
}

func TestLogin_ReportsCancellation(t *testing.T) {
	server := serve(t, codes(aCode, entraError(pending, "authorization_pending")))
	issuer := newIssuer(t, server.Server, nil)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		store := &memoryStore{stored: "earlier"}
		_, err := issuer.Delegated(store).Login(ctx, func(DeviceCode) {})
		if !errors.Is(err, context.DeadlineExceeded) || store.stored != "earlier" {
			t.Errorf("Login() = %v, and stored is %q", err, store.stored)
		}
	})
}
