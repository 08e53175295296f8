package main

import (
	"context"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sealpost/provisioning/certificate"
	"sealpost/provisioning/credential"
	"sealpost/provisioning/identity"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/tenant"
)

func tenantCommand(o *options) *cobra.Command {
	c := group("tenant", "The Microsoft side: what it must be told, and whether it lets the box send")
	c.AddCommand(registerCommand(o), scriptCommand(o), applicationCommand(o), secretCommand(o), loginCommand(o), verifyCommand(o))
	return c
}

// powerShell is a script as it is printed.
type powerShell struct {
	PowerShell string `json:"powershell"`
}

func (p powerShell) String() string { return p.PowerShell }

func registerCommand(o *options) *cobra.Command {
	var site string
	c := leaf("register", "Print the PowerShell that registers the box's application, before anything is set up", 0, func(c *cobra.Command, _ []string) error {
		return o.print(c.OutOrStdout(), powerShell{tenant.Register(site)})
	})
	c.Flags().StringVar(&site, "site", "", "the site's `name`, for people")
	return c
}

func scriptCommand(o *options) *cobra.Command {
	return leaf("script", "Print the PowerShell that tells the tenant of this box, with every value filled in", 0, func(c *cobra.Command, _ []string) error {
		return o.withBox(c, anyState, func(ctx context.Context, b *box) error {
			site := tenant.Site{Settings: b.settings}
			var err error
			if b.settings.Upstream.Method == settings.MethodConnector {
				site.ConnectorName, err = b.connectorName(ctx)
			} else if b.settings.Upstream.OAuth.Grant == settings.GrantCertificate {
				site.Certificate, err = b.signing(ctx)
			}
			if err != nil {
				return err
			}
			text, err := site.Script()
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), powerShell{text})
		})
	})
}

// connectorName is the name by which a connector knows the client certificate.
func (b *box) connectorName(ctx context.Context) (string, error) {
	client, err := identity.Load(ctx, b.store)
	if err != nil {
		return "", err
	}
	for _, domain := range b.settings.AcceptedDomains() {
		if name := certificate.NameWithin(client.Chain[0], string(domain)); name != "" {
			return name, nil
		}
	}
	return "", nil
}

// signing is the certificate, in DER, whose key signs for tokens.
func (b *box) signing(ctx context.Context) ([]byte, error) {
	leaf, _, err := b.application(ctx)
	if err != nil {
		return nil, err
	}
	return leaf.Raw, nil
}

// application is the certificate whose key signs for tokens, and what protects
// that key.
func (b *box) application(ctx context.Context) (leaf *x509.Certificate, protection string, err error) {
	if b.settings.Upstream.OAuth.Key == settings.KeyConnector {
		client, err := identity.Load(ctx, b.store)
		if err != nil {
			return nil, "", err
		}
		return client.Chain[0], string(client.Key.Protection), nil
	}
	name, err := hostname(b.settings.LAN)
	if err != nil {
		return nil, "", err
	}
	own, err := identity.OwnApplication(ctx, b.store, b.tpm, b.generator(), name)
	if err != nil {
		return nil, "", err
	}
	return own.Certificate, string(own.Key.Protection), nil
}

// upload is a certificate as it is given to the app registration.
type upload struct {
	PEM        string `json:"pem"`
	Thumbprint string `json:"thumbprint"` // SHA-1, as the Entra admin center shows it
	Protection string `json:"protection"`
}

func (u upload) String() string { return strings.TrimSpace(u.PEM) }

func applicationCommand(o *options) *cobra.Command {
	var replace bool
	c := leaf("certificate", "Print the certificate whose key signs for tokens, to upload to the app registration", 0, func(c *cobra.Command, _ []string) error {
		return o.withBox(c, anyState, func(ctx context.Context, b *box) error {
			if err := b.needsGrant(settings.GrantCertificate); err != nil {
				return err
			}
			if replace {
				if err := b.renewApplication(ctx); err != nil {
					return err
				}
			}
			leaf, protection, err := b.application(ctx)
			if err != nil {
				return err
			}
			thumbprint := sha1.Sum(leaf.Raw)
			return o.print(c.OutOrStdout(), upload{
				PEM:        string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})),
				Thumbprint: strings.ToUpper(hex.EncodeToString(thumbprint[:])),
				Protection: protection,
			})
		})
	})
	c.Flags().BoolVar(&replace, "replace", false, "make a new certificate and key first; the old ones are given up")
	return c
}

func (b *box) renewApplication(ctx context.Context) error {
	if b.settings.Upstream.OAuth.Key == settings.KeyConnector {
		return &usageError{errors.New("upstream.oauth.key is \"connector\", so the client certificate signs: import another with: sealpost certificate import")}
	}
	name, err := hostname(b.settings.LAN)
	if err != nil {
		return err
	}
	_, err = identity.RenewApplication(ctx, b.store, b.tpm, b.generator(), name)
	return err
}

// needsGrant refuses a command that the settings have no use for.
func (b *box) needsGrant(wanted settings.Grant) error {
	switch grant := b.settings.Upstream.OAuth.Grant; {
	case b.settings.Upstream.Method != settings.MethodSubmission:
		return fmt.Errorf("upstream.method is %q, which needs no access token: set it to %q first", b.settings.Upstream.Method, settings.MethodSubmission)
	case grant != wanted:
		return fmt.Errorf("upstream.oauth.grant is %q, which makes no use of this: set it to %q first", grant, wanted)
	}
	return nil
}

// kept tells that something is stored.
type kept struct {
	Stored string `json:"stored"`
}

func (k kept) String() string { return "stored: " + k.Stored }

func secretCommand(o *options) *cobra.Command {
	var file string
	c := leaf("secret", "Enter the application's client secret", 0, func(c *cobra.Command, _ []string) error {
		return o.withBox(c, anyState, func(ctx context.Context, b *box) error {
			if err := b.needsGrant(settings.GrantSecret); err != nil {
				return err
			}
			secret, err := readPassword(c, "Client secret (its value, not its ID)", file)
			if err != nil {
				return err
			}
			if err := b.vault().Save(ctx, credential.ClientSecret, []byte(strings.TrimSpace(secret))); err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), kept{"the client secret, for the application " + b.settings.Upstream.OAuth.ClientID})
		})
	})
	c.Flags().StringVar(&file, "secret-file", "", "a `file` whose first line is the secret; without it the secret is asked for")
	return c
}
