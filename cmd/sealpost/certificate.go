package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"sealpost/cmd/sealpost/internal/operator"
	"sealpost/cmd/sealpost/internal/terminal"
	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/hal"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/identity"
)

func certificateCommand(o *options) *cobra.Command {
	c := group("certificate", "The client certificate for Exchange Online, and those for the LAN")
	c.AddCommand(importCommand(o), showCommand(o), requestCommand(o), authorityCommand(o))
	return c
}

func importCommand(o *options) *cobra.Command {
	var pfx, passwordFile, pem string
	var lan, remove bool
	c := leaf("import ([--lan] --pfx FILE [--password-file FILE] | --pem FILE | --lan --remove)", "Import a certificate with its key, or the certificate for a request", 0,
		func(c *cobra.Command, _ []string) error {
			switch {
			case remove && lan && pfx == "" && pem == "":
				return o.commit(c, wire.ExistingState, candidate.Candidate{RemoveLAN: true}, stored{"devices get certificates of the box's own CA" + afterRestart})
			case remove || lan && pem != "":
				return &usageError{errors.New("--lan goes with --pfx FILE or --remove, and --remove with --lan alone")}
			case (pfx == "") == (pem == ""):
				return &usageError{errors.New("name either --pfx FILE or --pem FILE")}
			case pem != "":
				return completeRequest(o, c, pem)
			}
			return importPFX(o, c, pfx, passwordFile, lan)
		})
	c.Flags().StringVar(&pfx, "pfx", "", "the PKCS#12 `file` with certificate, chain and key")
	c.Flags().StringVar(&passwordFile, "password-file", "", "a `file` whose first line is the PFX's password; without it the password is asked for")
	c.Flags().StringVar(&pem, "pem", "", "the PEM `file` of the certificate and chain for 'sealpost certificate request'")
	c.Flags().BoolVar(&lan, "lan", false, "the site's own server certificate for the devices on the LAN")
	c.Flags().BoolVar(&remove, "remove", false, "remove the site's certificate: the box uses its own")
	return c
}

// afterRestart says when another certificate for the LAN is used.
const afterRestart = "; restart a running relay to apply it"

// importPFX reads the file before it opens or creates the state, so that a bad
// file changes nothing.
func importPFX(o *options, c *cobra.Command, path, passwordFile string, lan bool) error {
	if _, err := o.Settings(); err != nil {
		return err
	}
	data, err := wire.ReadFile(path, certificate.MaxInput)
	if err != nil {
		return err
	}
	password, err := terminal.Password(c, "Password of the PFX", passwordFile)
	if err != nil {
		return err
	}
	if lan {
		change := candidate.Candidate{LAN: data, LANPassword: candidate.Password(password)}
		return o.commit(c, wire.AnyState, change, stored{"the site's certificate for the LAN" + afterRestart})
	}
	bundle, err := certificate.ParsePFX(data, password)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := wire.CheckPath(bundle.Path); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return o.withBox(c, wire.AnyState, func(ctx context.Context, b *wire.Box) error {
		client, err := identity.Import(ctx, b.Store, b.Protector(), bundle)
		if err != nil {
			return err
		}
		return o.print(c.OutOrStdout(), b.Examine(client))
	})
}

func completeRequest(o *options, c *cobra.Command, path string) error {
	data, err := wire.ReadFile(path, certificate.MaxInput)
	if err != nil {
		return err
	}
	certificates, err := certificate.ParsePEM(data)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return o.withBox(c, wire.ExistingState, func(ctx context.Context, b *wire.Box) error {
		client, err := identity.Complete(ctx, b.Store, b.TPM, certificates, wire.CheckPath)
		if err != nil {
			return err
		}
		return o.print(c.OutOrStdout(), b.Examine(client))
	})
}

func showCommand(o *options) *cobra.Command {
	return leaf("show", "Show the certificate, and what the connector must match", 0, func(c *cobra.Command, _ []string) error {
		err := o.withBox(c, wire.ExistingState, func(ctx context.Context, b *wire.Box) error {
			lan, err := identity.DescribeLAN(ctx, b.Store)
			if err != nil {
				return err
			}
			client, err := identity.Load(ctx, b.Store)
			if errors.Is(err, identity.ErrNone) && len(lan) > 0 && !o.json {
				return errors.Join(err, o.print(c.OutOrStdout(), certificate.Report{LAN: lan}))
			}
			if err != nil {
				return err
			}
			report := b.Examine(client)
			report.LAN = lan
			return o.print(c.OutOrStdout(), report)
		})
		if errors.Is(err, fs.ErrNotExist) {
			return identity.ErrNone
		}
		return err
	})
}

func requestCommand(o *options) *cobra.Command {
	var names []string
	var keyType string
	var replace bool
	c := leaf("request --name NAME", "Create a key in the TPM and print its certificate request", 0, func(c *cobra.Command, _ []string) error {
		if len(names) == 0 {
			return &usageError{errors.New("name the certificate's host with --name, such as relay.contoso.com")}
		}
		if !slices.Contains(keyTypes, hal.KeyType(keyType)) {
			return &usageError{fmt.Errorf("there is no key type %q: choose RSA-2048, RSA-3072, P-256 or P-384", keyType)}
		}
		s, err := o.Settings()
		if err != nil {
			return err
		}
		foreign, err := wire.CheckRequest(s, names)
		if err != nil {
			return err
		}
		return o.withBox(c, wire.AnyState, func(ctx context.Context, b *wire.Box) error {
			pem, err := identity.Request(ctx, b.Store, b.TPM, hal.KeyType(keyType), names, replace)
			if errors.Is(err, errors.ErrUnsupported) {
				return fmt.Errorf("%w: choose another type with --key; every TPM supports RSA-2048 and P-256", err)
			}
			if err != nil {
				return err
			}
			if foreign {
				fmt.Fprintln(c.ErrOrStderr(), "warning: no name is in senders.accepted_domains, so no connector of the tenant can match this certificate")
			}
			return o.print(c.OutOrStdout(), operator.PEM{PEM: string(pem)})
		})
	})
	c.Flags().StringSliceVar(&names, "name", nil, "a `name` for the certificate; the first is its common name")
	c.Flags().StringVar(&keyType, "key", string(hal.RSA2048), "the key's `type`: RSA-2048, RSA-3072, P-256 or P-384")
	c.Flags().BoolVar(&replace, "replace", false, "replace the pending request and its key")
	return c
}

func authorityCommand(o *options) *cobra.Command {
	var out string
	c := leaf("ca", "Print the certificate of the box's own CA, which PCs and devices on the LAN may trust", 0, func(c *cobra.Command, _ []string) error {
		return o.withBox(c, wire.AnyState, func(ctx context.Context, b *wire.Box) error {
			ca, err := b.Authority(ctx)
			if err == nil && out != "" {
				return os.WriteFile(out, ca, 0o644)
			}
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), operator.PEM{PEM: string(ca)})
		})
	})
	c.Flags().StringVar(&out, "out", "", "write it to this `file`")
	return c
}

// keyTypes are the key types that can be requested.
var keyTypes = []hal.KeyType{hal.RSA2048, hal.RSA3072, hal.ECDSAP256, hal.ECDSAP384}
