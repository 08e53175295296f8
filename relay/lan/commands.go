package lan

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"sealpost/hal/printable"
	"sealpost/relay/reply"
)

// command returns the command that go-smtp must execute for a line of the client, or
// nothing if the client already got a reply. An error ends the session.
func (c *clientConn) command(line []byte) ([]byte, error) {
	c.lastCommand, c.quit, c.isHello = "", false, false
	if len(line) > maxCommandLine {
		return nil, c.endWith(reply.New(500, 5, 2, "a command line may have %d octets", maxCommandLine))
	}
	text := strings.TrimRight(string(line), "\r\n")
	word, argument := text, ""
	if end := strings.IndexAny(text, " \t"); end >= 0 {
		word, argument = text[:end], strings.TrimSpace(text[end:])
	}
	verb := strings.ToUpper(word)
	if c.lastCommand = text; verb != word {
		c.lastCommand = verb + text[len(word):]
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
		c.isHello, c.needsEHLO, c.extended, c.greeted = true, false, verb == "EHLO", true
		c.observe(func(s *observed) { s.hello = argument })
		if argument == "" {
			c.quirk("no name in HELO")
			return []byte(verb + " unknown\r\n"), nil // some devices have no name
		}
	case verb == "QUIT":
		c.quit = len(c.pending) == 0
	case verb == "BDAT":
		return c.beginChunk(argument)
	case verb == "AUTH":
		c.lastCommand = "AUTH" // the rest is a secret
		return nil, c.auth(argument)
	case verb == "MAIL" && c.needsEHLO:
		return nil, c.writeReply(reply.New(503, 5, 1, "send EHLO first: what came before STARTTLS does not count"))
	case verb == "MAIL" && c.inTransaction.Load() && !c.chunksOpen:
		// go-smtp would send the message without the recipients that it has accepted.
		return nil, c.writeReply(reply.New(503, 5, 1, "a message has begun already: send RSET first"))
	case verb == "MAIL":
		mail, err := c.mail(argument)
		if len(mail) > 0 && !c.greeted {
			c.quirk("no HELO")
			c.greeted, c.dropReply = true, true
			mail = append([]byte("HELO unknown\r\n"), mail...)
		}
		return mail, err
	case verb == "RCPT":
		return c.rcpt(argument)
	case verb == "DATA", verb == "RSET", verb == "NOOP", verb == "VRFY", verb == "EXPN", verb == "HELP":
	case verb == ".": // of dataContent, after the content
		c.lastCommand = "DATA"
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
	c.pathQuirk(argument, "FROM:", path)
	for _, parameter := range parameters {
		name, value, _ := strings.Cut(strings.ToUpper(parameter), "=")
		octets, err := strconv.ParseUint(value, 10, 63)
		if most := c.messageSize(); name == "SIZE" && err == nil && octets > uint64(most) {
			return nil, c.writeReply(reply.New(552, 3, 4, "%s", tooLargeText(most)))
		}
	}
	c.mailDSN, parameters = takeMailDSN(parameters)
	parameters, unsupported := c.knownParameters(parameters, "SIZE", "BODY", "SMTPUTF8", "REQUIRETLS", "RET", "ENVID")
	if unsupported != "" {
		return nil, c.writeReply(unsupportedParameter("MAIL", unsupported))
	}
	return joinCommand("MAIL", path, parameters), nil
}

// rcpt passes RCPT on, like mail.
func (c *clientConn) rcpt(argument string) ([]byte, error) {
	path, parameters := normalisePath(argument, "TO:", "")
	c.pathQuirk(argument, "TO:", path)
	c.rcptDSN, parameters = takeRcptDSN(parameters)
	parameters, unsupported := c.knownParameters(parameters, "NOTIFY", "ORCPT")
	if unsupported != "" {
		return nil, c.writeReply(unsupportedParameter("RCPT", unsupported))
	}
	return joinCommand("RCPT", path, parameters), nil
}

// essential are parameters whose effect the client relies on: delivery at another time
// (RFC 4865, RFC 2852) or only to the same owner of a mailbox (RFC 7293).
var essential = []string{"HOLDFOR", "HOLDUNTIL", "BY", "RRVS"}

// knownParameters returns those of the parameters that are known, and the first one that
// cannot be ignored. The others have no effect here, such as AUTH (RFC 4954 section 5).
func (c *clientConn) knownParameters(parameters []string, known ...string) (kept []string, unsupported string) {
	for _, parameter := range parameters {
		name, _, _ := strings.Cut(strings.ToUpper(parameter), "=")
		switch {
		case slices.Contains(known, name):
			kept = append(kept, parameter)
		case slices.Contains(essential, name):
			return nil, name
		case name != "AUTH":
			c.quirk("unknown parameter")
		}
	}
	return kept, ""
}

func unsupportedParameter(command, name string) reply.Reply {
	return reply.New(555, 5, 4, "%s of %s is not offered by this relay: turn it off on the device", name, command)
}

// pathQuirk notes how a path differs from what normalisePath makes of it.
func (c *clientConn) pathQuirk(argument, prefix, path string) {
	rest := argument[min(len(prefix), len(argument)):]
	trimmed := strings.TrimLeft(rest, " \t")
	switch {
	case len(trimmed) < len(rest):
		c.quirk("space before the address")
	case trimmed != "" && trimmed[0] != '<':
		c.quirk("address without brackets")
	case path != argument && !strings.HasPrefix(trimmed, path[min(len(prefix), len(path)):]):
		c.quirk("address corrected")
	}
}

// messageSize is the largest message that the client may send, in octets.
func (c *clientConn) messageSize() int64 {
	return limit(c.access.Device.Limits.MessageSize, c.sessions.limits.MessageSize)
}

func joinCommand(verb, path string, parameters []string) []byte {
	return []byte(strings.Join(append([]string{verb, path}, parameters...), " ") + "\r\n")
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
	case c.isHello && bytes.HasPrefix(whole, []byte("250")):
		if c.extended {
			rest = c.withAuth(rest)
		}
		if c.secure.Load() {
			rest = bytes.Replace(rest, []byte("250-STARTTLS\r\n"), nil, 1)
		}
		if most, all := c.messageSize(), c.sessions.limits.MessageSize; most != all {
			rest = bytes.Replace(rest, fmt.Appendf(nil, "SIZE %d", all), fmt.Appendf(nil, "SIZE %d", most), 1)
		}
		if most := c.access.Device.Limits.Recipients; most > 0 && most < c.sessions.limits.Recipients {
			rest = bytes.Replace(rest, fmt.Appendf(nil, "RCPTMAX=%d", c.sessions.limits.Recipients), fmt.Appendf(nil, "RCPTMAX=%d", most), 1)
		}
		whole = append([]byte(string(first[:4])+c.sessions.config.Hostname+"\r\n"), rest...)
	case len(rest) == 0:
		prefix, text := first[:prefixLength(first)], string(first[prefixLength(first):])
		if ours := replyText(text, c.messageSize()); ours != text {
			whole = []byte(string(prefix) + ours + "\r\n")
		}
	}
	c.isHello = false
	return whole
}

