package journal

import (
	"bufio"
	"encoding/json"
	"io"
	"iter"
	"log/slog"
	"time"

	"sealpost/hal/fault"
)

// Event names one kind of event. The names appear in logs and never change.
type Event string

// The events.
const (
	EventRelayStarted                 Event = "relay started"
	EventRelayStopped                 Event = "relay stopped"
	EventClientCertificate            Event = "client certificate"
	EventNoClientCertificate          Event = "no client certificate"
	EventTPM                          Event = "TPM"
	EventServing                      Event = "serving"
	EventTemporaryCertificateOnTheLAN Event = "temporary certificate on the LAN"
	EventListening                    Event = "listening"
	EventClientRefused                Event = "client refused"
	EventSessionEnded                 Event = "session ended"
	EventCommandRefused               Event = "command refused"
	EventLogIncomplete                Event = "log incomplete"
	EventRefusalsNotShown             Event = "refusals not shown"
	EventTLSHandshakeFailed           Event = "TLS handshake failed"
	EventLearnMode                    Event = "learn mode"
	EventLearnModeEnded               Event = "learn mode ended"
	EventDeviceSilent                 Event = "device silent"
	EventLegacyTLS                    Event = "legacy TLS"
	EventLoginRefused                 Event = "login refused"
	EventTLSHelloOnAPlainPort         Event = "TLS hello on a plain port"
	EventListener                     Event = "listener"
	EventSenderReplaced               Event = "sender replaced"
	EventReceived                     Event = "received"
	EventNotReceived                  Event = "not received"
	EventRecipient                    Event = "recipient"
	EventDelivered                    Event = "delivered"
	EventRefused                      Event = "refused"
	EventDeferred                     Event = "deferred"
	EventQueued                       Event = "queued"
	EventRetrying                     Event = "retrying"
	EventGivenUp                      Event = "given up"
	EventExpired                      Event = "expired"
	EventNotified                     Event = "notified"
	EventNoNotification               Event = "no notification"
	EventDropped                      Event = "dropped"
	EventDamaged                      Event = "damaged"
	EventStateCreated                 Event = "state created"
	EventSpoolOpened                  Event = "spool opened"
	EventSpoolDamaged                 Event = "spool damaged"
	EventNoSpool                      Event = "no spool"
	EventSpool                        Event = "spool"
	EventBoardStarted                 Event = "board started"
	EventFault                        Event = "fault"
	EventProcessStarted               Event = "process started"
	EventProcessEnded                 Event = "process ended"
	EventRelayServes                  Event = "relay serves"
	EventUnhealthy                    Event = "unhealthy"
	EventSettingsApplied              Event = "settings applied"
	EventSettingsForeign              Event = "settings foreign"
	EventSettingIgnored               Event = "setting ignored"
	EventSettingsRolledBack           Event = "settings rolled back"
	EventNetwork                      Event = "network"
	EventClockSet                     Event = "clock set"
	EventClockNotTrusted              Event = "clock not trusted"
	EventFactoryReset                 Event = "factory reset"
	EventRestarting                   Event = "restarting"
	EventStick                        Event = "stick"
	EventUpstreamConnected            Event = "upstream connected"
	EventUpstreamNotConnected         Event = "upstream not connected"
	EventUpstreamHeld                 Event = "upstream held"
	EventUpstreamResumed              Event = "upstream resumed"
	EventSignatureFailed              Event = "signature failed"
	EventSignature                    Event = "signature"
	EventNoAccessToken                Event = "no access token"
	EventAccessToken                  Event = "access token"
	EventTransaction                  Event = "transaction"
	EventTLSPolicy                    Event = "TLS policy"
	EventSMTP                         Event = "smtp"
)

// Record is an event read from a JSON journal. Fields that an event lacks are
// empty.
type Record struct {
	Time     time.Time
	Event    Event
	ID       string // of the message
	Hello    string
	Octets   int64
	Answer   string
	Took     string
	Why      string
	Key      string
	Cause    string
	Code     fault.Code
	Grant    string
	Upstream struct{ Route, Host, Address, Wanted, TLS, Certificate, Account string }
}

// Read returns the events of a JSON journal until its end, with an error if it
// is cut off. Lines that are not events are skipped.
func Read(stream io.Reader) iter.Seq2[Record, error] {
	const maxLine = 64 << 10
	return func(yield func(Record, error) bool) {
		lines := bufio.NewScanner(stream)
		for lines.Buffer(nil, maxLine); lines.Scan(); {
			var record Record
			if json.Unmarshal(lines.Bytes(), &record) != nil {
				continue
			}
			if !yield(record, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(Record{}, err)
		}
	}
}

// withCause adds an error's text and fault code to attributes.
func withCause(cause error, attrs ...slog.Attr) []slog.Attr {
	attrs = append(attrs, slog.String("cause", cause.Error()))
	if code := fault.CodeOf(cause); code != "" {
		attrs = append(attrs, slog.String("code", string(code)))
	}
	return attrs
}
