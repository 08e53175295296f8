package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"sealpost/cmd/sealpost/internal/terminal"
	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/user"
)

func userCommand(o *options) *cobra.Command {
	c := group("user", "The users as whom devices log in")
	c.AddCommand(addUserCommand(o),
		leaf("list", "List the users, and what they are bound to", 0, func(c *cobra.Command, _ []string) error {
			return o.withBox(c, wire.ExistingState, func(ctx context.Context, b *wire.Box) error { return o.printUsers(ctx, c, b) })
		}),
		leaf("remove NAME", "Remove a user", 1, func(c *cobra.Command, args []string) error {
			change := user.Change{User: user.User{Name: args[0]}, Remove: true}
			return o.commit(c, wire.ExistingState, candidate.Candidate{Users: []user.Change{change}}, stored{"the users without " + args[0]})
		}))
	return c
}

func addUserCommand(o *options) *cobra.Command {
	var file string
	var clients, senders, recipients []string
	var change user.Change
	c := leaf("add NAME", "Add a user, and ask for its password", 1, func(c *cobra.Command, args []string) error {
		bound, err := user.Parse(args[0], clients, senders, recipients)
		if err != nil {
			return err
		}
		bound.CRAMMD5 = change.CRAMMD5
		password, err := terminal.NewPassword(c, "Password of the user", file)
		if err != nil {
			return err
		}
		change.User, change.Password = bound, user.Password(password)
		if err := user.Check([]user.Change{change}); err != nil {
			return err
		}
		return o.commit(c, wire.AnyState, candidate.Candidate{Users: []user.Change{change}}, stored{"the user " + bound.String()})
	})
	c.Flags().StringVar(&file, "password-file", "", "a `file` whose first line is the password; without it the password is asked for")
	c.Flags().BoolVar(&change.CRAMMD5, "cram-md5", false, "store the password itself, sealed, for devices that know only CRAM-MD5")
	c.Flags().BoolVar(&change.Replace, "replace", false, "replace the user of this name")
	c.Flags().StringSliceVar(&clients, "client", nil, "an address or `network` that the user may log in from; several are allowed")
	c.Flags().StringSliceVar(&senders, "sender", nil, "an `address` or @domain that the user may send as; several are allowed")
	c.Flags().StringSliceVar(&recipients, "recipient", nil, "an `address` or @domain that the user may send to; several are allowed")
	return c
}

func (o *options) printUsers(ctx context.Context, c *cobra.Command, b *wire.Box) error {
	users, err := user.Load(ctx, b.Store)
	if err != nil {
		return err
	}
	for _, u := range users {
		if err := o.printLine(c.OutOrStdout(), u); err != nil {
			return err
		}
	}
	if len(users) == 0 && !o.json {
		_, err = fmt.Fprintln(c.OutOrStdout(), "no users: nobody can log in")
	}
	return err
}
