// Package relay is the way of a message through the box. It holds no code: the
// packages below it do the work, and this is their order.
//
//  1. A device connects. Admission in lan looks at its address. A client
//     outside the networks of policy hears 554 and is gone; one too many is
//     told to come back, with a 421. Nothing has been read from either yet.
//  2. lan greets it and holds the SMTP session by go-smtp, within limits on
//     lines, silence, length, messages and recipients. STARTTLS shows the
//     box's own certificate.
//  3. MAIL gives the message its name, and policy its sender: a device that
//     gives none, or one of a foreign domain, sends as the default sender.
//     dispatch is asked whether a message of that size may come at all.
//  4. DATA or BDAT: the content streams through the normaliser in body, which
//     ends every line in CRLF, to dispatch: into a buffer that draws on one
//     memory budget for all messages, and where that is used up into the spool.
//     A trace field (Received) comes first.
//  5. The message is complete, and the client waits for its answer.
//  6. dispatch sends it over its route at once: cut-through. Where the route's
//     circuit breaker holds mail back, as the upstream is known to be down, or
//     its throttle allows no more for now, it goes on with step 12 instead.
//  7. upstream/transport takes an open connection from its pool, or opens one
//     to a host that upstream/connector names for the destination: the MX, by
//     upstream/dns, unless the host is fixed. IPv4 first, greeting, EHLO,
//     STARTTLS. The server's certificate must verify for the host's name, with
//     TLS 1.2 or later. The client certificate is shown with its whole chain,
//     and its key signs in the TPM. While there is no TLS session to resume,
//     connections are opened one at a time, so that a burst costs one signature.
//     By upstream/submission it is the submission host instead, no certificate
//     is shown, and a mailbox logs in with an access token (SASL XOAUTH2). A
//     message as whose sender it may not send leaves as the default sender's,
//     which header writes into it, where the site says so.
//  8. upstream/esmtp says MAIL and every RCPT, in one go where the server
//     offers PIPELINING. A kept connection that the server closed meanwhile is
//     replaced silently.
//  9. dispatch decides by the replies whether the content is sent. Where only
//     some recipients were accepted the message is committed to the spool first:
//     delivery to the others is tried again, or their sender notified.
//  10. The content goes out, by BDAT where the server offers CHUNKING.
//  11. The server's 250 becomes the client's, and flash was never touched. Its
//     refusal becomes the client's too, with report's reading of it.
//  12. Where no reply comes within the client wait, or a temporary one, queue
//     writes envelope and content to the spool, and the client hears 250 once
//     both are durable. An attempt under way goes on; if it succeeds it is not
//     repeated. Clients whose mail must be kept before the spool is open wait for
//     it.
//  13. A message in the queue is tried again after growing pauses: dispatch/
//     fairqueue keeps each client's in their order and lets the clients take
//     turns, and dispatch/throttle counts what is sent. While the upstream takes
//     no mail the breaker holds all of it back, and one message at a time goes
//     out as a probe. Which recipients have it is noted in the spool.
//  14. It is delivered and removed from the spool; or it is refused, or grows too
//     old, and report makes a notification of that for its sender (RFC 3464),
//     which is a message like any other from here on.
//  15. journal has recorded each step: to the log, to memory for those who ask
//     through control, and to the counters.
package relay
