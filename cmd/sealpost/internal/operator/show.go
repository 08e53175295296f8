package operator

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sealpost/cmd/sealpost/internal/diagnose"
	"sealpost/cmd/sealpost/internal/machine"
	"sealpost/hal/fault"
	api "sealpost/provisioning/operator"
	"sealpost/relay/control"
	"sealpost/relay/dispatch"
	"sealpost/relay/journal"
	"sealpost/relay/queue"
)

// journalTimeout is how long reading a journal may take.
const journalTimeout = 30 * time.Second

// Messages implements [api.Box].
func (l Local) Messages(ctx context.Context) ([]string, error) {
	const maxLines = 30
	ctx, cancel := context.WithTimeout(ctx, journalTimeout)
	defer cancel()
	stream, err := control.ReadJournal(ctx, l.Options.Control, control.Query{JSON: true})
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	var lines []string
	for event, err := range journal.Read(stream) {
		if err != nil {
			return lines, err
		}
		if s, _ := diagnose.StepOf(event); s.Name != "" && event.ID != "" {
			lines = append(lines, fmt.Sprintf("%s %s %s: %s", event.Time.UTC().Format(time.TimeOnly), event.ID, s.Name, s.Text))
			lines = lines[max(0, len(lines)-maxLines):]
		}
	}
	return lines, nil
}

// Logs implements [api.Box]: the last lines of PID 1 and of the relay.
func (l Local) Logs(ctx context.Context) ([]string, error) {
	pid1, pid1Err := lastLines(ctx, machine.Socket)
	relay, err := lastLines(ctx, l.Options.Control)
	if pid1Err != nil && err != nil {
		return nil, err
	}
	return byTime(append(pid1, relay...)), nil
}

// byTime sorts lines of journals by their first field, the time.
func byTime(lines []string) []string {
	slices.SortStableFunc(lines, func(a, b string) int {
		first, _, _ := strings.Cut(a, " ")
		second, _, _ := strings.Cut(b, " ")
		return strings.Compare(first, second)
	})
	return lines
}

// lastLines returns the last lines of a journal.
func lastLines(ctx context.Context, socket string) ([]string, error) {
	const maxLines, maxLength = 40, 64 << 10
	ctx, cancel := context.WithTimeout(ctx, journalTimeout)
	defer cancel()
	stream, err := control.ReadJournal(ctx, socket, control.Query{})
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	var lines []string
	scanner := bufio.NewScanner(stream)
	for scanner.Buffer(nil, maxLength); scanner.Scan(); {
		lines = append(lines, scanner.Text())
		lines = lines[max(0, len(lines)-maxLines):]
	}
	return lines, scanner.Err()
}

// Queue implements [api.Box]: it lists the oldest messages.
func (l Local) Queue(ctx context.Context) (q api.Queue, err error) {
	const maxItems = 50
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	status, err := l.relay().Status(ctx)
	if err != nil {
		return q, err
	}
	count := 0
	for item, err := range l.relay().Messages(ctx) {
		if err != nil {
			return q, err
		}
		if count++; count <= maxItems {
			q.Items = append(q.Items, api.Item{ID: item.ID, Text: describe(item)})
		}
	}
	q.Summary, q.Codes = Summary(status, count)
	return q, nil
}

func describe(item queue.Item) string {
	var to []string
	for _, recipient := range item.Recipients[:min(1, len(item.Recipients))] {
		to = append(to, recipient.Path())
	}
	if more := len(item.Recipients) - 1; more > 0 {
		to = append(to, fmt.Sprintf("%d more", more))
	}
	text := fmt.Sprintf("%s, from %s to %s, %d octets, %d attempts", item.ID, item.Sender.Path(), strings.Join(to, " and "), item.Octets, item.Attempts)
	switch {
	case item.Damage != "":
		text += "\ndamaged: " + item.Damage
	case item.Last != "":
		text += "\n" + item.Last
	}
	if item.Route != "" {
		text += "\n" + onlyBy(item.Route)
	}
	return text
}

// Summary says how many messages are queued and why, with the codes of the faults.
func Summary(s dispatch.Status, count int) (text string, codes []fault.Code) {
	text = Count(count, "message") + " queued"
	switch {
	case s.Spool != "":
		text = "mail cannot be queued: " + s.Spool
	case s.Held == "stopped":
		text += "; " + s.Reason
	case s.Held != "" && len(s.Routes) == 0:
		text += "; held since " + holdText(s.HoldStatus)
	}
	add := func(code fault.Code) {
		if code != "" && !slices.Contains(codes, code) {
			codes = append(codes, code)
		}
	}
	add(s.SpoolCode)
	add(s.Code)
	accounts := func(route string, held []dispatch.HoldStatus) {
		for _, a := range held {
			text += fmt.Sprintf("; the mail of %s is held%s since %s", a.Account, route, holdText(a))
			add(a.Code)
		}
	}
	if len(s.Routes) == 0 {
		accounts("", s.Accounts)
	}
	for _, r := range s.Routes {
		if r.Held != "" {
			text += fmt.Sprintf("; %s is held since %s", r.Name, holdText(r.HoldStatus))
			add(r.Code)
		}
		accounts(" by "+r.Name, r.Accounts)
	}
	if route := s.Substitute(); route != "" {
		text += "; mail leaves by " + route
	}
	return text, codes
}

func holdText(h dispatch.HoldStatus) string {
	text := h.Since.Local().Format(time.TimeOnly) + ": " + h.Reason
	if !h.Next.IsZero() {
		text += "; next attempt at " + h.Next.Local().Format(time.TimeOnly)
	}
	return text
}
