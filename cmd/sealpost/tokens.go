package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"time"

	"sealpost/hal"
	"sealpost/provisioning/credential"
	"sealpost/provisioning/identity"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/settings"
	"sealpost/relay/journal"
	"sealpost/relay/oauth"
	"sealpost/relay/upstream/dns"
	"sealpost/relay/upstream/submission"
)

// issuerPatience is for one request to the issuer. It ends well before an attempt
// to deliver does, which would only know that it has waited.
const issuerPatience = 30 * time.Second

// issuer is the one of access tokens that the settings describe.
func (b *box) issuer() (*oauth.Issuer, error) {
	from := b.settings.Issuer()
	roots, err := caPool("upstream.oauth", from.Roots)
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
		Resolver:  dns.Resolver(b.settings.Upstream.DNS),
		Timeout:   min(issuerPatience, b.settings.Upstream.Timeout.Duration/2),
	})
}

// vault keeps the credentials of the application that the settings name.
func (b *box) vault() credential.Vault {
	return credential.Vault{Store: b.store, Sealer: b.sealer(), Application: credential.Of(b.settings)}
}

// grant is what the settings have the box show for an access token. The box's
// own certificate is made under the name when it is first needed.
func (b *box) grant(name string) (oauth.Grant, error) {
	issuer, err := b.issuer()
	if err != nil {
		return nil, err
	}
	switch b.settings.Upstream.OAuth.Grant {
	case settings.GrantDevice:
		return patient{issuer.Delegated(refreshTokens{b.vault()})}, nil
	case settings.GrantSecret:
		return patient{stored{"client secret", func(ctx context.Context) (oauth.Grant, error) {
			secret, err := b.clientSecret(ctx)
			if err != nil {
				return nil, err
			}
			return issuer.ClientSecret(secret)
		}}}, nil
	}
	return patient{stored{"certificate", func(ctx context.Context) (oauth.Grant, error) {
		return b.signed(ctx, issuer, name)
	}}}, nil
}

// clientSecret is the one that was entered for the application.
func (b *box) clientSecret(ctx context.Context) (oauth.Secret, error) {
	secret, err := b.vault().Load(ctx, credential.ClientSecret)
	if errors.Is(err, credential.ErrNone) {
		return oauth.Secret{}, errors.New("this box has no client secret for this application yet: enter it with: sealpost tenant secret")
	}
	if err != nil {
		return oauth.Secret{}, err
	}
	defer clear(secret)
	return oauth.NewSecret(string(secret)), nil
}

// signed is the grant by the certificate that the settings choose.
func (b *box) signed(ctx context.Context, issuer *oauth.Issuer, name string) (oauth.Grant, error) {
	algorithm := oauth.Algorithm(b.settings.Upstream.OAuth.Algorithm)
	if b.settings.Upstream.OAuth.Key == settings.KeyConnector {
		client, err := identity.Load(ctx, b.store)
		if err != nil {
			return nil, err
		}
		key, err := client.Signer(b.tpm)
		if err != nil {
			return nil, err
		}
		return issuer.Certificate(key, client.Chain[0].Raw, algorithm)
	}
	own, err := identity.OwnApplication(ctx, b.store, b.tpm, b.generator(), name)
	if err != nil {
		return nil, err
	}
	key, err := own.Signer(b.tpm)
	if err != nil {
		return nil, err
	}
	return issuer.Certificate(key, own.Certificate.Raw, algorithm)
}

// generator makes keys as the settings ask for. RSA is what token issuers take.
func (b *box) generator() identity.Generator {
	const bits = 2048
	if b.settings.Keys.Protection == settings.ProtectionFile {
		return func(context.Context) (keyring.Key, error) {
			key, err := rsa.GenerateKey(rand.Reader, bits)
			if err != nil {
				return keyring.Key{}, err
			}
			return keyring.ProtectInFile(key, nil)
		}
	}
	return func(ctx context.Context) (keyring.Key, error) { return keyring.Generate(ctx, b.tpm, hal.RSA2048) }
}

// stored is a grant by what lies in the state. It is read for each token, about
// once an hour, so that what was entered meanwhile counts, and a TPM that is
// away keeps nobody from starting.
type stored struct {
	name string
	open func(context.Context) (oauth.Grant, error)
}

// Name implements oauth.Grant.
func (s stored) Name() string { return s.name }

// Token implements oauth.Grant.
func (s stored) Token(ctx context.Context) (oauth.Token, error) {
	grant, err := s.open(ctx)
	if err == nil {
		return grant.Token(ctx)
	}
	return oauth.Token{}, &oauth.Fault{Kind: oauth.Configuration, Words: "the box has nothing to show for an access token", Err: err}
}

// patient is a grant that asks nobody for help where a part of the box, such as
// its TPM, is only busy.
type patient struct{ oauth.Grant }

// Token implements oauth.Grant.
func (p patient) Token(ctx context.Context) (oauth.Token, error) {
	token, err := p.Grant.Token(ctx)
	if fault := (*oauth.Fault)(nil); errors.As(err, &fault) && passes(fault.Err) {
		err = &oauth.Fault{Kind: oauth.Wait, Words: "the box cannot show just now what it is known by; it tries again", Err: fault.Err}
	}
	return token, err
}

// refreshTokens is the vault as OAuth needs it.
type refreshTokens struct{ vault credential.Vault }

// Load implements oauth.Store.
func (r refreshTokens) Load(ctx context.Context) (oauth.Secret, error) {
	refresh, err := r.vault.Load(ctx, credential.RefreshToken)
	if errors.Is(err, credential.ErrNone) {
		return oauth.Secret{}, nil
	}
	defer clear(refresh)
	return oauth.NewSecret(string(refresh)), err
}

// Save implements oauth.Store.
func (r refreshTokens) Save(ctx context.Context, refresh oauth.Secret) error {
	return r.vault.Save(ctx, credential.RefreshToken, []byte(refresh.Reveal()))
}

// Succeed implements oauth.Store.
func (r refreshTokens) Succeed(ctx context.Context, before, refresh oauth.Secret) error {
	err := r.vault.Replace(ctx, credential.RefreshToken, []byte(before.Reveal()), []byte(refresh.Reveal()))
	if errors.Is(err, credential.ErrOther) || errors.Is(err, credential.ErrNone) {
		return nil
	}
	return err
}

// observer has the journal record what the issuer was asked.
type observer struct{ journal *journal.Journal }

// Requested implements oauth.Observer.
func (o observer) Requested(grant string, took time.Duration, err error) {
	o.journal.TokenRequested(grant, err, took)
}

// bearers gives the keeper's tokens to the way out.
type bearers struct{ keeper *oauth.Keeper }

// Token implements submission.Tokens.
func (b bearers) Token(ctx context.Context) (submission.Token, error) {
	token, err := b.keeper.Token(ctx)
	if fault := (*oauth.Fault)(nil); errors.As(err, &fault) {
		return "", noToken{fault}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "", fmt.Errorf("the box's key or the token issuer takes too long: look which, with sealpost tenant verify: %w", err)
	}
	return submission.Token(token.Bearer.Reveal()), err
}

// Refuse implements submission.Tokens.
func (b bearers) Refuse(token submission.Token) {
	b.keeper.Refuse(oauth.Token{Bearer: oauth.NewSecret(string(token))})
}

// noToken tells the way out what helps.
type noToken struct{ *oauth.Fault }

// Configuration tells whether somebody must change something.
func (n noToken) Configuration() bool { return n.Kind == oauth.Configuration }
