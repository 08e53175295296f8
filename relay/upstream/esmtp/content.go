package esmtp

import (
	"sealpost/relay/envelope"
	"sealpost/relay/mime"
)

// Recode returns a message as the server can take it: in seven bits if it does not offer
// 8BITMIME (RFC 6152 section 3), and in lines of at most 998 octets. A message that it can
// take is returned as it is, and so is one that cannot be changed, because it is signed.
func (c *Client) Recode(e envelope.Envelope, content envelope.Content) (envelope.Envelope, envelope.Content) {
	sevenBit := e.EightBit && !c.Offers("8BITMIME")
	if !sevenBit && !e.LongLines {
		return e, content
	}
	content = mime.Recode(content, sevenBit)
	e.Size = content.Size()
	return e, content
}
