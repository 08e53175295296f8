package dispatch

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"sealpost/hal/simflash"
	"sealpost/relay/spool"
)

func TestAfterAFailedWriteNothingIsPromisedAndTheRelayIsToldToEnd(t *testing.T) {
	for _, fate := range []simflash.Fate{simflash.Failed, simflash.Short, simflash.NoSpace} {
		inWorld(t, nil, func(w *world) {
			w.far.be(func(f *farSide) { f.down = unreachableHost })
			if answer := w.send(1, 100); answer.Code != 250 {
				t.Fatalf("answered %s", answer)
			}
			done := w.flash.Counts()
			for call := range 20 {
				w.flash.At(done.Writes+done.Flushes+1+call, fate)
			}
			for range 3 {
				if answer := w.send(1, 100); answer.Code != 451 || !strings.Contains(answer.Text, "the spool's flash failed and nothing more is written to it: restart the box") {
					t.Errorf("answered %s", answer)
				}
			}
			if err := w.d.Failed(); !errors.Is(err, spool.ErrPoisoned) {
				t.Errorf("the relay is told %v", err)
			}
			w.far.be(func(f *farSide) { f.down = nil })
			time.Sleep(time.Hour)
			if answer := w.send(1, 100); !strings.Contains(answer.Text, "taken by mx") {
				t.Errorf("with the upstream back: %s", answer)
			}
			w.poisoned = true
		})
	}
}

func TestAMessageOfWhichNothingCanBeReadStandsInNobodysWay(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.far.be(func(f *farSide) { f.down = unreachableHost })
		w.send(1, 100)
		w.send(2, 100)
		w.flash.FailReads(0, w.flash.Size())
		w.far.be(func(f *farSide) { f.down = nil })
		time.Sleep(time.Hour)
		if answer := w.send(1, 100); !strings.Contains(answer.Text, "taken by mx") {
			t.Errorf("answered %s", answer)
		}
		if n := len(w.events("damaged")); n != 2 || w.kept() != 0 {
			t.Errorf("%d are reported, %d kept", n, w.kept())
		}
	})
}

func TestASitesFaultWithNowhereToKeepMailIsNoReasonForADeviceToGiveUp(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		kept := w.d
		w.d = New(w.setup.Config, w.setup.Route, kept.journal)
		w.far.be(func(f *farSide) { f.answer = says(denied) })
		if answer := w.send(1, 100); !strings.HasPrefix(answer.String(), "451 4.7.64 mx said: 550 5.7.64 Tenant") || !strings.Contains(answer.Text, "no connector of the tenant matches") {
			t.Errorf("answered %s", answer)
		}
		if err := w.d.Close(context.Background()); err != nil {
			t.Error(err)
		}
		w.d = kept
	})
}
