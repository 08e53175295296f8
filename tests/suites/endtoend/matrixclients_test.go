package endtoend

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"net/textproto"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/tests/rigs/parts"
)

// mailClient is a real program or library that sends mail.
type mailClient struct {
	name  string
	auths []string // what it can do besides no login
	send  func(s *site, all []parts.Mail) []string
}

var mailClients = []mailClient{
	{"swaks", []string{"PLAIN", "LOGIN", "CRAM-MD5"}, eachBy(swaksCommand)},
	{"curl", []string{"PLAIN", "LOGIN", "CRAM-MD5"}, eachBy(curlCommand)},
	{"msmtp", []string{"PLAIN", "LOGIN", "CRAM-MD5"}, eachBy(msmtpCommand)},
	{"smtplib", []string{"PLAIN", "LOGIN", "CRAM-MD5"}, allBy(parts.SendByPython)},
	{"nodemailer", []string{"PLAIN", "LOGIN", "CRAM-MD5"}, allBy(parts.SendByNodemailer)},
	{"net/smtp", []string{"PLAIN", "CRAM-MD5"}, each(sendByGo)},
}

// allBy sends by a program that sends many messages.
func allBy(send func([]parts.Mail) ([]string, error)) func(*site, []parts.Mail) []string {
	return func(s *site, all []parts.Mail) []string {
		replies, err := send(all)
		if err != nil {
			s.t.Error(err)
		}
		return replies
	}
}

// each sends every message by itself, some at the same time.
func each(send func(*site, parts.Mail) string) func(*site, []parts.Mail) []string {
	return func(s *site, all []parts.Mail) []string {
		const atOnce = 8
		replies, slots := make([]string, len(all)), make(chan struct{}, atOnce)
		var sending sync.WaitGroup
		for n, m := range all {
			sending.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				replies[n] = send(s, m)
			})
		}
		sending.Wait()
		return replies
	}
}

// replyLine matches a reply in the output of swaks, curl and msmtp.
var replyLine = regexp.MustCompile(`(?m)^(?:<-- |< |<[-~*]+ +)([2-5][0-9][0-9] .*?)\r?$`)

// eachBy sends by a program that is started for each message, and returns the first reply
// that refuses it, or else the one to its content.
func eachBy(command func(*site, parts.Mail) (input string, args []string)) func(*site, []parts.Mail) []string {
	return each(func(s *site, m parts.Mail) string {
		input, args := command(s, m)
		output, err := runWith(s.t, input, args[0], args[1:]...)
		last := ""
		for _, reply := range replyLine.FindAllStringSubmatch(output, -1) {
			if reply[1][0] >= '4' {
				return reply[1]
			}
			if !strings.HasPrefix(reply[1], "221") {
				last = reply[1]
			}
		}
		if err != nil {
			return fmt.Sprintf("%v: %s", err, output)
		}
		return last
	})
}

