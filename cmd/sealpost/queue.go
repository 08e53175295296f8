package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sealpost/cmd/sealpost/internal/operator"
	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/relay/control"
	"sealpost/relay/server"
)

func queueCommand(o *options) *cobra.Command {
	c := group("queue", "The queued mail")
	c.AddCommand(
		leaf("list", "List the queued messages, and why they are queued", 0, func(c *cobra.Command, _ []string) error {
			return o.withRelay(c, func(ctx context.Context, r control.Relay) error {
				return operator.PrintQueue(ctx, c.OutOrStdout(), r, o.json, cures)
			})
		}),
		leaf("show ID", "Show a message: its envelope, the last reply and its header", 1, func(c *cobra.Command, args []string) error {
			return ask(o, c, func(ctx context.Context, r control.Relay) (operator.Message, error) {
				m, err := r.Show(ctx, args[0])
				return operator.Message{Message: m}, err
			})
		}),
		retryCommand(o), dropCommand(o))
	return c
}

func retryCommand(o *options) *cobra.Command {
	return &cobra.Command{Use: "retry [ID]", Short: "Retry a message now, or all of them", RunE: func(c *cobra.Command, args []string) error {
		if len(args) > 1 || slices.Contains(args, "") {
			return &usageError{errors.New("sealpost queue retry takes one ID, or none to retry all messages")}
		}
		return ask(o, c, func(ctx context.Context, r control.Relay) (operator.Done, error) {
			d, err := r.Retry(ctx, strings.Join(args, ""))
			return operator.Done{Done: d}, err
		})
	}}
}

func dropCommand(o *options) *cobra.Command {
	var sure bool
	c := leaf("drop ID --yes", "Delete a message without notifying its sender", 1, func(c *cobra.Command, args []string) error {
		if !sure {
			return &usageError{errors.New("this permanently deletes the message: add --yes to confirm")}
		}
		return ask(o, c, func(ctx context.Context, r control.Relay) (operator.Done, error) {
			d, err := r.Drop(ctx, args[0])
			return operator.Done{Done: d}, err
		})
	})
	c.Flags().BoolVar(&sure, "yes", false, "confirm the deletion")
	return c
}

// ask gets a value from the relay and prints it.
func ask[T fmt.Stringer](o *options, c *cobra.Command, get func(context.Context, control.Relay) (T, error)) error {
	return o.withRelay(c, func(ctx context.Context, r control.Relay) error {
		value, err := get(ctx, r)
		if err != nil {
			return err
		}
		return o.print(c.OutOrStdout(), value)
	})
}

// withRelay calls do with the running relay, or with the state of one
// that is not running.
func (o *options) withRelay(c *cobra.Command, do func(context.Context, control.Relay) error) error {
	s, err := o.Settings()
	if err != nil {
		return err
	}
	ctx, stop := untilStopped(c.Context())
	defer stop()
	client := control.Client{Socket: s.ControlSocket()}
	if _, err := client.Status(ctx); !errors.Is(err, control.ErrNoRelay) {
		return do(ctx, client)
	}
	b, err := o.Open(wire.ExistingState)
	if err != nil {
		return err
	}
	storage, err := b.OpenSpool(ctx)
	if err != nil {
		return errors.Join(err, b.Close())
	}
	return errors.Join(do(ctx, server.Offline{Storage: storage}), storage.Close(), b.Close())
}
