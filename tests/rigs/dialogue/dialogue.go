// Package dialogue plays readable scripts of SMTP sessions.
//
// A script has one step per line:
//
//	C: EHLO printer          the client sends this line
//	S: 250-*                 the server sends a matching line
//	S: 250 *
//	S: ...                   any reply, however many lines
//	C: -- close              the client closes the connection
//	S: -- close              the server closes the connection
//	C: -- starttls           the client starts TLS
//	C: -- 3000 x A           the client sends a line of 3000 "A"
//	C: -- raw "a\r\nb\n"     the client sends these octets, quoted as in Go
//	C: -- tls                the client begins with TLS
//	@ name value             an option for the test
//	D: Subject: scan         a line of the message that is delivered, for the test
//	# a comment
//
// An asterisk matches any text.
package dialogue

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

// timeout limits a step.
const timeout = 20 * time.Second

type player struct {
	conn    net.Conn
	r       *bufio.Reader
	options *tls.Config
}

// Play plays the client's side of a script file over conn. It fails at the first
// step that differs.
func Play(conn net.Conn, script string) error {
	return PlayTLS(conn, script, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10})
}

// PlayTLS is Play with the client's options of TLS.
func PlayTLS(conn net.Conn, script string, options *tls.Config) error {
	text, err := os.ReadFile(script)
	if err != nil {
		return err
	}
	p := &player{conn, bufio.NewReader(conn), options}
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "@") || strings.HasPrefix(line, "D:") {
			continue
		}
		if err := p.step(line); err != nil {
			return fmt.Errorf("%s:%d: %s: %w", script, i+1, line, err)
		}
	}
	return nil
}

// Options returns the options in a script file, and the lines of the message that is
// delivered.
func Options(script string) (options map[string]string, delivered []string, err error) {
	text, err := os.ReadFile(script)
	options = map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if option, found := strings.CutPrefix(line, "@ "); found {
			name, value, _ := strings.Cut(option, " ")
			options[name] = value
		}
		if content, found := strings.CutPrefix(line, "D:"); found {
			delivered = append(delivered, strings.TrimPrefix(content, " "))
		}
	}
	return options, delivered, err
}

func (p *player) step(line string) error {
	_ = p.conn.SetDeadline(time.Now().Add(timeout))
	who, what, _ := strings.Cut(line, ":")
	what = strings.TrimPrefix(what, " ")
	action, special := strings.CutPrefix(what, "-- ")
	switch {
	case who == "C" && special:
		return p.act(action)
	case who == "C":
		return p.send(what)
	case who == "S" && special && action == "close":
		return p.expectClose()
	case who == "S" && what == "...":
		return p.skipReply()
	case who == "S":
		return p.expect(what)
	}
	return errors.New("unknown step")
}

func (p *player) send(line string) error {
	_, err := io.WriteString(p.conn, line+"\r\n")
	return err
}

func (p *player) act(action string) error {
	if count, text, ok := strings.Cut(action, " x "); ok {
		n, err := strconv.Atoi(count)
		if err != nil {
			return err
		}
		return p.send(strings.Repeat(text, n))
	}
	if quoted, found := strings.CutPrefix(action, "raw "); found {
		octets, err := strconv.Unquote(quoted)
		if err != nil {
			return err
		}
		_, err = io.WriteString(p.conn, octets)
		return err
	}
	switch action {
	case "close":
		return p.conn.Close()
	case "starttls", "tls":
		conn := tls.Client(p.conn, p.options)
		p.conn, p.r = conn, bufio.NewReader(conn)
		return conn.Handshake()
	}
	return errors.New("unknown client action")
}

func (p *player) readLine() (string, error) {
	line, err := p.r.ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

func (p *player) expect(pattern string) error {
	line, err := p.readLine()
	if err != nil {
		return err
	}
	// In path.Match an asterisk does not match "/", and brackets are special.
	plain := strings.NewReplacer("/", "|", "[", "(", "]", ")", "?", "!", `\`, "|")
	if ok, err := path.Match(plain.Replace(pattern), plain.Replace(line)); err != nil || !ok {
		return fmt.Errorf("the server sent %q", line)
	}
	return nil
}

func (p *player) skipReply() error {
	for {
		line, err := p.readLine()
		if err != nil {
			return err
		}
		if len(line) < 4 || line[3] != '-' {
			return nil
		}
	}
}

func (p *player) expectClose() error {
	line, err := p.readLine()
	if err == nil {
		return fmt.Errorf("the server sent %q", line)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("the server keeps the connection open")
	}
	return nil
}
