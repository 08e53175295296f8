package lan

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/relay/journal"
	"sealpost/relay/policy"
	"sealpost/relay/reply"
)

const rightPassword = "correct horse"

// fakeUsers has one user, "printer".
type fakeUsers struct {
	cram  bool
	empty bool
	slow  time.Duration // that a check takes
}

func (f *fakeUsers) Empty() bool { return f.empty }

func (f *fakeUsers) Authenticate(ctx context.Context, name, password string) bool {
	select {
	case <-time.After(f.slow):
	case <-ctx.Done():
		return false
	}
	return strings.EqualFold(name, "printer") && password == rightPassword
}

func (f *fakeUsers) OffersCRAM() bool { return f.cram }

func (f *fakeUsers) AnswersChallenge(_ context.Context, name string, challenge, digest []byte) bool {
	return f.cram && name == "printer" && hmac.Equal(cramDigest(challenge), digest)
}

func cramDigest(challenge []byte) []byte {
	h := hmac.New(md5.New, []byte(rightPassword))
	h.Write(challenge)
	return h.Sum(nil)
}

func (f *fakeUsers) User(name string) (policy.User, bool) {
	return policy.User{Name: "printer"}, strings.EqualFold(name, "printer")
}

// authPolicy has networks for each setting about logins.
func authPolicy() *policy.Policy {
	p := testPolicy()
	p.RequireTLS = []netip.Prefix{netip.MustParsePrefix("127.0.1.0/24")}
	p.RequireAuth = []netip.Prefix{netip.MustParsePrefix("127.0.2.0/24")}
	p.Devices = []policy.Device{{Clients: netip.MustParsePrefix("127.0.3.0/24"), Auth: policy.AnyLogin}}
	return p
}

