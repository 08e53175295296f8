package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sealpost/cmd/sealpost/internal/operator"
	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/hal"
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
	if err := canSeal(ctx, b); err != nil {
		return err
	}
	issuer, err := b.Issuer()
	if err != nil {
		return err
	}
	token, err := issuer.Delegated(wire.RefreshTokens{Vault: b.Vault()}).Login(ctx, func(code oauth.DeviceCode) {
		prompt := operator.SignInPrompt{URL: code.VerificationURL, Code: code.UserCode, Expires: code.Expires, Mailbox: string(b.Settings.Upstream.Submission.User)}
		if showsBlocks(out) {
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

// canSeal checks, before a sign-in, that the TPM can seal the refresh token.
func canSeal(ctx context.Context, b *wire.Box) error {
	if b.Settings.Keys.Protection == settings.ProtectionFile {
		return nil
	}
	if state := b.TPM.State(ctx); state != hal.TPMReady && state != hal.TPMReplaced {
		return fmt.Errorf("the TPM, which has to seal the sign-in, is %s: %s", state, state.Advice())
	}
	return nil
}

// showsBlocks reports whether out is a terminal that can show a QR code in block characters.
func showsBlocks(out io.Writer) bool {
	file, isFile := out.(*os.File)
	return isFile && term.IsTerminal(int(file.Fd())) && operator.UsesUTF8(os.Getenv)
}
