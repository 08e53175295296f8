package console

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"sealpost/hal/fault"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/operator"
	"sealpost/provisioning/preflight"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/user"
)

// fakeBox is a box in memory. Commit rejects a candidate with a fault, and a trial
// that is not confirmed ends with a rollback.
type fakeBox struct {
	mu         sync.Mutex
	running    candidate.Running
	before     string // the settings that a rollback restores
	pin        string
	commits    []candidate.Candidate
	trialEnds  time.Time
	probed     preflight.ProbeResult
	requests   []operator.Request
	targets    []operator.Target
	tests      []string
	queue      []operator.Item
	calls      []string // of Retry, Drop, Restart, FactoryReset and SetClock
	storageErr error    // of reading the storage
	devices    operator.Devices
	questions  []operator.Question
}

const (
	fakePassword = "correct horse"
	fakePFX      = "a PFX as the fake box knows it"
	fakePEM      = "-----BEGIN CERTIFICATE-----\nZmFrZQ==\n-----END CERTIFICATE-----\n"
	fakeRequest  = "-----BEGIN CERTIFICATE REQUEST-----\nZmFrZQ==\n-----END CERTIFICATE REQUEST-----\n"
)

func newFakeBox() *fakeBox {
	return &fakeBox{probed: preflight.ProbeResult{
		Host: "contoso-com.mail.protection.outlook.com", ByMX: true, Port25: preflight.Reach{OK: true},
		STARTTLS: preflight.Reach{OK: true, Text: "its certificate is valid"},
		Port587:  preflight.Reach{Text: "connecting to smtp.office365.com: i/o timeout"},
		Advice:   "connector: the tenant's host is reachable on port 25, and its certificate is valid",
	}}
}

func (b *fakeBox) Status(context.Context) (operator.Status, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := operator.Status{Model: "Raspberry Pi 4", Serial: "10000000abcd", Version: "1.0", Uptime: 90 * time.Second, Memory: 1 << 30, Free: 900 << 20, Network: operator.Network{
		Method: "dhcp", Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.10.25/24")},
		Gateway: netip.MustParseAddr("192.168.10.1"), DNS: []netip.Addr{netip.MustParseAddr("192.168.10.1")}}}
	b.endTrial()
	s.Storage = b.storageErr
	if b.running.Trial {
		s.TrialLeft = time.Until(b.trialEnds)
	}
	return s, nil
}

func (b *fakeBox) endTrial() {
	if b.running.Trial && !time.Now().Before(b.trialEnds) {
		b.running.Settings, b.running.Trial = b.before, false
	}
}

func (b *fakeBox) Running(context.Context) (candidate.Running, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.endTrial()
	if b.storageErr != nil {
		return candidate.Running{}, b.storageErr
	}
	if b.running.Settings == "" {
		return b.running, candidate.ErrFactory
	}
	return b.running, nil
}

func (b *fakeBox) Unlock(_ context.Context, digits string) (bool, int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case digits == b.pin:
		b.running.WrongPINs = 0
	case digits != "":
		b.running.WrongPINs++
	}
	return digits == b.pin, b.running.WrongPINs, nil
}

func (b *fakeBox) Check(_ context.Context, c candidate.Candidate) error {
	var faults []error
	if c.Settings != "" {
		_, err := settings.Parse([]byte(c.Settings))
		faults = append(faults, err)
	}
	if c.PFX != nil && (string(c.PFX) != fakePFX || c.Password != fakePassword) {
		faults = append(faults, errors.New("the password of the PFX is wrong: type it again"))
	}
	faults = append(faults, user.Check(c.Users))
	if c.LAN != nil && (string(c.LAN) != fakePFX || c.LANPassword != fakePassword) {
		faults = append(faults, errors.New("the password of the PFX is wrong: type it again"))
	}
	if c.PEM != nil && !strings.HasPrefix(string(c.PEM), "-----BEGIN CERTIFICATE-----") {
		faults = append(faults, errors.New("this is no certificate in PEM: paste the certificate"))
	}
	return errors.Join(faults...)
}

func (b *fakeBox) Commit(ctx context.Context, c candidate.Candidate) error {
	if err := b.Check(ctx, c); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.Base != "" && c.Base != candidate.Version(b.running.Settings) {
		return candidate.ErrOvertaken
	}
	c.PFX = append([]byte(nil), c.PFX...) // the console clears its own
	c.LAN = append([]byte(nil), c.LAN...)
	b.commits = append(b.commits, c)
	if c.Trial && b.running.Settings != "" {
		b.before, b.running.Trial, b.trialEnds = b.running.Settings, true, time.Now().Add(2*time.Minute)
	}
	if c.Settings != "" {
		b.running.Settings = c.Settings
	}
	if c.PIN != nil {
		b.pin, b.running.Locked = *c.PIN, *c.PIN != ""
	}
	return nil
}

// Users returns what the commits left.
func (b *fakeBox) Users(context.Context) ([]user.User, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var users []user.User
	for _, c := range b.commits {
		for _, change := range c.Users {
			users = slices.DeleteFunc(users, func(u user.User) bool { return strings.EqualFold(u.Name, change.Name) })
			if !change.Remove {
				users = append(users, change.User)
			}
		}
	}
	return users, nil
}

func (b *fakeBox) Devices(context.Context) (operator.Devices, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.devices, nil
}

func (b *fakeBox) Learn(_ context.Context, l operator.Learning) (operator.Learning, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.devices.Learning = l
	return l, nil
}

