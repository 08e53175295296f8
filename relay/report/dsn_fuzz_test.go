package report

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

// checkNotification returns how the parsed notification differs from the expected one.
func checkNotification(n Notification, p parsed) error {
	messageFields := 2
	if _, ok := envelope.DecodeXtext(n.EnvelopeID); ok {
		messageFields++
	}
	headerFields := 8
	if strings.HasSuffix(p.returned, "8bit") {
		headerFields++
	}
	if len(p.header) != headerFields || len(p.message) != messageFields || len(p.each) != len(n.Outcomes) {
		return fmt.Errorf("got %d header fields, %d per-message fields, %d recipients; want %d, %d and %d", len(p.header), len(p.message), len(p.each), headerFields, messageFields, len(n.Outcomes))
	}
	for i, o := range n.Outcomes {
		got := p.each[i]
		want := map[string]string{"Action": string(n.Action), "Status": n.statusOf(o).String()}
		if address, err := envelope.ParseAddress(string(o.Recipient)); err == nil {
			want["Final-Recipient"] = "rfc822; " + strings.Trim(address.Path(), "<>")
		}
		for field, value := range want {
			if len(got[field]) != 1 || got.Get(field) != value {
				return fmt.Errorf("recipient %d: got %s %q, want %q", i, field, got[field], value)
			}
		}
		fields := 3
		_, original, _ := strings.Cut(o.Original, ";")
		_, hasOriginal := envelope.DecodeXtext(original)
		for _, present := range []bool{hasOriginal, o.Host != "", o.Reply.Code != 0, !o.LastAttempt.IsZero(), n.Action == Delayed && !n.RetryUntil.IsZero()} {
			if present {
				fields++
			}
		}
		if len(got) != fields {
			return fmt.Errorf("recipient %d: got %d fields, want %d: %v", i, len(got), fields, got)
		}
		if diagnosis := got.Get("Diagnostic-Code"); o.Reply.Code != 0 && !strings.HasPrefix(diagnosis, fmt.Sprintf("smtp; %d", o.Reply.Code)) {
			return fmt.Errorf("recipient %d: got Diagnostic-Code %q, want reply code %d", i, diagnosis, o.Reply.Code)
		}
	}
	return nil
}

func FuzzNotification(f *testing.F) {
	f.Add(true, 550, 5, 1, "User unknown", "anna@fabrikam.com", "mx.fabrikam.com", "Contoso Leeds", "given up after 5 days", []byte(originalHeader))
	f.Add(false, 451, 4, 7, "a\r\nAction: relayed\r\n\r\n--=_7K2M-1--\r\n", `scan "to" mail@[IPv6:::1]`, "mx\r\nX: y", "Müller\u202e", "", []byte("--=_7K2M-1: x\n--=_7K2M-1--:\n\n"))
	f.Add(true, 550, 5, 1, "no", "anna@fabrikam.com", "", "QQ+2B1", "rfc822;anna+40x", []byte("Subject: x\r\n\r\nbody \xfc\r\n"))
	f.Add(true, 550, 5, 1, "no", "anna@fabrikam.com", "", "+0D+0A", "x\r\ny;z", []byte("Subject: x\r\n\r\n--=_7K2M-1--\r\n"))
	f.Add(true, 0, 0, 0, "", "x\r\nStatus: 2.0.0@y", "", "", "\x00", []byte("Subject: =?utf-8?Q?=0D=0A?=\r \xff\n"+strings.Repeat("x", 3000)))
	f.Fuzz(func(t *testing.T, failed bool, code, class, detail int, replyText, recipient, host, site, reason string, header []byte) {
		n := delay()
		if failed {
			n = failure()
		}
		n.Site, n.Reason = site, reason
		n.Outcomes = append(n.Outcomes, Outcome{
			Recipient: envelope.Address(recipient),
			Reply:     reply.Reply{Code: code, Text: replyText},
			Status:    reply.Status{Class: class, Detail: detail},
			Host:      host,
			Original:  reason,
		})
		n.EnvelopeID, n.Return = site, envelope.ReturnFull
		n.Sender = envelope.Address(recipient)
		var out bytes.Buffer
		err := n.Write(&out, bytes.NewReader(header))
		p, err2 := parse(out.Bytes())
		if strings.HasPrefix(p.returned, "message/rfc822 ") {
			if p.original != string(header) {
				t.Errorf("got original %q, want %q", p.original, header)
			}
		} else {
			err = errors.Join(err, checkSevenBit(out.Bytes()))
		}
		if err := errors.Join(err, err2); err != nil {
			t.Fatalf("got error %v in\n%s", err, out.Bytes())
		}
		if err := checkNotification(n, p); err != nil {
			t.Errorf("got error %v in\n%s", err, out.Bytes())
		}
		// The notification contains the beginning of the header, except for line
		// endings.
		same := strings.NewReplacer("\r", "", "\n", "", " ", "")
		if shown := same.Replace(p.original); !strings.HasPrefix(same.Replace(string(header)), shown) {
			t.Errorf("got original header %q", p.original)
		}
	})
}
