package parts

import (
	"bufio"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"embed"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

//go:embed issuer
var issuerFiles embed.FS

// IssuerClient is an application that the issuer knows: by its certificate, or
// else by its secret, or else as a public one that somebody signs in.
type IssuerClient struct {
	ID          string
	Certificate *x509.Certificate // RSA; its assertions are taken in PS256 and RS256
	Secret      string
}

// IssuerConfig is what an issuer is told.
type IssuerConfig struct {
	Certificate tls.Certificate // the server's own, for localhost
	Roots       *x509.CertPool  // by which a person's browser knows it
	Clients     []IssuerClient
	Scopes      []string // that a token may be asked for
	Mailbox     string   // that an application's tokens are good for
	Conduct     Conduct
}

// Conduct is what tokens are like. The zero value is as Exchange Online wants
// them, and keeps to one use of each refresh token.
type Conduct struct {
	Audience string
	Roles    []string      // of applications
	Life     time.Duration // of a token; none is an hour
	Stated   time.Duration // what the issuer says of it; none is the truth
	Grace    bool          // a refresh token that was used goes on to be taken
}

// Audience is Exchange Online's for tokens.
const Audience = "https://outlook.office365.com"

// Issuer is a real issuer of tokens, oidc-provider, with the endpoints of Entra
// ID. Each refresh token can be used once.
type Issuer struct {
	config  IssuerConfig
	port    int
	key     *rsa.PrivateKey
	program *exec.Cmd // nil while stopped
	input   io.WriteCloser
	heard   chan struct{} // a line that is no request
	ended   chan struct{} // closed with the end of what it writes
	said    warnings

	mu       sync.Mutex
	requests []IssuerRequest
}

// IssuerRequest is one for a token or for a device code, with its answer.
type IssuerRequest struct {
	Path   string
	Form   url.Values
	Status int
	Answer map[string]any
}

// NewIssuer starts an issuer on a free port.
func NewIssuer(config IssuerConfig) (*Issuer, error) {
	const bits = 2048
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	i := &Issuer{config: config, port: port, key: key}
	if err := i.Start(); err != nil {
		return nil, errors.Join(err, i.Stop())
	}
	return i, nil
}

const issuerTenant = "/contoso.com/oauth2/v2.0"

// Name is the issuer's own, as its tokens have it.
func (i *Issuer) Name() string { return fmt.Sprintf("https://localhost:%d", i.port) }

// TokenURL is where it is asked for tokens.
func (i *Issuer) TokenURL() string { return i.Name() + issuerTenant + "/token" }

// DeviceURL is where it is asked for device codes.
func (i *Issuer) DeviceURL() string { return i.Name() + issuerTenant + "/devicecode" }

// KeyID names the key that signs tokens.
func (i *Issuer) KeyID() string { return "issuer" }

// Key is the public half of that key.
func (i *Issuer) Key() crypto.PublicKey { return i.key.Public() }

// PrepareIssuer fetches what issuers are made of, for whoever has no network
// when one is started.
func PrepareIssuer() error {
	_, err := issuerProgram()
	return err
}

// issuerProgram is the folder of the program.
func issuerProgram() (string, error) {
	files, err := fs.Sub(issuerFiles, "issuer")
	if err != nil {
		return "", err
	}
	return installed("issuer", files)
}

// Start runs the program. What it knew of sign-ins is gone.
func (i *Issuer) Start() error {
	node, err := exec.LookPath("node")
	if err != nil {
		return fmt.Errorf("the program node is missing: install the Debian package nodejs: %w", err)
	}
	dir, err := issuerProgram()
	if err != nil {
		return err
	}
	i.program = exec.Command(node, "issuer.mjs")
	i.program.Dir = dir
	i.program.Stderr = &i.said
	// A Ctrl-C at the terminal is for whoever runs the issuer, not for the issuer.
	i.program.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if i.input, err = i.program.StdinPipe(); err != nil {
		return err
	}
	output, err := i.program.StdoutPipe()
	if err != nil {
		return err
	}
	if err := i.program.Start(); err != nil {
		i.program = nil
		return fmt.Errorf("starting the issuer: %w", err)
	}
	i.heard, i.ended = make(chan struct{}, 1), make(chan struct{})
	go i.listen(output)
	told, err := i.describe()
	if err != nil {
		return err
	}
	return i.tell(told)
}

// describe is the first line that the program is given.
func (i *Issuer) describe() (any, error) {
	server, err := x509.MarshalPKCS8PrivateKey(i.config.Certificate.PrivateKey)
	if err != nil {
		return nil, err
	}
	signing, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		return nil, err
	}
	type client struct {
		ID          string `json:"id"`
		Certificate string `json:"certificate,omitempty"`
		Secret      string `json:"secret,omitempty"`
	}
	clients := []client{}
	for _, c := range i.config.Clients {
		known := client{ID: c.ID, Secret: c.Secret}
		if c.Certificate != nil {
			known.Certificate = string(PEM(c.Certificate.Raw))
		}
		clients = append(clients, known)
	}
	return map[string]any{
		"port": i.port, "serverKey": privatePEM(server), "serverChain": string(PEM(i.config.Certificate.Certificate...)),
		"signingKey": privatePEM(signing), "keyID": i.KeyID(), "clients": clients,
		"tokenPath": issuerTenant + "/token", "devicePath": issuerTenant + "/devicecode",
		"scopes": i.config.Scopes, "mailbox": i.config.Mailbox, "conduct": i.config.Conduct.told(),
	}, nil
}

