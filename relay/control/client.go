package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"

	"sealpost/hal/fault"
)

// maxAnswer bounds one value of an answer, in bytes: PID 1 asks the relay too,
// and a relay that was taken over must not exhaust its memory.
const maxAnswer = 4 << 20

// ErrNoRelay is wrapped by the error of a call that nobody answers.
var ErrNoRelay = fault.New(fault.NoRelay, "no relay answers")

// Call is one kind of call: its name on the wire, the type of its request, and
// that of its answer. Both travel as JSON.
type Call[Q, A any] string

// Do has whoever answers on the socket carry out the call.
func (c Call[Q, A]) Do(ctx context.Context, socket string, request Q) (answer A, err error) {
	for value, err := range c.Stream(ctx, socket, request) {
		return value, err
	}
	return answer, fmt.Errorf("reading the answer to %s: %w", c, io.ErrUnexpectedEOF)
}

// Stream has whoever answers on the socket carry out a call that gives many
// values. It ends with an error where the answer broke off.
func (c Call[Q, A]) Stream(ctx context.Context, socket string, request Q) iter.Seq2[A, error] {
	return func(yield func(A, error) bool) {
		var value A
		err := exchange(ctx, socket, string(c), request, func(decode func(any) error) (more bool, err error) {
			value = *new(A)
			if err := decode(&value); err != nil {
				return false, err
			}
			return yield(value, nil), nil
		})
		if err != nil {
			yield(*new(A), err)
		}
	}
}

// exchange sends a request, and has each value of the answer decoded by next
// until there is none, or until next wants no more.
func exchange(ctx context.Context, socket, call string, request any, next func(decode func(any) error) (more bool, err error)) error {
	body, err := ask(ctx, socket, call, request)
	if err != nil {
		return err
	}
	defer body.Close()
	limited := &io.LimitedReader{R: body}
	for decoder, more := json.NewDecoder(limited), true; more; {
		limited.N = maxAnswer
		if more, err = next(decoder.Decode); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading the answer to %s: %w", call, err)
		}
	}
	return nil
}

// Query says which events are wanted, and how.
type Query struct {
	Follow       bool `json:"follow,omitempty"`       // go on with new events
	Conversation bool `json:"conversation,omitempty"` // with the SMTP dialogue
	JSON         bool `json:"json,omitempty"`         // one object a line
}

// ReadJournal gives the events of whoever answers on the socket, a line each.
// The caller closes the stream.
func ReadJournal(ctx context.Context, socket string, query Query) (io.ReadCloser, error) {
	return ask(ctx, socket, pathJournal, query)
}

// ask sends a request and gives the body of the answer.
func ask(ctx context.Context, socket, path string, request any) (io.ReadCloser, error) {
	text, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true,
	}}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://relay/"+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	response, err := client.Do(post)
	if err != nil {
		return nil, fmt.Errorf("%w (on %s: %w)", ErrNoRelay, socket, errors.Unwrap(err))
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer response.Body.Close()
	const most = 64 << 10
	words, _ := io.ReadAll(io.LimitReader(response.Body, most))
	if err := fault.Decode(words); err != nil {
		return nil, err
	}
	return nil, errors.New(response.Status)
}
