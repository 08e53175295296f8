package esmtp

import (
	"context"
	"io"

	"sealpost/relay/envelope"
	"sealpost/relay/header"
	"sealpost/relay/mime"
)

// Recode returns a message as the server can take it: in seven bits if it does not offer
// 8BITMIME (RFC 6152 section 3), and in lines of at most 998 octets. A message that it can
// take is returned as it is, and so is one that cannot be changed, because it is signed, or
// that was not read before ctx ended.
func (c *Client) Recode(ctx context.Context, e envelope.Envelope, content envelope.Content) (envelope.Envelope, envelope.Content) {
	sevenBit := e.EightBit && !c.Offers("8BITMIME")
	if !sevenBit && !e.LongLines {
		return e, content
	}
	content = mime.Recode(Inspected(ctx, content), sevenBit)
	e.Size = content.Size()
	return e, content
}

// Inspected returns content whose inspection, as opposed to sending, ends with ctx.
func Inspected(ctx context.Context, content envelope.Content) envelope.Content {
	return inspected{content, ctx}
}

// inspected is content whose inspection ends with a context: reading a large message from
// flash takes seconds.
type inspected struct {
	envelope.Content
	ctx context.Context
}

// Inspect returns a reader of the content for another purpose than sending.
func (i inspected) Inspect() io.Reader {
	return contextReader{i.ctx, header.Inspect(i.Content)}
}

type contextReader struct {
	ctx context.Context
	io.Reader
}

// Read implements io.Reader.
func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
