package esmtp

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/parts"
)

// recorder is an Observer that records the lines.
type recorder struct{ lines []string }

func (r *recorder) Sent(line string)     { r.lines = append(r.lines, "> "+line) }
func (r *recorder) Received(line string) { r.lines = append(r.lines, "< "+line) }

// fakeMechanism is a SASL mechanism that records the challenges and gives each an
// empty response.
type fakeMechanism struct {
	initial    []byte
	challenges []string
}

func (s *fakeMechanism) Start() (string, []byte, error) { return "XOAUTH2", s.initial, nil }
func (s *fakeMechanism) Next(challenge []byte) ([]byte, error) {
	s.challenges = append(s.challenges, string(challenge))
	return nil, nil
}

// connected returns the two ends of a buffered connection.
func connected(t *testing.T) (client, server net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if client, err = net.Dial("tcp", listener.Addr().String()); err == nil {
		server, err = listener.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

// connectTLS returns a client over TLS after EHLO.
func connectTLS(t *testing.T, skip bool, observer Observer, replies ...string) (*Client, *server) {
	t.Helper()
	authority, err := parts.NewAuthority("Test CA")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := authority.IssueP256(nil, "mx")
	if err != nil {
		t.Fatal(err)
	}
	client, serverEnd := connected(t)
	s := &server{conn: tls.Server(serverEnd, &tls.Config{Certificates: []tls.Certificate{certificate}}),
		replies: append([]string{"250-mx\r\n250 AUTH login XOAUTH2"}, replies...)}
	s.playing.Go(s.play)
	conn := tls.Client(client, &tls.Config{ServerName: "mx", RootCAs: authority.Pool(), InsecureSkipVerify: skip})
	ctx := context.Background()
	err = conn.HandshakeContext(ctx)
	c := (*Client)(nil)
	if err == nil {
		c, err = Dialogue(ctx, conn, observer, 2*time.Second)
	}
	if err == nil {
		err = c.Hello(ctx, "relay")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		s.playing.Wait()
	})
	return c, s
}

func TestAuth_RequiresAVerifiedServer(t *testing.T) {
	plain, plainServer := connect(t, "AUTH", "235 ok")
	skipped, skippedServer := connectTLS(t, true, discardingObserver{}, "235 ok")
	for _, c := range []struct {
		client *Client
		server *server
	}{{plain, plainServer}, {skipped, skippedServer}} {
		if err := c.client.Auth(context.Background(), &fakeMechanism{initial: []byte("x")}); !errors.Is(err, ErrNotVerified) {
			t.Errorf("got %v, want ErrNotVerified", err)
		}
		if received := c.server.lines(c.client); len(received) != 0 {
			t.Errorf("got %q at the server, want nothing", received)
		}
	}
}

func TestAuth_RedactsTheSecret(t *testing.T) {
	secret := base64.StdEncoding.EncodeToString([]byte("the secret"))
	seen := &recorder{}
	c, s := connectTLS(t, false, seen, "500 5.3.3 Unrecognized command AUTH XOAUTH2 "+secret, "235 2.7.0 ok")
	if got := c.Mechanisms(); !slices.Equal(got, []string{"LOGIN", "XOAUTH2"}) {
		t.Errorf("got mechanisms %q, want LOGIN and XOAUTH2", got)
	}
	unexpected := (*UnexpectedReply)(nil)
	if err := c.Auth(context.Background(), &fakeMechanism{initial: []byte("the secret")}); !errors.As(err, &unexpected) || strings.Contains(err.Error(), secret) {
		t.Errorf("got %v", err)
	}
	if err := c.Auth(context.Background(), &fakeMechanism{initial: []byte("the secret")}); err != nil {
		t.Error(err)
	}
	if received := s.lines(c); !slices.Equal(received, []string{"AUTH XOAUTH2 " + secret, "AUTH XOAUTH2 " + secret}) {
		t.Errorf("got %q at the server, want AUTH with the secret twice", received)
	}
	text := strings.Join(seen.lines, "\n")
	if strings.Contains(text, secret) || strings.Count(text, "> AUTH XOAUTH2 [redacted]") != 2 {
		t.Errorf("got observed lines\n%s\nwant the secret redacted twice", text)
	}
}

// secretMechanism is a mechanism with a secret in its initial response.
type secretMechanism struct{ fakeMechanism }

func (*secretMechanism) Secret() string { return "the token" }

func TestAuth_RedactsASecretRepeatedByTheServer(t *testing.T) {
	seen := &recorder{}
	c, _ := connectTLS(t, false, seen, "535-5.7.3 not the token\r\n535 5.7.3 that you have shown: the token.")
	err := c.Auth(context.Background(), &secretMechanism{fakeMechanism{initial: []byte("user=x auth=the token")}})
	if text := fmt.Sprint(err, seen.lines); strings.Contains(text, "the token") || strings.Count(text, "[redacted]") < 3 {
		t.Errorf("got shown text %s, want the token redacted", text)
	}
}

func TestAuth_RedactsASecretInAChallenge(t *testing.T) {
	reason := base64.StdEncoding.EncodeToString([]byte(`{"status":"401","token":"the token"}`))
	seen := &recorder{}
	c, _ := connectTLS(t, false, seen, "334 "+reason, "535 5.7.3 no")
	m := &secretMechanism{fakeMechanism{initial: []byte("user=x auth=the token")}}
	if err := c.Auth(context.Background(), m); err == nil || strings.Contains(fmt.Sprint(err, seen.lines), reason) {
		t.Errorf("got error %v, observed lines %q, want neither to contain the challenge", err, seen.lines)
	}
	if len(m.challenges) != 1 || !strings.Contains(m.challenges[0], "401") {
		t.Errorf("got challenges %q, want one with 401", m.challenges)
	}
}

// oneOctetMechanism is a mechanism that responds to a challenge with one octet (RFC 7628).
type oneOctetMechanism struct{ fakeMechanism }

func (*oneOctetMechanism) Next([]byte) ([]byte, error) { return []byte{1}, nil }

func TestAuth_RedactsAResponseRepeatedLater(t *testing.T) {
	response := base64.StdEncoding.EncodeToString([]byte("user=x auth=the token"))
	seen := &recorder{}
	c, _ := connectTLS(t, false, seen, "334 ", "535 5.7.3 you said "+response)
	err := c.Auth(context.Background(), &oneOctetMechanism{fakeMechanism{initial: []byte("user=x auth=the token")}})
	if text := fmt.Sprint(err, seen.lines); strings.Contains(text, response) {
		t.Errorf("got shown text %s, want no response in it", text)
	}
}

func TestAuth_ReadsTheReasonBeforeTheReply(t *testing.T) {
	c, s := connectTLS(t, false, discardingObserver{}, "334 "+base64.StdEncoding.EncodeToString([]byte(`{"status":"401"}`)), "535 5.7.3 no", "235 2.7.0 ok")
	m := &fakeMechanism{initial: []byte("x")}
	unexpected := (*UnexpectedReply)(nil)
	if err := c.Auth(context.Background(), m); !errors.As(err, &unexpected) || unexpected.Reply.Code != 535 || unexpected.Command != "AUTH XOAUTH2" {
		t.Errorf("got %v", err)
	}
	if !slices.Equal(m.challenges, []string{`{"status":"401"}`}) {
		t.Errorf("got challenges %q, want one with 401", m.challenges)
	}
	if err := c.Auth(context.Background(), m); err != nil {
		t.Errorf("next login: got error %v", err)
	}
	if received := s.lines(c); len(received) != 3 || received[1] != "" {
		t.Errorf("got %q at the server, want three lines, the second empty", received)
	}
}

func TestAuth_IsLimited(t *testing.T) {
	for name, c := range map[string]struct {
		initial string
		replies []string
	}{
		"a response without end":    {strings.Repeat("x", maxResponse), []string{"334 ", "235 ok"}},
		"a challenge not in base64": {"x", []string{"334 ***", "235 ok"}},
		"challenges without end":    {"x", slices.Repeat([]string{"334 "}, 100)},
		"a challenge without end":   {"x", []string{"334 " + strings.Repeat("QUJD", 10_000), "235 ok"}},
	} {
		client, s := connectTLS(t, false, discardingObserver{}, c.replies...)
		if err := client.Auth(context.Background(), &fakeMechanism{initial: []byte(c.initial)}); err == nil {
			t.Errorf("%s: got no error, want one", name)
		}
		if received := s.lines(client); len(received) > 1+maxChallenges {
			t.Errorf("%s: got %d lines at the server, want at most %d", name, len(received), 1+maxChallenges)
		}
	}
}

func TestAuth_WaitsForTheChallengeWithoutInitialResponse(t *testing.T) {
	for command, initial := range map[string][]byte{"AUTH XOAUTH2": nil, "AUTH XOAUTH2 =": {}} {
		c, s := connectTLS(t, false, discardingObserver{}, "334 ", "235 ok")
		if err := c.Auth(context.Background(), &fakeMechanism{initial: initial}); err != nil {
			t.Error(err)
		}
		if received := s.lines(c); !slices.Equal(received, []string{command, ""}) {
			t.Errorf("got %q at the server, want %q and an empty line", received, command)
		}
	}
}

func TestAuth_SendsALongInitialResponseSeparately(t *testing.T) {
	const maxInitial = 512 - len("AUTH XOAUTH2 \r\n")
	for _, c := range []struct {
		length   int // in base64
		replies  []string
		separate bool // the initial response is sent after the command's 334
	}{
		{maxInitial / 4 * 4, []string{"235 ok"}, false},
		{maxInitial/4*4 + 4, []string{"334 ", "235 ok"}, true},
		{4096, []string{"334 ", "235 ok"}, true},
		{4096, []string{"504 5.5.4 no"}, true},
	} {
		initial := bytes.Repeat([]byte("x"), c.length/4*3)
		encoded := base64.StdEncoding.EncodeToString(initial)
		seen := &recorder{}
		client, s := connectTLS(t, false, seen, c.replies...)
		err := client.Auth(context.Background(), &fakeMechanism{initial: initial})
		if unexpected := (*UnexpectedReply)(nil); len(c.replies) == 1 && c.separate != errors.As(err, &unexpected) || len(c.replies) == 2 && err != nil {
			t.Errorf("%d octets: got %v", c.length, err)
		}
		want := []string{"AUTH XOAUTH2 " + encoded}
		if c.separate {
			want = []string{"AUTH XOAUTH2", encoded}[:len(c.replies)]
		}
		if received := s.lines(client); !slices.Equal(received, want) {
			t.Errorf("%d octets: got %.80q at the server, want %.80q", c.length, received, want)
		}
		if text := strings.Join(seen.lines, "\n"); strings.Contains(text, encoded) {
			t.Errorf("got observed lines %.80s, want no secret", text)
		}
	}
}
