package practice

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sealpost/tests/rigs/parts"
)

const (
	clientName = "relay." + Domain
	// Password opens the practice PFX.
	Password = "practice"
)

// Files are what a technician brings to a site. They persist in Dir between
// starts, because the box stores them.
type Files struct {
	Dir       string
	Authority []byte // the certificate of the authority, in PEM
	PFX       []byte
	server    tls.Certificate
}

// Names of the files in Dir.
const (
	authorityFile = "authority.pem"
	pfxFile       = "relay.pfx"
	textFile      = "relay.txt" // the PFX in base64, as certutil -encode writes it
	serverFile    = "server.pem"
	stickFile     = "stick.img"
)

// Stick returns the path of a USB stick image with the settings, the PFX and its
// password.
func (f Files) Stick() string { return filepath.Join(f.Dir, stickFile) }

// Result returns what the box wrote to the stick, or "".
func (f Files) Result() string {
	text, _ := parts.StickResult(f.Stick()) // an error says that there is nothing yet
	return text
}

// RemoveResult removes what the box wrote to the stick before.
func (f Files) RemoveResult() { parts.RemoveStickResult(f.Stick()) }

// PFXText returns the PFX in base64 between BEGIN and END lines.
func (f Files) PFXText() string { return string(parts.PEM(f.PFX)) }

// Settings returns the settings of a box at the practice site.
func (f Files) Settings() string {
	return fmt.Sprintf("[site]\nname = \"Practice\"\nalert = \"alerts@%[1]s\"\n\n[senders]\naccepted_domains = [%[1]q]\ndefault = \"printer@%[1]s\"\n\n"+
		"[upstream.connector]\nhost = %[2]q\nca = \"\"\"\n%[3]s\"\"\"\n", Domain, MailHost, f.Authority)
}

// loadFiles reads the files in dir, and creates them if they do not exist.
func loadFiles(dir string) (f Files, err error) {
	f.Dir = dir
	if f.Authority, err = os.ReadFile(filepath.Join(dir, authorityFile)); errors.Is(err, fs.ErrNotExist) {
		return f, f.create()
	}
	if err != nil {
		return f, err
	}
	if f.PFX, err = os.ReadFile(filepath.Join(dir, pfxFile)); err != nil {
		return f, err
	}
	server := filepath.Join(dir, serverFile)
	f.server, err = tls.LoadX509KeyPair(server, server)
	return f, err
}

// create issues the certificates and writes the files. The authority is written
// last: its presence shows that the others are complete.
func (f *Files) create() error {
	if err := os.MkdirAll(f.Dir, 0o700); err != nil {
		return err
	}
	authority, err := parts.NewAuthority("Practice CA")
	if err != nil {
		return err
	}
	if f.server, err = authority.IssueP256(nil, MailHost); err != nil {
		return err
	}
	client, err := authority.IssueRSA2048(clientName)
	if err != nil {
		return err
	}
	client.Certificate = append(client.Certificate, authority.Certificate.Raw)
	if f.PFX, err = parts.PFX(client, Password); err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(f.server.PrivateKey)
	if err != nil {
		return err
	}
	server := append(parts.PEM(f.server.Certificate...), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	f.Authority = authority.PEM()
	err = parts.MakeStick(f.Stick(), map[string]string{"sealpost/sealpost.toml": f.Settings(),
		"sealpost/practice.pfx": string(f.PFX), "sealpost/password.txt": Password + "\r\n"})
	if err != nil {
		return err
	}
	for _, file := range []struct {
		name    string
		content []byte
	}{{pfxFile, f.PFX}, {textFile, []byte(f.PFXText())}, {serverFile, server}, {authorityFile, f.Authority}} {
		if err := os.WriteFile(filepath.Join(f.Dir, file.name), file.content, 0o600); err != nil {
			return err
		}
	}
	return nil
}
