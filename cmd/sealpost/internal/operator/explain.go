package operator

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	api "sealpost/provisioning/operator"
	"sealpost/relay/control"
	"sealpost/relay/envelope"
)

// Question is a message that a device would send, as a person types it.
type Question api.Question

// Explain implements [api.Box].
func (l Local) Explain(ctx context.Context, q api.Question) (steps []api.Step, err error) {
	parsed, err := Question(q).Parse()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	d, err := l.relay().Explain(ctx, parsed)
	if err != nil {
		return nil, err
	}
	for _, step := range d.Steps {
		steps = append(steps, api.Step{Name: step.Part, Text: step.Text()})
	}
	return append(steps, api.Step{Name: "result", Text: d.Result()}), nil
}

// Parse reads the question for a relay.
func (q Question) Parse() (parsed control.Question, err error) {
	if q.Client == "" || len(q.To) == 0 {
		return parsed, errors.New("name the device's address and at least one recipient")
	}
	parsed.User, parsed.TLS = q.User, q.TLS
	if parsed.Client, err = netip.ParseAddr(q.Client); err != nil {
		return parsed, fmt.Errorf("%.50q is not an IP address: write it like 192.168.10.20", q.Client)
	}
	if from := strings.Trim(q.From, "<> "); from != "" {
		if parsed.From, err = envelope.ParseAddress(from); err != nil {
			return parsed, fmt.Errorf("the sender %.100q is not a mail address: write it like printer@contoso.com", from)
		}
	}
	if parsed.To, err = parseAddresses("the recipient", q.To); err != nil {
		return parsed, err
	}
	if parsed.Authors, err = parseAddresses("the author", q.Authors); len(q.Authors) == 0 && parsed.From != "" {
		parsed.Authors = []envelope.Address{parsed.From} // devices write the same in both places
	}
	return parsed, err
}

func parseAddresses(what string, texts []string) (all []envelope.Address, err error) {
	for _, text := range texts {
		address, err := envelope.ParseAddress(strings.Trim(text, "<> "))
		if err != nil {
			return nil, fmt.Errorf("%s %.100q is not a mail address: write it like printer@contoso.com", what, text)
		}
		all = append(all, address)
	}
	return all, nil
}
