package mime

import (
	"bytes"
	"cmp"
	stdmime "mime"
	"regexp"
	"strings"
	"sync"
)

// entity is what the header of a message or of a part says about its body.
type entity struct {
	mediaType string // in lower case, or the default
	boundary  string
	encoding  string // Content-Transfer-Encoding in lower case; empty if there is none

	typed     bool // there is a Content-Type
	versioned bool // there is a MIME-Version
	top       bool // it is the message
	composite bool // its body is taken apart
	opaque    bool // its body stays as it is
}

// parseEntity reads a header. digest says that it is in a multipart/digest, whose parts
// are messages (RFC 2046 section 5.1.5).
func parseEntity(raw []byte, digest bool) entity {
	e := entity{mediaType: "text/plain"}
	if digest {
		e.mediaType = "message/rfc822"
	}
	for field := range fields(raw) {
		name, value, _ := bytes.Cut(field, []byte(":"))
		text := strings.TrimSpace(strings.ReplaceAll(string(value), "\r\n", ""))
		switch strings.ToLower(string(bytes.TrimRight(name, " \t"))) {
		case "mime-version":
			e.versioned = true
		case "content-transfer-encoding":
			encoding, _, _ := strings.Cut(text, ";")
			encoding, _, _ = strings.Cut(encoding, "(")
			e.encoding = cmp.Or(e.encoding, strings.ToLower(strings.TrimSpace(encoding)))
		case "content-type":
			if !e.typed {
				e.typed = true
				e.setType(text)
			}
		}
	}
	return e
}

// boundaryParameter finds the boundary in a value with syntax errors: devices omit the
// quotes that RFC 2045 section 5.1 requires.
var boundaryParameter = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i);\s*boundary\s*=\s*(?:"([^"\\]+)"|([^";\s]+))`)
})

// setType reads the value of Content-Type.
func (e *entity) setType(value string) {
	mediaType, parameters, err := stdmime.ParseMediaType(value)
	if mediaType == "" {
		// A type that cannot be read is taken for text only if it says so.
		mediaType, _, _ = strings.Cut(strings.ToLower(value), ";")
	}
	e.mediaType, e.boundary = strings.TrimSpace(mediaType), parameters["boundary"]
	if err != nil {
		e.boundary = ""
		if m := boundaryParameter().FindStringSubmatch(value); m != nil {
			e.boundary = m[1] + m[2]
		}
	}
	const longest = 70 // RFC 2046 section 5.1.1; some programs write longer ones
	switch {
	case e.isMultipart() && (e.boundary == "" || e.mediaType == "multipart/" || hasEightBit([]byte(e.boundary)) || len(e.boundary) > 3*longest):
		e.opaque = true
	case e.mediaType == "multipart/signed", e.mediaType == "multipart/encrypted",
		e.mediaType == "application/pkcs7-mime", e.mediaType == "application/x-pkcs7-mime":
		e.opaque = true
	}
}

func (e entity) isMultipart() bool { return strings.HasPrefix(e.mediaType, "multipart/") }

// isFixed reports whether the header stays as it is: its end was not found, or its boundary
// cannot be written in ASCII.
func (e entity) isFixed() bool { return e.opaque && (e.mediaType == "" || e.isMultipart()) }

// isMessage reports whether the body is a message, which may be in no other encoding (RFC
// 2046 section 5.2).
func (e entity) isMessage() bool { return strings.HasPrefix(e.mediaType, "message/") }

func (e entity) isText() bool { return strings.HasPrefix(e.mediaType, "text/") }

// isIdentity reports whether the body is not encoded.
func (e entity) isIdentity() bool {
	switch e.encoding {
	case "", "7bit", "8bit", "binary":
		return true
	}
	return false
}

// fields returns the fields of a header, each with its folded lines, and the empty line at
// its end.
func fields(raw []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(raw) > 0 {
			end := 0
			for end < len(raw) && (end == 0 || raw[end] == ' ' || raw[end] == '\t') {
				length := bytes.IndexByte(raw[end:], '\n') + 1
				if length == 0 {
					length = len(raw) - end
				}
				end += length
			}
			if !yield(raw[:end]) {
				return
			}
			raw = raw[end:]
		}
	}
}
