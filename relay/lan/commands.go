package lan

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sealpost/relay/reply"
)

// command returns the command that go-smtp must execute for a line of the client, or
// nothing if the client already got a reply. An error ends the session.
func (c *clientConn) command(line []byte) ([]byte, error) {
	c.lastCommand, c.quit, c.hello = "", false, false
	if len(line) > maxCommandLine {
		return nil, c.endWith(reply.New(500, 5, 2, "a command line may have %d octets", maxCommandLine))
	}
	text := strings.TrimRight(string(line), "\r\n")
	verb, argument := text, ""
	if end := strings.IndexAny(text, " \t"); end >= 0 {
		verb, argument = text[:end], strings.TrimSpace(text[end:])
	}
	verb = strings.ToUpper(verb)
	if c.lastCommand = verb; argument != "" {
		c.lastCommand += " " + argument
	}
	startTLS := strings.HasPrefix(verb, "STARTTLS")
	if c.chunksOpen && (startTLS || slices.Contains([]string{"RSET", "EHLO", "HELO"}, verb)) {
		c.chunksOpen, c.chunksAborted = false, true
	}
	switch {
	case startTLS:
		return c.startTLS()
	case verb == "EHLO", verb == "HELO":
		const longest = 255 // RFC 5321 section 4.5.3.1.2
		if len(argument) > longest {
			return nil, c.writeReply(reply.New(501, 5, 2, "the name of the device is longer than %d octets: correct it on the device", longest))
		}
		c.hello, c.needsEHLO, c.extended = true, false, verb == "EHLO"
		if argument == "" {
			return []byte(verb + " unknown\r\n"), nil // some devices have no name
		}
	case verb == "QUIT":
		c.quit = len(c.pending) == 0
	case verb == "BDAT":
		return c.beginChunk(argument)
	case verb == "AUTH":
		c.lastCommand = "AUTH" // the rest is a secret
		return nil, c.writeReply(reply.New(502, 5, 1, "this relay needs no user name and no password: turn SMTP authentication off on the device"))
	case verb == "MAIL" && c.needsEHLO:
		return nil, c.writeReply(reply.New(503, 5, 1, "send EHLO first: what came before STARTTLS does not count"))
	case verb == "MAIL":
		return c.mail(argument)
	case verb == "RCPT":
		return c.rcpt(argument), nil
	case verb == "DATA", verb == "RSET", verb == "NOOP", verb == "VRFY", verb == "EXPN", verb == "HELP":
	default:
		// It may be content, or a password.
		c.lastCommand = "an unknown command"
	}
	return line, nil
}

// mail passes MAIL on, with the path as go-smtp reads it, without the parameters of
// DSN, which the session takes from c, and without those that are accepted but have no
// effect here.
func (c *clientConn) mail(argument string) ([]byte, error) {
	path, parameters := normalisePath(argument, "FROM:", c.sessions.config.Hostname)
	for _, parameter := range parameters {
		name, value, _ := strings.Cut(strings.ToUpper(parameter), "=")
		octets, err := strconv.ParseUint(value, 10, 63)
		if most := c.sessions.limits.MessageSize; name == "SIZE" && err == nil && octets > uint64(most) {
			return nil, c.writeReply(reply.New(552, 3, 4, "%s", tooLargeText(most)))
		}
	}
	c.mailDSN, parameters = takeMailDSN(parameters)
	return joinCommand("MAIL", path, without(parameters, "AUTH")), nil // RFC 4954
}

// rcpt passes RCPT on, like mail.
func (c *clientConn) rcpt(argument string) []byte {
	path, parameters := normalisePath(argument, "TO:", "")
	c.rcptDSN, parameters = takeRcptDSN(parameters)
	return joinCommand("RCPT", path, parameters)
}

func joinCommand(verb, path string, parameters []string) []byte {
	return []byte(strings.Join(append([]string{verb, path}, parameters...), " ") + "\r\n")
}

// without returns the parameters of another name.
func without(parameters []string, name string) []string {
	return slices.DeleteFunc(parameters, func(parameter string) bool {
		its, _, _ := strings.Cut(parameter, "=")
		return strings.EqualFold(its, name)
	})
}

// normalisePath splits the argument of MAIL or RCPT, which begins with FROM: or TO:, and
// corrects the path. Devices write it with spaces, without brackets, with the dot
// of an absolute domain name, and without a domain; the sender of such a device gets
// ours. An argument that is something else is returned as it is.
func normalisePath(argument, prefix, domain string) (path string, parameters []string) {
	if len(argument) < len(prefix) || !strings.EqualFold(argument[:len(prefix)], prefix) {
		return argument, nil
	}
	rest := strings.TrimLeft(argument[len(prefix):], " \t")
	if strings.HasPrefix(rest, "<") {
		end := endOfPath(rest)
		if end < 0 {
			return argument, nil
		}
		path, parameters = rest[1:end], strings.Fields(rest[end+1:])
	} else {
		fields := strings.Fields(rest)
		if strings.ContainsAny(rest, `<>"`) {
			return argument, nil
		}
		if len(fields) > 0 {
			path, parameters = fields[0], fields[1:]
		}
	}
	path = strings.TrimSuffix(strings.Trim(path, " \t"), ".")
	if domain != "" && path != "" && !strings.Contains(path, "@") {
		path += "@" + domain
	}
	return prefix + "<" + path + ">", parameters
}

