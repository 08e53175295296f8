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

// maxReply limits one value of a response, in bytes: PID 1 calls the relay too,
// and a compromised relay must not exhaust its memory.
const maxReply = 4 << 20

// ErrNoRelay is wrapped by the error of a call that gets no response.
var ErrNoRelay = fault.New(fault.NoRelay, "no relay answers")

// Call is the name of a call, with the types of its request and its response. Both are encoded as JSON.
type Call[Request, Response any] string

// Do makes the call on the socket.
func (c Call[Request, Response]) Do(ctx context.Context, socket string, request Request) (response Response, err error) {
	for value, err := range c.Stream(ctx, socket, request) {
		return value, err
	}
	return response, fmt.Errorf("reading the response to %s: %w", c, io.ErrUnexpectedEOF)
}

// Stream makes a call that returns many values. The last value is an error if
// the response was cut off.
func (c Call[Request, Response]) Stream(ctx context.Context, socket string, request Request) iter.Seq2[Response, error] {
	return func(yield func(Response, error) bool) {
		var value Response
		err := exchange(ctx, socket, string(c), request, func(decode func(any) error) (more bool, err error) {
			value = *new(Response)
			if err := decode(&value); err != nil {
				return false, err
			}
			return yield(value, nil), nil
		})
		if err != nil {
			yield(*new(Response), err)
		}
	}
}

// exchange sends a request and calls next for each value of the response, until
// there are no more or next returns false.
func exchange(ctx context.Context, socket, call string, request any, next func(decode func(any) error) (more bool, err error)) error {
	body, err := post(ctx, socket, call, request)
	if err != nil {
		return err
	}
	defer body.Close()
	limited := &io.LimitedReader{R: body}
	for decoder, more := json.NewDecoder(limited), true; more; {
		limited.N = maxReply
		if more, err = next(decoder.Decode); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading the response to %s: %w", call, err)
		}
	}
	return nil
}

// Query selects journal events and their format.
type Query struct {
	Follow       bool `json:"follow,omitempty"`       // continue with new events
	Conversation bool `json:"conversation,omitempty"` // include the SMTP dialogue
	JSON         bool `json:"json,omitempty"`         // one object per line
}

// ReadJournal returns the journal events of the process on the socket, one per
// line. The caller closes the stream.
func ReadJournal(ctx context.Context, socket string, query Query) (io.ReadCloser, error) {
	return post(ctx, socket, pathJournal, query)
}

// post sends a request and returns the body of the response.
func post(ctx context.Context, socket, path string, request any) (io.ReadCloser, error) {
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
		cause := errors.Unwrap(err)
		if op, ok := errors.AsType[*net.OpError](err); ok {
			cause = op.Err // without the path, which the text contains already
		}
		return nil, fmt.Errorf("%w (on %s: %w)", ErrNoRelay, socket, cause)
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer response.Body.Close()
	const maxError = 64 << 10
	encoded, _ := io.ReadAll(io.LimitReader(response.Body, maxError))
	if err := fault.Decode(encoded); err != nil {
		return nil, err
	}
	return nil, errors.New(response.Status)
}
