// Package dialogue plays SMTP conversations that a person can read.
//
// A script has one step a line:
//
//	C: EHLO printer          the client says this line
//	S: 250-*                 the server answers a line of this shape
//	S: 250 *
//	S: ...                   any lines up to the last one of a reply
//	C: -- close              the client hangs up
//	S: -- close              the server hangs up
//	C: -- starttls           the client goes over to TLS
//	C: -- 3000 x A           the client says a line of 3000 times "A"
//	# a comment
//
// An asterisk stands for any text.
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

// timeout is how long a step may take.
const timeout = 20 * time.Second

type player struct {
	conn net.Conn
	r    *bufio.Reader
}

// Play holds the conversation in a script file over conn, as the client, and
// fails at the first step that goes otherwise.
func Play(conn net.Conn, script string) error {
	text, err := os.ReadFile(script)
	if err != nil {
		return err
	}
	p := &player{conn, bufio.NewReader(conn)}
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := p.step(line); err != nil {
			return fmt.Errorf("%s:%d: %s: %w", script, i+1, line, err)
		}
	}
	return nil
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
		return p.say(what)
	case who == "S" && special && action == "close":
		return p.expectClose()
	case who == "S" && what == "...":
		return p.skipReply()
	case who == "S":
		return p.expect(what)
	}
	return errors.New("not a step of a dialogue")
}

func (p *player) say(line string) error {
	_, err := io.WriteString(p.conn, line+"\r\n")
	return err
}

func (p *player) act(action string) error {
	if count, text, ok := strings.Cut(action, " x "); ok {
		n, err := strconv.Atoi(count)
		if err != nil {
			return err
		}
		return p.say(strings.Repeat(text, n))
	}
	switch action {
	case "close":
		return p.conn.Close()
	case "starttls":
		conn := tls.Client(p.conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10})
		p.conn, p.r = conn, bufio.NewReader(conn)
		return conn.Handshake()
	}
	return errors.New("not an action of the client")
}

func (p *player) hear() (string, error) {
	line, err := p.r.ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

func (p *player) expect(pattern string) error {
	line, err := p.hear()
	if err != nil {
		return err
	}
	// path.Match keeps an asterisk from matching "/" and gives meaning to
	// brackets; neither belongs to SMTP.
	plain := strings.NewReplacer("/", "|", "[", "(", "]", ")", "?", "!", `\`, "|")
	if ok, err := path.Match(plain.Replace(pattern), plain.Replace(line)); err != nil || !ok {
		return fmt.Errorf("the server said %q", line)
	}
	return nil
}

func (p *player) skipReply() error {
	for {
		line, err := p.hear()
		if err != nil {
			return err
		}
		if len(line) < 4 || line[3] != '-' {
			return nil
		}
	}
}

func (p *player) expectClose() error {
	line, err := p.hear()
	if err == nil {
		return fmt.Errorf("the server said %q", line)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("the server keeps the connection open")
	}
	return nil
}
