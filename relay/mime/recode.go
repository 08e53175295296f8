// Package mime rewrites the transfer encodings of a message's body for a next hop that
// takes only short lines, or only seven bits (RFC 2045 section 6, RFC 6152 section 3).
//
// It knows the structure of MIME messages and their encodings. The decoded content of
// every part stays the same, octet for octet. It must not know servers, envelopes, or who
// sends.
package mime

import (
	"io"

	"sealpost/relay/header"
)

// Content is a message with CRLF line endings that can be read more than once.
type Content interface {
	Open() io.Reader
	Size() int64
}

// maxLine is the number of octets of the longest line that every server accepts, without
// its CRLF (RFC 5321 section 4.5.3.1.6).
const maxLine = 998

// Limits of what is recoded. What exceeds one stays as it is.
const (
	maxDepth  = 20       // multiparts and messages inside one another
	maxParts  = 10000    // of one message
	maxHeader = 64 << 10 // octets of one part's header
)

// Recode returns the message with body lines of at most 998 octets, and if sevenBit is set
// without octets above 127: text becomes quoted-printable and other content base64, and
// parts in these encodings get shorter lines. It returns content itself if that needs no
// change or cannot be read.
//
// It leaves a part as it is that is signed or encrypted (RFC 1847, RFC 8551), because a
// change would make the signature invalid, and one whose encoding is unknown.
func Recode(content Content, sevenBit bool) Content {
	p := analyse(content, sevenBit)
	if p == nil || !p.needed() {
		return content
	}
	size, err := io.Copy(io.Discard, newReader(header.Inspect(content), p))
	if err != nil {
		return content
	}
	return recoded{content, p, size}
}

// recoded is content that is rewritten while it is read.
type recoded struct {
	content Content
	plan    *plan
	size    int64
}

// Open implements Content.
func (r recoded) Open() io.Reader { return newReader(r.content.Open(), r.plan) }

// Inspect returns a reader of the content for another purpose than sending.
func (r recoded) Inspect() io.Reader { return newReader(header.Inspect(r.content), r.plan) }

// Size implements Content.
func (r recoded) Size() int64 { return r.size }
