package parts

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Zone is a DNS zone.
type Zone struct {
	Name    string   // without the final dot
	Records []string // in the form of a zone file, such as "@ MX 10 mx.example.com."
	Signed  bool     // by DNSSEC
	Bogus   bool     // signed, and changed afterwards
}

// Unbound is a real resolver on 127.0.0.1 that validates by DNSSEC. It knows only the
// given zones.
type Unbound struct {
	Address string // "127.0.0.1:port", UDP and TCP
	cmd     *exec.Cmd
	output  *strings.Builder
}

// NewUnbound starts a resolver whose files are in dir, and which trusts the keys of the
// signed zones.
func NewUnbound(dir string, zones ...Zone) (*Unbound, error) {
	for program, from := range map[string]string{"unbound": "unbound", "ldns-signzone": "ldnsutils"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("the program %s is missing: install the Debian package %s: %w", program, from, err)
		}
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	anchors, auth := &strings.Builder{}, &strings.Builder{}
	for _, zone := range zones {
		file, key, err := zone.write(dir)
		if err != nil {
			return nil, fmt.Errorf("the zone %s: %w", zone.Name, err)
		}
		if key != "" {
			fmt.Fprintf(anchors, "  trust-anchor: %q\n", strings.Join(strings.Fields(key), " "))
		}
		fmt.Fprintf(auth, "auth-zone:\n  name: %q\n  zonefile: %q\n  for-downstream: no\n  for-upstream: yes\n  fallback-enabled: no\n", zone.Name+".", file)
	}
	config := fmt.Sprintf(`server:
  interface: 127.0.0.1
  port: %d
  directory: %q
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  logfile: ""
  do-daemonize: no
  module-config: "validator iterator"
  val-permissive-mode: no
%sremote-control:
  control-enable: no
%s`, port, dir, anchors, auth)
	path := filepath.Join(dir, "unbound.conf")
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		return nil, err
	}
	u := &Unbound{Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), output: &strings.Builder{}}
	u.cmd = exec.Command("unbound", "-d", "-p", "-c", path)
	u.cmd.Stdout, u.cmd.Stderr = u.output, u.output
	if err := u.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting unbound: %w", err)
	}
	if err := await("unbound did not start", func() bool { return Listens(port) }); err != nil {
		u.Close()
		return nil, fmt.Errorf("%w: %s", err, u.output)
	}
	return u, nil
}

// Close stops the resolver.
func (u *Unbound) Close() {
	_ = u.cmd.Process.Kill()
	_ = u.cmd.Wait()
}

// write writes the zone's file, and returns it with its key if it is signed.
func (z Zone) write(dir string) (file, key string, err error) {
	file = filepath.Join(dir, z.Name+".zone")
	text := fmt.Sprintf("$ORIGIN %s.\n$TTL 1\n@ SOA ns hostmaster 1 3600 600 86400 1\n@ NS ns\nns A 127.0.0.1\n%s\n", z.Name, strings.Join(z.Records, "\n"))
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil || !z.Signed && !z.Bogus {
		return file, "", err
	}
	run := func(name string, args ...string) (string, error) {
		command := exec.Command(name, args...)
		command.Dir = dir
		output, err := command.Output()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			err = fmt.Errorf("%s: %w: %s", name, err, exit.Stderr)
		}
		return strings.TrimSpace(string(output)), err
	}
	base, err := run("ldns-keygen", "-a", "ECDSAP256SHA256", "-k", z.Name)
	if err != nil {
		return "", "", err
	}
	if _, err := run("ldns-signzone", "-f", file+".signed", file, base); err != nil {
		return "", "", err
	}
	if z.Bogus {
		signed, err := os.ReadFile(file + ".signed")
		if err != nil {
			return "", "", err
		}
		changed := strings.ReplaceAll(string(signed), "MX\t10 ", "MX\t11 ")
		if changed == string(signed) {
			return "", "", errors.New("there is no MX record of preference 10 to change")
		}
		if err := os.WriteFile(file+".signed", []byte(changed), 0o644); err != nil {
			return "", "", err
		}
	}
	public, err := os.ReadFile(filepath.Join(dir, base+".key"))
	return file + ".signed", string(public), err
}
