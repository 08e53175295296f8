package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"golang.org/x/oauth2"
)

// DeviceCode is what a person needs to sign the box in from a browser elsewhere
// (RFC 8628 section 3.3).
type DeviceCode struct {
	UserCode        string
	VerificationURL string
	Expires         time.Time
}

// Limits for the issuer's values.
const (
	defaultCodeLife = 15 * time.Minute
	maxCodeLife     = 30 * time.Minute
	defaultInterval = 5  // seconds (RFC 8628 section 3.2)
	maxInterval     = 60 // seconds
)

// Login signs the box in: it passes the code to show, for a person to enter,
// and returns once that has happened and the refresh token is durable. This
// takes minutes; cancelling ctx leaves an earlier sign-in unchanged.
func (d *Delegated) Login(ctx context.Context, show func(DeviceCode)) (Token, error) {
	code, err := d.issuer.deviceCode(ctx)
	if err != nil {
		return Token{}, aborted(ctx, err)
	}
	show(DeviceCode{UserCode: code.UserCode, VerificationURL: code.VerificationURI, Expires: code.Expiry})
	token, refresh, err := d.issuer.pollToken(ctx, code)
	if err != nil {
		return Token{}, aborted(ctx, err)
	}
	if refresh.Empty() {
		return Token{}, &Fault{Kind: Configuration, Text: "the sign-in returned no refresh token, so it would expire within the hour: add offline_access to the scopes"}
	}
	if err := d.acquire(ctx); err != nil {
		return Token{}, aborted(ctx, err)
	}
	defer d.release()
	if err := saveDurably(ctx, func(ctx context.Context) error { return d.store.Save(ctx, refresh) }); err != nil {
		return Token{}, err
	}
	d.unsaved, d.replaced = Secret{}, Secret{}
	return token, nil
}

func aborted(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("the sign-in was cancelled and nothing was changed; start it again: %w", context.Cause(ctx))
}

// deviceCode requests a device code (RFC 8628 section 3.1) and limits values
// that x/oauth2 accepts unchecked.
func (i *Issuer) deviceCode(ctx context.Context) (*oauth2.DeviceAuthResponse, error) {
	if i.config.DeviceURL == "" {
		return nil, &Fault{Kind: Configuration, Text: "there is no device code URL: copy it from the endpoints of the app registration"}
	}
	x, ctx := i.exchange(ctx)
	code, err := i.public().DeviceAuth(ctx)
	if err != nil {
		return nil, x.fault()
	}
	page, err := url.Parse(code.VerificationURI)
	if err != nil || page.Scheme != "https" || page.Host == "" || clean(code.VerificationURI) != code.VerificationURI ||
		code.UserCode == "" || clean(code.UserCode) != code.UserCode || code.DeviceCode == "" {
		return nil, &Fault{Kind: Configuration, Text: i.host + " returned no device code (RFC 8628): check the device code URL"}
	}
	left := time.Until(code.Expiry)
	if left <= 0 { // missing, or too large for a Duration
		left = defaultCodeLife
	}
	// x/oauth2 uses the wall clock, which may be set meanwhile.
	code.Expiry = time.Now().Add(min(left, maxCodeLife))
	if code.Interval <= 0 {
		code.Interval = defaultInterval
	}
	code.Interval = min(code.Interval, maxInterval)
	return code, nil
}

// pollToken polls until the person has signed in. A temporary failure only
// lengthens the interval (RFC 8628 section 3.5).
func (i *Issuer) pollToken(ctx context.Context, code *oauth2.DeviceAuthResponse) (Token, Secret, error) {
	for {
		x, polled := i.exchange(ctx)
		token, refresh, err := x.token(i.public().DeviceAccessToken(polled, code))
		if err == nil || ctx.Err() != nil {
			return token, refresh, err
		}
		if !time.Now().Before(code.Expiry) {
			return Token{}, Secret{}, &Fault{Kind: Configuration, Code: "expired_token", Text: newCodeText}
		}
		if fault := (*Fault)(nil); errors.As(err, &fault) && fault.Kind == Configuration {
			return Token{}, Secret{}, err
		}
		code.Interval = min(2*code.Interval, maxInterval)
	}
}
