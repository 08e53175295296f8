// Package relay is the way of a message through the box. It holds no code: the
// packages below it do the work, and this is their order.
//
//  1. A device connects. The doorman in lan looks at its address. A client
//     outside the networks of policy hears 554 and is gone; one too many is
//     told to come back, with a 421. Nothing has been read from either yet.
//  2. lan greets it and holds the SMTP session by go-smtp, within limits on
//     lines, silence, length, messages and recipients. STARTTLS shows the
//     box's own certificate.
//  3. MAIL gives the message its name, and policy its sender: a device that
//     gives none, or one of a foreign domain, sends as the default sender.
//  4. DATA or BDAT: the content streams through the normaliser in body, which
//     ends every line in CRLF, into a buffer that draws on one memory budget
//     for all messages. A trace field (Received) comes first.
//  5. lan hands envelope and content to dispatch, and the client waits.
//  6. dispatch offers both to the upstream at once: cut-through. There is no
//     spool yet, so nothing is kept that could be lost.
//  7. upstream/connector takes an open connection from its pool, or opens one:
//     MX lookup by upstream/dns unless the host is fixed, IPv4 first, greeting,
//     EHLO, STARTTLS. The server's certificate must verify for the host's name,
//     with TLS 1.2 or later. The client certificate is shown with its whole
//     chain, and its key signs in the TPM. While there is no TLS session to
//     resume, connections are opened one at a time, so that a burst costs one
//     signature.
//  8. upstream/esmtp says MAIL and every RCPT, in one go where the server
//     offers PIPELINING. A kept connection that the server closed meanwhile is
//     replaced silently.
//  9. dispatch judges the answers before any content is sent: a client hears
//     one answer for all its recipients, so if one was refused, nobody gets
//     the message and the client is told which and why.
//  10. The content goes out, by BDAT where the server offers CHUNKING.
//  11. The server's 250 becomes the client's. Its refusal becomes the client's,
//     with report's reading of it. Whatever else went wrong is a 451 in words
//     for the technician; the client still has the message and tries again.
//  12. journal has recorded each step: to the log, to memory for those who ask
//     through control, and to the counters.
package relay