func runWith(t *testing.T, input, name string, args ...string) (string, error) {
	if _, err := exec.LookPath(name); err != nil {
		t.Errorf("the program %s is missing: install the Debian package %s", name, packages[name])
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var output bytes.Buffer
	command := exec.CommandContext(ctx, name, args...)
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(input), &output, &output
	err := command.Run()
	return output.String(), err
}

func swaksCommand(s *site, m parts.Mail) (string, []string) {
	args := []string{"swaks", "--server", m.Host, "--port", strconv.Itoa(m.Port), "--local-interface", m.FromAddress, "--helo", "client",
		"--from", m.Sender, "--to", m.Recipient, "--header", "Subject: " + m.Subject, "--body", m.Text}
	switch m.TLS {
	case "STARTTLS":
		args = append(args, "--tls")
	case "implicit":
		args = append(args, "--tls-on-connect")
	}
	if m.TLS != "clear" {
		args = append(args, "--tls-verify", "--tls-ca-path", s.path("lan-ca.pem"))
	}
	if m.Auth != "" {
		args = append(args, "--auth", m.Auth, "--auth-user", m.User, "--auth-password", m.Password)
	}
	return "", args
}

// fileOf returns a message as a file.
func fileOf(m parts.Mail) string {
	return fmt.Sprintf("From: %s\nTo: %s\nSubject: %s\n\n%s\n", m.Sender, m.Recipient, m.Subject, m.Text)
}

func curlCommand(s *site, m parts.Mail) (string, []string) {
	scheme := "smtp"
	if m.TLS == "implicit" {
		scheme = "smtps"
	}
	port := strconv.Itoa(m.Port)
	args := []string{"curl", "--silent", "--show-error", "--verbose", scheme + "://" + m.ServerName + ":" + port + "/client",
		"--connect-to", m.ServerName + ":" + port + ":" + m.Host + ":" + port, "--interface", m.FromAddress,
		"--mail-from", m.Sender, "--mail-rcpt", m.Recipient, "--upload-file", "-", "--crlf"}
	if m.TLS != "clear" {
		args = append(args, "--ssl-reqd", "--cacert", s.path("lan-ca.pem"))
	}
	if m.Auth != "" {
		args = append(args, "--login-options", "AUTH="+m.Auth, "--user", m.User+":"+m.Password)
	}
	return fileOf(m), args
}

func msmtpCommand(s *site, m parts.Mail) (string, []string) {
	args := []string{"msmtp", "--debug", "--host=" + m.Host, "--port=" + strconv.Itoa(m.Port), "--source-ip=" + m.FromAddress, "--domain=client", "--from=" + m.Sender}
	if m.TLS == "clear" {
		args = append(args, "--tls=off")
	} else {
		starttls := map[string]string{"STARTTLS": "on", "implicit": "off"}[m.TLS]
		args = append(args, "--tls=on", "--tls-starttls="+starttls, "--tls-trust-file="+s.path("lan-ca.pem"), "--tls-host-override="+m.ServerName)
	}
	if m.Auth != "" {
		args = append(args, "--auth="+strings.ToLower(m.Auth), "--user="+m.User, "--passwordeval=echo '"+m.Password+"'")
	}
	return fileOf(m), append(args, m.Recipient)
}

// sendByGo sends a message by net/smtp, which knows no LOGIN.
func sendByGo(_ *site, m parts.Mail) string {
	reply, err := trySendByGo(m)
	if refused := (*textproto.Error)(nil); errors.As(err, &refused) {
		return fmt.Sprintf("%d %s", refused.Code, refused.Msg)
	}
	if err != nil {
		return err.Error()
	}
	return reply
}

func trySendByGo(m parts.Mail) (string, error) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(m.CA))
	config := &tls.Config{RootCAs: pool, ServerName: m.ServerName}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(m.FromAddress)}, Timeout: 10 * time.Second}
	conn, err := dialer.Dial("tcp", net.JoinHostPort(m.Host, strconv.Itoa(m.Port)))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if m.TLS == "implicit" {
		conn = tls.Client(conn, config)
	}
	// net/smtp gives a password in clear text only to this name.
	const name = "localhost"
	client, err := smtp.NewClient(conn, name)
	if err != nil {
		return "", err
	}
	if err := client.Hello("client"); err != nil {
		return "", err
	}
	if m.TLS == "STARTTLS" {
		if err := client.StartTLS(config); err != nil {
			return "", err
		}
	}
	login := smtp.PlainAuth("", m.User, m.Password, name)
	if m.Auth == "CRAM-MD5" {
		login = smtp.CRAMMD5Auth(m.User, m.Password)
	}
	if m.Auth != "" {
		if err := client.Auth(login); err != nil {
			return "", err
		}
	}
	if err := client.Mail(m.Sender); err != nil {
		return "", err
	}
	if err := client.Rcpt(m.Recipient); err != nil {
		return "", err
	}
	content, err := client.Data()
	if err != nil {
		return "", err
	}
	if _, err := content.Write([]byte(fileOf(m))); err != nil {
		return "", err
	}
	if err := content.Close(); err != nil {
		return "", err
	}
	return "250", client.Quit()
}
