package lan

import (
	"crypto/tls"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/relay/device"
	"sealpost/relay/journal"
	"sealpost/relay/policy"
)

// fakeRecorder keeps what is recorded.
type fakeRecorder struct {
	mu  sync.Mutex
	all []device.Observation
}

func (r *fakeRecorder) Record(o device.Observation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, o)
}

// expect waits for an observation.
func (r *fakeRecorder) expect(t *testing.T, what string, matches func(device.Observation) bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		r.mu.Lock()
		found := slices.ContainsFunc(r.all, matches)
		r.mu.Unlock()
		if found {
			return
		}
	}
	t.Errorf("%s: got %+v", what, r.all)
}

func TestRecorder_LearnsWhatToDoAboutAFailedHandshake(t *testing.T) {
	recorder := &fakeRecorder{}
	_, address := startWithPolicy(t, &fakeAcceptor{}, func(config *Config) {
		config.Recorder, config.TLS = recorder, TLS(certificatesOfTest)
	}, testPolicy(), journal.Discard())
	conn := dialFrom(t, "127.0.0.1", address)
	if err := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}).Handshake(); err == nil {
		t.Fatal("got a TLS 1.0 session")
	}
	recorder.expect(t, "TLS 1.0 only", func(o device.Observation) bool {
		return strings.HasPrefix(o.Refusal, `TLS handshake failed: the device supports only old TLS: update it, or allow that with tls = "legacy" for this device`)
	})
	conn = dialFrom(t, "127.0.0.2", address)
	if _, err := conn.Write([]byte("\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10")); err != nil {
		t.Fatal(err)
	}
	recorder.expect(t, "SSL 2.0", func(o device.Observation) bool {
		return strings.HasPrefix(o.Refusal, "TLS handshake failed: the device begins with a ClientHello of SSL 2.0")
	})
}

func TestRecorder_LearnsOnlyOfLoginsThatSucceed(t *testing.T) {
	recorder := &fakeRecorder{}
	_, address := startWithPolicy(t, &fakeAcceptor{}, func(config *Config) {
		config.Recorder, config.Users = recorder, &fakeUsers{}
	}, authPolicy(), journal.Discard())
	client := dialAuth(t, "127.0.0.1", address)
	client.ask("AUTH PLAIN " + b64("\x00printer\x00wrong"))
	recorder.expect(t, "a wrong password", func(o device.Observation) bool {
		return strings.HasPrefix(o.Refusal, "535 5.7.8") && o.Login == "" && o.User == ""
	})
	client.ask("AUTH PLAIN " + b64("\x00printer\x00"+rightPassword))
	client.ask("QUIT")
	recorder.expect(t, "the right password", func(o device.Observation) bool { return o.Login == "PLAIN" && o.User == "printer" })
}

func TestEHLO_OffersTheLimitsOfTheDevice(t *testing.T) {
	p := testPolicy()
	p.Devices = []policy.Device{{Clients: netip.MustParsePrefix("127.0.0.9/32"), Limits: policy.Limits{Recipients: 1, MessageSize: 1000}}}
	_, address := startWithPolicy(t, &fakeAcceptor{}, nil, p, journal.Discard())
	client := dialAuth(t, "127.0.0.9", address)
	if got := client.ask("EHLO device"); !strings.Contains(got, "LIMITS RCPTMAX=1\r\n") && !strings.HasSuffix(got, "LIMITS RCPTMAX=1") || !strings.Contains(got, "SIZE 1000") {
		t.Errorf("got %q", got)
	}
}
