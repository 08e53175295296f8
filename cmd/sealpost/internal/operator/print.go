package operator

import (
	"fmt"
	"strings"
	"time"

	"sealpost/provisioning/preflight"
	"sealpost/relay/control"
	"sealpost/relay/queue"
	"sealpost/relay/spool"
)

// Row returns a message as a row of a table.
func Row(item queue.Item, now time.Time) string {
	to, next, last := "", "due", item.Last
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
	const maxLength = 70
	if len(last) > maxLength {
		last = strings.ToValidUTF8(last[:maxLength], "") + "…"
	}
	return fmt.Sprintf("%s\t%s\t%d\t%s\t%s\t%d\t%s\t%s", item.ID, now.Sub(item.Received).Round(time.Second), item.Octets,
		item.Sender.Path(), to, item.Attempts, next, last)
}

// ProbeResult prints which delivery methods work.
type ProbeResult struct{ preflight.ProbeResult }

func (r ProbeResult) String() string {
	return fmt.Sprintf("host      %s\n%-9s %s\nTLS       %s\nport 587  %s\nadvice    %s",
		r.Host, r.PortName(), r.Port25.Text, r.STARTTLS.Text, r.Port587.Text, r.Advice)
}

// onlyBy says why a message waits for one route.
func onlyBy(route string) string {
	return "only by " + route + ": its server may have the message, because it did not reply to it"
}

// Done prints what a call changed.
type Done struct{ control.Done }

func (d Done) String() string {
	return strings.TrimPrefix(strings.TrimSuffix(d.ID+": "+d.Done.Done+" (recipients: "+strings.Join(d.To, ", ")+")", " (recipients: )"), ": ")
}

// Message prints a message.
type Message struct{ control.Message }

func (s Message) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  number %d, %d octets, from %s, received %s\n", s.ID, s.Number, s.Octets, s.Client, s.Received.Local().Format(time.DateTime))
	fmt.Fprintf(&b, "sender      %s\n", s.Sender.Path())
	for _, r := range s.Recipients {
		fmt.Fprintf(&b, "pending     %s\n", r.Path())
	}
	for _, r := range s.Settled {
		fmt.Fprintf(&b, "finished    %s\n", r.Path())
	}
	for _, r := range s.Failed {
		fmt.Fprintf(&b, "given up    %s\n", r.Path())
	}
	fmt.Fprintf(&b, "attempts    %d\n", s.Attempts)
	if s.Last != "" {
		fmt.Fprintf(&b, "last reply  %s\n", s.Last)
	}
	if s.Route != "" {
		fmt.Fprintf(&b, "route       %s\n", onlyBy(s.Route))
	}
	if !s.Next.IsZero() {
		fmt.Fprintf(&b, "next        %s\n", s.Next.Local().Format(time.DateTime))
	}
	if s.Damage != "" {
		fmt.Fprintf(&b, "damaged     %s\n", s.Damage)
	}
	b.WriteString("\n" + s.Header)
	return b.String()
}

// SpoolStat prints the usage of the spool.
type SpoolStat struct{ spool.Stat }

func (s SpoolStat) String() string {
	return fmt.Sprintf("%s from %s, %d octets, %d damaged\nring of %d bytes in %d segments, %d of them free\nroom for %d octets more",
		Count(s.Messages, "message"), Count(s.Clients, "client"), s.Bytes, s.Damaged, s.Size, s.Segments, s.Free, s.Room)
}

// SpoolVerification prints the result of reading the whole spool.
type SpoolVerification struct{ control.Verification }

func (v SpoolVerification) String() string {
	if len(v.Damages) == 0 {
		return Count(v.Messages, "message") + ", none damaged"
	}
	return fmt.Sprintf("%s; damage:\n%s", Count(v.Messages, "message"), strings.Join(v.Damages, "\n"))
}
