package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"sealpost/tests/rigs/parts"
)

const (
	postfixPort = 10025
	sinkPort    = 10026
)

// postfix is Postfix with its queue on the disk, and smtp-sink behind it.
type postfix struct {
	disk        *disk
	dir         string // configuration and log, not on the disk
	certificate []byte // of the server with its key, in PEM
	master      *exec.Cmd
	sink        *exec.Cmd
}

func (p *postfix) name() string { return "Postfix" }

func (p *postfix) port() int { return postfixPort }

func (p *postfix) pid() int { return p.master.Process.Pid }

func (p *postfix) queue() string { return filepath.Join(p.disk.dir, "queue") }

// start starts Postfix with an empty queue.
func (p *postfix) start(ctx context.Context, healthy bool) error {
	upstream := closedPort
	if healthy {
		upstream = sinkPort
		if err := p.startSink(ctx); err != nil {
			return err
		}
	}
	if err := p.configure(upstream); err != nil {
		return err
	}
	p.master = exec.Command("postfix", "-c", p.dir, "start-fg")
	// The master requires its own session.
	p.master.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := p.master.Start(); err != nil {
		p.master = nil
		return fmt.Errorf("starting Postfix: %w", err)
	}
	if err := await(ctx, "Postfix listens", listens(postfixPort)); err != nil {
		log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
		return fmt.Errorf("%w:\n%s", err, log)
	}
	return nil
}

func (p *postfix) startSink(ctx context.Context) error {
	const backlog = "1000"
	p.sink = exec.Command("smtp-sink", "-u", "postfix", fmt.Sprintf("%s:%d", host, sinkPort), backlog)
	if err := p.sink.Start(); err != nil {
		p.sink = nil
		return fmt.Errorf("starting smtp-sink: %w", err)
	}
	return await(ctx, "smtp-sink listens", listens(sinkPort))
}

// mainCF sets only the clients and the relay host. The default limits of processes and
// connections allow 100 clients.
const mainCF = `compatibility_level = 3.6
queue_directory = %[1]s
data_directory = %[2]s/data
maillog_file = %[2]s/log
maillog_file_prefixes = %[2]s
myhostname = mail.contoso.com
mydestination =
local_recipient_maps =
alias_maps =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_tls_security_level = may
smtpd_tls_chain_files = %[2]s/server.pem
relayhost = [127.0.0.1]:%[3]d
`

// defaultMasterCF is the master.cf of the package.
const defaultMasterCF = "/usr/share/postfix/master.cf.dist"

func (p *postfix) configure(upstream int) error {
	data := filepath.Join(p.dir, "data")
	services, err := os.ReadFile(defaultMasterCF)
	if err != nil {
		return fmt.Errorf("reading master.cf of the Debian package postfix: %w", err)
	}
	if err := errors.Join(os.MkdirAll(p.queue(), 0o755), os.RemoveAll(p.dir), os.MkdirAll(data, 0o755),
		os.WriteFile(filepath.Join(p.dir, "main.cf"), fmt.Appendf(nil, mainCF, p.queue(), p.dir, upstream), 0o644),
		os.WriteFile(filepath.Join(p.dir, "master.cf"), services, 0o644),
		os.WriteFile(filepath.Join(p.dir, "server.pem"), p.certificate, 0o600)); err != nil {
		return err
	}
	for _, command := range [][]string{
		{"chown", "postfix", data},
		{"postconf", "-c", p.dir, "-F", "*/*/chroot=n"},
		{"postconf", "-c", p.dir, "-MX", "smtp/inet"},
		{"postconf", "-c", p.dir, "-Me", fmt.Sprintf("%d/inet=%[1]d inet n - n - - smtpd", postfixPort)},
		{"postconf", "-c", p.dir, "-Me", "postlog/unix-dgram=postlog unix-dgram n - n - 1 postlogd"},
	} {
		if output, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("configuring Postfix: %s: %w: %s", strings.Join(command, " "), err, output)
		}
	}
	return nil
}

// serverCertificate returns a P-256 certificate under a CA with the chain and the key, as
// Sealpost's own for the LAN.
func serverCertificate() ([]byte, error) {
	authority, err := parts.NewAuthority("Bench CA")
	if err != nil {
		return nil, err
	}
	certificate, err := authority.IssueP256(nil, "mail.contoso.com")
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	return append(append(text, parts.PEM(certificate.Certificate...)...), authority.PEM()...), nil
}

// idle reports whether all mail is delivered or waits for a retry.
func (p *postfix) idle() (bool, error) {
	for _, queue := range []string{"maildrop", "incoming", "active"} {
		files := 0
		err := filepath.WalkDir(filepath.Join(p.queue(), queue), func(_ string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() {
				files++
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil // it was delivered meanwhile
			}
			return err
		})
		if err != nil || files > 0 {
			return false, err
		}
	}
	return true, nil
}

func (p *postfix) stop() error {
	var err error
	if p.master != nil {
		var output []byte
		if output, err = exec.Command("postfix", "-c", p.dir, "abort").CombinedOutput(); err != nil {
			err = fmt.Errorf("stopping Postfix: %w: %s", err, output)
			_ = p.master.Process.Kill()
		}
		_ = p.master.Wait()
		p.master = nil
	}
	if p.sink != nil {
		_ = p.sink.Process.Kill()
		_ = p.sink.Wait()
		p.sink = nil
	}
	return err
}

// listens returns a condition: a server accepts connections on port.
func listens(port int) func() (bool, error) {
	return func() (bool, error) { return parts.Listens(port), nil }
}
