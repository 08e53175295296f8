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
	"sync"
	"syscall"
	"time"
)

//go:embed issuer
var issuerFiles embed.FS

// IssuerClient is an application registered at the issuer: with a certificate, with
// a secret, or as a public client to which a user signs in.
type IssuerClient struct {
	ID          string
	Certificate *x509.Certificate // RSA; PS256 and RS256 assertions are accepted
	Secret      string
}

// IssuerConfig configures an issuer.
type IssuerConfig struct {
	Certificate tls.Certificate // the server's own, for localhost
	Roots       *x509.CertPool  // trusted by the user's browser
	Clients     []IssuerClient
	Scopes      []string // that may be requested
	Mailbox     string   // of an application's tokens
	Policy      TokenPolicy
}

// TokenPolicy configures the issued tokens. The zero value issues tokens that
// Exchange Online accepts, and allows one use of each refresh token.
type TokenPolicy struct {
	Audience           string
	Roles              []string      // of applications
	Lifetime           time.Duration // of a token; 0 means an hour
	StatedLifetime     time.Duration // expires_in; 0 means Lifetime
	ReuseRefreshTokens bool          // accepts used refresh tokens
}

// Audience is the audience of tokens for Exchange Online.
const Audience = "https://outlook.office365.com"

// Issuer is a real token issuer, oidc-provider, with the endpoints of Entra ID.
// Each refresh token can be used once.
type Issuer struct {
	config  IssuerConfig
	port    int
	key     *rsa.PrivateKey
	program *exec.Cmd // nil while stopped
	input   io.WriteCloser
	acks    chan struct{} // one value for each line that is not a request
	ended   chan struct{} // closed at the end of its output
	errors  Log

	mu       sync.Mutex
	requests []IssuerRequest
}

// IssuerRequest is a request for a token or a device code, with its response.
type IssuerRequest struct {
	Path     string
	Form     url.Values
	Status   int
	Response map[string]any
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

// Name returns the issuer's name in tokens.
func (i *Issuer) Name() string { return fmt.Sprintf("https://localhost:%d", i.port) }

// TokenURL returns the token endpoint.
func (i *Issuer) TokenURL() string { return i.Name() + issuerTenant + "/token" }

// DeviceURL returns the device authorization endpoint.
func (i *Issuer) DeviceURL() string { return i.Name() + issuerTenant + "/devicecode" }

// KeyID returns the ID of the key that signs tokens.
func (i *Issuer) KeyID() string { return "issuer" }

// Key returns the public key that verifies tokens.
func (i *Issuer) Key() crypto.PublicKey { return i.key.Public() }

// PrepareIssuer fetches the issuer's packages, for tests that start it without a
// network.
func PrepareIssuer() error {
	_, err := issuerProgram()
	return err
}

// issuerProgram returns the folder of the program.
func issuerProgram() (string, error) {
	files, err := fs.Sub(issuerFiles, "issuer")
	if err != nil {
		return "", err
	}
	return installed("issuer", files)
}

// Start starts the program. It forgets all earlier sign-ins.
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
	i.program.Stderr = &i.errors
	// Its own process group, so that Ctrl-C at the terminal does not reach it.
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
	i.acks, i.ended = make(chan struct{}, 1), make(chan struct{})
	go i.readOutput(output)
	line, err := i.configLine()
	if err != nil {
		return err
	}
	return i.send(line)
}

// configLine returns the program's first line of input.
func (i *Issuer) configLine() (any, error) {
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
		"scopes": i.config.Scopes, "mailbox": i.config.Mailbox, "policy": i.config.Policy.json(),
	}, nil
}

func privatePEM(pkcs8 []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// json returns the policy in the program's format.
func (p TokenPolicy) json() map[string]any {
	if p.Audience == "" {
		p.Audience = Audience
	}
	if p.Roles == nil {
		p.Roles = []string{"SMTP.SendAsApp"}
	}
	if p.Lifetime == 0 {
		p.Lifetime = time.Hour
	}
	if p.StatedLifetime == 0 {
		p.StatedLifetime = p.Lifetime
	}
	return map[string]any{"audience": p.Audience, "roles": p.Roles, "lifetime": p.Lifetime.Seconds(),
		"statedLifetime": p.StatedLifetime.Seconds(), "reuseRefreshTokens": p.ReuseRefreshTokens}
}

// SetTokenPolicy changes the policy for new tokens.
func (i *Issuer) SetTokenPolicy(policy TokenPolicy) error {
	i.config.Policy = policy
	return i.send(policy.json())
}

// send sends a line to the program and waits until the program has processed it.
func (i *Issuer) send(line any) error {
	if err := json.NewEncoder(i.input).Encode(line); err != nil {
		return fmt.Errorf("configuring the issuer: %w: %s", err, i.errors.String())
	}
	const timeout = 30 * time.Second
	select {
	case <-i.acks:
		return nil
	case <-i.ended:
		return fmt.Errorf("the issuer ended: %s", i.errors.String())
	case <-time.After(timeout):
		return fmt.Errorf("the issuer did not respond for %s: %s", timeout, i.errors.String())
	}
}

// readOutput reads the program's output.
func (i *Issuer) readOutput(output io.Reader) {
	defer close(i.ended)
	for lines := json.NewDecoder(bufio.NewReader(output)); ; {
		var line struct {
			Request *struct {
				Path     string         `json:"path"`
				Form     map[string]any `json:"form"`
				Status   int            `json:"status"`
				Response map[string]any `json:"answer"`
			} `json:"request"`
		}
		if err := lines.Decode(&line); err != nil {
			return
		}
		if line.Request == nil {
			select {
			case i.acks <- struct{}{}:
			default:
			}
			continue
		}
		request := IssuerRequest{Path: line.Request.Path, Form: url.Values{}, Status: line.Request.Status, Response: line.Request.Response}
		for name, value := range line.Request.Form {
			request.Form.Set(name, fmt.Sprint(value))
		}
		i.mu.Lock()
		i.requests = append(i.requests, request)
		i.mu.Unlock()
	}
}

// Requests returns the requests so far, with their responses.
func (i *Issuer) Requests() []IssuerRequest {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.requests)
}

// Secrets returns every token, secret, assertion and device code sent or issued so
// far.
func (i *Issuer) Secrets() []string {
	var all []string
	for _, request := range i.Requests() {
		for _, name := range []string{"client_assertion", "client_secret", "refresh_token", "device_code", "access_token"} {
			issued, _ := request.Response[name].(string)
			for _, secret := range []string{request.Form.Get(name), issued} {
				if secret != "" && !slices.Contains(all, secret) {
					all = append(all, secret)
				}
			}
		}
	}
	return all
}

// Stop stops the program. Stopping a stopped issuer does nothing.
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