func b64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// TestAuth_AnswersEachDialogue has dialogues that begin after EHLO. Each step is what the
// client sends, and the beginning of the reply. A client that sends STARTTLS goes on under
// TLS.
func TestAuth_AnswersEachDialogue(t *testing.T) {
	right, wrong := b64("\x00printer\x00"+rightPassword), b64("\x00printer\x00wrong")
	type step struct{ send, want string }
	const username, prompt = "334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"
	for name, c := range map[string]struct {
		from  string // 127.0.0.1 if empty
		users fakeUsers
		steps []step
	}{
		"PLAIN at once":                  {steps: []step{{"AUTH PLAIN " + right, "235 2.7.0"}}},
		"PLAIN in small letters":         {steps: []step{{"auth plain " + right, "235 2.7.0"}}},
		"PLAIN after a prompt":           {steps: []step{{"AUTH PLAIN", "334"}, {right, "235 2.7.0"}}},
		"PLAIN without padding":          {steps: []step{{"AUTH PLAIN " + strings.TrimRight(right, "="), "235 2.7.0"}}},
		"PLAIN with an identity":         {steps: []step{{"AUTH PLAIN " + b64("somebody\x00printer\x00"+rightPassword), "235 2.7.0"}}},
		"PLAIN with a wrong password":    {steps: []step{{"AUTH PLAIN " + wrong, "535 5.7.8"}, {"AUTH PLAIN " + right, "235 2.7.0"}}},
		"PLAIN of an unknown user":       {steps: []step{{"AUTH PLAIN " + b64("\x00nobody\x00"+rightPassword), "535 5.7.8"}}},
		"PLAIN without a name":           {steps: []step{{"AUTH PLAIN " + b64("\x00\x00"), "535 5.7.8"}}},
		"PLAIN of two parts":             {steps: []step{{"AUTH PLAIN " + b64("printer\x00"+rightPassword), "501 5.5.2"}}},
		"PLAIN of four parts":            {steps: []step{{"AUTH PLAIN " + b64("\x00printer\x00"+rightPassword+"\x00"), "501 5.5.2"}}},
		"PLAIN of nothing":               {steps: []step{{"AUTH PLAIN =", "501 5.5.2"}}},
		"PLAIN, cancelled":               {steps: []step{{"AUTH PLAIN", "334"}, {"*", "501 5.5.0"}, {"AUTH PLAIN " + right, "235"}}},
		"PLAIN, not base64":              {steps: []step{{"AUTH PLAIN ?!", "501 5.5.2"}}},
		"PLAIN, an empty line":           {steps: []step{{"AUTH PLAIN", "334"}, {"", "501 5.5.2"}}},
		"PLAIN of 12,288 octets":         {steps: []step{{"AUTH PLAIN " + strings.Repeat("A", 12288), "501 5.5.2"}, {"NOOP", "250"}}},
		"PLAIN that is too long":         {steps: []step{{"AUTH PLAIN " + strings.Repeat("A", 12289), "501 5.5.2"}, {"AUTH PLAIN " + right, "235"}}},
		"PLAIN, too long after a prompt": {steps: []step{{"AUTH PLAIN", "334"}, {strings.Repeat("A", 60000), "501 5.5.2"}, {"NOOP", "250"}}},
		"LOGIN":                          {steps: []step{{"AUTH LOGIN", username}, {b64("printer"), prompt}, {b64(rightPassword), "235 2.7.0"}}},
		"LOGIN with the name":            {steps: []step{{"AUTH LOGIN " + b64("PRINTER"), prompt}, {b64(rightPassword), "235 2.7.0"}}},
		"LOGIN with a wrong password":    {steps: []step{{"AUTH LOGIN", username}, {b64("printer"), prompt}, {b64("wrong"), "535 5.7.8"}}},
		"LOGIN, cancelled":               {steps: []step{{"AUTH LOGIN", username}, {"*", "501 5.5.0"}, {"NOOP", "250"}}},
		"LOGIN, cancelled later":         {steps: []step{{"AUTH LOGIN", username}, {b64("printer"), prompt}, {"*", "501 5.5.0"}, {"NOOP", "250"}}},
		"LOGIN, not base64":              {steps: []step{{"AUTH LOGIN", username}, {"printer!", "501 5.5.2"}, {"NOOP", "250"}}},
		"LOGIN, an empty password":       {steps: []step{{"AUTH LOGIN", username}, {b64("printer"), prompt}, {"", "535 5.7.8"}}},
		"CRAM-MD5 that nobody has":       {steps: []step{{"AUTH CRAM-MD5", "334 "}, {b64("printer 00"), "535 5.7.8"}}},
		"CRAM-MD5, wrong":                {users: fakeUsers{cram: true}, steps: []step{{"AUTH CRAM-MD5", "334 "}, {b64("printer " + strings.Repeat("0", 32)), "535 5.7.8 the user name or the password is wrong, or the user was added without CRAM-MD5"}}},
		"CRAM-MD5 without a name":        {users: fakeUsers{cram: true}, steps: []step{{"AUTH CRAM-MD5", "334 "}, {b64(strings.Repeat("0", 32)), "501 5.5.2"}}},
		"CRAM-MD5, no digits":            {users: fakeUsers{cram: true}, steps: []step{{"AUTH CRAM-MD5", "334 "}, {b64("printer x"), "501 5.5.2"}}},
		"CRAM-MD5 at once":               {users: fakeUsers{cram: true}, steps: []step{{"AUTH CRAM-MD5 " + b64("printer x"), "334 "}, {"*", "501 5.5.0"}}},
		"an unknown mechanism":           {steps: []step{{"AUTH XOAUTH2 x", "504 5.5.4 AUTH XOAUTH2 is not supported: choose one of PLAIN, LOGIN on the device"}}},
		"a password instead":             {steps: []step{{"AUTH " + right, "504 5.5.4 this kind of AUTH is not supported"}}},
		"PLAIN after a tab":              {steps: []step{{"AUTH\tPLAIN\t" + right, "235 2.7.0"}}},
		"no mechanism":                   {steps: []step{{"AUTH", "504 5.5.4"}}},
		"twice":                          {steps: []step{{"AUTH PLAIN " + right, "235"}, {"AUTH PLAIN " + right, "503 5.5.1"}}},
		"in a transaction":               {steps: []step{{"MAIL FROM:<a@contoso.com>", "250"}, {"AUTH PLAIN " + right, "503 5.5.1"}, {"RSET", "250"}, {"AUTH PLAIN " + right, "235"}}},
		"after a message was refused":    {steps: []step{{"MAIL FROM:<a b>", "50"}, {"AUTH PLAIN " + right, "235"}}},
		"no users":                       {users: fakeUsers{empty: true}, steps: []step{{"AUTH PLAIN " + right, "502 5.5.1 this relay needs no user name"}}},
		"in clear where TLS is required": {from: "127.0.1.1", steps: []step{
			{"AUTH PLAIN " + right, "538 5.7.11"}, {"MAIL FROM:<a@contoso.com>", "530 5.7.0"}, {"STARTTLS", "220"}, {"EHLO x", "250"}, {"AUTH PLAIN " + right, "235"}, {"MAIL FROM:<a@contoso.com>", "250"}}},
		"forgotten by STARTTLS": {from: "127.0.2.1", steps: []step{
			{"MAIL FROM:<a@contoso.com>", "530 5.7.0"}, {"AUTH PLAIN " + right, "235"}, {"STARTTLS", "220"}, {"EHLO x", "250"}, {"MAIL FROM:<a@contoso.com>", "530 5.7.0"}, {"AUTH PLAIN " + right, "235"}, {"MAIL FROM:<a@contoso.com>", "250"}}},
		"kept by RSET and EHLO": {from: "127.0.2.1", steps: []step{
			{"AUTH PLAIN " + right, "235"}, {"RSET", "250"}, {"EHLO y", "250"}, {"MAIL FROM:<a@contoso.com>", "250"}}},
		"any login": {from: "127.0.3.1", users: fakeUsers{empty: true}, steps: []step{{"AUTH PLAIN " + wrong, "235"}, {"MAIL FROM:<a@contoso.com>", "250"}}},
		"five wrong passwords": {steps: []step{
			{"AUTH PLAIN " + wrong, "535"}, {"AUTH PLAIN " + wrong, "535"}, {"AUTH PLAIN " + wrong, "535"}, {"AUTH PLAIN " + wrong, "535"}, {"AUTH PLAIN " + wrong, "535"},
			{"AUTH PLAIN " + right, "454 4.7.0 too many wrong passwords: try again in 10s"}, {"AUTH LOGIN " + b64("another"), prompt}, {b64("x"), "454 4.7.0"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.from == "" {
				c.from = "127.0.0.1"
			}
			_, address := startWithPolicy(t, &fakeAcceptor{}, func(config *Config) { config.Users = &c.users }, authPolicy(), journal.Discard())
			client := dialAuth(t, c.from, address)
			for _, step := range c.steps {
				if got := client.ask(step.send); !strings.HasPrefix(got, step.want) {
					t.Fatalf("%.60q: got %q, want %q", step.send, got, step.want)
				}
				if step.send == "STARTTLS" {
					client.conn = tls.Client(client.conn, &tls.Config{InsecureSkipVerify: true})
					client.r = bufio.NewReader(client.conn)
				}
			}
		})
	}
}

// authClient asks commands, and gets replies as texts.
type authClient struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

// dialAuth returns a client that has sent EHLO.
func dialAuth(t *testing.T, from, address string) *authClient {
	t.Helper()
	conn := dialFrom(t, from, address)
	c := &authClient{t, conn, bufio.NewReader(conn)}
	if _, err := reply.Read(c.r, func(string) {}); err != nil {
		t.Fatal(err)
	}
	c.ask("EHLO device")
	return c
}

// ask returns the reply, its lines joined.
func (c *authClient) ask(command string) string {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, command+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
	var all []string
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("after %.60q: %v", command, err)
		}
		all = append(all, strings.TrimRight(line, "\r\n"))
		if len(line) < 4 || line[3] != '-' {
			return strings.Join(all, "\n")
		}
	}
}

