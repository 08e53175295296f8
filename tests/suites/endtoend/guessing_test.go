package endtoend

import (
	"fmt"
	"net/smtp"
	"strings"
	"sync"
	"testing"
	"time"
)

// login logs in by PLAIN from an address, and returns the reply as net/smtp prints it; it
// is empty if the login succeeds.
func (s *site) login(from, name, password string) string {
	s.t.Helper()
	client, err := smtp.NewClient(dialFrom(s.t, from, s.address()), "localhost")
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	if err := client.Auth(smtp.PlainAuth("", name, password, "localhost")); err != nil {
		return strings.ReplaceAll(err.Error(), `"`, "")
	}
	return ""
}

// TestGuessing_IsSlowedDownAndLeavesDevicesAlone guesses passwords from several addresses
// and of several users.
func TestGuessing_IsSlowedDownAndLeavesDevicesAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteConfig{host: "localhost", protection: "file"})
	for _, name := range []string{"canon", "ups", "erp"} {
		if result := s.run("user", "add", name, "--password-file", s.path("password")); result.Status != 0 {
			t.Fatalf("%+v", result)
		}
	}
	s.start()
	expect := func(what, got, want string) {
		t.Helper()
		if !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	const device, guesser = "127.50.0.1", "127.50.0.2"
	const wrong, tooMany = "535 5.7.8 the user name or the password is wrong", "454 4.7.0 too many wrong passwords: try again in "
	expect("the device", s.login(device, "canon", password), "")

	// By address: five names from one.
	for n := range 5 {
		expect("a guess", s.login(guesser, fmt.Sprintf("user%d", n), "a guess"), wrong)
	}
	begun := time.Now()
	expect("the sixth guess of an address", s.login(guesser, "ups", password), tooMany)
	expect("the same user from another address", s.login("127.50.0.3", "ups", password), "")

	// By name: one from five addresses.
	for n := range 5 {
		expect("a guess", s.login(fmt.Sprintf("127.50.1.%d", n+1), "CANON", "a guess"), wrong)
	}
	expect("the sixth guess of a name", s.login("127.50.1.9", "canon", password), tooMany)
	for range 3 {
		expect("the device, meanwhile", s.login(device, "canon", password), "")
	}
	expect("another user", s.login("127.50.1.9", "erp", password), "")

	// At once, over many connections.
	var guessing sync.WaitGroup
	replies := make([]string, 20)
	for n := range replies {
		guessing.Go(func() { replies[n] = s.login("127.50.2.1", fmt.Sprintf("at-once%d", n), "a guess") })
	}
	guessing.Wait()
	checked := 0
	for _, reply := range replies {
		if strings.HasPrefix(reply, wrong) {
			checked++
		} else {
			expect("a guess at once", reply, tooMany)
		}
	}
	if most := 5; checked > most {
		t.Errorf("got %d guesses at once checked, want at most %d", checked, most)
	}

	// After the delay, the next one is twice as long.
	time.Sleep(time.Until(begun.Add(10*time.Second + 500*time.Millisecond)))
	expect("a guess after the delay", s.login(guesser, "user9", "a guess"), wrong)
	reply := s.login(guesser, "user9", "a guess")
	expect("the next one", reply, tooMany)
	if wait, err := time.ParseDuration(reply[len(tooMany):]); err != nil || wait < 18*time.Second || wait > 20*time.Second {
		t.Errorf("got %q, want a delay of 20s", reply)
	}
	expect("the device in the end", s.login(device, "canon", password), "")
	journal := s.relay.Log.String()
	if events := s.events("login refused", 10); strings.Contains(journal, "a guess") || events[0]["client"] != guesser || events[0]["user"] != "user0" {
		t.Errorf("got %v and a journal with a password: %t", events[0], strings.Contains(journal, "a guess"))
	}

	// After a restart, which forgets the guesses but not the devices.
	s.stop()
	s.start()
	for n := range 5 {
		expect("a guess after the restart", s.login(fmt.Sprintf("127.50.3.%d", n+1), "canon", "a guess"), wrong)
	}
	expect("the sixth", s.login("127.50.3.9", "canon", password), tooMany)
	expect("the device, after the restart", s.login(device, "canon", password), "")
}
