package parts

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// DovecotConfig configures a Dovecot server.
type DovecotConfig struct {
	Certificate tls.Certificate // the server's own
	Mechanisms  []string        // SASL's, such as "xoauth2"
	Issuer      string          // whose tokens are accepted
	KeyID       string          // of the issuer's key
	Key         crypto.PublicKey
	Audience    string // required in tokens
}

// Dovecot is a real submission server that accepts logins with tokens of its
// issuer. It checks signature, lifetime, issuer and audience itself, and passes
// submitted mail to smtp-sink.
type Dovecot struct {
	Port   int
	dir    string
	sink   *sink
	server *exec.Cmd // nil while stopped
}

// NewDovecot starts a server in dir, which other users must be able to enter and
// whose path must be short enough for a socket. It needs root, because Dovecot
// drops its privileges itself.
func NewDovecot(dir string, config DovecotConfig) (*Dovecot, error) {
	if _, err := exec.LookPath("dovecot"); err != nil {
		return nil, fmt.Errorf("the program dovecot is missing: install the Debian packages dovecot-core and dovecot-submissiond: %w", err)
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("only root can start Dovecot: run the tests as root, such as in a container")
	}
	d := &Dovecot{dir: dir}
	var err error
	if d.Port, err = FreePort(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "keys", "default", "RS256"), 0o755); err != nil {
		return nil, err
	}
	if d.sink, err = startSink(filepath.Join(dir, "sink")); err != nil {
		return nil, err
	}
	if err := d.configure(config); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if err := d.start(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Dovecot) start() error {
	d.server = exec.Command("dovecot", "-F", "-c", filepath.Join(d.dir, "dovecot.conf"))
	// Its own process group, so that Ctrl-C at the terminal does not reach it.
	d.server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.server.Start(); err != nil {
		d.server = nil
		return fmt.Errorf("starting Dovecot: %w", err)
	}
	if err := await("Dovecot did not start", func() bool { return Listens(d.Port) }); err != nil {
		return fmt.Errorf("%w:\n%s", err, d.Log())
	}
	return nil
}

// Restart restarts the server, which drops every connection.
func (d *Dovecot) Restart() error { return errors.Join(d.stop(), d.start()) }

func (d *Dovecot) configure(config DovecotConfig) error {
	private, err := x509.MarshalPKCS8PrivateKey(config.Certificate.PrivateKey)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(config.Key)
	if err != nil {
		return err
	}
	return errors.Join(
		d.write("dovecot.conf", fmt.Sprintf(dovecotConf, d.dir, d.Port, strings.Join(config.Mechanisms, " "), d.sink.port)),
		d.write("oauth2.conf", fmt.Sprintf(dovecotOAuth2, d.dir, config.Issuer, config.Audience)),
		d.write("server.pem", string(PEM(config.Certificate.Certificate...))),
		d.write("server.key", privatePEM(private)),
		d.write(filepath.Join("keys", "default", "RS256", config.KeyID), string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))),
	)
}

func (d *Dovecot) write(name, text string) error {
	return os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o644)
}

const dovecotConf = `protocols = submission
listen = 127.0.0.1
base_dir = %[1]s/run
state_dir = %[1]s/run
log_path = %[1]s/log
auth_verbose = yes
auth_failure_delay = 0
auth_mechanisms = %[3]s
ssl = required
ssl_cert = <%[1]s/server.pem
ssl_key = <%[1]s/server.key
passdb {
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = %[1]s/oauth2.conf
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=/nonexistent
}
service submission-login {
  inet_listener submission {
    port = %[2]d
  }
  inet_listener submissions {
    port = 0
  }
}
mail_location = maildir:/nonexistent
submission_relay_host = 127.0.0.1
submission_relay_port = %[4]d
submission_relay_trusted = no
submission_relay_ssl = no
hostname = localhost
`

// active_attribute stays unset: it requires a claim that the tokens lack.
const dovecotOAuth2 = `introspection_mode = local
local_validation_key_dict = fs:posix:prefix=%[1]s/keys/
username_attribute = mailbox
issuers = %[2]s
client_id = %[3]s
`

// Log returns Dovecot's log so far.
func (d *Dovecot) Log() string {
	text, _ := os.ReadFile(filepath.Join(d.dir, "log"))
	return string(text)
}

// Messages waits until n messages have passed through Dovecot and returns their
// full text.
func (d *Dovecot) Messages(n int) ([]string, error) {
	texts, err := d.sink.messages(n)
	if err != nil {
		err = fmt.Errorf("%w:\n%s", err, d.Log())
	}
	return texts, err
}

func (d *Dovecot) stop() error {
	if d.server == nil {
		return nil
	}
	// On SIGTERM it would wait for its clients.
	err := syscall.Kill(-d.server.Process.Pid, syscall.SIGKILL)
	_ = d.server.Wait()
	d.server = nil
	if err != nil {
		return fmt.Errorf("stopping Dovecot: %w", err)
	}
	return await("Dovecot did not end", func() bool { return !Listens(d.Port) })
}

// Close stops the server and its sink.
func (d *Dovecot) Close() error {
	err := d.stop()
	d.sink.close()
	return err
}