func TestAuth_AcceptsTheAnswerToItsChallenge(t *testing.T) {
	d := &fakeAcceptor{}
	_, address := start(t, d, func(c *Config) { c.Users = &fakeUsers{cram: true} })
	c := dialAuth(t, "127.0.0.1", address)
	var before string
	for _, want := range []string{"535 5.7.8", "235 2.7.0"} {
		encoded, is := strings.CutPrefix(c.ask("AUTH CRAM-MD5"), "334 ")
		challenge, err := base64.StdEncoding.DecodeString(encoded)
		if !is || err != nil || string(challenge) == before || !strings.HasSuffix(string(challenge), "@relay.contoso.com>") {
			t.Fatalf("got challenge %q, %v", challenge, err)
		}
		answered := challenge
		if want[0] == '5' {
			answered = []byte("<another@challenge>") // a replay
		}
		if got := c.ask(b64("printer " + hex.EncodeToString(cramDigest(answered)))); !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		before = string(challenge)
	}
}

func TestAuth_IsOfferedWhereALoginCanSucceed(t *testing.T) {
	for _, c := range []struct {
		from  string
		users fakeUsers
		want  string
	}{
		{"127.0.0.1", fakeUsers{empty: true}, ""},
		{"127.0.0.1", fakeUsers{}, "PLAIN LOGIN"},
		{"127.0.0.1", fakeUsers{cram: true}, "PLAIN LOGIN CRAM-MD5"},
		{"127.0.1.1", fakeUsers{cram: true}, ""},
		{"127.0.3.1", fakeUsers{empty: true}, "PLAIN LOGIN"},
	} {
		_, address := startWithPolicy(t, &fakeAcceptor{}, func(config *Config) { config.Users = &c.users }, authPolicy(), journal.Discard())
		got := dialAuth(t, c.from, address).ask("EHLO device")
		if offered := strings.Contains(got, "250-AUTH "); offered != (c.want != "") || !strings.Contains(got, "250-AUTH "+c.want+"\n250-AUTH="+c.want+"\n") && offered {
			t.Errorf("%s: got %q, want %q", c.from, got, c.want)
		}
	}
}

