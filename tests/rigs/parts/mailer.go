package parts

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"os/exec"
	"time"
)

//go:embed mailer
var mailerFiles embed.FS

// Mail is a message and how a client sends it.
type Mail struct {
	Host        string `json:"host"`
	Port        int    `json:"port"`
	FromAddress string `json:"from_address"` // the client's own IP address
	TLS         string `json:"tls"`          // "clear", "STARTTLS" or "implicit"
	CA          string `json:"ca"`           // in PEM
	ServerName  string `json:"server_name"`  // in the server's certificate
	Auth        string `json:"auth"`         // a SASL mechanism, or empty
	User        string `json:"user"`
	Password    string `json:"password"`
	Sender      string `json:"sender"`
	Recipient   string `json:"recipient"`
	Subject     string `json:"subject"`
	Text        string `json:"text"`
}

// SendByNodemailer sends messages all at once by nodemailer, and returns the server's
// reply to each, or what went wrong.
func SendByNodemailer(messages []Mail) ([]string, error) {
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, fmt.Errorf("the program node is missing: install the Debian package nodejs: %w", err)
	}
	files, err := fs.Sub(mailerFiles, "mailer")
	if err != nil {
		return nil, err
	}
	dir, err := installed("mailer", files)
	if err != nil {
		return nil, err
	}
	return sendAll(messages, dir, node, "mailer.mjs")
}

// SendByPython sends messages all at once by Python's smtplib, like SendByNodemailer.
func SendByPython(messages []Mail) ([]string, error) {
	python, err := exec.LookPath("python3")
	if err != nil {
		return nil, fmt.Errorf("the program python3 is missing: install the Debian package python3: %w", err)
	}
	script, err := mailerFiles.ReadFile("mailer/mailer.py")
	if err != nil {
		return nil, err
	}
	return sendAll(messages, "", python, "-c", string(script))
}

// sendAll has a program send messages.
func sendAll(messages []Mail, dir, program string, args ...string) ([]string, error) {
	const limit = time.Minute
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	input, err := json.Marshal(messages)
	if err != nil {
		return nil, err
	}
	var errors bytes.Buffer
	command := exec.CommandContext(ctx, program, args...)
	command.Dir, command.Stdin, command.Stderr = dir, bytes.NewReader(input), &errors
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("sending mail by %s: %w\n%s", program, err, &errors)
	}
	var replies []string
	if err := json.Unmarshal(output, &replies); err != nil || len(replies) != len(messages) {
		return nil, fmt.Errorf("got %d replies to %d messages from %s: %w", len(replies), len(messages), program, err)
	}
	return replies, nil
}
