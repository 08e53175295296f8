package journal

import (
	"log/slog"
	"net/netip"
	"time"

	"sealpost/hal/fault"
	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

// Started records that the relay has started.
func (j *Journal) Started(version, method string) {
	j.event(slog.LevelInfo, EventRelayStarted, slog.String("version", version), slog.String("method", method))
}

// Stopped records that the relay has stopped.
func (j *Journal) Stopped() {
	j.event(slog.LevelInfo, EventRelayStopped,
		slog.Int64("received", j.Counters.Received.Load()),
		slog.Int64("delivered", j.Counters.Delivered.Load()))
}

// Identity records the client certificate: its name, how its key is protected,
// and when it expires.
func (j *Journal) Identity(name, protection string, expires time.Time) {
	j.event(slog.LevelInfo, EventClientCertificate, slog.String("name", name), slog.String("key", protection),
		slog.String("expires", expires.Format(time.DateOnly)))
}

// NoIdentity records that there is no client certificate.
func (j *Journal) NoIdentity() {
	j.event(slog.LevelWarn, EventNoClientCertificate, slog.String("code", string(fault.NoCertificate)), slog.String("advice", "import one, or have the tenant's connector identify this site by its public IP address"))
}

// TPM records the state of the TPM.
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

// LANCertificate records why a temporary certificate is used on the LAN.
func (j *Journal) LANCertificate(cause error) {
	j.event(slog.LevelWarn, EventTemporaryCertificateOnTheLAN, withCause(cause)...)
}

// Listening records an open listener.
func (j *Journal) Listening(address, protocol string) {
	j.event(slog.LevelInfo, EventListening, slog.String("address", address), slog.String("protocol", protocol))
}

// ClientRefused records a rejected connection.
func (j *Journal) ClientRefused(client netip.Addr, r reply.Reply) {
	j.refusal(slog.LevelWarn, EventClientRefused, client, replyAttr(r))
}

// SessionEnded records the end of a LAN session and how many messages it
// delivered.
func (j *Journal) SessionEnded(client netip.Addr, messages int, lasted time.Duration) {
	j.sumUp()
	if messages == 0 {
		j.refusal(levelConversation, EventSessionEnded, client, slog.Int("messages", messages), tookAttr(lasted))
		return
	}
	j.event(levelConversation, EventSessionEnded, clientAttr(client), slog.Int("messages", messages), tookAttr(lasted))
}

// TLSFirst records a client that began with TLS on a STARTTLS port.
func (j *Journal) TLSFirst(client netip.Addr) {
	j.refusal(slog.LevelWarn, EventTLSHelloOnAPlainPort, client,
		slog.String("advice", "its next attempt will be answered in TLS; better set the device to STARTTLS, or to the smtps port"))
}

// CommandRefused records a command of a client and the reply that refused it.
func (j *Journal) CommandRefused(client netip.Addr, command, reply string) {
	j.refusal(slog.LevelWarn, EventCommandRefused, client, slog.String("command", command), slog.String("reply", reply))
}

// HandshakeFailed records a client whose TLS handshake failed.
func (j *Journal) HandshakeFailed(client netip.Addr, cause error) {
	j.refusal(slog.LevelWarn, EventTLSHandshakeFailed, client, withCause(cause)...)
}

// LegacyTLS records a client that uses TLS that only LegacyTLS of package lan allows.
func (j *Journal) LegacyTLS(client netip.Addr, version, suite string) {
	j.event(slog.LevelInfo, EventLegacyTLS, clientAttr(client), slog.String("version", version), slog.String("cipher", suite))
}

// LoginRefused records a login that was refused, with the name that the client gave.
func (j *Journal) LoginRefused(client netip.Addr, name, mechanism string, r reply.Reply) {
	j.refusal(slog.LevelWarn, EventLoginRefused, client, slog.String("user", name), slog.String("mechanism", mechanism), replyAttr(r))
}

// LearnModeBegan records that everything in some networks may send until a time.
func (j *Journal) LearnModeBegan(networks []netip.Prefix, until time.Time) {
	j.event(slog.LevelWarn, EventLearnMode, slog.Any("networks", networks), slog.String("until", until.Format(time.RFC3339)))
}

// LearnModeEnded records that only the networks in the settings may send again.
func (j *Journal) LearnModeEnded() { j.event(slog.LevelInfo, EventLearnModeEnded) }

// DeviceSilent records a device that sent regularly and has sent nothing for too long.
func (j *Journal) DeviceSilent(client netip.Addr, name string, last time.Time) {
	j.event(slog.LevelWarn, EventDeviceSilent, clientAttr(client), slog.String("name", name), slog.String("last", last.Format(time.RFC3339)))
}

// ListenerFault records a log message of the SMTP server library.
func (j *Journal) ListenerFault(text string) {
	j.event(slog.LevelWarn, EventListener, slog.String("fault", text))
}

// SenderReplaced records that a message is sent under another sender.
func (j *Journal) SenderReplaced(id string, given, used envelope.Address) {
	j.event(slog.LevelInfo, EventSenderReplaced, idAttr(id), slog.String("given", given.Path()), slog.String("used", used.Path()))
}

// Received records a message that was received in full, and what was changed in it because
// mail servers reject it or show it badly.
func (j *Journal) Received(e envelope.Envelope, repairs []string) {
	j.Counters.Received.Add(1)
	attributes := []slog.Attr{idAttr(e.ID), clientAttr(e.Client), slog.String("hello", e.Hello),
		slog.String("protocol", e.Protocol), slog.String("from", e.Sender.Path()),
		slog.Int("recipients", len(e.Recipients)), slog.Int64("octets", e.Size)}
	if len(repairs) > 0 {
		attributes = append(attributes, slog.Any("repairs", repairs))
	}
	j.event(slog.LevelInfo, EventReceived, attributes...)
}

// NotReceived records a message that was cut off or exceeded a limit.
func (j *Journal) NotReceived(id string, client netip.Addr, r reply.Reply) {
	j.refusal(slog.LevelWarn, EventNotReceived, client, idAttr(id), replyAttr(r))
}

// RecipientReply records the upstream's reply for one recipient of several, or a reply that
// is not positive.
func (j *Journal) RecipientReply(id string, recipient envelope.Address, r reply.Reply) {
	level := slog.LevelInfo
	if !r.Positive() {
		level = slog.LevelWarn
	}
	j.event(level, EventRecipient, idAttr(id), slog.String("to", recipient.Path()), replyAttr(r))
}

// Delivered records a delivered message and its connection. recipient is the only one, or
// empty if RecipientReply has recorded several.
func (j *Journal) Delivered(id string, recipient envelope.Address, c Connection, r reply.Reply, lasted time.Duration) {
	j.Counters.Delivered.Add(1)
	attributes := make([]slog.Attr, 0, 5)
	attributes = append(attributes, idAttr(id))
	if recipient != "" {
		attributes = append(attributes, slog.String("to", recipient.Path()))
	}
	j.event(slog.LevelInfo, EventDelivered, append(attributes, replyAttr(r), tookAttr(lasted), c.attr())...)
}

// Refused records a message with a permanent rejection.
func (j *Journal) Refused(id string, r reply.Reply, lasted time.Duration) {
	j.Counters.Refused.Add(1)
	j.event(slog.LevelWarn, EventRefused, idAttr(id), replyAttr(r), tookAttr(lasted))
}

// Deferred records a message with a 4yz reply to the client.
func (j *Journal) Deferred(id string, r reply.Reply, cause error, lasted time.Duration) {
	j.Counters.Deferred.Add(1)
	attrs := []slog.Attr{idAttr(id), replyAttr(r), tookAttr(lasted)}
	if cause != nil {
		attrs = withCause(cause, attrs...)
	}
	j.event(slog.LevelWarn, EventDeferred, attrs...)
}

// Queued records a message with reply 250 that is queued in the spool.
func (j *Journal) Queued(id, why string) {
	j.Counters.Queued.Add(1)
	j.event(slog.LevelInfo, EventQueued, idAttr(id), slog.String("why", why))
}

// Retrying records when a queued message is retried, and the last result.
func (j *Journal) Retrying(id, last string, attempts int, next time.Time) {
	j.event(slog.LevelInfo, EventRetrying, idAttr(id), slog.Int("attempts", attempts),
		slog.String("next", next.Format(time.RFC3339)), slog.String("last", last))
}

// GivenUp records a recipient of a queued message for whom delivery was given
// up.
func (j *Journal) GivenUp(id string, recipient envelope.Address, text string) {
	j.Counters.GivenUp.Add(1)
	j.event(slog.LevelWarn, EventGivenUp, idAttr(id), slog.String("to", recipient.Path()), slog.String("words", text))
}

// Expired records a queued message that exceeded its maximum age.
func (j *Journal) Expired(id, text string) {
	j.event(slog.LevelWarn, EventExpired, idAttr(id), slog.String("last", text))
}

// Notified records a notification about a message, which is a message itself.
func (j *Journal) Notified(id, notification, action string, to envelope.Address) {
	j.event(slog.LevelInfo, EventNotified, idAttr(id), slog.String("notification", notification),
		slog.String("action", action), slog.String("to", to.Path()))
}

// CannotNotify records that there is no address to notify about a message.
func (j *Journal) CannotNotify(id string) {
	j.event(slog.LevelWarn, EventNoNotification, idAttr(id), slog.String("advice", "set site.alert to an address that is notified of such mail"))
}

// Dropped records a message that an operator removed from the queue.
func (j *Journal) Dropped(id string) {
	j.event(slog.LevelWarn, EventDropped, idAttr(id))
}

// Damaged records a queued message that cannot be read from flash. number
// is the spool's; id is empty if unknown.
func (j *Journal) Damaged(number uint64, id string, cause error) {
	j.event(slog.LevelError, EventDamaged, withCause(cause, slog.Uint64("number", number), idAttr(id))...)
}

// StateCreated records that a state was created, and where.
func (j *Journal) StateCreated(path string, octets int64) {
	j.event(slog.LevelInfo, EventStateCreated, slog.String("path", path), slog.Int64("octets", octets))
}

// SpoolOpened records the contents of the spool at the start.
func (j *Journal) SpoolOpened(messages int, octets int64, cipher string, lasted time.Duration) {
	j.event(slog.LevelInfo, EventSpoolOpened, slog.Int("messages", messages), slog.Int64("octets", octets),
		slog.String("cipher", cipher), tookAttr(lasted))
}

// SpoolDamage records damaged data in the spool.
func (j *Journal) SpoolDamage(text string) {
	j.event(slog.LevelError, EventSpoolDamaged, slog.String("what", text))
}

// SpoolClosed records why mail cannot be queued.
func (j *Journal) SpoolClosed(cause error) {
	j.event(slog.LevelError, EventNoSpool, withCause(cause)...)
}

// SettingsForeign records that the stored settings were not stored by this box.
func (j *Journal) SettingsForeign(cause error) {
	j.event(slog.LevelError, EventSettingsForeign, withCause(cause)...)
}

// SpoolFault records a failed write to the spool.
func (j *Journal) SpoolFault(cause error) {
	j.event(slog.LevelError, EventSpool, withCause(cause)...)
}

func idAttr(id string) slog.Attr             { return slog.String("id", id) }
func clientAttr(client netip.Addr) slog.Attr { return slog.String("client", client.Unmap().String()) }
func replyAttr(r reply.Reply) slog.Attr      { return slog.String("answer", r.String()) }
func tookAttr(d time.Duration) slog.Attr {
	return slog.String("took", d.Round(100*time.Microsecond).String())
}
