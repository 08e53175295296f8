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
	body, err := ask(ctx, socket, string(c), request)
	if err != nil {
		return answer, err
	}
	defer body.Close()
	if err := json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(&answer); err != nil {
		return answer, fmt.Errorf("reading the answer to %s: %w", c, err)
	}
	return answer, nil
}

// Stream has whoever answers on the socket carry out a call that gives many
// values. It ends with an error where the answer broke off.
func (c Call[Q, A]) Stream(ctx context.Context, socket string, request Q) iter.Seq2[A, error] {
	return func(yield func(A, error) bool) {
		var none A
		body, err := ask(ctx, socket, string(c), request)
		if err != nil {
			yield(none, err)
			return
		}
		defer body.Close()
		limited := &io.LimitedReader{R: body}
		for decoder := json.NewDecoder(limited); ; {
			limited.N = maxAnswer
			var value A
			err := decoder.Decode(&value)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				err = fmt.Errorf("reading the answer to %s: %w", c, err)
			}
			if !yield(value, err) || err != nil {
				return
			}
		}
	}
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
