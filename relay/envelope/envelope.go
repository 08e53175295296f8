// Package envelope holds what is known of a message besides its content:
// sender, recipients, size, and where it came from (RFC 5321 section 2.3.1).
//
// It is values only: it does no I/O, reads no clock, and must not know who
// may send or how mail leaves the box.
package envelope

import (
	"io"
	"net/netip"
	"time"
)

// Envelope is one message's envelope as the box took it from a client.
type Envelope struct {
	ID         string     // the box's name for the message, in its trace field and journal
	Client     netip.Addr // the LAN client
	Hello      string     // its EHLO or HELO argument, unverified
	Protocol   string     // "ESMTP" or "ESMTPS" (RFC 3848)
	Sender     Address    // reverse-path; empty is the null reverse-path
	Recipients []Address  // forward-paths, in the order given
	Size       int64      // octets of the content as it will be sent
	EightBit   bool       // the content holds octets above 127
	Received   time.Time  // when the client gave the last octet
	Report     bool       // a notification of the box's own; none is ever sent about it
}

// Content is a message's header and body with CRLF line endings, before any
// dot-stuffing. It can be read more than once.
type Content interface {
	Open() io.Reader
	Size() int64
}
