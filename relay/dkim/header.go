package dkim

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
)

// maxHeader is the number of octets of the largest header that is signed. The LAN accepts
// less.
const maxHeader = 1 << 20

// ErrLargeHeader is wrapped by the error of a header of more than a mebibyte.
var ErrLargeHeader = errors.New("the header is too large to sign")

// oversigned are the fields that every signature lists once more than the message has
// them, so that it becomes invalid if one is added (RFC 6376 sections 5.4 and 8.15).
var oversigned = []string{"From", "To", "Subject", "Date", "Message-ID"}

// signed are the other fields that a signature covers: those of RFC 6376 section 5.4.1,
// and those without which a body is shown as another one. RFC 8058 section 4 demands
// List-Unsubscribe-Post. Fields that servers add or change on the way are not signed.
var signed = []string{
	"Cc", "Reply-To", "Sender", "In-Reply-To", "References",
	"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "Content-ID",
	"Resent-Date", "Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc", "Resent-Message-ID",
	"List-Id", "List-Help", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Subscribe", "List-Post", "List-Owner", "List-Archive",
}

// fieldSet holds the fields of a message by their names in lower case, in the order of the
// message. Each field is complete, with its CRLF.
type fieldSet map[string][][]byte

// readHeader reads up to the empty line, or to the end of a message without a body.
func readHeader(r *bufio.Reader) (fieldSet, error) {
	h := make(fieldSet)
	var field []byte // so far
	left := maxHeader
	for {
		line, err := readLine(r, left)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		left -= len(line)
		if len(field) > 0 && len(line) > 0 && isWSP(line[0]) {
			field = append(field, line...)
		} else {
			h.add(field)
			field = line
		}
		if err != nil || bytes.Equal(line, crlf) {
			if !bytes.Equal(field, crlf) {
				h.add(field)
			}
			return h, nil
		}
	}
}

// readLine reads one line of at most limit octets.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return nil, ErrLargeHeader
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// add adds a field. A line that is none is not signed.
func (h fieldSet) add(field []byte) {
	name, _, found := bytes.Cut(field, []byte(":"))
	if found {
		key := strings.ToLower(string(bytes.Trim(name, " \t")))
		h[key] = append(h[key], field)
	}
}

// signedNames returns the value of the tag h=: each name as often as it is signed.
func (h fieldSet) signedNames() (names []string) {
	for _, name := range oversigned {
		for range len(h[strings.ToLower(name)]) + 1 {
			names = append(names, name)
		}
	}
	for _, name := range signed {
		for range h[strings.ToLower(name)] {
			names = append(names, name)
		}
	}
	return names
}

// canonical returns the fields with these names in the relaxed form. Of several fields
// with a name the last comes first (RFC 6376 section 5.4.2).
func (h fieldSet) canonical(names []string) (text []byte) {
	taken := make(map[string]int)
	for _, name := range names {
		key := strings.ToLower(name)
		taken[key]++
		if i := len(h[key]) - taken[key]; i >= 0 {
			text = append(text, relaxedField(h[key][i])...)
		}
	}
	return text
}

// relaxedField returns a field in the relaxed form (RFC 6376 section 3.4.2): its name in
// lower case, its value on one line, and each run of white space as one space.
func relaxedField(field []byte) []byte {
	name, value, _ := bytes.Cut(field, []byte(":"))
	text := append(bytes.ToLower(bytes.Trim(name, " \t")), ':')
	space, start := false, len(text)
	for _, octet := range value {
		if isWSP(octet) || octet == '\r' || octet == '\n' {
			space = true
			continue
		}
		if space && len(text) > start {
			text = append(text, ' ')
		}
		space = false
		text = append(text, octet)
	}
	return append(text, crlf...)
}

func isWSP(octet byte) bool { return octet == ' ' || octet == '\t' }
