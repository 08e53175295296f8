package wire

import (
	"context"
	"errors"
	"time"

	"sealpost/hal/fault"
	"sealpost/provisioning/credential"
	"sealpost/provisioning/identity"
	"sealpost/provisioning/settings"
	"sealpost/relay/journal"
	"sealpost/relay/oauth"
	"sealpost/relay/upstream/dns"
	"sealpost/relay/upstream/submission"
)

// issuerTimeout limits one request to the issuer. It is shorter than a delivery
// attempt, so that the attempt fails with the reason.
const issuerTimeout = 30 * time.Second

// Issuer returns the issuer of access tokens in the settings.
func (b *Box) Issuer() (*oauth.Issuer, error) {
	from := b.Settings.Issuer()
	roots, err := CAPool("upstream.oauth", from.Roots)
	if err != nil {
		return nil, err
	}
	return oauth.New(oauth.Config{
		TokenURL:  string(from.TokenURL),
		DeviceURL: string(from.DeviceURL),
		ClientID:  from.ClientID,
		Audience:  string(from.Audience),
		Scopes:    from.Scopes,
		Roots:     roots,
		Resolver:  dns.New(b.Settings.Upstream.DNS).ForDialer(),
		Timeout:   min(issuerTimeout, b.Settings.Upstream.Timeout.Duration/2),
	})
}

// Grant returns the grant in the settings. It creates the box's own certificate with
// this name when it is first needed.
func (b *Box) Grant(name string) (oauth.Grant, error) {
	issuer, err := b.Issuer()
	if err != nil {
		return nil, err
	}
	switch b.Settings.Upstream.OAuth.Grant {
	case settings.GrantDevice:
		return retryableGrant{issuer.Delegated(RefreshTokens{b.Vault()})}, nil
	case settings.GrantSecret:
		return retryableGrant{lazyGrant{"client secret", func(ctx context.Context) (oauth.Grant, error) {
			secret, err := b.clientSecret(ctx)
			if err != nil {
				return nil, err
			}
			return issuer.ClientSecret(secret)
		}}}, nil
	}
	return retryableGrant{lazyGrant{"certificate", func(ctx context.Context) (oauth.Grant, error) {
		return b.signed(ctx, issuer, name)
	}}}, nil
}

// clientSecret returns the grant with the stored client secret.
func (b *Box) clientSecret(ctx context.Context) (oauth.Secret, error) {
	secret, err := b.Vault().Load(ctx, credential.ClientSecret)
	if errors.Is(err, credential.ErrNone) {
		return oauth.Secret{}, fault.New(fault.NoClientSecret, "this box has no client secret for this application yet")
	}
	if err != nil {
		return oauth.Secret{}, err
	}
	defer clear(secret)
	return oauth.NewSecret(string(secret)), nil
}

// signed returns the grant with the certificate that the settings choose.
func (b *Box) signed(ctx context.Context, issuer *oauth.Issuer, name string) (oauth.Grant, error) {
	algorithm := oauth.Algorithm(b.Settings.Upstream.OAuth.Algorithm)
	if b.Settings.Upstream.OAuth.Key == settings.KeyConnector {
		client, err := identity.Load(ctx, b.Store)
		if err != nil {
			return nil, err
		}
		key, err := client.Signer(b.TPM)
		if err != nil {
			return nil, err
		}
		return issuer.Certificate(key, client.Chain[0].Raw, algorithm)
	}
	application, err := identity.OwnApplication(ctx, b.Store, b.TPM, b.Generator(), name)
	if err != nil {
		return nil, err
	}
	key, err := application.Signer(b.TPM)
	if err != nil {
		return nil, err
	}
	return issuer.Certificate(key, application.Certificate.Raw, algorithm)
}

// lazyGrant is a grant that reads its credential from the state for each token,
// about once an hour. A credential that is entered later takes effect, and a
// missing TPM does not prevent the start.
type lazyGrant struct {
	name string
	open func(context.Context) (oauth.Grant, error)
}

// Name implements oauth.Grant.
func (s lazyGrant) Name() string { return s.name }

// Token implements oauth.Grant.
func (s lazyGrant) Token(ctx context.Context) (oauth.Token, error) {
	grant, err := s.open(ctx)
	if err == nil {
		return grant.Token(ctx)
	}
	return oauth.Token{}, &oauth.Fault{Kind: oauth.Configuration, Text: "the box has no usable credential for an access token", Err: err}
}

// retryableGrant is a grant that reports a temporary error if a part of the box,
// such as its TPM, is only busy.
type retryableGrant struct{ oauth.Grant }

// Token implements oauth.Grant.
func (p retryableGrant) Token(ctx context.Context) (oauth.Token, error) {
	token, err := p.Grant.Token(ctx)
	if fault := (*oauth.Fault)(nil); errors.As(err, &fault) && Temporary(fault.Err) {
		err = &oauth.Fault{Kind: oauth.Wait, Text: "the box cannot use its credential at the moment; it tries again", Err: fault.Err}
	}
	return token, err
}

// RefreshTokens implements oauth.Store with the vault.
type RefreshTokens struct{ Vault credential.Vault }

// Load implements oauth.Store.
func (r RefreshTokens) Load(ctx context.Context) (oauth.Secret, error) {
	refresh, err := r.Vault.Load(ctx, credential.RefreshToken)
	if errors.Is(err, credential.ErrNone) {
		return oauth.Secret{}, nil
	}
	defer clear(refresh)
	return oauth.NewSecret(string(refresh)), err
}

// Save implements oauth.Store.
func (r RefreshTokens) Save(ctx context.Context, refresh oauth.Secret) error {
	return r.Vault.Save(ctx, credential.RefreshToken, []byte(refresh.Reveal()))
}

// Replace implements oauth.Store.
func (r RefreshTokens) Replace(ctx context.Context, before, refresh oauth.Secret) error {
	err := r.Vault.Replace(ctx, credential.RefreshToken, []byte(before.Reveal()), []byte(refresh.Reveal()))
	if errors.Is(err, credential.ErrChanged) || errors.Is(err, credential.ErrNone) {
		return nil
	}
	return err
}

// observer records token requests in the journal.
type observer struct{ journal *journal.Journal }

// Requested implements oauth.Observer.
func (o observer) Requested(grant string, took time.Duration, err error) {
	o.journal.TokenRequested(grant, err, took)
}

// errSlow is the error of a token request that timed out.
var errSlow = fault.New(fault.TokenSlow, "the box's key or the token issuer takes too long")

// tokenProvider provides the source's tokens to the submission client.
type tokenProvider struct{ source *oauth.TokenSource }

// Token implements submission.TokenProvider.
func (b tokenProvider) Token(ctx context.Context) (submission.Token, error) {
	token, err := b.source.Token(ctx)
	if fault := (*oauth.Fault)(nil); errors.As(err, &fault) {
		return "", noToken{fault}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "", errSlow.Wrap(err)
	}
	return submission.Token(token.Bearer.Reveal()), err
}

// Reject implements submission.TokenProvider.
func (b tokenProvider) Reject(token submission.Token) {
	b.source.Reject(oauth.Token{Bearer: oauth.NewSecret(string(token))})
}

// noToken is the error for the submission client, with what to do.
type noToken struct{ *oauth.Fault }

// Configuration reports whether a configuration change is needed.
func (n noToken) Configuration() bool { return n.Kind == oauth.Configuration }
