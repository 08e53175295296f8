package oauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// requestToken requests a token from a server with a client secret.
func requestToken(t *testing.T, server *httptest.Server, change func(*Config)) error {
	t.Helper()
	_, err := must(newIssuer(t, server, change).ClientSecret(NewSecret("hush"))).Token(t.Context())
	return err
}

func wantFault(t *testing.T, err error, kind Kind, code string, texts ...string) *Fault {
	t.Helper()
	fault := (*Fault)(nil)
	if !errors.As(err, &fault) {
		t.Fatalf("got %v, want a fault", err)
	}
	if fault.Kind != kind || fault.Code != code {
		t.Errorf("got %s fault %q, want %s %q", fault.Kind, fault.Code, kind, code)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("got %q, want %q in it", err, text)
		}
	}
	return fault
}

func TestFault_ClassifiesEntraErrors(t *testing.T) {
	cases := []struct {
		code  int
		oauth string
		kind  Kind
		name  string
		text  string
	}{
		{7000215, "invalid_client", Configuration, "AADSTS7000215", "the secret's value, not its ID"},
		{7000222, "invalid_client", Configuration, "AADSTS7000222", "has expired: make a new one"},
		{7000218, "invalid_client", Configuration, "AADSTS7000218", "Allow public client flows"},
		{700025, "invalid_client", Configuration, "AADSTS700025", "public client"},
		{700016, "unauthorized_client", Configuration, "AADSTS700016", "check the client ID"},
		{7000112, "unauthorized_client", Configuration, "AADSTS7000112", "enable it"},
		{700027, "invalid_client", Configuration, "AADSTS700027", "upload the certificate"},
		{1000502, "invalid_client", Configuration, "AADSTS1000502", "clock"},
		{700024, "invalid_client", Configuration, "AADSTS700024", "check the box's clock"},
		{50027, "invalid_request", Configuration, "AADSTS50027", "check the client ID"},
		{50012, "invalid_client", Configuration, "AADSTS50012", "upload the certificate"},
		{700023, "invalid_scope", Configuration, "AADSTS700023", "/.default"},
		{70011, "invalid_scope", Configuration, "AADSTS70011", "/.default"},
		{500011, "invalid_resource", Configuration, "AADSTS500011", "check the scope"},
		{65001, "invalid_grant", Configuration, "AADSTS65001", "grant consent"},
		{90002, "invalid_request", Configuration, "AADSTS90002", "check the tenant"},
		{90038, "invalid_request", Configuration, "AADSTS90038", "set the cloud that it is in"},
		{900382, "invalid_request", Configuration, "AADSTS900382", "set the cloud that it is in"},
		{900432, "invalid_request", Configuration, "AADSTS900432", "set the cloud that it is in"},
		{900439, "invalid_request", Configuration, "AADSTS900439", "set the cloud that it is in"},
		{500011, "invalid_resource", Configuration, "AADSTS500011", "or set the cloud that it is in"},
		{900023, "invalid_request", Configuration, "AADSTS900023", "neither an ID nor a domain"},
		{500014, "invalid_resource", Configuration, "AADSTS500014", "Office 365 Exchange Online under Enterprise applications"},
		{650052, "invalid_client", Configuration, "AADSTS650052", "licences"},
		{650057, "invalid_resource", Configuration, "AADSTS650057", "API permissions"},
		{7000229, "unauthorized_client", Configuration, "AADSTS7000229", "enterprise application"},
		{500133, "invalid_client", Configuration, "AADSTS500133", "check the box's clock"},
		{700022, "invalid_scope", Configuration, "AADSTS700022", "/.default"},
		{70001, "unauthorized_client", Configuration, "AADSTS70001", "check the client ID"},
		{70003, "unsupported_grant_type", Configuration, "AADSTS70003", "does not support this grant"},
		{90014, "invalid_request", Configuration, "AADSTS90014", "lacks a field"},
		{50059, "invalid_request", Configuration, "AADSTS50059", "names no tenant"},
		{50128, "invalid_request", Configuration, "AADSTS50128", "check the tenant"},
		{50194, "invalid_request", Configuration, "AADSTS50194", "tenant of the application"},
		{500021, "access_denied", Configuration, "AADSTS500021", "tenant restrictions"},
		{50020, "invalid_grant", Configuration, "AADSTS50020", "account of this tenant"},
		{50053, "invalid_grant", Configuration, "AADSTS50053", "unlock it"},
		{50055, "invalid_grant", Configuration, "AADSTS50055", "change it in a browser"},
		{50126, "invalid_grant", Configuration, "AADSTS50126", "sign in again"},
		{65004, "access_denied", Configuration, "AADSTS65004", "declined"},
		{53000, "invalid_grant", Configuration, "AADSTS53000", "managed device"},
		{53001, "invalid_grant", Configuration, "AADSTS53001", "managed device"},
		{53002, "invalid_grant", Configuration, "AADSTS53002", "approved application"},
		{50034, "invalid_grant", Configuration, "AADSTS50034", "account of this tenant"},
		{50057, "invalid_grant", Configuration, "AADSTS50057", "disabled"},
		{50105, "invalid_grant", Configuration, "AADSTS50105", "assign it"},
		{50076, "invalid_grant", Configuration, "AADSTS50076", "multifactor"},
		{50079, "invalid_grant", Configuration, "AADSTS50079", "register for multifactor"},
		{53003, "invalid_grant", Configuration, "AADSTS53003", "policy for workload identities"},
		{530035, "invalid_grant", Configuration, "AADSTS530035", "security defaults"},
		{50173, "invalid_grant", Configuration, "AADSTS50173", "sign in again"},
		{70008, "invalid_grant", Configuration, "AADSTS70008", "sign in again"},
		{700082, "invalid_grant", Configuration, "AADSTS700082", "sign in again"},
		{70043, "invalid_grant", Configuration, "AADSTS70043", "sign-in frequency"},
		{70016, "authorization_pending", Wait, "AADSTS70016", "not been entered yet"},
		{70018, "invalid_grant", Configuration, "AADSTS70018", "mistyped"},
		{70019, "expired_token", Configuration, "AADSTS70019", "not entered in time"},
		{50196, "invalid_request", Wait, "AADSTS50196", "too many requests"},
		{90055, "invalid_request", Wait, "AADSTS90055", "throttles"},
		{50033, "invalid_request", Wait, "AADSTS50033", "wait"},
		{90006, "temporarily_unavailable", Wait, "AADSTS90006", "wait"},
		{90024, "temporarily_unavailable", Wait, "AADSTS90024", "wait"},
		{90033, "temporarily_unavailable", Wait, "AADSTS90033", "wait"},
		{999, "invalid_grant", Configuration, "AADSTS999", "error?code=999"},
		{999, "unheard_of", Configuration, "AADSTS999", "unknown to Sealpost; look it up"},
	}
	var responses []issuerResponse
	known := map[int]bool{}
	for _, c := range cases {
		responses, known[c.code] = append(responses, entraError(c.code, c.oauth)), true
	}
	server := serve(t, respondInTurn(responses...))
	for _, c := range cases {
		wantFault(t, requestToken(t, server.Server, nil), c.kind, c.name, c.text)
	}
	for code := range entraErrors {
		if !known[code] {
			t.Errorf("code %d is not in this table", code)
		}
	}
}

