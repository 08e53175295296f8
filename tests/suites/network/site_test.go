// Package networktest runs the box's network in network namespaces against a
// real DHCP server, real cables (veth) and neighbours.
package networktest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sealpost/hal/linux/network"
)

// limit is how long a test waits for what must come.
const limit = 45 * time.Second

var sites atomic.Int32

// site is a LAN: a namespace for the box with the port eth0, and one for
// everything else, in which the cable ends at lan0.
type site struct {
	t          *testing.T
	box, lan   string // namespaces
	resolvConf string
	statuses   chan network.Status
	last       network.Status
	settings   *json.Encoder
}

func newSite(t *testing.T) *site {
	t.Helper()
	t.Parallel()
	n := sites.Add(1)
	s := &site{t: t,
		box:        fmt.Sprintf("sealpost-%d-box%d", os.Getpid(), n),
		lan:        fmt.Sprintf("sealpost-%d-lan%d", os.Getpid(), n),
		resolvConf: filepath.Join(t.TempDir(), "resolv.conf"),
	}
	for _, namespace := range []string{s.box, s.lan} {
		s.ip("netns", "add", namespace)
		t.Cleanup(func() { s.ip("netns", "del", namespace) })
	}
	s.connect()
	return s
}

// connect puts the port into the box, with the cable in.
func (s *site) connect() {
	s.t.Helper()
	s.ip("-n", s.box, "link", "add", "eth0", "type", "veth", "peer", "name", "lan0", "netns", s.lan)
	s.plugIn()
}

func (s *site) ip(arguments ...string) string {
	s.t.Helper()
	output, err := exec.Command("ip", arguments...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("ip %v: %v\n%s", arguments, err, output)
	}
	return string(output)
}

func (s *site) plugIn()  { s.ip("-n", s.lan, "link", "set", "lan0", "up") }
func (s *site) plugOut() { s.ip("-n", s.lan, "link", "set", "lan0", "down") }

// flicker gives a file of commands for ip that take the cable out and put it
// back in at once.
func (s *site) flicker() string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "flicker")
	if err := os.WriteFile(path, []byte("link set lan0 down\nlink set lan0 up\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// address gives the LAN's end of the cable one more address.
func (s *site) address(prefix string) {
	s.t.Helper()
	s.ip("-n", s.lan, "address", "add", prefix, "dev", "lan0")
}

// dnsmasq starts a DHCP server with options in dnsmasq's form, and gives the
// function that ends it.
func (s *site) dnsmasq(options ...string) (stop func()) {
	s.t.Helper()
	arguments := append([]string{"netns", "exec", s.lan, "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--pid-file=", "--user=",
		"--port=0", "--interface=lan0", "--bind-interfaces", "--dhcp-authoritative", "--no-ping",
		"--dhcp-leasefile=" + filepath.Join(s.t.TempDir(), "leases")}, options...)
	return s.start(exec.Command("ip", arguments...))
}

func (s *site) start(command *exec.Cmd) (stop func()) {
	s.t.Helper()
	output := &strings.Builder{}
	if command.Stdout == nil {
		command.Stdout = output
	}
	command.Stderr = output
	if err := command.Start(); err != nil {
		s.t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = command.Process.Kill()
		_ = command.Wait()
		if s.t.Failed() {
			s.t.Logf("%v:\n%s", command.Args, output)
		}
	}
	s.t.Cleanup(stop)
	return stop
}

// switchOn starts the box with these settings. With the test it is asked to
// end, and must leave nothing running in itself.
func (s *site) switchOn(config network.Config) {
	s.t.Helper()
	program, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	command := exec.Command("ip", "netns", "exec", s.box, program)
	command.Env = append(os.Environ(), asBox+"="+s.resolvConf)
	complaints := &strings.Builder{}
	command.Stderr = complaints
	settings, err := command.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	output, err := command.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.settings = json.NewEncoder(settings)
	s.statuses = make(chan network.Status, 1000)
	go read(output, s.statuses)
	s.t.Cleanup(func() {
		_ = settings.Close()
		for range s.statuses {
		}
		if err := command.Wait(); err != nil {
			s.t.Errorf("the box ended badly: %v\n%s", err, complaints)
		}
	})
	s.apply(config)
}

func read(output io.Reader, statuses chan<- network.Status) {
	defer close(statuses)
	for lines := bufio.NewScanner(output); lines.Scan(); {
		var status network.Status
		if json.Unmarshal(lines.Bytes(), &status) == nil {
			statuses <- status
		}
	}
}

func (s *site) apply(config network.Config) {
	s.t.Helper()
	if err := s.settings.Encode(config); err != nil {
		s.t.Fatal(err)
	}
}

// await gives the first status, from now on, that is as wished.
func (s *site) await(what string, wished func(network.Status) bool) network.Status {
	s.t.Helper()
	timeout := time.After(limit)
	for {
		select {
		case status, ok := <-s.statuses:
			if !ok {
				s.t.Fatalf("the box ended before: %s", what)
			}
			if s.last = status; wished(status) {
				return status
			}
		case <-timeout:
			s.t.Fatalf("this did not come: %s; the last status was %+v", what, s.last)
		}
	}
}
