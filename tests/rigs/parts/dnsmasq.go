package parts

import (
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
)

// Dnsmasq is a real name server on 127.0.0.1 that knows only the given records and
// asks no other server.
type Dnsmasq struct {
	Address   string // "127.0.0.1:port", UDP and TCP
	program   string
	arguments []string
	port      int
	cmd       *exec.Cmd
	output    *strings.Builder
}

// NewDnsmasq starts a name server with records in the form of its own options,
// such as "mx-host=contoso.com,mail.contoso.com,0".
func NewDnsmasq(records ...string) (*Dnsmasq, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	return newDnsmasq(port, records)
}

// NewDNS is NewDnsmasq on port 53, for tests in their own network namespace.
func NewDNS(records ...string) (*Dnsmasq, error) {
	const domain = 53
	return newDnsmasq(domain, records)
}

func newDnsmasq(port int, records []string) (*Dnsmasq, error) {
	program, err := exec.LookPath("dnsmasq")
	if err != nil {
		return nil, fmt.Errorf("the program dnsmasq is missing: install the Debian package dnsmasq-base: %w", err)
	}
	arguments := []string{"--no-daemon", "--conf-file=/dev/null", "--pid-file=", "--user=", "--no-resolv", "--no-hosts",
		"--bind-interfaces", "--listen-address=127.0.0.1", "--port=" + strconv.Itoa(port)}
	for _, record := range records {
		arguments = append(arguments, "--"+record)
	}
	d := &Dnsmasq{Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), program: program, arguments: arguments, port: port}
	if err := d.Start(); err != nil {
		return nil, err
	}
	return d, nil
}

// Start starts the server again after Close, on the same port.
func (d *Dnsmasq) Start() error {
	d.output = &strings.Builder{}
	d.cmd = exec.Command(d.program, d.arguments...)
	d.cmd.Stdout, d.cmd.Stderr = d.output, d.output
	if err := d.cmd.Start(); err != nil {
		return fmt.Errorf("starting dnsmasq: %w", err)
	}
	if err := await("dnsmasq did not start", func() bool { return Listens(d.port) }); err != nil {
		d.Close()
		return fmt.Errorf("%w: %s", err, d.output)
	}
	return nil
}

// Close stops the server.
func (d *Dnsmasq) Close() {
	_ = d.cmd.Process.Kill()
	_ = d.cmd.Wait()
}