func TestFault_ClassifiesOAuthErrors(t *testing.T) {
	cases := map[string]struct {
		kind Kind
		text string
	}{
		"invalid_client":          {Configuration, "check the client ID"},
		"invalid_grant":           {Configuration, "sign in again"},
		"invalid_request":         {Configuration, "check the token URL"},
		"invalid_scope":           {Configuration, "scope"},
		"invalid_resource":        {Configuration, "scope"},
		"unauthorized_client":     {Configuration, "app registration"},
		"unsupported_grant_type":  {Configuration, "does not support this grant"},
		"consent_required":        {Configuration, "grant consent"},
		"interaction_required":    {Configuration, "sign in again"},
		"login_required":          {Configuration, "sign in again"},
		"temporarily_unavailable": {Wait, "wait"},
		"server_error":            {Wait, "wait"},
		"authorization_pending":   {Wait, "not been entered yet"},
		"slow_down":               {Wait, "wait"},
		"access_denied":           {Configuration, "declined"},
		"authorization_declined":  {Configuration, "declined"},
		"bad_verification_code":   {Configuration, "start the sign-in again"},
		"expired_token":           {Configuration, "start the sign-in again"},
	}
	for code := range oauthErrors {
		c, listed := cases[code]
		if !listed {
			t.Errorf("code %s is not in this table", code)
		}
		server := serve(t, respondInTurn(issuerResponse{status: 400, body: `{"error":"` + code + `"}`}))
		wantFault(t, requestToken(t, server.Server, nil), c.kind, code, c.text)
	}
}

