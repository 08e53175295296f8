package header

import (
	"bytes"
	"io"
	"regexp"
	"slices"
	"sync"
	"time"
)

// Repairs says what is added to a header and who its author may be.
type Repairs struct {
	Sender    string    // the envelope sender as an addr-spec, for a missing From; empty for none
	Date      time.Time // for a missing Date
	MessageID string    // for a missing Message-ID, without brackets
	// Author returns the addr-spec that replaces the author's, or "" to keep it. authors are
	// the addresses in From as far as they can be read. Nil keeps every author.
	Author func(authors []string) string
	// MaySend reports whether a Sender may name these addresses. Nil keeps every Sender.
	MaySend func(senders []string) bool
}

// Repair names a change to a header.
type Repair string

// The changes. docs/content.md says what each one does.
const (
	HeaderAdded      Repair = "header added"
	EmptyLineAdded   Repair = "empty line added"
	MboxLineRemoved  Repair = "mbox line removed"
	NameTidied       Repair = "field name tidied"
	DuplicateRenamed Repair = "duplicate renamed"
	DateAdded        Repair = "date added"
	MessageIDAdded   Repair = "message-id added"
	FromAdded        Repair = "from added"
	FromRepaired     Repair = "from repaired"
	DestinationAdded Repair = "destination added"
	AuthorReplaced   Repair = "author replaced"
	SenderRenamed    Repair = "sender renamed"
	HeaderEncoded    Repair = "header encoded"
	LineFolded       Repair = "line folded"
)

// maxRepaired is the size of the largest header: each session may hold one in memory.
const maxRepaired = 128 << 10

// Repairer copies a message and repairs its header on the way: it adds the fields that a
// message must have (RFC 5322 section 3.6, RFC 6409 section 8), leaves one of each field
// that may occur once, and replaces octets above 127. It holds the header section in
// memory, and fails with ErrTooLarge for a larger one than 128 KiB, because the author of
// such a message cannot be checked. Every body passes unchanged. Lines must end in CRLF.
type Repairer struct {
	dst     io.Writer
	repairs Repairs
	done    []Repair
	held    []byte // the header so far
	line    int    // where its last line begins
	scanned int    // octets in which the end of that line was looked for
	begun   bool   // its first line was seen
	inBody  bool
	failed  bool // the header is too large
}

// NewRepairer returns a repairer that writes to dst.
func NewRepairer(dst io.Writer, r Repairs) *Repairer { return &Repairer{dst: dst, repairs: r} }

// Done returns what was changed, each change once.
func (r *Repairer) Done() []Repair { return r.done }

func (r *Repairer) note(repair Repair) {
	if !slices.Contains(r.done, repair) {
		r.done = append(r.done, repair)
	}
}

// Write takes the next part of the message, split anywhere.
func (r *Repairer) Write(p []byte) (int, error) {
	switch {
	case r.failed:
		return 0, ErrTooLarge
	case r.inBody:
		return r.dst.Write(p)
	}
	borrowed := len(r.held) == 0
	if borrowed {
		r.held = p[:len(p):len(p)] // most headers are complete in the first part
	} else {
		r.held = append(r.held, p...)
	}
	for {
		length := bytes.IndexByte(r.held[r.scanned:], '\n') + 1
		full := length > 0
		if full {
			length += r.scanned - r.line
		}
		r.scanned = len(r.held)
		if !full {
			if len(r.held) <= maxRepaired {
				if borrowed {
					r.held = bytes.Clone(r.held)
				}
				return len(p), nil
			}
			length = len(r.held) - r.line
		}
		line := r.held[r.line : r.line+length]
		if !r.begun && full && nameLength(line) == 0 && mboxLine().Match(line) {
			r.held, r.begun, r.scanned = r.held[length:], true, 0
			r.note(MboxLineRemoved)
			continue
		}
		r.begun = true
		if !isHeaderLine(line, r.line == 0) {
			return len(p), r.endHeader()
		}
		if r.line += length; r.line > maxRepaired {
			r.failed, r.held = true, nil
			return 0, ErrTooLarge
		}
		r.scanned = r.line
	}
}

// Close ends a message that has no body.
func (r *Repairer) Close() error {
	if r.inBody {
		return nil
	}
	if line := r.held[r.line:]; len(line) > 0 && isHeaderLine(line, r.line == 0) {
		r.line = len(r.held)
	}
	return r.endHeader()
}

// endHeader writes the header repaired, and what follows it as it is.
func (r *Repairer) endHeader() error {
	section, rest := r.held[:r.line], r.held[r.line:]
	separated := bytes.HasPrefix(rest, []byte("\r\n"))
	h := &repair{Repairer: r}
	h.read(section)
	h.complete()
	h.encode()
	out := slices.Clip(h.section(section)) // it may be section, and rest follows that
	switch {
	case len(section) == 0 && !separated:
		r.note(HeaderAdded)
		out = append(out, "\r\n"...)
	case len(rest) > 0 && !separated:
		r.note(EmptyLineAdded)
		out = append(out, "\r\n"...)
	}
	r.inBody, r.held = true, nil
	_, err := r.dst.Write(out)
	if err == nil && len(rest) > 0 {
		_, err = r.dst.Write(rest)
	}
	return err
}

// maxName is the length of the longest field name. Real ones are shorter by far; a text
// without spaces is not taken for one.
const maxName = 100

// isHeaderLine reports whether a line, or the beginning of one, is a field or a folded
// line. Devices omit the empty line before the body, so any other line begins it.
func isHeaderLine(line []byte, first bool) bool {
	return isFolded(line) && !first || nameLength(line) > 0
}

// mboxLine matches the line that separates messages in a mailbox file (RFC 4155).
var mboxLine = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^>?From \S+ +(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b.*[0-9]:[0-9]`)
})

// nameLength returns the length of the field name that a line begins with, or 0.
func nameLength(line []byte) int {
	colon := bytes.IndexByte(line[:min(len(line), maxName+1)], ':')
	if colon < 0 {
		return 0
	}
	name := bytes.TrimRight(line[:colon], " \t")
	if bytes.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return 0
	}
	return len(name)
}
