package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sealpost/hal"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/identity"
	"sealpost/provisioning/keyring"
)

// tpmPatience bounds what a command waits for a TPM; the slowest chips take
// some seconds to make an RSA key.
const tpmPatience = 2 * time.Minute

func certificateCommand(o *options) *cobra.Command {
	c := group("certificate", "The client certificate that is shown to Exchange Online")
	c.AddCommand(importCommand(o), showCommand(o), requestCommand(o))
	return c
}

func importCommand(o *options) *cobra.Command {
	var pfx, passwordFile, pem string
	c := leaf("import (--pfx FILE [--password-file FILE] | --pem FILE)", "Import a certificate with its key, or the one that answers a request", 0,
		func(c *cobra.Command, _ []string) error {
			switch {
			case (pfx == "") == (pem == ""):
				return &usageError{errors.New("name either --pfx FILE or --pem FILE")}
			case pem != "":
				return o.withBox(c, existingState, func(ctx context.Context, b *box) error { return completeRequest(ctx, o, c, b, pem) })
			}
			return importPFX(o, c, pfx, passwordFile)
		})
	c.Flags().StringVar(&pfx, "pfx", "", "the PKCS#12 `file` with certificate, chain and key")
	c.Flags().StringVar(&passwordFile, "password-file", "", "a `file` whose first line is the PFX's password; without it the password is asked for")
	c.Flags().StringVar(&pem, "pem", "", "the PEM `file` of certificate and chain that answers 'sealpost certificate request'")
	return c
}

// withBox opens the box for one command with a limit on the TPM's time.
func (o *options) withBox(c *cobra.Command, open opener, do func(context.Context, *box) error) error {
	b, err := openBox(o, open)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context(), tpmPatience)
	defer cancel()
	return errors.Join(do(ctx, b), b.close())
}

// importPFX reads the file before anything is opened or made, so that a bad
// one changes nothing.
func importPFX(o *options, c *cobra.Command, path, passwordFile string) error {
	if _, err := readSettings(o); err != nil {
		return err
	}
	data, err := readFile(path, certificate.MaxInput)
	if err != nil {
		return err
	}
	password, err := readPassword(c, "Password of the PFX", passwordFile)
	if err != nil {
		return err
	}
	bundle, err := certificate.ParsePFX(data, password)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := usable(bundle.Path); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return o.withBox(c, anyState, func(ctx context.Context, b *box) error {
		client, err := identity.Import(ctx, b.store, b.protector(), bundle)
		if err != nil {
			return err
		}
		return o.print(c.OutOrStdout(), examine(b, client))
	})
}

// usable refuses a certificate that Exchange Online could make nothing of.
func usable(path certificate.Path) error {
	leaf, now := path.Chain[0], time.Now()
	if now.After(leaf.NotAfter) {
		return fmt.Errorf("the certificate expired on %s: import a newer one, or correct this machine's clock if it is wrong (it says %s)",
			leaf.NotAfter.Format(time.DateOnly), now.Format(time.DateOnly))
	}
	return path.Whole(now, publicRoots())
}

// publicRoots are the roots that Exchange Online may be taken to trust.
func publicRoots() *x509.CertPool {
	ownRoots()
	roots, err := x509.SystemCertPool()
	if err != nil {
		return x509.NewCertPool()
	}
	return roots
}

func completeRequest(ctx context.Context, o *options, c *cobra.Command, b *box, path string) error {
	data, err := readFile(path, certificate.MaxInput)
	if err != nil {
		return err
	}
	certificates, err := certificate.ParsePEM(data)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	client, err := identity.Complete(ctx, b.store, b.tpm, certificates, usable)
	if err != nil {
		return err
	}
	return o.print(c.OutOrStdout(), examine(b, client))
}

func showCommand(o *options) *cobra.Command {
	return leaf("show", "Say what the imported certificate means for the connector", 0, func(c *cobra.Command, _ []string) error {
		err := o.withBox(c, existingState, func(ctx context.Context, b *box) error {
			client, err := identity.Load(ctx, b.store)
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), examine(b, client))
		})
		if errors.Is(err, fs.ErrNotExist) {
			return identity.ErrNone
		}
		return err
	})
}

// judges are the roots that the far side may be taken to trust: those of a
// host of one's own are its own.
func (b *box) judges() *x509.CertPool {
	if own, err := caPool("upstream.connector", b.settings.Upstream.Connector.Roots); err == nil && own != nil {
		return own
	}
	return publicRoots()
}

func examine(b *box, client identity.Client) certificate.Report {
	var domains []string
	for _, domain := range b.settings.AcceptedDomains() {
		domains = append(domains, string(domain))
	}
	protection := client.Key.Protection
	guard := certificate.Guard{Label: string(protection), Meaning: protection.Explain(), Level: certificate.OK}
	if protection == keyring.File {
		guard.Level = certificate.Note
	}
	return certificate.Examine(client.Chain, time.Now(), domains, b.judges(), guard)
}

// request is a PKCS#10 request as it is printed.
type request struct {
	PEM string `json:"pem"`
}

func (r request) String() string { return strings.TrimSpace(r.PEM) }

func requestCommand(o *options) *cobra.Command {
	var names []string
	var keyType string
	var replace bool
	c := leaf("request --name NAME", "Make a key in the TPM and print the request for its certificate", 0, func(c *cobra.Command, _ []string) error {
		if len(names) == 0 {
			return &usageError{errors.New("name the certificate's host with --name, such as relay.contoso.com")}
		}
		if !slices.Contains(keyTypes, hal.KeyType(keyType)) {
			return &usageError{fmt.Errorf("there is no key type %q: choose RSA-2048, RSA-3072, P-256 or P-384", keyType)}
		}
		return o.withBox(c, anyState, func(ctx context.Context, b *box) error {
			if replace {
				if err := identity.Abandon(ctx, b.store); err != nil {
					return err
				}
			}
			pem, err := identity.Request(ctx, b.store, b.tpm, hal.KeyType(keyType), names)
			if errors.Is(err, errors.ErrUnsupported) {
				return fmt.Errorf("%w: choose another type with --key, RSA-2048 and P-256 are held by every TPM", err)
			}
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), request{string(pem)})
		})
	})
	c.Flags().StringSliceVar(&names, "name", nil, "a `name` for the certificate; the first is its common name")
	c.Flags().StringVar(&keyType, "key", string(hal.RSA2048), "the key's `type`: RSA-2048, RSA-3072, P-256 or P-384")
	c.Flags().BoolVar(&replace, "replace", false, "give up a request that is pending, and its key")
	return c
}

// keyTypes are those that a TPM may be asked to make.
var keyTypes = []hal.KeyType{hal.RSA2048, hal.RSA3072, hal.ECDSAP256, hal.ECDSAP384}
