// Package networktest tests the box's network code in network namespaces, with veth
// cables, neighbours and a real DHCP server.
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

// timeout limits each wait for an expected event.
const timeout = 45 * time.Second

var sites atomic.Int32

// site is a LAN: a namespace for the box with the interface eth0, and one for
// everything else with lan0, the other end of the cable.
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

// connect creates eth0 in the box and plugs the cable in.
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

func (s *site) plugIn() { s.ip("-n", s.lan, "link", "set", "lan0", "up") }
func (s *site) unplug() { s.ip("-n", s.lan, "link", "set", "lan0", "down") }

// flapBatch returns a batch file for ip that unplugs the cable and plugs it in again
// immediately.
func (s *site) flapBatch() string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "flap")
	if err := os.WriteFile(path, []byte("link set lan0 down\nlink set lan0 up\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// addAddress adds an address to lan0.
func (s *site) addAddress(prefix string) {
	s.t.Helper()
	s.ip("-n", s.lan, "address", "add", prefix, "dev", "lan0")
}

// dnsmasq starts a DHCP server with options of dnsmasq, and returns the function that
// stops it.
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

// switchOn starts the box with these settings. At the end of the test it must stop
// without leaked goroutines.
func (s *site) switchOn(config network.Config) {
	s.t.Helper()
	program, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	command := exec.Command("ip", "netns", "exec", s.box, program)
	command.Env = append(os.Environ(), boxVariable+"="+s.resolvConf)
	errorOutput := &strings.Builder{}
	command.Stderr = errorOutput
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
	go readStatuses(output, s.statuses)
	s.t.Cleanup(func() {
		_ = settings.Close()
		for range s.statuses {
		}
		if err := command.Wait(); err != nil {
			s.t.Errorf("stopping the box: got %v, want no error\n%s", err, errorOutput)
		}
	})
	s.apply(config)
}

func readStatuses(output io.Reader, statuses chan<- network.Status) {
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

// await returns the next status for which the condition holds.
func (s *site) await(what string, condition func(network.Status) bool) network.Status {
	s.t.Helper()
	expired := time.After(timeout)
	for {
		select {
		case status, ok := <-s.statuses:
			if !ok {
				s.t.Fatalf("the box exited before it reported %s", what)
			}
			if s.last = status; condition(status) {
				return status
			}
		case <-expired:
			s.t.Fatalf("the box did not report %s; the last status was %+v", what, s.last)
		}
	}
}