// TestAuth_ChecksFewGuessesAtOnce has an address guess over many connections, which all
// have been admitted before the first guess is wrong.
func TestAuth_ChecksFewGuessesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users := &fakeUsers{slow: time.Second}
		s := New(Config{Hostname: "relay.contoso.com", Limits: testLimits, Users: users}, testPolicy(), &fakeAcceptor{}, journal.Discard())
		defer s.cancel()
		const guessers = 40
		replies := make(chan reply.Reply, guessers)
		for n := range guessers {
			conn := newClientConn(nil, policy.Client{Address: netip.MustParseAddr("127.0.0.9")}, policy.Access{Allowed: true}, s.sessions)
			conn.server = s
			given := credentials{mechanism: "PLAIN", name: "printer", password: fmt.Sprintf("guess %d", n)}
			if n == guessers-1 {
				time.Sleep(time.Millisecond)
				given.password = rightPassword
			}
			go func() { replies <- conn.checkLogin(policy.Access{Allowed: true}, given) }()
		}
		codes := map[int]int{}
		for range guessers {
			codes[(<-replies).Code]++
		}
		if codes[535] > freeFailures || codes[235] > 0 {
			t.Errorf("got replies %v, want at most %d of 535 and none of 235", codes, freeFailures)
		}
	})
}

func TestAuth_DefersALoginThatTakesTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users := &fakeUsers{slow: time.Hour}
		s := New(Config{Hostname: "relay.contoso.com", Limits: testLimits, Users: users}, testPolicy(), &fakeAcceptor{}, journal.Discard())
		defer s.cancel()
		conn := newClientConn(nil, policy.Client{Address: netip.MustParseAddr("127.0.0.9")}, policy.Access{Allowed: true}, s.sessions)
		conn.server = s
		given := credentials{mechanism: "PLAIN", name: "printer", password: rightPassword}
		for range 2 * freeFailures {
			if got := conn.checkLogin(policy.Access{Allowed: true}, given); got.Code != 454 {
				t.Errorf("got %v, want 454", got)
			}
		}
		if wait := s.logins.delay(conn.client, "printer"); wait > 0 {
			t.Errorf("got a delay of %v for logins that were not checked, want none", wait)
		}
	})
}

func TestCredentials_AreNotPrinted(t *testing.T) {
	c := credentials{name: "printer", password: rightPassword}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		if got := fmt.Sprintf(format, c); got != "[credentials]" {
			t.Errorf("%s: got %q", format, got)
		}
	}
}
