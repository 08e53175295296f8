package parts

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// PostfixConfig configures a Postfix server.
type PostfixConfig struct {
	Certificate tls.Certificate     // the server's own
	ClientCA    *x509.Certificate   // signs client certificates
	Clients     []*x509.Certificate // may relay once verified
	TLS         string              // smtpd_tls_protocols, such as "TLSv1.2"; empty means 1.2 and later
	TLSRequired bool                // TLS requires a verified certificate
	Without     string              // EHLO keywords that are not offered, such as "chunking"
	Port        int                 // 0 means any free port
	Address     string              // to listen on; empty means 127.0.0.1
	Domains     []string            // whose mail it accepts from everyone, as their mail host
	NoTLS       bool                // STARTTLS is not offered
	Policy      string              // "address:port" of a policy server that is asked for each recipient
}

// Postfix is a real Postfix server that relays only for clients with a verified
// certificate. It relays to smtp-sink, which stores each message in a file.
type Postfix struct {
	Port   int
	listen string // address and port
	dir    string
	sink   *sink
	server *exec.Cmd // nil while stopped
}

// NewPostfix starts a server in dir, which other users must be able to enter. It
// needs root, because Postfix drops its privileges itself.
func NewPostfix(dir string, config PostfixConfig) (*Postfix, error) {
	if _, err := exec.LookPath("postfix"); err != nil {
		return nil, fmt.Errorf("the program postfix is missing: install the Debian package postfix: %w", err)
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("only root can start Postfix: run the tests as root, such as in a container")
	}
	p := &Postfix{dir: dir}
	for _, sub := range []string{"queue", "data"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	if output, err := exec.Command("chown", "postfix", filepath.Join(dir, "data")).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, output)
	}
	var err error
	if p.Port = config.Port; p.Port == 0 {
		if p.Port, err = FreePort(); err != nil {
			return nil, err
		}
	}
	p.listen = net.JoinHostPort(cmp.Or(config.Address, "127.0.0.1"), strconv.Itoa(p.Port))
	if p.sink, err = startSink(filepath.Join(dir, "sink")); err != nil {
		return nil, err
	}
	if err := p.configure(config, p.sink.port); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if err := p.start(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Postfix) command(what string) *exec.Cmd { return exec.Command("postfix", "-c", p.dir, what) }

func (p *Postfix) start() error {
	p.server = p.command("start-fg")
	// The master requires its own session.
	p.server.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := p.server.Start(); err != nil {
		p.server = nil
		return fmt.Errorf("starting Postfix: %w", err)
	}
	if err := await("Postfix did not start", func() bool { return listensAt(p.listen) }); err != nil {
		return fmt.Errorf("%w:\n%s", err, p.Log())
	}
	return nil
}

func (p *Postfix) stop() error {
	if p.server == nil {
		return nil
	}
	output, err := p.command("abort").CombinedOutput()
	if err != nil {
		_ = syscall.Kill(-p.server.Process.Pid, syscall.SIGKILL)
		err = fmt.Errorf("stopping Postfix: %w\n%s%s", err, output, p.Log())
	}
	_ = p.server.Wait()
	p.server = nil
	// Its children listen a moment longer than the master.
	return errors.Join(err, await("Postfix did not stop", func() bool { return !listensAt(p.listen) }))
}

// Restart restarts the server, which drops every connection and TLS session.
func (p *Postfix) Restart() error { return errors.Join(p.stop(), p.start()) }

