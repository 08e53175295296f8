package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

const (
	// maxLine is the longest answer, in bytes.
	maxLine = 4 << 10
	// idleTimeout is the time without input after which a session ends.
	idleTimeout = 15 * time.Minute
)

// Errors of a question that ends without an answer.
var (
	errBack = errors.New("the technician pressed Ctrl-C")
	errIdle = errors.New("no input")
	// ErrGone is returned when the line can no longer be read or written.
	ErrGone = errors.New("the serial line is gone")
)

// The keys that have a meaning; other control characters are ignored.
const (
	keyInterrupt = 0x03 // Ctrl-C
	keyEnd       = 0x04 // Ctrl-D
	keyBackspace = 0x08
	keyEnter     = '\n'
	keyClear     = 0x15 // Ctrl-U
	keyEscape    = 0x1b
	keyDelete    = 0x7f
)

// terminal is the line discipline: it turns input into answers, and texts into
// wrapped lines.
type terminal struct {
	out     io.Writer
	keys    chan byte // closed when the line can no longer be read
	closed  chan struct{}
	failed  atomic.Bool // a write failed
	afterCR bool
	escape  escape
}

// escape is the position in a control sequence (ECMA-48 section 5.4), such as
// that of an arrow key.
type escape int

const (
	noEscape escape = iota
	introduced
	inSequence
)

// newTerminal reads the line until it fails; the caller closes the line after
// the terminal.
func newTerminal(line io.ReadWriter) *terminal {
	const ahead = 4096
	t := &terminal{out: line, keys: make(chan byte, ahead), closed: make(chan struct{})}
	go t.read(line)
	return t
}

// Close stops reading input.
func (t *terminal) Close() { close(t.closed) }

func (t *terminal) read(line io.Reader) {
	defer close(t.keys)
	const some = 1024
	for buffer := make([]byte, some); ; {
		n, err := line.Read(buffer)
		for _, b := range buffer[:n] {
			select {
			case t.keys <- b:
			case <-t.closed:
				return
			}
		}
		clear(buffer[:n]) // it may have been a password
		if err != nil {
			return
		}
	}
}

// Print writes a text unchanged.
func (t *terminal) Print(text string) {
	if _, err := io.WriteString(t.out, strings.ReplaceAll(text, "\n", "\r\n")); err != nil {
		t.failed.Store(true)
	}
}

// Say writes a text, wrapped for every terminal.
func (t *terminal) Say(format string, args ...any) { t.hang("", ascii(fmt.Sprintf(format, args...))) }

// Item writes a text after a label.
func (t *terminal) Item(label, text string) {
	const width = 15
	first := true
	for line := range strings.SplitSeq(ascii(text), "\n") {
		head := ""
		if first {
			head = ascii(label)
		}
		first = false
		t.hang(strings.Repeat(" ", width), fmt.Sprintf("%-*s%s", width, head, line))
	}
}

func (t *terminal) hang(indent, text string) {
	for _, line := range wrap(text, indent) {
		t.Print(strings.TrimRight(line, " ") + "\n")
	}
}

