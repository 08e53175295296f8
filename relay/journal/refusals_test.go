package journal

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/relay/reply"
)

// TestRefusals_DoNotDisplaceDeliveries floods the journal with every event that an
// unknown client can cause.
func TestRefusals_DoNotDisplaceDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		j := New(Text(&log, true))
		j.Delivered("first", "", Connection{}, reply.New(250, 0, 0, ""), 0)
		rejection := reply.New(554, 7, 1, "no")
		const flood = 2000
		for i := range flood {
			client := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
			j.ClientRefused(client, rejection)
			j.CommandRefused(client, "MAIL FROM:<x>", "501 no")
			j.HandshakeFailed(client, fmt.Errorf("no"))
			j.TLSFirst(client)
			j.NotReceived("1", client, rejection)
			j.SessionEnded(client, 0, time.Second)
		}
		var replayed bytes.Buffer
		if err := j.Replay(t.Context(), Text(&replayed, true)); err != nil || !strings.Contains(replayed.String(), "id=first") {
			t.Errorf("the delivery is not in the journal any more, %v", err)
		}
		if n := strings.Count(log.String(), "\n"); n != 1+maxPerPeriod+maxNew {
			t.Errorf("%d events, want %d", n, 1+maxPerPeriod+maxNew)
		}
		log.Reset()
		time.Sleep(refusalPeriod)
		j.ClientRefused(netip.MustParseAddr("10.0.0.1"), rejection)
		want := fmt.Sprintf(`event="refusals not shown" count=%d clients=%d`, 6*flood-maxPerPeriod-maxNew, maxHiddenClient)
		if !strings.Contains(log.String(), want) || !strings.Contains(log.String(), `event="client refused"`) {
			t.Errorf("got %q, want %q", log.String(), want)
		}
	})
}

func TestRefusals_ShowsSomeOfEachClient(t *testing.T) {
	var log bytes.Buffer
	j := New(Text(&log, false))
	for range 1000 {
		j.ClientRefused(netip.MustParseAddr("10.0.0.1"), reply.New(554, 7, 1, "no"))
	}
	j.ClientRefused(netip.MustParseAddr("10.0.0.2"), reply.New(554, 7, 1, "no"))
	if n := strings.Count(log.String(), "10.0.0.1"); n != maxPerClient || !strings.Contains(log.String(), "10.0.0.2") {
		t.Errorf("got %s", log.String())
	}
}
