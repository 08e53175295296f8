package oauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

const (
	maxResponse = 64 << 10
	maxToken    = 32 << 10
	// defaultTokenLifetime applies if the issuer returns no expires_in, which RFC 6749
	// section 5.1 allows.
	defaultTokenLifetime = 5 * time.Minute
)

var errTooLong = errors.New("response too long")

// httpResponse is the issuer's response, in full and of limited size.
type httpResponse struct {
	status int
	header http.Header
	body   []byte
}

// exchange is a request made by x/oauth2 and its result. Faults are derived
// from this record, because an error of x/oauth2 contains the issuer's whole
// response.
type exchange struct {
	ctx    context.Context
	issuer *Issuer
	// application is set if the application itself asks, and no person signs in.
	application bool
	begun       time.Time
	response    httpResponse
	err         error
}

// exchange returns a record, and the context through which x/oauth2 fills it.
func (i *Issuer) exchange(ctx context.Context) (*exchange, context.Context) {
	x := &exchange{ctx: ctx, issuer: i}
	client := &http.Client{Transport: x, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	return x, context.WithValue(ctx, oauth2.HTTPClient, client)
}

// RoundTrip implements http.RoundTripper. It honours the context itself,
// because x/oauth2 does not pass it to every request.
func (x *exchange) RoundTrip(request *http.Request) (*http.Response, error) {
	x.begun = time.Now()
	x.response, x.err = x.issuer.send(x.ctx, request)
	if x.err != nil {
		return nil, x.err
	}
	return &http.Response{
		StatusCode: x.response.status, Status: http.StatusText(x.response.status),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: x.response.header, Request: request,
		Body: io.NopCloser(bytes.NewReader(x.response.body)), ContentLength: int64(len(x.response.body)),
	}, nil
}

func (i *Issuer) send(ctx context.Context, request *http.Request) (httpResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, i.config.Timeout)
	defer cancel()
	request = request.Clone(ctx)
	request.Header.Set("Accept", "application/json")
	response, err := i.transport.RoundTrip(request)
	if err != nil {
		return httpResponse{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxResponse+1))
	if err == nil {
		// A server may still complete its response after we cancel.
		err = ctx.Err()
	}
	if err != nil {
		return httpResponse{}, err
	}
	if len(body) > maxResponse {
		return httpResponse{}, errTooLong
	}
	return httpResponse{response.StatusCode, response.Header, body}, nil
}

// token converts the result of x/oauth2.
func (x *exchange) token(t *oauth2.Token, err error) (Token, Secret, error) {
	if err != nil {
		return Token{}, Secret{}, x.fault()
	}
	if !strings.EqualFold(t.Type(), "Bearer") || !isBearerToken(t.AccessToken) {
		return Token{}, Secret{}, &Fault{Kind: Configuration,
			Text: x.issuer.host + " issued a token that is not a bearer token (RFC 6750): check the token URL"}
	}
	lifetime := defaultTokenLifetime
	if !t.Expiry.IsZero() {
		// x/oauth2 has added expires_in to the current time.
		lifetime = time.Until(t.Expiry).Round(time.Second)
	}
	if lifetime <= 0 {
		return Token{}, Secret{}, &Fault{Kind: Wait, Text: x.issuer.host + " issued a token that has already expired: wait; if it persists, check the token URL"}
	}
	return Token{NewSecret(t.AccessToken), x.begun.Add(lifetime)}, NewSecret(t.RefreshToken), nil
}

// isBearerToken reports whether a token consists of the characters that RFC
// 6749 (A.12) allows, so that it cannot inject anything into the SMTP dialogue.
func isBearerToken(token string) bool {
	odd := strings.IndexFunc(token, func(r rune) bool { return r <= ' ' || r > '~' })
	return token != "" && len(token) <= maxToken && odd < 0
}

// fault returns why there is no token.
func (x *exchange) fault() error {
	if x.ctx.Err() != nil {
		return fmt.Errorf("requesting an access token from %s: %w", x.issuer.host, context.Cause(x.ctx))
	}
	if x.err != nil {
		return connectionFault(x.issuer.host, x.issuer.config.Timeout, x.err)
	}
	return faultFromResponse(x.issuer.host, x.response, x.application, time.Now())
}
