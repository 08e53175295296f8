package dispatch

import (
	"bytes"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

// late refuses after a first answer of 4yz, so that the client has its 250.
func late(answer reply.Reply) func(envelope.Envelope, envelope.Address) reply.Reply {
	var begun atomic.Bool
	return func(e envelope.Envelope, _ envelope.Address) reply.Reply {
		switch {
		case e.Report:
			return ok
		case begun.CompareAndSwap(false, true):
			return grey
		}
		return answer
	}
}

func TestARefusalAfter250BecomesABounceInPlainWords(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) {
			f.answer = late(reply.New(554, 2, 252, "SendAsDenied; printer@contoso.com not allowed to send as"))
		})
		w.send(1, 100)
		time.Sleep(5 * time.Minute)
		got := w.far.got()
		if len(got) != 1 || w.kept() != 0 {
			t.Fatalf("%d arrived, %d kept\n%s", len(got), w.kept(), w.log)
		}
		e, text := got[0].envelope, got[0].content
		if e.Sender != "" || !slices.Equal(e.Recipients, []envelope.Address{"printer@contoso.com"}) || !e.Report {
			t.Errorf("the bounce goes from %s to %v", e.Sender.Path(), e.Recipients)
		}
		for _, words := range []string{"Action: failed", "Status: 5.2.252", "may not send as this sender", "Add-RecipientPermission", "Subject: M1", "Remote-MTA: dns; mx"} {
			if !strings.Contains(strings.ReplaceAll(text, "=\r\n", ""), words) {
				t.Errorf("the bounce lacks %q:\n%s", words, text)
			}
		}
		if strings.Contains(text, "xxxx") {
			t.Error("the bounce has the body")
		}
	})
}

func TestASenderDeniedHearsTheLineThatGrantsIt(t *testing.T) {
	denied := reply.New(554, 2, 252, "SendAsDenied; relay@contoso.com not allowed to send as")
	const line = "Add-RecipientPermission -Identity printer@contoso.com -Trustee relay@contoso.com -AccessRights SendAs"
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.answer, f.trustee = says(denied), "relay@contoso.com" })
		if answer := w.send(1, 100); answer.Code != 554 || !strings.HasSuffix(answer.Text, line) {
			t.Errorf("answered %s", answer)
		}
		w.far.be(func(f *farSide) { f.answer = late(denied) })
		w.send(1, 100)
		time.Sleep(5 * time.Minute)
		got := w.far.got()
		if len(got) != 1 || !strings.Contains(strings.ReplaceAll(got[0].content, "=\r\n", ""), "    "+line+"\r\n") {
			t.Errorf("the bounces are %+v", got)
		}
		if events := w.events("given up"); len(events) != 1 || !strings.HasSuffix(events[0]["words"].(string), line) {
			t.Errorf("the journal has %v", events)
		}
	})
}

func TestARefusalWhileTheClientWaitsIsTheClientsAndNoBounce(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.answer = says(unknown) })
		if answer := w.send(1, 100, "a@x.example", "b@x.example"); !strings.Contains(answer.String(), "550 5.1.1 mx said: 550 5.1.1 User unknown") {
			t.Errorf("answered %s", answer)
		}
		time.Sleep(time.Hour)
		if len(w.far.offered()) != 1 || w.kept() != 0 {
			t.Errorf("offered %d times, %d kept", len(w.far.offered()), w.kept())
		}
	})
}

func TestNoBounceIsSentForABounce(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		first := late(unknown)
		w.far.answer = func(e envelope.Envelope, to envelope.Address) reply.Reply {
			if e.Report {
				return unknown
			}
			return first(e, to)
		}
		w.send(1, 100)
		time.Sleep(day)
		if n := len(w.far.offered()); n != 3 || w.kept() != 0 {
			t.Errorf("%d offers, %d kept", n, w.kept())
		}
		if len(w.events("nobody to tell")) != 1 {
			t.Errorf("the journal: %s", w.log)
		}
	})
}

