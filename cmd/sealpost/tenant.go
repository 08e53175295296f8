package main

import (
	"context"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"sealpost/cmd/sealpost/internal/operator"
	"sealpost/cmd/sealpost/internal/terminal"
	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/provisioning/console"
	"sealpost/provisioning/credential"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/tenant"
)

func tenantCommand(o *options) *cobra.Command {
	c := group("tenant", "Set up the Microsoft 365 tenant, and verify that the box may send")
	c.AddCommand(registerCommand(o), scriptCommand(o), applicationCommand(o), secretCommand(o), loginCommand(o), verifyCommand(o))
	return c
}

func registerCommand(o *options) *cobra.Command {
	var site string
	cloud := settings.CloudGlobal
	c := leaf("register", "Print the PowerShell that registers the box's application", 0, func(c *cobra.Command, _ []string) error {
		return o.print(c.OutOrStdout(), operator.PowerShell{PowerShell: tenant.Register(site, cloud)})
	})
	c.Flags().StringVar(&site, "site", "", "the site's `name`, for people")
	c.Flags().Var(&cloud, "cloud", "the `cloud` of the tenant, as in upstream.cloud: global, gcc-high, dod or china")
	return c
}

func scriptCommand(o *options) *cobra.Command {
	var onConsole, legacy, whatIf, undo bool
	c := leaf("script", "Print the PowerShell that sets the tenant up for this box, with all values filled in", 0, func(c *cobra.Command, _ []string) error {
		return o.withBox(c, wire.AnyState, func(ctx context.Context, b *wire.Box) error {
			site := tenant.Site{Settings: b.Settings, Steps: tenant.Steps{Secret: "enter it with: sealpost tenant secret", Verify: "sealpost tenant verify", Check: "sealpost check"}, WhatIf: whatIf}
			if legacy {
				site.Recipe = tenant.RecipePermissions
			}
			if onConsole {
				site.Steps = console.Steps
			}
			var err error
			if b.Settings.Upstream.Method.Traits().ClientCertificate {
				site.ConnectorName, err = b.ConnectorName(ctx)
			}
			if err == nil && b.Settings.Upstream.Method.Traits().Mailbox && b.Settings.Upstream.OAuth.Grant == settings.GrantCertificate {
				var leaf *x509.Certificate
				if leaf, _, err = b.Application(ctx); err == nil {
					site.Certificate = leaf.Raw
				}
			}
			if err != nil {
				return err
			}
			write := site.Script
			if undo {
				write = site.Undo
			}
			text, err := write()
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), operator.PowerShell{PowerShell: text})
		})
	})
	c.Flags().BoolVar(&legacy, "legacy", false, "for submission: the older setup, with a permission in Entra ID and Full Access to the mailboxes")
	c.Flags().BoolVar(&whatIf, "what-if", false, "a script that only shows what it would change")
	c.Flags().BoolVar(&undo, "undo", false, "a script that removes what the other has set up")
	c.Flags().BoolVar(&onConsole, "console", false, "print the steps that follow in the wording of the serial console")
	_ = c.Flags().MarkHidden("console")
	return c
}

func applicationCommand(o *options) *cobra.Command {
	var replace bool
	c := leaf("certificate", "Print the certificate for token requests, to upload to the app registration", 0, func(c *cobra.Command, _ []string) error {
		return o.withBox(c, wire.AnyState, func(ctx context.Context, b *wire.Box) error {
			if err := b.RequireGrant(settings.GrantCertificate); err != nil {
				return err
			}
			if replace {
				if err := b.RenewApplication(ctx); err != nil {
					return err
				}
			}
			leaf, protection, err := b.Application(ctx)
			if err != nil {
				return err
			}
			thumbprint := sha1.Sum(leaf.Raw)
			return o.print(c.OutOrStdout(), operator.PEM{
				PEM:        string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})),
				Thumbprint: strings.ToUpper(hex.EncodeToString(thumbprint[:])),
				Protection: protection,
			})
		})
	})
	c.Flags().BoolVar(&replace, "replace", false, "make a new certificate and key first; the old ones are deleted")
	return c
}

// stored says what was stored.
type stored struct {
	Stored string `json:"stored"`
}

func (s stored) String() string { return "stored: " + s.Stored }

func secretCommand(o *options) *cobra.Command {
	var file string
	c := leaf("secret", "Enter the application's client secret", 0, func(c *cobra.Command, _ []string) error {
		return o.withBox(c, wire.AnyState, func(ctx context.Context, b *wire.Box) error {
			if err := b.RequireGrant(settings.GrantSecret); err != nil {
				return err
			}
			secret, err := terminal.Password(c, "Client secret (its value, not its ID)", file)
			if err != nil {
				return err
			}
			if secret = strings.TrimSpace(secret); secret == "" {
				return errors.New("the client secret is empty: enter the secret's value as the Entra admin center showed it; nothing was changed")
			}
			if err := b.Vault().Save(ctx, credential.ClientSecret, []byte(secret)); err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), stored{"the client secret, for the application " + b.Settings.Upstream.OAuth.ClientID})
		})
	})
	c.Flags().StringVar(&file, "secret-file", "", "a `file` with the secret in its first line; without it the command asks for the secret")
	return c
}
