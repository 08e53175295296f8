// Package header changes whom a message says it is from, in its header
// (RFC 5322 section 3.6.2), where it may not leave under that name.
//
// It knows fields and mailboxes as they are written in a header, and passes
// everything else on as it is. It must not know envelopes, who may send as
// whom, or where a message goes.
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

// Bounds on what is read of a header to change it.
const (
	maxHeader = 1 << 20 // octets in all
	maxField  = 8 << 10 // octets of the author's fields together
	maxEdits  = 16
)

// ErrTooLarge is the error of a header over the bounds.
var ErrTooLarge = errors.New("the header is too large to be changed")

// ReplaceAuthor gives the message with address as its author. The name that the
// author had is kept, and the address becomes its Reply-To where it has none:
// that of the From field, or where that has none former, which may be empty. A
// Sender field goes, since it named who sent for the author.
func ReplaceAuthor(content Content, address, former string) (Content, error) {
	s := scan{r: bufio.NewReader(content.Open())}
	if err := s.header(); err != nil {
		return nil, fmt.Errorf("reading the header: %w", err)
	}
	author := parseMailbox(s.from)
	fields := field("From", author.name, address)
	if reply := cmp.Or(author.address, usable(former)); !s.replyTo && reply != "" {
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
	return edited{content, edits, content.Size() + int64(len(fields)) - s.dropped}, nil
}

// edit is a change at an offset of the message: octets dropped, and a text put
// in their place.
type edit struct {
	at, drop int64
	insert   string
}

// scan reads a header and notes what of it is to go.
type scan struct {
	r       *bufio.Reader
	at      int64
	edits   []edit
	dropped int64
	from    []byte // the value of the first From field, unfolded
	replyTo bool
	authors int    // From fields so far
	name    string // of the field at hand, in lower case

	headless bool // the message begins with its text
}

// inHeader knows the lines of a header: a field, a folded one, or the first of a
// mailbox file. Any other is text already, though devices leave out the empty
// line before it.
var inHeader = sync.OnceValue(func() *regexp.Regexp {
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
		if !inHeader().Match(line) || first && isFolded(line) {
			s.headless = first && isText(line)
			return nil
		}
		if err := s.take(line); err != nil {
			return err
		}
	}
}

// isText tells a line that nobody could take for a field, or for an empty one.
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

// take judges one line of the header, which ends at s.at.
func (s *scan) take(line []byte) error {
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

// value is what a line adds to its field's.
func value(line []byte, folded bool) []byte {
	line = bytes.TrimRight(line, "\r\n")
	if folded {
		return line
	}
	_, after, _ := bytes.Cut(line, []byte(":"))
	return after
}

// drop notes that the line before s.at goes.
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

// edited is content with changes.
type edited struct {
	Content
	edits []edit
	size  int64
}

// Size implements Content.
func (e edited) Size() int64 { return e.size }

// Open implements Content.
func (e edited) Open() io.Reader {
	source, at := e.Content.Open(), int64(0)
	var parts []io.Reader
	for _, change := range e.edits {
		parts = append(parts, io.LimitReader(source, change.at-at), strings.NewReader(change.insert), &skip{source, change.drop})
		at = change.at + change.drop
	}
	return io.MultiReader(append(parts, source)...)
}

// skip reads octets that nobody gets.
type skip struct {
	source io.Reader
	n      int64
}

func (s *skip) Read([]byte) (int, error) {
	n, err := io.CopyN(io.Discard, s.source, s.n)
	s.n -= n
	if err == nil {
		err = io.EOF
	}
	return 0, err
}