// endOfPath returns the index of the bracket that ends a path; those in a quoted
// local part do not (RFC 5321 section 4.1.2).
func endOfPath(path string) int {
	quoted := false
	for i := 0; i < len(path); i++ {
		switch {
		case quoted && path[i] == '\\':
			i++
		case path[i] == '"':
			quoted = !quoted
		case path[i] == '>' && !quoted:
			return i
		}
	}
	return -1
}

// rewriteReply corrects a reply of go-smtp: the first line of the reply to EHLO is our
// name (RFC 5321 section 4.1.1.1), STARTTLS is not offered under TLS (RFC 3207
// section 4.2), and the texts are ours.
func (c *clientConn) rewriteReply(whole []byte) []byte {
	first, rest, _ := bytes.Cut(whole, []byte("\r\n"))
	switch {
	case c.hello && bytes.HasPrefix(whole, []byte("250")):
		if c.secure.Load() {
			rest = bytes.Replace(rest, []byte("250-STARTTLS\r\n"), nil, 1)
		}
		whole = append([]byte(string(first[:4])+c.sessions.config.Hostname+"\r\n"), rest...)
	case len(rest) == 0:
		if prefix := replyPrefix.Find(first); prefix != nil {
			whole = []byte(string(prefix) + replyText(string(first[len(prefix):]), c.sessions.limits.MessageSize) + "\r\n")
		}
	}
	c.hello = false
	return whole
}

// replyPrefix is the code and the status of a reply.
var replyPrefix = regexp.MustCompile(`^[2-5][0-9][0-9] ([245]\.[0-9]+\.[0-9]+ )?`)

// journalRefusal journals a negative reply with its command.
func (c *clientConn) journalRefusal(whole []byte) {
	command := c.lastCommand
	if c.lastCommand = ""; command == "" || whole[0] < '4' {
		return
	}
	const longest = 200
	if len(command) > longest {
		command = command[:longest] + " ..."
	}
	c.sessions.journal.CommandRefused(c.client, command, strings.ReplaceAll(strings.TrimRight(string(whole), "\r\n"), "\r\n", " "))
}

// startTLS carries out STARTTLS (RFC 3207) and resets go-smtp's transaction, which
// may be an attacker's from before the handshake.
func (c *clientConn) startTLS() ([]byte, error) {
	if c.secure.Load() {
		return nil, c.writeReply(reply.New(503, 5, 1, "TLS is in use already"))
	}
	if err := c.writeReply(reply.New(220, 0, 0, "ready to start TLS")); err != nil {
		return nil, err
	}
	c.useTLS()
	if err := c.completeHandshake(); err != nil {
		return nil, err
	}
	c.needsEHLO, c.dropReply = true, true
	return []byte("RSET\r\n"), nil
}

// beginChunk passes BDAT on (RFC 3030 section 2). The chunk follows the command
// even if that is refused, so an argument that cannot be read ends the session:
// it is unknown where the next command begins.
func (c *clientConn) beginChunk(argument string) ([]byte, error) {
	fields := append(strings.Fields(argument), "", "")
	octets, err := strconv.ParseUint(fields[0], 10, 63)
	last := strings.EqualFold(fields[1], "LAST")
	if err != nil || fields[1] != "" && !last || fields[2] != "" {
		return nil, c.endWith(reply.New(501, 5, 4, "BDAT has a number of octets and at most LAST"))
	}
	const most = 1<<32 - 1 // of go-smtp
	if octets > most {
		return nil, c.endWith(reply.New(552, 3, 4, "a BDAT chunk of %d octets is too large", octets))
	}
	c.chunk, c.chunksOpen, c.lastCommand = int64(octets), !last, ""
	if last {
		return fmt.Appendf(nil, "BDAT %d LAST\r\n", octets), nil
	}
	return fmt.Appendf(nil, "BDAT %d\r\n", octets), nil
}

// writeReply sends a reply without go-smtp.
func (c *clientConn) writeReply(r reply.Reply) error {
	_, err := c.Write([]byte(r.String() + "\r\n"))
	return err
}

// endWith sends a last reply and ends the session.
func (c *clientConn) endWith(r reply.Reply) error {
	if err := c.writeReply(r); err != nil {
		return err
	}
	return io.EOF
}
