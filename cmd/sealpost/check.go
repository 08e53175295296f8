package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"sealpost/cmd/sealpost/internal/diagnose"
	"sealpost/cmd/sealpost/internal/operator"
	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/provisioning/certificate"
	api "sealpost/provisioning/operator"
	"sealpost/provisioning/preflight"
	"sealpost/provisioning/settings"
	"sealpost/relay/envelope"
	"sealpost/relay/upstream/dns"
	"sealpost/relay/upstream/reach"
)

func checkCommand(o *options) *cobra.Command {
	return leaf("check", "Check what would prevent delivery", 0, func(c *cobra.Command, _ []string) error {
		return o.withBox(c, wire.AnyState, func(_ context.Context, b *wire.Box) error {
			problems, err := o.printFindings(c, diagnose.Check(c.Context(), b), false)
			if err == nil && problems > 0 {
				if err = errors.New("1 problem prevents delivery"); problems > 1 {
					err = fmt.Errorf("%d problems prevent delivery", problems)
				}
			}
			return err
		})
	})
}

// printFindings prints findings and counts the problems. With toFirst it stops at
// the first problem, after which the findings mean nothing.
func (o *options) printFindings(c *cobra.Command, findings iter.Seq[preflight.Finding], toFirst bool) (problems int, err error) {
	for finding := range findings {
		if !o.json {
			finding = finding.WithCure(cures)
		}
		if err := o.printLine(c.OutOrStdout(), finding); err != nil {
			return problems, err
		}
		if finding.Level != certificate.Problem {
			continue
		}
		problems++
		if toFirst {
			return problems, fmt.Errorf("the first step that fails is %q", finding.Name)
		}
	}
	return problems, nil
}

func verifyCommand(o *options) *cobra.Command {
	var to string
	var wait bool
	c := leaf("verify", "Check each step to the mailbox, and name the first that fails", 0, func(c *cobra.Command, _ []string) error {
		var recipient settings.Address
		if err := recipient.UnmarshalText([]byte(to)); err != nil {
			return &usageError{fmt.Errorf("--to: %w", err)}
		}
		return o.withBox(c, wire.AnyState, func(_ context.Context, b *wire.Box) error {
			if wait {
				diagnose.AwaitRights(c.Context(), b, func(refusal preflight.Finding) {
					fmt.Fprintf(c.ErrOrStderr(), "%s not yet: %s\n", time.Now().Format(time.TimeOnly), refusal.Text)
				})
			}
			_, err := o.printFindings(c, diagnose.Verify(c.Context(), b, envelope.Address(recipient)), true)
			return err
		})
	})
	c.Flags().StringVar(&to, "to", "", "also send a test message to this `address`")
	c.Flags().BoolVar(&wait, "wait", false, "wait until the rights of the application are in effect, up to two hours, without sending anything")
	return c
}

func probeCommand(o *options) *cobra.Command {
	var domain, host, caFile string
	var port int
	c := leaf("probe --domain DOMAIN", "Check which delivery methods work from this network", 0, func(c *cobra.Command, _ []string) error {
		if domain == "" && host == "" {
			return &usageError{errors.New("name an accepted domain with --domain, or the tenant's host with --host")}
		}
		roots, err := wire.CAPool("upstream.connector", settings.Roots{CAFile: caFile})
		if err != nil {
			return err
		}
		found, err := diagnose.Probe(c.Context(), domain, reach.Host{Name: host, Port: port, Roots: roots, Resolver: dns.New(nil).ForDialer()})
		if err != nil {
			return err
		}
		return o.printLine(c.OutOrStdout(), operator.ProbeResult{ProbeResult: found})
	})
	c.Flags().StringVar(&domain, "domain", "", "an accepted `domain`, whose MX is the tenant's host")
	c.Flags().StringVar(&host, "host", "", "the tenant's `host`, instead of the MX")
	c.Flags().IntVar(&port, "port", 25, "its `port`")
	c.Flags().StringVar(&caFile, "ca-file", "", "a PEM `file` of roots to trust instead of the public ones")
	return c
}

func sendTestCommand(o *options) *cobra.Command {
	var to string
	c := leaf("send-test --to ADDRESS", "Send a test message through the running relay, and trace it", 0, func(c *cobra.Command, _ []string) error {
		var recipient settings.Address
		if to == "" {
			return &usageError{errors.New("name the recipient with --to, such as --to alerts@msp.example")}
		}
		if err := recipient.UnmarshalText([]byte(to)); err != nil {
			return &usageError{fmt.Errorf("--to: %w", err)}
		}
		s, err := o.Settings()
		if err != nil {
			return err
		}
		return diagnose.SendTest(c.Context(), s, envelope.Address(recipient), func(s api.Step) error { return o.printLine(c.OutOrStdout(), s) })
	})
	c.Flags().StringVar(&to, "to", "", "the `address` of the recipient")
	return c
}
