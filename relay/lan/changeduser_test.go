package lan

import (
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"sealpost/relay/journal"
	"sealpost/relay/policy"
)

// changingUser is the user "printer", who is bound to networks and has a password that
// change.
type changingUser struct {
	fakeUsers
	bound    atomic.Pointer[[]netip.Prefix]
	password atomic.Pointer[string]
}

func (b *changingUser) User(name string) (policy.User, bool) {
	u, known := b.fakeUsers.User(name)
	if networks := b.bound.Load(); networks != nil {
		u.Clients = *networks
	}
	if password := b.password.Load(); password != nil {
		u.Password = *password
	}
	return u, known
}

// TestAuth_EndsWhenTheUserIsChanged changes a user while a session of it is open.
func TestAuth_EndsWhenTheUserIsChanged(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*changingUser)
		want   string
	}{
		"another address":  {func(u *changingUser) { u.bound.Store(&[]netip.Prefix{netip.MustParsePrefix("127.0.2.9/32")}) }, "421 4.7.0 the user of this session may no longer log in"},
		"another password": {func(u *changingUser) { second := "second"; u.password.Store(&second) }, "421 4.7.0 the password of this session's user was changed"},
		"the same network": {func(u *changingUser) { u.bound.Store(&[]netip.Prefix{netip.MustParsePrefix("127.0.2.0/24")}) }, "250"},
	} {
		t.Run(name, func(t *testing.T) {
			users := &changingUser{}
			_, address := startWithPolicy(t, &fakeAcceptor{}, func(config *Config) { config.Users = users }, authPolicy(), journal.Discard())
			client := dialAuth(t, "127.0.2.1", address)
			for _, step := range []struct{ send, want string }{
				{"AUTH PLAIN " + b64("\x00printer\x00"+rightPassword), "235"}, {"MAIL FROM:<a@contoso.com>", "250"}, {"RSET", "250"},
			} {
				if got := client.ask(step.send); !strings.HasPrefix(got, step.want) {
					t.Fatalf("%s: got %q, want %q", step.send, got, step.want)
				}
			}
			c.change(users)
			if got := client.ask("MAIL FROM:<a@contoso.com>"); !strings.HasPrefix(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