func TestFault_DescribesInvalidResponses(t *testing.T) {
	const page = "<!DOCTYPE html><html><title>Sign in to the guest network</title></html>"
	for name, c := range map[string]struct {
		issuerResponse
		kind Kind
		code string
		text string
	}{
		"a web page":               {ok(page), Configuration, "", "web page"},
		"a web page called text":   {issuerResponse{200, map[string]string{"Content-Type": "text/html"}, page}, Configuration, "", "web page"},
		"nothing":                  {ok(""), Wait, "", "empty response"},
		"a truncated response":     {ok(`{"access_token":"ab`), Wait, "", "invalid token response"},
		"a response without token": {ok(`{"token_type":"Bearer"}`), Wait, "", "invalid token response"},
		"a token of another type":  {ok(`{"access_token":"a","token_type":"pop"}`), Configuration, "", "bearer"},
		"a token with a newline":   {ok(`{"access_token":"a\r\nMAIL FROM:<x>","token_type":"Bearer"}`), Configuration, "", "bearer"},
		"a token that is too big":  {ok(`{"access_token":"` + strings.Repeat("a", maxToken+1) + `"}`), Configuration, "", "bearer"},
		"an expired token":         {ok(`{"access_token":"a","expires_in":-5}`), Wait, "", "already expired"},
		"an error with 200":        {ok(`{"error":"invalid_client"}`), Configuration, "invalid_client", "client ID"},
		"ten megabytes":            {ok(strings.Repeat(" ", 10<<20)), Configuration, "", "more than 64 KiB"},
		"a redirect":               {issuerResponse{302, map[string]string{"Location": "https://portal.example/"}, ""}, Configuration, "", "a redirect"},
		"a redirect with a form":   {issuerResponse{307, map[string]string{"Location": "/elsewhere"}, ""}, Configuration, "", "a redirect"},
		"not found":                {issuerResponse{404, nil, page}, Configuration, "", "check the tenant"},
		"an internal error":        {issuerResponse{500, nil, page}, Wait, "", "500"},
		"maintenance":              {issuerResponse{503, nil, ""}, Wait, "", "503"},
		"a busy issuer's error":    {issuerResponse{503, nil, `{"error":"invalid_request"}`}, Wait, "invalid_request", "503"},
		"too many requests":        {issuerResponse{429, nil, ""}, Wait, "", "too many requests"},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, respondInTurn(c.issuerResponse))
			wantFault(t, requestToken(t, server.Server, nil), c.kind, c.code, c.text)
			if requests := len(server.requests()); requests != 1 {
				t.Errorf("got %d requests, want 1", requests)
			}
		})
	}
}

func TestRetryAfter_IsLimited(t *testing.T) {
	const date = "Sun, 22 Nov 2026 10:00:00 GMT"
	for field, want := range map[string]time.Duration{
		"120":                           2 * time.Minute,
		"2000000000":                    time.Hour,
		"-1":                            0,
		"soon":                          0,
		"99999999999999999999":          0,
		"Sun, 22 Nov 2026 10:05:00 GMT": 5 * time.Minute,
		"Sun, 22 Nov 2026 09:00:00 GMT": 0,
		"Sun, 22 Nov 2099 10:05:00 GMT": time.Hour,
	} {
		server := serve(t, respondInTurn(issuerResponse{503, map[string]string{"Retry-After": field, "Date": date}, ""}))
		if got := wantFault(t, requestToken(t, server.Server, nil), Wait, "").RetryAfter; got != want {
			t.Errorf("Retry-After: %s: got %v, want %v", field, got, want)
		}
	}
}

func TestFault_ReportsClockSkew(t *testing.T) {
	for offset, want := range map[time.Duration]string{
		-3 * time.Hour: "clock; it is 3h0m",
		3 * time.Hour:  "clock; it is ",
		0:              "it agrees with the issuer's",
	} {
		response := entraError(700024, "invalid_client")
		response.header = map[string]string{"Date": time.Now().Add(offset).UTC().Format(http.TimeFormat)}
		server := serve(t, respondInTurn(response))
		fault := wantFault(t, requestToken(t, server.Server, nil), Configuration, "AADSTS700024", want)
		if ahead := strings.Contains(fault.Text, "ahead of"); ahead != (offset < 0) {
			t.Errorf("issuer's clock at %v: got %s, want ahead %t", offset, fault.Text, offset < 0)
		}
	}
}

func TestFault_FindsTheCodeInTheDescription(t *testing.T) {
	server := serve(t, respondInTurn(issuerResponse{400, nil, `{"error":"invalid_client","error_description":"AADSTS700027: Client assertion failed"}`}))
	wantFault(t, requestToken(t, server.Server, nil), Configuration, "AADSTS700027")
}

// hijacked responds with octets that need not be HTTP.
func hijacked(octets string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, _, _ := w.(http.Hijacker).Hijack()
		defer conn.Close()
		io.WriteString(conn, octets)
	}
}

