package lan

import (
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"sealpost/relay/journal"
	"sealpost/relay/policy"
)

// boundUser is the user "printer", bound to networks that change.
type boundUser struct {
	fakeUsers
	bound atomic.Pointer[[]netip.Prefix]
}

func (b *boundUser) User(name string) (policy.User, bool) {
	u, known := b.fakeUsers.User(name)
	if networks := b.bound.Load(); networks != nil {
		u.Clients = *networks
	}
	return u, known
}

// TestAuth_EndsWhenTheUserIsBoundToOtherAddresses has a user who is bound to another
// address while a session of it is open.
func TestAuth_EndsWhenTheUserIsBoundToOtherAddresses(t *testing.T) {
	users := &boundUser{}
	_, address := startWithPolicy(t, &fakeAcceptor{}, func(config *Config) { config.Users = users }, authPolicy(), journal.Discard())
	c := dialAuth(t, "127.0.2.1", address)
	for _, step := range []struct{ send, want string }{
		{"AUTH PLAIN " + b64("\x00printer\x00"+rightPassword), "235"}, {"MAIL FROM:<a@contoso.com>", "250"}, {"RSET", "250"},
	} {
		if got := c.ask(step.send); !strings.HasPrefix(got, step.want) {
			t.Fatalf("%s: got %q, want %q", step.send, got, step.want)
		}
	}
	users.bound.Store(&[]netip.Prefix{netip.MustParsePrefix("127.0.2.9/32")})
	if got := c.ask("MAIL FROM:<a@contoso.com>"); !strings.HasPrefix(got, "421 4.7.0 the user of this session may no longer log in") {
		t.Errorf("got %q, want 421", got)
	}
}