// byteWithin returns the next raw byte.
func (t *terminal) byteWithin(ctx context.Context, timeout time.Duration) (byte, error) {
	if t.failed.Load() {
		return 0, ErrGone
	}
	var b byte
	more := true
	select {
	case b, more = <-t.keys: // usually available at once, in a paste
	default:
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		select {
		case b, more = <-t.keys:
		case <-timer.C:
			return 0, errIdle
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	if !more {
		return 0, ErrGone
	}
	return b, nil
}

// key returns the next key: one of those above, a tab or a byte of text.
func (t *terminal) key(ctx context.Context, timeout time.Duration) (byte, error) {
	for {
		b, err := t.byteWithin(ctx, timeout)
		if err != nil {
			return 0, err
		}
		afterCR := t.afterCR
		t.afterCR = b == '\r'
		switch {
		case t.inEscape(b) || afterCR && b == '\n':
		case b == '\r':
			return keyEnter, nil
		case b == keyDelete:
			return keyBackspace, nil
		case b >= ' ', b == '\t', b == keyEnter, b == keyInterrupt, b == keyEnd, b == keyBackspace, b == keyClear:
			return b, nil
		}
	}
}

// inEscape reports whether a byte belongs to a control sequence.
func (t *terminal) inEscape(b byte) bool {
	switch {
	case b == keyEscape:
		t.escape = introduced
	case b < ' ':
		t.escape = noEscape
		return false
	case t.escape == noEscape:
		return false
	case t.escape == introduced && (b == '[' || b == 'O'):
		t.escape = inSequence
	case t.escape == introduced || b >= '@':
		t.escape = noEscape
	}
	return true
}

// invalidInput is the error of an invalid answer, with the text to show.
type invalidInput string

func (u invalidInput) Error() string { return string(u) }

// Line reads one answer and echoes it.
func (t *terminal) Line(ctx context.Context) (string, error) { return t.readLine(ctx, t.Print) }

// Secret reads one answer without echo.
func (t *terminal) Secret(ctx context.Context) (string, error) {
	return t.readLine(ctx, func(string) {})
}

// readLine reads a line. It neither stores nor shows what exceeds maxLine.
func (t *terminal) readLine(ctx context.Context, show func(string)) (string, error) {
	line := make([]byte, 0, maxLine)
	defer func() { clear(line) }()
	long := false
	for {
		k, err := t.key(ctx, idleTimeout)
		if err != nil {
			return "", err
		}
		switch {
		case k == keyEnter:
			t.Print("\n")
			if bytes.HasPrefix(line, []byte(beginMarker)) {
				return "", t.discardBlock(ctx)
			}
			return parseLine(line, long)
		case k == keyInterrupt || k == keyEnd:
			return "", t.interrupted(ctx)
		case k == keyClear:
			show(strings.Repeat("\b \b", utf8.RuneCount(line)))
			line, long = line[:0], false
		case k == keyBackspace && len(line) > 0:
			_, size := utf8.DecodeLastRune(line)
			line = line[:len(line)-size]
			show("\b \b")
		case k < ' ':
		case len(line) == maxLine:
			long = true
		default:
			line = append(line, k)
			show(string(line[len(line)-1:]))
		}
	}
}

// interrupted discards input after Ctrl-C until the line is quiet, such as the
// rest of a paste.
func (t *terminal) interrupted(ctx context.Context) error {
	if err := t.awaitQuiet(ctx); err != nil {
		return err
	}
	t.Print("^C\n")
	return errBack
}

// awaitQuiet discards input until the line is quiet.
func (t *terminal) awaitQuiet(ctx context.Context) error {
	const quiet, longest = 200 * time.Millisecond, 5 * time.Second
	for begun := time.Now(); time.Since(begun) < longest; {
		if _, err := t.byteWithin(ctx, quiet); errors.Is(err, errIdle) {
			break
		} else if err != nil {
			return err
		}
	}
	return nil
}

func parseLine(line []byte, long bool) (string, error) {
	switch {
	case long:
		return "", invalidInput(fmt.Sprintf("That line has more than %d characters and was discarded. Type a shorter one.", maxLine))
	case !utf8.Valid(line):
		return "", invalidInput("That line holds characters that are not UTF-8. Use plain letters, or set the terminal program to UTF-8.")
	}
	return strings.TrimSpace(string(line)), nil
}

// During runs do and discards what is typed meanwhile; Ctrl-C and a lost line
// cancel it.
func (t *terminal) During(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watching, stopped := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		const forever = time.Duration(1<<63 - 1)
		for {
			b, err := t.byteWithin(watching, forever)
			switch {
			case watching.Err() != nil:
				return
			case err != nil:
				cancel(err)
				return
			case b == keyInterrupt || b == keyEnd:
				cancel(errBack)
				return
			}
		}
	}()
	err := do(ctx)
	stopped()
	<-ended
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// Pause waits, and discards what is typed meanwhile.
func (t *terminal) Pause(ctx context.Context, d time.Duration) error {
	return t.During(ctx, func(ctx context.Context) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}
