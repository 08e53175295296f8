package main

import (
	"github.com/spf13/cobra"

	"sealpost/cmd/sealpost/internal/operator"
)

func explainCommand(o *options) *cobra.Command {
	var q operator.Question
	c := leaf("explain --client IP --from A --to B", "Say which settings decide on a message, and what would be sent, without sending it", 0, func(c *cobra.Command, _ []string) error {
		question, err := q.Parse()
		if err != nil {
			return &usageError{err}
		}
		d, err := o.Explain(c.Context(), question)
		if err != nil {
			return err
		}
		return o.print(c.OutOrStdout(), d)
	})
	flags := c.Flags()
	flags.StringVar(&q.Client, "client", "", "the device's IP `address`")
	flags.StringVar(&q.From, "from", "", "the `sender` that the device gives; none for mail without a sender")
	flags.StringArrayVar(&q.To, "to", nil, "a `recipient`; may be given several times")
	flags.StringArrayVar(&q.Authors, "author", nil, "the `address` in the field From, if it is not the sender; may be given several times")
	flags.StringVar(&q.User, "user", "", "the `user` that the device logs in as")
	flags.BoolVar(&q.TLS, "tls", false, "the device uses TLS")
	return c
}