func TestFault_DescribesConnectionErrors(t *testing.T) {
	hang := func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, `{"access_token":`)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	shortTimeout := func(c *Config) { c.Timeout = 200 * time.Millisecond }
	for name, c := range map[string]struct {
		handle http.HandlerFunc
		change func(*Config)
		kind   Kind
		text   string
	}{
		"slow octets":      {hang, shortTimeout, Wait, "no complete response within 200ms"},
		"cut off":          {hijacked("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"access_token\":"), nil, Wait, "cut off"},
		"hung up":          {hijacked(""), nil, Wait, "cut off"},
		"no HTTP":          {hijacked("220 mail.example ESMTP\r\n"), nil, Configuration, "invalid HTTP response"},
		"endless headers":  {hijacked("HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", 1<<20) + "\r\n\r\n"), nil, Configuration, "invalid HTTP response"},
		"an unknown root":  {nil, func(c *Config) { c.Roots = nil }, Configuration, "its issuer is unknown"},
		"the wrong name":   {nil, func(c *Config) { c.TokenURL = strings.Replace(c.TokenURL, "127.0.0.1", "localhost", 1) }, Configuration, "for another name"},
		"a closed port":    {nil, func(c *Config) { c.TokenURL = "https://" + closedPort(t) }, Wait, "refused the connection"},
		"a name unknown":   {nil, func(c *Config) { c.TokenURL, c.Resolver = "https://nowhere.example/t", resolverWithoutNames(t) }, Configuration, "does not exist in DNS"},
		"DNS out of reach": {nil, func(c *Config) { c.TokenURL, c.Resolver = "https://nowhere.example/t", unreachableResolver }, Wait, "no DNS response"},
	} {
		t.Run(name, func(t *testing.T) {
			handle := c.handle
			if handle == nil {
				handle = func(http.ResponseWriter, *http.Request) { t.Error("the server got a request") }
			}
			wantFault(t, requestToken(t, serveHTTP(t, handle), c.change), c.kind, "", c.text)
		})
	}
}

func TestFault_DescribesNetworkErrors(t *testing.T) {
	expired := &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}
	strange := &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.NameMismatch}}
	for _, c := range []struct {
		err  error
		kind Kind
		text string
	}{
		{syscall.ENETUNREACH, Wait, "check the cable"},
		{syscall.EHOSTUNREACH, Wait, "check the cable"},
		{syscall.ECONNRESET, Wait, "was lost"},
		{os.ErrDeadlineExceeded, Wait, "no complete response"},
		{expired, Configuration, "check the box's clock"},
		{strange, Configuration, "does not verify"},
	} {
		wantFault(t, connectionFault("login.example", time.Second, fmt.Errorf("dialing: %w", c.err)), c.kind, "", "login.example", c.text)
	}
}

func TestIssuer_RequiresTLS12(t *testing.T) {
	old := httptest.NewUnstartedServer(nil)
	old.Config.ErrorLog = quiet
	old.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	old.StartTLS()
	defer old.Close()
	wantFault(t, requestToken(t, old, nil), Configuration, "", "TLS 1.2 or later")

	clear := httptest.NewServer(nil)
	defer clear.Close()
	err := requestToken(t, clear, func(c *Config) {
		c.TokenURL, c.DeviceURL = strings.Replace(c.TokenURL, "http:", "https:", 1), ""
	})
	wantFault(t, err, Configuration, "", "does not speak TLS")
}

// lateBody is a body that ends without an error only when the client closes the
// connection.
type lateBody struct{ ctx context.Context }

func (l lateBody) Read([]byte) (int, error) { <-l.ctx.Done(); return 0, io.EOF }
func (lateBody) Close() error               { return nil }

type lateTransport struct{}

func (lateTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Body: lateBody{r.Context()}, Request: r}, nil
}

func TestIssuer_TimesOutOnALateResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := must(New(Config{TokenURL: "https://a.example/t", ClientID: clientID}))
		issuer.transport = lateTransport{}
		_, _, err := issuer.refresh(t.Context(), NewSecret("before"))
		wantFault(t, err, Wait, "", "no complete response within 30s")
	})
}

func closedPort(t *testing.T) string {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	defer listener.Close()
	return listener.Addr().String()
}

var unreachableResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("no network")
}}

// resolverWithoutNames uses a name server that responds NXDOMAIN to every query.
func resolverWithoutNames(t *testing.T) *net.Resolver {
	server := must(net.ListenPacket("udp", "127.0.0.1:0"))
	done := make(chan struct{})
	t.Cleanup(func() { server.Close(); <-done })
	go func() {
		defer close(done)
		message := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(message)
			if err != nil {
				return
			}
			// A response (RFC 1035, 4.1.1) with RCODE 3, a name error.
			message[2], message[3] = message[2]|0x80, 3
			server.WriteTo(message[:n], from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

func TestToken_ReturnsTheContextErrorWhenCancelled(t *testing.T) {
	server := serve(t, respondInTurn(tokenResponse("access", "", 3600)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := must(newIssuer(t, server.Server, nil).ClientSecret(NewSecret("hush"))).Token(ctx)
	if fault := (*Fault)(nil); errors.As(err, &fault) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
}
