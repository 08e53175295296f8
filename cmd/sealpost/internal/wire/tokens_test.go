package wire

import (
	"context"
	"errors"
	"testing"
	"time"

	"sealpost/hal"
	"sealpost/hal/linux/flash"
	"sealpost/relay/oauth"
)

// brokenStore is a store that always fails.
type brokenStore struct{ err error }

func (b brokenStore) Load(context.Context) (oauth.Secret, error) { return oauth.Secret{}, b.err }
func (b brokenStore) Save(context.Context, oauth.Secret) error   { return b.err }
func (b brokenStore) Replace(context.Context, oauth.Secret, oauth.Secret) error {
	return b.err
}

func TestRetryableGrant_WaitsWhileTPMIsBusy(t *testing.T) {
	issuer, err := oauth.New(oauth.Config{TokenURL: "https://127.0.0.1:1/token", ClientID: "box"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		err  error
		kind oauth.Kind
	}{
		"a busy TPM":      {&hal.TPMFault{State: hal.TPMBusy, Op: "unseal"}, oauth.Wait},
		"a restarted TPM": {&hal.TPMFault{State: hal.TPMRestarted, Op: "unseal"}, oauth.Wait},
		"a busy state":    {flash.ErrInUse, oauth.Wait},
		"another TPM":     {&hal.TPMFault{State: hal.TPMReplaced, Op: "unseal"}, oauth.Configuration},
		"damage":          {errors.New("it is damaged"), oauth.Configuration},
	} {
		for _, grant := range []oauth.Grant{
			issuer.Delegated(brokenStore{c.err}),
			lazyGrant{"certificate", func(context.Context) (oauth.Grant, error) { return nil, c.err }},
		} {
			_, err := retryableGrant{grant}.Token(t.Context())
			if fault := (*oauth.Fault)(nil); !errors.As(err, &fault) || fault.Kind != c.kind || !errors.Is(err, c.err) {
				t.Errorf("%s, by %s: got %v, want a fault %v because of %v", name, grant.Name(), err, c.kind, c.err)
			}
		}
	}
}

// silentGrant is a grant that never returns a token.
type silentGrant struct{}

func (silentGrant) Name() string { return "silent" }
func (silentGrant) Token(ctx context.Context) (oauth.Token, error) {
	<-ctx.Done()
	return oauth.Token{}, ctx.Err()
}

func TestTokenProvider_ExplainsALateToken(t *testing.T) {
	source := oauth.NewTokenSource(silentGrant{}, nil)
	defer source.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := tokenProvider{source}.Token(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errSlow) {
		t.Errorf("got %v, want %v and %v", err, context.DeadlineExceeded, errSlow)
	}
}
