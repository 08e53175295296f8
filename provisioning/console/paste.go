package console

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	// maxPaste is the largest paste, in bytes.
	maxPaste = 1 << 20
	// pasteTimeout is how long a paste may pause in the middle.
	pasteTimeout = 2 * time.Minute
	// endPause is the pause after a complete block that ends a paste.
	endPause = 2 * time.Second
	// hintPause is the pause after which an empty line was typed by a person, who gets
	// a hint; for example after the cable was pulled out during a paste.
	hintPause = 5 * time.Second
)

// Paste reads lines until one that is a single dot, or until nothing follows the
// END line of a block. It does not echo them, because they may contain a key.
// The caller clears the result.
func (t *terminal) Paste(ctx context.Context) ([]byte, error) {
	var p paste
	timeout, last := idleTimeout, time.Now()
	for {
		k, err := t.key(ctx, timeout)
		switch {
		case errors.Is(err, errIdle) && timeout == endPause:
			return p.end()
		case errors.Is(err, errIdle) && timeout == pasteTimeout:
			clear(p.text)
			return nil, invalidInput(fmt.Sprintf("The paste is incomplete and was discarded: nothing arrived for %s minutes. Paste it again.", minutes(pasteTimeout)))
		case err != nil:
			clear(p.text)
			return nil, err
		case k == keyInterrupt || k == keyEnd:
			clear(p.text)
			return nil, t.interrupted(ctx)
		}
		timeout = pasteTimeout
		switch empty := k == keyEnter && len(p.line) == 0; {
		case !empty:
			last = time.Now()
		case time.Since(last) > hintPause:
			t.Say("The paste is incomplete: paste the rest, or cancel with Ctrl-C.")
		}
		switch line := p.add(k); {
		case line == ".":
			p.text = p.text[:max(0, len(p.text)-len(".\n"))]
			return p.end()
		case strings.HasPrefix(line, endMarker) || strings.HasPrefix(line, "END PFX"):
			timeout = endPause
		}
	}
}

// The markers of a block of PEM or base64.
const (
	beginMarker = "-----BEGIN"
	endMarker   = "-----END "
)

// discardBlock discards a certificate or key that was pasted in reply to another
// question: everything up to its END line and what follows without a pause. It does
// not echo, because this may be a key.
func (t *terminal) discardBlock(ctx context.Context) error {
	var line []byte // its beginning, which may be the marker
	defer func() { clear(line) }()
	for left := maxPaste; left > 0; left-- {
		k, err := t.key(ctx, pasteTimeout)
		switch {
		case errors.Is(err, errIdle):
			left = 0
		case err != nil:
			return err
		case k == keyInterrupt || k == keyEnd:
			return t.interrupted(ctx)
		case k == keyEnter && string(line) == endMarker:
			left = 0
		case k == keyEnter:
			line = line[:0]
		case len(line) < len(endMarker):
			line = append(line, k)
		}
	}
	if err := t.awaitQuiet(ctx); err != nil {
		return err
	}
	return invalidInput("That is a certificate or a key; this question does not ask for one. It was discarded.")
}

// paste holds what was pasted so far.
type paste struct {
	text     []byte
	line     []byte // the beginning of the current line, which may be a marker
	tooLarge bool   // the paste is larger than maxPaste
}

// add adds a key and, if that ends a line, returns the beginning of the line.
func (p *paste) add(k byte) (ended string) {
	const marker = 80
	switch {
	case k < ' ' && k != keyEnter && k != '\t':
		return ""
	case k == keyEnter:
		ended = strings.TrimSpace(string(p.line))
		p.line = p.line[:0]
	case len(p.line) < marker:
		p.line = append(p.line, k)
	}
	if p.tooLarge = p.tooLarge || len(p.text) == maxPaste; !p.tooLarge {
		p.text = grow(p.text, k)
	}
	return ended
}

func (p *paste) end() ([]byte, error) {
	if p.tooLarge {
		clear(p.text)
		return nil, invalidInput("That was more than 1 MiB and was discarded. Check what is in the clipboard.")
	}
	return p.text, nil
}

// grow appends a byte. If it must reallocate, it clears the old copy, which may
// contain a key.
func grow(text []byte, b byte) []byte {
	if len(text) < cap(text) {
		return append(text, b)
	}
	const first = 16 << 10
	larger := make([]byte, len(text), max(first, 2*cap(text)))
	copy(larger, text)
	clear(text)
	return append(larger, b)
}

// decodePFX returns the PFX of a paste: base64, with or without BEGIN and END
// lines as certutil and openssl write them.
func decodePFX(text []byte) ([]byte, error) {
	var encoded []byte
	defer func() { clear(encoded) }()
	begun, ended := false, false
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		switch marker := strings.Trim(string(line), "-"); {
		case strings.HasPrefix(marker, "BEGIN "):
			begun = true
		case strings.HasPrefix(marker, "END "):
			ended = true
		default:
			encoded = append(encoded, line...)
		}
	}
	if begun && !ended {
		return nil, invalidInput("The PFX is incomplete: its END line is missing. Nothing was changed. Paste it again, from the BEGIN line to the END line.")
	}
	pfx := make([]byte, base64.StdEncoding.DecodedLen(len(encoded)))
	n, err := base64.StdEncoding.Decode(pfx, encoded)
	if err != nil || n == 0 {
		clear(pfx)
		return nil, invalidInput("That is not a complete PFX in base64; nothing was changed. Make it with: certutil -encode FILE.pfx FILE.txt (Windows) or: base64 < FILE.pfx (macOS, Linux), and paste all of it.")
	}
	return pfx[:n], nil
}
