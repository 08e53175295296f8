package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"sealpost/provisioning/console"
	"sealpost/relay/control"
	"sealpost/relay/dispatch"
	"sealpost/relay/queue"
)

// Messages puts the last events of messages into words.
func (b consoleBox) Messages(ctx context.Context) ([]string, error) {
	const most = 30
	return journalLines(ctx, b.options.control, most, control.Query{JSON: true}, func(line []byte) string {
		var event struct {
			Time time.Time
			passage
		}
		if json.Unmarshal(line, &event) != nil || !event.ofItself() {
			return ""
		}
		s, _ := event.step()
		if s.Step == "" {
			return ""
		}
		return fmt.Sprintf("%s %s %s: %s", event.Time.UTC().Format(time.TimeOnly), event.ID, s.Step, consoleWords.Replace(s.Words))
	})
}

// Logs gives the last lines of the machine and of the relay.
func (b consoleBox) Logs(ctx context.Context) ([]string, error) {
	const most = 40
	asItIs := func(line []byte) string { return string(line) }
	machine, unknown := journalLines(ctx, initSocket, most, control.Query{}, asItIs)
	relay, err := journalLines(ctx, b.options.control, most, control.Query{}, asItIs)
	if unknown != nil && err != nil {
		return nil, err
	}
	return append(machine, relay...), nil
}

// journalLines gives the last lines of a journal that are anything in words.
func journalLines(ctx context.Context, socket string, most int, query control.Query, words func([]byte) string) ([]string, error) {
	const patience, longest = 30 * time.Second, 64 << 10
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	stream, err := control.ReadJournal(ctx, socket, query)
	if err != nil {
		return nil, inConsoleWords(err)
	}
	defer stream.Close()
	var lines []string
	scanner := bufio.NewScanner(stream)
	for scanner.Buffer(nil, longest); scanner.Scan(); {
		if line := words(scanner.Bytes()); line != "" {
			lines = append(lines, line)
		}
		lines = lines[max(0, len(lines)-most):]
	}
	return lines, scanner.Err()
}

// Queue lists the messages that came first.
func (b consoleBox) Queue(ctx context.Context) (q console.Queue, err error) {
	const most = 50
	err = b.atRelay(ctx, "queue/list", "", func(answer *json.Decoder) error {
		var status dispatch.Status
		if err := answer.Decode(&status); err != nil {
			return fmt.Errorf("reading the relay's answer: %w", err)
		}
		count := 0
		for ; ; count++ {
			var item queue.Item
			err := answer.Decode(&item)
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				break
			}
			if err != nil {
				return fmt.Errorf("reading the relay's answer: %w", err)
			}
			if count < most {
				q.Items = append(q.Items, console.Item{ID: item.ID, Words: describeItem(item)})
			}
		}
		q.Words = consoleWords.Replace(summary(status, count))
		return nil
	})
	return q, err
}

func describeItem(item queue.Item) string {
	var to []string
	for _, recipient := range item.Recipients[:min(1, len(item.Recipients))] {
		to = append(to, recipient.Path())
	}
	if more := len(item.Recipients) - 1; more > 0 {
		to = append(to, fmt.Sprintf("%d more", more))
	}
	words := fmt.Sprintf("%s, from %s to %s, %d octets, tried %d times", item.ID, item.Sender.Path(), strings.Join(to, " and "), item.Octets, item.Attempts)
	switch {
	case item.Damage != "":
		words += "\ndamaged: " + item.Damage
	case item.Last != "":
		words += "\n" + item.Last
	}
	return words
}
