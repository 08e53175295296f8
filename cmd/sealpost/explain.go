package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"sealpost/relay/control"
	"sealpost/relay/envelope"
)

func explainCommand(o *options) *cobra.Command {
	var (
		client, from string
		to, authors  []string
		q            control.Question
	)
	c := leaf("explain", "Say which settings decide on a message, and what would be sent, without sending it", 0, func(c *cobra.Command, _ []string) (err error) {
		if client == "" || len(to) == 0 {
			return &usageError{errors.New("sealpost explain needs --client and --to")}
		}
		if q.Client, err = netip.ParseAddr(client); err != nil {
			return &usageError{fmt.Errorf("--client %s is not an IP address", client)}
		}
		if from = strings.Trim(from, "<>"); from != "" {
			if q.From, err = envelope.ParseAddress(from); err != nil {
				return &usageError{fmt.Errorf("--from %s: %w", from, err)}
			}
		}
		if q.To, err = parseAddresses("--to", to); err != nil {
			return err
		}
		if q.Authors, err = parseAddresses("--author", authors); err != nil {
			return err
		}
		d, err := o.Explain(c.Context(), q)
		if err != nil {
			return err
		}
		return o.print(c.OutOrStdout(), d)
	})
	flags := c.Flags()
	flags.StringVar(&client, "client", "", "the device's IP address")
	flags.StringVar(&from, "from", "", "the sender that the device gives; none for mail without a sender")
	flags.StringArrayVar(&to, "to", nil, "a recipient; may be given several times")
	flags.StringArrayVar(&authors, "author", nil, "the address in the field From, if it is not the sender")
	flags.StringVar(&q.User, "user", "", "the user that the device logs in as")
	flags.BoolVar(&q.TLS, "tls", false, "the device uses TLS")
	return c
}

func parseAddresses(flag string, texts []string) (all []envelope.Address, err error) {
	for _, text := range texts {
		address, err := envelope.ParseAddress(strings.Trim(text, "<>"))
		if err != nil {
			return nil, &usageError{fmt.Errorf("%s %s: %w", flag, text, err)}
		}
		all = append(all, address)
	}
	return all, nil
}
