// Package relay follows a message through the relay. It holds no code: the
// packages below it do the work, in this order.
//
//  1. A device connects. lan checks its address: a client outside the networks
//     that policy allows gets 554, and one connection too many gets 421. Nothing
//     has been read from either of them.
//  2. lan runs the SMTP session with go-smtp, within limits on line length, idle
//     time, session time, messages and recipients. STARTTLS presents the box's
//     own certificate.
//  3. MAIL assigns the message ID, and policy chooses the sender: a device that
//     gives none, or one of another domain, sends as the default sender. dispatch
//     decides whether a message of that size can be accepted. What the client asks
//     for about notifications (RFC 3461) stays with the envelope.
//  4. DATA or BDAT: lan writes a Received field. The content then streams through
//     the normaliser in body, which ends every line in CRLF, and the repairer in
//     header, which adds what a header must have, to dispatch. dispatch buffers it in
//     memory, within one budget for all messages, and writes it to the spool when the
//     budget is used up.
//  5. The message is complete, and the client waits for the reply.
//  6. dispatch sends the message at once (cut-through delivery), over the first route
//     whose circuit breaker does not hold mail back. If each does, or the route's
//     throttle allows no more for now, step 12 follows. A route that fails leaves the
//     message to the next one, unless its server may have it.
//  7. upstream/transport takes an idle connection from its pool or opens one. For a
//     connector the host is the MX of the first accepted domain, which upstream/dns
//     looks up, or a fixed host. IPv4 is tried first, then greeting, EHLO and
//     STARTTLS follow. The server's certificate must be valid for the host name,
//     with TLS 1.2 or later. The client certificate is presented with its chain,
//     and its key signs in the TPM. While there is no TLS session to resume,
//     connections are opened one at a time, so that a burst needs one signature.
//     For submission the host is the submission server, and a mailbox logs in with
//     an access token (SASL XOAUTH2). If the mailbox may not send as the sender,
//     header replaces the sender with the default one, if the settings ask for it.
//  8. mime re-encodes a body that the server could not take, with octets above 127
//     or long lines. upstream/esmtp sends MAIL and every RCPT, pipelined if the server
//     offers PIPELINING, with the parameters for notifications if it offers DSN. If the
//     server has closed an idle connection, a new one is used.
//  9. dispatch decides by the replies whether to send the content. If only some
//     recipients were accepted, it first commits the message to the spool: the
//     others are retried, or their sender is notified.
//  10. The content is sent, with BDAT if the server offers CHUNKING.
//  11. The client gets the server's 250, and nothing was written to flash. If the
//     server rejects the message, the client gets that reply, with report's
//     explanation.
//  12. If no reply, or a temporary one, comes within the client wait, queue writes
//     envelope and content to the spool, and the client gets 250 once both are
//     durable. An attempt in progress continues; if it succeeds, the message is
//     not sent again. Clients that connect before the spool is open wait for it.
//  13. Queued messages are retried after growing delays. dispatch/fairqueue keeps
//     each client's messages in order and serves the clients in turn;
//     dispatch/throttle counts what is sent. While the upstream is unavailable,
//     the breaker holds all mail back and lets one message through as a probe.
//     The spool records which recipients have the message.
//  14. The message is delivered and removed from the spool. If it is rejected, or
//     expires, report writes a notification to its sender (RFC 3464), if that did
//     not decline it, which is then delivered like any other message.
//  15. journal records each step: in the log, and in memory for those who ask
//     through control.
package relay
