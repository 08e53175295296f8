package reply

import (
	"bufio"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sealpost/hal/printable"
)

// Limits of a server's reply. RFC 5321 section 4.5.3.1.5 allows 512 octets per
// line; real servers exceed it slightly.
const (
	MaxLine  = 2048 // octets, including the line ending
	MaxLines = 128
)

// Errors of Read. After any of them the connection is not usable.
var (
	ErrLineTooLong  = fmt.Errorf("a reply line longer than %d octets", MaxLine)
	ErrTooManyLines = fmt.Errorf("a reply of more than %d lines", MaxLines)
	ErrMalformed    = errors.New("not an SMTP reply")
)

// Read reads one reply of one or more lines. onLine is called with each line as
// received, without its line ending. Errors of r are returned unchanged.
func Read(r *bufio.Reader, onLine func(line string)) (Reply, error) {
	var result Reply
	var text []string
	for range MaxLines {
		line, err := readLine(r)
		if err != nil {
			return Reply{}, err
		}
		onLine(line)
		code, rest, more, err := splitLine(line)
		if err != nil {
			return Reply{}, err
		}
		if result.Code != 0 && code != result.Code {
			return Reply{}, fmt.Errorf("%w: code %d continued with %d", ErrMalformed, result.Code, code)
		}
		result.Code = code
		status, rest := cutStatus(code, rest)
		if !status.IsZero() {
			result.Status = status
		}
		text = append(text, rest)
		if !more {
			result.Text = strings.Join(text, "\n")
			return result, nil
		}
	}
	return Reply{}, ErrTooManyLines
}

func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > MaxLine {
			return "", ErrLineTooLong
		}
		line = append(line, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return "", err
		}
		return strings.TrimRight(string(line), "\r\n"), nil
	}
}

func splitLine(line string) (code int, text string, more bool, err error) {
	if len(line) < 3 {
		return 0, "", false, fmt.Errorf("%w: %q", ErrMalformed, line)
	}
	code, err = strconv.Atoi(line[:3])
	if err != nil || code < 200 || code > 599 {
		return 0, "", false, fmt.Errorf("%w: %q", ErrMalformed, clip(line))
	}
	if len(line) == 3 {
		return code, "", false, nil
	}
	if line[3] != ' ' && line[3] != '-' {
		return 0, "", false, fmt.Errorf("%w: %q", ErrMalformed, clip(line))
	}
	return code, printable.Line(line[4:]), line[3] == '-', nil
}

// cutStatus splits a leading enhanced status code off text. If its class
// contradicts the reply code, it is left in the text (RFC 2034 section 4).
func cutStatus(code int, text string) (Status, string) {
	prefix, rest, _ := strings.Cut(text, " ")
	parts := strings.Split(prefix, ".")
	if len(parts) != 3 {
		return Status{}, text
	}
	var numbers [3]int
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil || n > 999 {
			return Status{}, text
		}
		numbers[i] = int(n)
	}
	if numbers[0] != code/100 {
		return Status{}, text
	}
	return Status{numbers[0], numbers[1], numbers[2]}, rest
}

func clip(s string) string {
	const limit = 80
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "…"
}