func TestWhatTheSenderCannotBeToldGoesToTheAlertAddress(t *testing.T) {
	const alert = envelope.Address("alerts@msp.example")
	for name, c := range map[string]struct {
		change func(*setup)
		report func(e envelope.Envelope) reply.Reply // the answer to a notification
		from   envelope.Address
	}{
		"the null sender is not relayed":          {func(c *setup) { c.Notify.NullSender = false }, nil, "box@contoso.com"},
		"the sender is not reachable":             {nil, func(e envelope.Envelope) reply.Reply { return refuseSender(e, unknown) }, ""},
		"the null sender is refused all the same": {nil, refuseNull, "box@contoso.com"},
	} {
		t.Run(name, func(t *testing.T) {
			change := func(config *setup) {
				config.Notify.Alert = alert
				if c.change != nil {
					c.change(config)
				}
			}
			inWorld(t, change, func(w *world) {
				first := late(unknown)
				w.far.answer = func(e envelope.Envelope, to envelope.Address) reply.Reply {
					if e.Report && c.report != nil {
						return c.report(e)
					}
					return first(e, to)
				}
				w.send(1, 100)
				time.Sleep(time.Hour)
				got := w.far.got()
				if len(got) != 1 || w.kept() != 0 {
					t.Fatalf("%d arrived, %d kept:\n%s", len(got), w.kept(), w.log)
				}
				if e := got[0].envelope; e.Sender != c.from || e.Recipients[0] != alert || !strings.Contains(got[0].content, "Action: failed") {
					t.Errorf("from %s to %v:\n%s", e.Sender.Path(), e.Recipients, got[0].content)
				}
				if held := w.events("upstream held"); len(held) > 0 {
					t.Errorf("the bounce held the upstream: %v", held)
				}
			})
		})
	}
}

func refuseSender(e envelope.Envelope, answer reply.Reply) reply.Reply {
	if e.Recipients[0] == "printer@contoso.com" {
		return answer
	}
	return ok
}

func refuseNull(e envelope.Envelope) reply.Reply {
	if e.Sender == "" {
		return denied
	}
	return ok
}

func TestTheSenderIsWarnedOnceAfterFourHoursAndToldAfterFiveDays(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.answer = func(e envelope.Envelope, _ envelope.Address) reply.Reply {
			if e.Report {
				return ok
			}
			return grey
		}
		begun := time.Now()
		w.send(1, 100)
		time.Sleep(3*time.Hour + 50*time.Minute)
		if len(w.far.got()) != 0 {
			t.Errorf("warned after less than four hours")
		}
		time.Sleep(6 * day)
		got := w.far.got()
		if len(got) != 2 || w.kept() != 0 {
			t.Fatalf("%d notifications, %d kept", len(got), w.kept())
		}
		if after := got[0].at.Sub(begun); after > 6*time.Hour || !strings.Contains(got[0].content, "Action: delayed") {
			t.Errorf("warned after %s:\n%s", after, got[0].content)
		}
		if after := got[1].at.Sub(begun); after < 5*day || after > 5*day+2*time.Hour || !strings.Contains(got[1].content, "Action: failed") || !strings.Contains(got[1].content, "greylisted") {
			t.Errorf("given up after %s:\n%s", after, got[1].content)
		}
	})
}

func TestAfterALongOutageOldMailIsStillOfferedOnce(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.down = unreachableHost })
		w.send(1, 100)
		w.restart()
		w.send(1, 100)
		time.Sleep(6 * day)
		w.far.be(func(f *farSide) { f.down = nil })
		time.Sleep(time.Hour)
		if got := ids(w.far.got()); len(w.far.got()) != 2 || !strings.Contains(got, "M1") || !strings.Contains(got, "M2") {
			t.Errorf("arrived: %s", got)
		}
	})
}

func TestAMessageThatFlashHasLostIsReportedToItsSender(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.down = unreachableHost })
		w.send(1, 300_000)
		w.send(1, 100)
		// One bit of the first message's content, found by where little else is.
		for off := int64(100_000); off < 200_000; off += 10_000 {
			w.flash.FlipBit(8 * off)
		}
		w.far.be(func(f *farSide) { f.down = nil })
		time.Sleep(time.Hour)
		var told, arrived bool
		for _, h := range w.far.got() {
			told = told || h.envelope.Report && strings.Contains(h.content, "damaged in the relay")
			arrived = arrived || h.envelope.ID == "M2"
			if h.envelope.ID == "M1" {
				t.Error("a damaged message was delivered")
			}
		}
		if !told || !arrived || w.kept() != 0 {
			t.Errorf("told: %v, the other arrived: %v, %d kept\n%s", told, arrived, w.kept(), w.log)
		}
	})
}

func TestABounceThatFindsNoRoomIsMadeLater(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.down = unreachableHost })
		for w.send(1, 700_000).Code == 250 {
		}
		for w.send(1, 1000).Code == 250 {
		}
		kept := w.kept()
		var refusals atomic.Int32
		refuseThree := func(e envelope.Envelope, _ envelope.Address) reply.Reply {
			if !e.Report && refusals.Add(1) <= 3 {
				return unknown
			}
			return ok
		}
		w.far.be(func(f *farSide) { f.down, f.answer = nil, refuseThree })
		time.Sleep(day)
		reports := 0
		for _, h := range w.far.got() {
			if h.envelope.Report && bytes.Contains([]byte(h.content), []byte("Action: failed")) {
				reports++
			}
		}
		if len(w.far.got()) != kept || w.kept() != 0 || reports+len(w.events("delivered")) < kept {
			t.Errorf("%d of %d arrived, %d bounces, %d kept", len(w.far.got()), kept, reports, w.kept())
		}
	})
}