func (b *fakeBox) Explain(_ context.Context, q operator.Question) ([]operator.Step, error) {
	b.questions = append(b.questions, q)
	if q.Client == "192.168.10.99" {
		return nil, errors.New("the relay does not run")
	}
	return []operator.Step{
		{Name: "client", Text: q.Client + " may connect  [lan.allow]"},
		{Name: "sender", Text: "<scanner@mfp.local> becomes <printer@contoso.com>  [senders.foreign]"},
		{Name: "recipient", Text: "<boss@contoso.com> is accepted"},
		{Name: "result", Text: "it would be sent from <printer@contoso.com> to <boss@contoso.com>"},
	}, nil
}

func (b *fakeBox) Confirm(context.Context) error {
	b.running.Trial = false
	return nil
}

func (b *fakeBox) RollBack(context.Context) error {
	b.running.Settings, b.running.Trial = b.before, false
	return nil
}

func (b *fakeBox) Probe(_ context.Context, t operator.Target) (preflight.ProbeResult, error) {
	b.targets = append(b.targets, t)
	if t.Domain == "contosso.com" {
		return preflight.ProbeResult{}, fault.New(fault.DomainUnknown, "no mail host of contosso.com is known here: check the spelling of the domain")
	}
	probed := b.probed
	if t.Host != "" {
		probed.Host, probed.ByMX = t.Host, false
	}
	probed.Port25.Text = probed.Host + " answers on port 25"
	if t.CA != "" {
		probed.Authority, probed.STARTTLS.OK, probed.STARTTLS.Text = "", true, "its certificate is valid"
		probed.Advice = probed.Advise()
	}
	return probed, nil
}

func (b *fakeBox) Preflight(context.Context) iter.Seq2[preflight.Finding, error] {
	return func(yield func(preflight.Finding, error) bool) {
		_ = yield(preflight.Finding{Name: "network", Level: certificate.OK, Text: "192.168.10.25/24 (DHCP)"}, nil) &&
			yield(preflight.Finding{Name: "certificate", Level: certificate.Note, Text: "it is for server authentication only; Exchange Online accepts such a certificate so far"}, nil) &&
			yield(preflight.Finding{Name: "upstream", Level: certificate.OK, Text: "it accepts our mail"}, nil)
	}
}

func (b *fakeBox) SendTest(_ context.Context, to string) iter.Seq2[operator.Step, error] {
	b.tests = append(b.tests, to)
	return func(yield func(operator.Step, error) bool) {
		_ = yield(operator.Step{Name: "received", Text: "412 octets, ID 7"}, nil) &&
			yield(operator.Step{Name: "connected", Text: "contoso-com.mail.protection.outlook.com at 203.0.113.25, TLS 1.3, shown: relay.contoso.com"}, nil) &&
			yield(operator.Step{Name: "delivered", Text: "250 2.0.0 Ok: queued as 4F1 (after 0.4s)"}, nil)
	}
}

func (b *fakeBox) Certificate(context.Context) (string, error) {
	return "certificate  CN=relay.contoso.com\nkey          RSA-2048, in the TPM (tpm-resident)\n", nil
}

func (b *fakeBox) Authority(context.Context) (string, error) { return fakePEM, nil }

func (b *fakeBox) Request(_ context.Context, r operator.Request) (string, error) {
	b.requests = append(b.requests, r)
	return fakeRequest, nil
}

func (b *fakeBox) TenantScript(context.Context) (string, error) {
	return "# Sealpost: set up the tenant.\n$name = 'Sealpost'\n", nil
}

func (b *fakeBox) TenantCertificate(context.Context) (string, error) { return fakePEM, nil }

func (b *fakeBox) DKIM(_ context.Context, action operator.DKIMAction) (string, error) {
	if action == operator.DKIMActivate {
		return "", fault.New(fault.DKIMUnpublished, "sealpost-20261127a-r._domainkey.contoso.com is not in DNS")
	}
	return "DKIM " + string(action), nil
}

func (b *fakeBox) SignIn(context.Context) iter.Seq2[operator.Step, error] {
	return func(yield func(operator.Step, error) bool) {
		_ = yield(operator.Step{Name: "page", Text: "https://microsoft.com/devicelogin"}, nil) &&
			yield(operator.Step{Name: "code", Text: "ABCD-EFGH"}, nil) &&
			yield(operator.Step{Name: "signed in", Text: "as relay@contoso.com"}, nil)
	}
}

func (b *fakeBox) VerifyTenant(context.Context) iter.Seq2[preflight.Finding, error] {
	return func(yield func(preflight.Finding, error) bool) {
		_ = yield(preflight.Finding{Name: "credential", Level: certificate.OK, Text: "a client secret is stored"}, nil) &&
			yield(preflight.Finding{Name: "token", Level: certificate.Problem, Text: "the client secret has expired: make a new one"}, nil)
	}
}

func (b *fakeBox) Messages(context.Context) ([]string, error) {
	return []string{"03:11:47 7 delivered: 250 2.0.0 Ok"}, nil
}

func (b *fakeBox) Queue(context.Context) (operator.Queue, error) {
	if len(b.queue) == 0 {
		return operator.Queue{Summary: "0 messages queued"}, nil
	}
	return operator.Queue{Summary: "2 messages queued: the tenant is busy", Items: b.queue}, nil
}

func (b *fakeBox) record(text string) error {
	b.calls = append(b.calls, text)
	return nil
}

func (b *fakeBox) Retry(context.Context) error             { return b.record("retry") }
func (b *fakeBox) Drop(_ context.Context, id string) error { return b.record("drop " + id) }
func (b *fakeBox) Logs(context.Context) ([]string, error) {
	return []string{"event=\"relay started\""}, nil
}
func (b *fakeBox) Restart(context.Context) error      { return b.record("restart") }
func (b *fakeBox) FactoryReset(context.Context) error { return b.record("reset") }
func (b *fakeBox) SetClock(_ context.Context, t time.Time) error {
	return b.record("clock " + t.Format(time.RFC3339))
}
