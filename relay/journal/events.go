package journal

import (
	"log/slog"
	"net/netip"
	"time"

	"sealpost/hal/fault"
	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

// Started records that the relay runs.
func (j *Journal) Started(version, method string) {
	j.event(slog.LevelInfo, EventRelayStarted, slog.String("version", version), slog.String("method", method))
}

// Stopped records the end of the relay.
func (j *Journal) Stopped() {
	j.event(slog.LevelInfo, EventRelayStopped,
		slog.Int64("received", j.Counters.Received.Load()),
		slog.Int64("delivered", j.Counters.Delivered.Load()))
}

// Identity records with what the box identifies itself upstream: the
// certificate's name, how its key is protected, and when it expires.
func (j *Journal) Identity(name, protection string, expires time.Time) {
	j.event(slog.LevelInfo, EventClientCertificate, slog.String("name", name), slog.String("key", protection),
		slog.String("expires", expires.Format(time.DateOnly)))
}

// NoIdentity records that the box has no certificate to show upstream.
func (j *Journal) NoIdentity() {
	j.event(slog.LevelWarn, EventNoClientCertificate, slog.String("code", string(fault.NoCertificate)), slog.String("advice", "import one, or have the connector go by this site's public address"))
}

// TPM records the named state of the TPM.
func (j *Journal) TPM(state, advice string) {
	level := slog.LevelInfo
	if advice != "" {
		level = slog.LevelWarn
	}
	j.event(level, EventTPM, slog.String("state", state), slog.String("advice", advice))
}

// Serving records the networks whose clients the relay serves.
func (j *Journal) Serving(networks []string) {
	j.event(slog.LevelInfo, EventServing, slog.Any("networks", networks))
}

// LANCertificate records why the box cannot show its own certificate on the
// LAN and uses a temporary one.
func (j *Journal) LANCertificate(cause error) {
	j.event(slog.LevelWarn, EventTemporaryCertificateOnTheLAN, withCause(cause)...)
}

// Listening records an open listener.
func (j *Journal) Listening(address, protocol string) {
	j.event(slog.LevelInfo, EventListening, slog.String("address", address), slog.String("protocol", protocol))
}

// ClientRefused records a connection that was turned away before it could say
// anything.
func (j *Journal) ClientRefused(client netip.Addr, answer reply.Reply) {
	j.event(slog.LevelWarn, EventClientRefused, clientAttr(client), replyAttr(answer))
}

// SessionEnded records a LAN session that came to its end, with how many
// messages it brought.
func (j *Journal) SessionEnded(client netip.Addr, messages int, lasted time.Duration) {
	j.event(levelConversation, EventSessionEnded, clientAttr(client), slog.Int("messages", messages), tookAttr(lasted))
}

// TLSFirst records a client that began with TLS on a port meant for STARTTLS.
func (j *Journal) TLSFirst(client netip.Addr) {
	j.event(slog.LevelWarn, EventTLSHelloOnAPlainPort, clientAttr(client),
		slog.String("advice", "its next attempt will be answered in TLS; better set the device to STARTTLS, or to the smtps port"))
}

// ListenerFault records what the LAN listener's library had to say.
func (j *Journal) ListenerFault(text string) {
	j.event(slog.LevelWarn, EventListener, slog.String("fault", text))
}

// SenderReplaced records that a message leaves under another sender.
func (j *Journal) SenderReplaced(id string, given, used envelope.Address) {
	j.event(slog.LevelInfo, EventSenderReplaced, idAttr(id), slog.String("given", given.Path()), slog.String("used", used.Path()))
}

// Received records a message that was read in full from a client.
func (j *Journal) Received(e envelope.Envelope) {
	j.Counters.Received.Add(1)
	j.event(slog.LevelInfo, EventReceived, idAttr(e.ID), clientAttr(e.Client), slog.String("hello", e.Hello),
		slog.String("protocol", e.Protocol), slog.String("from", e.Sender.Path()),
		slog.Int("recipients", len(e.Recipients)), slog.Int64("octets", e.Size))
}

// NotReceived records a message that broke off or was over a limit.
func (j *Journal) NotReceived(id string, client netip.Addr, answer reply.Reply) {
	j.event(slog.LevelWarn, EventNotReceived, idAttr(id), clientAttr(client), replyAttr(answer))
}

// RecipientReply records what the upstream said to one recipient.
func (j *Journal) RecipientReply(id string, recipient envelope.Address, answer reply.Reply) {
	level := slog.LevelInfo
	if !answer.Positive() {
		level = slog.LevelWarn
	}
	j.event(level, EventRecipient, idAttr(id), slog.String("to", recipient.Path()), replyAttr(answer))
}

// Delivered records that the upstream took a message, and by which connection.
func (j *Journal) Delivered(id string, c Connection, answer reply.Reply, lasted time.Duration) {
	j.Counters.Delivered.Add(1)
	j.event(slog.LevelInfo, EventDelivered, idAttr(id), replyAttr(answer), tookAttr(lasted), c.attr())
}

// Refused records a message that was answered with a permanent refusal.
func (j *Journal) Refused(id string, answer reply.Reply, lasted time.Duration) {
	j.Counters.Refused.Add(1)
	j.event(slog.LevelWarn, EventRefused, idAttr(id), replyAttr(answer), tookAttr(lasted))
}

// Deferred records a message that the client was told to offer again later.
func (j *Journal) Deferred(id string, answer reply.Reply, cause error, lasted time.Duration) {
	j.Counters.Deferred.Add(1)
	attrs := []slog.Attr{idAttr(id), replyAttr(answer), tookAttr(lasted)}
	if cause != nil {
		attrs = withCause(cause, attrs...)
	}
	j.event(slog.LevelWarn, EventDeferred, attrs...)
}

// Kept records a message that was answered 250 because it lies in the spool.
func (j *Journal) Kept(id, why string) {
	j.Counters.Kept.Add(1)
	j.event(slog.LevelInfo, EventKept, idAttr(id), slog.String("why", why))
}

// Retrying records when a kept message is tried again, and what was said last.
func (j *Journal) Retrying(id, last string, attempts int, next time.Time) {
	j.event(slog.LevelInfo, EventRetrying, idAttr(id), slog.Int("attempts", attempts),
		slog.String("next", next.Format(time.RFC3339)), slog.String("last", last))
}

// GivenUp records a recipient of a kept message that will not get it.
func (j *Journal) GivenUp(id string, recipient envelope.Address, words string) {
	j.Counters.GivenUp.Add(1)
	j.event(slog.LevelWarn, EventGivenUp, idAttr(id), slog.String("to", recipient.Path()), slog.String("words", words))
}

// Expired records a kept message that grew too old.
func (j *Journal) Expired(id, words string) {
	j.event(slog.LevelWarn, EventExpired, idAttr(id), slog.String("last", words))
}

// Notified records a notification about a message, which is a message itself.
func (j *Journal) Notified(id, notification, action string, to envelope.Address) {
	j.event(slog.LevelInfo, EventNotified, idAttr(id), slog.String("notification", notification),
		slog.String("action", action), slog.String("to", to.Path()))
}

// CannotNotify records that what became of a message can be told to nobody.
func (j *Journal) CannotNotify(id string) {
	j.event(slog.LevelWarn, EventNobodyToTell, idAttr(id), slog.String("advice", "set site.alert to an address that hears of such mail"))
}

// Dropped records a message that a person took out of the queue.
func (j *Journal) Dropped(id string) {
	j.event(slog.LevelWarn, EventDroppedByHand, idAttr(id))
}

// Damaged records a kept message that the flash gives back no more. The
// number is the spool's; id is empty where it cannot be read.
func (j *Journal) Damaged(number uint64, id string, cause error) {
	j.event(slog.LevelError, EventDamaged, withCause(cause, slog.Uint64("number", number), idAttr(id))...)
}

// SpoolOpened records what was found in the spool.
func (j *Journal) SpoolOpened(messages int, octets int64, cipher string, lasted time.Duration) {
	j.event(slog.LevelInfo, EventSpoolOpened, slog.Int("messages", messages), slog.Int64("octets", octets),
		slog.String("cipher", cipher), tookAttr(lasted))
}

// SpoolDamage records something in the spool that is not what was written.
func (j *Journal) SpoolDamage(words string) {
	j.event(slog.LevelError, EventSpoolDamaged, slog.String("what", words))
}

// SpoolClosed records why mail cannot be kept.
func (j *Journal) SpoolClosed(cause error) {
	j.event(slog.LevelError, EventNoSpool, withCause(cause)...)
}

// SpoolFault records something that could not be written to the spool.
func (j *Journal) SpoolFault(cause error) {
	j.event(slog.LevelError, EventSpool, withCause(cause)...)
}

func idAttr(id string) slog.Attr             { return slog.String("id", id) }
func clientAttr(client netip.Addr) slog.Attr { return slog.String("client", client.Unmap().String()) }
func replyAttr(answer reply.Reply) slog.Attr { return slog.String("answer", answer.String()) }
func tookAttr(d time.Duration) slog.Attr {
	return slog.String("took", d.Round(100*time.Microsecond).String())
}
