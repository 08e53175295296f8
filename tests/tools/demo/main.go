// Command demo relays a message on one machine, with a software TPM, a test
// certificate, a mock tenant and the real program.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sealpost/tests/rigs/box"
	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

const (
	listen   = "127.0.0.1:2525"
	password = "correct horse"
)

func main() {
	program := flag.String("program", "dist/sealpost", "the sealpost `file`")
	dir := flag.String("dir", ".run", "the working `folder`; files of an earlier run are removed")
	once := flag.Bool("once", false, "end after the scenario")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := demonstrate(ctx, *program, *dir, *once); err != nil {
		fmt.Fprintln(os.Stderr, "\nThe demonstration ended early:", err)
		os.Exit(1)
	}
}

// demo is the running demonstration.
type demo struct {
	tpm    *parts.Swtpm
	tenant *tenant.Tenant
	box    *box.Box
	relay  *box.Relay
}

func demonstrate(ctx context.Context, program, dir string, once bool) error {
	s, err := build(program, dir)
	if s != nil {
		defer s.close()
	}
	if err != nil {
		return err
	}
	if err := s.show(ctx, once); err != nil {
		return err
	}
	if err := s.relay.Stop(); err != nil {
		return err
	}
	fmt.Println("\nThe relay has stopped.")
	return nil
}

func build(program, dir string) (*demo, error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if err := removeOldFiles(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	fmt.Print("Sealpost relays a message. Everything below runs on this machine.\n\n")
	s := &demo{}
	for _, step := range []func(program, dir string) error{s.startTPM, s.startTenant, s.importCertificate, s.startRelay} {
		if err := step(program, dir); err != nil {
			return s, err
		}
	}
	return s, nil
}

// removeOldFiles removes the files of the last run, but not the box of make boot in the
// same folder. It fails if a run is active.
func removeOldFiles(dir string) error {
	if conn, err := net.DialTimeout("tcp", listen, time.Second); err == nil {
		_ = conn.Close()
		return fmt.Errorf("another program listens on %s: end the other make run or make boot first", listen)
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() == "box" {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (s *demo) close() {
	if s.relay != nil && s.relay.Running() {
		s.relay.Kill()
	}
	if s.tenant != nil {
		s.tenant.Close()
	}
	if s.tpm != nil {
		_ = s.tpm.Close()
	}
}

func (s *demo) startTPM(_, dir string) (err error) {
	printStep("software TPM", "swtpm, instead of the box's chip")
	s.tpm, err = parts.NewSwtpm(filepath.Join(dir, "tpm"))
	return err
}

// startTenant creates a CA, the certificate that is imported later, and a mock tenant
// that requires it.
func (s *demo) startTenant(_, dir string) error {
	authority, err := parts.NewAuthority("Test CA")
	if err != nil {
		return err
	}
	certificate, err := authority.IssueRSA2048("relay.contoso.com")
	if err != nil {
		return err
	}
	certificate.Certificate = append(certificate.Certificate, authority.Certificate.Raw)
	pfx, err := parts.PFX(certificate, password)
	if err != nil {
		return err
	}
	server, err := authority.IssueP256(nil, "localhost")
	if err != nil {
		return err
	}
	s.tenant, err = tenant.Start(tenant.Config{Certificate: server, ClientCAs: authority.Pool(),
		AcceptedDomains: []string{"contoso.com"}, Connector: "relay.contoso.com"})
	if err != nil {
		return err
	}
	printStep("mock tenant", fmt.Sprintf("contoso.com on %s; relays only for the certificate relay.contoso.com", s.tenant.Address()))
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "relay.pfx"), pfx, 0o600),
		os.WriteFile(filepath.Join(dir, "password"), []byte(password+"\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "ca.pem"), authority.PEM(), 0o600))
}

// settings are the settings of the box.
const settings = `[site]
name = "demonstration"

[lan]
smtp = [%q]
smtps = []
allow = ["127.0.0.0/8"]
hostname = "sealpost.local"

[senders]
accepted_domains = ["contoso.com"]
default = "printer@contoso.com"

[upstream.connector]
host = "localhost"
port = %d
ca_file = %q

[keys]
tpm = %q

[retry]
first = "12s"

[spool]
size = "8MiB"

[state]
path = "STATE"
`

func (s *demo) importCertificate(program, dir string) (err error) {
	s.box, err = box.New(program, dir, fmt.Sprintf(settings, listen, s.tenant.Address().Port, filepath.Join(dir, "ca.pem"), s.tpm.Address()))
	if err != nil {
		return err
	}
	printStep("certificate", "sealpost certificate import --pfx relay.pfx --password-file password")
	result, err := s.box.Run("certificate", "import", "--pfx", "relay.pfx", "--password-file", "password")
	if err != nil {
		return err
	}
	if result.Status != 0 {
		return errors.New(result.Err)
	}
	for line := range strings.Lines(result.Out) {
		fmt.Print("                   | ", line)
	}
	fmt.Println("                   (The settings trust the test CA. Exchange Online trusts only public CAs.)")
	return nil
}

func (s *demo) startRelay(_, _ string) (err error) {
	s.relay, err = s.box.StartRelay()
	if err == nil {
		printStep("relay", "sealpost relay, listening on "+listen)
	}
	return err
}

// show follows the relay's journal through the scenario, and then prints the traces
// of other messages.
func (s *demo) show(ctx context.Context, once bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	journal := exec.CommandContext(ctx, s.box.Program, "journal", "--follow", "--json", "--config", s.box.Config)
	journal.Stderr = os.Stderr
	events, err := journal.StdoutPipe()
	if err != nil {
		return err
	}
	if err := journal.Start(); err != nil {
		return err
	}
	p := scenario{demo: s, end: func() {
		if once {
			cancel()
			return
		}
		fmt.Printf("\n%s\n", s.nextSteps())
	}}
	if err := p.begin(); err != nil {
		return err
	}
	t := tracePrinter{queued: map[string]bool{}}
	t.run(events, p.advance)
	_ = journal.Wait()
	if p.err != nil {
		return p.err
	}
	if !s.relay.Running() {
		return fmt.Errorf("the relay exited unexpectedly:\n%s", s.relay.Log)
	}
	return nil
}

// nextSteps explains how to continue.
func (s *demo) nextSteps() string {
	return fmt.Sprintf(`The relay runs until Ctrl-C. Send another message from a second terminal; its trace is printed here:

  printf 'Subject: hello\n\nFrom the terminal.\n' | curl --silent --show-error smtp://%s --mail-from me@contoso.com --mail-rcpt you@fabrikam.example --upload-file -

Read the whole SMTP dialogue with the tenant, line by line:

  %s journal --conversation --config %s
`, listen, relative(s.box.Program), relative(s.box.Config))
}

func relative(path string) string {
	if wd, err := os.Getwd(); err == nil {
		if short, err := filepath.Rel(wd, path); err == nil && !strings.HasPrefix(short, "..") {
			return short
		}
	}
	return path
}

// sendScan sends a message as an office printer does.
func sendScan() error {
	conn, err := net.DialTimeout("tcp", listen, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	return sendOver(conn)
}

func printStep(name, detail string) { fmt.Printf("  %-16s %s\n", name, detail) }
