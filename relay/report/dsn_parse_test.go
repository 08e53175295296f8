package report

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
)

// parsed is a notification as a mail client parses it.
type parsed struct {
	header   mail.Header
	text     string
	returned string // type and encoding of the third part
	message  textproto.MIMEHeader
	each     []textproto.MIMEHeader
	original string
}

func parse(raw []byte) (parsed, error) {
	var p parsed
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return p, err
	}
	p.header = m.Header
	kind, parameters, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || parameters["report-type"] != "delivery-status" {
		return p, fmt.Errorf("got Content-Type %s: %w", m.Header.Get("Content-Type"), err)
	}
	parts := multipart.NewReader(m.Body, parameters["boundary"])
	var contents []string
	for _, want := range []string{"text/plain; charset=utf-8", "message/delivery-status", "text/rfc822-headers"} {
		part, err := parts.NextRawPart()
		if err != nil {
			return p, fmt.Errorf("part %s: %w", want, err)
		}
		got := part.Header.Get("Content-Type")
		p.returned = got + " " + part.Header.Get("Content-Transfer-Encoding")
		full := want == "text/rfc822-headers" && got == "message/rfc822"
		if got != want && !full || len(part.Header) != 2 {
			return p, fmt.Errorf("got part %v, want %s", part.Header, want)
		}
		var from io.Reader = part
		if part.Header.Get("Content-Transfer-Encoding") == "quoted-printable" {
			from = quotedprintable.NewReader(part)
		}
		content, err := io.ReadAll(from)
		if err != nil {
			return p, fmt.Errorf("part %s: %w", want, err)
		}
		contents = append(contents, string(content))
	}
	if _, err := parts.NextRawPart(); !errors.Is(err, io.EOF) {
		return p, fmt.Errorf("after the last part: got error %w, want EOF", err)
	}
	p.text, p.original = contents[0], contents[2]
	p.message, p.each, err = groups(contents[1])
	return p, err
}

// groups parses a delivery status.
func groups(status string) (message textproto.MIMEHeader, each []textproto.MIMEHeader, err error) {
	reader := textproto.NewReader(bufio.NewReader(strings.NewReader(status)))
	for {
		group, err := reader.ReadMIMEHeader()
		if len(group) > 0 {
			each = append(each, group)
		}
		if errors.Is(err, io.EOF) && len(each) > 1 {
			return each[0], each[1:], nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("group %d: %w", len(each), err)
		}
	}
}

// checkSevenBit returns an error for anything but ASCII in CRLF lines of at most 998
// octets, which a mail server need not accept.
func checkSevenBit(raw []byte) error {
	text, whole := bytes.CutSuffix(raw, []byte("\r\n"))
	if !whole {
		return errors.New("the last line has no end")
	}
	for line := range bytes.SplitSeq(text, []byte("\r\n")) {
		if len(line) > 998 {
			return fmt.Errorf("got a line of %d octets, want at most 998", len(line))
		}
		if i := bytes.IndexFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r > '~' }); i >= 0 {
			return fmt.Errorf("got octet %#x in %q, want printable ASCII", line[i], line)
		}
	}
	return nil
}
