// Package header repairs the header of a message while it is received (RFC 5322
// section 3.6, RFC 6409 section 8), replaces its author, when the message must be sent
// under another sender, and finds the author's domain.
//
// It knows fields and mailboxes as written in a header, and leaves everything
// else unchanged. It must not know envelopes, who may send as whom, or where a
// message is sent.
package header

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
)

// Content is a message that can be read more than once.
type Content interface {
	Open() io.Reader
	Size() int64
}

// Limits for changing a header.
const (
	maxHeader = 1 << 20 // octets in total
	maxField  = 8 << 10 // octets of the author's fields in total
	maxEdits  = 16
)

// ErrTooLarge is the error of a header that exceeds the limits.
var ErrTooLarge = errors.New("header too large to change")

// ReplaceAuthor returns the message with address as its author. The author's
// name is kept. If there is no Reply-To, one is added: the address in From, or else
// originalSender, which may be empty. A Sender field is removed, because it named
// the sender for the previous author.
func ReplaceAuthor(content Content, address, originalSender string) (Content, error) {
	s := scan{r: bufio.NewReader(content.Open())}
	if err := s.header(); err != nil {
		return nil, fmt.Errorf("reading the header: %w", err)
	}
	author := parseMailbox(s.from)
	fields := field("From", author.name, address)
	if reply := cmp.Or(author.address, validAddress(originalSender)); !s.replyTo && reply != "" {
		fields += field("Reply-To", "", reply)
	}
	if s.headless {
		fields += "\r\n"
	}
	edits := s.edits
	if len(edits) == 0 {
		edits = []edit{{}}
	}
	edits[0].insert = fields
	return editedContent{content, edits, content.Size() + int64(len(fields)) - s.dropped}, nil
}

// Inspect opens content for another purpose than sending it: by its method Inspect if it
// has one, because reading by Open counts as progress of a transfer.
func Inspect(content Content) io.Reader {
	if c, ok := content.(interface{ Inspect() io.Reader }); ok {
		return c.Inspect()
	}
	return content.Open()
}

// AuthorDomain returns the domain of the first author in lower case, or "" if the message
// has no author with a domain name. It inspects the header.
func AuthorDomain(content Content) (string, error) {
	s := scan{r: bufio.NewReader(Inspect(content))}
	if err := s.header(); err != nil {
		return "", fmt.Errorf("reading the author: %w", err)
	}
	all := addresses(s.from)
	if len(all) == 0 {
		return "", nil
	}
	domain := strings.ToLower(all[0][strings.LastIndexByte(all[0], '@')+1:])
	if strings.HasPrefix(domain, "[") {
		return "", nil
	}
	return domain, nil
}

// edit is a change at an offset: octets removed and text inserted.
type edit struct {
	at, drop int64
	insert   string
}

// scan reads a header and records what to remove.
type scan struct {
	r       *bufio.Reader
	at      int64
	edits   []edit
	dropped int64
	from    []byte // the value of the first From field, unfolded
	replyTo bool
	authors int    // From fields so far
	name    string // of the current field, in lower case

	headless bool // the message begins with its body
}

// headerLine matches the lines of a header: a field, a folded line, or an mbox
// "From " line. Anything else is body text, because devices omit the empty line
// before it.
var headerLine = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(?:[!-9;-~]*[ \t]*:|[ \t]|From )`)
})

// header reads up to the end of the header.
func (s *scan) header() error {
	for {
		line, err := s.line()
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if s.at += int64(len(line)); s.at > maxHeader {
			return ErrTooLarge
		}
		first := s.at == int64(len(line))
		if !headerLine().Match(line) || first && isFolded(line) {
			s.headless = first && isText(line)
			return nil
		}
		if err := s.addLine(line); err != nil {
			return err
		}
	}
}

// isText reports whether a line is neither a field nor empty.
func isText(line []byte) bool {
	return isFolded(line) || len(bytes.TrimRight(line, "\r\n")) > 0 && !bytes.Contains(line, []byte(":"))
}

// line reads one line.
func (s *scan) line() ([]byte, error) {
	var line []byte
	for {
		part, err := s.r.ReadSlice('\n')
		if len(line)+len(part) > maxHeader {
			return nil, ErrTooLarge
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

func isFolded(line []byte) bool { return len(line) > 0 && (line[0] == ' ' || line[0] == '\t') }

// addLine processes one header line, which ends at s.at.
func (s *scan) addLine(line []byte) error {
	folded := isFolded(line)
	if !folded {
		name, _, _ := bytes.Cut(line, []byte(":"))
		s.name = strings.ToLower(string(bytes.TrimRight(name, " \t")))
		s.replyTo = s.replyTo || s.name == "reply-to"
		if s.name == "from" {
			s.authors++
		}
	}
	if s.name != "from" && s.name != "sender" {
		return nil
	}
	if s.name == "from" && s.authors == 1 {
		s.from = append(s.from, value(line, folded)...)
	}
	return s.drop(int64(len(line)))
}

// value returns the part of the field's value in a line.
func value(line []byte, folded bool) []byte {
	line = bytes.TrimRight(line, "\r\n")
	if folded {
		return line
	}
	_, after, _ := bytes.Cut(line, []byte(":"))
	return after
}

// drop records that the line before s.at is removed.
func (s *scan) drop(size int64) error {
	if s.dropped += size; s.dropped > maxField {
		return ErrTooLarge
	}
	at := s.at - size
	if n := len(s.edits); n > 0 && s.edits[n-1].at+s.edits[n-1].drop == at {
		s.edits[n-1].drop += size
		return nil
	}
	if len(s.edits) == maxEdits {
		return ErrTooLarge
	}
	s.edits = append(s.edits, edit{at: at, drop: size})
	return nil
}

// editedContent is content with edits applied.
type editedContent struct {
	Content
	edits []edit
	size  int64
}

// Size implements Content.
func (e editedContent) Size() int64 { return e.size }

// Open implements Content.
func (e editedContent) Open() io.Reader {
	source, at := e.Content.Open(), int64(0)
	var parts []io.Reader
	for _, change := range e.edits {
		parts = append(parts, io.LimitReader(source, change.at-at), strings.NewReader(change.insert), &skipReader{source, change.drop})
		at = change.at + change.drop
	}
	return io.MultiReader(append(parts, source)...)
}

// skipReader skips n octets of source.
type skipReader struct {
	source io.Reader
	n      int64
}

func (s *skipReader) Read([]byte) (int, error) {
	n, err := io.CopyN(io.Discard, s.source, s.n)
	s.n -= n
	if err == nil {
		err = io.EOF
	}
	return 0, err
}