// printableReply makes what a reply quotes of a command printable, and shortens it: it may
// be any octets.
func printableReply(whole []byte) []byte {
	plain := len(whole) <= maxReplyLine
	for _, c := range whole {
		plain = plain && c <= '~' && (c >= ' ' || c == '\r' || c == '\n')
	}
	if plain {
		return whole
	}
	var shown []byte
	for line := range strings.SplitSeq(strings.TrimSuffix(string(whole), "\r\n"), "\r\n") {
		shown = append(append(shown, truncateLine(printable.Line(line))...), "\r\n"...)
	}
	return shown
}

// withAuth adds the mechanisms to the lines of the reply to EHLO, before the last one.
// Old clients read only the form with an equals sign.
func (c *clientConn) withAuth(lines []byte) []byte {
	offered := strings.Join(c.offeredAuth(), " ")
	if offered == "" {
		return lines
	}
	return append([]byte("250-AUTH "+offered+"\r\n250-AUTH="+offered+"\r\n"), lines...)
}

// prefixLength returns the length of the code and the status that a reply begins with,
// with the space after them.
func prefixLength(line []byte) int {
	const code = len("250 ")
	if len(line) < code {
		return len(line)
	}
	status, _, found := bytes.Cut(line[code:], []byte(" "))
	if !found || len(status) < len("2.0.0") || status[1] != '.' || bytes.ContainsFunc(status, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }) {
		return code
	}
	return code + len(status) + 1
}

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
	c.record(0, strings.TrimRight(string(whole), "\r\n"))
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
	// go-smtp receives content concurrently, and panics if the session ends before that
	// begins. So it gets no chunk that is empty, and none before its first octet.
	switch {
	case octets == 0 && !last && c.hasRecipient:
		c.lastCommand = ""
		return nil, c.writeReply(reply.New(250, 0, 0, "chunk received"))
	case octets > 0:
		if c.pending, err = c.next(c.commandBlock()); err != nil {
			return nil, err
		}
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
