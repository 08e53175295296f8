package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sealpost/provisioning/spoolkey"
	"sealpost/relay/spool"
)

func spoolCommand(o *options) *cobra.Command {
	c := group("spool", "The ring on flash that holds the queue")
	c.AddCommand(
		leaf("stat", "Show how full it is", 0, func(c *cobra.Command, _ []string) error {
			return o.call(c, "spool/stat", "", printAs[stat](o))
		}),
		leaf("verify", "Read every message from beginning to end", 0, func(c *cobra.Command, _ []string) error {
			return o.call(c, "spool/verify", "", printAs[verified](o))
		}),
		leaf("dump", "Print the ring record by record, contents left out; beside a running relay its end may be cut short", 0,
			func(c *cobra.Command, _ []string) error { return dumpSpool(o, c) }),
		formatCommand(o))
	return c
}

// stat is the spool at a glance.
type stat struct{ spool.Stat }

func (s stat) String() string {
	return fmt.Sprintf("%d messages of %d clients, %d octets, %d damaged\nring of %d bytes in %d segments, %d of them free\nroom for %d octets more",
		s.Messages, s.Clients, s.Bytes, s.Damaged, s.Size, s.Segments, s.Free, s.Room)
}

// verified is what reading everything came to.
type verified struct {
	Messages int      `json:"messages"`
	Damages  []string `json:"damages"`
}

func (v verified) String() string {
	if len(v.Damages) == 0 {
		return fmt.Sprintf("%d messages, all of them whole", v.Messages)
	}
	return fmt.Sprintf("%d messages; damage:\n%s", v.Messages, strings.Join(v.Damages, "\n"))
}

func dumpSpool(o *options, c *cobra.Command) error {
	return o.withBox(c, existingState, func(ctx context.Context, b *box) error {
		ring, err := b.ring()
		if err != nil {
			return err
		}
		key, err := spoolkey.Open(ctx, b.store, b.sealer(), spool.KeySize)
		if err != nil {
			return err
		}
		defer clear(key)
		return spool.Dump(c.OutOrStdout(), ring, ring.Size(), key)
	})
}

// formatted is printed when the ring is empty again.
type formatted struct {
	State string `json:"state"`
}

func (f formatted) String() string { return f.State + ": the spool is empty, under a new key" }

func formatCommand(o *options) *cobra.Command {
	var sure bool
	c := leaf("format --yes", "Give up all kept mail and begin anew under a new key", 0, func(c *cobra.Command, _ []string) error {
		if !sure {
			return &usageError{errors.New("this throws all kept mail away for good: say --yes if you mean it")}
		}
		return o.withBox(c, existingState, func(ctx context.Context, b *box) error {
			if err := b.formatSpool(ctx); err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), formatted{b.settings.State.Path})
		})
	})
	c.Flags().BoolVar(&sure, "yes", false, "yes, throw it away")
	return c
}

// formatSpool throws the key away before it blanks the ring, so that nothing
// is ever written anew under a key that was in use: a power cut between the two
// leaves a spool that says that it has to be formatted.
func (b *box) formatSpool(ctx context.Context) error {
	key, err := spoolkey.Renew(ctx, b.store, b.sealer(), spool.KeySize)
	clear(key)
	if err != nil {
		return err
	}
	return b.blankSpool(ctx)
}

func (b *box) blankSpool(ctx context.Context) error {
	ring, unlock, err := b.lockedRing(ctx)
	if err != nil {
		return err
	}
	return errors.Join(spool.Erase(ring), unlock())
}
