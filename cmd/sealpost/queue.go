package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sealpost/relay/control"
	"sealpost/relay/dispatch"
	"sealpost/relay/queue"
)

func queueCommand(o *options) *cobra.Command {
	c := group("queue", "The mail that is kept until the tenant takes it")
	c.AddCommand(
		leaf("list", "Show what is kept, and why", 0, func(c *cobra.Command, _ []string) error {
			return o.call(c, "queue/list", "", o.printQueue)
		}),
		leaf("show ID", "Show one message: its envelope, what was said about it, its header", 1, func(c *cobra.Command, args []string) error {
			return o.call(c, "queue/show", args[0], printAs[shown](o))
		}),
		retryCommand(o), dropCommand(o))
	return c
}

func retryCommand(o *options) *cobra.Command {
	return &cobra.Command{Use: "retry [ID]", Short: "Try a message now, or all of them", RunE: func(c *cobra.Command, args []string) error {
		if len(args) > 1 {
			return &usageError{errors.New("retry takes one ID, or none for all")}
		}
		return o.call(c, "queue/retry", strings.Join(args, ""), printAs[done](o))
	}}
}

func dropCommand(o *options) *cobra.Command {
	var sure bool
	c := leaf("drop ID --yes", "Throw a message away; nobody is told", 1, func(c *cobra.Command, args []string) error {
		if !sure {
			return &usageError{errors.New("this throws the message away for good: say --yes if you mean it")}
		}
		return o.call(c, "queue/drop", args[0], printAs[done](o))
	})
	c.Flags().BoolVar(&sure, "yes", false, "yes, throw it away")
	return c
}

// call has the running relay do something, or does it here where none runs,
// and prints what came of it.
func (o *options) call(c *cobra.Command, name, id string, print func(c *cobra.Command, answer io.Reader) error) error {
	s, err := readSettings(o)
	if err != nil {
		return err
	}
	ctx, stop := untilStopped(c.Context())
	defer stop()
	arguments := url.Values{"id": {id}}
	answer, err := control.Do(ctx, s.ControlSocket(), name, arguments)
	if errors.Is(err, control.ErrNoRelay) {
		answer, err = o.callHere(ctx, name, arguments)
	}
	if err != nil {
		return err
	}
	defer answer.Close()
	return print(c, answer)
}

// callHere carries out a call on a state that no relay uses.
func (o *options) callHere(ctx context.Context, name string, arguments url.Values) (io.ReadCloser, error) {
	b, err := openBox(o, existingState)
	if err != nil {
		return nil, err
	}
	storage, err := b.openSpool(ctx)
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	var answer bytes.Buffer
	err = calls(offline{storage})[name](ctx, arguments, &answer)
	return io.NopCloser(&answer), errors.Join(err, storage.close(), b.close())
}

// printAs prints an answer of one value.
func printAs[T fmt.Stringer](o *options) func(*cobra.Command, io.Reader) error {
	return func(c *cobra.Command, answer io.Reader) error {
		var value T
		if err := json.NewDecoder(answer).Decode(&value); err != nil {
			return fmt.Errorf("reading the relay's answer: %w", err)
		}
		return o.print(c.OutOrStdout(), value)
	}
}

// printQueue prints a status and then a message a line.
func (o *options) printQueue(c *cobra.Command, answer io.Reader) error {
	if o.json {
		_, err := io.Copy(c.OutOrStdout(), answer)
		return err
	}
	decoder := json.NewDecoder(answer)
	var status dispatch.Status
	if err := decoder.Decode(&status); err != nil {
		return fmt.Errorf("reading the relay's answer: %w", err)
	}
	table := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	count := 0
	for ; ; count++ {
		var item queue.Item
		err := decoder.Decode(&item)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("reading the relay's answer: %w", err)
		}
		if count == 0 {
			fmt.Fprintln(table, "ID\tAGE\tOCTETS\tFROM\tTO\tTRIES\tNEXT\tLAST")
		}
		fmt.Fprintln(table, row(item, time.Now()))
	}
	fmt.Fprintf(table, "%s\n", summary(status, count))
	return table.Flush()
}

func row(item queue.Item, now time.Time) string {
	to, next, last := "", "its turn", item.Last
	if len(item.Recipients) > 0 {
		to = string(item.Recipients[0])
	}
	if more := len(item.Recipients) - 1; more > 0 {
		to += fmt.Sprintf(" +%d", more)
	}
	if item.Next.After(now) {
		next = item.Next.Local().Format(time.TimeOnly)
	}
	if item.Damage != "" {
		next, last = "never", "damaged: "+item.Damage
	}
	const most = 70
	if len(last) > most {
		last = strings.ToValidUTF8(last[:most], "") + "…"
	}
	return fmt.Sprintf("%s\t%s\t%d\t%s\t%s\t%d\t%s\t%s", item.ID, now.Sub(item.Received).Round(time.Second), item.Octets,
		item.Sender.Path(), to, item.Attempts, next, last)
}

func summary(s dispatch.Status, count int) string {
	text := fmt.Sprintf("%d kept", count)
	if count == 1 {
		text = "1 message kept"
	} else if count == 0 {
		text = "nothing is kept"
	}
	switch {
	case s.Spool != "":
		text = "mail cannot be kept: " + s.Spool
	case s.Held == "stopped":
		text += "; " + s.Reason
	case s.Held != "":
		text += "; held since " + heldWords(s.HoldStatus)
	}
	for _, own := range s.Accounts {
		text += fmt.Sprintf("; the mail of %s is held since %s", own.Account, heldWords(own))
	}
	return text
}

func heldWords(h dispatch.HoldStatus) string {
	return fmt.Sprintf("%s: %s; asked again at %s", h.Since.Local().Format(time.TimeOnly), h.Reason, h.Next.Local().Format(time.TimeOnly))
}

func (d done) String() string {
	return strings.TrimPrefix(strings.TrimSuffix(d.ID+": "+d.Done+" (it was for "+strings.Join(d.To, ", ")+")", " (it was for )"), ": ")
}

func (s shown) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  number %d, %d octets, from %s, received %s\n", s.ID, s.Number, s.Octets, s.Client, s.Received.Local().Format(time.DateTime))
	fmt.Fprintf(&b, "sender      %s\n", s.Sender.Path())
	for _, r := range s.Recipients {
		fmt.Fprintf(&b, "owed to     %s\n", r.Path())
	}
	for _, r := range s.Settled {
		fmt.Fprintf(&b, "settled     %s\n", r.Path())
	}
	fmt.Fprintf(&b, "tries       %d\n", s.Attempts)
	if s.Last != "" {
		fmt.Fprintf(&b, "last words  %s\n", s.Last)
	}
	if !s.Next.IsZero() {
		fmt.Fprintf(&b, "next try    %s\n", s.Next.Local().Format(time.DateTime))
	}
	if s.Damage != "" {
		fmt.Fprintf(&b, "damaged     %s\n", s.Damage)
	}
	b.WriteString("\n" + s.Header)
	return b.String()
}

// header is a message's header section, made harmless for a terminal.
func header(text []byte) string {
	head, _, _ := bytes.Cut(text, []byte("\r\n\r\n"))
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(string(head), "?"))
}
