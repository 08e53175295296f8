package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"sealpost/cmd/sealpost/internal/operator"
	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/provisioning/settings"
	"sealpost/relay/oauth"
)

func loginCommand(o *options) *cobra.Command {
	return leaf("login", "Sign the box in with a device code", 0, func(c *cobra.Command, _ []string) error {
		ctx, stop := untilStopped(c.Context())
		defer stop()
		b, err := o.openBox(c, wire.AnyState)
		if err != nil {
			return err
		}
		return errors.Join(o.login(ctx, c.OutOrStdout(), b), b.Close())
	})
}

func (o *options) login(ctx context.Context, out io.Writer, b *wire.Box) error {
	if err := b.RequireGrant(settings.GrantDevice); err != nil {
		return err
	}
	if err := operator.CanSeal(ctx, b); err != nil {
		return err
	}
	issuer, err := b.Issuer()
	if err != nil {
		return err
	}
	token, err := issuer.Delegated(wire.RefreshTokens{Vault: b.Vault()}).Login(ctx, func(code oauth.DeviceCode) {
		prompt := operator.SignInPrompt{URL: code.VerificationURL, Code: code.UserCode, Expires: code.Expires, Mailbox: string(b.Settings.Upstream.Submission.User)}
		if operator.ShowsBlocks(out) {
			prompt.QRCode = operator.QRCode(code.VerificationURL)
		}
		_ = o.printLine(out, prompt)
	})
	if err != nil {
		return err
	}
	// An opaque token is also valid.
	claims, _ := token.Claims()
	return o.printLine(out, operator.SignedIn{User: claims.User})
}