func (p *Postfix) configure(config PostfixConfig, sinkPort int) error {
	chain := PEM(config.Certificate.Certificate...)
	key, err := x509.MarshalPKCS8PrivateKey(config.Certificate.PrivateKey)
	if err != nil {
		return err
	}
	var clients strings.Builder
	for _, client := range config.Clients {
		fmt.Fprintf(&clients, "%s permit_tls_all_clientcerts\n", fingerprint(client.Raw))
	}
	tlsLevel := "smtpd_tls_security_level = may\nsmtpd_tls_ask_ccert = yes"
	if config.TLSRequired {
		tlsLevel = "smtpd_tls_security_level = encrypt\nsmtpd_tls_req_ccert = yes"
	}
	if config.NoTLS {
		tlsLevel = "smtpd_tls_security_level = none"
	}
	policy := ""
	if config.Policy != "" {
		policy = "check_policy_service inet:" + config.Policy
	}
	clientCA := chain // it must not be empty
	if config.ClientCA != nil {
		clientCA = PEM(config.ClientCA.Raw)
	}
	protocols := config.TLS
	if protocols == "" {
		protocols = ">=TLSv1.2"
	}
	main := fmt.Sprintf(mainCF, p.dir, tlsLevel, protocols, sinkPort, config.Without,
		strings.Join(config.Domains, " "), policy)
	return errors.Join(
		p.write("main.cf", main),
		p.write("master.cf", fmt.Sprintf(masterCF, p.listen)),
		p.write("clients", clients.String()),
		p.write("server.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))+string(chain)),
		p.write("client-ca.pem", string(clientCA)),
	)
}

// write sets an old modification time: Postfix rereads a recently written file
// until it is two seconds old.
func (p *Postfix) write(name, text string) error {
	path, old := filepath.Join(p.dir, name), time.Now().Add(-time.Minute)
	return errors.Join(os.WriteFile(path, []byte(text), 0o644), os.Chtimes(path, old, old))
}

const mainCF = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
maillog_file = %[1]s/log
maillog_file_prefixes = %[1]s
myhostname = mail.contoso.example
mydestination =
local_recipient_maps =
alias_maps =
mynetworks_style = host
mynetworks =
inet_interfaces = loopback-only
inet_protocols = all
relay_domains = %[6]s
smtpd_tls_chain_files = %[1]s/server.pem
smtpd_tls_CAfile = %[1]s/client-ca.pem
%[2]s
smtpd_tls_received_header = yes
smtpd_tls_loglevel = 1
smtpd_tls_protocols = %[3]s
smtpd_tls_mandatory_protocols = %[3]s
smtpd_tls_fingerprint_digest = sha256
smtpd_relay_restrictions = check_ccert_access texthash:%[1]s/clients, reject_unauth_destination
smtpd_recipient_restrictions = %[7]s
smtpd_client_connection_rate_limit = 0
smtpd_client_connection_count_limit = 0
smtpd_discard_ehlo_keywords = %[5]s
message_size_limit = 200000000
relayhost = [127.0.0.1]:%[4]d
smtp_tls_security_level = none
smtp_line_length_limit = 0
local_header_rewrite_clients =
`

const masterCF = `%s inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
`

// Log returns Postfix's log so far.
func (p *Postfix) Log() string {
	text, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	return string(text)
}

// Messages waits until n messages have passed through Postfix and returns their
// full text.
func (p *Postfix) Messages(n int) ([]string, error) {
	texts, err := p.sink.messages(n)
	if err != nil {
		err = fmt.Errorf("%w:\n%s", err, p.Log())
	}
	return texts, err
}

// Close stops the server and its sink.
func (p *Postfix) Close() error {
	err := p.stop()
	p.sink.close()
	return err
}

// await waits until a condition holds.
func await(failure string, condition func() bool) error {
	const timeout = 30 * time.Second
	for deadline := time.Now().Add(timeout); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s within %s", failure, timeout)
		}
	}
	return nil
}

// Listens reports whether a port of this machine accepts connections.
func Listens(port int) bool { return listensAt(fmt.Sprintf("127.0.0.1:%d", port)) }

func listensAt(address string) bool {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// FreePort returns a free port below the kernel's range for outgoing connections,
// so that no connection takes it before the server does.
func FreePort() (int, error) {
	const lowest, highest, attempts = 20000, 32000, 100
	var failure error
	for range attempts {
		port := lowest + rand.IntN(highest-lowest)
		// The name is taken until this process ends, so that no other test gets the port
		// before the server listens.
		if _, err := net.Listen("unix", fmt.Sprintf("@sealpost-test-port-%d", port)); err != nil {
			failure = err
			continue
		}
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return port, listener.Close()
		}
		failure = err
	}
	return 0, fmt.Errorf("finding a free port: %w", failure)
}

// fingerprint returns a certificate's digest in Postfix's format.
func fingerprint(der []byte) string {
	digest := sha256.Sum256(der)
	return strings.ToUpper(strings.ReplaceAll(fmt.Sprintf("% x", digest), " ", ":"))
}