func privatePEM(pkcs8 []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// told is the conduct as the program is told of it.
func (c Conduct) told() map[string]any {
	if c.Audience == "" {
		c.Audience = Audience
	}
	if c.Roles == nil {
		c.Roles = []string{"SMTP.SendAsApp"}
	}
	if c.Life == 0 {
		c.Life = time.Hour
	}
	if c.Stated == 0 {
		c.Stated = c.Life
	}
	return map[string]any{"audience": c.Audience, "roles": c.Roles, "life": c.Life.Seconds(), "stated": c.Stated.Seconds(), "grace": c.Grace}
}

// Behave changes what tokens are like from now on.
func (i *Issuer) Behave(conduct Conduct) error {
	i.config.Conduct = conduct
	return i.tell(conduct.told())
}

// tell gives the program a line and waits until it has taken it in.
func (i *Issuer) tell(line any) error {
	if err := json.NewEncoder(i.input).Encode(line); err != nil {
		return fmt.Errorf("telling the issuer what to do: %w: %s", err, i.said.String())
	}
	const timeout = 30 * time.Second
	select {
	case <-i.heard:
		return nil
	case <-i.ended:
		return fmt.Errorf("the issuer ended: %s", i.said.String())
	case <-time.After(timeout):
		return fmt.Errorf("the issuer did nothing for %s: %s", timeout, i.said.String())
	}
}

// listen takes what the program writes.
func (i *Issuer) listen(output io.Reader) {
	defer close(i.ended)
	for lines := json.NewDecoder(bufio.NewReader(output)); ; {
		var line struct {
			Request *struct {
				Path   string         `json:"path"`
				Form   map[string]any `json:"form"`
				Status int            `json:"status"`
				Answer map[string]any `json:"answer"`
			} `json:"request"`
		}
		if err := lines.Decode(&line); err != nil {
			return
		}
		if line.Request == nil {
			select {
			case i.heard <- struct{}{}:
			default:
			}
			continue
		}
		request := IssuerRequest{Path: line.Request.Path, Form: url.Values{}, Status: line.Request.Status, Answer: line.Request.Answer}
		for name, value := range line.Request.Form {
			request.Form.Set(name, fmt.Sprint(value))
		}
		i.mu.Lock()
		i.requests = append(i.requests, request)
		i.mu.Unlock()
	}
}

// Requests gives what was asked so far, and how it was answered.
func (i *Issuer) Requests() []IssuerRequest {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.requests)
}

// Secrets gives every token, secret, assertion and device code that was shown
// or issued so far.
func (i *Issuer) Secrets() []string {
	var all []string
	for _, request := range i.Requests() {
		for _, name := range []string{"client_assertion", "client_secret", "refresh_token", "device_code", "access_token"} {
			issued, _ := request.Answer[name].(string)
			for _, secret := range []string{request.Form.Get(name), issued} {
				if secret != "" && !slices.Contains(all, secret) {
					all = append(all, secret)
				}
			}
		}
	}
	return all
}

// Stop ends the program. Stopping a stopped issuer does nothing.
func (i *Issuer) Stop() error {
	if i.program == nil {
		return nil
	}
	program := i.program
	i.program = nil
	_ = i.input.Close()
	err := program.Process.Kill()
	<-i.ended
	_ = program.Wait()
	if err != nil {
		return fmt.Errorf("stopping the issuer: %w", err)
	}
	return nil
}

// warnings are what a program writes beside its work.
type warnings struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (w *warnings) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *warnings) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}
