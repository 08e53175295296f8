package oauth

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"
)

// cannedResponse responds to every request in the same way.
type cannedResponse struct {
	status int
	header http.Header
	body   []byte
}

func (c cannedResponse) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: c.status, Header: c.header, Body: io.NopCloser(bytes.NewReader(c.body)), Request: r}, nil
}

// issuerThatResponds returns an issuer that gives one response to every request.
func issuerThatResponds(status int, contentType, retry, date string, body []byte) *Issuer {
	i := must(New(Config{TokenURL: "https://a.example/t", DeviceURL: "https://a.example/d", ClientID: "c", Scopes: []string{"s"}}))
	i.transport = cannedResponse{100 + int(uint(status)%500), http.Header{"Content-Type": {contentType}, "Retry-After": {retry}, "Date": {date}}, body}
	return i
}

func FuzzTokenResponse(f *testing.F) {
	const date = "Sun, 22 Nov 2026 10:00:00 GMT"
	for _, s := range []issuerResponse{tokenResponse("a", "r", 3600), entraError(700024, "invalid_client"), ok("<html>"), ok(""),
		ok(`{"access_token":"a","expires_in":"3600"}`), {status: 429}, {status: 302}} {
		f.Add(s.status-100, "application/json", "120", date, []byte(s.body))
	}
	f.Add(100, "text/plain", date, "", []byte("access_token=a&expires_in=99999999999&token_type=bearer"))
	f.Add(300, "", "", date, []byte(`{"error":"x","error_codes":[99999999999,-1],"error_description":"AADSTS700024"}`))
	f.Fuzz(func(t *testing.T, status int, contentType, retry, date string, body []byte) {
		issuer := issuerThatResponds(status, contentType, retry, date, body)
		token, refresh, err := issuer.refresh(t.Context(), NewSecret("before"))
		if err == nil {
			if !isBearerToken(token.Bearer.Reveal()) || !time.Now().Before(token.Expires) || refresh.Empty() {
				t.Errorf("%q until %v", token.Bearer.Reveal(), token.Expires)
			}
			return
		}
		fault := (*Fault)(nil)
		if !errors.As(err, &fault) || fault.Text == "" || fault.Kind != Configuration && fault.Kind != Wait ||
			fault.RetryAfter < 0 || fault.RetryAfter > maxRetryAfter || clean(fault.Code) != fault.Code || !token.Bearer.Empty() {
			t.Errorf("%#v with %q", err, token.Bearer.Reveal())
		}
	})
}

func FuzzDeviceResponse(f *testing.F) {
	f.Add(100, "application/json", []byte(aCode))
	f.Add(100, "application/json", []byte(`{"device_code":"a","user_code":"b","verification_url":"https://c/","expires_in":-1,"interval":-1}`))
	f.Add(300, "text/plain", []byte("error=invalid_client"))
	f.Fuzz(func(t *testing.T, status int, contentType string, body []byte) {
		code, err := issuerThatResponds(status, contentType, "", "", body).deviceCode(t.Context())
		if err != nil {
			if fault := (*Fault)(nil); !errors.As(err, &fault) || fault.Text == "" {
				t.Errorf("%#v", err)
			}
			return
		}
		if code.Interval < 1 || code.Interval > maxInterval || time.Until(code.Expiry) > maxCodeLife || clean(code.UserCode) != code.UserCode {
			t.Errorf("got %+v", code)
		}
	})
}
